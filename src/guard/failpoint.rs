//! Crashes on purpose, in debug builds only, so that tests can stop a guard
//! after each single effect of an order.

/// Passes a point after which a crash must be harmless. With
/// `HAFAIL_FAILPOINT=n` in the environment the n-th passage aborts.
#[cfg(debug_assertions)]
pub fn pass(point: &'static str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static CRASH_AT: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("HAFAIL_FAILPOINT").ok()?.parse().ok());
    let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    if Some(passed) == *CRASH_AT {
        tracing::error!(point, passed, "crashing on purpose");
        std::process::abort();
    }
}

/// Does nothing in release builds.
#[cfg(not(debug_assertions))]
pub fn pass(_point: &'static str) {}
