//! People beside the watchers.

use std::time::{Duration, Instant};

use super::{DEPLOYMENT, World, account, other, region, settled};
use crate::lab::{try_on_host, until};

/// A power cut while paused; and commands by hand go on.
pub fn nothing_is_done_while_paused(world: &World<'_>) {
    settled(world.hafail);
    let before = world.hafail.primary();
    let pause = ["pause", "--for", "20s", "--why", "a test"];
    world.hafail.run(&pause).with(0);
    let begun = Instant::now();
    account::power_off(DEPLOYMENT, &before);
    let why = world.hafail.until_why_says("withheld");
    assert!(why.contains("paused: a test"), "{why}");
    world.until_primary_is(other(&before));
    assert!(
        begun.elapsed() > Duration::from_secs(14),
        "{:?}",
        begun.elapsed()
    );
    account::power_on(DEPLOYMENT, &before);
    settled(world.hafail);

    world
        .hafail
        .run(&["pause", "--for", "2m", "--why", "by hand"])
        .with(0);
    account::power_off(DEPLOYMENT, other(&before));
    let failover = ["failover", "--region", region(&before), "--yes"];
    // Refused as long as the lease of the dead one holds.
    world.until_done(&failover);
    assert_eq!(world.hafail.primary(), before);
    world.hafail.run(&["pause", "--end"]).with(0);
    account::power_on(DEPLOYMENT, other(&before));
    settled(world.hafail);
}

/// The operator wants it home while the watchers still take it in: one after
/// the other, whoever comes first.
pub fn the_old_primary_is_back_during_a_switchover(world: &World<'_>) {
    let home = world.fails_over(10, |primary| account::power_off(DEPLOYMENT, primary));
    account::power_on(DEPLOYMENT, &home);
    until(
        || match try_on_host(DEPLOYMENT, &home, "true").code == Some(0) {
            true => Ok(()),
            false => Err(format!("{home} does not boot")),
        },
    );
    let mut refused = 0;
    world.while_writing(20, || {
        until(|| {
            let failover = ["failover", "--region", region(&home), "--yes"];
            let ended = world.hafail.run(&failover);
            match ended.code {
                Some(0) => return Ok(()),
                Some(4 | 5 | 1) => refused += 1,
                _ => panic!("{ended}"),
            }
            Err(ended.to_string())
        });
    });
    eprintln!("      home after {refused} refusals");
    assert_eq!(world.hafail.primary(), home);
    settled(world.hafail);
}
