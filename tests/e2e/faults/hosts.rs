//! Hosts: power, time, and standing still.

use std::time::Duration;

use super::{
    DATABASES, DEPLOYMENT, World, account, hosts_of, on_host, other, power_off, settled, site,
    writers,
};
use crate::lab::{lab, until};

pub fn power_cut_of_the_primary(world: &World<'_>) {
    let before = world.fails_over(12, |primary| account::power_off(DEPLOYMENT, primary));
    account::power_on(DEPLOYMENT, &before);
    settled(world.hafail);
}

pub fn the_standby_loses_power(world: &World<'_>) {
    let seen = world.stays(10, |primary| account::power_off(DEPLOYMENT, other(primary)));
    account::power_on(DEPLOYMENT, other(&seen.primary));
    settled(world.hafail);
}

/// As a virtual machine that is paused, and goes on after the failover. Before
/// anything there looks at the clock, one commit of its own may get through:
/// its client is told so only where it waits for no standby.
pub fn the_primary_stands_still(world: &World<'_>) {
    settled(world.hafail);
    let before = world.hafail.primary();
    let seen = writers::work_beside(world.hafail, Duration::from_secs(22), || {
        let host = format!("{DEPLOYMENT}/{}/instance/{before}", site(&before));
        lab(&["fault", "freeze", &host, "--for", "20s"]);
    });
    eprintln!("      {seen}");
    assert_ne!(seen.primary, before);
    // Up to when the other one took over: what it commits beyond is what a
    // frozen machine lets through.
    let script = "first=$(head -n 1 /run/direct.log); echo $first";
    let begun: u64 = on_host(DEPLOYMENT, &seen.primary, script)
        .trim()
        .parse()
        .unwrap();
    let late = format!("awk '$1 > {begun}' /run/direct.log | wc -l");
    let late: usize = on_host(DEPLOYMENT, &before, &late).trim().parse().unwrap();
    eprintln!("      commits of the old primary's own host after it went on: {late}");
    assert!(late <= 2, "it wrote on: {late}");
    settled(world.hafail);
}

/// The old primary may lack what the new one acknowledged alone: it is not
/// promoted, and the refusal says what would unblock it.
pub fn the_promoted_primary_dies_as_well(world: &World<'_>) {
    settled(world.hafail);
    let first = world.hafail.primary();
    let second = other(&first);
    account::power_off(DEPLOYMENT, &first);
    world.until_primary_is(second);
    account::power_off(DEPLOYMENT, second);
    account::power_on(DEPLOYMENT, &first);
    let why = world.hafail.until_why_says("not-known-in-sync");
    for said in ["commits on", "--allow-data-loss any"] {
        assert!(why.contains(said), "{why}");
    }
    account::power_on(DEPLOYMENT, second);
    world.until_primary_is(second);
    settled(world.hafail);
}

/// Whichever is back first.
pub fn both_databases_lose_power(world: &World<'_>) {
    for old_first in [true, false] {
        settled(world.hafail);
        let old = world.hafail.primary();
        let (first, second) = match old_first {
            true => (old.as_str(), other(&old)),
            false => (other(&old), old.as_str()),
        };
        power_off(&DATABASES);
        account::power_on(DEPLOYMENT, first);
        world.until_primary_is(first);
        account::power_on(DEPLOYMENT, second);
        settled(world.hafail);
        world.under_load(3, || {});
    }
}

/// The names move as well.
pub fn a_region_goes_dark(world: &World<'_>) {
    let mut lost = Vec::new();
    let before = world.fails_over(20, |primary| {
        lost.extend(hosts_of(site(primary)));
        power_off(&lost);
    });
    names_leave(world, site(&before));
    for host in &lost {
        account::power_on(DEPLOYMENT, host);
    }
    settled(world.hafail);
}

pub fn names_leave(world: &World<'_>, site: &str) {
    let names = format!("vote.example.org leads to {site}");
    world
        .hafail
        .until_status("the names did not move", |status| {
            (!status.stdout.contains(&names)).then_some(())
        });
}

/// An hour forth and back, of guard and database of the primary, and of the
/// leading watcher: nothing is decided by wall clocks.
pub fn a_wall_clock_is_moved(world: &World<'_>) {
    settled(world.hafail);
    let database = world.hafail.primary();
    let leader = super::watchers::leader(world.hafail);
    on_host(DEPLOYMENT, &database, &own_clock("hafail-guard"));
    on_host(DEPLOYMENT, &leader, &own_clock("hafail-watch"));
    // The next start of PostgreSQL goes by it, too.
    on_host(DEPLOYMENT, &database, super::databases::KILL);
    settled(world.hafail);
    for shift in ["+3600s", "-3600s"] {
        let seen = world.stays(10, |_| {
            for host in [&database, &leader] {
                on_host(DEPLOYMENT, host, &format!("echo {shift} > /run/its-clock"));
            }
            if shift == "+3600s" {
                let hour = "runuser -u postgres -- psql --no-psqlrc -qAt -h /var/run/postgresql -U postgres -c \
                            \"SELECT (extract(epoch FROM clock_timestamp()) > $(date +%s) + 3000)::int\"";
                until(|| match on_host(DEPLOYMENT, &database, hour).trim() {
                    "1" => Ok(()),
                    said => Err(format!("it was not moved: {said}")),
                });
            }
        });
        assert!(seen.gap() < 3_000, "{seen}");
    }
    // A failover while it is wrong.
    world.fails_over(22, |primary| super::cut(primary, &[], 20));
    for (host, unit) in [(&database, "hafail-guard"), (&leader, "hafail-watch")] {
        let script = format!(
            "rm -rf /etc/systemd/system/{unit}.service.d; systemctl daemon-reload; systemctl restart {unit}"
        );
        on_host(DEPLOYMENT, host, &script);
    }
    settled(world.hafail);
}

/// Restarts a service with a wall clock of its own, which `/run/its-clock`
/// moves.
fn own_clock(unit: &str) -> String {
    format!(
        "echo +0s > /run/its-clock; chmod 644 /run/its-clock
mkdir -p /etc/systemd/system/{unit}.service.d
cat > /etc/systemd/system/{unit}.service.d/clock.conf <<END
[Service]
Environment=LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1
Environment=FAKETIME_TIMESTAMP_FILE=/run/its-clock
Environment=FAKETIME_CACHE_DURATION=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1
Environment=DONT_FAKE_MONOTONIC=1
END
systemctl daemon-reload; systemctl restart {unit}"
    )
}

/// A load balancer of the other site, and with it a member of the store and a
/// watcher, is gone when the primary dies.
pub fn a_second_fault_during_another(world: &World<'_>) {
    let before = world.fails_over(20, |primary| {
        let balancer = format!("{}-lb", site(other(primary)));
        let before = world.failovers();
        account::power_off(DEPLOYMENT, &balancer);
        account::power_off(DEPLOYMENT, primary);
        world.until_failed_over(before);
        // The way to the new primary, by which the votes are counted.
        account::power_on(DEPLOYMENT, &balancer);
    });
    account::power_on(DEPLOYMENT, &before);
    settled(world.hafail);
}
