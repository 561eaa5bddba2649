#!/usr/bin/env python3
"""A mailbox at a constant size, from which as much goes as comes: what does the disk hold and write?

Question: bytes of the log to bytes alive, while it goes on; bytes written by the process (log,
copies of reclaim, base images, state) to bytes of mail delivered; megabytes that reclaim copies a
second of its own CPU. Dataset: messages of 12,000 random bytes in base64, which the log keeps
decoded and which are below what is kept once; FILL of them first, then in each of ROUNDS rounds COUNT are delivered over
LMTP and COUNT, drawn from all ages alike, are expunged over IMAP. Retention is off. Unit: as printed.

    run.py --pillarbox BINARY [--fill 60000] [--count 15000] [--rounds 16] [--scratch DIR]

Drawing from all ages is the worst that a log can meet: no segment dies by itself.
"""

import argparse
import base64
import imaplib
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import run as peers  # noqa: E402

USER = peers.USERS[0]
# One answer of SEARCH names all UIDs.
imaplib._MAXLINE = 1 << 25
MESSAGES_IN_FILE = 500


def write_messages(path, chance):
    with open(path, "wb") as file:
        for number in range(MESSAGES_IN_FILE):
            body = base64.encodebytes(chance.randbytes(12_000)).replace(b"\n", b"\r\n")
            head = (
                f"From: space@peers.example\r\nTo: {USER}\r\nSubject: number {number}\r\n"
                f"Message-ID: <{chance.getrandbits(64):x}@peers.example>\r\nMIME-Version: 1.0\r\n"
                "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            )
            message = head.encode() + body
            file.write(struct.pack("<I", len(message)) + message)


def thread_cpu(pid, name):
    """CPU seconds of the threads of that name."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                head, fields = file.read().rsplit(")", 1)
        except OSError:
            continue
        if head.split("(", 1)[1] == name:
            total += sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


def written_bytes(pid):
    """What it passed to write calls, answers over the network with them (about a hundredth): the
    kernel's `write_bytes` counts whole folios, however little of them was written."""
    with open(f"/proc/{pid}/io") as file:
        return int(re.search(r"^wchar: (\d+)", file.read(), re.M).group(1))


def log_bytes(server):
    folder = os.path.join(server.data, "volumes/main/log")
    total = 0
    for name in os.listdir(folder):
        try:
            total += os.stat(os.path.join(folder, name)).st_blocks * 512
        except OSError:
            pass
    return total


def figure(server, name):
    return int(re.search(rf"^{name}:? +(\d+)", server.status(), re.M).group(1))


class Watch(threading.Thread):
    """Bytes of the log to bytes alive, once a second."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.ratios, self.is_over = server, [], threading.Event()

    def run(self):
        while not self.is_over.wait(1):
            try:
                self.ratios.append(log_bytes(self.server) / figure(self.server, "live_bytes"))
            except (AttributeError, ZeroDivisionError):
                pass


def expunge(server, chance, count):
    imap = imaplib.IMAP4("127.0.0.1", server.imap_port)
    imap.login(USER, peers.PASSWORD)
    imap.select("INBOX")
    uids = imap.uid("SEARCH", "ALL")[1][0].split()
    going = sorted(chance.sample(range(len(uids)), min(count, len(uids))))
    for start in range(0, len(going), 500):
        named = b",".join(uids[at] for at in going[start : start + 500]).decode()
        imap.uid("STORE", named, "+FLAGS.SILENT", r"(\Deleted)")
        imap.expunge()
    imap.logout()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--fill", type=int, default=60_000)
    parser.add_argument("--count", type=int, default=15_000)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--rate", type=int, default=1 << 30)
    parser.add_argument("--scratch")
    arguments = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="space-", dir=arguments.scratch)
    peers.Pillarbox.binary = os.path.abspath(arguments.pillarbox)
    try:
        run(arguments, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def run(arguments, scratch):
    chance = random.Random(3)
    messages = os.path.join(scratch, "messages")
    arguments.load = peers.build_load(scratch)
    server = peers.Pillarbox(scratch)
    with open(server.config) as file:
        config = file.read()
    with open(server.config, "w") as file:
        line = f"[store]\nreclaim_bytes_per_second = {arguments.rate}"
        file.write(config.replace("[store]", line))
    server.start()
    pid = server.server_pid()
    delivered = 0
    watch = Watch(server)
    watch.start()
    try:
        for number in range(arguments.rounds + 1):
            write_messages(messages, chance)
            count = arguments.fill if number == 0 else arguments.count
            options = {"lmtp": f"127.0.0.1:{server.lmtp_port}", "messages": messages}
            options |= {"users": USER, "connections": 16, "count": count, "label": "space"}
            delivered += peers.load(arguments, "lmtp", **options)["bytes"]
            if number > 0:
                expunge(server, chance, arguments.count)
            ratio = log_bytes(server) / max(figure(server, "live_bytes"), 1)
            print(f"round {number}: {log_bytes(server) / 1e6:.0f} MB of log, {ratio:.2f} of what is alive")
        under_load = watch.ratios[len(watch.ratios) // 2 :]
        before = None
        while before != (now := figure(server, "reclaim_copied_bytes_since_start")):
            before = now
            time.sleep(5)
        copied, cpu = now, thread_cpu(pid, "reclaimer")
        rounds = figure(server, "base_image_rounds_since_start")
        live, log = figure(server, "live_bytes"), log_bytes(server)
        written = written_bytes(pid)
        appended = figure(server, "log_bytes_since_start")
    finally:
        watch.is_over.set()
        server.stop()
    state = peers.bytes_on_disk(os.path.join(server.data, "volumes/main/state"))[0]
    print(f"delivered {delivered / 1e6:.0f} MB of mail; {appended / 1e6:.0f} MB appended to the log")
    print(
        f"log to alive: under load, second half, mean {sum(under_load) / len(under_load):.2f}, "
        f"most {max(under_load):.2f}; at rest {log / live:.2f} ({live / 1e6:.0f} MB alive)"
    )
    print(
        f"written: {written / 1e6:.0f} MB, {written / delivered:.2f} a byte of mail, "
        f"{written / appended:.2f} a byte appended; state is {state / 1e6:.1f} MB"
    )
    print(
        f"reclaim: {copied / 1e6:.0f} MB copied, {copied / appended:.2f} a byte appended, in "
        f"{cpu:.2f} s of CPU: {copied / 1e6 / max(cpu, 0.01):.0f} MB a second; "
        f"{rounds} rounds of base images"
    )


if __name__ == "__main__":
    main()
