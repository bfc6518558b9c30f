//! `voting worker`: moves votes from the queue into the database.
//!
//! One cycle: wait until there is something to do; open a transaction and take
//! the lock that only one worker has at a time; put back what an interrupted
//! cycle left in a processing list (it is older than the queue); take a batch
//! into a processing list of its own; upsert it; COMMIT; remove the list.
//!
//! A crash or a lost connection at any point leaves the votes in the queue or
//! in a registered processing list, and the next cycle of any worker has them.
//! Votes are applied in the order of their arrival, by one worker or by many.

mod entry;
mod intake;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::Response;
use axum::{Router, routing::get};
use redis::RedisError;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::entry::Batch;
use self::intake::Intake;
use self::store::Store;
use crate::args::WorkerArgs;
use crate::backoff::Backoff;
use crate::database::{Database, DatabaseError};
use crate::queue::Queue;
use crate::web::{self, Check, Identity};

/// What the loop last found, for `/readyz`.
type Checks = Arc<Mutex<BTreeMap<&'static str, Check>>>;

/// Works until SIGTERM; a cycle that runs then is finished.
///
/// # Errors
/// When the configuration cannot be used or the health port cannot be bound.
pub async fn run(args: WorkerArgs) -> anyhow::Result<()> {
    let who = Identity::new(&args.web);
    let id = args.id.clone().unwrap_or_else(|| who.host.clone());
    let queue = Queue::new(&args.redis)?;
    let database = Database::new(&args.postgres, "voting-worker")?;
    let not_yet = || Check::failed("not connected yet");
    let checks: Checks = Arc::new(Mutex::new(BTreeMap::from([
        ("postgres", not_yet()),
        ("redis", not_yet()),
    ])));
    let routes = Router::new()
        .route("/healthz", get(web::alive))
        .route("/readyz", get(ready))
        .with_state((who, checks.clone()));
    let stop = web::on_signal()?;
    let limit = args.web.shutdown_timeout;
    let serving = web::serve(args.web.address(8080), routes, stop.clone(), limit);
    let worker = Worker {
        queue,
        database,
        id,
        most: usize::from(args.batch),
        checks,
    };
    let working = async {
        worker.work(&stop).await;
        Ok(())
    };
    let finished = async { tokio::try_join!(serving, working) };
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        result = finished => result.map(|_| ()),
        () = overdue => {
            warn!("the last batch did not finish in time; it stays in its list");
            Ok(())
        }
    }
}

async fn ready(State((who, checks)): State<(Identity, Checks)>) -> Response {
    let found = checks
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    web::readiness(&who, found)
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    #[error("postgres: {0}")]
    Postgres(#[from] DatabaseError),
}

struct Worker {
    queue: Queue,
    database: Database,
    id: String,
    most: usize,
    checks: Checks,
}

impl Worker {
    /// Connects to both sides and runs cycles, again and again.
    async fn work(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new();
        let mut complaints = Complaints::default();
        while !stop.is_cancelled() {
            let session = self.session(stop, &mut backoff).await;
            let Err(lost) = session else { return };
            self.note(&lost);
            complaints.log(&lost);
            tokio::select! {
                () = backoff.pause() => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// One pair of connections, until one of them fails. `stop` interrupts
    /// the wait for votes, never a cycle.
    async fn session(&self, stop: &CancellationToken, backoff: &mut Backoff) -> Result<(), Lost> {
        let mut store = Store::connect(&self.database).await?;
        let mut intake = Intake::connect(&self.queue, &self.id).await?;
        info!(
            redis = self.queue.name(),
            postgres = self.database.name(),
            "connected"
        );
        *backoff = Backoff::new();
        let mut most = self.most;
        self.set(
            "postgres",
            Check::ok(format!("{} is writable", self.database.name())),
        );
        self.set("redis", Check::ok(format!("{} answers", self.queue.name())));
        loop {
            let pending = tokio::select! {
                pending = intake.wait() => pending?,
                () = stop.cancelled() => return Ok(()),
            };
            if pending {
                most = cycle(&mut store, &mut intake, most).await?.min(self.most);
            } else {
                store.check_writable().await?;
            }
        }
    }

    fn note(&self, lost: &Lost) {
        match lost {
            Lost::Redis(error) => {
                self.set(
                    "redis",
                    Check::failed(format!("{}: {error}", self.queue.name())),
                );
            }
            Lost::Postgres(error) => {
                self.set(
                    "postgres",
                    Check::failed(format!("{}: {error}", self.database.name())),
                );
            }
        }
    }

    fn set(&self, name: &'static str, check: Check) {
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, check);
    }
}

/// One batch from the queue into the database; returns how many votes the
/// next one may hold.
async fn cycle(store: &mut Store, intake: &mut Intake, most: usize) -> Result<usize, Lost> {
    store.begin().await?;
    intake.recover().await?;
    let taken = intake.take(most).await?;
    let batch = Batch::read(&taken.entries);
    for rejected in &batch.rejected {
        warn!(entry = %String::from_utf8_lossy(rejected), "not a vote: moved to votes:rejected");
    }
    match store.write(&batch).await {
        Ok(()) => {}
        // The server refuses a value: find it by halves, and put it aside.
        Err(error) if is_about_data(&error) && taken.entries.len() > 1 => {
            store.rollback().await?;
            return Ok(taken.entries.len() / 2);
        }
        Err(error) if is_about_data(&error) => {
            warn!(%error, "the database refuses this vote: moved to votes:rejected");
            store.rollback().await?;
            intake.finish(&taken, &taken.entries).await?;
            return Ok(usize::MAX);
        }
        Err(error) => return Err(error.into()),
    }
    store.commit().await?;
    intake.finish(&taken, &batch.rejected).await?;
    debug!(votes = taken.entries.len(), "written");
    Ok(most.saturating_mul(2))
}

/// SQLSTATE classes 22 (data exception) and 23 (integrity constraint).
fn is_about_data(error: &DatabaseError) -> bool {
    let state = error.sqlstate().unwrap_or_default();
    state.starts_with("22") || state.starts_with("23")
}

/// Keeps a long outage from filling the log: one line when the reason changes,
/// and one every ten seconds.
#[derive(Default)]
struct Complaints(Option<(String, Instant)>);

impl Complaints {
    fn log(&mut self, lost: &Lost) {
        const AGAIN: Duration = Duration::from_secs(10);
        let text = lost.to_string();
        let known = self
            .0
            .as_ref()
            .is_some_and(|(last, at)| *last == text && at.elapsed() < AGAIN);
        if !known {
            warn!("connection lost, trying again: {text}");
            self.0 = Some((text, Instant::now()));
        }
    }
}
