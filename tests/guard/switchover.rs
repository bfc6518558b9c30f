//! Replication, promotion, switchover.

use std::time::Instant;

use hafail::{
    ids::{Lsn, Timeline},
    order::{Order, OrderAnswer, PostgresState, WantedRole},
};
use rustix::process::Signal;

use crate::harness::{DEMOTE, PROMOTE, follow, signal, with_hosts};

#[test]
fn a_clone_streams_over_verified_tls() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.insert(0, 1, 100).await;
        hosts.wait_replayed(1, 0).await;
        assert_eq!(hosts.count(1).await, "100");

        let encrypted = "SELECT string_agg(s.ssl::text || ' ' || r.application_name, ',') \
             FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid)";
        assert_eq!(hosts.text(0, encrypted).await, "true db2");
        let conninfo = hosts
            .text(1, "SELECT conninfo FROM pg_stat_wal_receiver")
            .await;
        assert!(conninfo.contains("sslmode=verify-full"), "{conninfo}");
        assert_eq!(
            hosts
                .text(0, "SELECT current_setting('data_checksums')")
                .await,
            "on"
        );

        let primary = hosts.wait(0, "seen streaming", |status| {
            !status.postgres.standbys.is_empty()
        });
        let primary = primary.await.postgres;
        assert_eq!(primary.standbys["db2"].state, "streaming");
        assert!(primary.slots["db2"].active);
        let standby = hosts.status(1).await.postgres;
        assert_eq!(standby.state, PostgresState::Standby);
        assert_eq!(standby.streaming_from.as_deref(), Some("localhost"));
        assert_eq!(standby.system_identifier, primary.system_identifier);

        // Told again, both find nothing to do.
        assert!(!hosts.done(0, Order::Initialise).await.0);
        let upstream = hosts.nodes[0].name.clone();
        assert!(!hosts.done(1, Order::Clone { upstream }).await.0);
        hosts
    });
}

#[test]
fn a_standby_accepts_only_the_right_name_of_its_primary() {
    with_hosts(2, async |mut hosts| {
        let other = hosts.authority.issue(&["db1"]);
        hosts.nodes[0].write_files(&hosts, &other);
        for node in &mut hosts.nodes {
            node.start_guard(&[]).await;
        }
        hosts.done(0, Order::Initialise).await;
        let upstream = hosts.nodes[0].name.clone();
        let answer = format!("{:?}", hosts.order(1, Order::Clone { upstream }).await);
        assert!(answer.contains("certificate"), "{answer}");
        assert!(hosts.nodes[1].data_dirs().is_empty());
        hosts
    });
}

/// Which timeline it has decides whether it may be promoted, long before its
/// control file says so.
#[test]
fn a_standby_without_a_stream_knows_the_timeline_of_its_log() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.next_epoch();
        hosts.done(0, DEMOTE).await;
        hosts.done(1, PROMOTE).await;
        let order = follow(&hosts, 1);
        hosts.done(0, order).await;
        hosts.insert(1, 1, 100).await;
        hosts.wait_replayed(0, 1).await;

        hosts.nodes[1].power_off();
        let alone = hosts.wait(0, "without a stream", |status| {
            status.postgres.streaming_from.is_none()
        });
        assert_eq!(alone.await.postgres.timeline, Some(Timeline(2)));
        let control = "SELECT timeline_id FROM pg_control_checkpoint()";
        assert_eq!(hosts.text(0, control).await, "1", "the file is behind");
        hosts
    });
}

/// The guards' part of a switchover: nothing is lost, nothing is rewound.
#[test]
fn switchover_there_and_back_loses_nothing() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let mut rows = 0;
        for (round, (old, new)) in [(0, 1), (1, 0), (0, 1)].into_iter().enumerate() {
            hosts.next_epoch();
            hosts.insert(old, rows + 1, rows + 1000).await;
            rows += 1000;
            hosts.done(old, Order::Checkpoint).await;
            let begin = Instant::now();
            let (_, stopped) = hosts.done(old, DEMOTE).await;
            let demoted = begin.elapsed();
            assert_eq!(stopped.postgres.state, PostgresState::Stopped);
            assert_eq!(stopped.wanted, WantedRole::Stopped);
            let end = stopped.postgres.shutdown_checkpoint.expect("a clean stop");
            let equal = |status: &hafail::order::GuardStatus| status.postgres.received == Some(end);
            hosts.wait(new, "equal", equal).await;
            let begin = Instant::now();
            let (changed, status) = hosts
                .done(
                    new,
                    Order::Promote {
                        at_least: Some(end),
                        in_sync: false,
                    },
                )
                .await;
            let promoted = begin.elapsed();
            assert!(changed);
            assert_eq!(status.postgres.state, PostgresState::Primary);
            assert_eq!(
                status.postgres.timeline,
                Some(Timeline(2 + u32::try_from(round).unwrap()))
            );
            hosts.insert(new, rows + 1, rows + 10).await;
            rows += 10;
            let begin = Instant::now();
            let (_, status) = hosts.done(old, follow(&hosts, new)).await;
            eprintln!(
                "demote {demoted:?}, promote {promoted:?}, follow {:?}",
                begin.elapsed()
            );
            assert!(status.postgres.streaming_from.is_some(), "{status:#?}");
            hosts.wait_replayed(old, new).await;
            assert_eq!(hosts.count(old).await, rows.to_string());
            assert_eq!(hosts.count(new).await, rows.to_string());
        }
        hosts
    });
}

