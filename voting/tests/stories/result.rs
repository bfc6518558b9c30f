//! Showing totals.

use serde_json::Value;

use crate::support::postgres::Postgres;
use crate::support::voting::Voting;
use crate::support::{LIMIT, eventually, http};

/// The events of one connection.
struct Events {
    answer: reqwest::Response,
    buffer: String,
}

impl Events {
    async fn open(result: &Voting) -> Self {
        let request = http().get(format!("{}/events", result.url));
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self {
            answer,
            buffer: String::new(),
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let data = event
                    .lines()
                    .find_map(|line| line.strip_prefix("data: "))
                    .unwrap();
                let value = serde_json::from_str(data).unwrap();
                self.buffer = rest.to_owned();
                return value;
            }
            let chunk = tokio::time::timeout(LIMIT, self.answer.chunk());
            let chunk = chunk
                .await
                .expect("an event in time")
                .unwrap()
                .expect("the stream goes on");
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                let event = self.next().await;
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(LIMIT, search)
            .await
            .expect("such an event in time")
    }
}

fn quick() -> Vec<(String, String)> {
    [("RESULT_POLL_MS", "50"), ("RESULT_STALE_MS", "1000")]
        .map(|(n, v)| (n.into(), v.into()))
        .to_vec()
}

#[tokio::test]
async fn totals_are_pushed_as_they_change_from_one_reader_for_all_browsers() {
    let postgres = Postgres::start().await;
    let result = Voting::start_ready("result", &[postgres.environment(), quick()]).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(Events::open(&result).await);
    }
    let empty = all[0].until(|event| event["total"] == 0).await;
    assert_eq!(
        (&empty["a"], &empty["stale"], &empty["site"]),
        (&0.into(), &false.into(), &"site1".into())
    );
    let client = postgres.client().await;
    client
        .batch_execute("CREATE TABLE votes (id text PRIMARY KEY, vote text NOT NULL)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO votes VALUES ('1','a'), ('2','b'), ('3','a')")
        .await
        .unwrap();
    for events in &mut all {
        let event = events.until(|event| event["total"] == 3).await;
        assert_eq!((&event["a"], &event["b"]), (&2.into(), &1.into()));
    }
    let page = http().get(&result.url).send().await.unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains(r#""total":3"#), "the page begins with totals");
    let readers = client
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'voting-result'",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(readers.get::<_, i64>(0), 1);
    let answer: Value = result.get("/api/totals").await.json().await.unwrap();
    assert_eq!(answer["total"], 3);
    assert!(answer["age_ms"].as_u64().unwrap() < 1_000);
    assert!(answer["database"].as_str().unwrap().ends_with("(primary)"));
}

#[tokio::test]
async fn totals_grow_old_visibly_without_a_database_and_come_back_by_themselves() {
    let mut postgres = Postgres::start().await;
    let result = Voting::start_ready("result", &[postgres.environment(), quick()]).await;
    let mut events = Events::open(&result).await;
    events.until(|event| event["stale"] == false).await;
    postgres.crash();
    let stale = events.until(|event| event["stale"] == true).await;
    assert!(stale["age_ms"].as_u64().unwrap() >= 1_000);
    assert!(!stale["error"].as_str().unwrap().is_empty());
    assert_eq!(stale["total"], 0, "the last known totals are kept");
    let why = result.readiness(503).await;
    assert!(
        why["checks"]["postgres"]["detail"]
            .as_str()
            .unwrap()
            .contains("last read"),
        "{why}"
    );
    postgres.up().await;
    events
        .until(|event| event["stale"] == false && event["error"].is_null())
        .await;
    result.readiness(200).await;
}

#[tokio::test]
async fn without_any_database_nothing_is_made_up() {
    let nowhere = [("PGHOST", "127.0.0.1"), ("PGPORT", "1")].map(|(n, v)| (n.into(), v.into()));
    let result = Voting::start("result", &[nowhere.to_vec(), quick()]).await;
    let answer = eventually("the reason is known", async || {
        let answer: Value = result.get("/api/totals").await.json().await.ok()?;
        (!answer["error"].is_null()).then_some(answer)
    })
    .await;
    assert!(answer["total"].is_null() && answer["age_ms"].is_null());
    assert_eq!(result.get("/api/totals").await.status(), 503);
    result.readiness(503).await;
    let mut events = Events::open(&result).await;
    assert_eq!(events.next().await["stale"], true);
    assert!(
        result.terminate().await.success(),
        "open event streams do not keep it"
    );
}

#[tokio::test]
async fn a_standby_serves_the_totals_and_says_so() {
    let postgres = Postgres::start().await;
    let standby = postgres.standby().await;
    let result = Voting::start_ready("result", &[standby.environment(), quick()]).await;
    let mut events = Events::open(&result).await;
    let client = postgres.client().await;
    client
        .batch_execute("CREATE TABLE votes (id text PRIMARY KEY, vote text NOT NULL)")
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO votes VALUES ('1', 'b')")
        .await
        .unwrap();
    let event = events.until(|event| event["total"] == 1).await;
    assert!(
        event["database"].as_str().unwrap().ends_with("(standby)"),
        "{event}"
    );
}
