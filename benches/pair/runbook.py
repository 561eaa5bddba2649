#!/usr/bin/env python3
"""Does what docs/runbook-pair.md says, to the letter, and asks the ledger at every step.

Question: does the runbook work as it is written? Two nodes in namespaces of their own, for the network and
for files: each has its own /etc, /var/lib and /usr/local/bin, its own host name in /etc/hosts, and a user
`pillarbox`. Commands are taken from the file in order and typed; what they answer must be what the file
shows. `systemctl` is played by this script, which starts and ends what the unit's ExecStart names. Comments
`<!-- runbook: … -->` say what happens to the nodes meanwhile: lost, split, healed, read by the ledger.

    runbook.py --pillarbox BINARY [--runbook FILE] [--show]
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time

import house
from house import PASSWORD, Server, Trouble, wait
from clients import Load
from ledger import Ledger, demand_agreement

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROMPT = re.compile(r"^([ab])([#$]) (.+)$")
MARK = re.compile(r"^<!-- runbook: (.+) -->$")
TOKEN = re.compile(r"pillarbox-join-[\w-]+")
STATUS_SECONDS = 60


def steps(text):
    """(line number, kind, …): "mark" words, "file" text, "command" node, user, words, answer."""
    fence, found = None, []
    for number, line in enumerate(text.splitlines(), 1):
        mark, prompt = MARK.match(line), PROMPT.match(line)
        if line.startswith("```"):
            fence = None if fence is not None else line[3:]
            if fence == "toml":
                found.append([number, "file", ""])
        elif fence == "toml":
            found[-1][2] += line + "\n"
        elif fence == "" and prompt:
            found.append([number, "command", *prompt.groups(), []])
        elif fence == "" and found[-1][1] == "command":
            found[-1][5].append(line)
        elif fence is None and mark:
            found.append([number, "mark", mark[1].split()])
    return found


def agrees(shown, said):
    """Whether an answer is the one that is shown, in which … stands for anything."""
    pattern = ".*".join(re.escape(piece) for piece in "\n".join(shown).split("…"))
    return re.fullmatch(pattern, said.strip(), re.DOTALL) is not None


class Machine(Server):
    """A node with files of its own."""

    def __init__(self, the_house, name, binary):
        super().__init__(the_house, name)
        self.folder = os.path.join(the_house.folder, f"machine-{name}")
        self.log = os.path.join(the_house.folder, f"{name}.log")
        etc, lib, bin_ = (os.path.join(self.folder, part) for part in ("etc", "lib", "bin"))
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        os.makedirs(lib)
        os.makedirs(bin_)
        shutil.copy2(binary, os.path.join(bin_, "pillarbox"))
        for part in (self.folder, lib, bin_):
            os.chmod(part, 0o755)
        with open(os.path.join(etc, "hosts"), "w") as file:
            file.write("127.0.0.1 localhost\n")
            for other in ("a", "b"):
                address = the_house.listen[other] if other == name else the_house.reached[other]
                file.write(f"{address[0]} {other}.example.org\n")
        mounts = [f"mount --bind {etc} /etc", f"mount --bind {lib} /var/lib"]
        mounts += [f"mount --bind {bin_} /usr/local/bin", "mount -t tmpfs none /tmp"]
        script = " && ".join(mounts) + " && echo built && exec sleep infinity"
        words = the_house.inside(name) + ["unshare", "--mount", "sh", "-c", script]
        self.holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "built\n":
            raise Trouble("the machine could not be built")
        if self.root("id pillarbox").returncode:
            added = self.root("useradd --system --home-dir /var/lib/pillarbox pillarbox")
            if added.returncode:
                raise Trouble(f"useradd: {added.stderr}")

    def enter(self, *words):
        return ["nsenter", f"--target={self.holder.pid}", "--net", "--mount", *words]

    def root(self, line):
        return self.shell([], line)

    def shell(self, prefix, line):
        environment = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "PILLARBOX_PASSWORD": PASSWORD}
        command = self.enter(*prefix, "bash", "-c", f"cd / && {line}")
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def type(self, prompt, line):
        if line.startswith("systemctl "):
            return self.systemctl(line.split()[1])
        return self.shell(["runuser", "-u", "pillarbox", "--"] if prompt == "$" else [], line)

    def systemctl(self, verb):
        with open(os.path.join(ROOT, "docs/pillarbox.service")) as file:
            unit = dict(line.strip().split("=", 1) for line in file if "=" in line)
        if verb == "stop":
            self.process.terminate()
            self.process.wait(60)
            return None
        capability = "+" + unit["AmbientCapabilities"].lower().removeprefix("cap_")
        user = f"--reuid={unit['User']}", f"--regid={unit['User']}", "--clear-groups"
        words = self.enter("setpriv", *user, f"--inh-caps={capability}", f"--ambient-caps={capability}")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(words + unit["ExecStart"].split(), stdout=log, stderr=log)
        # The unit is of Type=notify: it has started when the store is open.
        wait(f"{self.name} greets", self.greets)
        return None

    def wipe(self):
        """Another machine stands in its place: the program, the user, the configuration, no mail."""
        lib, etc = os.path.join(self.folder, "lib"), os.path.join(self.folder, "etc")
        shutil.rmtree(os.path.join(lib, "pillarbox"))
        shutil.rmtree(os.path.join(etc, "pillarbox"))

    def end(self):
        super().end()
        self.holder.kill()
        self.holder.wait()


class Follower:
    """Of the runbook: does one step after the other."""

    def __init__(self, the_house, binary):
        self.house, self.ledger, self.load, self.token = the_house, Ledger(), None, None
        self.machines = {name: Machine(the_house, name, binary) for name in ("a", "b")}
        self.gone = set()

    def there(self):
        return [machine for name, machine in self.machines.items() if name not in self.gone]

    def clients(self, sides="one", seconds=2.0):
        self.rest()
        self.load = Load(self.ledger, list(self.machines.values()), sides=sides, parted=True)
        seen = len(self.ledger.answers)
        wait("clients get good answers", lambda: len(self.ledger.answers) > seen + 20)
        time.sleep(seconds)

    def rest(self):
        if self.load:
            self.load.stop()
            self.load = None

    def file(self, text):
        for name, machine in self.machines.items():
            path = os.path.join(machine.folder, "etc/pillarbox.toml")
            with open(path, "w") as file:
                file.write(text.replace("ADDRESS", self.house.listen[name][0]))
            os.chmod(path, 0o644)

    def command(self, name, prompt, line, shown):
        if self.token:
            line = line.replace("pillarbox-join-…", self.token)
        machine, end = self.machines[name], time.monotonic() + STATUS_SECONDS
        while True:
            done = machine.type(prompt, line)
            said = done.stdout + done.stderr if done else ""
            self.token = (TOKEN.findall(said) or [self.token])[0] if "invite" in line else self.token
            if (not done or done.returncode == 0) and (not shown or agrees(shown, said)):
                return
            if "replica status" not in line or time.monotonic() > end:
                instead = "\n".join(shown)
                raise Trouble(f"{name}{prompt} {line}\nanswered\n{said}\ninstead of\n{instead}")
            time.sleep(0.1)

    def mark(self, what, *words):
        if what == "clients":
            self.clients(sides="both" if words[-1] == "both" else "one")
        elif what == "ledger":
            self.rest()
            demand_agreement(self.ledger, [self.machines[name] for name in words], f"the ledger, of {words}")
            count = len(self.ledger.acknowledged())
            print(f"  the ledger agrees: {count} letters on {' and '.join(words)}", flush=True)
        elif what == "lose":
            machine = self.machines[words[0]]
            machine.kill()
            if words[1:] == ("for", "good"):
                machine.wipe()
        elif what == "split":
            self.house.wire.both(silent=True)
        elif what == "heal":
            self.rest()
            self.house.wire.heal()
        else:
            raise Trouble(f"the runbook asks for {what}, which nobody can do")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required="--show" not in sys.argv)
    parser.add_argument("--runbook", default=os.path.join(ROOT, "docs/runbook-pair.md"))
    parser.add_argument("--show", action="store_true", help="shows the steps, and does none")
    arguments = parser.parse_args()
    with open(arguments.runbook) as file:
        todo = steps(file.read())
    if arguments.show:
        for step in todo:
            print(*step)
        return
    house.move_in()
    if not house.has_rooms() or os.geteuid() != 0:
        print("SKIPPED: the runbook needs root and namespaces")
        return
    the_house = house.House()
    try:
        follower = Follower(the_house, os.path.abspath(arguments.pillarbox))
        for number, kind, *rest in todo:
            print(f"line {number}: {' '.join(map(str, rest[0] if kind == 'mark' else rest[:3]))[:100]!r}", flush=True)
            try:
                getattr(follower, kind)(*rest[0] if kind == "mark" else rest)
            except (Trouble, OSError) as trouble:
                for machine in follower.there():
                    print(f"{machine.name}: {machine.last_words()}", file=sys.stderr)
                sys.exit(f"line {number} of the runbook: {trouble}")
        print("the runbook was followed to its end")
    finally:
        the_house.close()


if __name__ == "__main__":
    main()
