//! Sends votes from many browsers at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    account::{Answer, Sent},
    browser::Browser,
    target::Target,
};
use crate::adapters::resolver::Resolver;

/// After a failure a person tries again no faster than this; without it, a
/// refusing server would use up all votes within a moment.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What to send.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Marks the voters of this run.
    pub run: String,
    pub target: Target,
    /// At most so many; none: until `duration` or the stop.
    pub votes: Option<u64>,
    /// Begin no vote later than that.
    pub duration: Option<Duration>,
    /// Browsers at once.
    pub concurrency: usize,
    /// Votes per second over all browsers; none: as fast as answers come.
    pub rate: Option<f64>,
    /// How long a vote may take.
    pub timeout: Duration,
    /// Further attempts for a vote that was not accepted.
    pub retries: u32,
}

/// The voter id of the vote `n` of a run.
#[must_use]
pub fn voter(run: &str, n: u64) -> String {
    format!("load-{run}-{n}")
}

/// The number in a voter id, if it is one of this run.
#[must_use]
pub fn number(run: &str, voter: &str) -> Option<u64> {
    let rest = voter.strip_prefix("load-")?.strip_prefix(run)?;
    rest.strip_prefix('-')?.parse().ok()
}

/// Sends until all votes are out, the time is up or `stop` is called, and
/// hands each vote that has ended to `ended`.
pub async fn send(
    settings: Settings,
    resolver: Arc<Resolver>,
    stop: CancellationToken,
    mut ended: impl FnMut(&Sent),
) -> Vec<Sent> {
    let concurrency = settings.concurrency.max(1);
    let shared = Arc::new(Shared {
        target: Arc::new(settings.target.clone()),
        resolver,
        start: Instant::now(),
        next: AtomicU64::new(0),
        stop,
        settings,
    });
    let (sender, mut receiver) = mpsc::channel(concurrency * 4);
    let mut browsers = JoinSet::new();
    for _ in 0..concurrency {
        browsers.spawn(browse(Arc::clone(&shared), sender.clone()));
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(sent) = receiver.recv().await {
        ended(&sent);
        all.push(sent);
    }
    browsers.join_all().await;
    all
}

struct Shared {
    settings: Settings,
    target: Arc<Target>,
    resolver: Arc<Resolver>,
    start: Instant,
    next: AtomicU64,
    stop: CancellationToken,
}

impl Shared {
    /// Waits for the turn of the next vote; none when no more is to be sent.
    async fn turn(&self) -> Option<u64> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        if self.settings.votes.is_some_and(|votes| n >= votes) {
            return None;
        }
        let due = self.due(n);
        if self
            .settings
            .duration
            .is_some_and(|limit| due.max(self.start.elapsed()) >= limit)
        {
            return None;
        }
        self.wait(self.start + due).await.then_some(n)
    }

    /// When vote `n` is due after the start.
    fn due(&self, n: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "numbers of votes are small")]
        self.settings.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(n as f64 / rate)
        })
    }

    /// Waits until then; false when stopped.
    async fn wait(&self, until: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = sleep_until(until) => true,
        }
    }
}

async fn browse(shared: Arc<Shared>, ended: mpsc::Sender<Sent>) {
    let settings = &shared.settings;
    let mut browser = Browser::new(
        Arc::clone(&shared.target),
        Arc::clone(&shared.resolver),
        settings.timeout,
    );
    while let Some(n) = shared.turn().await {
        let sent = vote(&shared, &mut browser, n).await;
        let accepted = sent.answer == Answer::Accepted;
        if ended.send(sent).await.is_err() {
            return;
        }
        if !accepted && !shared.wait(Instant::now() + AFTER_FAILURE).await {
            return;
        }
    }
}

/// One vote with its further attempts, which use the same voter id.
async fn vote(shared: &Shared, browser: &mut Browser, n: u64) -> Sent {
    let start = Instant::now();
    let voter = voter(&shared.settings.run, n);
    let option = if n.is_multiple_of(2) { 'a' } else { 'b' };
    let mut answer = browser.vote(&voter, option).await;
    let mut attempts = 1;
    while answer != Answer::Accepted && attempts <= shared.settings.retries {
        if !shared.wait(Instant::now() + AFTER_FAILURE).await {
            break;
        }
        answer = answer.and_then(browser.vote(&voter, option).await);
        attempts += 1;
    }
    Sent {
        n,
        at_us: microseconds(start - shared.start),
        took_us: microseconds(start.elapsed()),
        attempts,
        answer,
    }
}

pub(super) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_recognised_by_their_run() {
        assert_eq!(number("1a2b", &voter("1a2b", 17)), Some(17));
        for other in [
            "load-1a2c-17",
            "load-1a2b-",
            "load-1a2b-x",
            "1a2b-17",
            "load-1a2b1-7",
        ] {
            assert_eq!(number("1a2b", other), None, "{other}");
        }
    }
}
