//! The narrow ways to the world, in hafail's own words. Two worlds implement
//! them: `adapters` (real) and `sim` (simulated).

pub mod clock;
pub mod cloud;
pub mod end_to_end;
pub mod front_doors;
pub mod guards;
pub mod machines;
pub mod proxies;
pub mod queues;
pub mod quorum;
pub mod rebuild;
pub mod records;
pub mod remote;
pub mod store;

use std::{sync::Arc, time::Duration};

use crate::inventory::Inventory;

/// Everything that operating needs of the outside.
#[derive(Clone)]
pub struct World {
    /// The hosts as found, with the addresses that records point to. A host
    /// of the topology that could not be found is missing here.
    pub inventory: Inventory,
    pub guards: Arc<dyn guards::Guards>,
    pub machines: Arc<dyn machines::Machines>,
    pub records: Arc<dyn records::Records>,
    pub proxies: Arc<dyn proxies::Proxies>,
    pub queues: Arc<dyn queues::Queues>,
    pub end_to_end: Arc<dyn end_to_end::EndToEnd>,
    pub front_doors: Arc<dyn front_doors::FrontDoors>,
    pub clock: Arc<dyn clock::Clock>,
    /// The shared store; none where nothing is automatic.
    pub quorum: Option<Arc<dyn quorum::Quorum>>,
    /// Makes and configures machines; none where that is not done from here.
    pub rebuild: Option<Arc<dyn rebuild::Rebuild>>,
}

/// Why something outside could not be asked or told. What it means for the
/// effect matters more than where it came from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// No connection: surely nothing happened there.
    #[error("{what} cannot be reached: {why}")]
    Unreachable { what: String, why: String },
    /// Asked, and no answer within the time: it may have happened or not.
    #[error("{what} did not answer within {within:?}")]
    Unanswered { what: String, within: Duration },
    /// The authority said no; asking again will not help.
    #[error("{what} was denied: {why}")]
    Denied {
        what: String,
        why: String,
        /// The permission that is missing, such as `ec2:StopInstances`.
        permission: Option<String>,
    },
    /// Too many requests; asking later helps.
    #[error("{what} was throttled")]
    Throttled { what: String },
    /// A newer epoch has been there: this run is not the current one.
    #[error("{what} refused epoch {ours}: it has seen {seen}")]
    StaleEpoch {
        what: String,
        ours: crate::ids::Epoch,
        seen: crate::ids::Epoch,
    },
    /// It answered that it failed, or something that is not understood.
    #[error("{what} failed: {why}")]
    Failed { what: String, why: String },
    /// There is no such thing, such as the machine of a static host.
    #[error("{what} does not exist here")]
    Absent { what: String },
}

impl PortError {
    /// Whether the same request may go through later.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Unanswered { .. }
            | Self::Throttled { .. }
            | Self::Failed { .. } => true,
            Self::Denied { .. } | Self::StaleEpoch { .. } | Self::Absent { .. } => false,
        }
    }
}
