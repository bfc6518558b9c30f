//! Role questions over HTTP.

use std::time::Instant;

use hafail::{
    ids::Timeline,
    order::{GuardStatus, PostgresState},
};

use crate::{
    harness::{DEMOTE, Hosts, PROMOTE, with_hosts},
    local::BOUND,
};

const PATHS: [&str; 13] = [
    "/",
    "/primary",
    "/master",
    "/leader",
    "/read-write",
    "/replica",
    "/replica?lag=10MB",
    "/read-only",
    "/read-only?lag=10MB",
    "/health",
    "/liveness",
    "/readiness",
    "/status",
];

/// The answers to all questions, in order.
async fn answers(hosts: &Hosts, n: usize, method: &str) -> Vec<u16> {
    let mut codes = Vec::new();
    for path in PATHS {
        codes.push(hosts.ask(n, method, path).await);
    }
    codes
}

#[test]
fn role_questions_are_answered_as_patroni_does() {
    let yes = 200;
    let no = 503;
    with_hosts(2, async |mut hosts| {
        hosts.nodes[0].start_guard(&[]).await;
        let nothing = [no, no, no, no, no, no, no, no, no, no, yes, no, yes];
        assert_eq!(answers(&hosts, 0, "GET").await, nothing);
        hosts.nodes[0].kill_guard();

        hosts.replicate().await;
        hosts
            .wait(1, "streaming", |status| {
                status.postgres.streaming_from.is_some()
            })
            .await;
        let primary = [
            yes, yes, yes, yes, yes, no, no, yes, yes, yes, yes, yes, yes,
        ];
        let standby = [no, no, no, no, no, yes, yes, yes, yes, yes, yes, yes, yes];
        for method in ["GET", "HEAD"] {
            assert_eq!(answers(&hosts, 0, method).await, primary, "{method}");
            assert_eq!(answers(&hosts, 1, method).await, standby, "{method}");
        }
        // Load balancers ask with these, and read the code alone.
        for method in ["HEAD", "OPTIONS"] {
            for (n, code) in [(0, yes), (1, no)] {
                let answer = hosts.try_ask(n, method, "/primary").await.unwrap();
                assert_eq!(answer, (code, String::new()), "{method}");
            }
        }
        assert_eq!(hosts.ask(1, "GET", "/replica?lag=much").await, 400);
        assert_eq!(hosts.ask(0, "POST", "/primary").await, 405);
        assert_eq!(hosts.ask(0, "GET", "/orders").await, 404);

        // A standby that lost its primary says so, whatever it has replayed.
        hosts.done(0, DEMOTE).await;
        let stopped = [no, no, no, no, no, no, no, no, no, no, yes, no, yes];
        assert_eq!(answers(&hosts, 0, "GET").await, stopped);
        hosts
            .wait(1, "cut off", |status| {
                status.postgres.streaming_from.is_none()
            })
            .await;
        let alone = [no, no, no, no, no, no, no, no, no, yes, yes, no, yes];
        assert_eq!(answers(&hosts, 1, "GET").await, alone);
        hosts
    });
}

#[test]
fn a_standby_that_lags_is_no_replica() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.run(1, "SELECT pg_wal_replay_pause()").await;
        hosts.insert(0, 1, 10_000).await;
        let behind = |status: &GuardStatus| {
            let postgres = &status.postgres;
            postgres
                .received
                .unwrap()
                .bytes_since(postgres.replayed.unwrap())
                > 100_000
        };
        hosts.wait(1, "behind", behind).await;
        assert_eq!(hosts.ask(1, "GET", "/replica?lag=16kB").await, 503);
        assert_eq!(hosts.ask(1, "GET", "/replica?lag=1GB").await, 200);
        hosts.run(1, "SELECT pg_wal_replay_resume()").await;
        hosts.wait_replayed(1, 0).await;
        assert_eq!(hosts.ask(1, "GET", "/replica?lag=16kB").await, 200);
        hosts
    });
}

/// The primary says no before its shutdown begins, so that load balancers
/// hold new work; and yes as soon as it accepts writes.
#[test]
fn roles_flip_with_the_change_and_not_with_the_next_look() {
    with_hosts(2, async |mut hosts| {
        hosts.replicate().await;
        hosts.next_epoch();
        // An open transaction of a client that does not go away delays
        // nothing: a fast shutdown ends it.
        let idle = hosts.sql(0).await.unwrap();
        idle.batch_execute("BEGIN; SELECT 1").await.unwrap();
        let watch = async {
            let begin = Instant::now();
            while hosts.ask(0, "GET", "/primary").await == 200 {
                assert!(begin.elapsed() < BOUND);
            }
            (begin.elapsed(), hosts.nodes[0].postmaster().is_some())
        };
        let demote = hosts.done(0, DEMOTE);
        let ((flipped, running), _) = tokio::join!(watch, demote);
        eprintln!("/primary said no after {flipped:?}, PostgreSQL still running: {running}");
        hosts.done(1, PROMOTE).await;
        assert_eq!(hosts.ask(1, "GET", "/primary").await, 200);
        hosts
    });
}

#[test]
fn the_status_shows_the_same_on_both_ports_and_metrics_follow() {
    with_hosts(1, async |mut hosts| {
        hosts.replicate().await;
        let (_, body) = hosts.try_ask(0, "GET", "/patroni").await.unwrap();
        let open: GuardStatus = serde_json::from_str(&body).unwrap();
        let secured = hosts.status(0).await;
        assert_eq!(open.postgres.state, PostgresState::Primary);
        assert_eq!(open.postgres.timeline, Some(Timeline(1)));
        assert_eq!(
            open.postgres.system_identifier,
            secured.postgres.system_identifier
        );
        let (_, metrics) = hosts.try_ask(0, "GET", "/metrics").await.unwrap();
        for line in [
            "hafail_primary 1",
            "hafail_timeline 1",
            "hafail_orders_total{order=\"initialise\",outcome=\"changed\"} 1",
            "hafail_postgres_starts_total 1",
        ] {
            assert!(
                metrics.lines().any(|found| found == line),
                "{line}: {metrics}"
            );
        }
        hosts
    });
}
