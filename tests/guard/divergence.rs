//! Old primaries that have what nobody else has.

use std::{
    fs,
    time::{Duration, Instant},
};

use hafail::order::{Order, OrderAnswer, PostgresState};

use crate::harness::{DEMOTE, Hosts, PROMOTE, follow, with_hosts};

/// Cuts the first host off, lets it commit rows that only it has, promotes
/// the second and powers the first on again.
async fn diverge(hosts: &mut Hosts) {
    hosts.insert(0, 1, 100).await;
    hosts.wait_replayed(1, 0).await;
    hosts.done(1, DEMOTE).await;
    hosts.insert(0, 101, 200).await;
    hosts.nodes[0].power_off();
    hosts.next_epoch();
    hosts.done(1, follow(hosts, 0)).await;
    hosts.done(1, PROMOTE).await;
    hosts.insert(1, 1001, 1100).await;
    fs::write(hosts.nodes[0].directory.join("boot_id"), "second boot\n").unwrap();
    hosts.nodes[0].start_guard(&[]).await;
    hosts.wait_state(0, PostgresState::Standby).await;
}

fn rewind() -> Order {
    Order::Rewind {
        upstream: "db2".parse().unwrap(),
    }
}

fn reclone() -> Order {
    Order::Reclone {
        upstream: "db2".parse().unwrap(),
    }
}

async fn assert_rejoined(hosts: &Hosts) {
    hosts.wait_replayed(0, 1).await;
    assert_eq!(hosts.count(0).await, "200");
    let lost = "SELECT count(*) FROM commits WHERE n BETWEEN 101 AND 200";
    assert_eq!(hosts.text(0, lost).await, "0");
    assert_eq!(hosts.ask(0, "GET", "/replica?lag=10MB").await, 200);
}

#[test]
fn a_diverged_primary_is_rewound_and_its_log_kept() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        diverge(&mut hosts).await;
        let begin = Instant::now();
        assert!(hosts.done(0, rewind()).await.0);
        eprintln!("rewind {:?}", begin.elapsed());
        assert_rejoined(&hosts).await;
        assert!(!hosts.done(0, rewind()).await.0);

        let versions = hosts.nodes[0].directory.join("data/15");
        let kept = fs::read_dir(&versions)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let kept = kept.filter(|path| path.to_string_lossy().contains("/diverged-"));
        let kept: Vec<_> = kept.collect();
        assert_eq!(kept.len(), 1, "{kept:?}");
        let records = fs::read_to_string(kept[0].join("records.txt")).unwrap();
        assert!(records.matches("desc: INSERT").count() >= 100, "{records}");
        assert!(hosts.done(0, Order::DropKept).await.0);
        assert!(!kept[0].exists());
        assert!(!hosts.done(0, Order::DropKept).await.0);
        hosts
    });
}

/// PostgreSQL calls it streaming for a moment ten times a second.
#[test]
fn a_diverged_standby_is_never_taken_for_a_replica() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        diverge(&mut hosts).await;
        let upstream = "db2".parse().unwrap();
        let (_, status) = hosts.done(0, Order::Follow { upstream }).await;
        assert_eq!(status.postgres.streaming_from, None);
        let begin = Instant::now();
        let mut looks = 0;
        while begin.elapsed() < Duration::from_secs(3) {
            let status = hosts.status(0).await;
            assert_eq!(status.postgres.streaming_from, None);
            assert_eq!(hosts.ask(0, "GET", "/replica").await, 503);
            looks += 1;
        }
        assert!(looks > 20, "{looks}");
        assert_eq!(hosts.refused(0, Order::DropKept).await, "not-streaming");
        assert!(hosts.done(0, rewind()).await.0);
        assert_rejoined(&hosts).await;
        hosts
    });
}

