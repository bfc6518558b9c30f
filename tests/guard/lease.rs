//! The right to write under leases of a real store: who holds it, how it
//! ends, and that nothing is acknowledged after its end.

use std::time::{Duration, Instant};

use hafail::{
    coordination::{Claim, How, State},
    ids::{Epoch, HostName},
    order::{Order, PostgresState, WantedRole},
    ports::quorum::Revision,
};
use rustix::process::Signal;

use crate::{
    harness::{DEMOTE, Hosts, PROMOTE, follow, signal, with_hosts},
    local::BOUND,
};

pub const TTL: Duration = Duration::from_secs(3);

/// Two hosts under leases, the first one primary, the second in `sync`.
pub async fn coordinated(hosts: &mut Hosts) {
    hosts.coordinate().await;
    hosts.replicate().await;
    until(hosts, "in sync", |state| {
        state.has_all(&"db2".parse().unwrap())
    })
    .await;
}

/// Waits until the store says so.
async fn until(hosts: &Hosts, what: &str, wanted: impl Fn(&State) -> bool) -> State {
    let shared = hosts.shared();
    let begin = Instant::now();
    loop {
        if let Ok(state) = shared.state().await
            && wanted(&state)
        {
            return state;
        }
        assert!(
            begin.elapsed() < BOUND,
            "not {what}: {:#?}",
            shared.state().await
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn holder(state: &State) -> Option<(&str, Epoch)> {
    let primary = &state.primary.as_ref()?.value;
    Some((primary.host.as_str(), primary.epoch))
}

fn created(state: &State) -> Option<Revision> {
    state.primary.as_ref().map(|key| key.created)
}

/// Writes rows one after another until one fails; when the last one was
/// acknowledged.
async fn write_until_failure(hosts: &Hosts, n: usize) -> Instant {
    let client = hosts.sql(n).await.unwrap();
    let mut last = Instant::now();
    // The standby is not waited for: only the right to write stops this.
    let local = "SET synchronous_commit = local";
    client.batch_execute(local).await.unwrap();
    for n in 1_000_000.. {
        let insert = format!("INSERT INTO commits VALUES ({n})");
        let written = tokio::time::timeout(BOUND, client.batch_execute(&insert)).await;
        if written.expect("it ends").is_err() {
            break;
        }
        last = Instant::now();
    }
    last
}

pub async fn wait_dead(hosts: &Hosts, n: usize) {
    let begin = Instant::now();
    while hosts.nodes[n].postmaster().is_some() {
        assert!(begin.elapsed() < BOUND, "PostgreSQL lives on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn a_promotion_waits_for_the_end_of_the_lease_and_takes_the_next_epoch() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        let state = hosts.shared().state().await.unwrap();
        assert_eq!(holder(&state), Some(("db1", Epoch(1))));
        assert!(hosts.status(0).await.lease.is_some());

        hosts.next_epoch();
        let promote = Order::Promote {
            at_least: None,
            in_sync: true,
        };
        assert_eq!(hosts.refused(1, promote.clone()).await, "lease-held");
        let standby = hosts.status(1).await;
        assert!(matches!(standby.wanted, WantedRole::Standby { .. }));

        hosts.done(0, Order::Demote { deadline_ms: 5_000 }).await;
        let state = hosts.shared().state().await.unwrap();
        assert_eq!(holder(&state), None, "a clean stop gives the lease back");
        hosts.done(1, promote).await;
        let state = hosts.shared().state().await.unwrap();
        assert_eq!(holder(&state), Some(("db2", Epoch(2))));
        assert!(!state.has_all(&"db1".parse().unwrap()));
        hosts.insert(1, 1, 10).await;
        hosts
    });
}

#[test]
fn never_two_writers_when_the_guard_dies() {
    silent_guard(|hosts| hosts.nodes[0].kill_guard());
}

#[test]
fn never_two_writers_when_the_guard_freezes() {
    silent_guard(|hosts| hosts.nodes[0].signal_guard(Signal::STOP));
}

/// The dead-man ends PostgreSQL before the store ends the lease.
fn silent_guard(silence: impl Fn(&mut Hosts)) {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        silence(&mut hosts);
        let (last, ended) = futures::join!(write_until_failure(&hosts, 0), async {
            until(&hosts, "ended", |state| holder(state).is_none()).await;
            Instant::now()
        });
        assert!(last < ended, "a write {:?} after the end", last - ended);
        assert_eq!(hosts.nodes[0].postmaster(), None);
        hosts.next_epoch();
        let promote = Order::Promote {
            at_least: None,
            in_sync: true,
        };
        hosts.done(1, promote).await;
        hosts.insert(1, 1, 10).await;

        // Whoever comes back is no primary.
        hosts.nodes[0].signal_guard_if_any(Signal::CONT);
        if !hosts.nodes[0].has_guard() {
            hosts.nodes[0].start_guard(&[]).await;
        }
        let back = hosts.wait_state(0, PostgresState::Standby).await;
        assert_eq!(back.wanted, WantedRole::Standby { upstream: None });
        hosts
    });
}

#[test]
fn a_restart_of_the_guard_keeps_the_lease_and_the_connections() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        let client = hosts.sql(0).await.unwrap();
        let before = hosts.shared().state().await.unwrap();
        let dead_man = hosts.nodes[0].dead_man();
        for _ in 0..3 {
            hosts.nodes[0].stop_guard();
            hosts.nodes[0].start_guard(&[]).await;
            hosts
                .wait(0, "holding", |status| status.lease.is_some())
                .await;
            tokio::time::sleep(TTL / 2).await;
            client.batch_execute("SELECT 1").await.unwrap();
        }
        let after = hosts.shared().state().await.unwrap();
        assert_eq!(created(&before), created(&after));
        assert_ne!(
            dead_man,
            hosts.nodes[0].dead_man(),
            "each guard brings its own"
        );
        hosts
    });
}

