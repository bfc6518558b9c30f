//! The machines under the hosts, as their cloud sees them.

use async_trait::async_trait;

use super::PortError;
use crate::{ids::HostName, observation::Machine, order::Trace};

/// Asks and tells the cloud.
#[async_trait]
pub trait Machines: Send + Sync {
    /// What the cloud says of the machine now.
    ///
    /// # Errors
    /// `Absent` for static hosts.
    async fn state(&self, host: &HostName) -> Result<Machine, PortError>;

    /// Leaves a trace on the machine, so that whoever has credentials knows
    /// that this run deposed its database, also when the machine was dark at
    /// that time. Replaces an older trace.
    ///
    /// # Errors
    /// `Absent` for static hosts.
    async fn depose(&self, host: &HostName, by: &Trace) -> Result<(), PortError>;

    /// Asks for a forced stop (no shutdown of the operating system) and
    /// returns at once; [`Machines::state`] tells when it is down. Harmless
    /// on a machine that is stopped or stopping.
    async fn power_off(&self, host: &HostName) -> Result<(), PortError>;

    /// Asks for a start and returns at once. Harmless on a running machine.
    async fn power_on(&self, host: &HostName) -> Result<(), PortError>;
}
