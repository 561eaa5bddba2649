#!/usr/bin/env python3
"""What reading mail costs: the same IMAP commands against Dovecot and Pillarbox, in one run.

Question: CPU seconds of the server, and wall time, of what mail programs ask for. Dataset: COUNT
messages of the corpus, appended once; the large mailbox is made of them by COPY, so that its
messages share bodies in both servers; the varied one is of short messages that all differ, in
threads of eight. Peers: Dovecot as installed (plain mdbox), and with zstd and
mail_crypt, which is what we do. Unit: as printed; ratios are Dovecot's figure over ours.

    run.py --pillarbox BINARY [--count 18000] [--large 200000] [--varied 200000] [--only NAME,…]

Each command is repeated until the server has used SECONDS_MIN of CPU, so that the clock's ticks of
10 ms do not count, or WALL_SECONDS_MAX are over. `first` rows are asked once, of a server that has just been started.
"""

import argparse
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import run as peers  # noqa: E402

USER = peers.USERS[0]
SECONDS_MIN = 0.5
REPEATS_MAX = 400
WALL_SECONDS_MAX = 20
IDLE_ROUNDS = 40
# The longest line that ends a command, with its capabilities.
TAIL_BYTES = 4096


class DovecotSealed(peers.Dovecot):
    """Dovecot with compressed and encrypted mail."""

    name = "dovecot-sealed"

    def prepare(self):
        super().prepare()
        key, public = (os.path.join(self.base, name) for name in ("private.pem", "public.pem"))
        curve = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
        pem = subprocess.run(curve, capture_output=True, check=True).stdout
        to_pkcs8 = ["openssl", "pkcs8", "-topk8", "-nocrypt", "-out", key]
        subprocess.run(to_pkcs8, input=pem, check=True)
        subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", public], check=True)
        for path in (key, public):
            os.chmod(path, 0o644)
        with open(self.config, "a") as file:
            file.write(
                f"""
mail_plugins = zlib mail_crypt
plugin {{
  zlib_save = zstd
  mail_crypt_global_private_key = <{key}
  mail_crypt_global_public_key = <{public}
  mail_crypt_save_version = 2
}}
"""
            )

    def version(self):
        return super().version() + ", zstd and mail_crypt"


