"""Compares SEARCH with what Python's own mail parser reads in the messages.

Arguments: host port user password mailbox queries [seed]. Fetches every message raw, draws that many
queries from what the messages say, and holds each answer between two oracles of its own:

  must   what a strict reader says is there: unfolded, decoded, within one field or one line of a
         part; only where Python's parser has nothing to complain about
  may    all of that, and every other reading of the same bytes: undecoded, other charsets, HTML
         with its tags, the text around and between parts, names of attachments

A message of `must` that is missing, or one found outside of `may`, is a problem and is printed.
Prints in its last line how many queries and messages there were, and how far apart the oracles.
"""

import email
import email.header
import email.policy
import html
import html.parser
import imaplib
import json
import random
import re
import sys
import unicodedata

host, port, user, password, mailbox, queries = sys.argv[1:7]
# Python's default bounds a line to a million bytes; a message's header line may be longer.
imaplib._MAXLINE = 100_000_000
dice = random.Random(int(sys.argv[7]) if len(sys.argv) > 7 else 5322)

FIELDS = ["SUBJECT", "FROM", "TO", "CC"]
# Of HEADER: names that every kind of mail has, some that only lists have, one that none has.
NAMES = ["Subject", "from", "Message-ID", "References", "Received", "X-Mailer", "Content-Type",
         "List-Id", "Reply-To", "Date", "X-No-Such-Field"]


def fold(text):
    """RFC 5051 as far as single characters go: cases are forgotten in all scripts."""
    # Of the small sigmas, Python chooses by where the letter stands.
    if text.isascii():
        return text.lower()
    # Letter by letter, because marks of different letters keep their order.
    apart = "".join(unicodedata.normalize("NFKD", letter) for letter in text.lower().upper())
    return apart.upper().lower().replace("ς", "σ")


def joined(texts):
    """Many texts as one to look in; no needle has a line end, so none reaches across two."""
    return "\n".join(dict.fromkeys(fold(text) for text in texts))


def squash(text):
    return re.sub(r"\s+", " ", text)


def readings(data, charset=None):
    """All texts that bytes may stand for; the first is the strict one, or None."""
    names = [charset or "us-ascii"]
    strict = None
    try:
        strict = data.decode(names[0])
    except (LookupError, UnicodeError, ValueError):
        pass
    texts = [strict]
    for name in [charset, "utf-8", "cp1252", "latin-1", "gb18030", "utf-7"]:
        try:
            texts.append(data.decode(name, "replace") if name else None)
        except (LookupError, UnicodeError, ValueError):
            pass
    return texts


def repeats(part):
    """Whether it says twice of what type it is, and programs choose."""
    return any(len(part.get_all(name, [])) > 1
               for name in ("Content-Type", "Content-Transfer-Encoding"))


class Visible(html.parser.HTMLParser):
    """The text of HTML that a person sees, in pieces between tags."""

    def __init__(self):
        super().__init__()
        self.pieces, self.hidden = [], 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in ("script", "style", "head", "title")

    def handle_endtag(self, tag):
        if tag in ("script", "style", "head", "title"):
            self.hidden = max(0, self.hidden - 1)

    def handle_data(self, data):
        if not self.hidden:
            self.pieces.append(data)


