//! The clock of this machine.

use std::time::Duration;

use crate::ports::clock::Clock;
use async_trait::async_trait;

/// Monotonic time since it was made, and the system's wall time.
#[derive(Debug)]
pub struct SystemClock {
    start: Duration,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: boottime() }
    }
}

/// Time since the boot of this machine, suspend included.
#[must_use]
pub fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// Wall time as RFC 3339 text in UTC, to the second.
#[must_use]
pub fn wall() -> String {
    let now = jiff::Timestamp::now();
    let whole = jiff::Timestamp::from_second(now.as_second());
    whole.unwrap_or(now).to_string()
}

/// Wall time after a while, as [`wall`] writes it.
#[must_use]
pub fn wall_after(time: Duration) -> String {
    let then = jiff::Timestamp::now() + time;
    let whole = jiff::Timestamp::from_second(then.as_second());
    whole.unwrap_or(then).to_string()
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Duration {
        boottime().saturating_sub(self.start)
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