#[test]
fn where_a_rewind_is_impossible_a_copy_keeps_the_old_directory() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        diverge(&mut hosts).await;
        // Without the log of before the divergence pg_rewind finds no way back.
        hosts.done(0, DEMOTE).await;
        let old = hosts.nodes[0].data_dirs().remove(0);
        for file in fs::read_dir(old.join("pg_wal")).unwrap() {
            let path = file.unwrap().path();
            if path.is_file() {
                fs::remove_file(path).unwrap();
            }
        }
        match hosts.order(0, rewind()).await {
            OrderAnswer::Failed { why, .. } => eprintln!("as expected: {why}"),
            other => panic!("{other:?}"),
        }
        let begin = Instant::now();
        assert!(hosts.done(0, reclone()).await.0);
        eprintln!("reclone {:?}", begin.elapsed());
        assert_rejoined(&hosts).await;
        assert_eq!(hosts.nodes[0].data_dirs().len(), 2);
        assert!(old.join("PG_VERSION").exists());
        let main = fs::read_link(hosts.nodes[0].directory.join("data/15/main")).unwrap();
        assert_eq!(main.to_str(), Some("data-2"));
        // It outlives a crash of the guard.
        hosts.nodes[0].kill_guard();
        hosts.nodes[0].start_guard(&[]).await;
        hosts.wait_state(0, PostgresState::Standby).await;
        assert!(hosts.done(0, Order::DropKept).await.0);
        assert!(!old.exists());
        assert_rejoined(&hosts).await;
        hosts
    });
}

#[test]
fn a_copy_that_fails_leaves_the_old_directory_in_place() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        diverge(&mut hosts).await;
        hosts.done(1, DEMOTE).await;
        let answer = hosts.order(0, reclone()).await;
        assert!(matches!(answer, OrderAnswer::Failed { .. }), "{answer:?}");
        assert_eq!(hosts.nodes[0].data_dirs().len(), 1);
        hosts.wait_state(0, PostgresState::Standby).await;
        assert_eq!(hosts.count(0).await, "200");
        let timeline = hosts.status(1).await.postgres.timeline.unwrap();
        hosts.done(1, Order::Resume { timeline }).await;
        hosts.done(0, reclone()).await;
        assert_rejoined(&hosts).await;
        hosts
    });
}

/// The guard crashes at each point of a rewind; each time the rejoin ends
/// well, by repeating it or, where pg_rewind can't, by a copy.
#[test]
fn repeat_is_harmless_rewind() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        diverge(&mut hosts).await;
        hosts.done(0, DEMOTE).await;
        let data = hosts.nodes[0].data_dirs().remove(0);
        let saved = hosts.nodes[0].directory.join("saved");
        copy(&data, &saved);
        let mut crashes = 0;
        loop {
            let point = (crashes + 1).to_string();
            hosts.nodes[0].kill_guard();
            hosts.nodes[0]
                .start_guard(&[("HAFAIL_FAILPOINT", &point)])
                .await;
            let epoch = hosts.next_epoch();
            let answer = hosts.try_order(0, epoch, rewind()).await;
            if answer.is_err() {
                hosts.nodes[0].kill_guard();
                hosts.nodes[0].start_guard(&[]).await;
                match hosts.order(0, rewind()).await {
                    OrderAnswer::Done { .. } => {}
                    OrderAnswer::Failed { why, .. } => panic!("after crash {point}: {why}"),
                    OrderAnswer::Refused { id, why } => panic!("{id}: {why}"),
                }
            }
            assert_rejoined(&hosts).await;
            if answer.is_ok() {
                break;
            }
            crashes += 1;
            hosts.done(0, DEMOTE).await;
            fs::remove_dir_all(&data).unwrap();
            copy(&saved, &data);
        }
        eprintln!("rewind: {crashes} crashes");
        assert!(crashes >= 6, "{crashes}");
        hosts
    });
}

#[test]
fn repeat_is_harmless_reclone() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        diverge(&mut hosts).await;
        let mut crashes = 0;
        loop {
            let point = (crashes + 1).to_string();
            hosts.nodes[0].kill_guard();
            hosts.nodes[0]
                .start_guard(&[("HAFAIL_FAILPOINT", &point)])
                .await;
            let epoch = hosts.next_epoch();
            let answer = hosts.try_order(0, epoch, reclone()).await;
            if answer.is_err() {
                hosts.nodes[0].kill_guard();
                hosts.nodes[0].start_guard(&[]).await;
                hosts.done(0, reclone()).await;
            }
            assert_rejoined(&hosts).await;
            if answer.is_ok() {
                break;
            }
            crashes += 1;
        }
        eprintln!("reclone: {crashes} crashes");
        assert!(crashes >= 4, "{crashes}");
        hosts
    });
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status();
    assert!(status.unwrap().success());
}
