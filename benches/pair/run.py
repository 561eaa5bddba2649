#!/usr/bin/env python3
"""What a second node costs: deliveries over LMTP to a node alone, and in a pair by mode.

Question: how many durable deliveries a second does each acknowledgement mode take, what CPU do both
nodes spend for one, how far does the follower lag meanwhile, how fast does it catch up, also when it was
away while all of it came, and how fast does it become a full copy?
Both nodes are on this machine and share its processors and its disk: figures are ratios of one run,
and CPU before wall time. Unit: a delivery of a corpus message.

    run.py --pillarbox BINARY [--load BINARY] [--count N] [--connections C] [--rounds R] [--json FILE]
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
spec = importlib.util.spec_from_file_location("peers", os.path.join(ROOT, "benches", "peers", "run.py"))
peers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peers)
DOMAIN, PASSWORD = "example.org", "correct horse battery"
USERS = [f"u{number}@{DOMAIN}" for number in range(8)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """A data directory with its configuration, and the server on it."""

    def __init__(self, arguments, folder, name):
        self.binary, self.data = arguments.pillarbox, os.path.join(folder, name)
        self.config = os.path.join(folder, f"{name}.toml")
        self.imap, self.lmtp, self.pair = free_port(), free_port(), free_port()
        self.server, self.more = None, ""

    def configure(self, mode):
        pair = f'[pair]\nlisten = "127.0.0.1:{self.pair}"\nacknowledge = "{mode}"\n{self.more}' if mode else ""
        with open(self.config, "w") as file:
            file.write(
                f'[store]\ndirectory = "{self.data}"\n[imap]\nlisten = ["127.0.0.1:{self.imap}"]\n'
                f'listen_tls = []\n[lmtp]\nlisten = ["127.0.0.1:{self.lmtp}"]\n[smtp]\nlisten = []\n'
                f'[pop3]\nlisten = []\nlisten_tls = []\n{pair}[log]\nlevel = "warn"\n'
            )

    def run(self, *words):
        environment = dict(os.environ, PILLARBOX_PASSWORD=PASSWORD)
        command = [self.binary, *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def command(self, *words):
        return self.run(*words, "--config", self.config)

    def start(self):
        self.server = subprocess.Popen([self.binary, "serve", "--config", self.config])
        for _ in range(3000):
            try:
                # A port that accepts is not enough: sockets are there before the store is open.
                with socket.create_connection(("127.0.0.1", self.lmtp), 60) as greeted:
                    if greeted.recv(3) == b"220":
                        return
            except OSError:
                time.sleep(0.01)
        sys.exit("the server does not answer")

    def stop(self):
        if self.server:
            self.server.terminate()
            self.server.wait()
            self.server = None

    def cpu(self):
        with open(f"/proc/{self.server.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def status(self):
        return json.loads(self.command("replica", "status", "--json"))["volumes"][0]


def make_pair(first, second, mode):
    """Starts one node, and a second one unless mode is None."""
    first.run("init", first.data, "--new-key-file", first.data + ".key")
    first.configure(mode)
    first.command("domain", "add", DOMAIN)
    for user in USERS:
        first.command("account", "add", user)
    first.start()
    if not mode:
        return
    invited = first.command("replica", "invite", "--address", f"127.0.0.1:{first.pair}")
    token = next(word for word in invited.split() if word.startswith("pillarbox-join-"))
    key = second.data + ".key"
    address = f"127.0.0.1:{second.pair}"
    second.run("replica", "join", token, second.data, "--new-key-file", key, "--address", address)
    second.configure(mode)
    second.start()
    while not first.status()["is_there"]:
        time.sleep(0.02)


def corpus_file(path):
    """Messages of the corpus, as the load generator reads them."""
    corpus = os.environ.get("PILLARBOX_CORPUS") or os.path.join(ROOT, "..", "shared", "corpus")
    chosen, source = peers.choose_messages(corpus, 2000)
    with open(path, "wb") as file:
        for message in chosen:
            file.write(struct.pack("<I", len(message)) + message)
    mean = sum(map(len, chosen)) / len(chosen)
    print(f"{len(chosen)} messages, mean {mean:.0f} bytes, {source}, {os.cpu_count()} CPUs", flush=True)


def watch_lag(node, stop, lags):
    while not stop.wait(0.05):
        lags.append(node.status()["lag_milliseconds"])


def load(arguments, node, messages):
    command = [arguments.load, "lmtp", "--lmtp", f"127.0.0.1:{node.lmtp}", "--users", ",".join(USERS)]
    command += ["--label", "pair", "--messages", messages, "--count", str(arguments.count)]
    command += ["--connections", str(arguments.connections)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rank(values, part):
    """By nearest rank."""
    return sorted(values)[math.ceil(part * len(values)) - 1] if values else None


def log_bytes(node):
    total = 0
    for folder, _, names in os.walk(os.path.join(node.data, "volumes", "main", "log")):
        total += sum(os.stat(os.path.join(folder, name)).st_blocks * 512 for name in names)
    return total


def measure_full_copy(first, second):
    """The second node becomes a copy of the first; until it follows again."""
    begun = time.monotonic()
    second.command("replica", "full-sync", "--yes")
    lent, copied = os.path.join(first.data, "volumes", "main", "held", "copy"), 0
    while True:
        sizes = 0
        for folder, _, names in os.walk(lent):
            # It may be let go of meanwhile.
            paths = [os.path.join(folder, name) for name in names]
            sizes += sum(os.path.getsize(path) for path in paths if os.path.exists(path))
        if copied and not sizes:
            return copied / 1e6, time.monotonic() - begun
        copied = max(copied, sizes)
        time.sleep(0.02)


def measure_catching_up(arguments, messages):
    """The second node is away while all messages come; from its start until it has them."""
    folder = tempfile.mkdtemp(prefix="bench-pair-", dir=arguments.scratch)
    first, second = Node(arguments, folder, "a"), Node(arguments, folder, "b")
    try:
        make_pair(first, second, "local")
        second.stop()
        before = log_bytes(first)
        load(arguments, first, messages)
        megabytes = (log_bytes(first) - before) / 1e6
        begun = time.monotonic()
        second.start()
        served = time.monotonic() - begun
        while True:
            status = first.status()
            if status["is_there"] and status["last"] == status["noted"]:
                break
            time.sleep(0.005)
        took = time.monotonic() - begun
        copied, copying = measure_full_copy(first, second)
        return {
            "mode": "catching up",
            "log_mb": round(megabytes),
            "seconds": round(took, 2),
            "started_s": round(served, 2),
            "mb_s": round(megabytes / took),
            "copied_mb": round(copied),
            "copying_s": round(copying, 2),
            "copied_mb_s": round(copied / copying),
        }
    finally:
        first.stop()
        second.stop()
        shutil.rmtree(folder, ignore_errors=True)


def measure(arguments, mode, messages):
    folder = tempfile.mkdtemp(prefix="bench-pair-", dir=arguments.scratch)
    first, second = Node(arguments, folder, "a"), Node(arguments, folder, "b")
    try:
        make_pair(first, second, mode)
        nodes = [node for node in (first, second) if node.server]
        before = [node.cpu() for node in nodes]
        stop, lags = threading.Event(), []
        watcher = threading.Thread(target=watch_lag, args=(first, stop, lags))
        if mode:
            watcher.start()
        loaded = load(arguments, first, messages)
        ended = time.monotonic()
        stop.set()
        caught_up = 0.0
        if mode:
            watcher.join()
            while first.status()["last"] != first.status()["noted"]:
                time.sleep(0.005)
            caught_up = time.monotonic() - ended
        cpu = [node.cpu() - old for node, old in zip(nodes, before)]
        return {
            "mode": mode or "alone",
            "deliveries_s": round(arguments.count / loaded["wall_s"]),
            "cpu_us": [round(one / arguments.count * 1e6) for one in cpu],
            "p50_ms": loaded.get("p50_ms"),
            "p99_ms": loaded.get("p99_ms"),
            "lag_p50_ms": statistics.median(lags) if lags else None,
            "lag_p99_ms": rank(lags, 0.99),
            "lag_max_ms": max(lags) if lags else None,
            "caught_up_s": round(caught_up, 3),
        }
    finally:
        first.stop()
        second.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--load")
    parser.add_argument("--scratch")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    arguments.pillarbox = os.path.abspath(arguments.pillarbox)
    scratch = tempfile.mkdtemp(prefix="bench-pair-", dir=arguments.scratch)
    try:
        if not arguments.load:
            arguments.load = peers.build_load(scratch)
        messages = os.path.join(scratch, "messages")
        corpus_file(messages)
        rounds = []
        for _ in range(arguments.rounds):
            for mode in (None, "local", "durable"):
                rounds.append(measure(arguments, mode, messages))
                print(json.dumps(rounds[-1]), flush=True)
            rounds.append(measure_catching_up(arguments, messages))
            print(json.dumps(rounds[-1]), flush=True)
        rate = lambda mode: statistics.median(r["deliveries_s"] for r in rounds if r["mode"] == mode)
        for mode in ("local", "durable"):
            print(f"{mode}: {rate(mode) / rate('alone'):.2f} of the deliveries of a node alone")
        print(f"durable: {rate('durable') / rate('local'):.2f} of the deliveries of local")
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(rounds, file, indent=1)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
