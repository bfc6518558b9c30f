//! Moving votes from the queue into the database.

use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::Client;

use crate::support::eventually;
use crate::support::postgres::{PASSWORD, Postgres, rows};
use crate::support::redis::{Redis, entry, environment};
use crate::support::relay::Relay;
use crate::support::voting::Voting;

type Environment = Vec<(String, String)>;

fn named(id: &str) -> Environment {
    vec![("WORKER_ID".into(), id.into())]
}

/// `count` votes for `a` by as many voters.
fn votes(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|voter| entry(&format!("{prefix}-{voter:05}"), "a"))
        .collect()
}

/// Nothing is left anywhere: no queue, no processing list, none registered.
async fn emptied(redis: &Redis) {
    eventually("the queue and all processing lists are gone", async || {
        redis
            .keys()
            .await
            .iter()
            .all(|key| !key.starts_with("votes") || key == "votes:rejected")
            .then_some(())
    })
    .await;
}

async fn create_table(client: &Client) {
    let table = "CREATE TABLE votes (id text PRIMARY KEY, vote text NOT NULL)";
    client.batch_execute(table).await.unwrap();
}

#[tokio::test]
async fn votes_end_in_the_table_which_the_worker_creates() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let vote = Voting::start_ready("vote", &[redis.environment()]).await;
    let environment = [redis.environment(), postgres.environment()];
    let one = [environment.to_vec(), vec![named("w1")]].concat();
    let two = [environment.to_vec(), vec![named("w2")]].concat();
    let (_one, _two) = tokio::join!(
        Voting::start_ready("worker", &one),
        Voting::start_ready("worker", &two)
    );
    assert_eq!(vote.vote("voter-1", "a").await.0, 200);
    assert_eq!(vote.vote("voter-2", "a").await.0, 200);
    assert_eq!(vote.vote("voter-1", "b").await.0, 200);
    let wanted = [
        ("voter-1".into(), "b".into()),
        ("voter-2".into(), "a".into()),
    ];
    postgres
        .rows_when("both voters are there", |rows| *rows == wanted)
        .await;
    emptied(&redis).await;
}

#[tokio::test]
async fn a_worker_killed_between_taking_and_committing_loses_nothing() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let client = postgres.client().await;
    create_table(&client).await;
    client
        .batch_execute("BEGIN; LOCK TABLE votes IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let environment = [redis.environment(), postgres.environment()];
    let worker = Voting::start_ready("worker", &environment).await;
    redis.push(&votes("v", 3)).await;
    let watcher = postgres.client().await;
    let blocked = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'votes'::regclass";
    eventually("the worker waits in its transaction", async || {
        watcher.query_opt(blocked, &[]).await.unwrap()
    })
    .await;
    assert!(redis.list("votes").await.is_empty(), "the votes are taken");
    worker.kill();
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(rows(&client).await.unwrap(), [], "and not written");
    let _worker = Voting::start_ready("worker", &environment).await;
    postgres
        .rows_when("all three are there", |rows| rows.len() == 3)
        .await;
    emptied(&redis).await;
}

#[tokio::test]
async fn what_a_dead_worker_left_is_written_by_another_and_before_newer_votes() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let mut connection = redis.connection().await;
    let list = "votes:processing:gone:1";
    let left = [
        entry("voter-1", "a"),
        entry("voter-2", "a"),
        entry("voter-2", "b"),
    ];
    redis::cmd("RPUSH")
        .arg(list)
        .arg(&left[..])
        .exec_async(&mut connection)
        .await
        .unwrap();
    redis::cmd("SADD")
        .arg("votes:processing")
        .arg(list)
        .exec_async(&mut connection)
        .await
        .unwrap();
    redis.push(&[entry("voter-1", "b")]).await;
    let environment = [redis.environment(), postgres.environment()];
    let _worker = Voting::start("worker", &environment).await;
    let wanted = [
        ("voter-1".into(), "b".into()),
        ("voter-2".into(), "b".into()),
    ];
    postgres
        .rows_when("the last votes", |rows| *rows == wanted)
        .await;
    emptied(&redis).await;
}

