"""Clients that work on a pair, and tell the ledger (ledger.py) what was answered.

Each works for one user: delivers by LMTP and APPEND, sets and takes away flags, moves, expunges, makes,
renames and deletes mailboxes, one thing after the other; at one node, or at the other as soon as that one
does not answer well.
"""

import contextlib
import imaplib
import random
import re
import socket
import threading
import time

import house
from ledger import FLAGS, NO, UNKNOWN, YES, Fault


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

    def __init__(self, ledger, nodes, user, pinned=None, parted=False, acts=None, pace=0.002):
        super().__init__(daemon=True)
        self.ledger, self.nodes, self.user = ledger, nodes, user
        self.is_pinned, self.parted = pinned is not None, parted
        self.at = nodes.index(pinned) if pinned else house.USERS.index(user) % 2
        self.acts = acts or ACTS
        self.pace, self.patience = pace, house.PATIENCE
        self.chance = random.Random(f"{user} {pinned and pinned.name}")
        self.lmtp, self.imap, self.count, self.failed = None, None, 0, None
        self.ends, self.turn = threading.Event(), threading.Lock()

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
                with self.turn:
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
        own = [l for l in own if l.is_acknowledged and l.gone == NO and len(l.places) == 1]
        own = [letter for letter in own if self.can_touch(letter)]
        if not own:
            return None
        letter = self.chance.choice(own)
        (place,) = letter.places
        session = self.session()
        if session.select(f'"{place}"')[0] != "OK":
            return None
        identity = f"<{letter.number}@{self.ledger.label}.invalid>"
        _, found = session.uid("SEARCH", "HEADER", "Message-ID", identity)
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
        box, node = self.chance.choice(boxes), self.node
        name = f"renamed-{self.count}-{node.name}"
        self.count += 1
        inside = [l for l in list(self.ledger.letters.values()) if l.user == self.user]
        inside = [letter for letter in inside if box.name in letter.places]
        is_shared = self.is_pinned and box.side is None
        if is_shared or not all(self.can_touch(letter) for letter in inside):
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
ACTS = {"deliver": 50, "append": 12, "flag": 14, "move": 9, "expunge": 6, "make": 3}
ACTS |= {"remove": 1, "rename": 1}
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

    @contextlib.contextmanager
    def resting(self):
        """Nobody does anything meanwhile, so that a node can be read."""
        for client in self.clients:
            client.turn.acquire()
        try:
            yield
        finally:
            for client in self.clients:
                client.turn.release()

    def stop(self):
        for client in self.clients:
            client.ends.set()
        for client in self.clients:
            client.stop()
