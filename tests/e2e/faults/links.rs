//! Networks: cut, one way only, flapping.

use super::{
    DEPLOYMENT, World, cut, filter, hosts, hosts_of, on_host, region, settled, site,
    watchers::failovers,
};
use crate::lab::lab;

pub fn the_primary_is_cut_off(world: &World<'_>) {
    world.fails_over(22, |primary| cut(primary, &[], 20));
}

/// It hears all and says nothing.
pub fn the_primary_is_not_heard(world: &World<'_>) {
    world.fails_over(22, |primary| {
        filter(primary, &["o oif != lo drop".to_owned()], 20);
    });
}

pub fn the_primary_hears_nothing(world: &World<'_>) {
    world.fails_over(22, |primary| {
        filter(primary, &["i iif != lo drop".to_owned()], 20);
    });
}

/// Shorter than the lease, again and again: it keeps its right, or loses it
/// once. Nothing goes to and fro.
pub fn the_link_of_the_primary_flaps(world: &World<'_>) {
    let primary = world.hafail.primary();
    let before = failovers(world.hafail);
    let seen = world.under_load(17, || {
        let script = "nft add table inet cut; \
             nft add chain inet cut i '{ type filter hook input priority -10; }'; \
             nft add chain inet cut o '{ type filter hook output priority -10; }'; \
             (for n in 1 2 3 4 5 6; do \
                nft add rule inet cut i iif != lo drop; nft add rule inet cut o oif != lo drop; \
                sleep 0.7; nft flush table inet cut; sleep 1.5; \
              done; nft delete table inet cut) > /dev/null 2>&1 & disown";
        on_host(DEPLOYMENT, &primary, script);
    });
    assert!(seen.gap() < 10_000, "{seen}");
    let failovers = failovers(world.hafail) - before;
    assert!(failovers <= 1, "failed over {failovers} times: {seen}");
}

/// Both see the witness: the lease holds, and the standby leaves the set.
pub fn the_sites_are_cut_from_each_other(world: &World<'_>) {
    world.stays(12, |primary| {
        let here = site(primary);
        let there = match here {
            "site1" => "10.20.0.0/16",
            _ => "10.10.0.0/16",
        };
        for host in hosts_of(here) {
            cut(&host, &[there], 10);
        }
    });
}

/// It lives on and reaches nobody: the names move, too.
pub fn a_region_is_cut_off(world: &World<'_>) {
    let mut left = String::new();
    world.fails_over(20, |primary| {
        site(primary).clone_into(&mut left);
        let region = region(primary);
        lab(&["fault", "cut-region", region, "--for", "20s"]);
    });
    hosts::names_leave(world, &left);
    settled(world.hafail);
}
