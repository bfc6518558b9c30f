# Shared by the scripts here: says what happens, installs what is missing,
# starts Docker where nothing else does. Source it; do not run it.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

if [ -t 2 ]; then bold=$'\e[1m' plain=$'\e[0m' red=$'\e[31m'; else bold='' plain='' red=''; fi

step() { printf '%s==> %s%s\n' "$bold" "$*" "$plain" >&2; }
note() { printf '    %s\n' "$*" >&2; }
fail() {
    printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
    shift
    for hint in "$@"; do printf 'hint: %s\n' "$hint" >&2; done
    exit 1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "the lab makes networks and packet filters, for which it must be root" \
        "run it as: sudo -E env PATH=\"\$PATH\" $0"
}

need_rust() {
    [ -x "$HOME/.cargo/bin/cargo" ] && export PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null || fail "Rust is missing (cargo was not found)" "install it from https://rustup.rs"
    # The client of the store is generated from its protocol, which imports
    # files that the compiler's package only recommends.
    [ -e /usr/include/google/protobuf/descriptor.proto ] && command -v protoc >/dev/null ||
        ensure_packages protobuf-compiler libprotobuf-dev
}

# ensure_packages NAME…: installs the Debian or Ubuntu packages that are missing.
ensure_packages() {
    local missing=()
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}" "install them; this script knows Debian and Ubuntu only"
    step "installing ${missing[*]}"
    # No PostgreSQL cluster and no service of this machine's own.
    as_root mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
        fail "could not install ${missing[*]}" "look at the lines above, then run this again"
}

lab_packages=(iptables nftables iproute2 debootstrap docker-registry python3-venv ca-certificates curl jq gcc libc6-dev)

# Docker: whichever answers; otherwise the distribution's.
ensure_docker() {
    docker info >/dev/null 2>&1 && return
    command -v dockerd >/dev/null || ensure_packages docker.io
    if [ -d /run/systemd/system ]; then
        as_root systemctl start docker || fail "Docker does not start" "journalctl -u docker"
    else
        step "starting dockerd (no init system runs here)"
        as_root sh -c 'setsid dockerd >/var/log/dockerd.log 2>&1 </dev/null &'
    fi
    local deadline=$((SECONDS + 300))
    until docker info >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "Docker does not answer for five minutes" "look at /var/log/dockerd.log"
        read -rt 0.2 <> <(:) || true
    done
}

# ensure_lab_machine: all that the lab needs from this machine.
ensure_lab_machine() {
    need_root
    need_rust
    ensure_packages "${lab_packages[@]}"
    ensure_docker
}

# build PROFILE: the programs, on PATH from then on.
build() {
    step "building ($1)"
    local profile=("--profile=$1") directory=$1
    [ "$1" = dev ] && directory=debug
    cargo build --locked "${profile[@]}" --workspace
    export PATH="$root/target/$directory:$PATH"
}

# lab_up: the lab, and the image of the voting stack in its registry; each is
# built where it is not yet.
lab_up() {
    step "bringing the lab up, building the voting stack"
    local image building
    image=$(mktemp)
    "$root/voting/build-image" >"$image" &
    building=$!
    hafail-lab up || { kill "$building" 2>/dev/null; fail "the lab did not come up" "look at the lines above, then: hafail-lab logs"; }
    wait "$building" || fail "the voting stack was not built" "look at the lines above, then run this again"
    eval "$(hafail-lab env)"
    push_voting "$(cat "$image")"
    rm -f "$image"
}

# push_voting IMAGE: into the registry of the lab.
push_voting() {
    docker tag "$1" "$HAFAIL_LAB_REGISTRY/voting:latest"
    docker push --quiet "$HAFAIL_LAB_REGISTRY/voting:latest" >&2
}

# load_begins LOG PID: waits until the load in the background has its first
# write accepted.
load_begins() {
    local deadline=$((SECONDS + 300))
    until grep -q ' [1-9][0-9]* accepted' "$1"; do
        kill -0 "$2" 2>/dev/null || { cat "$1" >&2; fail "the load ended early"; }
        [ $SECONDS -lt $deadline ] || fail "nothing was accepted for five minutes" "hafail status"
        read -rt 0.1 <> <(:) || true
    done
}

# region ACTION REGION…: acts on all of a region by the EC2 API.
region() { "$HAFAIL_LAB_PYTHON" "$root/scripts/lib/region.py" "$@" >&2; }

# check_dependencies: licences, sources and known vulnerabilities. The list of
# the latter comes from the network; where it can't be had, that is said.
check_dependencies() {
    command -v cargo-deny >/dev/null || {
        step "building cargo-deny"
        cargo install --locked --debug --quiet cargo-deny
    }
    cargo deny --log-level error --locked check licenses bans sources
    local answer
    answer=$(cargo deny --log-level error --locked check advisories 2>&1) && return
    grep -q 'failed to fetch advisory database' <<<"$answer" || fail "a dependency is not in order" "$answer"
    note "the advisory database could not be fetched: known vulnerabilities were not checked"
}
