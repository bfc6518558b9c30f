//! What a primary whose store is lost gets from its peers, and how long it
//! binds them.

use std::time::Instant;

use hafail::order::{GuardStatus, Order, PostgresState};
use rustix::process::Signal;

use crate::{
    cluster::Member,
    harness::{Hosts, PROMOTE, with_hosts},
    lease::{TTL, coordinated, wait_dead},
};

fn by_promises(status: &GuardStatus) -> bool {
    let lease = status.lease.as_ref();
    lease.is_some_and(|lease| lease.by_promises)
}

/// Two of the store's three members.
fn most(hosts: &Hosts) -> &[Member] {
    &hosts.store.as_ref().unwrap().members[..2]
}

fn stop_most(hosts: &Hosts) {
    most(hosts).iter().for_each(Member::stop);
}

fn resume_most(hosts: &Hosts) {
    most(hosts).iter().for_each(Member::resume);
}

async fn store_is_lost(hosts: &Hosts) {
    stop_most(hosts);
    hosts.wait(0, "by promises", by_promises).await;
}

async fn store_is_back(hosts: &Hosts) {
    resume_most(hosts);
    let by_store = |status: &GuardStatus| !by_promises(status);
    hosts.wait(0, "by the store", by_store).await;
}

#[test]
fn writes_go_on_under_promises_while_the_store_is_lost_and_end_with_the_peer() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        store_is_lost(&hosts).await;
        let begin = Instant::now();
        let mut n = 0;
        while begin.elapsed() < 2 * TTL {
            n += 1;
            hosts.insert(0, n, n).await;
        }
        // A peer that promised is bound, even when it is asked nicely.
        hosts.next_epoch();
        assert_eq!(hosts.refused(1, PROMOTE).await, "promised");
        // A switchover hears of it before the primary is stopped.
        assert_eq!(hosts.refused(1, Order::Checkpoint).await, "promised");
        hosts.done(0, Order::Checkpoint).await;

        // The store comes back: the same primary takes its right anew.
        store_is_back(&hosts).await;
        hosts.insert(0, n + 1, n + 1).await;

        // Without the store and the peer nobody may write.
        stop_most(&hosts);
        hosts.nodes[1].signal_guard(Signal::STOP);
        let begin = Instant::now();
        wait_dead(&hosts, 0).await;
        assert!(begin.elapsed() < TTL, "{:?}", begin.elapsed());
        resume_most(&hosts);
        hosts.nodes[1].signal_guard(Signal::CONT);
        hosts
    });
}

/// Only the first guard of a boot begins the term of an earlier one anew.
#[test]
fn a_promise_of_an_earlier_boot_binds_for_one_term() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        store_is_lost(&hosts).await;
        store_is_back(&hosts).await;

        hosts.nodes[1].power_off();
        std::fs::write(hosts.nodes[1].directory.join("boot_id"), "second boot\n").unwrap();
        hosts.nodes[1].start_guard(&[]).await;
        hosts.wait_state(1, PostgresState::Standby).await;
        hosts.next_epoch();
        while hosts.refused(1, PROMOTE).await == "promised" {
            tokio::time::sleep(TTL / 10).await;
        }

        hosts.nodes[1].stop_guard();
        hosts.nodes[1].start_guard(&[]).await;
        hosts.wait_state(1, PostgresState::Standby).await;
        assert_eq!(hosts.refused(1, PROMOTE).await, "lease-held");
        hosts
    });
}
