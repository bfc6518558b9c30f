//! Steps for people.

use std::fmt;

use super::{Answers, Backend, FenceWay, Step};
use crate::{ids::HostName, observation::AddressRecord};

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
            Self::Fence {
                host,
                ways,
                lacks_at_most,
                ..
            } => {
                let ways: Vec<_> = ways.iter().map(|way| way.describe(host)).collect();
                let ways = ways.join(", else ");
                write!(f, "prove that {host} writes no more: {ways}")?;
                match lacks_at_most {
                    Some(bytes) => write!(f, "; at most {bytes} bytes of its log may be lost"),
                    None => Ok(()),
                }
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
            Self::MakeMachine { host } => write!(f, "make the machine of {host} anew"),
            Self::Configure { host } => write!(f, "configure {host} as a deploy does"),
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
