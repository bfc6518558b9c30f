//! PostgreSQL and its guards.

use super::{DEPLOYMENT, GUARD, World, account, on_host, other, settled, stops_streaming};

pub const KILL: &str = "kill -9 $(head -n 1 /var/lib/hafail/postgresql/15/data-*/postmaster.pid)";

/// It starts again in place, or the other site takes over.
pub fn postgresql_is_killed(world: &World<'_>) {
    let primary = world.hafail.primary();
    world.under_load(10, || {
        on_host(DEPLOYMENT, &primary, KILL);
    });
}

/// Not twice, though: who cannot stay up gives the lease back.
pub fn postgresql_dies_again_and_again(world: &World<'_>) {
    world.fails_over(17, |primary| {
        // While it starts there is nothing to kill.
        let script = format!(
            "(for n in $(seq 40); do {KILL} || true; sleep 0.2; done) > /dev/null 2>&1 & disown"
        );
        on_host(DEPLOYMENT, primary, &script);
    });
}

/// systemd brings it back in time.
pub fn the_guard_is_killed(world: &World<'_>) {
    world.stays(8, |primary| {
        on_host(DEPLOYMENT, primary, &format!("kill -KILL {GUARD}"));
    });
}

/// The dead-man acts, and the other site takes over.
pub fn the_guard_is_frozen(world: &World<'_>) {
    world.fails_over(22, |primary| freeze_guard(primary, 20));
}

/// Stops the guard for so many seconds.
pub fn freeze_guard(host: &str, seconds: u32) {
    let script = format!(
        "pid={GUARD}; kill -STOP $pid; (sleep {seconds}; kill -CONT $pid) > /dev/null 2>&1 & disown"
    );
    on_host(DEPLOYMENT, host, &script);
}

pub fn postgresql_is_frozen(world: &World<'_>) {
    world.fails_over(12, |primary| {
        on_host(DEPLOYMENT, primary, "pkill -STOP -u postgres -x postgres");
    });
}

/// All but the stream of the log goes on between the databases: the standby
/// leaves those who have every commit, and takes over no more.
pub fn a_standby_stops_streaming(world: &World<'_>) {
    let before = world.hafail.primary();
    let seen = world.stays(17, |primary| {
        stops_streaming(other(primary), 12);
        world.hafail.until_why_says("standby-not-streaming");
        let set = world.hafail.run(&["status"]);
        let members = &set.json()["seen"]["automatic"]["known"]["sync"]["members"];
        assert_eq!(members, &serde_json::json!([]), "{set}");
    });
    assert!(seen.gap() < 10_000, "{seen}");
    settled(world.hafail);
    // It has what was committed meanwhile, and may take over again.
    account::power_off(DEPLOYMENT, &before);
    world.until_primary_is(other(&before));
    account::power_on(DEPLOYMENT, &before);
    settled(world.hafail);
}

/// The old primary is copied anew, into another directory.
pub fn a_rewind_fails(world: &World<'_>) {
    let before = world.hafail.primary();
    let tool = "/usr/lib/postgresql/15/bin/pg_rewind";
    let broken =
        format!("mv {tool} {tool}.away; printf '#!/bin/sh\nexit 1\n' > {tool}; chmod 755 {tool}");
    on_host(DEPLOYMENT, &before, &broken);
    world.fails_over(22, |primary| super::cut(primary, &[], 20));
    settled(world.hafail);
    let kept = "ls -d /var/lib/hafail/postgresql/15/data-* | wc -l";
    let directories = on_host(DEPLOYMENT, &before, kept);
    assert!(
        directories.trim() != "1",
        "the old directory is kept: {directories}"
    );
    let mended = format!(
        "mv {tool}.away {tool}; hafail guard order --config /etc/hafail/guard.json drop-kept"
    );
    on_host(DEPLOYMENT, &before, &mended);
}
