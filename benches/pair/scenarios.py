#!/usr/bin/env python3
"""What may happen to a pair, with real processes, and an outside ledger that is asked after it.

Question: is anything lost, doubled, invented, moved, or given another UID, whatever happens to the nodes
and to what is between them? Each scenario makes a pair in a house of its own (house.py), has clients work
on it (ledger.py), breaks something, mends it, waits until both nodes are in step, and compares. Timing is
printed and decides nothing; a fault of the ledger ends the run with code 1.

    scenarios.py --pillarbox BINARY [--list] [--only NAME,NAME…] [--seconds S] [--keep]
"""

import argparse
import os
import sys
import time

import house
from house import Trouble, await_together, wait
from clients import DELIVERIES, Load
from ledger import YES, Ledger, demand_agreement

DEGRADE = 'away = "degrade"\ndegrade_seconds = 1\n'
MERGE = "merge_mode_seconds = 1\n"
SCENARIOS = {}


def scenario(needs_rooms=False):
    """Registers a function under its name."""

    def register(function):
        SCENARIOS[function.__name__] = (function, needs_rooms)
        return function

    return register


class Case:
    """A pair in its house, and the ledger of what was asked of it."""

    def __init__(self, arguments):
        self.arguments, self.house, self.load = arguments, None, None
        self.ledger, self.seconds = Ledger(), arguments.seconds

    def pair(self, mode, more="", disks=None, etcd=False, **options):
        self.house = house.House(**options)
        self.disks = {name: self.house.disk(name, size) for name, size in (disks or {}).items()}
        if etcd:
            more += f'[pair.etcd]\nendpoints = ["{self.house.start_etcd()}"]\n'
        self.a, self.b = self.nodes = house.make_pair(self.house, self.arguments.pillarbox, mode, more)

    def begin(self, **options):
        """Clients begin, and something was acknowledged on each node."""
        self.load = Load(self.ledger, self.nodes, **options)
        self.work(0.1 * self.seconds)

    def work(self, seconds=None):
        """The clients go on until they had good answers for some time."""
        seen = len(self.ledger.answers)
        wait("clients get good answers", lambda: len(self.ledger.answers) > seen + 10)
        time.sleep(self.seconds if seconds is None else seconds)

    def finish(self, what):
        """The clients stop, the nodes come into step, and the ledger is asked."""
        if self.load:
            self.load.stop()
            self.load = None
        together = await_together(*self.nodes)
        demand_agreement(self.ledger, self.nodes, what)
        for node in self.nodes:
            panics = [line for line in node.complaints() if "panicked" in line]
            if panics:
                raise Trouble(f"{what}: {node.name}: {panics[0]}")
        return together

    def close(self):
        if self.load:
            for client in self.load.clients:
                client.ends.set()
        if self.house and not self.arguments.keep:
            self.house.close()

    # ---- what happens often --------------------------------------------------------------------

    def notices(self, node):
        wait(f"{node.name} notices", lambda: (node.status() or {}).get("is_connected") is False)

    def promote(self, node):
        node.command("replica", "promote")
        if node.role() != "primary":
            raise Trouble(f"{node.name} was promoted, and is {node.role()}")

    def part(self):
        self.house.wire.both(silent=True)
        for node in self.nodes:
            self.notices(node)

    def lacks(self, node):
        """Acknowledged letters that a node alone does not have: the RPO, while the other one is away."""
        with self.load.resting():
            content = self.ledger.read(node).values()
            found = {number for _, _, mails in content for number, _, _ in mails.values()}
            return self.ledger.acknowledged() - found

    def gap(self, since):
        return self.ledger.gap(since)[0]


# ---- failovers ---------------------------------------------------------------------------------


def fail_over(case, how):
    """The first node dies or stands still; the second one is promoted; the first one comes back."""
    case.begin(parted=case.a.mode == "local")
    begun = time.monotonic()
    case.a.kill() if how == "kill" else case.a.pause()
    case.notices(case.b)
    case.promote(case.b)
    case.work()
    missing = len(case.lacks(case.b))
    gap = case.gap(begun)
    case.a.start() if how == "kill" else case.a.resume()
    case.work()
    primary, _ = case.finish(f"{how}, {case.a.mode}")
    if primary is not case.b:
        raise Trouble("the node that was promoted is not primary")
    return f"{gap * 1000:.0f} ms without a good answer, {missing} acknowledged letters away meanwhile"


@scenario()
def failover_durable(case):
    """kill -9 of the primary in durable mode, promotion by command, the way back."""
    case.pair("durable", DEGRADE)
    return fail_over(case, "kill")


@scenario()
def failover_local(case):
    """The same in local mode: what was not shipped comes back with its node."""
    case.pair("local")
    return fail_over(case, "kill")


