#!/usr/bin/env python3
"""What a search costs: the same UID SEARCH of the same mailbox against Dovecot and Pillarbox, in one run.

Question: how long a search takes (wall time of the client, p50 and p99; CPU of the server), how soon its
first result is there, what the index takes on disk and in memory, and what making it costs. Dataset:
`mail.py`: the corpus up to 16 KiB a message, multiplied to COUNT messages of which each differs; both
servers get the same bytes by MULTIAPPEND into one mailbox. Needles are taken from messages by a seed, so
they are the same for all. Peers: Dovecot as installed without an index, and with fts-xapian
(`dovecot-fts-xapian` of Debian). Unit: as printed; ratios are the peer's figure over ours, by the same
queries of the same run.

    run.py --pillarbox BINARY [--count 20000,200000] [--servers pillarbox,dovecot,dovecot-xapian]
           [--keep DIR] [--rebuild]

With --keep the filled stores stay in DIR/SERVER-COUNT and are used again: filling is what takes long. Each
kind of query is asked --queries times (peers: --peer-queries), or for --seconds. `newest` is `UID SEARCH
RETURN (PARTIAL -1:-20)` of other needles of the kind: time until the first byte of the answer. Counts of
matches are compared between servers, query by query; where they differ, the queries are listed.
"""

import argparse
import contextlib
import email
import email.policy
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import mail as mails  # noqa: E402

peers = mails.peers
USER = peers.USERS[0]
BOX = "varied"
BATCH = 250
SAMPLE = 4000
DAYS = 30
# A server is quiet when it has used less than this of CPU in QUIET_SECONDS; ours always verifies a little.
QUIET_CPU_SECONDS = 0.12
QUIET_SECONDS = 4
# So many messages, or 4 MiB, may be in no index.
TAIL = 512
IDLE_SECONDS_MAX = 30
MESSAGES = None


# ---- the servers -------------------------------------------------------------------------------


class Kept:
    """A server whose store stays in a folder of its own, while its ports and configuration are new."""

    def keep(self, folder, store):
        """Puts the store into `folder`, or takes the one that is there; answers whether it was."""
        self.note_path = os.path.join(folder, "filled.json")
        old, new = self.data, os.path.join(folder, store)
        was_there = os.path.exists(self.note_path)
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder, mode=0o755)
            os.rename(old, new)
            if os.path.exists(old + ".key"):
                os.rename(old + ".key", new + ".key")
        with open(self.config) as file:
            text = file.read().replace(old, new)
        with open(self.config, "w") as file:
            file.write(text)
        self.data = new
        return was_there

    def memory(self):
        """(now, most) resident MiB of the process tree; processes that are gone do not count."""
        table = peers.process_table()
        tree, grown = {self.process.pid}, True
        while grown:
            more = {pid for pid, (parent, _) in table.items() if parent in tree} - tree
            tree |= more
            grown = bool(more)
        now = most = 0
        for pid in tree:
            with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as file:
                text = file.read()
                # A process that has ended and was not waited for yet has none.
                now += sum(map(int, re.findall(r"VmRSS:\s+(\d+)", text))) / 1024
                most += sum(map(int, re.findall(r"VmHWM:\s+(\d+)", text))) / 1024
        return now, most

    def wait_until_quiet(self):
        while True:
            before = self.cpu_seconds()
            time.sleep(QUIET_SECONDS)
            if self.cpu_seconds() - before < QUIET_CPU_SECONDS:
                return


class Pillarbox(Kept, peers.Pillarbox):
    store = "data"

    def make_index(self):
        """It makes itself, as far as it has to: 512 messages may be left out."""
        idle_since = time.monotonic()
        while (waiting := self.waiting()) > TAIL:
            cpu = self.cpu_seconds()
            time.sleep(1)
            if self.cpu_seconds() - cpu > QUIET_CPU_SECONDS / QUIET_SECONDS:
                idle_since = time.monotonic()
            if time.monotonic() - idle_since > IDLE_SECONDS_MAX:
                sys.exit(f"the indexer rests, and {waiting} messages are in no index")
        self.wait_until_quiet()

    def index_status(self):
        return self.admin("index", "status", USER, "--data", self.data).strip()

    def waiting(self):
        return int(re.search(r"(\d+) (?:more|messages) are read", self.index_status()).group(1))

    def index_bytes(self):
        folder = os.path.join(self.data, "volumes", "main", "index")
        return peers.bytes_on_disk(folder)[1]


