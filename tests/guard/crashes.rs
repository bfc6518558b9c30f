//! Crashes of PostgreSQL, of the guard, of the machine.

use std::time::{Duration, Instant};

use hafail::order::{Order, OrderAnswer, PostgresState, WantedRole};
use rustix::process::Signal;

use crate::{
    harness::{DEMOTE, Hosts, PROMOTE, follow, signal, with_hosts},
    local::BOUND,
};

#[test]
fn a_killed_primary_is_restarted_at_once() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.insert(0, 1, 1000).await;
        let old = hosts.nodes[0].postmaster().unwrap();
        let begin = Instant::now();
        signal(old, Signal::KILL);
        loop {
            match hosts.sql(0).await {
                Ok(client)
                    if client
                        .batch_execute("INSERT INTO commits VALUES (1001)")
                        .await
                        .is_ok() =>
                {
                    break;
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
            assert!(begin.elapsed() < BOUND, "{}", hosts.nodes[0].log());
        }
        eprintln!(
            "kill -9 of the postmaster: writes again after {:?}",
            begin.elapsed()
        );
        assert_ne!(hosts.nodes[0].postmaster(), Some(old));
        let status = hosts.wait_state(0, PostgresState::Primary).await;
        assert_eq!(status.postgres.timeline.unwrap().0, 1);
        hosts.wait_replayed(1, 0).await;
        assert_eq!(hosts.count(1).await, "1001");
        hosts
    });
}

#[test]
fn a_killed_standby_is_restarted_as_a_standby() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        signal(hosts.nodes[1].postmaster().unwrap(), Signal::KILL);
        hosts
            .wait(1, "gone", |status| status.postgres.streaming_from.is_none())
            .await;
        hosts
            .wait(1, "streaming", |status| {
                status.postgres.streaming_from.is_some()
            })
            .await;
        assert_eq!(hosts.status(1).await.postgres.state, PostgresState::Standby);
        hosts
    });
}

#[test]
fn postgresql_outlives_its_guard() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        for gently in [false, true] {
            let before = hosts.nodes[0].postmaster().unwrap();
            let client = hosts.sql(0).await.unwrap();
            if gently {
                hosts.nodes[0].stop_guard();
            } else {
                hosts.nodes[0].kill_guard();
            }
            client
                .batch_execute("INSERT INTO commits SELECT count(*) FROM commits")
                .await
                .unwrap();
            hosts.nodes[0].start_guard(&[]).await;
            hosts.wait_state(0, PostgresState::Primary).await;
            // The very session from before still writes.
            client
                .batch_execute("INSERT INTO commits SELECT count(*) FROM commits")
                .await
                .unwrap();
            assert_eq!(hosts.nodes[0].postmaster(), Some(before));
            assert_eq!(hosts.ask(0, "GET", "/primary").await, 200);
        }
        assert_eq!(hosts.count(0).await, "4");
        hosts
    });
}

#[test]
fn after_a_boot_a_primary_comes_up_as_a_standby() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.insert(0, 1, 100).await;
        hosts.wait_replayed(1, 0).await;
        for n in 0..2 {
            hosts.nodes[n].power_off();
            std::fs::write(hosts.nodes[n].directory.join("boot_id"), "second boot\n").unwrap();
            hosts.nodes[n].start_guard(&[]).await;
        }
        let status = hosts.wait_state(0, PostgresState::Standby).await;
        assert_eq!(status.wanted, WantedRole::Standby { upstream: None });
        assert_eq!(hosts.ask(0, "GET", "/primary").await, 503);
        assert_eq!(hosts.ask(0, "GET", "/replica").await, 503);
        let client = hosts.sql(0).await.unwrap();
        assert!(
            client
                .batch_execute("INSERT INTO commits VALUES (101)")
                .await
                .is_err()
        );
        assert_eq!(hosts.count(0).await, "100");
        // The old standby comes back as one, too.
        let status = hosts.wait_state(1, PostgresState::Standby).await;
        let upstream = Some(hosts.nodes[0].name.clone());
        assert_eq!(status.wanted, WantedRole::Standby { upstream });
        // An operator decides.
        hosts.next_epoch();
        hosts.done(0, PROMOTE).await;
        hosts.insert(0, 101, 110).await;
        hosts
            .wait(1, "streaming", |status| {
                status.postgres.streaming_from.is_some()
            })
            .await;
        hosts.wait_replayed(1, 0).await;
        assert_eq!(hosts.count(1).await, "110");
        hosts
    });
}

