//! What is known, and what is not. Unknown is never evidence.

mod store;

pub use store::{RightHolder, StoreSight};

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Epoch, HostName, SiteName},
    order::{GuardStatus, Trace},
};

/// Knowledge of something outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Knowledge<T> {
    /// Seen, and this is what was seen.
    Known(T),
    /// Could not be seen. Says nothing about the thing itself.
    Unknown {
        /// When it was last seen, as text for people; none: never.
        since: Option<String>,
        why: String,
    },
    /// Surely not there: the authority that would know it said so.
    #[default]
    Absent,
}

impl<T> Knowledge<T> {
    /// What was seen, if anything was.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } | Self::Absent => None,
        }
    }

    /// Surely not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Could not be seen, for this reason.
    pub fn unknown(why: impl ToString) -> Self {
        Self::Unknown {
            since: None,
            why: why.to_string(),
        }
    }
}

/// Everything that was seen at one moment. Hosts of the topology that have a
/// part are always there, seen or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Wall time as text.
    pub taken: String,
    /// By database host.
    pub guards: BTreeMap<HostName, Knowledge<GuardStatus>>,
    /// By host, as far as they have machines in a cloud (static hosts: absent).
    pub machines: BTreeMap<HostName, Knowledge<Machine>>,
    /// By load balancer.
    pub proxies: BTreeMap<HostName, Knowledge<ProxyStatus>>,
    /// By queue host.
    pub queues: BTreeMap<HostName, Knowledge<QueueStatus>>,
    /// By name of the record, as the control plane has it.
    pub records: BTreeMap<String, Knowledge<AddressRecord>>,
    /// By site: whether a write through its load balancer was acknowledged.
    pub writes: BTreeMap<SiteName, Knowledge<WriteAnswer>>,
    /// By site and service: what a browser gets from its load balancer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub doors: Doors,
    /// The shared store; absent where nothing is automatic.
    #[serde(default, skip_serializing_if = "Knowledge::is_absent")]
    pub store: Knowledge<StoreSight>,
}

impl Snapshot {
    /// System identifiers of the databases that are seen: one, unless they
    /// do not belong together.
    #[must_use]
    pub fn clusters(&self) -> BTreeSet<String> {
        let guards = self.guards.values().filter_map(Knowledge::known);
        let clusters = guards.filter_map(|guard| guard.postgres.system_identifier.clone());
        clusters.collect()
    }

    /// What runs have left behind, in guards and on machines.
    pub fn traces(&self) -> impl Iterator<Item = Trace> {
        let guards = self.guards.values().filter_map(Knowledge::known);
        let machines = self.machines.values().filter_map(Knowledge::known);
        guards
            .map(GuardStatus::trace)
            .chain(machines.filter_map(|machine| machine.deposed.clone()))
    }

    /// The newest epoch that left a trace.
    #[must_use]
    pub fn newest_epoch(&self) -> Epoch {
        let epochs = self.traces().map(|trace| trace.epoch);
        let taken = self.store.known().and_then(|store| store.last.as_ref());
        let taken = taken.map(|last| last.epoch);
        epochs.chain(taken).max().unwrap_or_default()
    }
}

/// How a write through a load balancer went. A write that failed says nothing
/// of where it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WriteAnswer {
    Acknowledged { milliseconds: u64 },
    NotAcknowledged { why: String },
}

/// Front doors, by site and service.
pub type Doors = BTreeMap<SiteName, BTreeMap<String, Knowledge<DoorAnswer>>>;

/// How a service answered at the front door of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoorAnswer {
    /// Of HTTP.
    pub status: u16,
    pub milliseconds: u64,
}

impl DoorAnswer {
    /// Whether the service serves its users there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        (200..400).contains(&self.status)
    }
}

/// A machine as its cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub state: MachineState,
    /// The newest run that stopped it so that another database could become
    /// primary. Its own guard knows nothing of that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposed: Option<Trace>,
    /// It runs, and the cloud's own checks say that it does not work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub impaired: bool,
}

impl Machine {
    /// Surely executes nothing.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state.is_down()
    }
}

/// The state of a machine in its cloud, in EC2's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl MachineState {
    /// Surely executes nothing.
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, Self::Stopped | Self::Terminated)
    }

    /// EC2's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }
}

/// The backends of a load balancer, by name.
pub type ProxyStatus = BTreeMap<String, BTreeMap<String, ProxyServer>>;

/// Begins the names of backends of the stack; the service follows.
pub const SERVICE_BACKEND: &str = "svc_";

/// Whether a backend has servers, and none of them is up.
#[must_use]
pub fn is_down(servers: &BTreeMap<String, ProxyServer>) -> bool {
    !servers.is_empty() && servers.values().all(|server| !server.up)
}

/// A server of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyServer {
    pub admin: ServerAdmin,
    /// What the checks say.
    pub up: bool,
    /// Open sessions.
    pub sessions: u64,
}

/// What the load balancer was told about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerAdmin {
    /// Used as far as its checks pass.
    Ready,
    /// No new sessions.
    Drain,
    /// Out of use, checks paused.
    Maintenance,
}

/// Something for a load balancer to do with `backend`/`server`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyOrder {
    pub backend: String,
    pub server: String,
    pub what: ProxyVerb,
}

/// What to do with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyVerb {
    /// `set server … state drain`: open sessions go on, new ones wait.
    Drain,
    /// `set server … state maint`
    Maintenance,
    /// `set server … state ready`
    Ready,
    /// `set server … health up`: use it now, checks confirm later.
    HealthUp,
    /// `set server … health down`: do not use it before its checks pass.
    HealthDown,
    /// `shutdown sessions server …`
    ShutSessions,
}

/// What a queue says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueStatus {
    pub role: QueueRole,
    /// Master: what it has written; replica: what it has received.
    pub offset: u64,
    /// Length of the list `votes`.
    pub votes: u64,
}

/// The role of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum QueueRole {
    Master {
        /// Replicas that are connected.
        replicas: u64,
    },
    Replica {
        /// Host that it follows, by name where it is one of the topology.
        of: String,
        /// The link to it works now.
        linked: bool,
    },
}

/// An address record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressRecord {
    /// Without the final dot.
    pub name: String,
    /// Seconds.
    pub ttl: u64,
    pub addresses: BTreeSet<Ipv4Addr>,
}