class Client:
    """An IMAP client that looks for the end of answers and at nothing else."""

    def __init__(self, server, user=USER):
        self.socket = socket.create_connection(("127.0.0.1", server.imap_port), 30)
        self.socket.settimeout(peers.RUN_SECONDS_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self.buffer = bytearray(1 << 20)
        self.socket.recv(4096)
        self.command(f"LOGIN {user} {peers.PASSWORD}")

    def command(self, text, keep=False):
        """Sends a command; answers how many bytes came, or the bytes."""
        self.number += 1
        tag = f"t{self.number}"
        self.socket.sendall(f"{tag} {text}\r\n".encode())
        return self.until(tag.encode(), keep, text)

    def until(self, tag, keep, text):
        kept, count, tail = [], 0, b""
        end = re.compile(rb"(?:^|\r\n)" + tag + rb" (OK|NO|BAD)[^\r\n]*\r\n$")
        while True:
            size = self.socket.recv_into(self.buffer)
            if size == 0:
                sys.exit(f"the server hung up during {text}")
            count += size
            piece = bytes(self.buffer[:size]) if keep else bytes(self.buffer[max(0, size - TAIL_BYTES) : size])
            if keep:
                kept.append(piece)
            tail = (tail + piece)[-TAIL_BYTES:]
            found = end.search(tail)
            if found:
                if found.group(1) != b"OK":
                    sys.exit(f"{text}: {tail[-200:]}")
                return b"".join(kept) if keep else count


def highest_modseq(client):
    answer = client.command("STATUS large (HIGHESTMODSEQ UIDVALIDITY MESSAGES)", keep=True)
    numbers = re.findall(rb"(HIGHESTMODSEQ|UIDVALIDITY) (\d+)", answer)
    return {name.decode(): int(number) for name, number in numbers}


class Rows:
    """Measures rows of one server."""

    def __init__(self, server, wanted):
        self.server, self.wanted, self.figures = server, wanted, {}

    def wants(self, name):
        return not self.wanted or any(word in name for word in self.wanted)

    def measure(self, name, unit, count, action, once=False):
        """CPU and wall time of `action`, which does `count` of `unit`."""
        if not self.wants(name):
            return
        repeats, begin_cpu, begin = 0, self.server.cpu_seconds(), time.monotonic()
        while True:
            size = action()
            repeats += 1
            cpu = self.server.cpu_seconds() - begin_cpu
            is_long = time.monotonic() - begin > WALL_SECONDS_MAX
            if once or cpu >= SECONDS_MIN or repeats >= REPEATS_MAX or is_long:
                break
        wall = (time.monotonic() - begin) / repeats
        self.note(name, unit, count, cpu / repeats, wall, size)

    def note(self, name, unit, count, cpu, wall, size=0):
        self.figures[name] = {"unit": unit, "count": count, "cpu_s": cpu, "wall_s": wall}
        each = f"{cpu / count * 1e6:10.2f} us CPU, {wall / count * 1e6:10.2f} us wall"
        rate = f"{size / wall / 1e6:7.1f} MB/s" if size else ""
        print(f"  {self.server.name:14} {name:62} {each} a {unit} {rate}", flush=True)


def fill(server, arguments):
    """Appends the messages, and makes the large mailbox of them."""
    options = {"imap": f"127.0.0.1:{server.imap_port}", "password": peers.PASSWORD}
    options |= {"users": USER, "mailbox": "mail", "messages": arguments.messages}
    options |= {"connections": 4, "count": arguments.count, "label": "fill"}
    peers.load(arguments, "append", **options)
    client = Client(server)
    if arguments.large:
        client.command("CREATE large")
        client.command("SELECT mail")
        for _ in range(max(1, arguments.large // arguments.count)):
            client.command("COPY 1:* large")
    client.command("UNSELECT" if arguments.large else "NOOP")


def varied_message(number, chance):
    """A short message; eight of a subject answer each other."""
    topic, place = divmod(number, 8)
    ids = [f"<{topic}.{at}@lists.example.org>" for at in range(place + 1)]
    person = f"Person {chance.randrange(400)} <p{chance.randrange(400)}@example.org>"
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(1.2e9 + number * 991 + chance.randrange(9999)))
    lines = [
        f"From: {person}", "To: everybody@lists.example.org", f"Date: {date}",
        f"Subject: {'Re: ' if place else ''}topic {topic * 7919 % 100003} of the list",
        f"Message-ID: {ids[-1]}", *([f"References: {' '.join(ids[:-1])}"] if place else []), "",
        f"{chance.getrandbits(64):x} words that are nowhere else", "",
    ]
    return "\r\n".join(lines).encode()


def fill_varied(server, count):
    chance, client = random.Random(8), Client(server)
    client.command("CREATE varied")
    for begin in range(0, count, 200):
        parts = [b""]
        for number in range(begin, min(begin + 200, count)):
            message = varied_message(number, chance)
            parts.append(b"{%d+}\r\n%b" % (len(message), message))
        client.number += 1
        tag = f"t{client.number}"
        client.socket.sendall(f"{tag} APPEND varied".encode() + b" ".join(parts) + b"\r\n")
        client.until(tag.encode(), False, "APPEND varied")


def restart(server):
    server.stop()
    server.start()


def small_rows(rows, count, chance):
    server = rows.server
    asks = [
        ("FETCH 1:* (FLAGS)", "FETCH 1:* (FLAGS)"),
        ("FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)",) * 2,
        ("FETCH 1:* (headers that lists show)", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE "
         "BODY.PEEK[HEADER.FIELDS (DATE SUBJECT FROM CONTENT-TYPE TO CC MESSAGE-ID REFERENCES)])"),
        ("FETCH 1:* (BODY.PEEK[])", "FETCH 1:* (BODY.PEEK[])"),
    ]
    for name, command in asks:
        restart(server)
        client = Client(server)
        client.command("EXAMINE mail")
        rows.measure(f"first {name}", "message", count, lambda: client.command(command), once=True)
        rows.measure(name, "message", count, lambda: client.command(command))
    client.command("SELECT mail")
    picks = [chance.randrange(1, count + 1) for _ in range(2000)]

    def bodies():
        return sum(client.command(f"FETCH {number} (BODY.PEEK[])") for number in picks)

    rows.measure("FETCH n (BODY.PEEK[]), at random", "message", len(picks), bodies)
    rows.measure("SELECT", "command", 1, lambda: client.command("SELECT mail"))

    def store():
        client.command("STORE 1:* +FLAGS (\\Flagged)")
        return client.command("STORE 1:* -FLAGS (\\Flagged)")

    rows.measure("STORE 1:* ±FLAGS (\\Flagged)", "message", 2 * count, store)
    rows.measure("SEARCH UNSEEN", "message", count, lambda: client.command("SEARCH UNSEEN"))


def order_rows(rows, client, count, of=""):
    """SORT and THREAD, asked first and again."""
    able = client.command("CAPABILITY", keep=True)
    asks = [f"SORT ({key}) UTF-8 ALL" for key in ["ARRIVAL", "REVERSE DATE", "SUBJECT", "FROM"]]
    asks = [ask for ask in asks if b" SORT" in able]
    asks += ["THREAD REFERENCES UTF-8 ALL"] if b"THREAD=REFERENCES" in able else []
    for command in asks:
        rows.measure(f"first {command}{of}", "message", count, lambda: client.command(command), True)
        rows.measure(f"{command}{of}", "message", count, lambda: client.command(command))


def varied_rows(rows, count):
    """What a large mailbox of messages that all differ costs, first after a start."""
    order = ["THREAD REFERENCES UTF-8 ALL", "SORT (SUBJECT) UTF-8 ALL"]
    for command in [*order, "FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)"]:
        restart(rows.server)
        client = Client(rows.server)
        client.command("SELECT varied")
        rows.measure(f"first after a start, {command} of varied", "message", count,
                     lambda: client.command(command), True)
    order_rows(rows, client, count, " of varied")


def large_rows(rows, large):
    restart(rows.server)
    client = Client(rows.server)
    client.command("SELECT large")
    able = client.command("CAPABILITY", keep=True)
    rows.measure("SELECT of large", "command", 1, lambda: client.command("SELECT large"))
    order_rows(rows, client, large)
    if b"QRESYNC" in able:
        before = highest_modseq(client)
        for number in range(1, 1001):
            client.command(f"STORE {number * (large // 1001)} +FLAGS.SILENT (\\Answered)")
        other = Client(rows.server)
        other.command("ENABLE QRESYNC")
        known = f"{before['UIDVALIDITY']} {before['HIGHESTMODSEQ']}"
        command = f"SELECT large (QRESYNC ({known}))"
        rows.measure("SELECT (QRESYNC) after 1,000 changes", "command", 1, lambda: other.command(command))
        rows.measure("FETCH 1:* (FLAGS) of large", "message", large,
                     lambda: client.command("FETCH 1:* (FLAGS)"))


def idle_row(rows):
    """From the sending of a message to its notice at another client that idles."""
    name = "IDLE: from APPEND to notice"
    if not rows.wants(name):
        return
    reader, writer = Client(rows.server), Client(rows.server)
    reader.command("SELECT INBOX")
    reader.socket.sendall(b"i IDLE\r\n")
    reader.socket.recv(4096)
    delays, cpu = [], rows.server.cpu_seconds()
    for number in range(IDLE_ROUNDS):
        time.sleep(0.02)
        begin = time.monotonic()
        writer.command(f"APPEND INBOX {{12+}}\r\nSubject: {number % 10}\r\n")
        while b"EXISTS" not in reader.socket.recv(65536):
            pass
        delays.append(time.monotonic() - begin)
    delays.sort()
    cpu = (rows.server.cpu_seconds() - cpu) / IDLE_ROUNDS
    rows.note(name, "message", 1, cpu, delays[len(delays) // 2])


def compare(all_figures):
    ours = all_figures.get("pillarbox", {})
    print("\nDovecot's figure over ours (more is better)")
    for name, figures in ours.items():
        line = f"  {name:62}"
        for peer, of_peer in all_figures.items():
            theirs = of_peer.get(name)
            if peer != "pillarbox" and theirs:
                cpu = theirs["cpu_s"] / figures["cpu_s"] if figures["cpu_s"] else float("nan")
                line += f"  {peer}: CPU {cpu:8.2f} wall {theirs['wall_s'] / figures['wall_s']:8.2f}"
        print(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--load", help="the load generator; compiled if not given")
    parser.add_argument("--scratch")
    parser.add_argument("--count", type=int, default=18000)
    parser.add_argument("--large", type=int, default=200000, help="0: no large mailbox")
    parser.add_argument("--varied", type=int, default=0, help="0: no mailbox of different messages")
    parser.add_argument("--only", default="", help="words of rows, separated by commas")
    parser.add_argument("--servers", default="dovecot,dovecot-sealed,pillarbox")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    peers.Pillarbox.binary = os.path.abspath(arguments.pillarbox)
    wanted = [word for word in arguments.only.split(",") if word]
    corpus = os.environ.get("PILLARBOX_CORPUS") or os.path.join(peers.ROOT, "..", "shared", "corpus")
    scratch = tempfile.mkdtemp(prefix="bench-imap-", dir=arguments.scratch)
    os.chmod(scratch, 0o755)
    all_figures = {}
    try:
        arguments.load = arguments.load or peers.build_load(scratch)
        every = list(peers.corpus_messages(corpus))
        if not every:
            every = list(peers.generated_messages(random.Random(20)))
        arguments.messages = os.path.join(scratch, "messages")
        with open(arguments.messages, "wb") as file:
            for message in every:
                file.write(struct.pack("<I", len(message)) + message)
        mean = sum(map(len, every)) / len(every)
        print(f"{len(every)} different messages, mean {mean:.0f} bytes, {os.cpu_count()} CPUs")
        kinds = [peers.Dovecot, DovecotSealed, peers.Pillarbox]
        for kind in [kind for kind in kinds if kind.name in arguments.servers.split(",")]:
            server = kind(scratch)
            print(f"\n{server.version()}", flush=True)
            server.start()
            try:
                fill(server, arguments)
                rows = Rows(server, wanted)
                small_rows(rows, arguments.count, random.Random(7))
                if arguments.large:
                    large_rows(rows, arguments.count * max(1, arguments.large // arguments.count))
                if arguments.varied:
                    fill_varied(server, arguments.varied)
                    varied_rows(rows, arguments.varied)
                idle_row(rows)
            finally:
                server.stop()
            all_figures[server.name] = rows.figures
            shutil.rmtree(server.base)
        compare(all_figures)
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(all_figures, file, indent=1)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
