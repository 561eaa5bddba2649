#!/usr/bin/env python3
"""`make bench-peers`: the same load over LMTP and IMAP against Dovecot and Pillarbox, in one run.

Question: deliveries, appends, fetches and selects a second, CPU seconds, flushes and bytes on disk,
of a durable Dovecot (mdbox, its default fsync) and of Pillarbox, on the same disk and the same mail.
Dataset: messages of the corpus with a mean of 20 KB, else generated ones (the last line says which).

Each server gets its own configuration, data directory and unprivileged loopback ports below a scratch
directory, and is stopped at the end. CPU is user and system time of the whole process tree with the
children it has reaped. Flushes are counted in a second, shorter run under strace; the device's own
count stands beside it, because io_uring shows strace nothing.

    run.py [--pillarbox BINARY] [--load BINARY] [--scratch DIR] [--quick] [--only dovecot|pillarbox]
"""

import argparse
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PASSWORD = "bench-of-peers"
DOMAIN = "peers.example"
USERS = [f"user{number}@{DOMAIN}" for number in range(4)]
START_SECONDS_MAX = 30
RUN_SECONDS_MAX = 900
MEAN_BYTES = 20_000
MESSAGE_BYTES_MAX = 400_000
FLUSH_CALLS = "fsync,fdatasync,sync_file_range,syncfs,sync,msync"


def free_port():
    """A port below the range that outgoing connections use, so that nobody takes it meanwhile."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def greets(port):
    """A port that accepts is not enough: sockets may be there before the store is open."""
    try:
        with socket.create_connection(("127.0.0.1", port), START_SECONDS_MAX) as probe:
            return probe.recv(1) != b""
    except OSError:
        return False


# ---- the mail ----------------------------------------------------------------------------------


def with_crlf(message):
    return re.sub(rb"(?<!\r)\n", b"\r\n", message)


def corpus_messages(corpus):
    """Messages of the list archives, as they lie there."""
    lists = os.path.join(corpus, "lists")
    if not os.path.isdir(lists):
        return
    import tarfile

    for archive in sorted(os.listdir(lists)):
        if not archive.endswith(".tar.zst"):
            continue
        with subprocess.Popen(
            ["zstd", "-dcq", os.path.join(lists, archive)], stdout=subprocess.PIPE
        ) as unpack:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
                for member in tar:
                    if member.isfile() and member.size <= MESSAGE_BYTES_MAX:
                        yield with_crlf(tar.extractfile(member).read())


def generated_messages(chance):
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randrange(2, 11)))
        for _ in range(4000)
    ]
    weights = [1 / (rank + 1) for rank in range(len(words))]
    for number in range(3000):
        lines = [
            f"From: {words[number % 97]}@peers.example",
            f"To: {USERS[number % 4]}",
            f"Subject: {' '.join(chance.choices(words, weights, k=6))}",
            f"Message-ID: <{number}.{chance.getrandbits(64):x}@peers.example>",
            "",
        ]
        size = min(int(chance.lognormvariate(8.9, 1.3)), MESSAGE_BYTES_MAX)
        while size > 0:
            line = " ".join(chance.choices(words, weights, k=11))
            lines.append(line)
            size -= len(line)
        yield "\r\n".join(lines).encode() + b"\r\n"


def choose_messages(corpus, count):
    """`count` messages with a mean of MEAN_BYTES: big ones are drawn as often as that needs."""
    chance = random.Random(20)
    every = list(corpus_messages(corpus))
    source = "the corpus"
    if not every:
        every, source = list(generated_messages(chance)), "generated messages"
    border = sorted(map(len, every))[len(every) * 3 // 4]
    small = [message for message in every if len(message) <= border]
    big = [message for message in every if len(message) > border]
    mean_small = sum(map(len, small)) / len(small)
    mean_big = sum(map(len, big)) / len(big)
    share = min(max((MEAN_BYTES - mean_small) / (mean_big - mean_small), 0), 1)
    chosen = [chance.choice(big if chance.random() < share else small) for _ in range(count)]
    return chosen, source


# ---- the servers -------------------------------------------------------------------------------


class Server:
    """A server of ours: started in the foreground, in its own process group, stopped at the end."""

    def __init__(self, scratch):
        self.base = os.path.join(scratch, self.name)
        os.makedirs(self.base, mode=0o755)
        self.imap_port, self.lmtp_port = free_port(), free_port()
        self.process = None
        self.prepare()

    def start(self, trace=None):
        command = self.command()
        if trace:
            tracer = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={FLUSH_CALLS}"]
            command = tracer + ["-o", trace] + command
        self.log = open(os.path.join(self.base, "server.log"), "ab")
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, start_new_session=True
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not (greets(self.imap_port) and greets(self.lmtp_port)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.flush()
                with open(self.log.name, errors="replace") as log:
                    sys.exit(f"{self.name} did not start:\n{log.read()[-4000:]}")
            time.sleep(0.05)

    def stop(self):
        if self.process is None:
            return
        server = self.server_pid()
        os.kill(server, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None
        self.log.close()

    def server_pid(self):
        """The server itself, also when strace is its parent."""
        for pid, (parent, _) in process_table().items():
            if parent == self.process.pid and self.is_traced():
                return pid
        return self.process.pid

    def is_traced(self):
        return os.path.basename(self.process.args[0]) == "strace"

    def cpu_seconds(self):
        table = process_table()
        tree, grown = {self.process.pid}, True
        while grown:
            more = {pid for pid, (parent, _) in table.items() if parent in tree} - tree
            tree |= more
            grown = bool(more)
        return sum(own_cpu_seconds(pid) + table[pid][1] for pid in tree if pid in table)

    def status(self):
        return ""


class Dovecot(Server):
    """Dovecot as Debian ships it, mdbox, every other setting that touches durability its default."""

    name = "dovecot"

    def prepare(self):
        owner = pwd.getpwnam("nobody")
        self.data = os.path.join(self.base, "mail")
        os.makedirs(self.data)
        os.chown(self.data, owner.pw_uid, owner.pw_gid)
        users = os.path.join(self.base, "users")
        with open(users, "w") as file:
            for user in USERS:
                file.write(f"{user}:{{PLAIN}}{PASSWORD}\n")
        self.config = os.path.join(self.base, "dovecot.conf")
        with open(self.config, "w") as file:
            file.write(
                f"""
