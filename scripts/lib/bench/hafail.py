"""hafail in automatic mode, synchronous, with a lease of 3 s."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import account
from hosts import Failed, Host, command, until
from systems import DIRECT_LOG, System

ROOT = Path(__file__).resolve().parents[3]
DEPLOYMENT = "automatic"
LEASE_LOG = "/var/lib/bench/lease.log"
CHANGES = {
    "etcd:\n  round_trip: 100ms": "lease: { ttl: 3s }\n\netcd:\n  round_trip: 10ms",
    # The next fault needs no acknowledgement.
    "failover_cooldown: 10m": "failover_cooldown: 1s",
}
#: What nobody needs to be measured: no system here runs an application.
STACK = re.compile(r"\nstack:\n.*?\n(?=\S)", re.DOTALL)


def topology(work: Path) -> Path:
    text = (ROOT / "topologies/automatic.yaml").read_text(encoding="utf-8")
    for old, new in CHANGES.items():
        if old not in text:
            raise Failed(f"topologies/automatic.yaml has no `{old}`")
        text = text.replace(old, new)
    file = work / "automatic.yaml"
    file.write_text(STACK.sub("\nstack: {}\n\n", text), encoding="utf-8")
    return file


def history() -> list[dict[str, Any]]:
    """The runs, oldest first."""
    runs: list[dict[str, Any]] = json.loads(command("hafail", "history", "--output", "json"))
    return runs


class Hafail(System):
    name = "hafail, synchronous"

    def deploy(self) -> None:
        command("hafail", "deploy", "--yes", timeout=900)
        until("hafail is whole", self.whole, within=120)
        self.watch_lease()

    def servers(self, client: Host) -> list[str]:
        password = client.run("cat /etc/hafail/watch/database-user")
        return [f"host=127.0.0.1 port=5000 user=vote password={password} dbname=postgres sslmode=require"]

    def switchover(self, old: Host, new: Host) -> None:
        command("hafail", "failover", "--region", new.region, "--yes")

    def mend(self, host: Host, primary: Host) -> None:
        # 4: it has joined meanwhile.
        command("bash", "-c", f"hafail rejoin {host.name} --yes || [ $? = 4 ]")

    def whole(self) -> bool:
        """Commits are confirmed by the standby, and no run is under way."""
        primary = self.primary()
        if primary is None or primary.sql("SELECT string_agg(sync_state, ',') FROM pg_stat_replication") != "sync":
            return False
        return all(run["ended"] for run in history())

    def phases(self, begun: float, ended: float, new: Host) -> dict[str, float]:
        """From the store, the journal of the run and the new primary's own
        writer, by the one clock that all hosts of the lab share."""
        wall = time.time() - time.monotonic()
        until("the store tells of runs", lambda: bool(history()), within=60)
        runs = [run for run in history() if run["kind"] == "failover" and run["new_primary"] == new.name]
        begins = [datetime.fromisoformat(run["started"]).timestamp() - wall for run in runs]
        started = min((at for at in begins if at > begun), default=None)
        if started is None:
            return {}
        writes = account.accepted(account.attempts(new.run(f"cat {DIRECT_LOG}")))
        marks = {
            "lease": self.lease_gone(begun, wall),
            "decision": started,
            "promotion": writes[0].end,
            "load balancer": ended,
        }
        times = [begun, *marks.values()]
        return {name: after - before for name, before, after in zip(marks, times, times[1:])}

    def watch_lease(self) -> None:
        """When the right to write comes and goes, as the store says it."""
        tls = "--cacert /etc/hafail/etcd/ca.pem --cert /etc/hafail/etcd/cert.pem --key /etc/hafail/etcd/key.pem"
        etcdctl = f"ETCDCTL_API=3 etcdctl --endpoints https://witness:2379 {tls} watch /hafail/{DEPLOYMENT}/live/primary"
        each = 'while read -r line; do case $line in PUT | DELETE) echo "$line $(date +%s.%N)" ;; esac; done'
        witness = self.hosts["witness"]
        witness.put("/var/lib/bench/lease.sh", f"{etcdctl} | {each} >> {LEASE_LOG}\n")
        witness.run("systemd-run --quiet --unit=bench-lease --property=Restart=always bash /var/lib/bench/lease.sh")

    def lease_gone(self, begun: float, wall: float) -> float:
        lines = [line.split() for line in self.hosts["witness"].run(f"cat {LEASE_LOG}").splitlines()]
        ends = [float(at) - wall for what, at in lines if what == "DELETE"]
        return next((at for at in ends if at > begun), begun)
