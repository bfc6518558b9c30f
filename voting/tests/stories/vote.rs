//! Taking votes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::port::free_port;
use crate::support::http;
use crate::support::redis::{Redis, entry, environment};
use crate::support::voting::Voting;

fn set(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.into(), value.into())]
}

#[tokio::test]
async fn a_vote_is_in_the_queue_in_the_public_form_when_it_is_answered() {
    let redis = Redis::start().await;
    let vote = Voting::start_ready("vote", &[redis.environment()]).await;
    let (code, answer) = vote.vote("voter-1", "a").await;
    assert_eq!((code, &answer["accepted"]), (200, &true.into()));
    assert_eq!(answer["voter_id"], "voter-1");
    assert_eq!(
        (&answer["site"], &answer["host"]),
        (&"site1".into(), &"vote".into())
    );
    let queue = redis.list("votes").await;
    let found: serde_json::Value = serde_json::from_str(&queue[0]).unwrap();
    assert_eq!(queue.len(), 1);
    assert_eq!(
        found,
        serde_json::json!({ "voter_id": "voter-1", "vote": "a" })
    );
}

#[tokio::test]
async fn the_page_works_without_scripts_and_remembers_the_choice() {
    let redis = Redis::start().await;
    let vote = Voting::start_ready(
        "vote",
        &[redis.environment(), set("OPTION_B", "Gödel & Söhne")],
    )
    .await;
    let page = vote.get("/").await;
    let cookie = page.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("voter_id=") && cookie.contains("HttpOnly"));
    assert!(page.text().await.unwrap().contains("Gödel &amp; Söhne"));
    let voter = cookie.split(';').next().unwrap().to_owned();
    let sent = http()
        .post(&vote.url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("cookie", &voter)
        .body("vote=b")
        .send()
        .await
        .unwrap();
    let cookies: Vec<_> = sent
        .headers()
        .get_all("set-cookie")
        .iter()
        .cloned()
        .collect();
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.to_str().unwrap().starts_with(&voter))
    );
    assert!(
        cookies
            .iter()
            .any(|cookie| cookie.to_str().unwrap().starts_with("vote=b;"))
    );
    assert!(sent.text().await.unwrap().contains("Your vote is in."));
    let id = voter.strip_prefix("voter_id=").unwrap();
    assert_eq!(redis.list("votes").await, [entry(id, "b")]);
}

#[tokio::test]
async fn what_is_no_vote_is_refused_and_not_queued() {
    let redis = Redis::start().await;
    let vote = Voting::start_ready("vote", &[redis.environment()]).await;
    for wrong in ["c", "", "ab", "%00"] {
        let (code, answer) = vote.vote("voter-1", wrong).await;
        assert_eq!(
            (code, &answer["reason"]),
            (400, &"invalid-vote".into()),
            "{wrong:?}"
        );
    }
    assert!(redis.list("votes").await.is_empty());
}

#[tokio::test]
async fn replicated_durability_refuses_without_a_replica_and_accepts_with_one() {
    let redis = Redis::start().await;
    let settings = [
        set("VOTE_DURABILITY", "replicated"),
        set("VOTE_WAIT_MS", "300"),
    ];
    let environment = [vec![redis.environment()], settings.to_vec()].concat();
    let vote = Voting::start("vote", &environment).await;
    let why = vote.readiness(503).await;
    assert!(
        why["checks"]["redis"]["detail"]
            .as_str()
            .unwrap()
            .contains("0 replicas"),
        "{why}"
    );
    let (code, answer) = vote.vote("voter-1", "a").await;
    assert_eq!((code, &answer["reason"]), (503, &"not-confirmed".into()));
    assert!(
        answer["hint"]
            .as_str()
            .unwrap()
            .contains("may still arrive")
    );
    let replica = redis.replica().await;
    vote.readiness(200).await;
    let (code, answer) = vote.vote("voter-2", "a").await;
    assert_eq!((code, &answer["durability"]), (200, &"replicated".into()));
    assert!(replica.list("votes").await.contains(&entry("voter-2", "a")));
}