base_dir = {self.base}/run
state_dir = {self.base}/state
instance_name = bench-peers-{os.getpid()}
log_path = {self.base}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_cache_size = 1M
mail_location = mdbox:{self.data}/%u
first_valid_uid = 1
mail_max_userip_connections = 0
postmaster_address = postmaster@{DOMAIN}
passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = static
  args = uid={owner.pw_uid} gid={owner.pw_gid} home={self.data}/%u allow_all_users=yes
}}
service anvil {{
  client_limit = 1000
}}
service auth {{
  client_limit = 1000
}}
service imap-login {{
  inet_listener imap {{
    port = {self.imap_port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  # One login process for many connections: Dovecot's own high-performance mode.
  service_count = 0
}}
service lmtp {{
  client_limit = 1
  process_limit = 200
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp_port}
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
"""
            )

    def command(self):
        return ["dovecot", "-F", "-c", self.config]

    def version(self):
        output = subprocess.run(["dovecot", "--version"], capture_output=True, text=True)
        return "Dovecot " + output.stdout.split()[0] + " mdbox"


class Pillarbox(Server):
    """The release build, with its default settings."""

    name = "pillarbox"
    binary = None

    def prepare(self):
        self.data = os.path.join(self.base, "data")
        self.key = self.data + ".key"
        self.config = os.path.join(self.base, "pillarbox.toml")
        with open(self.config, "w") as file:
            file.write(
                f"""
[store]
directory = "{self.data}"
host_name = "mail.{DOMAIN}"
[key]
file = "{self.key}"
[imap]
listen = ["127.0.0.1:{self.imap_port}"]
listen_tls = []
[lmtp]
listen = ["127.0.0.1:{self.lmtp_port}"]
"""
            )
        self.admin("init", self.data, "--new-key-file", self.key)
        self.admin("domain", "add", DOMAIN, "--data", self.data)
        for user in USERS:
            self.admin("account", "add", user, "--data", self.data)

    def admin(self, *arguments):
        done = subprocess.run(
            [self.binary, *arguments],
            env={**os.environ, "PILLARBOX_PASSWORD": PASSWORD},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            sys.exit(f"pillarbox {' '.join(arguments)}: {done.returncode}\n{done.stderr}")
        return done.stdout

    def command(self):
        return [self.binary, "serve", "--config", self.config]

    def status(self):
        return self.admin("status", "--data", self.data)

    def version(self):
        output = subprocess.run([self.binary, "--version"], capture_output=True, text=True)
        return output.stdout.strip() or "pillarbox"


# ---- the figures -------------------------------------------------------------------------------


def process_table():
    """pid → (parent, CPU seconds of the children that it has waited for)."""
    ticks = os.sysconf("SC_CLK_TCK")
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        table[int(entry)] = (int(fields[1]), sum(map(int, fields[13:15])) / ticks)
    return table


def own_cpu_seconds(pid):
    """CPU seconds of a process, by its own clock: the ticks in /proc are 10 ms, and are charged to
    whoever runs when they come."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def device_flushes(path):
    """Flush requests that the disk below `path` has finished, whoever asked for them."""
    device = os.stat(path).st_dev
    try:
        name = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
        if os.path.exists(f"{name}/partition"):
            name = os.path.dirname(os.path.realpath(name))
        with open(f"{name}/stat") as file:
            return int(file.read().split()[15])
    except (OSError, IndexError):
        return 0


def bytes_on_disk(folder):
    """(allocated, apparent) bytes of all files; after a sync, because ext4 allocates late."""
    os.sync()
    allocated = apparent = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            try:
                stat = os.lstat(os.path.join(parent, file))
            except OSError:
                continue
            allocated += stat.st_blocks * 512
            apparent += stat.st_size
    return allocated, apparent


def lines_in(path):
    with open(path, "rb") as file:
        return sum(b"= 0" in line for line in file)


def build_load(scratch):
    """Compiles the load generator."""
    binary = os.path.join(scratch, "load")
    source = os.path.join(HERE, "load.rs")
    subprocess.run(["rustc", "-O", "--edition", "2024", "-o", binary, source], check=True)
    return binary


def load(arguments, verb, **options):
    command = [arguments.load, verb]
    for key, value in options.items():
        command += [f"--{key}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def phases(server, messages, scale):
    """(name, verb, options) in their order; counts are fixed, so that all servers do the same."""
    lmtp = {"lmtp": f"127.0.0.1:{server.lmtp_port}", "messages": messages}
    imap = {"imap": f"127.0.0.1:{server.imap_port}", "password": PASSWORD}
    every = ",".join(USERS)
    for connections, count in [(1, 1000), (4, 2000), (16, 4000), (64, 4000)]:
        for users, where in [(USERS[0], "one mailbox"), (every, "four")]:
            if connections == 1 and where == "four":
                continue
            options = {"users": users, "connections": connections, "count": count // scale}
            label = f"lmtp{connections}{len(users)}"
            yield f"LMTP x{connections}, {where}", "lmtp", {**lmtp, **options, "label": label}
    for connections in (1, 4):
        options = {"users": USERS[1], "mailbox": "appended", "messages": messages}
        options |= {"connections": connections, "count": 2000 // scale, "label": "append"}
        yield f"APPEND x{connections}", "append", {**imap, **options}
    single = {**imap, "user": USERS[0]}
    yield "FETCH BODY[] of INBOX", "fetch", {**single, "mailbox": "INBOX"}
    grown = {**single, "mailbox": "grown"}
    yield "fill 20,000 (not compared)", "grow", {**grown, "count": 20000 // scale}
    yield "SELECT of 20,000", "select", {**grown, "count": 500 // scale}


def measure(server, arguments, messages):
    """All phases against one server: name → figures."""
    results = {}
    server.start()
    try:
        for name, verb, options in phases(server, messages, arguments.scale):
            cpu, flushes = server.cpu_seconds(), device_flushes(server.base)
            figures = load(arguments, verb, **options)
            figures["cpu_s"] = server.cpu_seconds() - cpu
            figures["device_flushes"] = device_flushes(server.base) - flushes
            results[name] = figures
            print(f"  {server.name:9} {row(name, figures)}", flush=True)
        results["status"] = server.status()
    finally:
        server.stop()
    delivered = sum(f["bytes"] for n, f in results.items() if n.startswith(("LMTP", "APPEND")))
    allocated, apparent = bytes_on_disk(server.data)
    results["disk"] = {"allocated": allocated, "apparent": apparent, "mail": delivered}
    return results


def count_flushes(server, arguments, messages):
    """Flushes a message, under strace: the same deliveries, fewer of them."""
    trace = os.path.join(server.base, "flushes.strace")
    results = {}
    server.start(trace)
    try:
        for name, verb, options in phases(server, messages, arguments.scale * 5):
            if verb not in ("lmtp", "append"):
                continue
            before = lines_in(trace)
            figures = load(arguments, verb, **options)
            results[name] = (lines_in(trace) - before) / figures["operations"]
    finally:
        server.stop()
    return results


def row(name, figures):
    count, wall = figures["operations"], figures["wall_s"]
    return (
        f"{name:28} {wall:8.2f} s {count / wall:9.1f}/s {figures['bytes'] / wall / 1e6:8.1f} MB/s "
        f"cpu {figures['cpu_s']:7.2f} s {figures['cpu_s'] / count * 1000:8.3f} ms each, "
        f"p50 {figures['p50_ms']:8.3f} p99 {figures['p99_ms']:8.3f} ms, "
        f"device flushes {figures['device_flushes']:6}, load's own cpu {figures['load_cpu_s']:.2f} s"
    )


def compare(all_results, flush_results):
    print("\nratios, Pillarbox to Dovecot (speed: more is better; cost: less is better)")
    dovecot, pillarbox = all_results["dovecot"], all_results["pillarbox"]
    for name, ours in pillarbox.items():
        if name in ("disk", "status") or "not compared" in name:
            continue
        theirs = dovecot[name]
        cost = ours["cpu_s"] / theirs["cpu_s"] if theirs["cpu_s"] else float("nan")
        line = f"  {name:28} speed x{theirs['wall_s'] / ours['wall_s']:7.2f}  CPU x{cost:6.3f}"
        if theirs_flushes := flush_results.get("dovecot", {}).get(name):
            line += f"  flushes x{flush_results['pillarbox'][name] / theirs_flushes:6.3f}"
        print(line)
    disk = {n: r["disk"]["allocated"] / r["disk"]["mail"] for n, r in all_results.items()}
    print(f"  bytes on disk                x{disk['pillarbox'] / disk['dovecot']:6.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", help="the release binary; without it Dovecot runs alone")
    parser.add_argument("--load", help="the load generator; compiled from load.rs if not given")
    parser.add_argument("--scratch", help="a folder on the disk to measure; emptied at the end")
    parser.add_argument("--only", choices=["dovecot", "pillarbox"])
    parser.add_argument("--json", help="also write all figures to this file")
    parser.add_argument("--quick", action="store_true", help="a tenth of the counts")
    arguments = parser.parse_args()
    arguments.scale = 10 if arguments.quick else 1
    corpus = os.environ.get("PILLARBOX_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus")

    scratch = tempfile.mkdtemp(prefix="bench-peers-", dir=arguments.scratch)
    os.chmod(scratch, 0o755)
    try:
        if not arguments.load:
            arguments.load = build_load(scratch)
        chosen, source = choose_messages(corpus, 2000)
        messages = os.path.join(scratch, "messages")
        with open(messages, "wb") as file:
            for message in chosen:
                file.write(struct.pack("<I", len(message)) + message)
        mean = sum(map(len, chosen)) / len(chosen)
        print(f"{len(chosen)} different messages, mean {mean:.0f} bytes, {os.cpu_count()} CPUs")
        run_all(arguments, scratch, messages)
        print(f"messages: {source}")
    finally:
        shutil.rmtree(scratch)


def run_all(arguments, scratch, messages):
    kinds = [Dovecot]
    if arguments.pillarbox:
        Pillarbox.binary = os.path.abspath(arguments.pillarbox)
        kinds.append(Pillarbox)
    if arguments.only:
        kinds = [kind for kind in kinds if kind.name == arguments.only]
    results, flushes = {}, {}
    for kind in kinds:
        server = kind(scratch)
        print(f"\n{server.version()}", flush=True)
        results[kind.name] = measure(server, arguments, messages)
        disk = results[kind.name]["disk"]
        print(
            f"  {server.name:9} on disk: {disk['allocated'] / 1e6:.1f} MB allocated, "
            f"{disk['apparent'] / 1e6:.1f} MB apparent, for {disk['mail'] / 1e6:.1f} MB of mail: "
            f"{disk['allocated'] / disk['mail']:.3f} bytes a byte"
        )
        if status := results[kind.name]["status"]:
            print("  status at the end:\n    " + status.strip().replace("\n", "\n    "))
        flushes[kind.name] = count_flushes(server, arguments, messages)
        for name, each in flushes[kind.name].items():
            print(f"  {server.name:9} {name:28} {each:6.3f} flushes a message (strace)", flush=True)
        shutil.rmtree(server.base)
    if len(results) == 2:
        compare(results, flushes)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"results": results, "flushes": flushes}, file, indent=1)


if __name__ == "__main__":
    main()