/// The guard dies, or hears no answer, between the store and its own memory.
#[test]
fn a_right_that_was_taken_further_unheard_is_gone_on_with() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        let client = hosts.sql(0).await.unwrap();
        let shared = hosts.shared();
        let state = shared.state().await.unwrap();
        let key = state.primary.unwrap();
        let mut primary = key.value;
        primary.epoch = primary.epoch.next();
        let standby: HostName = "db2".parse().unwrap();
        let claim = Claim::new(primary.clone(), How::GoOn, [standby.clone()].into());
        hosts.nodes[0].kill_guard();
        shared.take(key.lease.unwrap(), &claim).await.unwrap();
        hosts.nodes[0].start_guard(&[]).await;
        hosts
            .wait(0, "in the newer epoch", |status| {
                let lease = status.lease.as_ref();
                lease.is_some_and(|lease| lease.epoch == primary.epoch)
            })
            .await;
        until(&hosts, "in sync", |state| state.has_all(&standby)).await;
        client.batch_execute("SELECT 1").await.unwrap();
        // The standby leaves and comes back, which is written in that epoch.
        hosts.nodes[1].kill_guard();
        signal(hosts.nodes[1].postmaster().unwrap(), Signal::KILL);
        until(&hosts, "out of the set", |state| !state.has_all(&standby)).await;
        hosts.nodes[1].start_guard(&[]).await;
        until(&hosts, "in the set again", |state| state.has_all(&standby)).await;
        hosts
    });
}

/// Ends PostgreSQL and waits until another one serves in its place.
async fn crash(hosts: &Hosts, n: usize) {
    let pid = hosts.nodes[n].postmaster().unwrap();
    let begin = Instant::now();
    signal(pid, Signal::KILL);
    while hosts.ask(n, "GET", "/primary").await != 200
        || hosts.nodes[n].postmaster().is_none_or(|now| now == pid)
    {
        assert!(begin.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eprintln!("primary again after {:?}", begin.elapsed());
}

#[test]
fn postgresql_that_dies_comes_back_in_place_under_the_same_lease() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        let before = hosts.shared().state().await.unwrap();
        crash(&hosts, 0).await;
        hosts.insert(0, 1, 10).await;
        let after = hosts.shared().state().await.unwrap();
        assert_eq!(created(&before), created(&after));
        hosts
    });
}

#[test]
fn a_primary_that_crashes_again_and_again_gives_the_lease_back_and_a_stop_is_no_crash() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        for (old, new) in [(0, 1), (1, 0), (0, 1), (1, 0)] {
            hosts.next_epoch();
            hosts.done(old, DEMOTE).await;
            hosts.done(new, PROMOTE).await;
            hosts.done(old, follow(&hosts, new)).await;
        }
        let before = hosts.shared().state().await.unwrap();
        for _ in 0..2 {
            crash(&hosts, 0).await;
            let after = hosts.shared().state().await.unwrap();
            assert_eq!(created(&before), created(&after));
        }
        signal(hosts.nodes[0].postmaster().unwrap(), Signal::KILL);
        until(&hosts, "given back", |state| holder(state).is_none()).await;
        hosts
    });
}