@scenario()
def failover_paused(case):
    """The primary stands still, as a machine does that hangs, and goes on when it is primary no more."""
    case.pair("durable", DEGRADE)
    return fail_over(case, "pause")


def take_over_twice(case, what):
    """The primary is killed, the other node takes over by itself; then the other way round."""
    gaps = []
    for old, new in (case.nodes, case.nodes[::-1]):
        case.work()
        begun = time.monotonic()
        old.kill()
        wait("the other node takes over", lambda: new.role() == "primary")
        case.work()
        gaps.append(case.gap(begun))
        old.start()
        await_together(*case.nodes)
    case.finish(what)
    return ", ".join(f"{gap * 1000:.0f} ms" for gap in gaps) + " without a good answer"


@scenario()
def failover_etcd(case):
    """kill -9 of the primary in durable mode; the other one takes over by itself, twice."""
    case.pair("durable", DEGRADE, etcd=True)
    case.begin()
    return take_over_twice(case, "failover by etcd")


@scenario()
def failover_merge(case):
    """kill -9 of the primary in merge mode; the other one takes over by itself, twice."""
    case.pair("local", MERGE)
    case.begin(parted=True)
    return take_over_twice(case, "failover in merge mode")


@scenario()
def switch(case):
    """Handing over and back while clients work."""
    case.pair("durable", DEGRADE)
    case.begin()
    gaps = []
    for old, new in (case.nodes, case.nodes[::-1]):
        begun = time.monotonic()
        old.command("replica", "switch")
        case.work(0.3)
        gaps.append(case.gap(begun))
        await_together(new, old)
    case.finish("switch")
    return ", ".join(f"{gap * 1000:.0f} ms" for gap in gaps) + " without a good answer"


# ---- partitions --------------------------------------------------------------------------------


@scenario()
def partition_durable(case):
    """Nothing passes between the nodes; the primary goes on alone, loudly, and they meet again."""
    case.pair("durable", DEGRADE)
    case.begin()
    case.part()
    case.work()
    case.house.wire.heal()
    case.work()
    case.finish("partition")


@scenario()
def partition_both(case):
    """Both nodes take changes apart, as after a promotion in a partition; then they merge."""
    case.pair("local")
    case.begin(sides="both", parted=True)
    case.part()
    case.promote(case.b)
    case.work()
    case.house.wire.heal()
    primary, other = await_together(*case.nodes)
    if primary is not case.b:
        raise Trouble("the newer epoch did not win")
    case.work()
    case.finish("both sides took changes")
    return f"merged: {other.status()['merged']}"


@scenario()
def partition_merge(case):
    """Merge mode: the line is cut three times, both nodes take changes each time, and they merge."""
    case.pair("local", MERGE)
    case.begin(sides="both", parted=True)
    merged = []
    for _ in range(3):
        case.part()
        wait("both are primary", lambda: all(node.role() == "primary" for node in case.nodes))
        case.work()
        case.house.wire.heal()
        _, other = await_together(*case.nodes)
        merged.append(other.status()["merged"])
        case.work()
    case.finish("both sides took changes in merge mode")
    return f"merged: {merged}"


@scenario()
def both_die_merge(case):
    """Merge mode: both nodes die, and the primary is back first; then the follower is."""
    case.pair("local", MERGE)
    case.begin(parted=True)
    case.work()
    for turn in range(2):
        primary, follower = await_together(*case.nodes)
        first, second = (primary, follower) if turn == 0 else (follower, primary)
        for node in case.nodes:
            node.kill()
        first.start()
        wait("it goes on by itself", lambda: first.role() == "primary")
        case.work()
        second.start()
        case.work()
    case.finish("both died in merge mode")


@scenario()
def promoted_on_both(case):
    """By mistake, first the one and then the other is promoted, while they do not see each other."""
    case.pair("local")
    case.begin(sides="both", parted=True)
    case.part()
    case.promote(case.b)
    said = case.a.command("replica", "promote", check=False)
    case.work()
    case.house.wire.heal()
    await_together(*case.nodes)
    case.work()
    case.finish("promoted on both sides")
    return f"the primary that was promoted said: {(said.stdout + said.stderr).splitlines()[0]}"


def one_way(case, silence):
    case.pair("durable", DEGRADE)
    case.begin()
    for order in (case.nodes, case.nodes[::-1]):
        end = silence(*order)
        for node in case.nodes:
            case.notices(node)
        case.work()
        end()
        await_together(*case.nodes)
    case.finish("silence in one direction")


@scenario()
def one_way_silence(case):
    """The forwarder passes one direction alone; first the one, then the other."""

    def silence(one, other):
        case.house.wire.between(one.name, other.name).silent = True
        return case.house.wire.heal

    one_way(case, silence)


