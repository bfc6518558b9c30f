//! A client that writes all the time, to measure what clients see.

use std::{sync::Mutex, time::Duration};

use crate::{ids::SiteName, journal::WritesSeen, ports::World};

const EVERY: Duration = Duration::from_millis(10);
/// A connection that a load balancer gave to a dying server is left soon.
const PATIENCE: Duration = Duration::from_millis(500);

/// The account of a writing client.
pub(super) struct Outage {
    seen: Mutex<Account>,
}

struct Account {
    seen: WritesSeen,
    /// Last acknowledged write, or the beginning.
    last: Duration,
    longest: Duration,
}

impl Outage {
    pub fn new(now: Duration) -> Self {
        let account = Account {
            seen: WritesSeen::default(),
            last: now,
            longest: Duration::ZERO,
        };
        Self {
            seen: Mutex::new(account),
        }
    }

    /// Writes through the load balancer of the site until dropped.
    pub async fn watch(&self, world: &World, site: &SiteName) {
        loop {
            let answer = world.end_to_end.write(site, PATIENCE).await;
            let now = world.clock.now();
            self.note(answer.is_ok(), now);
            world.clock.sleep(EVERY).await;
        }
    }

    /// Notes how a write through the load balancer ended.
    pub fn note(&self, acknowledged: bool, now: Duration) {
        let mut account = self.lock();
        if !acknowledged {
            account.seen.failed += 1;
            return;
        }
        account.seen.acknowledged += 1;
        let gap = now.saturating_sub(account.last);
        account.longest = account.longest.max(gap);
        account.last = now;
    }

    /// The account so far. A client that never got an answer has no gap to
    /// tell: it may be that it could not write at all.
    pub fn account(&self, now: Duration) -> WritesSeen {
        let account = self.lock();
        let mut seen = account.seen.clone();
        let longest = account.longest.max(now.saturating_sub(account.last));
        let milliseconds = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        seen.longest_gap_ms = (seen.acknowledged > 0).then_some(milliseconds);
        seen
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Account> {
        self.seen.lock().expect("no holder of this lock panics")
    }
}
