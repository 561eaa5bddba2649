"""Mail for the bench of search: messages of the corpus, multiplied so that each copy differs.

Base messages are those of the list archives up to BYTES_MAX (some 15,000), in an order of a seed.
Message `number` is base `number mod bases`, copy `number div bases`, and differs from its base and from
other copies:

- SHARE of the plain words of its text become made words: heads and tails of the corpus' own words,
  joined. Of RANKS such words each is drawn with a frequency of 1/rank, so that some come in every tenth
  message and the dictionary grows all the time (a million messages draw some 100 million words).
- Its sender is a made person, one of a tenth as many as there are messages, by 1/rank as well.
- Two of five words of its subject are made ones, the same for a subject within a copy: threads stay.
- Ids in Message-ID, In-Reply-To and References carry the copy's number: they refer within the copy.
- In other header fields runs of three digits or more are moved by a number of the copy, and long runs
  of letters and digits (signatures) go through an alphabet of the copy.
- Dates run evenly over YEARS, Date and internal date alike.

Encoded parts, most markup, boundaries and fields of MIME stay as they are. A message depends on its number
and the count of all alone, so every server gets the same bytes, and a sample is made without the rest.
"""

import math
import os
import random
import re
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "peers"))
import run as peers  # noqa: E402

BYTES_MAX = 16 << 10
SHARE = 0.15
RANKS = 4_000_000
PIECES = 2000
YEARS = 10
BEGIN = 1_450_000_000
SPAN = YEARS * 365 * 86400
WORD = re.compile(rb"(?<![=A-Za-z0-9_@.\-/<&%])[A-Za-z]?[a-z]{2,}(?![A-Za-z0-9_@.\-/=;:>&%])")
RUNS = re.compile(rb"((?:[A-Za-z0-9+/]{24,})|\d{3,})")
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
IDS = (b"message-id", b"in-reply-to", b"references")
KEPT = (b"mime-version", b"content-", b"to", b"cc", b"reply-to")


