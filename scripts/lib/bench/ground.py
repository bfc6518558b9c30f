"""A lab of its own, and a system deployed on it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TypeVar

from hafail import topology
from hosts import Failed, command, open_groups, provision
from systems import System

AnySystem = TypeVar("AnySystem", bound=System)
WORK = Path(os.environ["BENCH_WORK"])


def say(text: str) -> None:
    print(f"    {text}", file=sys.stderr, flush=True)


def deployed(kind: type[AnySystem]) -> AnySystem:
    say(f"{kind.name}: a lab, and its deployment")
    lab_up()
    system = kind(provision(topology(WORK), WORK / "home"))
    open_groups()
    system.install_clients()
    system.deploy()
    system.prepare()
    return system


def lab_up() -> None:
    command("hafail-lab", "up", timeout=1200)
    for line in command("hafail-lab", "env").splitlines():
        name, found, value = line.removeprefix("export ").partition("=")
        if found and line.startswith("export "):
            os.environ[name] = value


def down() -> None:
    """Says where it cannot: what was measured is worth more than an empty machine."""
    try:
        command("hafail-lab", "down", timeout=300)
    except Failed as error:
        say(f"the lab is left: {error}")
    command("rm", "-rf", f"{WORK}/home")
