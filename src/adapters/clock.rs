//! The clock of this machine.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::ports::clock::Clock;

/// Monotonic time since it was made, and the system's wall time.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

/// Wall time as RFC 3339 text in UTC, to the second.
#[must_use]
pub fn wall() -> String {
    let now = jiff::Timestamp::now();
    let whole = jiff::Timestamp::from_second(now.as_second());
    whole.unwrap_or(now).to_string()
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// To the millisecond: the journal's times are what durations are told
    /// from.
    fn wall(&self) -> String {
        let now = jiff::Timestamp::now();
        let whole = jiff::Timestamp::from_millisecond(now.as_millisecond());
        whole.unwrap_or(now).to_string()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
