# Starts a program of this folder with what it needs. Sourced by scripts/bench.
# shellcheck shell=bash disable=SC2154

# Packages of other systems are fetched by this machine for the hosts.
if ! grep -q 'VERSION_CODENAME=bookworm' /etc/os-release; then
    fail "the hosts of the lab are Debian 12, and this machine fetches packages for them" "run it on Debian 12"
fi
ensure_packages python3-pip
as_root apt-get update -qq
hafail-lab up # the host image is built here, once
eval "$(hafail-lab env)"
hafail-lab down
code=0
PYTHONDONTWRITEBYTECODE=1 "$HAFAIL_LAB_PYTHON" "scripts/lib/bench/$bench.py" "$@" || code=$?
exit "$code"
