#!/usr/bin/env python3
"""What a store of a million messages costs: to fill, to SELECT, and to open after kill -9.

Question: seconds and CPU seconds to import COUNT small messages; milliseconds and memory of the
first and of later SELECTs; seconds until a server greets that was killed with a log to replay.
Dataset: generated mail of about 450 bytes, in one INBOX. Unit: as printed. The machine's page cache
is warm unless --drop-caches is given (needs root).

    run.py --pillarbox BINARY [--count 1000000] [--more 200000] [--scratch DIR] [--drop-caches]

A checkpoint begins at 64 MiB of log and commits wait for it at 128 MiB, so a kill never finds much
more than that to replay, however long the log is; --more decides how much is written before it.
"""

import argparse
import imaplib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
from run import PASSWORD, Pillarbox, USERS  # noqa: E402

USER = USERS[0]
SELECTS = 200


def write_mbox(path, first, count):
    with open(path, "w", buffering=1 << 20) as file:
        for number in range(first, first + count):
            clock = f"10:{number // 60 % 60:02}:{number % 60:02}"
            file.write(
                f"From sender@example.org Tue Mar  3 {clock} 2026\n"
                f"Received: from a.example.org by mail.example.org with LMTP id {number:x}\n"
                f"From: Sender {number % 997} <sender{number % 997}@example.org>\n"
                f"To: reader@example.org\nSubject: Message number {number} of many\n"
                f"Date: Tue, 3 Mar 2026 {clock} +0000\nMessage-ID: <{number}.fill@example.org>\n"
                "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n"
                f"This is message {number}. It is short, as most are, and says little:\n"
                f"{number * 2654435761 % 2**32} {number * 40503} {number * 97}\n\n"
            )


def memory_mib(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) // 1024


def processor_seconds(before):
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def selects(server, label):
    client = imaplib.IMAP4("127.0.0.1", server.imap_port)
    client.login(USER, PASSWORD)
    memory = memory_mib(server.process.pid)
    times = []
    for _ in range(SELECTS + 1):
        begin = time.perf_counter()
        _, answer = client.select("INBOX")
        times.append((time.perf_counter() - begin) * 1000)
    grown = memory_mib(server.process.pid)
    later = sorted(times[1:])
    print(
        f"{label}: SELECT of {int(answer[0]):,}: first {times[0]:.2f} ms, later p50 "
        f"{later[len(later) // 2]:.3f} p99 {later[len(later) * 99 // 100]:.3f} ms; resident memory "
        f"{memory} MiB before, {grown} MiB after",
        flush=True,
    )
    client.logout()


def started(server, label):
    begin = time.perf_counter()
    server.start()
    print(f"{label}: greets after {time.perf_counter() - begin:.2f} s", flush=True)
    with open(server.log.name, errors="replace") as log:
        for line in log.read().splitlines():
            if "replay" in line or "opened" in line:
                report = line
    print(f"  {report if 'report' in locals() else ''}", flush=True)


def drop_caches(wanted):
    if wanted:
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--more", type=int, default=200_000)
    parser.add_argument("--scratch")
    parser.add_argument("--drop-caches", action="store_true")
    arguments = parser.parse_args()
    Pillarbox.binary = os.path.abspath(arguments.pillarbox)
    scratch = tempfile.mkdtemp(prefix="bench-large-", dir=arguments.scratch)
    server = None
    try:
        server = Pillarbox(scratch)
        mbox = os.path.join(scratch, "mail.mbox")
        write_mbox(mbox, 0, arguments.count)
        begin, cpu = time.perf_counter(), os.times()
        server.admin("import", "mbox", USER, mbox, "--data", server.data)
        wall, cpu = time.perf_counter() - begin, processor_seconds(cpu)
        print(
            f"import of {arguments.count:,}: {wall:.1f} s, {cpu:.1f} s of CPU, "
            f"{cpu / arguments.count * 1000:.3f} ms each",
            flush=True,
        )
        drop_caches(arguments.drop_caches)
        started(server, "after a clean stop")
        selects(server, "after a clean stop")
        write_mbox(mbox, arguments.count, arguments.more)
        killed(server, mbox)
        drop_caches(arguments.drop_caches)
        started(server, "after kill -9")
        selects(server, "after kill -9")
    finally:
        if server and server.process:
            server.stop()
        shutil.rmtree(scratch)


def killed(server, mbox):
    """Imports through the running server, and kills it when the import has half ended."""
    command = [server.binary, "import", "mbox", USER, mbox, "--data", server.data]
    importing = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = os.path.join(server.data, "volumes", "main", "log")
    before = log_bytes(log)
    done = threading.Event()
    threading.Thread(target=lambda: (importing.wait(), done.set()), daemon=True).start()
    done.wait(120)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.process = None
    importing.wait()
    print(f"killed after {(log_bytes(log) - before) >> 20} MiB more of log", flush=True)


def log_bytes(folder):
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(folder))


if __name__ == "__main__":
    main()
