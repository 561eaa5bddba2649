"""Writes every message of a mailbox to a file named after its UID: host port user password mailbox folder."""

import imaplib
import os
import sys

host, port, user, password, mailbox, folder = sys.argv[1:]
# Python's default bounds a line to a million bytes; a message's header line may be longer.
imaplib._MAXLINE = 100_000_000

with imaplib.IMAP4(host, int(port)) as client:
    client.login(user, password)
    status, data = client.select(mailbox, readonly=True)
    assert status == "OK", data
    status, data = client.uid("SEARCH", None, "ALL")
    assert status == "OK", data
    uids = data[0].split()
    for begin in range(0, len(uids), 50):
        some = b",".join(uids[begin : begin + 50]).decode()
        status, data = client.uid("FETCH", some, "(UID BODY.PEEK[])")
        assert status == "OK", data
        for part in data:
            if not isinstance(part, tuple):
                continue
            words = part[0].replace(b"(", b" ").split()
            uid = words[words.index(b"UID") + 1].decode()
            with open(os.path.join(folder, uid), "wb") as file:
                file.write(part[1])
