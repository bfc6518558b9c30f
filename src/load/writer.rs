//! A client of the database: small numbered commits, one after the other, to
//! measure how long nothing can be written and whether any is lost.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{
    account::{Answer, Sent},
    send::microseconds,
};

/// Opens sessions to the writable database, as an application does.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// A new session.
    ///
    /// # Errors
    /// Why there is none; nothing was written.
    async fn open(&self) -> Result<Box<dyn Session>, String>;
}

/// A session of the database.
#[async_trait]
pub trait Session: Send {
    /// Makes the table that the commits go to, where it is missing.
    ///
    /// # Errors
    /// Why it could not be made.
    async fn prepare(&mut self) -> Result<(), String>;

    /// Commits that number; after anything but an acceptance the session is
    /// given up.
    async fn commit(&mut self, run: &str, n: u64) -> Answer;

    /// The numbers that are there.
    ///
    /// # Errors
    /// Why they could not be read.
    async fn numbers(&mut self, run: &str) -> Result<BTreeSet<u64>, String>;

    /// Removes them.
    ///
    /// # Errors
    /// Why they could not be removed.
    async fn forget(&mut self, run: &str) -> Result<(), String>;
}

/// What to write.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Marks the rows of this run.
    pub run: String,
    /// Time from one commit to the next while all is well.
    pub every: Duration,
    /// How long an attempt may take, a new connection included.
    pub attempt: Duration,
    /// At most so many; none: until `duration` or the stop.
    pub commits: Option<u64>,
    pub duration: Option<Duration>,
}

/// Commits until all are out, the time is up or `stop` is called, and hands
/// each attempt that has ended to `ended`. A failed number is not tried again.
pub async fn write(
    settings: &Settings,
    sessions: &dyn Sessions,
    stop: &CancellationToken,
    mut ended: impl FnMut(&Sent),
) -> Vec<Sent> {
    let start = Instant::now();
    let mut ticks = interval(settings.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut session = None;
    let mut all = Vec::new();
    for n in 0..settings.commits.unwrap_or(u64::MAX) {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let begin = Instant::now();
        if settings
            .duration
            .is_some_and(|limit| begin - start >= limit)
        {
            break;
        }
        let deadline = begin + settings.attempt;
        let answer = attempt(settings, sessions, &mut session, n, deadline).await;
        let sent = Sent {
            n,
            at_us: microseconds(begin - start),
            took_us: microseconds(begin.elapsed()),
            attempts: 1,
            answer,
        };
        ended(&sent);
        all.push(sent);
    }
    all
}

async fn attempt(
    settings: &Settings,
    sessions: &dyn Sessions,
    kept: &mut Option<Box<dyn Session>>,
    n: u64,
    deadline: Instant,
) -> Answer {
    let refused = |why: String| Answer::Refused { why };
    let mut session = match kept.take() {
        Some(session) => session,
        None => match timeout_at(deadline, sessions.open()).await {
            Ok(Ok(session)) => session,
            Ok(Err(why)) => return refused(why),
            Err(_) => return refused("no connection in time".into()),
        },
    };
    match timeout_at(deadline, session.commit(&settings.run, n)).await {
        Ok(Answer::Accepted) => {
            *kept = Some(session);
            Answer::Accepted
        }
        Ok(answer) => answer,
        Err(_) => Answer::Unknown {
            why: "no answer in time".into(),
        },
    }
}
