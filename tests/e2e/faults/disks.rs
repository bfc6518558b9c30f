//! The disk under PostgreSQL: full, and hung.

use super::{DEPLOYMENT, GUARD, World, on_host, other, region, settled, site, stops_streaming};
use crate::lab::{lab, until};

const DATA: &str = "/var/lib/hafail";
const STOP: &str = "systemctl stop hafail-guard; \
                    pkill -9 -u postgres -x postgres || true; \
                    while pgrep -u postgres -x postgres > /dev/null; do sleep 0.05; done";

/// Its guard says so, and the other site takes over; when there is room again
/// it is taken in.
pub fn a_disk_is_full(world: &World<'_>) {
    on_a_small_disk(world, |host| {
        let before = world.fails_over(20, |_| fill(host));
        assert_eq!(before, host);
        let log = guard_log(host);
        assert!(log.contains("No space left"), "says why: {log}");
        make_room(host);
    });
}

/// Nobody else was said to have every commit when it was full, and nobody can
/// be then: it stays primary without room, until people want the other one.
pub fn a_full_disk_is_left_by_hand(world: &World<'_>) {
    on_a_small_disk(world, |host| {
        stops_streaming(other(host), 12);
        world.hafail.until_why_says("standby-not-streaming");
        fill(host);
        until(|| match guard_log(host) {
            log if log.contains("stays primary: nobody else has every commit") => Ok(()),
            log => Err(format!("does not see that its disk is full: {log}")),
        });
        world
            .hafail
            .until_status("the standby streams again", |status| {
                let findings = status.json()["findings"].to_string();
                (!findings.contains("standby-not-streaming")).then_some(())
            });
        // The checkpoint before a switchover, which has no room either, may end
        // the database; then it is a failover.
        let region = region(other(host));
        let anyway = [
            "failover",
            "--region",
            region,
            "--allow-data-loss",
            "any",
            "--yes",
        ];
        world.until_done(&anyway);
        make_room(host);
    });
}

fn fill(host: &str) {
    let fill = format!(
        "dd if=/dev/zero of={DATA}/fill bs=1M > /dev/null 2>&1 || true; \
         dd if=/dev/zero of={DATA}/fill2 bs=4k > /dev/null 2>&1 || true; df {DATA}"
    );
    on_host(DEPLOYMENT, host, &fill);
}

fn make_room(host: &str) {
    on_host(DEPLOYMENT, host, &format!("rm {DATA}/fill {DATA}/fill2"));
}

fn guard_log(host: &str) -> String {
    let log = "journalctl -u hafail-guard -n 400 --no-pager";
    on_host(DEPLOYMENT, host, log)
}

/// Nothing that PostgreSQL asks of its disk is answered any more.
pub fn a_disk_hangs(world: &World<'_>) {
    on_a_small_disk(world, |host| {
        world.fails_over(27, |_| {
            let hang = format!(
                "(sleep 25; fsfreeze -u {DATA}) > /dev/null 2>&1 & disown; fsfreeze -f {DATA}"
            );
            on_host(DEPLOYMENT, host, &hang);
        });
    });
}

/// Makes the standby primary with its data on a disk of its own, and back to
/// its usual one afterwards.
fn on_a_small_disk(world: &World<'_>, story: impl FnOnce(&str)) {
    settled(world.hafail);
    let host = other(&world.hafail.primary());
    on_host(DEPLOYMENT, host, STOP);
    let name = format!("{DEPLOYMENT}/{}/instance/{host}", site(host));
    lab(&["fault", "give-disk", &name, DATA, "--size", "1536"]);
    on_host(DEPLOYMENT, host, "systemctl start hafail-guard");
    settled(world.hafail);
    let region = region(host);
    world
        .hafail
        .run(&["failover", "--region", region, "--yes"])
        .with(0);
    settled(world.hafail);

    story(host);

    settled(world.hafail);
    assert_ne!(world.hafail.primary(), host, "it is a standby now");
    // What lies below the disk is from before: it is taken in anew.
    let away = format!(
        "{STOP}; cd /; rm -rf /srv/data; cp -a {DATA} /srv/data; umount {DATA}; \
         rm -rf {DATA}/* ; cp -a /srv/data/. {DATA}/; rm -rf /srv/data; systemctl start hafail-guard; \
         [ -n {GUARD} ]"
    );
    on_host(DEPLOYMENT, host, &away);
    settled(world.hafail);
}