#[tokio::test]
async fn a_queue_that_is_away_is_told_in_time_and_used_as_soon_as_it_is_back() {
    let port = free_port();
    let limit = set("VOTE_TIMEOUT_MS", "600");
    let vote = Voting::start("vote", &[environment(port), limit]).await;
    let why = vote.readiness(503).await;
    assert_eq!(why["ready"], false);
    let asked = Instant::now();
    let (code, answer) = vote.vote("voter-1", "a").await;
    assert_eq!(
        (code, &answer["reason"]),
        (503, &"queue-unreachable".into())
    );
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "bounded: {:?}",
        asked.elapsed()
    );
    let redis = Redis::start_with(port, &[]).await;
    assert_eq!(vote.vote("voter-2", "b").await.0, 200);
    assert_eq!(redis.list("votes").await, [entry("voter-2", "b")]);
}

#[tokio::test]
async fn a_replica_never_takes_a_vote() {
    let redis = Redis::start().await;
    let replica = redis.replica().await;
    let limit = set("VOTE_TIMEOUT_MS", "600");
    let vote = Voting::start("vote", &[replica.environment(), limit]).await;
    let why = vote.readiness(503).await;
    assert!(
        why["checks"]["redis"]["detail"]
            .as_str()
            .unwrap()
            .contains("role slave"),
        "{why}"
    );
    let (code, answer) = vote.vote("voter-1", "a").await;
    assert_eq!(
        (code, &answer["reason"]),
        (503, &"queue-unreachable".into())
    );
}

#[tokio::test]
async fn a_vote_during_a_change_of_roles_is_accepted_without_an_error() {
    let redis = Redis::start().await;
    let vote = Voting::start_ready("vote", &[redis.environment()]).await;
    assert_eq!(vote.vote("voter-1", "a").await.0, 200);
    let mut connection = redis.connection().await;
    let mut become_replica = redis::cmd("REPLICAOF");
    become_replica.arg("127.0.0.1").arg(free_port());
    become_replica.exec_async(&mut connection).await.unwrap();
    let promote = async {
        vote.readiness(503).await;
        let mut command = redis::cmd("REPLICAOF");
        command
            .arg("NO")
            .arg("ONE")
            .exec_async(&mut connection)
            .await
            .unwrap();
    };
    let ((code, answer), ()) = tokio::join!(vote.vote("voter-2", "b"), promote);
    assert_eq!(code, 200, "{answer}");
    assert_eq!(
        redis.list("votes").await,
        [entry("voter-1", "a"), entry("voter-2", "b")]
    );
}

#[tokio::test]
async fn a_vote_that_was_taken_before_a_change_of_roles_is_not_called_refused() {
    let redis = Redis::start().await;
    let settings = [
        set("VOTE_DURABILITY", "replicated"),
        set("VOTE_WAIT_MS", "2000"),
        set("VOTE_TIMEOUT_MS", "3000"),
    ];
    let environment = [vec![redis.environment()], settings.to_vec()].concat();
    let vote = Voting::start("vote", &environment).await;
    // It is in the queue, and waits for a replica that never confirms.
    let change_roles = async {
        while redis.list("votes").await.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut become_replica = redis::cmd("REPLICAOF");
        become_replica.arg("127.0.0.1").arg(free_port());
        let mut connection = redis.connection().await;
        become_replica.exec_async(&mut connection).await.unwrap();
    };
    let ((code, answer), ()) = tokio::join!(vote.vote("voter-1", "a"), change_roles);
    assert_eq!((code, &answer["reason"]), (503, &"not-confirmed".into()));
}

#[tokio::test]
async fn a_hundred_and_fifty_voters_at_once_are_all_in_the_queue() {
    let redis = Redis::start().await;
    let _replica = redis.replica().await;
    let durability = set("VOTE_DURABILITY", "replicated");
    let vote = Voting::start_ready("vote", &[redis.environment(), durability]).await;
    let voters = (0..150).map(|client| {
        let vote = &vote;
        async move {
            for round in 0..4 {
                let (code, answer) = vote.vote(&format!("voter-{client}-{round}"), "a").await;
                assert_eq!(code, 200, "{answer}");
            }
        }
    });
    join_all(voters).await;
    let queue: BTreeSet<_> = redis.list("votes").await.into_iter().collect();
    assert_eq!(queue.len(), 600);
}

#[tokio::test]
async fn sigterm_ends_it_cleanly_and_the_image_can_check_itself() {
    let redis = Redis::start().await;
    let vote = Voting::start_ready("vote", &[redis.environment()]).await;
    let check = |path: &str| {
        let url = format!("{}{path}", vote.url);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_voting"));
        command
            .args(["healthcheck", &url])
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(check("/healthz") && check("/readyz"));
    drop(redis);
    assert!(check("/healthz") && !check("/readyz"));
    assert!(vote.terminate().await.success());
}
