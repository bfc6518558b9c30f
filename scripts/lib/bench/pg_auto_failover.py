"""pg_auto_failover: its monitor on the third host, clients with both databases
in their connection string. Timeouts as short as they work well, and
wal_retrieve_retry_interval, without which a restart in place costs 5 s.
Synchronous, as it is by default."""

from __future__ import annotations

import packages
from hosts import Host, until
from systems import System, client_user, direct_servers, until_primary

DATA = "/var/lib/postgresql/pgaf"
PGCTL = "/usr/lib/postgresql/15/bin/pg_ctl"

# What `pg_autoctl show systemd` prints.
UNIT = f"""[Unit]
Description=pg_auto_failover

[Service]
WorkingDirectory=/var/lib/postgresql
Environment=PGDATA={DATA}
User=postgres
ExecStart=/usr/bin/pg_autoctl run
Restart=always
StartLimitBurst=0
ExecReload=/usr/bin/pg_autoctl reload

[Install]
WantedBy=multi-user.target
"""

MONITOR = {
    "health_check_period": "1s",
    "health_check_timeout": "1s",
    "health_check_max_retries": "1",
    "health_check_retry_delay": "500ms",
    "node_considered_unhealthy_timeout": "3s",
    "primary_demote_timeout": "5s",
    "startup_grace_period": "3s",
}
KEEPER = {
    "network_partition_timeout": "4",
    "postgresql_restart_failure_timeout": "3",
    "postgresql_restart_failure_max_retries": "1",
}


class PgAutoFailover(System):
    name = "pg_auto_failover 2.0, synchronous"

    def deploy(self) -> None:
        witness, (first, second) = self.hosts["witness"], self.databases
        for host in (witness, first, second):
            packages.debian(host, "pg-auto-failover-cli", "postgresql-15-auto-failover")
            host.put("/etc/systemd/system/pgautofailover.service", UNIT)
            host.run("systemctl daemon-reload")
        self.monitor(witness)
        self.node(first)
        until_primary(self).sql("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'")
        client_user(first)
        self.node(second)
        until("the standby confirms", self.whole, within=120)

    def create(self, host: Host, words: str) -> None:
        usual = f"--pgdata {DATA} --pgctl {PGCTL} --pgport 5432 --hostname {host.address} --auth trust --ssl-self-signed"
        host.run(f"cd /; pg_autoctl create {words} {usual} 2>&1", user="postgres", timeout=120)

    def monitor(self, host: Host) -> None:
        self.create(host, "monitor")
        host.run(f"echo 'host all all 10.0.0.0/8 trust' >> {DATA}/pg_hba.conf; systemctl enable -q --now pgautofailover")
        until("the monitor answers", lambda: host.sql("SELECT 1") == "1", within=60)
        for key, value in MONITOR.items():
            host.sql(f"ALTER SYSTEM SET pgautofailover.{key} = '{value}'")
        host.sql("SELECT pg_reload_conf()")

    def node(self, host: Host) -> None:
        monitor = f"postgres://autoctl_node@{self.hosts['witness'].address}:5432/pg_auto_failover?sslmode=require"
        self.create(host, f"postgres --name {host.name} --dbname postgres --monitor '{monitor}'")
        settings = "".join(f"pg_autoctl config set timeout.{key} {value} --pgdata {DATA}\n" for key, value in KEEPER.items())
        host.run(f"cd /\n{settings}", user="postgres")
        host.run(f"echo 'host all all 10.0.0.0/8 trust' >> {DATA}/pg_hba.conf; systemctl enable -q --now pgautofailover")
        until(f"{host.name} answers", lambda: host.sql("SELECT 1") == "1", within=60)
        host.sql("SELECT pg_reload_conf()")

    def servers(self, client: Host) -> list[str]:
        return direct_servers(self.databases)

    def switchover(self, old: Host, new: Host) -> None:
        self.hosts["witness"].run(f"cd /; pg_autoctl perform switchover --pgdata {DATA} 2>&1", user="postgres")

    def mend(self, host: Host, primary: Host) -> None:
        host.run(
            "systemctl stop pgautofailover; pkill -9 -u postgres -f pg_autoctl || true; pkill -9 -u postgres -x postgres || true\n"
            f"cd /; runuser -u postgres -- pg_autoctl drop node --pgdata {DATA} --destroy --force 2>&1 || true; rm -rf {DATA}"
        )
        self.node(host)

    def whole(self) -> bool:
        states = self.hosts["witness"].sql(
            "SELECT string_agg(reportedstate::text, ',' ORDER BY reportedstate::text) FROM pgautofailover.node "
            "WHERE reportedstate = goalstate",
            database="pg_auto_failover",
        )
        return states == "primary,secondary"
