"""A day's work over the extensions that programs of today use: host port port-for-compression user password.

The session on the second port is compressed; whoever writes down the first can read it.
"""

import imaplib
import re
import sys

from deflated import Client

host, port, deflated_port, user, password = sys.argv[1:]

for name in ("SEARCH", "SORT", "THREAD", "STORE", "MOVE", "EXPUNGE", "FETCH"):
    imaplib.Commands[f"UID {name}"] = ("SELECTED",)

MAIL = [
    # number, subject, from, references
    (1, "Plans", "anna", []),
    (2, "Re: Plans", "bert", [1]),
    (3, "Invoice", "carl", []),
    (4, "Re: Plans", "anna", [1, 2]),
    (5, "Lunch", "dora", []),
    (6, "Re: Invoice", "anna", [3]),
    (7, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "emil", []),
    (8, "Lunch", "bert", []),
]


def text(number, subject, sender, references):
    lines = [
        f"From: {sender}@example.com",
        f"To: {user}",
        f"Subject: {subject}",
        f"Date: Tue, {number} Jul 2025 10:00:00 +0000",
        f"Message-ID: <m{number}@example.com>",
    ]
    if references:
        lines.append("References: " + " ".join(f"<m{r}@example.com>" for r in references))
    return "\r\n".join(lines + ["", f"Body of message {number}.", ""]).encode()


def ok(client, name, *arguments):
    """A command with the untagged responses that it brought, as one text."""
    # What came unasked before is not the answer.
    client.untagged_responses.clear()
    status, data = client._simple_command(name, *arguments)
    assert status == "OK", (name, arguments, status, data)
    found = {}
    for kind, pieces in client.untagged_responses.items():
        found[kind] = [p if isinstance(p, bytes) else b"".join(p) for p in pieces if p is not None]
    found["tagged"] = data
    return found


def number_of(found, name):
    return int(found[name][0])


def selected(client, name, *options):
    found = ok(client, "SELECT", name, *options)
    client.state = "SELECTED"
    return found


def the_morning(client):
    """Mail arrives; the program looks at all of it."""
    client.login(user, password)
    assert ok(client, "ENABLE", "CONDSTORE")["ENABLED"] == [b"CONDSTORE"]
    assert ok(client, "ENABLE", "QRESYNC")["ENABLED"] == [b"QRESYNC"]
    for mail in MAIL:
        status, data = client.append("INBOX", "", '"01-Jul-2025 10:00:00 +0000"', text(*mail))
        assert status == "OK" and b"APPENDUID" in data[0], data
    ok(client, "CREATE", "Projects")
    listed = ok(client, "LIST", '""', '"*"', "RETURN", "(STATUS (MESSAGES UNSEEN) SPECIAL-USE)")
    assert b'"INBOX" (MESSAGES 8 UNSEEN 8)' in listed["STATUS"], listed
    found = selected(client, "INBOX", "(CONDSTORE)")
    assert found["EXISTS"] == [b"8"]
    validity = number_of(found, "UIDVALIDITY")
    fetched = ok(client, "FETCH", "1:*", "(UID FLAGS ENVELOPE RFC822.SIZE MODSEQ)")["FETCH"]
    assert len(fetched) == 8
    return validity, max(int(m) for line in fetched for m in re.findall(rb"MODSEQ \((\d+)\)", line))