class Oracle:
    """What one message says: fields (name, must or None, may) and texts of its body."""

    def __init__(self, raw):
        message = email.message_from_bytes(raw, policy=email.policy.compat32)
        # Python is lenient without a word about some things; base64 that is none is one of them.
        self.odd = any(part.defects or repeats(part) for part in message.walk())
        # Where the header ends is not agreed on, so neither is anything else.
        self.is_anything = bool(message.defects) and not message.is_multipart()
        self.fields = [self.field(name, value) for name, value in message.raw_items()]
        if message.get_unixfrom():
            # The first line of an mbox: no field for Python, one without a name for us.
            self.fields.append(("", None, [message.get_unixfrom()]))
        self.mime, self.musts, self.mays = [], [], []
        # Below the header: everything as it stands.
        body = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[-1] if not raw.startswith(b"\r\n") else raw
        if self.odd:
            body = raw
        self.add_mays(body)
        self.parts(message, top=True)
        if self.odd:
            self.musts, self.mime = [], []
        lines = self.fields + self.mime
        sure = [f"{name}: {must}" for name, must, _ in lines if must is not None]
        others = [f"{name}: {text}" for name, _, mays in lines for text in mays]
        self.musts_in = {"BODY": joined(self.musts), "TEXT": joined(self.musts + sure)}
        self.mays += [squash(text) for text in self.mays]
        self.mays_in = {"BODY": joined(self.mays), "TEXT": joined(self.mays + others)}
        for name in {name.lower() for name, _, _ in self.fields}:
            own = [(must, mays) for field, must, mays in self.fields if field.lower() == name]
            self.musts_in[name] = joined(must for must, _ in own if must is not None)
            self.mays_in[name] = joined(text for _, mays in own for text in mays)

    def add_mays(self, data, charset=None):
        self.mays += [text for text in readings(data, charset) if text]

    @staticmethod
    def bytes_of(value):
        return str(value).encode("utf-8", "surrogateescape")

    def field(self, name, value):
        raw = self.bytes_of(value)
        unfolded = re.sub(rb"[ \t]*\r?\n[ \t]*", b" ", raw).strip()
        mays = [text for text in readings(raw) + readings(unfolded) if text]
        must, pieces = "", []
        try:
            text = unfolded.decode("ascii")
            pieces = email.header.decode_header(text)
        except (UnicodeError, email.errors.HeaderParseError, ValueError):
            must = None
            try:
                must = unfolded.decode("utf-8") if b"=?" not in unfolded else None
            except UnicodeError:
                pass
        if must is None:
            # Bytes beyond ASCII beside or within encoded words; each charset, if it is known, or
            # each of the others.
            words = email.header.decode_header(unfolded.decode("latin-1"))
            read = [p if isinstance(p, str) else readings(p, c) for p, c in words]
            for way in range(7):
                choices = [p if isinstance(p, str) else (p[1:] * 7)[way] for p in read]
                mays.append("".join(choice or "" for choice in choices))
        for piece, charset in pieces:
            if isinstance(piece, str):
                must = None if must is None else must + piece
                continue
            read = readings(piece, charset)
            must = None if must is None or read[0] is None else must + read[0]
            mays += [text for text in read if text]
        if must is not None:
            mays.append(must)
        mays.append("".join(p if isinstance(p, str) else readings(p, c)[-1] for p, c in pieces))
        mays += [squash(text) for text in mays]
        # A word that ends in the middle of a line: programs differ in what they make of it.
        sure = must is not None and ("=?" not in must)
        return name.strip(), must if sure else None, mays

    def parts(self, part, top=False):
        if not top:
            for name, value in part.raw_items():
                _, must, mays = self.field(name, value)
                self.mays += mays
                self.mime.append((name, must, mays))
        for name in (part.get_filename(), part.get_param("name"), part.get("Content-Description")):
            if name is not None:
                name = "".join(name[-1:]) if isinstance(name, tuple) else str(name)
                self.mays += self.field("", name)[2]
        if part.get_content_type() in ("message/rfc822", "message/global") and part.is_multipart():
            inner = part.get_payload(0)
            for name, value in inner.raw_items():
                _, must, mays = self.field(name, value)
                self.mays += [f"{name}: {text}" for text in mays]
                if must is not None:
                    self.musts.append(f"{name}: {must}")
            self.parts(inner, top=True)
        elif part.get_content_maintype() == "message" and part.is_multipart():
            # Reports and the like: Python makes messages of their blocks, we take them as text.
            for inner in part.get_payload():
                self.report(inner)
        elif part.is_multipart():
            for inner in part.get_payload():
                self.parts(inner)
        elif part.get_content_maintype() in ("text", "message"):
            self.text(part)

    def report(self, block):
        for name, value in block.raw_items():
            _, must, mays = self.field(name, value)
            self.mays += [f"{name}: {text}" for text in mays]
            if must is not None and b"\n" not in self.bytes_of(value) and must == value.strip():
                self.musts.append(must)
        payload = block.get_payload()
        for inner in payload if isinstance(payload, list) else []:
            self.mays += [str(value) for _, value in inner.raw_items()]

    def text(self, part):
        data = part.get_payload(decode=True) or b""
        charset = part.get_content_charset()
        read = readings(data, charset)
        self.mays += [text for text in read if text]
        if part.get_content_subtype() == "html":
            for text in [text for text in read if text]:
                for gap in ("", " "):
                    self.mays.append(squash(html.unescape(re.sub(r"<[^>]*>", gap, text))))
        encoding = str(part.get("Content-Transfer-Encoding", "7bit")).strip().lower()
        known = ("7bit", "8bit", "binary", "base64", "quoted-printable")
        if part.defects or read[0] is None or encoding not in known:
            # Base64 that is none has as many readings as there are decoders.
            self.is_anything = self.is_anything or bool(part.defects)
            return
        if part.get_content_subtype() == "html":
            visible = Visible()
            visible.feed(read[0])
            self.musts += [line.strip() for text in visible.pieces for line in text.splitlines()]
        else:
            self.musts += read[0].splitlines()

    def must(self, kind, needle):
        """`kind`: BODY, TEXT, or the name of a field in small letters."""
        # An empty needle asks for the field (RFC 3501 section 6.4.4).
        return kind in self.musts_in and needle in self.musts_in[kind]

    def may(self, kind, needle):
        if self.odd and kind not in ("BODY", "TEXT"):
            return True
        return self.is_anything or kind in self.mays_in and needle in self.mays_in[kind]


def cut(text):
    """A piece of a text in some case, or None if it has nothing that can be asked for."""
    text = text.strip()
    if not text:
        return None
    length = dice.choice([1, 2, 3, 5, 8, 12, 20, 40])
    begin = dice.randrange(len(text))
    if dice.random() < 0.5:
        # Near a letter beyond ASCII, if there is one.
        places = [at for at, letter in enumerate(text) if ord(letter) > 127]
        begin = max(0, dice.choice(places) - dice.randrange(4)) if places else begin
    piece = text[begin : begin + length]
    # Controls cannot be typed, U+FFFD stands for what could not be read, and runs of blanks are
    # one blank in HTML.
    if not piece.strip() or not piece.replace(" ", "").isprintable() or "\ufffd" in piece:
        return None
    if "  " in piece or "\xa0" in piece:
        return None
    return dice.choice([str, str.upper, str.lower])(piece)


