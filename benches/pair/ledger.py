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
import imaplib
import random
import re
import socket
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
        lines = [" ".join(f"{chance.getrandbits(24):x}" for _ in range(9)) for _ in range(chance.choice((2, 20, 90)))]
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
            yield Fault("lost", f"{number} of {self.letters[number].user}, last in {self.letters[number].places}")
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
                yield Fault("flags", f"{number} in {name} has {sorted(flags)}; {flag}: {letter.flags.get(flag)}")


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


# ---- clients -----------------------------------------------------------------------------------


class Lmtp:
    """A connection that delivers. What is refused before the text is sent was never asked for."""

    def __init__(self, address, patience):
        self.socket = socket.create_connection(address, patience)
        self.socket.settimeout(patience)
        self.file = self.socket.makefile("rb")
        self.is_unknown = False
        self.reply()
        self.say("LHLO proof.example.net")

    def reply(self):
        while True:
            line = self.file.readline()
            if not line:
                raise OSError("closed")
            if line[3:4] != b"-":
                return line

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def deliver(self, user, text):
        self.is_unknown = False
        for line in ("MAIL FROM:<sender@example.net>", f"RCPT TO:<{user}>", "DATA"):
            if self.say(line)[:1] not in b"23":
                self.say("RSET")
                return NO
        self.is_unknown = True
        self.socket.sendall(text.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        answer = self.reply()[:1]
        return {b"2": YES, b"5": NO}.get(answer, UNKNOWN)

    def close(self):
        self.socket.close()


class Client(threading.Thread):
    """Works for one user: at one node, or at the other as soon as that one does not answer."""

    def __init__(self, ledger, nodes, user, pinned=None, parted=False, acts=None, pace=0.002, patience=house.PATIENCE):
        super().__init__(daemon=True)
        self.ledger, self.nodes, self.user = ledger, nodes, user
        self.is_pinned, self.parted = pinned is not None, parted
        self.at = nodes.index(pinned) if pinned else house.USERS.index(user) % 2
        self.acts = acts or ACTS
        self.pace, self.patience = pace, patience
        self.chance = random.Random(f"{user} {pinned and pinned.name}")
        self.lmtp, self.imap, self.count, self.failed = None, None, 0, None
        self.ends = threading.Event()

    @property
    def node(self):
        return self.nodes[self.at]

    def stop(self):
        self.ends.set()
        self.join()
        if self.failed:
            raise self.failed

    def run(self):
        acts, weights = zip(*self.acts.items())
        while not self.ends.is_set():
            try:
                ACT[self.chance.choices(acts, weights)[0]](self)
            except (OSError, imaplib.IMAP4.error):
                self.leave()
            except Exception as error:  # a fault of this program, not of the nodes
                self.failed = error
                raise
            time.sleep(self.pace)
        self.leave(goes=False)

    def leave(self, goes=True):
        for session in (self.lmtp, self.imap and self.imap.socket()):
            if session:
                session.close()
        self.lmtp = self.imap = None
        if goes:
            self.at = self.at if self.is_pinned else 1 - self.at
            self.ends.wait(0.01)

    def session(self):
        self.imap = self.imap or self.node.connect(self.user, self.patience)
        return self.imap

    def can_touch(self, thing):
        if thing.is_left or (self.parted and thing.side not in (None, self.node.name)):
            return False
        # Two clients of a user share what both nodes have, so that they never touch the same.
        return not self.is_pinned or thing.side is not None or thing.owner == self.node.name

    def ask(self, *words):
        """A UID command or another; answers YES or UNKNOWN, and leaves a node that says neither."""
        session = self.session()
        try:
            verb, *rest = words
            answer, _ = getattr(session, verb)(*rest)
        except (OSError, imaplib.IMAP4.error):
            self.leave()
            return UNKNOWN
        if answer != "OK":
            self.leave()
            return UNKNOWN
        return YES

    def letter(self):
        """One of this user's letters that may be touched, with its mailbox selected and its UID."""
        own = [l for l in list(self.ledger.letters.values())[-400:] if l.user == self.user]
        own = [l for l in own if l.is_acknowledged and l.gone == NO and len(l.places) == 1 and self.can_touch(l)]
        if not own:
            return None
        letter = self.chance.choice(own)
        (place,) = letter.places
        session = self.session()
        if session.select(f'"{place}"')[0] != "OK":
            return None
        _, found = session.uid("SEARCH", "HEADER", "Message-ID", f"<{letter.number}@{self.ledger.label}.invalid>")
        uids = found[0].split() if found and found[0] else []
        if len(uids) != 1:
            return None
        return letter, place, uids[0].decode()

    def boxes(self):
        boxes = [box for box in list(self.ledger.boxes.values()) if box.user == self.user]
        return [box for box in boxes if box.exists == YES and self.can_touch(box)]

    def places(self):
        return ["INBOX", "Archive"] + [box.name for box in self.boxes()]

    # ---- what it does --------------------------------------------------------------------------

    def deliver(self):
        node, letter = self.node, None
        try:
            self.lmtp = self.lmtp or Lmtp(node.lmtp, self.patience)
            letter, text = self.ledger.write(self.user, "INBOX")
            answer = self.lmtp.deliver(self.user, text)
        except OSError:
            if letter:
                self.ledger.sent(letter, UNKNOWN if self.lmtp.is_unknown else NO, node)
            raise
        self.ledger.sent(letter, answer, node)
        if answer != YES:
            self.leave()

    def append(self):
        session, node = self.session(), self.node
        place = self.chance.choice(self.places())
        letter, text = self.ledger.write(self.user, place)
        flag = self.chance.choice(FLAGS + (None,))
        if flag:
            letter.flags[flag] = {True}
        try:
            answer, words = session.append(f'"{place}"', flag and f"({flag})", None, text)
        except (OSError, imaplib.IMAP4.error):
            self.ledger.sent(letter, UNKNOWN, node)
            raise
        self.ledger.sent(letter, YES if answer == "OK" else UNKNOWN, node)
        found = re.search(rb"APPENDUID (\d+) (\d+)", words[0] or b"")
        if found:
            self.remember(place, found[1], found[2], letter.number)
        if answer != "OK":
            self.leave()

    def remember(self, place, validity, uid, number):
        before = self.ledger.means(self.user, place, int(validity), int(uid), number)
        if before is not None:
            words = f"{self.user} {place} {int(uid)} was {before} and is {number}, as was answered"
            self.ledger.noticed.append(Fault("renumbered", words))

    def flag(self):
        found, node = self.letter(), self.node
        if not found:
            return
        letter, _, uid = found
        flag, is_set = self.chance.choice(FLAGS), self.chance.random() < 0.7
        answer = self.ask("uid", "STORE", uid, "+FLAGS" if is_set else "-FLAGS", f"({flag})")

        def apply(sure):
            letter.flags[flag] = {is_set} if sure else letter.flags.get(flag, {False}) | {is_set}

        self.ledger.changed(letter, answer, node, apply)

    def move(self):
        found, node = self.letter(), self.node
        if not found:
            return
        letter, place, uid = found
        targets = [name for name in self.places() if name != place]
        target, session = self.chance.choice(targets), self.imap
        session.untagged_responses.pop("COPYUID", None)
        answer = self.ask("uid", "MOVE", uid, f'"{target}"')

        def apply(sure):
            letter.places = {target} if sure else letter.places | {target}

        self.ledger.changed(letter, answer, node, apply)
        words = session.untagged_responses.get("COPYUID")
        if answer == YES and words:
            validity, _, new_uid = words[-1].split()
            self.remember(target, validity, new_uid, letter.number)

    def expunge(self):
        found, node = self.letter(), self.node
        if not found:
            return
        letter, _, uid = found
        answer = self.ask("uid", "STORE", uid, "+FLAGS", "(\\Deleted)")
        if answer == YES:
            answer = self.ask("uid", "EXPUNGE", uid)

        def apply(sure):
            letter.gone = YES if sure else UNKNOWN

        self.ledger.changed(letter, answer, node, apply)

    def make(self):
        self.session()
        node, name = self.node, f"made-{self.count}-{self.node.name}"
        self.count += 1
        self.ledger.made(self.user, name, self.ask("create", f'"{name}"'), node)

    def remove(self):
        """Of mailboxes that never had a letter."""
        used = {p for l in list(self.ledger.letters.values()) if l.user == self.user for p in l.places}
        empty = [box for box in self.boxes() if box.name not in used]
        if not empty:
            return
        self.session()
        box, node = self.chance.choice(empty), self.node
        answer = self.ask("delete", f'"{box.name}"')

        def apply(sure):
            box.exists = NO if sure else UNKNOWN

        self.ledger.changed(box, answer, node, apply)

    def rename(self):
        """Of a mailbox with all that lies in it; nobody else touches this user's letters."""
        boxes = self.boxes()
        if not boxes:
            return
        self.session()
        box, node, name = self.chance.choice(boxes), self.node, f"renamed-{self.count}-{self.node.name}"
        self.count += 1
        inside = [l for l in list(self.ledger.letters.values()) if l.user == self.user and box.name in l.places]
        if not all(self.can_touch(letter) for letter in inside) or (self.is_pinned and box.side is None):
            return
        answer = self.ask("rename", f'"{box.name}"', f'"{name}"')
        self.ledger.made(self.user, name, answer, node)
        for letter in inside:
            kept = letter.places - {box.name} if answer == YES else letter.places
            letter.places = kept | {name}
            letter.is_left = letter.is_left or answer != YES

        def apply(sure):
            box.exists = NO if sure else UNKNOWN

        self.ledger.changed(box, answer, node, apply)


ACT = {name: getattr(Client, name) for name in "deliver append flag move expunge make remove rename".split()}
ACTS = {"deliver": 50, "append": 12, "flag": 14, "move": 9, "expunge": 6, "make": 3, "remove": 1, "rename": 1}
DELIVERIES = {"deliver": 1}


class Load:
    """A client for each user ("one"), which stays at a node ("home"), or one on either side ("both")."""

    def __init__(self, ledger, nodes, sides="one", **more):
        self.clients = []
        for number, user in enumerate(house.USERS):
            pins = {"one": [None], "home": [nodes[number % 2]], "both": list(nodes)}[sides]
            self.clients += [Client(ledger, list(nodes), user, pinned=pin, **more) for pin in pins]
        for client in self.clients:
            client.start()

    def stop(self):
        for client in self.clients:
            client.ends.set()
        for client in self.clients:
            client.stop()


def demand_agreement(ledger, nodes, what):
    """Both nodes have what the ledger says, or the scenario ends here."""
    faults = ledger.compare(nodes)
    if faults:
        shown = "\n  ".join(str(fault) for fault in faults[:FAULTS_SHOWN])
        raise house.Trouble(f"{what}: {len(faults)} faults\n  {shown}")