def the_noon(client):
    """It sorts, threads and searches."""
    by = ok(client, "SORT", "(REVERSE DATE)", "UTF-8", "ALL")["SORT"]
    assert by == [b"8 7 6 5 4 3 2 1"], by
    by = ok(client, "UID SORT", "(SUBJECT FROM)", "UTF-8", "NOT", "SUBJECT", "Gr")["SORT"]
    assert by == [b"6 3 8 5 1 4 2"], by
    threads = ok(client, "UID THREAD", "REFERENCES", "UTF-8", "ALL")["THREAD"]
    # The two of one subject, neither a reply, are siblings (RFC 5256 section 3, step 5).
    assert threads == [b"(1 2 4)(3 6)((5)(8))(7)"], threads
    found = ok(client, "UID SEARCH", "RETURN", "(MIN MAX COUNT ALL)", "FROM", "anna")["ESEARCH"]
    assert b"UID MIN 1 MAX 6 COUNT 3 ALL 1,4,6" in found[0], found
    client.literal = "Grüße".encode()
    found = ok(client, "UID SEARCH", "CHARSET", "UTF-8", "SUBJECT")["SEARCH"]
    assert found == [b"7"], found
    ok(client, "UID SEARCH", "RETURN", "(SAVE)", "SUBJECT", "Plans")
    stored = ok(client, "UID STORE", "$", "+FLAGS.SILENT", "(\\Seen)")
    assert all(b"FLAGS" not in line for line in stored["FETCH"]), stored


def the_afternoon(client, modseq):
    """It flags, moves and deletes, and loses no race."""
    late = ok(client, "UID STORE", "1,3", f"(UNCHANGEDSINCE {modseq})", "+FLAGS", "(\\Flagged)")
    assert b"[MODIFIED 1]" in late["tagged"][0], late
    moved = ok(client, "UID MOVE", "3,6", "Projects")
    assert b" 3,6 1:2]" in moved["COPYUID"][0] or b"3,6 1:2" in b"".join(moved["COPYUID"]), moved
    assert moved["VANISHED"] == [b"3,6"], moved
    ok(client, "UID STORE", "5", "+FLAGS.SILENT", "(\\Deleted)")
    assert ok(client, "UID EXPUNGE", "5")["VANISHED"] == [b"5"]
    ok(client, "UNSELECT")
    client.state = "AUTH"
    assert ok(client, "STATUS", "INBOX", "(MESSAGES UIDNEXT)")["STATUS"] == [
        b'"INBOX" (MESSAGES 5 UIDNEXT 9)'
    ]


def the_next_day(client, validity, modseq):
    """It is told only what has changed."""
    client.login(user, password)
    ok(client, "ENABLE", "QRESYNC")
    found = selected(client, "INBOX", f"(QRESYNC ({validity} {modseq} 1:8))")
    assert found["VANISHED"] == [b"(EARLIER) 3,5:6"], found
    uids = [int(uid) for line in found["FETCH"] for uid in re.findall(rb"UID (\d+)", line)]
    assert uids == [1, 2, 4], found
    highest = number_of(found, "HIGHESTMODSEQ")
    found = selected(client, "INBOX", f"(QRESYNC ({validity} {highest}))")
    assert "VANISHED" not in found and "FETCH" not in found, found
    changed = ok(client, "UID FETCH", "1:*", f"(FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
    assert changed["VANISHED"] == [b"(EARLIER) 3,5:6"] and len(changed["FETCH"]) == 3, changed
    found = selected(client, "Projects")
    assert found["EXISTS"] == [b"2"]
    ok(client, "CLOSE")
    client.state = "AUTH"
    client.logout()


def main():
    with imaplib.IMAP4(host, int(port)) as client:
        validity, modseq = the_morning(client)
        the_noon(client)
        the_afternoon(client, modseq)
        client.logout()
    the_next_day(imaplib.IMAP4(host, int(port)), validity, modseq)
    with Client(host, int(deflated_port)) as client:
        client.login(user, password)
        client.begin()
        ok(client, "ENABLE", "QRESYNC")
        found = selected(client, "INBOX", f"(QRESYNC ({validity} {modseq} 1:8))")
        assert found["VANISHED"] == [b"(EARLIER) 3,5:6"], found
        by = ok(client, "UID SORT", "(REVERSE DATE)", "UTF-8", "ALL")["SORT"]
        assert by == [b"8 7 4 2 1"], by
        bodies = ok(client, "UID FETCH", "1:*", "(BODY.PEEK[TEXT])")["FETCH"]
        assert any(b"Body of message 8." in piece for piece in bodies), bodies
        client.logout()
    print("a day's work went well")


main()
