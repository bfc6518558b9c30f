//! The guards of the database hosts.

use std::time::Duration;

use async_trait::async_trait;

use super::PortError;
use crate::{
    ids::HostName,
    order::{GuardStatus, OrderAnswer, OrderRequest},
};

/// Asks and tells guards. Implementations keep one connection for each host,
/// so that an order costs one round trip.
#[async_trait]
pub trait Guards: Send + Sync {
    /// What the guard of `host` says now. Takes at most a few seconds.
    async fn status(&self, host: &HostName) -> Result<GuardStatus, PortError>;

    /// Gives an order and waits for its end, at most `deadline`.
    ///
    /// # Errors
    /// `Unreachable` only when the order surely did not arrive; `Unanswered`
    /// when it may have. A refusal or failure that the guard reports is an
    /// answer, not an error.
    async fn order(
        &self,
        host: &HostName,
        request: OrderRequest,
        deadline: Duration,
    ) -> Result<OrderAnswer, PortError>;
}
