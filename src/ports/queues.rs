//! The queues (Redis) of the sites.

use std::time::Duration;

use async_trait::async_trait;

use super::PortError;
use crate::{ids::HostName, observation::QueueStatus};

/// Asks and tells Redis. At its start a queue finds its role by asking the
/// guards, so no role is kept.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Role, offset, link and length.
    async fn status(&self, host: &HostName) -> Result<QueueStatus, PortError>;

    /// Holds all writing clients for at most `time` (CLIENT PAUSE … WRITE);
    /// zero lets them go on (CLIENT UNPAUSE).
    async fn pause_writes(&self, host: &HostName, time: Duration) -> Result<(), PortError>;

    /// Makes it a master (REPLICAOF NO ONE). Harmless on a master.
    async fn promote(&self, host: &HostName) -> Result<(), PortError>;

    /// Says whether an entry needs the confirmation of a replica before its
    /// writer is told that it is accepted (key `votes:confirmations`): waived
    /// while there surely is no replica, or nothing would be accepted at all.
    async fn require_confirmation(&self, host: &HostName, required: bool) -> Result<(), PortError>;

    /// Makes it a replica of that queue host (REPLICAOF), which takes its
    /// data over and loses its own. Clients that block on a list are sent
    /// away with UNBLOCKED. Harmless on a replica of that host.
    async fn follow(&self, host: &HostName, master: &HostName) -> Result<(), PortError>;
}
