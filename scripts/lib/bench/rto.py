"""How fast do systems fail over? The same hosts, client and faults for all.

usage: scripts/bench rto [--system NAME]… [--fault NAME]… [--runs N] [--output table|json] [--chart FILE]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from account import Sample
from chart import chart
from faults import FAULTS, TITLES
from ground import deployed, down, say
from hafail import Hafail
from patroni import Patroni, PatroniSynchronous
from pg_auto_failover import PgAutoFailover
from repmgr import Repmgr
from systems import System
from table import document, table
from trial import put_right, trial

SYSTEMS: dict[str, list[type[System]]] = {
    "hafail": [Hafail],
    "patroni": [Patroni, PatroniSynchronous],
    "pg_auto_failover": [PgAutoFailover],
    "repmgr": [Repmgr],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench rto", description="How fast do systems fail over?")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="all when not given")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="all when not given")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the runs as SVG")
    return parser.parse_args()


class Bench:
    """All runs of all systems, and what became of them."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.faults: list[str] = chosen.fault or list(FAULTS)
        self.runs: int = chosen.runs
        self.samples: list[Sample] = []
        self.failed: list[dict[str, str]] = []

    def measure(self, kind: type[System]) -> None:
        """A lab of its own for each system; a new one where a run failed."""
        left = [fault for _ in range(self.runs) for fault in self.faults]
        trouble = 0
        while left and trouble < 3:
            doing = "deployment"
            try:
                system = deployed(kind)
                while left:
                    doing = left.pop(0)
                    if not self.run(system, doing, len(left)) and left:
                        doing = f"mending after {doing}"
                        put_right(system)
            except Exception as error:  # whatever it is, the other runs are worth having
                trouble += 1
                say(f"{kind.name}: {doing}: {error!r}; a new lab")
                self.failed.append({"system": kind.name, "what": doing, "why": repr(error)[:300]})
            finally:
                down()

    def run(self, system: System, fault: str, left: int) -> bool:
        """Whether it is whole again by itself."""
        begun = time.monotonic()
        sample = trial(system, fault)
        self.samples.append(sample)
        rejoined = "not rejoined" if sample.rejoined_s is None else f"rejoined after {sample.rejoined_s:.1f} s"
        both = "" if sample.two_writers_s is None else f", TWO WRITERS for {sample.two_writers_s:.1f} s"
        moved = "failed over" if sample.failed_over else "stayed"
        gap = f"gap {sample.gap_s:.3f} s, {moved}, {sample.lost} lost{both}, {rejoined}"
        say(f"{system.name}: {TITLES[fault]}: {gap} ({time.monotonic() - begun:.0f} s; {left} to go)")
        return sample.rejoined_s is not None


def stop(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> int:
    chosen = arguments()
    signal.signal(signal.SIGTERM, stop)
    bench, interrupted = Bench(chosen), False
    try:
        for name in chosen.system or list(SYSTEMS):
            for kind in SYSTEMS[name]:
                bench.measure(kind)
    except KeyboardInterrupt:
        interrupted = True
        say("interrupted: this is what was measured until now")
    if chosen.chart:
        chosen.chart.write_text(chart(bench.samples))
    if chosen.output == "json":
        print(json.dumps(document(bench.samples, bench.failed), indent=2))
    else:
        print(table(bench.samples, bench.failed))
    return 130 if interrupted else int(bool(bench.failed))


if __name__ == "__main__":
    sys.exit(main())
