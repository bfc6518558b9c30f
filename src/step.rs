//! The closed set of steps that plans are made of. A step says what shall be
//! so; `run` makes it so, and finds nothing to do the second time.

mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{HostName, SiteName},
    observation::AddressRecord,
    order::Trace,
};

/// One step as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// From then on the guard refuses older runs.
    Claim { host: HostName },
    /// The same, and CHECKPOINT, so that stopping is quick.
    Prepare { host: HostName },
    /// New database connections wait at this load balancer.
    HoldWrites { lb: HostName, server: HostName },
    /// Clients of the queue wait, at most so long.
    PauseQueue { host: HostName, limit_ms: u64 },
    /// Stop the primary cleanly and keep it stopped.
    Demote { host: HostName },
    /// All log of the stopped `from` is on `to`.
    ProveEquality { from: HostName, to: HostName },
    /// Prove that the old primary writes no more, by the first way that works.
    Fence {
        host: HostName,
        ways: Vec<FenceWay>,
        /// Bytes of its log that the candidate may lack then, where the plan
        /// was judged by how far it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lacks_at_most: Option<u64>,
        /// What a run had left on the machine of the candidate when this was
        /// planned: any other trace is of one that came in between.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Trace>,
    },
    /// The point of no return.
    Promote {
        host: HostName,
        from: HostName,
        /// Only where the store says that the host has every acknowledged
        /// commit.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_sync: bool,
    },
    /// Who must confirm commits on `host`; empty: nobody.
    SetSynchronous {
        host: HostName,
        standbys: Vec<HostName>,
    },
    /// This load balancer sends a backend to `to`, and nowhere else.
    Route {
        lb: HostName,
        backend: Backend,
        to: HostName,
        away: Vec<HostName>,
    },
    /// The queue becomes the active one, after it has all of `from`.
    PromoteQueue {
        host: HostName,
        from: Option<HostName>,
    },
    /// The queue copies the active one.
    FollowQueue { host: HostName, master: HostName },
    /// The records answer the new site, by the control plane.
    MoveRecords { records: Vec<AddressRecord> },
    /// The control plane says that the change is in force.
    AwaitInSync,
    /// Every authoritative name server answers the records.
    AwaitAuthoritative { records: Vec<AddressRecord> },
    /// Name servers answer the records, which health checks move. Later than
    /// that is a finding: no run can make it so.
    AwaitChecks {
        records: Vec<AddressRecord>,
        within_ms: u64,
    },
    /// Resolvers answer the records, at the latest when the old ones expire.
    AwaitResolvers { records: Vec<AddressRecord> },
    /// The stopped old primary starts as a standby; no rewind is needed.
    Follow { host: HostName, upstream: HostName },
    /// Bring a possibly diverged cluster back: rewind, verify, else copy anew.
    Rejoin { host: HostName, upstream: HostName },
    /// The standby streams on the right timeline and has caught up.
    AwaitStreaming {
        standby: HostName,
        upstream: HostName,
    },
    /// The load balancer uses the server again once its checks pass.
    Release {
        lb: HostName,
        backend: Backend,
        server: HostName,
    },
    /// A write through the load balancer of the site is acknowledged.
    VerifyWrites { site: SiteName },
    /// The machine is stopped by force, without its operating system.
    StopMachine { host: HostName },
    /// The machine runs.
    StartMachine { host: HostName },
    /// The host has a machine: made anew, with the same addresses, where it
    /// is gone.
    MakeMachine { host: HostName },
    /// The host is configured by the playbooks of a deploy.
    Configure { host: HostName },
    /// What the host is there for answers.
    AwaitHost { host: HostName, answers: Answers },
}

/// By what a host is known to work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answers {
    /// Its guard answers.
    Guard,
    /// Its load balancer answers.
    Balancer,
    /// Its queue answers.
    Queue,
    /// One of these load balancers finds all its replicas up.
    Replicas { at: Vec<HostName> },
    /// Nobody asks it for anything: that its machine runs is all.
    Machine,
}

/// A way to a fencing proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FenceWay {
    /// Its guard stops PostgreSQL and says so.
    Guard,
    /// The store says that its lease has ended.
    Lease,
    /// The cloud stops the machine by force and says so.
    PowerOff,
    /// A person vouches for it.
    Operator { reason: String },
}

