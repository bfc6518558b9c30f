#!/bin/sh
# Builds the host image of the lab: what an AMI of Debian 12 is on AWS.
# Usage: build.sh WORK_DIR MIRROR SOURCES_DIR IMAGE
# WORK_DIR is emptied by the caller afterwards; SOURCES_DIR holds the files next to this one.
set -eu

work=$1 mirror=$2 sources=$3 image=$4
root=$work/root

export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
step() { echo "step: $*"; }

step "debootstrap from $mirror"
debootstrap --variant=minbase \
    --include=systemd,systemd-sysv,dbus,openssh-server,sudo,ca-certificates,iproute2 \
    bookworm "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }

step "packages"
# Nothing may start in the chroot, and installing postgresql must not make a cluster:
# a host of the lab runs what its playbooks started, nothing else.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mkdir -p "$root/etc/postgresql-common"
printf 'create_main_cluster = false\n' >"$root/etc/postgresql-common/createcluster.conf"
printf 'deb %s bookworm main\ndeb %s bookworm-updates main\n' "$mirror" "$mirror" >"$root/etc/apt/sources.list"
mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT
in_root apt-get -q update >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; exit 1; }
in_root apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io install \
    postgresql-15 haproxy redis-server etcd-server etcd-client docker.io iptables nftables prometheus-node-exporter \
    python3 python3-yaml curl procps less openssl libfaketime netcat-openbsd iputils-ping \
    >"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; exit 1; }
in_root apt-get -q clean
rm -f "$root/usr/sbin/policy-rc.d"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old
umount "$root/proc"
trap - EXIT

step "services"
in_root systemctl -q disable docker.service docker.socket containerd.service haproxy.service \
    redis-server.service etcd.service postgresql.service prometheus-node-exporter.service nftables.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer 2>/dev/null
in_root systemctl -q mask systemd-udevd.service systemd-udevd-kernel.socket systemd-udevd-control.socket \
    systemd-logind.service getty.target console-getty.service dev-hugepages.mount \
    sys-fs-fuse-connections.mount systemd-networkd.service
in_root systemctl -q set-default multi-user.target

step "login user and first boot"
in_root useradd --create-home --shell /bin/bash --comment "Debian" admin
printf 'admin ALL=(ALL) NOPASSWD:ALL\n' >"$root/etc/sudoers.d/90-cloud-init-users"
chmod 440 "$root/etc/sudoers.d/90-cloud-init-users"
printf 'PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin no\nUseDNS no\n' \
    >"$root/etc/ssh/sshd_config.d/50-cloud.conf"
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
install -m 755 "$sources/lab-init" "$sources/lab-cgroups" "$root/usr/local/sbin/"
install -m 644 "$sources/lab-init.service" "$sources/lab-user-data.service" "$sources/lab-cgroups.service" \
    "$root/etc/systemd/system/"
in_root systemctl -q enable lab-init.service lab-user-data.service lab-cgroups.service
mkdir -p "$root/etc/docker" "$root/var/log/journal" "$root/var/lib/lab"
install -m 644 "$sources/daemon.json" "$root/etc/docker/daemon.json"
printf 'LANG=C.UTF-8\n' >"$root/etc/default/locale"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$root/etc/hosts"
: >"$root/etc/resolv.conf"
: >"$root/etc/machine-id"
echo localhost >"$root/etc/hostname"

step "import as $image"
tar -C "$root" --numeric-owner -c . |
    docker import --change 'CMD ["/sbin/init"]' - "$image" >/dev/null