#[test]
fn a_demoted_host_stays_stopped_over_a_boot() {
    with_hosts(1, async |mut hosts| {
        hosts.replicate().await;
        hosts.done(0, DEMOTE).await;
        hosts.nodes[0].power_off();
        std::fs::write(hosts.nodes[0].directory.join("boot_id"), "second boot\n").unwrap();
        hosts.nodes[0].start_guard(&[]).await;
        let status = hosts.wait_state(0, PostgresState::Stopped).await;
        assert_eq!(status.wanted, WantedRole::Stopped);
        assert!(status.postgres.shutdown_checkpoint.is_some());
        let timeline = status.postgres.timeline.unwrap();
        hosts.done(0, Order::Resume { timeline }).await;
        hosts.insert(0, 1, 1).await;
        hosts
    });
}

/// Nobody but the guard promotes: who does it behind its back loses it again.
#[test]
fn never_two_writers_by_a_promotion_behind_the_guards_back() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let before = hosts.nodes[1].postmaster().unwrap();
        let client = hosts.sql(1).await.unwrap();
        client
            .batch_execute("SELECT pg_promote(false)")
            .await
            .unwrap();
        let begin = Instant::now();
        while hosts.nodes[1].postmaster() == Some(before) {
            assert_eq!(hosts.ask(1, "GET", "/primary").await, 503);
            assert!(begin.elapsed() < BOUND, "{}", hosts.nodes[1].log());
        }
        eprintln!(
            "promotion behind the guard's back: killed after {:?}",
            begin.elapsed()
        );
        hosts.wait_state(1, PostgresState::Standby).await;
        assert_eq!(hosts.ask(0, "GET", "/primary").await, 200);
        hosts
    });
}

#[test]
fn a_hung_postmaster_is_seen() {
    with_hosts(1, async |mut hosts| {
        hosts.replicate().await;
        let postmaster = hosts.nodes[0].postmaster().unwrap();
        signal(postmaster, Signal::STOP);
        let begin = Instant::now();
        hosts.wait_state(0, PostgresState::Hung).await;
        eprintln!("hung postmaster: seen after {:?}", begin.elapsed());
        assert_eq!(hosts.ask(0, "GET", "/primary").await, 503);
        assert_eq!(hosts.ask(0, "GET", "/health").await, 503);
        signal(postmaster, Signal::CONT);
        hosts.wait_state(0, PostgresState::Primary).await;
        assert_eq!(hosts.ask(0, "GET", "/primary").await, 200);
        hosts
    });
}

