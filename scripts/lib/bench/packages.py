"""Programs of others, fetched once by the operator's machine: hosts of the
lab have no way to the registries."""

from __future__ import annotations

import io
import os
import tarfile
import threading
from functools import cache
from pathlib import Path

from hosts import Host, command

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hafail-bench"
CLIENT = ("python3-psycopg2",)
PATRONI = "patroni==4.1.5"
INSTALL = (
    "dpkg --force-confold --install /var/tmp/debs/*.deb > /var/tmp/dpkg.log 2>&1"
    " || { tail -n 20 /var/tmp/dpkg.log; exit 1; }"
)


FETCHING = threading.Lock()


def debian(host: Host, *packages: str) -> None:
    """Installs Debian's packages with all that the host lacks."""
    with FETCHING:
        files = fetched(host.run("cat /var/lib/dpkg/status"), packages)
    if files:
        data = archive(CACHE / "debian", files)
        host.run("rm -rf /var/tmp/debs; mkdir /var/tmp/debs; tar -C /var/tmp/debs -x", given=data)
        host.run(f"export DEBIAN_FRONTEND=noninteractive; {INSTALL}", timeout=300)


@cache
def fetched(status: str, packages: tuple[str, ...]) -> frozenset[str]:
    """The files that a host with these packages lacks; they are in the cache then."""
    folder = CACHE / "debian"
    (folder / "partial").mkdir(parents=True, exist_ok=True)
    known = CACHE / "status"
    known.write_text(status, encoding="utf-8")
    options = (f"Dir::State::status={known}", f"Dir::Cache::archives={folder}", "APT::Keep-Downloaded-Packages=1")
    apt = ["apt-get", "install", "-y", "--no-install-recommends", "--no-remove"]
    apt += [word for option in options for word in ("-o", option)]
    command(*apt, "-qq", "--download-only", *packages)
    names: set[str] = set()
    # Inst NAME [OLD] (VERSION ORIGIN [ARCHITECTURE])
    for line in command(*apt, "--simulate", *packages).splitlines():
        if line.startswith("Inst "):
            name, version = line.split()[1], line.partition("(")[2].split()[0]
            pattern = f"{name}_{version.replace(':', '%3a')}_*.deb"
            names |= {found.name for found in folder.glob(pattern)}
    return frozenset(names)


def archive(folder: Path, names: frozenset[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted(names):
            tar.add(folder / name, arcname=name)
    return buffer.getvalue()


def patroni(host: Host) -> None:
    """PyPI's Patroni, which is newer than Debian's; this machine's Python is
    the same Debian's as the hosts'."""
    folder = CACHE / PATRONI
    with FETCHING:
        if not (folder / "done").exists():
            folder.mkdir(parents=True, exist_ok=True)
            pip = ("/usr/bin/python3", "-m", "pip", "install", "--quiet", "--target", str(folder / "lib"))
            command(*pip, "--upgrade", PATRONI.replace("==", "[etcd3]=="))
            (folder / "done").touch()
    data = archive(folder, frozenset({"lib"}))
    host.run("rm -rf /opt/patroni; mkdir -p /opt/patroni; tar -C /opt/patroni -x", given=data)
