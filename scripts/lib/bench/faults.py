"""The faults, the same for every system. Each returns when it began, by the
clock that all hosts share, and how to end it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

from hosts import Host, at_once
from systems import System

#: Longer than any system needs; the bench heals as soon as it has recovered.
CUT_S = 150


@dataclass
class Fault:
    """One that was injected."""

    begun: float
    #: Ends it and returns when; none: there is nothing to end.
    end: Callable[[], float] | None = None


def kill(system: System, old: Host, _new: Host) -> Fault:
    """kill -9 of the primary's postmaster."""
    pid = int(old.run(f"head -n 1 {system.postmaster(old)}"))
    return Fault(at_once(old, f"os.kill({pid}, 9)"))


def power_cut(_system: System, old: Host, _new: Host) -> Fault:
    """The primary's machine, by StopInstances with force."""
    return Fault(old.power_cut(), old.power_on)


def isolation(_system: System, old: Host, _new: Host) -> Fault:
    """The primary's machine is cut off, silently, and works on."""
    return Fault(old.cut(CUT_S), old.heal)


def switchover(system: System, old: Host, new: Host) -> Fault:
    """Planned, by the system's own command."""
    begun = time.monotonic()
    system.switchover(old, new)
    return Fault(begun)


FAULTS: dict[str, Callable[[System, Host, Host], Fault]] = {
    "kill": kill,
    "power-cut": power_cut,
    "isolation": isolation,
    "switchover": switchover,
}
TITLES = {
    "kill": "kill -9 PostgreSQL",
    "power-cut": "power cut of the primary",
    "isolation": "isolation of the primary",
    "switchover": "switchover",
}