#[tokio::test]
async fn a_list_left_while_nobody_votes_is_found_by_a_running_worker() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let environment = [redis.environment(), postgres.environment()];
    let _worker = Voting::start_ready("worker", &environment).await;
    let mut left = redis::pipe();
    let list = "votes:processing:gone:1";
    left.atomic()
        .cmd("RPUSH")
        .arg(list)
        .arg(entry("voter-1", "a"));
    left.cmd("SADD").arg("votes:processing").arg(list);
    left.exec_async(&mut redis.connection().await)
        .await
        .unwrap();
    postgres
        .rows_when("the vote is there", |rows| rows.len() == 1)
        .await;
    emptied(&redis).await;
}

#[tokio::test]
async fn a_database_that_crashes_again_and_again_loses_no_vote() {
    let (mut postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let batch = vec![("WORKER_BATCH".into(), "20".into())];
    let environment = [redis.environment(), postgres.environment(), batch];
    let worker = Voting::start_ready("worker", &environment).await;
    for round in 1..=3 {
        redis.push(&votes(&format!("r{round}"), 2_000)).await;
        let before = 2_000 * (round - 1);
        postgres
            .rows_when("some are written", |rows| rows.len() > before)
            .await;
        postgres.crash();
        worker.readiness(503).await;
        postgres.up().await;
    }
    postgres
        .rows_when("every vote is there", |rows| rows.len() == 6_000)
        .await;
    worker.readiness(200).await;
    emptied(&redis).await;
}

#[tokio::test]
async fn cut_connections_to_the_queue_and_the_database_lose_no_vote_and_keep_the_order() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let (queue, database) = tokio::join!(Relay::start(redis.port), Relay::start(postgres.port));
    let mut through = postgres.environment();
    through.push(("PGPORT".into(), database.port.to_string()));
    let batch: Environment = vec![("WORKER_BATCH".into(), "10".into())];
    let common = vec![environment(queue.port), through, batch];
    let one = [common.clone(), vec![named("w1")]].concat();
    let two = [common, vec![named("w2")]].concat();
    let (_one, _two) = tokio::join!(
        Voting::start_ready("worker", &one),
        Voting::start_ready("worker", &two)
    );
    let client = postgres.client().await;
    let mut cuts = 0;
    for round in 0..12 {
        // Every voter votes again in every round; only the last may remain.
        let entries: Vec<_> = (0..200)
            .map(|voter| entry(&format!("v{voter:03}"), &format!("round-{round}")))
            .collect();
        redis.push(&entries).await;
        let current = format!("round-{round}");
        eventually("the round has begun", async || {
            rows(&client)
                .await?
                .iter()
                .any(|row| row.1 == current)
                .then_some(())
        })
        .await;
        cuts += if round % 2 == 0 {
            queue.cut()
        } else {
            database.cut()
        };
    }
    assert!(cuts >= 12, "{cuts} connections were cut");
    let all_last =
        |rows: &[(String, String)]| rows.len() == 200 && rows.iter().all(|row| row.1 == "round-11");
    postgres
        .rows_when("the last vote of everybody", all_last)
        .await;
    emptied(&redis).await;
    let rows = rows(&client).await.unwrap();
    assert!(all_last(&rows), "and nothing older came after it");
}

#[tokio::test]
async fn nothing_is_taken_while_the_database_is_read_only() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let client = postgres.client().await;
    let environment = [redis.environment(), postgres.environment()];
    let worker = Voting::start_ready("worker", &environment).await;
    let switch = "ALTER SYSTEM SET default_transaction_read_only = on";
    client.batch_execute(switch).await.unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    let why = worker.readiness(503).await;
    assert!(
        why["checks"]["postgres"]["detail"]
            .as_str()
            .unwrap()
            .contains("read-only"),
        "{why}"
    );
    let entries = votes("v", 50);
    redis.push(&entries).await;
    // Several attempts pass (the pause between two is at most 250 ms), and
    // every one finds the same.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(redis.list("votes").await, entries);
    assert_eq!(redis.keys().await, ["votes"]);
    client
        .batch_execute("SET default_transaction_read_only = off")
        .await
        .unwrap();
    client
        .batch_execute("ALTER SYSTEM RESET default_transaction_read_only")
        .await
        .unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    postgres
        .rows_when("all are written now", |rows| rows.len() == 50)
        .await;
    worker.readiness(200).await;
}

