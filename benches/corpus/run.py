#!/usr/bin/env python3
"""The whole corpus in a store: bytes on disk per byte of mail, and MB/s of FETCH BODY[].

Question: how large is a store of real mail, for what and against Dovecot, and how fast does one
connection read all of it? Dataset: every message of PILLARBOX_CORPUS (lists and single files), with
CRLF line ends, imported as a Maildir into one INBOX; by Dovecot into mdbox with zstd at its default
level, once more with its cache filled with what our summaries hold. Unit: as printed; bytes on disk
are allocated blocks after a clean stop, indexes and state included.

    run.py --pillarbox BINARY [--load BINARY] [--space BINARY] [--scratch DIR]

Dovecot's part needs root and its package, and is left out without them. `--space` is the engine's
example of that name: it tells what the bytes are for.
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


DOVECOT = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
mail_location = mdbox:{base}/mail/box
first_valid_uid = 1
mail_plugins = zlib
plugin {{
  zlib_save = zstd
}}
namespace inbox {{
  inbox = yes
}}
"""


def dovecot(scratch, maildir, mail_bytes):
    """The same Maildir in Dovecot's mdbox, compressed by zstd."""
    if os.geteuid() != 0 or not shutil.which("doveadm"):
        print("Dovecot: left out, for it needs root and its package")
        return
    base = os.path.join(scratch, "dovecot")
    mail = os.path.join(base, "mail")
    os.makedirs(mail)
    config = os.path.join(base, "dovecot.conf")
    with open(config, "w") as file:
        file.write(DOVECOT.format(base=base))
    os.chmod(scratch, 0o755)
    subprocess.run(["chown", "-R", "nobody:nogroup", maildir, base], check=True)

    def doveadm(*arguments):
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env"]
        command += ["USER=corpus", f"HOME={mail}", "doveadm", "-c", config, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    cpu = os.times()
    doveadm("import", f"maildir:{maildir}", "", "ALL")
    after = os.times()
    cpu = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    for what in (f"imported, CPU {cpu:.1f} s", "its cache filled"):
        allocated, _ = peers.bytes_on_disk(mail)
        print(
            f"Dovecot, mdbox and zstd, {what}: {allocated / 1e6:.1f} MB allocated: "
            f"{allocated / mail_bytes:.3f} bytes a byte of mail"
        )
        doveadm("fetch", "imap.envelope imap.bodystructure", "ALL")


def on_disk(server, what, mail_bytes):
    allocated, apparent = peers.bytes_on_disk(server.data)
    print(
        f"on disk, {what}: {allocated / 1e6:.1f} MB allocated, {apparent / 1e6:.1f} MB apparent: "
        f"{allocated / mail_bytes:.3f} bytes a byte of mail"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--load", help="the load generator; compiled if not given")
    parser.add_argument("--space", help="the engine's example: what the bytes are for")
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
        on_disk(server, "imported", mail_bytes)
        dovecot(scratch, maildir, mail_bytes)
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
        server.stop()
        on_disk(server, "started once more", mail_bytes)
        if arguments.space:
            subprocess.run([arguments.space, server.data], check=True)
    finally:
        if server and server.process:
            server.stop()
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
