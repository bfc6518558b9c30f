"""Patroni with etcd in three places and HAProxy beside the client.

Its documented minimums (ttl 20, loop_wait 1, retry_timeout 3), failover
instead of a restart in place (primary_start_timeout 0), pre-vote in etcd, and
fast checks in HAProxy."""

from __future__ import annotations

import json

import packages
from hosts import STORE, Host, until
from systems import PASSWORD, USER, System, client_user, until_primary

UNIT = """[Unit]
Description=Patroni
After=network-online.target
Wants=network-online.target

[Service]
User=postgres
Environment=PYTHONPATH=/opt/patroni/lib
ExecStart=/usr/bin/python3 -m patroni /etc/patroni.json
ExecReload=/bin/kill -s HUP $MAINPID
KillMode=process
TimeoutSec=30
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""

PROXY = """global
    user haproxy
    group haproxy

defaults
    mode tcp
    retries 0
    timeout connect 500ms
    timeout check 1s
    timeout client 1h
    timeout server 1h

listen primary
    bind :5000
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 100ms fall 2 rise 1 on-marked-down shutdown-sessions
"""

# As its script `patronictl` does it; the module alone does nothing.
CALL = "from patroni.ctl import ctl; ctl(prog_name='patronictl')"
CONTROL = f'PYTHONPATH=/opt/patroni/lib /usr/bin/python3 -c "{CALL}" -c /etc/patroni.json'


class Patroni(System):
    synchronous = False
    name = "Patroni 4.1.5, asynchronous"

    def deploy(self) -> None:
        self.store()
        for host in self.databases:
            packages.debian(host, "python3-psycopg2")
            packages.patroni(host)
            host.put("/etc/patroni.json", json.dumps(self.configuration(host)), owner="postgres", mode="600")
            host.put("/etc/systemd/system/patroni.service", UNIT)
            host.run("install -d -o postgres -m 700 /var/lib/postgresql/patroni; systemctl daemon-reload")
        first, second = self.databases
        first.run("systemctl enable -q --now patroni")
        client_user(until_primary(self))
        second.run("systemctl enable -q --now patroni")
        until("the standby streams", self.whole, within=90)
        for name in ("site1-lb", "site2-lb"):
            self.balancer(self.hosts[name])

    def store(self) -> None:
        members = {name: self.hosts[name].address for name in STORE}
        cluster = ",".join(f"{name}=http://{address}:2380" for name, address in members.items())
        for name, address in members.items():
            settings = {
                "NAME": name,
                "LISTEN_PEER_URLS": f"http://{address}:2380",
                "LISTEN_CLIENT_URLS": f"http://{address}:2379,http://127.0.0.1:2379",
                "INITIAL_ADVERTISE_PEER_URLS": f"http://{address}:2380",
                "ADVERTISE_CLIENT_URLS": f"http://{address}:2379",
                "INITIAL_CLUSTER": cluster,
                "PRE_VOTE": "true",
            }
            text = "".join(f'ETCD_{key}="{value}"\n' for key, value in settings.items())
            self.hosts[name].put("/etc/default/etcd", text)
        for name in STORE:
            self.hosts[name].run("systemctl enable -q etcd; systemctl start --no-block etcd")
        healthy = "ETCDCTL_API=3 etcdctl endpoint health --cluster"
        until("etcd serves", lambda: bool(self.hosts["witness"].run(healthy) or True), within=60)

    def configuration(self, host: Host) -> dict[str, object]:
        login = {"username": "postgres", "password": PASSWORD}
        return {
            "scope": "bench",
            "name": host.name,
            "restapi": {"listen": f"{host.address}:8008", "connect_address": f"{host.address}:8008"},
            "etcd3": {"hosts": [f"{self.hosts[name].address}:2379" for name in STORE]},
            "bootstrap": {
                "dcs": {
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "primary_start_timeout": 0,
                    "synchronous_mode": self.synchronous,
                    "postgresql": {"use_pg_rewind": True, "use_slots": True},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{host.address},127.0.0.1:5432",
                "connect_address": f"{host.address}:5432",
                "data_dir": "/var/lib/postgresql/patroni/data",
                "bin_dir": "/usr/lib/postgresql/15/bin",
                "authentication": {
                    "superuser": login,
                    "replication": {"username": "replicator", "password": PASSWORD},
                    "rewind": login,
                },
                "parameters": {"unix_socket_directories": "/var/run/postgresql"},
                "pg_hba": [
                    "local all all peer",
                    "host all all 127.0.0.1/32 scram-sha-256",
                    # Without this line an old primary does not see that it must be rewound.
                    "host replication replicator 127.0.0.1/32 scram-sha-256",
                    "host replication replicator 10.0.0.0/8 scram-sha-256",
                    "host all all 10.0.0.0/8 scram-sha-256",
                ],
            },
        }

    def balancer(self, host: Host) -> None:
        servers = "".join(
            f"    server {each.name} {each.address}:5432 check port 8008\n" for each in self.databases
        )
        host.put("/etc/haproxy/haproxy.cfg", PROXY + servers)
        host.run("systemctl enable -q haproxy; systemctl restart haproxy")

    def servers(self, client: Host) -> list[str]:
        return [f"host=127.0.0.1 port=5000 user={USER} password={PASSWORD} dbname=postgres"]

    def switchover(self, old: Host, new: Host) -> None:
        words = f"switchover bench --primary {old.name} --candidate {new.name} --force"
        # Its exit code is 0 where it refuses, too, as it does shortly after a
        # failover.
        switched = "Successfully switched over"
        until(switched, lambda: switched in new.run(f"{CONTROL} {words}", user="postgres"), within=60)

    def mend(self, host: Host, primary: Host) -> None:
        primary.run(f"{CONTROL} reinit bench {host.name} --force --wait", user="postgres")

    def whole(self) -> bool:
        if not super().whole():
            return False
        primary = self.primary()
        assert primary is not None
        wanted = "sync" if self.synchronous else "async"
        return primary.sql("SELECT string_agg(sync_state, ',') FROM pg_stat_replication") == wanted


class PatroniSynchronous(Patroni):
    synchronous = True
    name = "Patroni 4.1.5, synchronous"
