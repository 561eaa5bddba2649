#!/usr/bin/env python3
"""A pair of Dovecot 2.3 with its replicator beside a pair of Pillarbox: the same house, load and ledger.

Question: how long until what one node acknowledged shows on the other; what is lost, doubled or otherwise
wrong after ordinary work, after kill -9 of a node, and after a split in which both sides took changes; what
CPU do both nodes spend for a good answer? Dovecot as Debian ships it: mdbox, the plugins notify and
replication, doveadm over TCP, its documented example configuration. The ledger (ledger.py) is the same and
knows neither. Units: milliseconds, letters, CPU microseconds. Both nodes are on one machine.

    peer.py --pillarbox BINARY [--only dovecot,local,durable] [--seconds S] [--probes N] [--json FILE]
"""

import argparse
import collections
import imaplib
import json
import math
import os
import pwd
import subprocess
import sys
import time

import house
from house import PASSWORD, Server, Trouble, await_together, wait
from clients import Client, Lmtp, Load
from ledger import YES, Ledger
from scenarios import DEGRADE

MAILBOXES = "".join(f"  mailbox {name} {{\n    auto = create\n  }}\n" for name in ("Archive", "Trash"))


class Dovecot(Server):
    """One of two nodes that replicate each other."""

    def __init__(self, the_house, name, other):
        super().__init__(the_house, name)
        self.base = os.path.join(the_house.folder, name)
        self.config = os.path.join(self.base, "dovecot.conf")
        self.prepare(the_house.listen[name], the_house.reached[other])

    def prepare(self, listen, replica):
        owner = pwd.getpwnam("nobody")
        mail, users = os.path.join(self.base, "mail"), os.path.join(self.base, "users")
        os.makedirs(mail)
        for folder in (self.house.folder, self.base, mail):
            os.chmod(folder, 0o755)
        os.chown(mail, owner.pw_uid, owner.pw_gid)
        with open(users, "w") as file:
            for user in house.USERS:
                file.write(f"{user}:{{PLAIN}}{PASSWORD}:{owner.pw_uid}:{owner.pw_gid}::{mail}/{user}::\n")
        certificate, key = (os.path.join(self.base, name) for name in ("tls.pem", "tls.key"))
        words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost"
        subprocess.run([*words.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True)
        with open(self.config, "w") as file:
            file.write(
                f"""
base_dir = {self.base}/run
state_dir = {self.base}/state
instance_name = pair-{self.name}
log_path = {self.base}/dovecot.log
protocols = imap lmtp
listen = {self.imap[0]}
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
mail_location = mdbox:{mail}/%u
mail_plugins = notify replication
first_valid_uid = 1
mail_max_userip_connections = 0
postmaster_address = postmaster@{house.DOMAIN}
doveadm_password = {PASSWORD.replace(" ", "-")}
doveadm_port = {replica[1]}
passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = passwd-file
  args = {users}
}}
plugin {{
  mail_replica = tcp:{replica[0]}:{replica[1]}
}}
service replicator {{
  process_min_avail = 1
}}
service aggregator {{
  fifo_listener replication-notify-fifo {{
    user = nobody
  }}
  unix_listener replication-notify {{
    user = nobody
  }}
}}
service doveadm {{
  inet_listener {{
    address = {listen[0]}
    port = {listen[1]}
  }}
}}
service imap-login {{
  service_count = 0
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {self.imap[1]}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = {self.lmtp[0]}
    port = {self.lmtp[1]}
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
{MAILBOXES}}}
"""
            )

    def start(self):
        command = self.house.inside(self.name) + ["dovecot", "-F", "-c", self.config]
        with open(os.path.join(self.base, "out.log"), "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.log = os.path.join(self.base, "dovecot.log")
        wait(f"{self.name} greets", self.greets)

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def cpu(self):
        return tree_cpu(self.process.pid)


def tree_cpu(root):
    """User and system seconds of a process, of those below it, and of those that it has waited for."""
    table = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        table[int(pid)] = (int(fields[1]), sum(map(int, fields[11:15])))
    tree, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _) in table.items() if parent in tree} - tree
        tree |= more
        grown = bool(more)
    return sum(table[pid][1] for pid in tree if pid in table) / os.sysconf("SC_CLK_TCK")


class Pair:
    """Two nodes of one kind, in a new house."""

    def __init__(self, kind, binary):
        self.kind, self.house, self.ledger = kind, house.House(), Ledger()
        if kind == "dovecot":
            self.nodes = Dovecot(self.house, "a", "b"), Dovecot(self.house, "b", "a")
            for node in self.nodes:
                node.start()
        else:
            self.nodes = house.make_pair(self.house, binary, kind, DEGRADE if kind == "durable" else "")

    def work(self, seconds, **options):
        load = Load(self.ledger, self.nodes, **options)
        time.sleep(seconds)
        return load

    def settle(self):
        """Waits until both nodes have the same; answers the seconds and the faults by kind."""
        begun = time.monotonic()
        if self.kind != "dovecot":
            await_together(*self.nodes)
        faults = self.ledger.compare(self.nodes, seconds=90)
        took = time.monotonic() - begun
        kinds = collections.Counter(fault.kind for fault in faults)
        examples = [str(fault) for fault in faults[:4]]
        return {"settled_s": round(took, 1), "faults": dict(kinds), **({"examples": examples} if examples else {})}


