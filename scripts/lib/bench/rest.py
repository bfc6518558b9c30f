"""What guard, dead-man and watcher take while nothing happens.

usage: scripts/bench rest [--for 60] [--output table|json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass

from ground import deployed, down, say
from hafail import Hafail
from hosts import DATABASES, STORE, Host

#: Targets: MB, and share of a core.
TARGETS = {"guard": (30.0, 0.01), "dead-man": (30.0, 0.01), "watcher": (60.0, 0.02)}
GUARD = "systemctl show --property MainPID --value hafail-guard"
DEAD_MAN = "cat /run/hafail-guard/dead-man.pid"
WATCHER = "systemctl show --property MainPID --value hafail-watch"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Taken:
    """By one process."""

    host: str
    program: str
    memory_mb: float
    core: float

    def is_within(self) -> bool:
        memory, core = TARGETS[self.program]
        return self.memory_mb <= memory and self.core <= core


def look(host: Host, pid: str) -> tuple[float, float]:
    """Memory in MB, and processor time in seconds, its ended children's too."""
    status, stat = host.run(f"pid=$({pid}); cat /proc/$pid/status; echo ===; cat /proc/$pid/stat").split("===")
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    fields = stat.rpartition(")")[2].split()
    return int(resident.split()[1]) / 1000, sum(map(int, fields[11:15])) / TICKS


def measure(system: Hafail, seconds: float) -> list[Taken]:
    programs = [(system.hosts[name], program, pid) for name in DATABASES for program, pid in (("guard", GUARD), ("dead-man", DEAD_MAN))]
    programs += [(system.hosts[name], "watcher", WATCHER) for name in STORE]
    before = [(time.monotonic(), look(host, pid)) for host, _, pid in programs]
    time.sleep(seconds)
    after = [(time.monotonic(), look(host, pid)) for host, _, pid in programs]
    taken = []
    for (host, program, _), (begun, (less, used)), (ended, (more, used_then)) in zip(programs, before, after):
        taken.append(Taken(host.name, program, max(less, more), (used_then - used) / (ended - begun)))
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench rest", description="What hafail takes at rest.")
    parser.add_argument("--for", type=float, default=60, dest="seconds", help="seconds")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    chosen = parser.parse_args()
    try:
        system = deployed(Hafail)
        say("it comes to rest")
        time.sleep(30)
        found = measure(system, chosen.seconds)
    finally:
        down()
    if chosen.output == "json":
        print(json.dumps([asdict(each) for each in found], indent=2))
    else:
        print(f"{'program':<9} {'host':<10} {'memory, MB':>11} {'of a core':>10}  target")
        for each in found:
            memory, core = TARGETS[each.program]
            verdict = "met" if each.is_within() else "MISSED"
            print(f"{each.program:<9} {each.host:<10} {each.memory_mb:>11.1f} {each.core:>10.2%}  {memory:.0f} MB, {core:.0%}: {verdict}")
    return 0 if all(each.is_within() for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