@scenario(needs_rooms=True)
def one_way_packets(case):
    """A packet filter throws away what comes in to one node over the back link."""

    def silence(_, other):
        case.house.drop(other.name, "in")
        return lambda: case.house.drop_nothing(other.name)

    one_way(case, silence)


@scenario(needs_rooms=True)
def link_down(case):
    """The back link of a node goes down and comes up, of either node, then the primary's front link."""
    case.pair("durable", DEGRADE)
    case.begin()
    for name in ("a", "b"):
        case.house.link(name, "back", "down")
        for node in case.nodes:
            case.notices(node)
        case.work()
        case.house.link(name, "back", "up")
        await_together(*case.nodes)
    case.house.link("a", "front", "down")
    case.work()
    case.house.link("a", "front", "up")
    case.work()
    case.finish("links went down")


# ---- a bad wire --------------------------------------------------------------------------------


@scenario()
def far_away(case):
    """50 ms in either direction."""
    case.pair("durable", DEGRADE)
    case.house.wire.both(delay=0.05)
    case.begin()
    seen, begun = len(case.ledger.answers), time.monotonic()
    case.work()
    rate = (len(case.ledger.answers) - seen) / (time.monotonic() - begun)
    microseconds = case.a.status()["round_trip_microseconds"]
    case.finish("50 ms away")
    return f"round trip {microseconds / 1000:.0f} ms, {rate:.0f} changes a second of {len(house.USERS)} clients"


@scenario()
def thin_wire(case):
    """200 kB a second, less than what clients bring: the primary waits and nobody is cut off."""
    case.pair("durable", DEGRADE)
    case.house.wire.both(bytes_per_second=200_000)
    case.begin(acts=DELIVERIES, pace=0)
    case.work(2 * case.seconds)
    connected = case.a.status()["is_connected"]
    case.house.wire.heal()
    case.finish("a thin wire")
    return f"connected meanwhile: {connected}"


@scenario()
def cut_again_and_again(case):
    """Connections are reset after a random time, 0.7 s in the mean."""
    case.pair("durable", DEGRADE)
    case.house.wire.cut_now_and_then(0.7)
    case.begin()
    case.work(3 * case.seconds)
    case.house.wire.heal()
    case.finish("connections were cut")


# ---- restarts ----------------------------------------------------------------------------------


@scenario()
def follower_restarts(case):
    """The follower is killed, stopped and killed, and started again, while clients work."""
    case.pair("durable", DEGRADE)
    case.begin()
    restart(case, case.b)


@scenario()
def primary_restarts(case):
    """The primary is killed, stopped and killed, and started again; it asks its follower first."""
    case.pair("durable", DEGRADE)
    case.begin()
    restart(case, case.a)


def restart(case, node):
    for how in ("kill", "stop", "kill"):
        getattr(node, how)()
        node.start()
        case.work()
        await_together(*case.nodes)
    case.finish(f"{node.name} was restarted")


@scenario()
def both_die(case):
    """Both nodes are killed at once and start again: first the follower, then the primary."""
    case.pair("durable", DEGRADE)
    case.begin()
    for order in (case.nodes, case.nodes[::-1]):
        for node in case.nodes:
            node.kill()
        for node in order:
            node.start()
        case.work()
        await_together(*case.nodes)
    case.finish("both died")


@scenario()
def long_absence(case):
    """The follower is away while much mail comes, and catches up while more comes."""
    case.pair("local", routed=True)
    case.begin(acts=DELIVERIES, pace=0)
    case.b.stop()
    begun = case.a.status()
    case.work(5 * case.seconds)
    behind = case.a.status()
    case.b.start()
    started = time.monotonic()
    wait("the follower has caught up", lambda: (case.a.status() or {}).get("is_there"))
    took = time.monotonic() - started
    case.finish("a long absence")
    return f"from {begun['last']} to {behind['last']}, caught up in {took:.2f} s under load"


# ---- full disks --------------------------------------------------------------------------------


def full_disk(case, name):
    case.pair("durable", DEGRADE, disks={name: 192})
    case.begin()
    case.disks[name].fill(leave_bytes=2_000_000)
    time.sleep(2 * case.seconds)
    node = case.a if name == "a" else case.b
    trouble = (node.status() or {}).get("trouble")
    case.disks[name].relieve()
    if node.process.poll() is not None:
        trouble = f"it ended with {node.process.returncode}"
        node.start()
    case.work()
    case.finish(f"the disk of {name} was full")
    return f"meanwhile {name} said: {trouble}"


@scenario(needs_rooms=True)
def disk_full_on_follower(case):
    """The follower's disk is full for a time."""
    return full_disk(case, "b")


