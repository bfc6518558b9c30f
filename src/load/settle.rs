//! Waits until the queues have drained, then says what is where.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    account::Found,
    ledger::{Ledger, LedgerError},
};

/// How often the queues are read while they drain.
const EVERY: Duration = Duration::from_millis(200);

/// Reads until no vote of the run is queued, at most for `within` or until
/// `stop`; then whatever was read last counts.
///
/// # Errors
/// The last one when votes could not be read even once.
pub async fn settle(
    ledger: &dyn Ledger,
    run: &str,
    within: Duration,
    stop: &CancellationToken,
) -> Result<Found, LedgerError> {
    let end = Instant::now() + within;
    let mut last: Option<Result<Found, LedgerError>> = None;
    loop {
        last = Some(match (ledger.find(run).await, last) {
            (Ok(found), _) if found.queued.is_empty() => return Ok(found),
            (Ok(found), _) => Ok(found),
            // A failover may be under way. What was seen before it stands,
            // with the reason why it is not newer.
            (Err(error), Some(Ok(found))) => Ok(Found {
                unseen: vec![format!("the newest state: {error}")],
                ..found
            }),
            (Err(error), _) => Err(error),
        });
        if Instant::now() + EVERY > end || stop.is_cancelled() {
            return last.expect("the ledger was read at least once");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(EVERY) => {}
        }
    }
}