class Dovecot(Kept, peers.Dovecot):
    store = "mail"

    def make_index(self):
        pass

    def index_status(self):
        return ""

    def index_bytes(self):
        return 0


class DovecotXapian(Dovecot):
    """Dovecot with fts-xapian, as its documentation sets it up."""

    name = "dovecot-xapian"

    def prepare(self):
        super().prepare()
        with open(self.config, "a") as file:
            file.write(
                """
mail_plugins = fts fts_xapian
plugin {
  fts = xapian
  fts_xapian = partial=3 full=20 verbose=0
  fts_autoindex = no
  fts_enforced = yes
}
service indexer-worker {
  vsz_limit = 2G
}
"""
            )

    def make_index(self):
        command = ["doveadm", "-c", self.config, "index", "-u", USER, BOX]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.wait_until_quiet()

    def index_bytes(self):
        for parent, folders, _ in os.walk(self.data):
            if "xapian-indexes" in folders:
                return peers.bytes_on_disk(os.path.join(parent, "xapian-indexes"))[1]
        return 0

    def version(self):
        return super().version() + ", fts-xapian"


class Client:
    """An IMAP client that keeps an answer and when its first byte came."""

    def __init__(self, server):
        self.socket = peers.socket.create_connection(("127.0.0.1", server.imap_port), 30)
        self.socket.settimeout(3600)
        self.socket.setsockopt(peers.socket.IPPROTO_TCP, peers.socket.TCP_NODELAY, 1)
        self.number, self.socket_buffer = 0, bytearray(1 << 20)
        self.socket.recv(4096)
        self.command(f"LOGIN {USER} {peers.PASSWORD}")

    def command(self, text):
        return self.raw(text.encode())[0]

    def raw(self, text):
        """(answer, seconds to the first byte, seconds to the last)."""
        self.number += 1
        tag = b"t%d" % self.number
        end = re.compile(rb"(?:^|\r\n)" + tag + rb" (OK|NO|BAD)[^\r\n]*\r\n$")
        begin, first, pieces = time.monotonic(), None, []
        self.socket.sendall(tag + b" " + text + b"\r\n")
        while True:
            size = self.socket.recv_into(self.socket_buffer)
            if size == 0:
                sys.exit(f"the server hung up during {text[:200]}")
            first = first or time.monotonic() - begin
            pieces.append(bytes(self.socket_buffer[:size]))
            tail = pieces[-1] if size > 2000 else b"".join(pieces[-8:])[-4000:]
            if found := end.search(tail):
                if found.group(1) != b"OK":
                    sys.exit(f"{text[:200]}: {tail[-200:]}")
                return b"".join(pieces), first, time.monotonic() - begin


# ---- filling -----------------------------------------------------------------------------------


def batch(begin):
    """The literals of one APPEND, and how many bytes of mail are in them."""
    parts, size = [], 0
    for number in range(begin, min(begin + BATCH, MESSAGES.count)):
        text, date = MESSAGES.message(number)
        size += len(text)
        parts.append(b' "%b" {%d+}\r\n%b' % (date.encode(), len(text), text))
    return b"".join(parts), size


def fill(server, count):
    """Appends all messages, waits for the index; ours makes a part of it meanwhile."""
    client = Client(server)
    client.command(f"CREATE {BOX}")
    begin, cpu, total = time.monotonic(), server.cpu_seconds(), 0
    with multiprocessing.Pool(2) as pool:
        for done, (literals, size) in enumerate(pool.imap(batch, range(0, count, BATCH), 4)):
            client.raw(b"APPEND " + BOX.encode() + literals)
            total += size
            if done % 80 == 79:
                told = f"{(done + 1) * BATCH} messages in {time.monotonic() - begin:.0f} s"
                print(f"  {server.name:14} {told}", flush=True)
    figures = {"fill_s": time.monotonic() - begin, "mail_bytes": total}
    figures["fill_cpu_s"] = server.cpu_seconds() - cpu
    begin, cpu, ours = time.monotonic(), server.cpu_seconds(), children_cpu()
    server.make_index()
    figures["index_s"] = time.monotonic() - begin
    figures["index_cpu_s"] = server.cpu_seconds() - cpu + children_cpu() - ours
    figures["disk_bytes"] = peers.bytes_on_disk(server.data)[0]
    with open(server.note_path, "w") as file:
        json.dump(figures, file)
    return figures


def children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# ---- needles -----------------------------------------------------------------------------------


