#!/usr/bin/env python3
"""How long a pair is without an answer when its primary dies, and what is missing afterwards.

Question: from the last good answer of the old primary to the first good one of the new, as a mail
server sees it from outside: p50 and p99 over many failovers (RTO); acknowledged messages that are
missing, and messages that are there twice (RPO). Two nodes and an etcd of one member on loopback;
the primary is killed (kill -9) or stands still (SIGSTOP, as a machine that is gone) in the middle of
deliveries, the other takes over by itself, the first comes back, follows, and is merged; then the
other way round. Unit: a failover. Timing is printed, and decides nothing; what is lost does.

    failover.py --pillarbox BINARY [--mode durable|local] [--how kill|stop] [--count N]
"""

import argparse
import importlib.util
import imaplib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("run", os.path.join(HERE, "run.py"))
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
USER = run.USERS[0]


class Lmtp:
    """A connection that delivers small messages with a number in them."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 2)
        self.socket.settimeout(3)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say("LHLO bench")

    def reply(self):
        while True:
            line = self.file.readline()
            if not line:
                raise OSError("closed")
            if line[3:4] != b"-":
                return line

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def deliver(self, number):
        self.say("MAIL FROM:<s@example.net>")
        self.say(f"RCPT TO:<{USER}>")
        self.say("DATA")
        return self.say(f"Subject: {number}\r\n\r\nbody {number}\r\n.")[:1] == b"2"


class Sender(threading.Thread):
    """Delivers all the time: to the node that answered last, or else to the other one."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes, self.accepted, self.answers = nodes, set(), []
        self.number, self.ends = 0, threading.Event()

    def run(self):
        at, link = 0, None
        while not self.ends.is_set():
            self.number += 1
            try:
                link = link or Lmtp(self.nodes[at].lmtp)
                if link.deliver(self.number):
                    self.accepted.add(self.number)
                    self.answers.append((time.monotonic(), at))
                    time.sleep(0.002)
                    continue
            except OSError:
                pass
            if link:
                link.socket.close()
            at, link = 1 - at, None
            time.sleep(0.005)


def start_etcd(folder):
    client, peer = (f"http://127.0.0.1:{run.free_port()}" for _ in range(2))
    command = ["etcd", "--data-dir", os.path.join(folder, "etcd"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}"]
    return client, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def status(node):
    words = [node.binary, "replica", "status", "--json", "--config", node.config]
    done = subprocess.run(words, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else None


def wait(what, is_so):
    for _ in range(6000):
        if is_so():
            return
        time.sleep(0.01)
    sys.exit(f"waited in vain: {what}")


def is_ready(primary, follower):
    """The follower has all, is marked in sync, and has nothing to merge."""
    one, other = status(primary), status(follower)
    if not one or not other:
        return False
    here, there = one["volumes"][0], other["volumes"][0]
    together = here["role"] == "primary" and here["is_there"] and not here["is_degraded"]
    return together and not there["is_merging"] and ", node " in (one["etcd"] or "")


def shown(node):
    imap = imaplib.IMAP4("127.0.0.1", node.imap)
    imap.login(USER, run.PASSWORD)
    imap.select("INBOX")
    _, found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    imap.logout()
    return [int(part[1].split(b":")[1]) for part in found if isinstance(part, tuple)]


def fail_over(nodes, at, sender, how):
    """The primary dies; answers how long nobody answered."""
    old, new = nodes[at], nodes[1 - at]
    wait("mail is taken", lambda: sender.answers and time.monotonic() - sender.answers[-1][0] < 0.1)
    begun = time.monotonic()
    old.server.send_signal(signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    role = lambda: (status(new) or {"volumes": [{"role": ""}]})["volumes"][0]["role"]
    wait("the other node takes over", lambda: role() == "primary")
    seen = len(sender.answers)
    wait("mail is taken again", lambda: len(sender.answers) > seen + 3)
    answers = list(sender.answers)
    gap = max(later[0] - earlier[0] for earlier, later in zip(answers, answers[1:]) if later[0] >= begun)
    if how == "kill":
        old.server.wait()
        old.start()
    else:
        old.server.send_signal(signal.SIGCONT)
    wait("the old primary follows", lambda: is_ready(new, old))
    return gap


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--mode", choices=("durable", "local"), default="durable")
    parser.add_argument("--how", choices=("kill", "stop"), default="kill")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--scratch")
    arguments = parser.parse_args()
    arguments.pillarbox = os.path.abspath(arguments.pillarbox)
    folder = tempfile.mkdtemp(prefix="bench-failover-", dir=arguments.scratch)
    url, etcd = start_etcd(folder)
    nodes = [run.Node(arguments, folder, name) for name in ("a", "b")]
    away = 'away = "degrade"\ndegrade_seconds = 1\n' if arguments.mode == "durable" else ""
    more = f'{away}[pair.etcd]\nendpoints = ["{url}"]\n'
    for node in nodes:
        node.more = more
    try:
        run.make_pair(nodes[0], nodes[1], arguments.mode)
        wait("the second node is in sync", lambda: is_ready(*nodes))
        held = lambda node: os.path.exists(os.path.join(node.data, "volumes/main/held/current"))
        wait("both hold a checkpoint", lambda: all(map(held, nodes)))
        sender = Sender(nodes)
        sender.start()
        gaps = []
        for turn in range(arguments.count):
            gaps.append(fail_over(nodes, turn % 2, sender, arguments.how))
            print(f"failover {turn + 1}: {gaps[-1] * 1000:.0f} ms", file=sys.stderr, flush=True)
        sender.ends.set()
        sender.join()
        primary = nodes[arguments.count % 2]
        wait("both have the same", lambda: shown(nodes[0]) == shown(nodes[1]))
        found = shown(primary)
        lost, twice = sender.accepted - set(found), len(found) - len(set(found))
        gaps.sort()
        # Nearest rank: below a hundred, the 99th percentile is the longest.
        quantile = lambda part: gaps[math.ceil(part * len(gaps)) - 1] * 1000
        print(
            f"{arguments.mode}, {arguments.how}: {len(gaps)} failovers, RTO p50 {quantile(0.5):.0f} ms, "
            f"p99 {quantile(0.99):.0f} ms, longest {gaps[-1] * 1000:.0f} ms; "
            f"{len(sender.accepted)} messages acknowledged, {len(lost)} lost, {twice} doubled"
        )
        if lost or twice:
            sys.exit(f"lost {sorted(lost)[:20]}, {twice} twice")
    finally:
        for node in nodes:
            if node.server and node.server.poll() is None:
                node.server.send_signal(signal.SIGCONT)
                node.server.kill()
        etcd.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
