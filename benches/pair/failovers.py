#!/usr/bin/env python3
"""How long a pair is without an answer when its primary dies, and what is missing afterwards.

Question: from the last good answer of the old primary to the first good one of the new, as clients see it
from outside, over many failovers: p50, p99, longest (RTO); acknowledged letters that the new primary does
not have (RPO); and what the ledger finds lost, doubled or otherwise wrong when both are in step again.
Two nodes in namespaces of their own (house.py), four clients that do all that clients do (ledger.py). The
primary is killed (kill -9), stands still (SIGSTOP, as a machine that hangs), or loses its links (as one
that burns down, and comes back); the other is promoted by command as soon as it notices, by an etcd, or by
itself in merge mode; the first one comes back, follows and is merged; then the other way round. Unit: a failover. Timing is
printed and decides nothing; the ledger does: any fault ends the run with code 1.

    failovers.py --pillarbox BINARY [--mode durable|local] [--by command|etcd|merge] [--how kill|stop|links]
                 [--count N] [--every N] [--json FILE]

`--every`: after so many failovers both nodes are read as a whole and compared.
"""

import argparse
import json
import math
import os
import sys
import time

import house
from house import Trouble, await_together, wait
from clients import Load
from ledger import demand_agreement
from scenarios import Case, DEGRADE, MERGE


RANKS = {"p50": 0.5, "p99": 0.99, "longest": 1}


def take_away(case, node, how):
    if how == "kill":
        node.kill()
    elif how == "stop":
        node.pause()
    else:
        for link in ("back", "front"):
            case.house.link(node.name, link, "down")


def bring_back(case, node, how):
    if how == "kill":
        node.start()
    elif how == "stop":
        node.resume()
    else:
        for link in ("front", "back"):
            case.house.link(node.name, link, "up")


def fail_over(case, old, new, arguments):
    """One of them; answers the gap in seconds, and letters that are away meanwhile."""
    case.work(0.2)
    begun = time.monotonic()
    take_away(case, old, arguments.how)
    if arguments.by == "command":
        case.notices(new)
        case.promote(new)
    else:
        wait("the other node takes over", lambda: new.role() == "primary")
    case.work(0.2)
    gap = case.gap(begun)
    missing = case.lacks(new)
    if missing and arguments.mode == "durable" and arguments.by != "merge":
        raise Trouble(f"{new.name} lacks {sorted(missing)[:20]}, which were acknowledged")
    bring_back(case, old, arguments.how)
    primary, _ = await_together(*case.nodes)
    if primary is not new:
        raise Trouble(f"{new.name} took over, and {primary.name} is primary")
    return gap, len(missing)


def quantile(values, part):
    """By nearest rank: below a hundred, the 99th percentile is the longest."""
    return sorted(values)[math.ceil(part * len(values)) - 1]


def run(case, arguments):
    more = DEGRADE if arguments.mode == "durable" else ""
    more += MERGE if arguments.by == "merge" else ""
    case.pair(arguments.mode, more, etcd=arguments.by == "etcd")
    case.begin(parted=arguments.mode == "local")
    gaps, missing = [], []
    for turn in range(arguments.count):
        nodes = case.nodes if turn % 2 == 0 else case.nodes[::-1]
        gap, lacking = fail_over(case, *nodes, arguments)
        gaps.append(gap * 1000)
        missing.append(lacking)
        print(f"failover {turn + 1}: {gap * 1000:.0f} ms, {lacking} away", file=sys.stderr, flush=True)
        if (turn + 1) % arguments.every == 0:
            case.finish(f"after {turn + 1} failovers")
            case.load = Load(case.ledger, case.nodes, parted=arguments.mode == "local")
    case.finish("at the end")
    demand_agreement(case.ledger, case.nodes, "at the end, again")
    counts = case.ledger.counts
    return {
        "mode": arguments.mode,
        "by": arguments.by,
        "how": arguments.how,
        "failovers": len(gaps),
        "rto_ms": {name: round(quantile(gaps, part)) for name, part in RANKS.items()},
        "rpo_letters": {"p50": quantile(missing, 0.5), "most": max(missing), "sum": sum(missing)},
        "answers": counts,
        "faults": 0,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--mode", choices=("durable", "local"), default="durable")
    parser.add_argument("--by", choices=("command", "etcd", "merge"), default="command")
    parser.add_argument("--how", choices=("kill", "stop", "links"), default="kill")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    arguments.pillarbox, arguments.seconds, arguments.keep = os.path.abspath(arguments.pillarbox), 0.2, False
    house.move_in()
    if arguments.how == "links" and not house.has_rooms():
        sys.exit("without namespaces there are no links")
    case = Case(arguments)
    try:
        result = run(case, arguments)
        print(json.dumps(result), flush=True)
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(result, file, indent=1)
    except Trouble as trouble:
        for node in case.nodes:
            print(f"{node.name}: {node.last_words()}", file=sys.stderr)
        sys.exit(f"FAILED: {trouble}")
    finally:
        case.close()


if __name__ == "__main__":
    main()
