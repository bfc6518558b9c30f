"""Healthy running beside a machine that is busy with other work: nothing may
fail over.

usage: scripts/bench calm [--for 60m] [--output table|json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import account
from ground import deployed, down, say
from hafail import LEASE_LOG, Hafail, history
from trial import CLIENT_LOG, log_at, start_client

UNITS = {"s": 1, "m": 60, "h": 3600}
LONG_GAP_S = 1.0


def seconds(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isdigit():
        raise argparse.ArgumentTypeError("a time such as 60m")
    return float(number) * UNITS[unit]


def busy() -> list[subprocess.Popen[bytes]]:
    """Other work on every core, as urgent as all else."""
    return [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]


def run(system: Hafail, duration: float) -> dict[str, float]:
    client = system.hosts["site2-lb"]
    start_client(system, client)
    path = client.file(CLIENT_LOG)
    begun = time.monotonic()
    others = busy()
    try:
        while (left := begun + duration - time.monotonic()) > 0:
            time.sleep(min(left, 60))
            say(f"{(time.monotonic() - begun) / 60:.0f} min: {len(account.accepted(log_at(path)))} writes")
    finally:
        for other in others:
            other.kill()
            other.wait()
    client.run("systemctl stop bench-client")
    return figures(system, account.attempts(client.run(f"cat {CLIENT_LOG}")), begun)


def figures(system: Hafail, log: list[account.Attempt], begun: float) -> dict[str, float]:
    wall = time.time() - time.monotonic()
    leases = [line.split() for line in system.hosts["witness"].run(f"cat {LEASE_LOG}").splitlines()]
    ends = [attempt.end for attempt in account.accepted(log)]
    gaps = [after - before for before, after in zip(ends, ends[1:])]
    return {
        "minutes": round((ends[-1] - ends[0]) / 60, 1),
        "failovers": sum(run["kind"] == "failover" for run in history()),
        "lost leases": sum(what == "DELETE" and float(at) - wall > begun for what, at in leases),
        "writes": len(ends),
        "writes without an answer": sum(attempt.answer == "unknown" for attempt in log),
        f"gaps over {LONG_GAP_S:.0f} s": sum(gap > LONG_GAP_S for gap in gaps),
        "longest gap, s": round(max(gaps), 3),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench calm", description="Nothing may fail over on a busy machine.")
    parser.add_argument("--for", type=seconds, default=3600.0, dest="duration", metavar="TIME")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    chosen = parser.parse_args()
    try:
        found = run(deployed(Hafail), chosen.duration)
    finally:
        down()
    if chosen.output == "json":
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(f"{name:<26} {value}" for name, value in found.items()))
    return 1 if found["failovers"] else 0


if __name__ == "__main__":
    sys.exit(main())
