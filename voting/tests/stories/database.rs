//! The worker and what a database may do: be read-only, be a standby, commit
//! without its standby, be somebody else.

use std::time::Duration;

use tempfile::TempDir;

use crate::support::eventually;
use crate::support::postgres::{PASSWORD, Postgres, create_table, rows};
use crate::support::redis::{Redis, emptied, votes};
use crate::support::voting::Voting;

type Environment = Vec<(String, String)>;

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
async fn one_worker_at_a_time_is_between_taking_and_committing() {
    let (postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let environment = [redis.environment(), postgres.environment()];
    let (_one, _two) = tokio::join!(
        Voting::start_ready("worker", &environment),
        Voting::start_ready("worker", &environment)
    );
    // The story is the one that holds the lock ("votes" in ASCII).
    let client = postgres.client().await;
    let lock = "SELECT pg_advisory_lock(x'766f746573'::bigint)";
    client.batch_execute(lock).await.unwrap();
    let entries = votes("v", 5);
    redis.push(&entries).await;
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("both workers wait for the lock", async || {
        let row = client.query_one(waiting, &[]).await.unwrap();
        (row.get::<_, i64>(0) == 2).then_some(())
    })
    .await;
    assert_eq!(
        redis.list("votes").await,
        entries,
        "nothing is taken before"
    );
    assert_eq!(redis.keys().await, ["votes"]);
    let unlock = "SELECT pg_advisory_unlock(x'766f746573'::bigint)";
    client.batch_execute(unlock).await.unwrap();
    postgres
        .rows_when("all are written", |rows| rows.len() == 5)
        .await;
    emptied(&redis).await;
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