def draw(oracles):
    """A query: a key, a header name or None, and what to look for."""
    oracle = dice.choice(oracles)
    key = dice.choice(["BODY", "BODY", "TEXT", "TEXT", "HEADER", "HEADER"] + FIELDS)
    beyond = dice.random() < 0.5

    def pick(texts):
        """One of them, half of the time one beyond ASCII if there is any."""
        foreign = [text for text in texts if not text.isascii()] if beyond else []
        texts = foreign or texts
        return dice.choice(texts) if texts else None

    source, name = None, None
    if key == "BODY" or key == "TEXT" and dice.random() < 0.5:
        source = pick(oracle.musts)
    elif key == "TEXT":
        fields = oracle.fields + oracle.mime
        source = pick([f"{n}: {m}" for n, m, _ in fields if m is not None])
    else:
        name = dice.choice(NAMES) if key == "HEADER" else key
        if key == "HEADER" and dice.random() < 0.1:
            return key, name, ""
        own = [m for n, m, _ in oracle.fields if n.lower() == name.lower() and m is not None]
        # Now and then, what another field says.
        own = own or [m for _, m, _ in oracle.fields if m is not None]
        source = pick(own)
    needle = cut(source) if source else None
    return None if needle is None else (key, name, needle)


def is_plain(text):
    return text.isascii() and text.isprintable()


def search(client, key, name, needle):
    """Asks in one of the ways in which clients ask."""
    words = [key] + ([name] if key == "HEADER" else [])
    if is_plain(needle) and dice.random() < 0.7:
        quoted = '"' + needle.replace("\\", "\\\\").replace('"', '\\"') + '"'
        charset = dice.choice([[], ["CHARSET", "US-ASCII"], ["CHARSET", "utf-8"]])
        status, data = client.uid("SEARCH", *charset, *words, quoted)
    else:
        client.literal = needle.encode()
        status, data = client.uid("SEARCH", "CHARSET", "UTF-8", *words)
    if status != "OK":
        raise SystemExit(f"{words} {needle!r}: {status} {data}")
    return {int(uid) for uid in data[0].split()}


def fetch(client):
    status, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
    assert status == "OK", data
    found = {}
    for part in data:
        if isinstance(part, tuple):
            words = part[0].replace(b"(", b" ").split()
            found[int(words[words.index(b"UID") + 1])] = part[1]
    return found


def refusals(client):
    """What is no charset of ours, and what is no text in the one that was named."""
    client.literal = "ä".encode("koi8-r", "replace")
    status, data = client.uid("SEARCH", "CHARSET", "KOI8-R", "TEXT")
    assert status == "NO" and b"BADCHARSET" in data[0], (status, data)
    client.literal = b"\xe4"
    try:
        status, data = client.uid("SEARCH", "CHARSET", "UTF-8", "TEXT")
    except imaplib.IMAP4.error as error:
        status, data = "BAD", [str(error)]
    assert status == "BAD", (status, data)


def main():
    client = imaplib.IMAP4(host, int(port))
    client.login(user, password)
    status, data = client.select(mailbox, readonly=True)
    assert status == "OK", data
    mail = {uid: Oracle(raw) for uid, raw in fetch(client).items()}
    oracles = list(mail.values())
    foreign = [o for o in oracles if any(not text.isascii() for text in o.musts)]
    problems, asked, beyond_ascii, told_apart, sure, unsure = 0, 0, 0, 0, 0, 0
    refusals(client)
    while asked < int(queries):
        query = draw(foreign if foreign and dice.random() < 0.5 else oracles)
        if query is None:
            continue
        key, name, needle = query
        found = search(client, key, name, needle)
        wanted, kind = fold(needle), name.lower() if name else key
        must = {uid for uid, oracle in mail.items() if oracle.must(kind, wanted)}
        may = {uid for uid, oracle in mail.items() if oracle.may(kind, wanted)}
        asked += 1
        beyond_ascii += not needle.isascii()
        told_apart += 0 < len(must) < len(mail)
        sure += len(must)
        unsure += len(may - must)
        for what, uids in (("missing", must - found), ("too much", found - may)):
            if uids:
                problems += 1
                print(f"{what}: {key} {name or ''} {needle!r}: UIDs {sorted(uids)[:5]} "
                      f"({len(uids)})")
    odd = sum(oracle.odd or oracle.is_anything for oracle in oracles)
    print(json.dumps({"queries": asked, "beyond_ascii": beyond_ascii, "told_apart": told_apart,
                      "messages": len(mail), "odd_messages": odd, "sure": sure, "unsure": unsure,
                      "problems": problems}))
    sys.exit(1 if problems else 0)


main()