#[tokio::test]
async fn a_worker_at_a_standby_waits_until_it_is_promoted() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    create_table(&postgres.client().await).await;
    let standby = postgres.standby().await;
    let environment = [redis.environment(), standby.environment()];
    let worker = Voting::start("worker", &environment).await;
    let why = eventually("the worker sees the standby", async || {
        let why = worker.readiness(503).await;
        let detail = why["checks"]["postgres"]["detail"].as_str()?.to_owned();
        detail.contains("read-only").then_some(())
    });
    why.await;
    redis.push(&votes("v", 5)).await;
    assert_eq!(redis.keys().await, ["votes"]);
    let client = standby.client().await;
    client.batch_execute("SELECT pg_promote()").await.unwrap();
    standby
        .rows_when("all are written there", |rows| rows.len() == 5)
        .await;
    emptied(&redis).await;
}

#[tokio::test]
async fn a_commit_that_did_not_reach_the_standby_is_not_acknowledged() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let client = postgres.client().await;
    create_table(&client).await;
    let environment = [redis.environment(), postgres.environment()];
    let worker = Voting::start_ready("worker", &environment).await;
    client
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await
        .unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    eventually("the setting is in force", async || {
        let row = client
            .query_one("SHOW synchronous_standby_names", &[])
            .await
            .unwrap();
        (row.get::<_, String>(0) == "nobody").then_some(())
    })
    .await;
    redis.push(&votes("v", 3)).await;
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
        WHERE wait_event = 'SyncRep' AND application_name = 'voting-worker'";
    eventually(
        "a commit waits for the standby, and somebody cancels the wait",
        async || client.query_opt(cancel, &[]).await.unwrap(),
    )
    .await;
    let why = worker.readiness(503).await;
    assert!(
        why["checks"]["postgres"]["detail"]
            .as_str()
            .unwrap()
            .contains("warned"),
        "{why}"
    );
    let held = redis
        .keys()
        .await
        .iter()
        .any(|key| key.starts_with("votes"));
    assert!(
        held,
        "the votes are still in the queue or a processing list"
    );
    client
        .batch_execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await
        .unwrap();
    client
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    emptied(&redis).await;
    assert_eq!(rows(&client).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_vote_delivered_twice_counts_once() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let environment = [redis.environment(), postgres.environment()];
    let _worker = Voting::start_ready("worker", &environment).await;
    let entries = [votes("v", 10), votes("v", 10)].concat();
    redis.push(&entries).await;
    emptied(&redis).await;
    redis.push(&entries).await;
    emptied(&redis).await;
    assert_eq!(rows(&postgres.client().await).await.unwrap().len(), 10);
}

#[tokio::test]
async fn entries_that_are_no_votes_are_put_aside_and_block_nobody() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let client = postgres.client().await;
    create_table(&client).await;
    // A rule of the database that the worker cannot know.
    client
        .batch_execute("ALTER TABLE votes ADD CHECK (vote <> 'forbidden')")
        .await
        .unwrap();
    let environment = [redis.environment(), postgres.environment()];
    let worker = Voting::start_ready("worker", &environment).await;
    let junk = [
        "nonsense".to_owned(),
        r#"{"vote":"a"}"#.to_owned(),
        entry("", "a"),
    ];
    let refused = entry("v-bad", "forbidden");
    let entries = [
        votes("v", 20),
        junk.to_vec(),
        vec![refused.clone()],
        votes("w", 20),
    ]
    .concat();
    redis.push(&entries).await;
    postgres
        .rows_when("all real votes", |rows| rows.len() == 40)
        .await;
    emptied(&redis).await;
    let mut aside = redis.list("votes:rejected").await;
    let mut wanted = [junk.to_vec(), vec![refused]].concat();
    aside.sort();
    wanted.sort();
    assert_eq!(aside, wanted);
    worker.readiness(200).await;
}

