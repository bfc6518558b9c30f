"""repmgr: Debian's clusters, repmgrd on both databases and on a witness,
clients with both databases in their connection string. Failure detection as
short as it works; asynchronous, as documented."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import packages
from hosts import Host, command, until
from systems import System, client_user, direct_servers

BIN = "/usr/lib/postgresql/15/bin"
DATA = "/var/lib/postgresql/15/main"
REPMGR = f"cd /; {BIN}/repmgr -f /etc/repmgr.conf"
NUMBERS = {"site1-db": 1, "site2-db": 2, "witness": 3}

HBA = """local all all trust
host all all 127.0.0.1/32 trust
host all all 10.0.0.0/8 trust
host replication all 127.0.0.1/32 trust
host replication all 10.0.0.0/8 trust
"""
SETTINGS = """listen_addresses = '*'
hot_standby = on
wal_log_hints = on
max_wal_senders = 10
max_replication_slots = 10
shared_preload_libraries = 'repmgr'
"""
UNIT = f"""[Unit]
Description=repmgrd
After=postgresql.service

[Service]
User=postgres
ExecStart={BIN}/repmgrd -f /etc/repmgr.conf --daemonize=false
Restart=always
RestartSec=1s

[Install]
WantedBy=multi-user.target
"""


def conninfo(host: Host) -> str:
    return f"host={host.address} user=repmgr dbname=repmgr connect_timeout=2"


def configuration(host: Host) -> str:
    control = "sudo /usr/bin/pg_ctlcluster 15 main"
    settings = {
        "node_id": str(NUMBERS[host.name]),
        "node_name": host.name,
        "conninfo": conninfo(host),
        "data_directory": DATA,
        "config_directory": "/etc/postgresql/15/main",
        "pg_bindir": BIN,
        "use_replication_slots": "yes",
        "failover": "automatic",
        "promote_command": f"{BIN}/repmgr standby promote -f /etc/repmgr.conf --log-to-file",
        "follow_command": f"{BIN}/repmgr standby follow -f /etc/repmgr.conf --log-to-file --upstream-node-id=%n",
        "monitor_interval_secs": "1",
        "reconnect_attempts": "3",
        "reconnect_interval": "1",
        "primary_notification_timeout": "10",
        "async_query_timeout": "5",
        "ssh_options": "-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=10",
    }
    for verb in ("start", "stop", "restart", "reload"):
        settings[f"service_{verb}_command"] = f"{control} {verb}" + (" -m fast" if verb == "stop" else "")
    return "".join(f"{key}='{value}'\n" for key, value in settings.items())


class Repmgr(System):
    name = "repmgr 5.3, asynchronous"

    def deploy(self) -> None:
        first, second = self.databases
        witness = self.hosts["witness"]
        for host in (first, second, witness):
            self.cluster(host)
        self.keys()
        for host in (first, witness):
            host.sql("CREATE USER repmgr SUPERUSER; ")
            host.sql("CREATE DATABASE repmgr OWNER repmgr")
        client_user(first)
        first.run(f"{REPMGR} primary register 2>&1", user="postgres")
        self.standby(second, first)
        witness.run(f"{REPMGR} witness register -h {first.address} -U repmgr -d repmgr 2>&1", user="postgres")
        for host in (first, second, witness):
            host.run("systemctl enable -q --now repmgrd-bench")
        until("the standby streams", self.whole, within=60)

    def cluster(self, host: Host) -> None:
        packages.debian(host, "postgresql-15-repmgr")
        host.run("pg_createcluster 15 main > /dev/null; cat >> /etc/postgresql/15/main/postgresql.conf", given=SETTINGS)
        host.put("/etc/postgresql/15/main/pg_hba.conf", HBA, owner="postgres")
        host.put("/etc/repmgr.conf", configuration(host), owner="postgres")
        host.put("/etc/sudoers.d/repmgr", "postgres ALL=(root) NOPASSWD: /usr/bin/pg_ctlcluster\n", mode="440")
        host.put("/etc/systemd/system/repmgrd-bench.service", UNIT)
        # A boot starts the cluster, as Debian does.
        host.run("systemctl daemon-reload; systemctl enable -q postgresql; systemctl start postgresql@15-main postgresql")

    def keys(self) -> None:
        """The switchover goes by SSH."""
        with TemporaryDirectory() as folder:
            command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key")
            private = Path(folder, "key").read_text(encoding="utf-8")
            public = Path(folder, "key.pub").read_text(encoding="utf-8")
        home = "/var/lib/postgresql/.ssh"
        for host in (*self.databases, self.hosts["witness"]):
            host.run(f"install -d -o postgres -g postgres -m 700 {home}")
            host.put(f"{home}/id_ed25519", private, owner="postgres", mode="600")
            host.put(f"{home}/authorized_keys", public, owner="postgres", mode="600")

    def standby(self, host: Host, primary: Host) -> None:
        """Makes it one, from nothing."""
        host.run(f"systemctl stop repmgrd-bench postgresql@15-main; rm -rf {DATA}")
        source = f"-h {primary.address} -U repmgr -d repmgr"
        host.run(f"{REPMGR} {source} standby clone --fast-checkpoint 2>&1", user="postgres")
        host.run("systemctl start postgresql@15-main")
        until(f"{host.name} answers", lambda: host.sql("SELECT 1") == "1", within=30)
        host.run(f"{REPMGR} {source} standby register --force 2>&1", user="postgres")

    def servers(self, client: Host) -> list[str]:
        return direct_servers(self.databases)

    def switchover(self, old: Host, new: Host) -> None:
        new.run(f"{REPMGR} standby switchover --siblings-follow 2>&1", user="postgres")

    def mend(self, host: Host, primary: Host) -> None:
        self.standby(host, primary)
        host.run("systemctl start repmgrd-bench")

    def whole(self) -> bool:
        if not super().whole():
            return False
        running = "SELECT count(*) FROM repmgr.nodes WHERE active"
        primary = self.primary()
        assert primary is not None
        return primary.sql(running, database="repmgr") == "3"