def cpu_of(nodes):
    return sum(node.cpu() for node in nodes)


def steady(pair, seconds):
    """Ordinary work, each user at a node of his own."""
    before = cpu_of(pair.nodes)
    load = pair.work(seconds, sides="home")
    load.stop()
    counts = dict(pair.ledger.counts)
    settled = pair.settle()
    cpu = (cpu_of(pair.nodes) - before) / counts[YES] * 1e6
    return {"answers_s": round(counts[YES] / seconds), "cpu_us": round(cpu), **settled}


def lag(pair, probes):
    """From the answer to a delivery on one node until a session on the other shows it, under load."""
    one, other = pair.nodes
    user, lags = house.USERS[3], []
    homes = zip(house.USERS[:3], (one, other, one))
    load = [Client(pair.ledger, list(pair.nodes), name, pinned=home) for name, home in homes]
    for client in load:
        client.start()
    sender, session = Lmtp(one.lmtp, 30), other.connect(user, 30)
    try:
        for _ in range(probes):
            session.select("INBOX")
            there = int(session.untagged_responses["EXISTS"][-1])
            letter, text = pair.ledger.write(user, "INBOX")
            answer = sender.deliver(user, text)
            begun = time.monotonic()
            pair.ledger.sent(letter, answer, one)
            while int((session.untagged_responses.get("EXISTS") or [b"0"])[-1]) <= there:
                session.noop()
                if time.monotonic() - begun > 30:
                    break
            lags.append((time.monotonic() - begun) * 1000)
    finally:
        for client in load:
            client.ends.set()
        for client in load:
            client.stop()
    lags.sort()
    rank = lambda part: round(lags[math.ceil(part * len(lags)) - 1], 1)
    return {"probes": probes, "p50_ms": rank(0.5), "p99_ms": rank(0.99), "longest_ms": rank(1), **pair.settle()}


def failover(pair, seconds):
    """kill -9 of a node under load; clients go on at the other one; the first one comes back."""
    a, b = pair.nodes
    load = pair.work(seconds, parted=pair.kind != "durable")
    before, begun = pair.ledger.acknowledged(), time.monotonic()
    a.kill()
    if pair.kind != "dovecot":
        wait("the other node notices", lambda: (b.status() or {}).get("is_connected") is False)
        b.command("replica", "promote")
    time.sleep(seconds)
    gap, _ = pair.ledger.gap(begun)
    load.stop()
    found = {number for _, _, mails in pair.ledger.read(b).values() for number, _, _ in mails.values()}
    away = (before - found) & pair.ledger.acknowledged()
    a.start()
    if pair.kind == "dovecot":
        time.sleep(2)
    return {"rto_ms": round(gap * 1000), "rpo_letters": len(away), **pair.settle()}


def split(pair, seconds):
    """Nothing passes between the nodes; each user is served on both; then they see each other again."""
    pair.house.wire.both(silent=True)
    if pair.kind != "dovecot":
        primary = next(node for node in pair.nodes if node.role() == "primary")
        other = next(node for node in pair.nodes if node is not primary)
        wait("both notice", lambda: not any(n.status()["is_connected"] for n in pair.nodes))
        other.command("replica", "promote")
        time.sleep(1.5)
    pair.work(seconds, sides="both", parted=True).stop()
    pair.house.wire.heal()
    return pair.settle()


def measure(kind, arguments):
    parts = {
        "steady": lambda pair: steady(pair, 3 * arguments.seconds),
        "lag": lambda pair: lag(pair, arguments.probes),
        "failover": lambda pair: failover(pair, arguments.seconds),
        "split": lambda pair: split(pair, arguments.seconds),
    }
    for name, part in parts.items():
        pair = Pair(kind, arguments.pillarbox)
        try:
            result = part(pair)
        except (Trouble, OSError, imaplib.IMAP4.error) as trouble:
            result = {"trouble": str(trouble)[:2000]}
        finally:
            pair.house.close()
        yield {"kind": kind, "part": name, **result}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--only", default="dovecot,local,durable")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--probes", type=int, default=100)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    arguments.pillarbox = os.path.abspath(arguments.pillarbox)
    house.move_in()
    if not house.has_rooms():
        sys.exit("Dovecot's replicator wants a port of the same number on both nodes: that needs namespaces")
    results = []
    for kind in arguments.only.split(","):
        for result in measure(kind, arguments):
            results.append(result)
            print(json.dumps(result), flush=True)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