class Vocabulary:
    """Made words by their rank: each rank below PIECES squared is another one."""

    def __init__(self, bases):
        counts = {}
        for base in bases[:4000]:
            for word in re.findall(rb"\b[a-z]{5,10}\b", base):
                counts[word] = counts.get(word, 0) + 1
        words = sorted(counts, key=lambda word: (-counts[word], word))
        halves = [(word[: len(word) // 2], word[len(word) // 2 :]) for word in words]
        self.heads = list(dict.fromkeys(head for head, _ in halves))[:PIECES]
        self.tails = list(dict.fromkeys(tail for _, tail in halves))[:PIECES]
        self.shuffle = random.Random(3).sample(range(len(self.heads)), len(self.heads))

    def word(self, rank):
        """The made word of a rank."""
        size = len(self.heads)
        low, high = rank % size, rank // size % size
        return self.heads[self.shuffle[low]] + self.tails[(low * 7 + high) % len(self.tails)]


class Base:
    """A message taken apart: what a copy keeps, and where it may differ."""

    def __init__(self, message):
        head, _, body = message.partition(b"\r\n\r\n")
        self.fields = []
        kind = encoding = b""
        subject = b""
        for field in re.split(rb"\r\n(?![ \t])", head):
            name, colon, value = field.partition(b":")
            name = name.strip().lower()
            is_field = colon and not field.startswith((b"From ", b">From"))
            if name in (b"from", b"date", b"subject") or not is_field:
                subject = value.strip() if name == b"subject" else subject
                continue
            kind = value.lower() if name == b"content-type" else kind
            encoding = value.lower() if name == b"content-transfer-encoding" else encoding
            if name in IDS:
                self.fields.append((name, field))
            elif name.startswith(KEPT):
                self.fields.append((None, field))
            else:
                self.fields.append((b"", RUNS.split(field)))
        self.subject = WORD.sub(lambda found: b"\0" + found.group() + b"\0", subject).split(b"\0")
        topic = re.sub(rb"(?i)^((re|fwd?|aw)(\[\d+\])?:\s*|\[[^\]]*\]\s*)+", b"", subject)
        self.topic = zlib.crc32(topic)
        self.parts, self.spots = [], []
        boundary = re.search(rb'(?i)boundary="?([^";]+)', head)
        # Those of parts within parts are known by their look.
        own = re.escape(boundary.group(1)) if boundary else rb"\S{8,}$"
        boundaries = re.compile(rb"--(%b|\S{8,}$)" % own) if b"multipart" in kind else None
        self.take_body(body, boundaries, b"base64" in encoding)

    def take_body(self, body, boundaries, is_encoded):
        in_header = False
        for line in body.split(b"\r\n"):
            if boundaries and boundaries.match(line):
                in_header, is_encoded = True, False
            elif in_header and b"base64" in line.lower():
                is_encoded = True
            if in_header or is_encoded:
                in_header = in_header and line != b""
                self.parts.append(line + b"\r\n")
                continue
            end = 0
            for found in WORD.finditer(line):
                self.parts.append(line[end : found.start()])
                self.spots.append(len(self.parts))
                self.parts.append(found.group())
                end = found.end()
            self.parts.append(line[end:] + b"\r\n")


class Mail:
    """All the messages; `set_count` comes before the first of them."""

    def __init__(self, corpus):
        messages = [m for m in peers.corpus_messages(corpus) if len(m) <= BYTES_MAX and b"\0" not in m]
        self.source = "the corpus" if messages else "generated mail"
        if not messages:
            messages = [m for m in peers.generated_messages(random.Random(20)) if len(m) <= BYTES_MAX]
        random.Random(11).shuffle(messages)
        self.vocabulary = Vocabulary(messages)
        self.bases = [Base(message) for message in messages]
        self.alphabets = {}

    def set_count(self, count):
        self.count, self.persons = count, max(10, count // 10)

    def alphabet(self, copy):
        if copy not in self.alphabets:
            letters = list(ALPHABET)
            random.Random(copy).shuffle(letters)
            self.alphabets[copy] = bytes.maketrans(ALPHABET, bytes(letters))
        return self.alphabets[copy]

    def person(self, rank):
        word = self.vocabulary.word
        first, last = word(rank * 37 + 11).capitalize(), word(rank * 101 + 7).capitalize()
        local = b"%b.%b%d" % (first.lower(), last.lower(), rank % 100)
        return b"%b %b <%b@%b.example>" % (first, last, local, word(rank % 997 + 5000))

    def subject(self, base, copy):
        parts = list(base.subject)
        for at in range(1, len(parts), 2):
            drawn = zlib.crc32(b"%d %d %d" % (base.topic, copy, at))
            if drawn % 5 < 2:
                parts[at] = self.vocabulary.word(int(math.exp(drawn / 2**32 * math.log(RANKS))))
        return b"".join(parts)

    def message(self, number):
        """A message and its internal date."""
        copy, at = divmod(number, len(self.bases))
        base = self.bases[at]
        chance = random.Random(number * 7919 + 13)
        draw, word, exp, ranks = chance.random, self.vocabulary.word, math.exp, math.log(RANKS)
        seconds = BEGIN + (number + draw()) * SPAN / self.count
        moment = time.gmtime(seconds)
        lines = [
            b"From: " + self.person(int(exp(draw() * math.log(self.persons)))),
            time.strftime("Date: %a, %d %b %Y %H:%M:%S +0000", moment).encode(),
            b"Subject: " + self.subject(base, copy),
        ]
        shift = copy * 7919 + 17
        for kind, field in base.fields:
            if kind is None:
                lines.append(field)
            elif kind:
                lines.append(field.replace(b"<", b"<%d." % copy))
            elif len(field) == 1:
                lines.append(field[0])
            else:
                moved = list(field)
                for place in range(1, len(moved), 2):
                    run = moved[place]
                    if len(run) >= 24:
                        moved[place] = run.translate(self.alphabet(copy))
                    else:
                        moved[place] = b"%0*d" % (len(run), (int(run) + shift) % 10 ** len(run))
                lines.append(b"".join(moved))
        parts, spots = list(base.parts), base.spots
        size = len(spots)
        for _ in range(int(size * SHARE)):
            parts[spots[int(draw() * size)]] = word(int(exp(draw() * ranks)))
        text = b"\r\n".join(lines) + b"\r\n\r\n" + b"".join(parts)
        return text, time.strftime("%d-%b-%Y %H:%M:%S +0000", moment)
