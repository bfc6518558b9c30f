//! Machines made anew, and configured.

use async_trait::async_trait;

use super::PortError;
use crate::{ids::HostName, ports::store::RunId};

/// Does for one host what a deploy does, for a run that holds the lock. What
/// is dropped before its end stops; done again, it goes on from there.
#[async_trait]
pub trait Rebuild: Send + Sync {
    /// Makes the machine of the host where it has none, with the addresses
    /// that it had.
    ///
    /// # Errors
    /// It was not made, or not surely.
    async fn make(&self, host: &HostName, run: &RunId) -> Result<(), PortError>;

    /// Waits for the host and runs the playbooks of a deploy on it.
    ///
    /// # Errors
    /// It does not come up, or a step on it failed.
    async fn configure(&self, host: &HostName, run: &RunId) -> Result<(), PortError>;
}
