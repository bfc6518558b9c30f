//! The closed set of steps that plans are made of. A step says what shall be
//! so; `run` makes it so, and finds nothing to do the second time.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{HostName, SiteName},
    observation::AddressRecord,
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
    Fence { host: HostName, ways: Vec<FenceWay> },
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
            Self::Rejoin { .. } => 3600,
        };
        Duration::from_secs(seconds)
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

impl fmt::Display for Step {
    /// One line for people, as an order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim { host } => write!(f, "{host} refuses older runs from here on"),
            Self::Prepare { host } => {
                write!(f, "checkpoint {host}; from here it refuses older runs")
            }
            Self::HoldWrites { lb, .. } => write!(f, "{lb} lets new database connections wait"),
            Self::PauseQueue { host, limit_ms } => {
                let seconds = limit_ms / 1000;
                write!(f, "{host} lets its writers wait, at most {seconds} s")
            }
            Self::Demote { host } => {
                write!(f, "stop PostgreSQL on {host} cleanly, and keep it stopped")
            }
            Self::ProveEquality { from, to } => {
                write!(
                    f,
                    "prove that {to} has all log up to the shutdown checkpoint of {from}"
                )
            }
            Self::Fence { host, ways } => {
                let ways: Vec<_> = ways.iter().map(|way| way.describe(host)).collect();
                write!(
                    f,
                    "prove that {host} writes no more: {}",
                    ways.join(", else ")
                )
            }
            Self::Promote { host, .. } => write!(f, "promote {host}"),
            Self::SetSynchronous { host, standbys } if standbys.is_empty() => {
                write!(f, "commits on {host} wait for no standby")
            }
            Self::SetSynchronous { host, standbys } => {
                write!(f, "commits on {host} wait for {}", list(standbys))
            }
            Self::Route {
                lb, backend, to, ..
            } => {
                write!(f, "{lb} sends {} to {to} at once", backend.what())
            }
            Self::PromoteQueue {
                host,
                from: Some(from),
            } => {
                write!(
                    f,
                    "{host} becomes the active queue, once it has all of {from}"
                )
            }
            Self::PromoteQueue { host, from: None } => write!(f, "{host} becomes the active queue"),
            Self::FollowQueue { host, master } => write!(f, "queue {host} copies {master}"),
            Self::MoveRecords { records } => write!(f, "point {}", describe_records(records)),
            Self::AwaitInSync => f.write_str("wait until the zone reports the change in force"),
            Self::AwaitAuthoritative { records } => {
                write!(
                    f,
                    "wait until every name server of the zone answers {}",
                    addresses(records)
                )
            }
            Self::AwaitChecks { records, within_ms } => {
                let seconds = within_ms.div_ceil(1000);
                write!(
                    f,
                    "see health checks lead {}, within {seconds} s",
                    describe_records(records)
                )
            }
            Self::AwaitResolvers { records } => {
                let ttl = records.iter().map(|record| record.ttl).max().unwrap_or(0);
                write!(
                    f,
                    "see what resolvers answer, until the old answer expires (TTL {ttl} s)"
                )
            }
            Self::Follow { host, upstream } => {
                write!(f, "{host} starts as a standby of {upstream}")
            }
            Self::Rejoin { host, upstream } => {
                write!(
                    f,
                    "bring {host} back behind {upstream}: rewind and verify, else copy into a new directory"
                )
            }
            Self::AwaitStreaming { standby, upstream } => {
                write!(
                    f,
                    "wait until {standby} streams from {upstream} and has caught up"
                )
            }
            Self::Release {
                lb,
                backend,
                server,
            } => {
                write!(
                    f,
                    "{lb} may use {server} for {} again, once its checks pass",
                    backend.what()
                )
            }
            Self::VerifyWrites { site } => {
                write!(
                    f,
                    "see a write through the load balancer of {site} acknowledged"
                )
            }
            Self::StopMachine { host } => write!(f, "stop the machine of {host} by force"),
            Self::StartMachine { host } => write!(f, "start the machine of {host}"),
            Self::AwaitHost { host, answers } => {
                write!(f, "wait until {} of {host} answers", answers.who())
            }
        }
    }
}

impl Answers {
    fn who(&self) -> &'static str {
        match self {
            Self::Guard => "the guard",
            Self::Balancer => "the load balancer",
            Self::Queue => "the queue",
            Self::Replicas { .. } => "every replica",
            Self::Machine => "the machine",
        }
    }
}

impl Backend {
    fn what(self) -> &'static str {
        match self {
            Self::Database => "writes",
            Self::Queue => "queue clients",
        }
    }
}

impl FenceWay {
    fn describe(&self, host: &HostName) -> String {
        match self {
            Self::Guard => "its guard stops PostgreSQL (stopped-by-guard)".to_owned(),
            Self::Lease => "its lease ends (lease-expired)".to_owned(),
            Self::PowerOff => format!("the cloud stops {host} by force (instance-stopped)"),
            Self::Operator { reason } => {
                format!("the operator says so: “{reason}” (asserted-by-operator)")
            }
        }
    }
}

fn list(hosts: &[HostName]) -> String {
    let names: Vec<_> = hosts.iter().map(HostName::as_str).collect();
    names.join(", ")
}

fn addresses(records: &[AddressRecord]) -> String {
    let all: std::collections::BTreeSet<_> = records.iter().flat_map(|r| &r.addresses).collect();
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}

fn describe_records(records: &[AddressRecord]) -> String {
    let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
    format!("{} to {}", names.join(" and "), addresses(records))
}
