#!/usr/bin/env python3
"""What a mailbox of a million messages costs: the same IMAP commands against Dovecot and Pillarbox.

Question: CPU seconds of the server, and wall time, of what a client asks of a mailbox that is as
large as one can be. Dataset: DIFFERENT generated messages of some 300 bytes, appended once and
copied until there are COUNT of them, a third of them unread; so their bodies are shared in both
servers, and what is measured is rows and indexes. Unit: as printed; ratios are Dovecot's figure
over ours, of the same run.

    million.py --pillarbox BINARY [--count 1000000] [--only NAME,…] [--servers …] [--scratch DIR]

"cold" rows are asked once, of a server that has just been started. The folder is removed at the end.
"""

import argparse
import importlib.util
import json
import os
import random
import re
import shutil
import struct
import sys
import tempfile
import time

# Both benches are called `run`, and this one imports the other as that.
HERE = os.path.dirname(os.path.abspath(__file__))
SPEC = importlib.util.spec_from_file_location("imap_run", os.path.join(HERE, "run.py"))
imap = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(imap)
peers = imap.peers
DIFFERENT = 2000
# Changes that a client which comes back has missed: half of them flags, half of them expunges.
CHANGES = 1000


def messages(count):
    chance = random.Random(1)
    for number in range(count):
        subject = f"message {number} of {chance.getrandbits(40):x}"
        yield (
            f"From: someone{number % 97}@peers.example\r\nTo: {imap.USER}\r\nSubject: {subject}\r\n"
            f"Date: Mon, {1 + number % 28} Jan 2024 10:00:00 +0000\r\n"
            f"Message-ID: <{number}@peers.example>\r\n\r\n{subject}\r\n"
        ).encode()


def fill(server, arguments):
    """Appends the messages and copies them, twice as many each time."""
    begin = time.monotonic()
    options = {"imap": f"127.0.0.1:{server.imap_port}", "password": peers.PASSWORD}
    options |= {"users": imap.USER, "mailbox": "mail", "messages": arguments.messages}
    options |= {"connections": 4, "count": DIFFERENT, "label": "fill"}
    peers.load(arguments, "append", **options)
    client = imap.Client(server)
    client.command("CREATE large")
    client.command("SELECT mail")
    # Unread ones lie together and apart.
    client.command("STORE 1:* FLAGS.SILENT (\\Seen)")
    for unread in ["1:300", ",".join(str(number) for number in range(301, DIFFERENT, 5))]:
        client.command(f"STORE {unread} -FLAGS.SILENT (\\Seen)")
    steps = [min(arguments.count, 50_000), arguments.count]
    have = 0
    # Copies of copies cost Dovecot more the more there are in one command.
    for goal in steps:
        if have:
            client.command("SELECT large")
        while have < goal:
            step = min(goal - have, DIFFERENT if goal == steps[0] else steps[0])
            client.command(f"COPY 1:{step} large")
            have += step
    client.command("UNSELECT")
    print(f"  {server.name:14} filled in {time.monotonic() - begin:.0f} s", flush=True)


def known(client):
    """What a client remembers of the mailbox: UIDVALIDITY and HIGHESTMODSEQ."""
    answer = client.command("STATUS large (HIGHESTMODSEQ UIDVALIDITY)", keep=True)
    numbers = dict(re.findall(rb"(HIGHESTMODSEQ|UIDVALIDITY) (\d+)", answer))
    return f"{int(numbers[b'UIDVALIDITY'])} {int(numbers[b'HIGHESTMODSEQ'])}"


