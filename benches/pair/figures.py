#!/usr/bin/env python3
"""All figures of a pair in one run, and Dovecot's replicator beside it: a table for docs/benchmarks.md.

Runs run.py (deliveries by mode, lag, catching up), failovers.py (RTO and RPO by mode and by who promotes)
and peer.py (a pair of Dovecot under the same load and ledger), one after the other, with one binary. What
each figure means stands in the first lines of those.

    figures.py --pillarbox BINARY [--failovers N] [--count N] [--rounds R] [--seconds S] [--json FILE]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

WAYS = (
    ("durable", "command", "kill"),
    ("local", "command", "kill"),
    ("durable", "etcd", "kill"),
    ("local", "etcd", "kill"),
    ("durable", "etcd", "stop"),
    ("local", "merge", "kill"),
    ("local", "merge", "links"),
)
HERE = os.path.dirname(os.path.abspath(__file__))


def script(name, arguments, *words):
    """Runs one of them; answers what it wrote as JSON, or None if it failed, which is said."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, os.path.join(HERE, name), "--pillarbox", arguments.pillarbox]
        command += ["--json", file.name, *map(str, words)]
        print("$", " ".join(command[1:]), file=sys.stderr, flush=True)
        done = subprocess.run(command, stdout=sys.stderr)
        if done.returncode:
            print(f"{name} {' '.join(map(str, words))}: FAILED", flush=True)
            return None
        return json.load(file)


def show(rows):
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(str(cell).ljust(width) for cell, width in zip(row, widths)) + " |")
        if number == 0:
            print("|" + "--|" * len(row))
    print(flush=True)


def deliveries(arguments):
    words = ["--count", arguments.count, "--rounds", arguments.rounds]
    rounds = script("run.py", arguments, *words)
    if not rounds:
        return None
    rows = [("mode", "deliveries/s", "CPU µs: first", "second", "lag p50 ms", "p99", "longest")]
    median = lambda mode, key: statistics.median(one[key] for one in rounds if one["mode"] == mode)
    for mode in ("alone", "local", "durable"):
        some = [one for one in rounds if one["mode"] == mode]
        cpu = [round(statistics.median(each)) for each in zip(*(one["cpu_us"] for one in some))]
        lags = ["lag_p50_ms", "lag_p99_ms", "lag_max_ms"] if mode != "alone" else []
        cells = [mode, median(mode, "deliveries_s"), *cpu, *([""] * (2 - len(cpu)))]
        rows.append((*cells, *(median(mode, key) for key in lags), *([""] * (3 - len(lags)))))
    show(rows)
    ratio = median("durable", "deliveries_s") / median("local", "deliveries_s")
    print(f"durable: {ratio:.2f} of local; catching up: {median('catching up', 'mb_s'):.0f} MB/s\n", flush=True)
    return rounds


def failovers(arguments):
    names = ("mode", "by", "how", "failovers", "RTO p50 ms", "p99", "longest", "RPO letters, most", "faults")
    rows, all_of_them = [names], []
    for kind in WAYS:
        mode, by, how = kind
        words = ["--mode", mode, "--by", by, "--how", how, "--count", arguments.failovers]
        one = script("failovers.py", arguments, *words)
        if one:
            rto, rpo = one["rto_ms"], one["rpo_letters"]
            figures = (rto["p50"], rto["p99"], rto["longest"], rpo["most"], one["faults"])
            rows.append((*kind, one["failovers"], *figures))
        else:
            rows.append((mode, by, how, "FAILED", "", "", "", "", ""))
        all_of_them.append(one)
    show(rows)
    return all_of_them


def peers(arguments):
    results = script("peer.py", arguments, "--seconds", arguments.seconds)
    rows = [("pair", "part", "figures", "faults")]
    for one in results or []:
        figures = {key: value for key, value in one.items() if key not in ("kind", "part", "faults", "examples")}
        words = ", ".join(f"{key} {value}" for key, value in figures.items())
        faults = ", ".join(f"{kind} {count}" for kind, count in one.get("faults", {}).items())
        rows.append((one["kind"], one["part"], words, faults or "none"))
    show(rows)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pillarbox", required=True)
    parser.add_argument("--failovers", type=int, default=50)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    arguments.pillarbox = os.path.abspath(arguments.pillarbox)
    results = {part.__name__: part(arguments) for part in (deliveries, failovers, peers)}
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