def plain(text):
    """Text of a message, about as servers search it: for bytes of text, not for answers."""
    message = email.message_from_bytes(text, policy=email.policy.compat32)
    pieces = [f"{name}: {value}" for name, value in message.items()]
    for part in message.walk():
        if part.get_content_maintype() == "text":
            body = (part.get_payload(decode=True) or b"").decode("utf-8", "replace")
            html = part.get_content_subtype() == "html"
            pieces.append(re.sub(r"<[^>]*>", " ", body) if html else body)
    return sum(len(re.sub(r"\s+", " ", piece).encode()) for piece in pieces)


class Needles:
    """What is sought: queries by kind, from a sample of the messages."""

    def __init__(self, count):
        chance = random.Random(count)
        numbers = sorted(chance.sample(range(count), min(SAMPLE, count)))
        made = [MESSAGES.message(number) for number in numbers]
        sizes = [(len(text), plain(text)) for text, _ in made[:1000]]
        self.text_share = sum(b for _, b in sizes) / sum(a for a, _ in sizes)
        self.heads = [text.partition(b"\r\n\r\n")[0] for text, _ in made]
        self.bodies = [text.partition(b"\r\n\r\n")[2] for text, _ in made]
        self.dates = [date for _, date in made]
        self.words = [sorted({w.lower() for w in mails.WORD.findall(body)}) for body in self.bodies]
        self.spread = {}
        for words in self.words:
            for word in words:
                self.spread[word] = self.spread.get(word, 0) + 1 / len(made)
        self.queries = {kind: [] for kind in KINDS}
        for kind, make in KINDS.items():
            seen, own = set(), random.Random(kind)
            for _ in range(20_000):
                query = make(self, own.randrange(len(made)), own)
                if query and query not in seen:
                    seen.add(query)
                    self.queries[kind].append(query)
                if len(self.queries[kind]) >= 400:
                    break

    def pick(self, at, chance, low, high, length=3):
        """A word of a message that is in a share of all messages between two shares."""
        words = [w for w in self.words[at] if low <= self.spread[w] <= high and len(w) >= length]
        return chance.choice(words) if words else None

    def rare(self, at, chance):
        word = self.pick(at, chance, 0, 1.5 / len(self.words), 7)
        return word and b"BODY " + word

    def common(self, at, chance):
        word = self.pick(at, chance, 0.1, 0.3)
        return word and b"BODY " + word

    def two(self, at, chance):
        words = {self.pick(at, chance, 0.01, 0.05) for _ in range(8)} - {None}
        words = chance.sample(sorted(words), 2) if len(words) > 1 else None
        return words and b"BODY %b BODY %b" % tuple(words)

    def inside(self, at, chance):
        word = self.pick(at, chance, 0, 0.01, 8)
        return word and b"BODY " + word[2:-1]

    def subject(self, at, chance):
        found = re.search(rb"(?m)^Subject: (.*)", self.heads[at])
        words = [w for w in mails.WORD.findall(found.group(1)) if len(w) > 3] if found else []
        return b"SUBJECT " + chance.choice(words) if words else None

    def sender(self, at, chance):
        return b"FROM " + re.search(rb"(?m)^From: .*<(.*)>", self.heads[at]).group(1)

    def window(self, at, chance):
        word = self.pick(at, chance, 0.01, 0.05)
        middle = time.mktime(time.strptime(self.dates[at][:11], "%d-%b-%Y"))
        ends = (time.localtime(middle + days * 86400) for days in (-10, DAYS - 10))
        begin, end = (time.strftime("%d-%b-%Y", moment).encode() for moment in ends)
        return word and b"SINCE %b BEFORE %b BODY %b" % (begin, end, word)

    def phrase(self, at, chance):
        lines = self.bodies[at].split(b"\r\n")
        found = re.findall(rb"(?<![\w=<>&])[a-z]+ [a-z]+ [a-z]+(?![\w=<>&])", chance.choice(lines))
        found = [p for p in found if all(self.spread.get(w, 0) > 0.05 for w in p.split())]
        return b'BODY "%b"' % chance.choice(found) if found else None

    def letters(self, at, chance, count):
        word = chance.choice(self.words[at]) if self.words[at] else b""
        begin = chance.randrange(max(1, len(word) - count + 1))
        return b"BODY " + word[begin : begin + count] if len(word) >= count else None


RARE, RARE_SHARE = "rare word", 1e-4
KINDS = {
    RARE: Needles.rare,
    "common word": Needles.common,
    "two words": Needles.two,
    "inside a word": Needles.inside,
    "subject word": Needles.subject,
    "address (FROM)": Needles.sender,
    "word in 30 days": Needles.window,
    "phrase": Needles.phrase,
    "three letters": lambda needles, at, chance: needles.letters(at, chance, 3),
    "two letters": lambda needles, at, chance: needles.letters(at, chance, 2),
}


