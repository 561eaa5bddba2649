"""An outside client's ledger: what was acknowledged to it, and what it finds of that on both nodes.

Clients deliver by LMTP and APPEND, set and take away flags, move, expunge, make, rename and delete
mailboxes, on either node. After each answer the ledger knows more: it was done ("yes"), it was not
("no": it was never asked for, or refused before there was anything to do), or nobody knows ("unknown":
no answer, or one that says "not confirmed"). A letter or mailbox with an unknown change is left alone
from then on, and either outcome of it is right.

`compare` reads everything from both nodes and names each fault:

    lost        acknowledged, not expunged, and not there
    doubled     there more often than it was sent with a good or unknown answer
    invented    never sent, refused, or with another text
    risen       its expunge was acknowledged, and it is there
    misplaced   in a mailbox where no acknowledged or unknown move put it
    flags       not as the last acknowledged change left them
    renumbered  a (mailbox, UIDVALIDITY, UID) means another letter than before
    below       a letter that is new since the last comparison has a UID below its UIDNEXT
    mailbox     made and not there, or there and never made
    unequal     the nodes differ

While both nodes may take changes apart from each other, a client touches only what the same node
acknowledged, or what a comparison has found on both: otherwise it would ask for what merging decides.
"""

import hashlib
import random
import re
import threading
import time

import house