@scenario(needs_rooms=True)
def disk_full_on_primary(case):
    """The primary's disk is full for a time."""
    return full_disk(case, "a")


# ---- the ledger itself -------------------------------------------------------------------------


@scenario()
def ledger_sees(case):
    """Behind the ledger's back mail is removed, added, changed: each must be found."""
    case.pair("durable", DEGRADE)
    case.begin()

    def in_the_inbox():
        there = [l for l in list(case.ledger.letters.values()) if l.user == house.USERS[0]]
        there = [l for l in there if l.places == {"INBOX"} and l.is_acknowledged]
        return [letter for letter in there if letter.gone == "no" and not letter.is_left]

    until = time.monotonic() + 30
    while len(in_the_inbox()) < 10 and time.monotonic() < until:
        time.sleep(0.05)
    case.finish("before")
    session = case.a.connect(house.USERS[0])
    there = in_the_inbox()
    session.select("INBOX")

    def uid(letter):
        identity = f"<{letter.number}@{case.ledger.label}.invalid>"
        _, found = session.uid("SEARCH", "HEADER", "Message-ID", identity)
        return found[0].decode()

    def expect(kind, what):
        kinds = {fault.kind for fault in case.ledger.compare(case.nodes)}
        if kinds != {kind}:
            raise Trouble(f"{what}: expected {kind}, found {kinds or 'nothing'}")

    one, other, third = there[:3]
    session.uid("COPY", uid(one), "INBOX")
    expect("doubled", "a letter was copied")
    copies = uid(one).split()
    session.uid("STORE", copies[-1], "+FLAGS", "(\\Deleted)")
    session.uid("EXPUNGE", copies[-1])
    expect_nothing(case, "the copy is gone")
    session.append("INBOX", None, None, b"Subject: ledger 999999\r\n\r\nnever sent\r\n")
    expect("invented", "a letter was added that nobody sent")
    session.select("INBOX")
    _, found = session.uid("SEARCH", "SUBJECT", "999999")
    session.uid("STORE", found[0].decode(), "+FLAGS", "(\\Deleted)")
    session.uid("EXPUNGE", found[0].decode())
    flag = "-FLAGS" if True in other.flags.get("\\Answered", ()) else "+FLAGS"
    session.uid("STORE", uid(other), flag, "(\\Answered)")
    expect("flags", "a flag was changed")
    session.uid("STORE", uid(other), "-FLAGS" if flag == "+FLAGS" else "+FLAGS", "(\\Answered)")
    session.uid("MOVE", uid(other), "Trash")
    expect("misplaced", "a letter was moved")
    other.places = {"Trash"}
    session.create("unheard-of")
    expect("mailbox", "a mailbox was made")
    session.delete("unheard-of")
    meanings = case.ledger.meanings
    key = next(key for key, number in meanings.items() if number == third.number)
    meanings[key] = -1
    expect("renumbered", "a UID meant another letter")
    meanings[key] = third.number
    session.uid("STORE", uid(third), "+FLAGS", "(\\Deleted)")
    session.uid("EXPUNGE", uid(third))
    expect("lost", "a letter was removed")


def expect_nothing(case, what):
    faults = case.ledger.compare(case.nodes)
    if faults:
        raise Trouble(f"{what}: {faults[0]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required="--list" not in sys.argv)
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the folder as it is")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long clients work at each step")
    arguments = parser.parse_args()
    if arguments.list:
        for name, (function, needs_rooms) in SCENARIOS.items():
            print(f"{name:22} {function.__doc__}{' (namespaces)' if needs_rooms else ''}")
        return
    arguments.pillarbox = os.path.abspath(arguments.pillarbox)
    house.move_in()
    chosen = [name for name in arguments.only.split(",") if name] or list(SCENARIOS)
    failed = []
    for name in chosen:
        function, needs_rooms = SCENARIOS[name]
        if needs_rooms and not house.has_rooms():
            print(f"{name}: SKIPPED, it needs namespaces", flush=True)
            continue
        case, begun = Case(arguments), time.monotonic()
        try:
            words = function(case)
            counts = case.ledger.counts
            answers = f"{counts[YES]} good answers, {counts['unknown']} unknown, {counts['no']} refusals"
            took = time.monotonic() - begun
            more = f"; {words}" if words else ""
            print(f"{name}: the ledger agrees ({took:.1f} s; {answers}){more}", flush=True)
        except (Trouble, OSError) as trouble:
            failed.append(name)
            print(f"{name}: FAILED: {trouble}", flush=True)
            for node in getattr(case, "nodes", ()):
                print(f"  {node.name}: " + node.last_words().replace("\n", "\n     "), flush=True)
        finally:
            case.close()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
