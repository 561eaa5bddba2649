#!/usr/bin/env python3
"""The whole corpus in a store: bytes on disk per byte of mail, and MB/s of FETCH BODY[].

Question: how large is a store of real mail, and how fast does one connection read all of it?
Dataset: every message of PILLARBOX_CORPUS (lists and single files), with CRLF line ends, imported
as a Maildir into one INBOX. Unit: as printed; bytes on disk are allocated blocks after a clean stop.

    run.py --pillarbox BINARY [--load BINARY] [--scratch DIR]
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import run as peers  # noqa: E402


def every_message(corpus):
    """All messages of the archives and of the folder of single files."""
    lists = os.path.join(corpus, "lists")
    for archive in sorted(os.listdir(lists)):
        if not archive.endswith(".tar.zst"):
            continue
        command = ["zstd", "-dcq", os.path.join(lists, archive)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as unpack:
            with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
                for member in tar:
                    if member.isfile():
                        yield tar.extractfile(member).read()
    for parent, _, files in os.walk(os.path.join(corpus, "mime")):
        for file in sorted(files):
            with open(os.path.join(parent, file), "rb") as message:
                yield message.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--load", help="the load generator; compiled if not given")
    parser.add_argument("--scratch")
    arguments = parser.parse_args()
    corpus = os.environ.get("PILLARBOX_CORPUS") or os.path.join(
        peers.ROOT, "..", "shared", "corpus"
    )
    if not os.path.isdir(corpus):
        sys.exit(f"there is no corpus at {corpus}")
    scratch = tempfile.mkdtemp(prefix="bench-corpus-", dir=arguments.scratch)
    peers.Pillarbox.binary = os.path.abspath(arguments.pillarbox)
    server = None
    try:
        if not arguments.load:
            arguments.load = os.path.join(scratch, "load")
            source = os.path.join(peers.HERE, "load.rs")
            compiler = ["rustc", "-O", "--edition", "2024", "-o", arguments.load, source]
            subprocess.run(compiler, check=True)
        maildir = os.path.join(scratch, "Maildir")
        for folder in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(maildir, folder))
        count = mail_bytes = 0
        for message in every_message(corpus):
            message = peers.with_crlf(message)
            count, mail_bytes = count + 1, mail_bytes + len(message)
            with open(os.path.join(maildir, "cur", f"{count}.corpus:2,"), "wb") as file:
                file.write(message)
        server = peers.Pillarbox(scratch)
        user = peers.USERS[0]
        begin, cpu = time.perf_counter(), os.times()
        server.admin("import", "maildir", user, maildir, "--data", server.data)
        wall, after = time.perf_counter() - begin, os.times()
        cpu = after.children_user + after.children_system - cpu.children_user - cpu.children_system
        print(
            f"import of {count} messages, {mail_bytes / 1e6:.1f} MB: {wall:.1f} s, CPU {cpu:.1f} s, "
            f"{cpu / count * 1000:.3f} ms each"
        )
        allocated, apparent = peers.bytes_on_disk(server.data)
        print(
            f"on disk: {allocated / 1e6:.1f} MB allocated, {apparent / 1e6:.1f} MB apparent: "
            f"{allocated / mail_bytes:.3f} bytes a byte of mail"
        )
        server.start()
        for round_name in ("first", "second"):
            cpu = server.cpu_seconds()
            figures = peers.load(
                arguments,
                "fetch",
                imap=f"127.0.0.1:{server.imap_port}",
                user=user,
                password=peers.PASSWORD,
                mailbox="INBOX",
            )
            cpu = server.cpu_seconds() - cpu
            megabytes = figures["bytes"] / 1e6
            print(
                f"FETCH BODY[] of all, {round_name}: {megabytes:.1f} MB in {figures['wall_s']:.2f} s, "
                f"{megabytes / figures['wall_s']:.0f} MB/s, CPU {cpu:.2f} s, "
                f"{cpu / megabytes * 1000:.2f} ms a MB"
            )
    finally:
        if server and server.process:
            server.stop()
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