#[test]
fn postgresql_that_cannot_serve_gives_the_lease_back_at_once() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        // A frozen postmaster answers no new connection.
        let pid = hosts.nodes[0].postmaster().unwrap();
        signal(pid, Signal::STOP);
        let begin = Instant::now();
        until(&hosts, "given back", |state| holder(state).is_none()).await;
        eprintln!("given back after {:?}", begin.elapsed());
        let back = hosts.wait_state(0, PostgresState::Standby).await;
        assert_eq!(back.wanted, WantedRole::Standby { upstream: None });
        hosts
    });
}

#[test]
fn a_lost_standby_leaves_the_set_before_commits_go_on_without_it() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        let standby = "db2".parse().unwrap();
        let pid = hosts.nodes[1].postmaster().unwrap();
        hosts.nodes[1].kill_guard();
        // Frozen, so that its connection stays and says nothing.
        signal(pid, Signal::STOP);
        signal_children(&hosts, 1, Signal::STOP);
        let begin = Instant::now();
        let (state, ()) = futures::join!(
            until(&hosts, "out of the set", |state| !state.has_all(&standby)),
            hosts.insert(0, 1, 1),
        );
        eprintln!("a commit went on without it after {:?}", begin.elapsed());
        assert!(!state.has_all(&standby));
        let state = hosts.shared().state().await.unwrap();
        assert!(!state.has_all(&standby), "written first");

        signal(pid, Signal::CONT);
        signal_children(&hosts, 1, Signal::CONT);
        hosts.nodes[1].start_guard(&[]).await;
        until(&hosts, "in the set again", |state| state.has_all(&standby)).await;
        let names = hosts
            .text(0, "current_setting('synchronous_standby_names')")
            .await;
        assert!(names.contains("db2"), "{names}");
        hosts
    });
}

/// What the standby has not confirmed is shown to nobody after the crash; that
/// it is lost is no reason to wait for it for ever.
#[test]
fn a_primary_that_crashed_serves_once_its_log_is_confirmed_or_the_standby_has_left() {
    with_hosts(2, async |mut hosts| {
        coordinated(&mut hosts).await;
        hosts.nodes[1].power_off();
        let pid = hosts.nodes[0].postmaster().unwrap();
        signal(pid, Signal::KILL);
        let begin = Instant::now();
        while hosts.nodes[0].postmaster().is_none_or(|now| now == pid) {
            assert!(begin.elapsed() < BOUND, "it does not start again");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let standby = "db2".parse().unwrap();
        let shared = hosts.shared();
        let begin = Instant::now();
        loop {
            let in_set = shared.state().await.unwrap().has_all(&standby);
            let served = hosts.ask(0, "GET", "/primary").await == 200;
            // Asked in this order: what is served has left the set before.
            assert!(!(served && in_set && shared.state().await.unwrap().has_all(&standby)));
            if served {
                break;
            }
            assert!(begin.elapsed() < BOUND, "it never serves");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hosts.insert(0, 1, 10).await;
        hosts
    });
}

#[test]
fn service_goes_on_from_manual_to_automatic_and_back() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let client = hosts.sql(0).await.unwrap();
        hosts.coordinate().await;
        for node in &mut hosts.nodes {
            node.stop_guard();
            node.start_guard(&[]).await;
        }
        let state = until(&hosts, "taken", |state| holder(state).is_some()).await;
        assert_eq!(holder(&state), Some(("db1", Epoch(1))));
        tokio::time::sleep(TTL).await;
        client.batch_execute("SELECT 1").await.unwrap();
        let dead_man = hosts.nodes[0].dead_man();
        assert!(dead_man.is_some());

        hosts.coordinate_no_more();
        for node in &mut hosts.nodes {
            node.stop_guard();
            node.start_guard(&[]).await;
        }
        assert_eq!(hosts.nodes[0].dead_man(), None, "nobody moves its deadline");
        // Longer than any deadline that was left.
        tokio::time::sleep(TTL).await;
        client.batch_execute("SELECT 1").await.unwrap();
        hosts.insert(0, 1, 10).await;
        hosts
    });
}

fn signal_children(hosts: &Hosts, n: usize, what: Signal) {
    for pid in hosts.nodes[n].processes() {
        signal(pid, what);
    }
}
