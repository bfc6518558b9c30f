"""Hosts of the lab: what is run on them, their power, their network."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable

import boto3

REGIONS = {"site1": "eu-west-1", "site2": "us-east-1", "witness": "eu-central-1"}
DATABASES = ("site1-db", "site2-db")
STORE = ("site1-lb", "site2-lb", "witness")
NETWORK = "10.0.0.0/8"


class Failed(Exception):
    """A command did not do what it should; the text is for people."""


class Late(Failed):
    """What was waited for did not come."""


def command(*words: str, given: str | bytes | None = None, timeout: float = 300) -> str:
    """Runs a program here and returns what it printed."""
    data = given.encode() if isinstance(given, str) else given
    stdin: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    try:
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            words, capture_output=True, timeout=timeout, check=False, **stdin
        )
    except subprocess.TimeoutExpired as error:
        raise Late(f"{' '.join(words)[:200]}: not done after {timeout} s") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")
        raise Failed(f"{' '.join(words)[:300]}: {done.returncode}: {said[-2000:]}")
    return done.stdout.decode(errors="replace")


def until(what: str, holds: Callable[[], bool], *, within: float, every: float = 0.1) -> float:
    """Waits for a condition and returns when it was first seen to hold. A
    question that fails is an answer: not yet."""
    deadline = time.monotonic() + within
    why: Exception | str = "no"
    while time.monotonic() < deadline:
        try:
            if holds():
                return time.monotonic()
        except Failed as error:
            why = error
        time.sleep(every)
    raise Late(f"{what}: not within {within:.0f} s ({why})")


def together(act: Callable[[Any], Any], things: Iterable[Any]) -> list[Any]:
    """Does it for all at the same time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(act, things))


@dataclass
class Host:
    """A machine of the lab."""

    name: str
    container: str
    instance: str
    region: str
    address: str

    @property
    def site(self) -> str:
        return self.name.partition("-")[0]

    def run(self, script: str, *, user: str = "root", given: str | bytes | None = None, timeout: float = 120) -> str:
        """A script, by the lab and not over the network."""
        shell = ("docker", "exec", "-i", "-u", user, self.container, "bash", "-euc", script)
        return command(*shell, given=given, timeout=timeout)

    def sql(self, query: str, *, database: str = "postgres", timeout: float = 15) -> str:
        """By its own socket, as its superuser."""
        script = f"cd /; exec psql -qAtX -v ON_ERROR_STOP=1 -h /var/run/postgresql -d {database} -f -"
        return self.run(script, user="postgres", given=query, timeout=timeout).strip()

    def put(self, path: str, text: str, *, owner: str = "root", mode: str = "644") -> None:
        script = f"mkdir -p $(dirname {path}); cat > {path}; chown {owner} {path}; chmod {mode} {path}"
        self.run(script, given=text)

    def init(self) -> int:
        """Its first process, as this machine numbers it; 0: it is off."""
        return int(command("docker", "inspect", "--format", "{{.State.Pid}}", self.container))

    def file(self, path: str) -> Path:
        """A file of it, seen from here while it runs."""
        return Path(f"/proc/{self.init()}/root{path}")

    def is_up(self) -> bool:
        return self.init() != 0 and self.run("systemctl is-system-running || true").strip() in ("running", "degraded")

    # Power

    def power_cut(self) -> float:
        """Returns when it was gone."""
        pid, gone = self.init(), threading.Event()
        ended: list[float] = []
        watch = threading.Thread(target=see_end, args=(pid, gone, ended))
        watch.start()
        try:
            self.cloud().stop_instances(InstanceIds=[self.instance], Force=True)
        finally:
            gone.set()
            watch.join()
        if not ended:
            raise Failed(f"{self.name} runs on after its power was cut")
        return ended[0]

    def power_on(self) -> float:
        """Returns when its power was on again; it boots then."""
        ec2 = self.cloud()
        ec2.get_waiter("instance_stopped").wait(
            InstanceIds=[self.instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
        begun = time.monotonic()
        ec2.start_instances(InstanceIds=[self.instance])
        return begun

    def cloud(self) -> Any:
        return boto3.client("ec2", region_name=self.region)

    # Network

    def cut(self, seconds: int) -> float:
        """Drops silently whatever comes and goes, for so long at most; returns
        when. The kernel of the host filters, and a timer there ends it."""
        rules = (
            "add table inet cut\n"
            "add chain inet cut in { type filter hook input priority -10; }\n"
            "add chain inet cut out { type filter hook output priority -10; }\n"
            "add rule inet cut in iif != lo drop\n"
            "add rule inet cut out oif != lo drop\n"
        )
        self.put("/run/cut.nft", rules)
        self.run(f"systemd-run --quiet --on-active={seconds} --unit=heal nft delete table inet cut")
        return at_once(self, "subprocess.run(['nft', '-f', '/run/cut.nft'], check=True)")

    def heal(self) -> float:
        self.run("systemctl stop heal.timer 2> /dev/null || true; nft delete table inet cut 2> /dev/null || true")
        return time.monotonic()


def at_once(host: Host, act: str) -> float:
    """Does it on the host and returns the moment before, by the clock that all
    hosts of the lab share."""
    script = f"import os, subprocess, time\nbegun = time.monotonic()\n{act}\nprint(begun)\n"
    return float(host.run("exec python3 -", given=script))


def see_end(pid: int, enough: threading.Event, ended: list[float]) -> None:
    """Notes when a process has died, or is only left to be reaped."""
    while True:
        last = enough.is_set()
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            state = "X"
        if state in "XZ":
            ended.append(time.monotonic())
            return
        if last:
            return
        time.sleep(0.001)


def all_hosts() -> dict[str, Host]:
    """The instances of the lab that is up, by their names in the topology."""
    report = json.loads(command("hafail-lab", "status", "--json"))
    lab = os.environ.get("HAFAIL_LAB_NAME", "default")
    hosts = {}
    for found in report["instances"]:
        if found["name"] and found["wanted"] == "on":
            name = found["name"].rpartition("/")[2]
            container = f"hafail-lab-{lab}-{found['id']}"
            hosts[name] = Host(name, container, found["id"], found["region"], found["private_ip"])
    return hosts


def open_groups() -> None:
    """Lets the hosts reach each other at every port: other systems use others."""
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": NETWORK}]}
    for region in REGIONS.values():
        ec2 = boto3.client("ec2", region_name=region)
        for group in ec2.describe_security_groups()["SecurityGroups"]:
            if group["GroupName"] != "default":
                ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[everything])


def provision(topology: Path, home: Path) -> dict[str, Host]:
    """The same machines for every system: those of hafail's topology."""
    os.environ |= {"HAFAIL_TOPOLOGY": str(topology), "HAFAIL_HOME": str(home)}
    command("hafail", "deploy", "--yes", "--provision-only", timeout=600)
    # The lab follows its API in the background.
    until("all hosts", lambda: {*DATABASES, *STORE} <= set(all_hosts()), within=120, every=0.5)
    hosts = all_hosts()
    for host in hosts.values():
        until(f"{host.name} boots", host.is_up, within=300, every=0.5)
    return hosts
