"""One fault under load: injected, watched, ended, accounted for."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import account
from account import Attempt, Sample
from faults import FAULTS
from hosts import Failed, Host, Late, until
from systems import DIRECT_LOG, TABLE, System

FOLDER = "/var/lib/bench"
CLIENT_LOG = f"{FOLDER}/client.log"
#: How long a system may take to bring the old primary back by itself.
REJOINS_WITHIN = 60
#: Writes go on for so long before what was broken comes back.
CALM = 5
#: Who streams for so long has rejoined.
STABLE = 2


def trial(system: System, fault: str) -> Sample:
    """Raises Failed where hosts or the system do not do what they must."""
    until(f"{system.name} is whole", system.whole, within=180, every=0.5)
    old = system.primary()
    assert old is not None
    new = system.other(old)
    # In the site that survives.
    client = system.hosts[f"{new.site}-lb"]
    for host in (old, new):
        start_direct(host)
    start_client(system, client)
    try:
        return under_load(system, fault, (old, new, client))
    finally:
        client.run("systemctl stop bench-client || true")


def start_direct(host: Host) -> None:
    host.run(f"systemctl stop bench-direct; rm -f {DIRECT_LOG}; systemctl start bench-direct")


def start_client(system: System, client: Host) -> None:
    settings = {
        "servers": system.servers(client),
        "statement": f"INSERT INTO {TABLE} VALUES (%s)",
        "log": CLIENT_LOG,
        "every_s": 0.01,
        "deadline_s": 1,
        # One that refuses is not the primary: the next attempt looks for it.
        "keeps": ["accepted"],
        # As those of applications: it stays.
        "session_s": 3600,
    }
    client.put(f"{FOLDER}/client.json", json.dumps(settings))
    program = f"/usr/bin/python3 {FOLDER}/writer.py {FOLDER}/client.json"
    client.run(f"systemctl stop bench-client 2> /dev/null || true; rm -f {CLIENT_LOG}")
    client.run(f"systemd-run --quiet --collect --unit=bench-client {program}")
    path = client.file(CLIENT_LOG)
    until("writes are accepted", lambda: account.goes_on(log_at(path), 0, time.monotonic()), within=30)


def log_at(path: Path) -> list[Attempt]:
    try:
        return account.attempts(path.read_text(encoding="utf-8"))
    except OSError:
        return []


def under_load(system: System, fault: str, hosts: tuple[Host, Host, Host]) -> Sample:
    old, new, client = hosts
    # Timers of the system are met at any point of their periods.
    time.sleep(random.uniform(2, 6))
    injected = FAULTS[fault](system, old, new)

    path = client.file(CLIENT_LOG)

    def recovered() -> bool:
        return account.goes_on(log_at(path), injected.begun, time.monotonic())

    with ThreadPoolExecutor() as pool:
        try:
            until("writes are accepted again", recovered, within=system.recovers_within)
            # Not before: questions take processor time from what is measured.
            rejoined = None if injected.end else pool.submit(rejoins, system, injected.begun)
            time.sleep(CALM)
        finally:
            ended = injected.end() if injected.end else injected.begun
        rejoined = rejoined or pool.submit(rejoins, system, ended)
    primary = system.primary()
    if primary is None:
        raise Failed("writes are accepted, and no database is seen to be primary")
    if fault == "switchover" and primary is not new:
        raise Failed("nothing was switched over")
    log = log_at(path)
    gap = account.longest_gap(log, injected.begun)
    assert gap is not None
    overlap = account.two_writers(kept_log(old), kept_log(new))
    present = numbers(primary, log)
    unknown = [attempt for attempt in log if attempt.answer == "unknown"]
    return Sample(
        system=system.name,
        fault=fault,
        gap_s=gap[1] - gap[0],
        recovered_s=gap[1] - injected.begun,
        lost=account.missing(log, present),
        unknown=len(unknown),
        unknown_present=sum(attempt.number in present for attempt in unknown),
        two_writers_s=overlap,
        failed_over=primary is new,
        rejoined_s=rejoined.result(),
        phases=system.phases(injected.begun, gap[1], new) if primary is new else {},
    )


def kept_log(host: Host) -> list[Attempt]:
    """It is on its disk, which outlives a power cut."""
    return account.attempts(host.run(f"cat {DIRECT_LOG}"))


def rejoins(system: System, since: float) -> float | None:
    """How long after that a primary and a standby were a pair, and went on to
    be one."""

    def paired() -> bool:
        primary = system.primary()
        return primary is not None and system.streams(system.other(primary), primary)

    deadline = since + REJOINS_WITHIN
    try:
        while True:
            at = until("it streams", paired, within=max(deadline - time.monotonic(), 0.1))
            time.sleep(STABLE)
            if paired():
                return max(at - since, 0.0)
    except Late:
        return None


def numbers(primary: Host, log: list[Attempt]) -> set[int]:
    """Which of the client's commits are there."""
    query = f"SELECT n FROM {TABLE} WHERE n BETWEEN {log[0].number} AND {log[-1].number}"
    return {int(line) for line in primary.sql(query, timeout=60).splitlines()}


def put_right(system: System) -> None:
    """By hand, so that the next fault meets a system that is whole."""
    primary = system.primary()
    if primary is None:
        raise Failed("no database is seen to be primary")
    for host in system.databases:
        host.run("systemctl stop bench-direct")
    system.mend(system.other(primary), primary)
