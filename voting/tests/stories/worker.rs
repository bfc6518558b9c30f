//! Moving votes from the queue into the database.

use crate::support::eventually;
use crate::support::postgres::{Postgres, create_table, rows};
use crate::support::redis::{Redis, emptied, entry, environment, votes};
use crate::support::relay::Relay;
use crate::support::voting::Voting;

type Environment = Vec<(String, String)>;

fn named(id: &str) -> Environment {
    vec![("WORKER_ID".into(), id.into())]
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