def measure(rows, count):
    """Measures all rows; answers how many messages are unread."""
    server = rows.server

    def command(client, text):
        return lambda: client.command(text)

    imap.restart(server)
    client = imap.Client(server)
    rows.measure("SELECT, cold", "command", 1, command(client, "SELECT large"), once=True)
    client.command("SELECT large")
    rows.measure("SELECT", "command", 1, command(client, "SELECT large"))
    flags = "FETCH 1:* (FLAGS)"
    rows.measure(f"{flags}, cold", "row", count, command(client, flags), once=True)
    for items in ["FLAGS", "UID FLAGS", "UID FLAGS MODSEQ"]:
        rows.measure(f"FETCH 1:* ({items})", "row", count, command(client, f"FETCH 1:* ({items})"))
    searches = ["UNSEEN", "SEEN", "DELETED", "UNSEEN SINCE 1-Jan-2024", "NOT LARGER 300",
                "RETURN (COUNT) UNSEEN", "RETURN (COUNT) KEYWORD $Junk", "UID 5000:6000"]
    for key in searches:
        rows.measure(f"SEARCH {key}", "row", count, command(client, f"SEARCH {key}"))
    answer = client.command("SEARCH RETURN (COUNT) UNSEEN", keep=True)
    counted = int(re.search(rb"COUNT (\d+)", answer).group(1))
    items = "MESSAGES UNSEEN UIDNEXT HIGHESTMODSEQ"
    other = imap.Client(server)
    rows.measure("STATUS", "command", 1, command(other, f"STATUS large ({items})"))
    resynchronize(rows, client, other, count)
    store = ("STORE 1:100000 +FLAGS.SILENT (\\Flagged)", "STORE 1:100000 -FLAGS.SILENT (\\Flagged)")
    rows.measure("STORE 1:100000 ±FLAGS.SILENT (\\Flagged)", "row", 200_000,
                 lambda: client.command(store[0]) + client.command(store[1]))
    return counted


def resynchronize(rows, client, other, count):
    """A client that comes back after changes all over the mailbox."""
    name = f"SELECT (QRESYNC) after {CHANGES:,} changes"
    if not rows.wants(name):
        return
    before = known(other)
    step = count // CHANGES
    for number in range(CHANGES // 2):
        client.command(f"STORE {number * 2 * step + 1} +FLAGS.SILENT (\\Answered)")
    for number in range(CHANGES // 2):
        client.command(f"STORE {number * 2 * step + step} +FLAGS.SILENT (\\Deleted)")
        if number % 50 == 49:
            client.command("EXPUNGE")
    client.command("EXPUNGE")
    other.command("ENABLE QRESYNC")
    text = f"SELECT large (QRESYNC ({before}))"
    answer = other.command(text, keep=True)
    lines = len(re.findall(rb"\* \d+ FETCH", answer))
    if lines != CHANGES // 2 or b"VANISHED (EARLIER)" not in answer:
        sys.exit(f"{lines} changed messages were told: {answer[:2000]}")
    rows.measure(name, "command", 1, lambda: other.command(text))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--load", help="the load generator; compiled if not given")
    parser.add_argument("--scratch")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="words of rows, separated by commas")
    parser.add_argument("--servers", default="dovecot,pillarbox")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    peers.Pillarbox.binary = os.path.abspath(arguments.pillarbox)
    wanted = [word for word in arguments.only.split(",") if word]
    scratch = tempfile.mkdtemp(prefix="bench-million-", dir=arguments.scratch)
    os.chmod(scratch, 0o755)
    all_figures, unread = {}, set()
    try:
        arguments.load = arguments.load or peers.build_load(scratch)
        arguments.messages = os.path.join(scratch, "messages")
        with open(arguments.messages, "wb") as file:
            for message in messages(DIFFERENT):
                file.write(struct.pack("<I", len(message)) + message)
        kinds = [peers.Dovecot, imap.DovecotSealed, peers.Pillarbox]
        for kind in [kind for kind in kinds if kind.name in arguments.servers.split(",")]:
            server = kind(scratch)
            print(f"\n{server.version()}", flush=True)
            server.start()
            try:
                fill(server, arguments)
                allocated, _ = peers.bytes_on_disk(server.data)
                print(f"  {server.name:14} {allocated / 1e6:.0f} MB on disk", flush=True)
                rows = imap.Rows(server, wanted)
                unread.add(measure(rows, arguments.count))
                if len(unread) > 1:
                    sys.exit(f"the servers disagree on what is unread: {unread}")
            finally:
                server.stop()
            all_figures[server.name] = rows.figures
            shutil.rmtree(server.base)
        imap.compare(all_figures)
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(all_figures, file, indent=1)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