/// Crashes the guard of host `n` after the first effect of an order, after
/// the second, and so on, and repeats the order each time; returns how often
/// it crashed. `again` prepares the host for the next round.
async fn crash_everywhere(
    hosts: &mut Hosts,
    n: usize,
    order: Order,
    prepare: impl AsyncFn(&mut Hosts),
    check: impl AsyncFn(&mut Hosts),
) -> u32 {
    for point in 1.. {
        prepare(hosts).await;
        let epoch = hosts.next_epoch();
        hosts.nodes[n].kill_guard();
        let crash = point.to_string();
        hosts.nodes[n]
            .start_guard(&[("HAFAIL_FAILPOINT", &crash)])
            .await;
        let answer = hosts.try_order(n, epoch, order.clone()).await;
        let crashed = answer.is_err();
        if crashed {
            let begin = Instant::now();
            while !hosts.nodes[n].guard_ended() {
                assert!(begin.elapsed() < BOUND, "{answer:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            hosts.nodes[n].start_guard(&[]).await;
            hosts.done(n, order.clone()).await;
        } else {
            assert!(matches!(answer, Ok(OrderAnswer::Done { .. })), "{answer:?}");
        }
        check(hosts).await;
        if !crashed {
            // What the caller does next must not reach the armed point.
            hosts.nodes[n].kill_guard();
            hosts.nodes[n].start_guard(&[]).await;
            return point - 1;
        }
    }
    unreachable!("an order has an end")
}

async fn write_one(hosts: &mut Hosts, n: usize) {
    hosts
        .run(n, "INSERT INTO commits SELECT count(*) FROM commits")
        .await;
}

#[test]
fn repeat_is_harmless_initialise() {
    with_hosts(1, async |mut hosts| {
        hosts.nodes[0].start_guard(&[]).await;
        let crashes = crash_everywhere(
            &mut hosts,
            0,
            Order::Initialise,
            async |hosts| {
                hosts.nodes[0].power_off();
                for part in ["data", "state"] {
                    let path = hosts.nodes[0].directory.join(part);
                    if path.exists() {
                        std::fs::remove_dir_all(path).unwrap();
                    }
                }
            },
            async |hosts| {
                hosts.run(0, "CREATE TABLE commits (n int)").await;
                write_one(hosts, 0).await;
                assert_eq!(hosts.nodes[0].data_dirs().len(), 1);
                assert_eq!(
                    hosts
                        .text(0, "SELECT count(*) FROM pg_roles WHERE rolcanlogin")
                        .await,
                    "4"
                );
            },
        );
        let crashes = crashes.await;
        eprintln!("initialise: {crashes} crashes");
        assert!(crashes >= 6, "{crashes}");
        hosts
    });
}

#[test]
fn repeat_is_harmless_clone() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let upstream = hosts.nodes[0].name.clone();
        let crashes = crash_everywhere(
            &mut hosts,
            1,
            Order::Clone { upstream },
            async |hosts| {
                hosts.nodes[1].power_off();
                for part in ["data", "state"] {
                    std::fs::remove_dir_all(hosts.nodes[1].directory.join(part)).unwrap();
                }
                write_one(hosts, 0).await;
            },
            async |hosts| {
                hosts.wait_replayed(1, 0).await;
                assert_eq!(hosts.nodes[1].data_dirs().len(), 1);
            },
        );
        let crashes = crashes.await;
        eprintln!("clone: {crashes} crashes");
        assert!(crashes >= 4, "{crashes}");
        hosts
    });
}

#[test]
fn repeat_is_harmless_demote_and_resume() {
    with_hosts(1, async |mut hosts| {
        hosts.replicate().await;
        let timeline = hosts.status(0).await.postgres.timeline.unwrap();
        let crashes = crash_everywhere(
            &mut hosts,
            0,
            DEMOTE,
            async |hosts| {
                hosts.done(0, Order::Resume { timeline }).await;
                write_one(hosts, 0).await;
            },
            async |hosts| {
                let status = hosts.wait_state(0, PostgresState::Stopped).await;
                assert!(status.postgres.shutdown_checkpoint.is_some());
            },
        );
        assert!(crashes.await >= 2);
        let crashes = crash_everywhere(
            &mut hosts,
            0,
            Order::Resume { timeline },
            async |hosts| {
                hosts.done(0, DEMOTE).await;
            },
            async |hosts| write_one(hosts, 0).await,
        );
        assert!(crashes.await >= 2);
        hosts
    });
}

#[test]
fn repeat_is_harmless_promote_and_follow() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let crashes = crash_everywhere(
            &mut hosts,
            1,
            PROMOTE,
            async |hosts| {
                // Back to the beginning: the first host is primary.
                if hosts.status(1).await.postgres.state == PostgresState::Primary {
                    hosts.done(1, DEMOTE).await;
                    hosts.done(0, PROMOTE).await;
                    hosts.done(1, follow(hosts, 0)).await;
                }
                write_one(hosts, 0).await;
                hosts.done(0, DEMOTE).await;
            },
            async |hosts| {
                write_one(hosts, 1).await;
                hosts.done(0, follow(hosts, 1)).await;
                hosts.wait_replayed(0, 1).await;
            },
        );
        let crashes = crashes.await;
        eprintln!("promote: {crashes} crashes");
        assert!(crashes >= 2, "{crashes}");

        let upstream = hosts.nodes[1].name.clone();
        let crashes = crash_everywhere(
            &mut hosts,
            0,
            Order::Follow { upstream },
            async |hosts| {
                hosts.done(0, DEMOTE).await;
                write_one(hosts, 1).await;
            },
            async |hosts| hosts.wait_replayed(0, 1).await,
        );
        assert!(crashes.await >= 2);
        hosts
    });
}
