//! Time. Decisions use the monotonic clock; the wall clock is for display.

use std::time::Duration;

use async_trait::async_trait;

/// A clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Monotonic time since some fixed moment of this process.
    fn now(&self) -> Duration;

    /// Wall time as RFC 3339 text in UTC, for display only.
    fn wall(&self) -> String;

    /// Waits.
    async fn sleep(&self, time: Duration);
}