#[test]
fn orders_told_twice_change_nothing() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.next_epoch();
        assert!(!hosts.done(1, follow(&hosts, 0)).await.0);
        assert!(hosts.done(0, DEMOTE).await.0);
        assert!(!hosts.done(0, DEMOTE).await.0);
        assert!(hosts.done(1, PROMOTE).await.0);
        assert!(!hosts.done(1, PROMOTE).await.0);
        assert!(hosts.done(0, follow(&hosts, 1)).await.0);
        assert!(!hosts.done(0, follow(&hosts, 1)).await.0);
        hosts
    });
}

#[test]
fn a_demotion_is_undone() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.insert(0, 1, 10).await;
        hosts.next_epoch();
        hosts.done(0, DEMOTE).await;
        let wrong = Order::Resume {
            timeline: Timeline(7),
        };
        assert_eq!(hosts.refused(0, wrong).await, "not-a-stopped-primary");
        let resume = Order::Resume {
            timeline: Timeline(1),
        };
        let begin = Instant::now();
        assert!(hosts.done(0, resume.clone()).await.0);
        eprintln!("resume {:?}", begin.elapsed());
        assert!(!hosts.done(0, resume.clone()).await.0);
        hosts.insert(0, 11, 20).await;
        hosts.wait_replayed(1, 0).await;
        assert_eq!(hosts.count(1).await, "20");
        assert_eq!(hosts.refused(1, resume).await, "not-a-stopped-primary");
        hosts
    });
}

#[test]
fn a_promotion_is_refused_where_it_would_lose() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.next_epoch();
        let received = hosts.status(1).await.postgres.received.unwrap();
        let beyond = Some(Lsn(received.0 + 1_000_000));
        let behind = Order::Promote {
            at_least: beyond,
            in_sync: false,
        };
        assert_eq!(hosts.refused(1, behind).await, "behind");
        assert_eq!(hosts.status(1).await.postgres.state, PostgresState::Standby);
        // A primary is not a standby of itself, nor to be re-pointed.
        assert_eq!(hosts.refused(0, follow(&hosts, 1)).await, "primary-running");
        let upstream = hosts.nodes[1].name.clone();
        let rewind = Order::Rewind {
            upstream: upstream.clone(),
        };
        assert_eq!(hosts.refused(0, rewind).await, "primary-running");
        let reclone = Order::Reclone { upstream };
        assert_eq!(hosts.refused(0, reclone).await, "primary-running");
        assert_eq!(hosts.refused(0, Order::DropKept).await, "not-a-standby");
        let stranger = Order::Follow {
            upstream: "db9".parse().unwrap(),
        };
        assert_eq!(hosts.refused(1, stranger).await, "unknown-upstream");
        hosts.done(1, DEMOTE).await;
        assert_eq!(hosts.refused(1, PROMOTE).await, "not-running");
        hosts
    });
}

#[test]
fn synchronous_commits_wait_for_the_standby() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        let standbys = vec![hosts.nodes[1].name.clone()];
        let order = Order::Synchronous {
            standbys: standbys.clone(),
        };
        assert!(hosts.done(0, order.clone()).await.0);
        assert!(!hosts.done(0, order.clone()).await.0);
        assert_eq!(hosts.refused(1, order).await, "not-primary");
        hosts
            .wait(0, "synchronous", |status| {
                status
                    .postgres
                    .standbys
                    .get("db2")
                    .is_some_and(|db2| db2.sync_state == "sync")
            })
            .await;
        hosts.insert(0, 1, 10).await;
        // Without its standby a commit waits.
        hosts.done(1, DEMOTE).await;
        let blocked = tokio::time::timeout(
            std::time::Duration::from_millis(500),
            hosts.insert(0, 11, 20),
        );
        assert!(
            blocked.await.is_err(),
            "a commit was acknowledged by one host alone"
        );
        // The first order of a run, come late; then that of another run.
        let nobody = Order::Synchronous { standbys: vec![] };
        assert_eq!(hosts.refused(0, nobody.clone()).await, "stale-order");
        hosts.next_epoch();
        assert!(hosts.done(0, nobody).await.0);
        hosts.insert(0, 21, 30).await;
        hosts
    });
}

/// A promotion that could not come true must not do so later, when the right
/// to write may be another's.
#[test]
fn never_two_writers_by_a_late_promotion() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.nodes[1].reconfigure("/timing/start_ms", 1000.into());
        hosts.nodes[1].kill_guard();
        hosts.nodes[1].start_guard(&[]).await;
        hosts.next_epoch();
        let startup = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'startup'";
        let startup: u32 = hosts.text(1, startup).await.parse().unwrap();
        signal(startup, Signal::STOP);
        let answer = hosts.order(1, PROMOTE).await;
        assert!(matches!(answer, OrderAnswer::Failed { .. }), "{answer:?}");
        assert_eq!(hosts.ask(1, "GET", "/primary").await, 503);

        hosts.next_epoch();
        let (_, status) = hosts.done(1, Order::Checkpoint).await;
        assert_eq!(status.postgres.state, PostgresState::Standby);
        let upstream = Some(hosts.nodes[0].name.clone());
        assert_eq!(status.wanted, WantedRole::Standby { upstream });
        signal(startup, Signal::CONT);
        hosts.insert(0, 1, 10).await;
        hosts
            .wait(1, "streaming", |status| {
                status.postgres.streaming_from.is_some()
            })
            .await;
        hosts.wait_replayed(1, 0).await;
        let status = hosts.status(1).await;
        assert_eq!(status.postgres.state, PostgresState::Standby);
        assert_eq!(status.postgres.timeline, Some(Timeline(1)));
        hosts
    });
}