# ---- measuring ---------------------------------------------------------------------------------


def at_share(numbers, share):
    """The nearest-rank quantile; of few numbers the largest is p99."""
    numbers = sorted(numbers)
    return numbers[min(len(numbers) - 1, int(len(numbers) * share))] if numbers else float("nan")


def ask(server, client, queries, limit, seconds):
    """Asks queries one after another; answers a line for each: matches, wall and CPU seconds."""
    lines, begin = [], time.monotonic()
    for query in queries[:limit]:
        cpu = server.cpu_seconds()
        answer, _, wall = client.raw(b"UID SEARCH " + query)
        cpu = server.cpu_seconds() - cpu
        found = b"".join(re.findall(rb"(?m)^\* SEARCH([ \d]*)", answer)).split()
        line = {"query": query.decode(), "matches": len(found), "wall_s": wall, "cpu_s": cpu}
        lines.append(line)
        if time.monotonic() - begin > seconds:
            break
    return lines


def ask_newest(client, queries, limit, seconds):
    """Seconds until the first byte and the last of the newest twenty."""
    times, begin = [], time.monotonic()
    for query in queries[-limit:]:
        _, first, last = client.raw(b"UID SEARCH RETURN (PARTIAL -1:-20) " + query)
        times.append((first, last))
        if time.monotonic() - begin > seconds:
            break
    return times


def measure(server, needles, arguments, count):
    is_ours = server.name == "pillarbox"
    limit = arguments.queries if is_ours else arguments.peer_queries
    limit = arguments.xapian_queries if server.name == "dovecot-xapian" else limit
    client = Client(server)
    client.command(f"SELECT {BOX}")
    kinds = {}
    for kind, queries in needles.queries.items():
        if arguments.only and not any(word in kind for word in arguments.only.split(",")):
            continue
        lines = ask(server, client, queries, limit, arguments.seconds)
        if kind == RARE:
            # What is a part of other words is not rare.
            lines = [line for line in lines if line["matches"] <= max(1, count * RARE_SHARE)]
        kinds[kind] = {"lines": lines}
        if is_ours:
            rest = queries[limit:] or queries
            kinds[kind]["newest"] = ask_newest(client, rest, 50, arguments.seconds / 4)
        print(f"  {server.name:14} {row(kind, kinds[kind])}", flush=True)
    few = [l for kind in kinds.values() for l in kind["lines"] if l["matches"] < count / 100]
    print(f"  {server.name:14} {row('all that match < 1 %', {'lines': few})}", flush=True)
    return kinds


def row(kind, figures):
    lines = figures["lines"]
    walls, cpus = [l["wall_s"] * 1e3 for l in lines], [l["cpu_s"] * 1e3 for l in lines]
    matches = [l["matches"] for l in lines]
    text = (
        f"{kind:20} {len(lines):4} asked, matches p50 {at_share(matches, 0.5):7} "
        f"most {max(matches, default=0):7}, "
        f"wall p50 {at_share(walls, 0.5):9.2f} p99 {at_share(walls, 0.99):9.2f} ms, "
        f"CPU mean {sum(cpus) / max(1, len(cpus)):9.2f} p99 {at_share(cpus, 0.99):9.2f} ms"
    )
    if newest := figures.get("newest"):
        firsts = [first * 1e3 for first, _ in newest]
        text += f", newest p50 {at_share(firsts, 0.5):.2f} p99 {at_share(firsts, 0.99):.2f} ms"
    return text


def rebuild(server, count, mail_bytes, text_share):
    """What making the index anew costs, while nobody asks."""
    begin, cpu = time.monotonic(), server.cpu_seconds()
    server.admin("index", "rebuild", USER, "--data", server.data)
    server.make_index()
    cpu, wall = server.cpu_seconds() - cpu, time.monotonic() - begin
    text = mail_bytes * text_share
    print(
        f"  {server.name:14} index rebuild: {cpu:.1f} s of CPU, {cpu / count * 1e3:.3f} ms a "
        f"message, {text / cpu / 1e6:.1f} MB of text a CPU second, {wall:.0f} s",
        flush=True,
    )
    return {"cpu_s": cpu, "wall_s": wall}