/// A backend of the load balancers that follows the active site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    Database,
    Queue,
}

impl Backend {
    /// Its name in the configuration of HAProxy.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Database => "pg_primary",
            Self::Queue => "queue_active",
        }
    }
}

/// Which kinds of steps a plan may have: reversible ones, one point of no
/// return, then only forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    Reversible,
    Commit,
    Forward,
}

impl Step {
    /// Stable name for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Prepare { .. } => "prepare",
            Self::HoldWrites { .. } => "hold-writes",
            Self::PauseQueue { .. } => "pause-queue",
            Self::Demote { .. } => "demote",
            Self::ProveEquality { .. } => "prove-equality",
            Self::Fence { .. } => "fence",
            Self::Promote { .. } => "promote",
            Self::SetSynchronous { .. } => "set-synchronous",
            Self::Route { .. } => "route",
            Self::PromoteQueue { .. } => "promote-queue",
            Self::FollowQueue { .. } => "follow-queue",
            Self::MoveRecords { .. } => "move-records",
            Self::AwaitInSync => "await-in-sync",
            Self::AwaitAuthoritative { .. } => "await-authoritative",
            Self::AwaitChecks { .. } => "await-checks",
            Self::AwaitResolvers { .. } => "await-resolvers",
            Self::Follow { .. } => "follow",
            Self::Rejoin { .. } => "rejoin",
            Self::AwaitStreaming { .. } => "await-streaming",
            Self::Release { .. } => "release",
            Self::VerifyWrites { .. } => "verify-writes",
            Self::StopMachine { .. } => "stop-machine",
            Self::StartMachine { .. } => "start-machine",
            Self::MakeMachine { .. } => "make-machine",
            Self::Configure { .. } => "configure",
            Self::AwaitHost { .. } => "await-host",
        }
    }

    /// How long the step may take, its retries included.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let seconds = match self {
            Self::HoldWrites { .. } | Self::PauseQueue { .. } => 5,
            Self::ProveEquality { .. } | Self::Claim { .. } | Self::Prepare { .. } => 10,
            Self::Demote { .. }
            | Self::SetSynchronous { .. }
            | Self::Route { .. }
            | Self::Release { .. }
            | Self::PromoteQueue { .. }
            | Self::FollowQueue { .. }
            | Self::VerifyWrites { .. } => 30,
            Self::Promote { .. } | Self::MoveRecords { .. } | Self::Follow { .. } => 60,
            Self::AwaitInSync | Self::AwaitAuthoritative { .. } | Self::AwaitStreaming { .. } => {
                120
            }
            Self::Fence { .. } => 180,
            Self::AwaitChecks { within_ms, .. } => within_ms / 1000 + 30,
            // An operating system may check its disks at its start.
            Self::StopMachine { .. } | Self::StartMachine { .. } | Self::AwaitHost { .. } => 300,
            Self::AwaitResolvers { records } => return resolvers_deadline(records),
            Self::MakeMachine { .. } => 900,
            // A database is copied.
            Self::Rejoin { .. } | Self::Configure { .. } => 3600,
        };
        Duration::from_secs(seconds)
    }

    /// Whether the step leaves everything as it is. One that writes to see
    /// whether writes go through does not.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        matches!(
            self,
            Self::ProveEquality { .. }
                | Self::AwaitInSync
                | Self::AwaitAuthoritative { .. }
                | Self::AwaitChecks { .. }
                | Self::AwaitResolvers { .. }
                | Self::AwaitStreaming { .. }
                | Self::AwaitHost { .. }
        )
    }

    /// Whether what the step found out may no longer hold when a run is
    /// resumed, so that it has to be found out again.
    #[must_use]
    pub fn goes_stale(&self) -> bool {
        matches!(self, Self::ProveEquality { .. } | Self::Fence { .. })
    }
}

/// The old answer may stay in caches for its whole time to live, and a
/// resolver may have asked just before the change was in force.
fn resolvers_deadline(records: &[AddressRecord]) -> Duration {
    let ttl = records.iter().map(|record| record.ttl).max().unwrap_or(0);
    Duration::from_secs(ttl + 10)
}