FLAGS = ("\\Flagged", "\\Seen", "\\Answered", "$Label1")
FOUND_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
FOUND_UID = re.compile(rb"\bUID (\d+)")
STANDARD = {"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}
FAULTS_SHOWN = 12
# What a mail server may say when it does not know, or for the moment does not want to.
YES, NO, UNKNOWN = "yes", "no", "unknown"


class Letter:
    """A message that was sent, or tried to be."""

    def __init__(self, number, user, place, digest):
        self.number, self.user, self.digest = number, user, digest
        self.is_acknowledged, self.count_max = False, 0
        self.places, self.flags, self.gone = {place}, {}, NO
        # Which node acknowledged the last change, and whether it is left alone.
        self.side, self.is_left = None, False
        self.owner = "ab"[number % 2]


class Box:
    """A mailbox that was made, or tried to be."""

    def __init__(self, user, name, exists, side):
        self.user, self.name, self.exists, self.side = user, name, exists, side
        self.is_left, self.owner = exists == UNKNOWN, side


class Fault:
    def __init__(self, kind, words):
        self.kind, self.words = kind, words

    def __str__(self):
        return f"{self.kind}: {self.words}"


class Ledger:
    """All that was asked for, by all clients."""

    def __init__(self, label="ledger", standard=STANDARD):
        self.label, self.standard = label, standard
        self.lock, self.number = threading.Lock(), 0
        self.letters, self.boxes, self.answers, self.meanings = {}, {}, [], {}
        self.before, self.noticed = {}, []
        self.counts = {YES: 0, NO: 0, UNKNOWN: 0}

    def write(self, user, place):
        """A new letter, and its text."""
        with self.lock:
            self.number += 1
            number = self.number
        chance = random.Random(number)
        words = lambda: " ".join(f"{chance.getrandbits(24):x}" for _ in range(9))
        lines = [words() for _ in range(chance.choice((2, 20, 90)))]
        body = f"This is {number}.\r\n" + "\r\n".join(lines) + "\r\n"
        head = f"From: sender@example.net\r\nTo: {user}\r\nSubject: {self.label} {number}\r\n"
        head += f"Message-ID: <{number}@{self.label}.invalid>\r\n\r\n"
        letter = Letter(number, user, place, hashlib.sha256(body.encode()).digest())
        with self.lock:
            self.letters[number] = letter
        return letter, (head + body).encode()

    def heard(self, answer, node):
        """An answer came, or none did."""
        with self.lock:
            self.counts[answer] += 1
            if answer == YES:
                self.answers.append((time.monotonic(), node.name))

    def sent(self, letter, answer, node):
        if answer != NO:
            letter.count_max += 1
        if answer == YES:
            letter.is_acknowledged, letter.side = True, node.name
        letter.is_left = answer != YES
        self.heard(answer, node)

    def changed(self, thing, answer, node, apply):
        """`apply(True)` makes the change sure, `apply(False)` possible."""
        if answer != NO:
            apply(answer == YES)
            thing.side = node.name
        if answer == UNKNOWN:
            thing.is_left = True
        self.heard(answer, node)

    def made(self, user, name, answer, node):
        if answer != NO:
            with self.lock:
                self.boxes[(user, name)] = Box(user, name, answer, node.name)
        self.heard(answer, node)

    def means(self, user, name, validity, uid, number):
        """Answers what it meant before, if that was something else."""
        with self.lock:
            before = self.meanings.setdefault((user, name, validity, uid), number)
        return None if before == number else before

    def acknowledged(self):
        letters = list(self.letters.values())
        return {letter.number for letter in letters if letter.is_acknowledged and letter.gone == NO}

    def gap(self, since):
        """The longest time without a good answer that ended after `since`, and its end."""
        with self.lock:
            times = [at for at, _ in self.answers]
        pairs = [(later - earlier, later) for earlier, later in zip(times, times[1:]) if later >= since]
        return max(pairs, default=(None, None))

    # ---- comparing -----------------------------------------------------------------------------

    def users(self):
        return sorted({letter.user for letter in self.letters.values()} | {user for user, _ in self.boxes})

    def read(self, node):
        """(user, mailbox) → (UIDVALIDITY, UIDNEXT, {UID: (number, flags, digest)})"""
        found = {}
        for user in self.users():
            session = node.connect(user, patience=30)
            for name in names_of(session):
                found[(user, name)] = read_mailbox(session, name, self.label)
            session.logout()
        return found

    def compare(self, nodes, seconds=20):
        """The faults. The nodes get some seconds to become equal; one may be away."""
        end = time.monotonic() + seconds
        while True:
            contents = [self.read(node) for node in nodes]
            if contents[0] == contents[-1] or time.monotonic() > end:
                break
            time.sleep(0.1)
        unequal = list(differences(contents[0], contents[-1]))
        faults = self.noticed + unequal
        for content in contents if unequal else contents[:1]:
            faults += self.judge(content)
        if not faults and len(nodes) > 1:
            self.settle(contents[0])
        return faults

    def missing(self, node):
        """Acknowledged letters that a node alone does not have."""
        found = {number for _, _, mails in self.read(node).values() for number, _, _ in mails.values()}
        return self.acknowledged() - found

    def judge(self, content):
        copies = {}
        for (user, name), (validity, _, mails) in content.items():
            for uid, (number, flags, digest) in mails.items():
                copies.setdefault(number, []).append((user, name, flags, digest))
                before = self.means(user, name, validity, uid, number)
                if before is not None:
                    yield Fault("renumbered", f"{user} {name} {uid} was {before} and is {number}")
        yield from self.judge_order(content)
        for number, places in copies.items():
            letter = self.letters.get(number)
            if letter is None or letter.count_max == 0:
                yield Fault("invented", f"{number} in {places[0][:2]}")
                continue
            yield from judge_letter(letter, places)
        for number in sorted(self.acknowledged() - set(copies)):
            letter = self.letters[number]
            yield Fault("lost", f"{number} of {letter.user}, last in {letter.places}")
        yield from self.judge_boxes(set(content))

    def judge_order(self, content):
        for key, (validity, next_uid, mails) in self.before.items():
            now = content.get(key)
            if now is None or now[0] != validity:
                continue
            for uid in sorted(set(now[2]) - set(mails)):
                if uid < next_uid:
                    yield Fault("below", f"{key} has {uid} new, and UIDNEXT was {next_uid}")
            if now[1] < next_uid:
                yield Fault("below", f"{key} has UIDNEXT {now[1]} after {next_uid}")

    def judge_boxes(self, found):
        for key, box in self.boxes.items():
            if box.exists == YES and key not in found:
                yield Fault("mailbox", f"{key} was made and is not there")
            if box.exists == NO and key in found:
                yield Fault("mailbox", f"{key} was deleted and is there")
        for user, name in found:
            if (user, name) not in self.boxes and name not in self.standard:
                yield Fault("mailbox", f"{name} of {user} was never made")

    def settle(self, content):
        """Both have this: from now on either node may be asked to change it."""
        self.before = content
        there = {number for _, _, mails in content.values() for number, _, _ in mails.values()}
        for letter in self.letters.values():
            letter.side = None
            if letter.number in there and letter.gone == NO:
                letter.is_acknowledged = True
        for box in self.boxes.values():
            box.side = None


def differences(one, other):
    for key in sorted(set(one) | set(other)):
        here, there = one.get(key), other.get(key)
        if here == there:
            continue
        if here is None or there is None:
            yield Fault("unequal", f"{key} is on one node alone")
        elif here[:2] != there[:2]:
            yield Fault("unequal", f"{key}: UIDVALIDITY, UIDNEXT {here[:2]} and {there[:2]}")
        else:
            pairs = {uid: (here[2].get(uid), there[2].get(uid)) for uid in set(here[2]) | set(there[2])}
            unlike = {uid: [p and p[:2] for p in pair] for uid, pair in pairs.items() if pair[0] != pair[1]}
            yield Fault("unequal", f"{key}: {dict(list(unlike.items())[:3])}")


def judge_letter(letter, places):
    number = letter.number
    if letter.gone == YES:
        yield Fault("risen", f"{number} in {places[0][:2]}")
    if len(places) > letter.count_max:
        yield Fault("doubled", f"{number} in {[place[:2] for place in places]}")
    for user, name, flags, digest in places:
        if user != letter.user or digest != letter.digest:
            yield Fault("invented", f"another text of {number} in {user} {name}")
        if name not in letter.places:
            yield Fault("misplaced", f"{number} in {name}, not in {letter.places}")
        for flag in FLAGS:
            if (flag in flags) not in letter.flags.get(flag, {False}):
                words = f"{number} in {name} has {sorted(flags)}; {flag}: {letter.flags.get(flag)}"
                yield Fault("flags", words)


def names_of(session):
    _, lines = session.list()
    return sorted(line.decode().rsplit(' "/" ', 1)[1].strip('"') for line in lines if line)


def read_mailbox(session, name, label):
    answer, _ = session.select(f'"{name}"', readonly=True)
    if answer != "OK":
        raise OSError(f"{name} is listed and cannot be selected")
    number = lambda code: int(session.untagged_responses[code][-1])
    validity, next_uid, mails = number("UIDVALIDITY"), number("UIDNEXT"), {}
    wanted = "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)] BODY.PEEK[TEXT])"
    _, parts = session.fetch("1:*", wanted) if number("EXISTS") else (None, [])
    uid, flags, subject, text = None, frozenset(), b"", None
    for part in parts:
        head, literal = part if isinstance(part, tuple) else (part, None)
        found = FOUND_UID.search(head)
        uid = int(found[1]) if found else uid
        found = FOUND_FLAGS.search(head)
        flags = frozenset(found[1].decode().split()) - {"\\Recent"} if found else flags
        if literal is not None and b"HEADER" in head:
            subject = literal
        elif literal is not None:
            text = literal
        elif uid is not None and text is not None:
            found = re.search(rb"(\S+) (\d+)\s*$", subject)
            is_ours = found and found[1].decode() == label
            mails[uid] = (int(found[2]) if is_ours else -uid, flags, hashlib.sha256(text).digest())
            uid, flags, subject, text = None, frozenset(), b"", None
    return validity, next_uid, mails


def demand_agreement(ledger, nodes, what):
    """Both nodes have what the ledger says, or the scenario ends here."""
    faults = ledger.compare(nodes)
    if faults:
        shown = "\n  ".join(str(fault) for fault in faults[:FAULTS_SHOWN])
        raise house.Trouble(f"{what}: {len(faults)} faults\n  {shown}")
