"""What the bench asks of every system that it measures."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path

import packages
from hosts import DATABASES, Failed, Host, together, until

TABLE = "bench"
PREPARE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (n bigint PRIMARY KEY);
CREATE TABLE IF NOT EXISTS direct (n bigint);
GRANT ALL ON {TABLE} TO PUBLIC;
"""
# The timeline on which a primary writes; nothing: it is a standby.
WRITES_ON = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
USER, PASSWORD = "bench", "bench"

DIRECT_LOG = "/var/lib/bench/direct.log"
DIRECT_UNIT = """[Unit]
Description=Writes straight at the database of this host

[Service]
User=postgres
ExecStart=/usr/bin/python3 /var/lib/bench/writer.py /var/lib/bench/direct.json
Restart=always
RestartSec=100ms

[Install]
WantedBy=multi-user.target
"""
# Waits for no standby: what it commits says that the host accepted writes.
DIRECT = {
    "servers": ["host=/var/run/postgresql user=postgres dbname=postgres options='-c synchronous_commit=local'"],
    "statement": "INSERT INTO direct VALUES (%s)",
    "log": DIRECT_LOG,
    "every_s": 0.02,
    "deadline_s": 1,
    # A standby refuses, and the session goes on when it is promoted. A new one
    # for each attempt would take processor time from what is measured; one that
    # stays would keep a smart shutdown waiting.
    "keeps": ["accepted", "refused"],
    "session_s": 0.5,
}


class System(ABC):
    """A system on the hosts of the lab."""

    #: As in the table.
    name: str
    #: Seconds after a fault in which it surely has recovered, if it does.
    recovers_within = 90

    def __init__(self, hosts: dict[str, Host]) -> None:
        self.hosts = hosts

    @property
    def databases(self) -> list[Host]:
        return [self.hosts[name] for name in DATABASES]

    def other(self, host: Host) -> Host:
        return next(each for each in self.databases if each is not host)

    @abstractmethod
    def deploy(self) -> None:
        """From bare hosts to a primary and a standby that streams."""

    @abstractmethod
    def servers(self, client: Host) -> list[str]:
        """Connection strings of a client on this host."""

    @abstractmethod
    def switchover(self, old: Host, new: Host) -> None:
        """By the system's own command."""

    @abstractmethod
    def mend(self, host: Host, primary: Host) -> None:
        """By hand, where it does not rejoin by itself."""

    def whole(self) -> bool:
        """Whether the next fault may come: by default, the standby streams."""
        primary = self.primary()
        return primary is not None and self.streams(self.other(primary), primary)

    def postmaster(self, host: Host) -> str:
        """The file with its process id."""
        return host.sql("SHOW data_directory") + "/postmaster.pid"

    def primary(self) -> Host | None:
        """The one that accepts writes; of two, the one of the later history."""
        found: list[tuple[int, Host]] = []
        for host in self.databases:
            try:
                timeline = host.sql(WRITES_ON)
            except Failed:
                continue
            if timeline:
                found.append((int(timeline, 16), host))
        return max(found, key=lambda each: each[0])[1] if found else None

    def streams(self, standby: Host, primary: Host) -> bool:
        query = f"SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND client_addr = '{standby.address}'"
        return primary.sql(query) == "1" and standby.sql("SELECT pg_is_in_recovery()") == "t"

    def phases(self, _begun: float, _ended: float, _new: Host) -> dict[str, float]:
        """Where the time of a failover went, for systems that tell; seconds."""
        return {}

    # Clients

    def install_clients(self) -> None:
        """Programs of the clients, the same for every system."""
        writer = (Path(__file__).parent / "writer.py").read_text(encoding="utf-8")

        def install(host: Host) -> None:
            packages.debian(host, *packages.CLIENT)
            host.put("/var/lib/bench/writer.py", writer, mode="755")
            host.put("/var/lib/bench/direct.json", json.dumps(DIRECT))
            host.put("/etc/systemd/system/bench-direct.service", DIRECT_UNIT)
            host.run("chmod 777 /var/lib/bench; systemctl daemon-reload")

        together(install, [self.hosts[name] for name in (*DATABASES, "site1-lb", "site2-lb")])
        for host in self.databases:
            host.run("systemctl enable -q bench-direct")

    def prepare(self) -> None:
        """The tables."""
        primary = until_primary(self)
        primary.sql(PREPARE)


def until_primary(system: System, within: float = 60) -> Host:
    until("a primary", lambda: system.primary() is not None, within=within)
    primary = system.primary()
    assert primary is not None
    return primary


def client_user(primary: Host) -> None:
    """The application's user, where the system does not make one."""
    primary.sql(f"CREATE USER {USER} PASSWORD '{PASSWORD}'")


def direct_servers(hosts: list[Host]) -> list[str]:
    """The documented way without a load balancer: all hosts, the one that writes."""
    return [
        f"host={host.address} port=5432 user={USER} password={PASSWORD} dbname=postgres target_session_attrs=read-write"
        for host in hosts
    ]
