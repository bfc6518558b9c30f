//! The machines under the hosts, as their cloud sees them.

use async_trait::async_trait;

use super::PortError;
use crate::{ids::HostName, observation::MachineState};

/// Asks and tells the cloud.
#[async_trait]
pub trait Machines: Send + Sync {
    /// What the cloud says of the machine now.
    ///
    /// # Errors
    /// `Absent` for static hosts.
    async fn state(&self, host: &HostName) -> Result<MachineState, PortError>;

    /// Asks for a forced stop (no shutdown of the operating system) and
    /// returns at once; [`Machines::state`] tells when it is down. Harmless
    /// on a machine that is stopped or stopping.
    async fn power_off(&self, host: &HostName) -> Result<(), PortError>;

    /// Asks for a start and returns at once. Harmless on a running machine.
    async fn power_on(&self, host: &HostName) -> Result<(), PortError>;
}