#[tokio::test]
async fn thousands_of_votes_are_written_in_batches() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    redis.push(&votes("v", 20_000)).await;
    let environment = [redis.environment(), postgres.environment()];
    let started = std::time::Instant::now();
    let _worker = Voting::start("worker", &environment).await;
    postgres
        .rows_when("all are there", |rows| rows.len() == 20_000)
        .await;
    println!("20000 votes in {:?}", started.elapsed());
    emptied(&redis).await;
}

#[tokio::test]
async fn sigterm_finishes_the_batch_and_leaves_no_list_behind() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let batch = vec![("WORKER_BATCH".into(), "10".into())];
    let environment = [redis.environment(), postgres.environment(), batch];
    let worker = Voting::start_ready("worker", &environment).await;
    redis.push(&votes("v", 5_000)).await;
    postgres
        .rows_when("it is in the middle", |rows| !rows.is_empty())
        .await;
    assert!(worker.terminate().await.success());
    let written = rows(&postgres.client().await).await.unwrap().len();
    assert_eq!(written + redis.list("votes").await.len(), 5_000);
    assert!(
        redis.keys().await.iter().all(|key| key == "votes"),
        "{:?}",
        redis.keys().await
    );
}

/// An authority with a certificate for `db.internal`, as PEM files.
fn certificates(dir: &std::path::Path) -> String {
    use std::os::unix::fs::PermissionsExt;
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["db.internal".to_owned()]).unwrap();
    let certificate = server.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("server.crt"), certificate.pem()).unwrap();
    std::fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(dir.join("server.key"), mode).unwrap();
    authority_certificate.pem()
}

#[tokio::test]
async fn the_database_is_verified_over_tls_and_an_impostor_is_refused() {
    let files = TempDir::new().unwrap();
    let (right, wrong) = (
        files.path().join("right.pem"),
        files.path().join("wrong.pem"),
    );
    let password = files.path().join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let postgres = Postgres::start_with(|dir| {
        std::fs::write(&right, certificates(dir)).unwrap();
        [
            "ssl=on",
            "ssl_cert_file=../server.crt",
            "ssl_key_file=../server.key",
        ]
        .map(str::to_owned)
        .to_vec()
    })
    .await;
    std::fs::write(&wrong, certificates(files.path())).unwrap();
    let redis = Redis::start().await;
    let tls = |mode: &str, name: &str, root: &std::path::Path| -> Vec<Environment> {
        let settings = [
            ("PGSSLMODE", mode),
            ("PGHOST", name),
            ("PGHOSTADDR", "127.0.0.1"),
            ("PGPORT", &postgres.port.to_string()),
            ("PGSSLROOTCERT", root.to_str().unwrap()),
            ("PGPASSWORD_FILE", password.to_str().unwrap()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        vec![redis.environment(), settings.to_vec()]
    };
    let _verified = Voting::start_ready("worker", &tls("verify-full", "db.internal", &right)).await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE ssl AND application_name = 'voting-worker'";
    let row = postgres
        .client()
        .await
        .query_one(encrypted, &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
    let _unverified =
        Voting::start_ready("worker", &tls("require", "other.internal", &wrong)).await;
    for (name, root) in [("db.internal", &wrong), ("other.internal", &right)] {
        let refused = Voting::start("worker", &tls("verify-full", name, root)).await;
        let why = eventually("the certificate is refused", async || {
            let answer: serde_json::Value = refused.get("/readyz").await.json().await.ok()?;
            let detail = answer["checks"]["postgres"]["detail"].as_str()?.to_owned();
            detail.contains("certificate").then_some(detail)
        });
        assert!(!why.await.contains(PASSWORD));
        assert!(!refused.log().contains(PASSWORD));
    }
}