def run_server(kind, needles, arguments, count, scratch):
    server = kind(tempfile.mkdtemp(dir=scratch))
    os.chmod(os.path.dirname(server.base), 0o755)
    folder = os.path.join(arguments.keep or scratch, f"{server.name}-{count}")
    is_filled = server.keep(folder, server.store)
    print(f"\n{server.version()}, {count} messages", flush=True)
    server.start()
    try:
        if not is_filled:
            fill(server, count)
        with open(server.note_path) as file:
            figures = json.load(file)
        mail_bytes = figures["mail_bytes"]
        told = ", ".join(f"{name} {figure:.1f}" for name, figure in figures.items())
        print(f"  {server.name:14} {told}", flush=True)
        if arguments.fill_only:
            return figures
        if server.name == "pillarbox":
            server.make_index()
        figures["memory_before"] = server.memory()
        figures["kinds"] = measure(server, needles, arguments, count)
        figures["memory"] = server.memory()
        figures["index_bytes"], figures["index_status"] = server.index_bytes(), server.index_status()
        of_text = figures["index_bytes"] / (mail_bytes * needles.text_share)
        print(
            f"  {server.name:14} resident {figures['memory_before'][0]:.0f} MiB before, "
            f"{figures['memory'][0]:.0f} after, {figures['memory'][1]:.0f} at most; index "
            f"{figures['index_bytes'] / 1e6:.1f} MB, {figures['index_bytes'] / mail_bytes:.3f} a "
            f"byte of mail, {of_text:.3f} a byte of text ({needles.text_share:.3f} of the mail); "
            f"{figures['index_status']}",
            flush=True,
        )
        if server.name == "pillarbox" and arguments.rebuild:
            figures["rebuild"] = rebuild(server, count, mail_bytes, needles.text_share)
        return figures
    finally:
        server.stop()


def ratio(pairs, key):
    return sum(a[key] for a, _ in pairs) / max(1e-9, sum(b[key] for _, b in pairs))


def compare(results):
    """Ratios by the queries that both answered, and where counts differ."""
    ours = results.get("pillarbox", {}).get("kinds", {})
    for peer, theirs in results.items():
        if peer == "pillarbox" or not ours or "kinds" not in theirs:
            continue
        print(f"\n{peer} over ours, the queries that both answered; matches that differ")
        for kind, figures in theirs["kinds"].items():
            known = {line["query"]: line for line in ours.get(kind, {"lines": []})["lines"]}
            pairs = [(a, known[a["query"]]) for a in figures["lines"] if a["query"] in known]
            if not pairs:
                continue
            cpu, wall = (ratio(pairs, key) for key in ("cpu_s", "wall_s"))
            other = [(a, b) for a, b in pairs if a["matches"] != b["matches"]]
            told = f"{len(pairs):4} queries: CPU {cpu:10.1f} wall {wall:10.1f}; {len(other)} differ"
            print(f"  {kind:20} {told}")
            for a, b in other[:5]:
                print(f"    {a['query']}: {a['matches']}, ours {b['matches']}")


def main():
    global MESSAGES
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--count", default="20000", help="numbers of messages, separated by commas")
    parser.add_argument("--servers", default="pillarbox,dovecot")
    parser.add_argument("--keep", help="a folder for filled stores, which are used again")
    parser.add_argument("--scratch")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--peer-queries", type=int, default=1)
    parser.add_argument("--xapian-queries", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60, help="for each kind of query at most")
    parser.add_argument("--only", default="", help="words of kinds, separated by commas")
    parser.add_argument("--rebuild", action="store_true", help="at the end make our index anew")
    parser.add_argument("--fill-only", action="store_true")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    peers.Pillarbox.binary = os.path.abspath(arguments.pillarbox)
    corpus = os.environ.get("PILLARBOX_CORPUS") or os.path.join(peers.ROOT, "..", "shared", "corpus")
    scratch = tempfile.mkdtemp(prefix="bench-search-", dir=arguments.scratch)
    os.chmod(scratch, 0o755)
    everything = {}
    try:
        MESSAGES = mails.Mail(corpus)
        print(f"{len(MESSAGES.bases)} base messages of {MESSAGES.source}, {os.cpu_count()} CPUs", flush=True)
        kinds = {kind.name: kind for kind in (Pillarbox, Dovecot, DovecotXapian)}
        for count in map(int, arguments.count.split(",")):
            MESSAGES.set_count(count)
            needles = None if arguments.fill_only else Needles(count)
            results = everything[count] = {}
            for name in arguments.servers.split(","):
                results[name] = run_server(kinds[name], needles, arguments, count, scratch)
            compare(results)
            if arguments.json:
                with open(arguments.json, "w") as file:
                    json.dump(everything, file, indent=1)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
