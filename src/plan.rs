//! A plan: what will be done, in which order, shown before it runs. What runs
//! is what was shown.

mod build;
mod failover;
mod forward;
mod heal;
mod redirect;
mod rejoin;
mod switchover;
mod text;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use build::active_records;
pub use failover::failover;
pub use heal::{Healing, heal};
pub use redirect::redirect;
pub use rejoin::{RejoinFacts, rejoin, stand_by};
pub use switchover::switchover;

use crate::{
    ids::{HostName, SiteName},
    inventory::Inventory,
    order::Trace,
    step::{Backend, FenceWay, Part, Step},
    topology::{Replication, Topology},
};

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Planned: the primary is healthy and hands over.
    Switchover,
    /// Unplanned: the primary is lost.
    Failover,
    /// A database comes back as a standby.
    Rejoin,
    /// The primary is where it should be; what should follow it does not.
    Redirect,
    /// A machine that stays dead is brought back.
    Heal,
}

/// What the new primary may lack of what was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Loss {
    Nothing { because: String },
    Bytes { bytes: u64, because: String },
    Unknown { because: String },
}

/// A step in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// From 1, in order of the plan.
    pub number: usize,
    pub part: Part,
    /// Numbers of the steps that must be done before; those without a path
    /// between them run at the same time.
    pub after: Vec<usize>,
    pub step: Step,
}

/// Something that a plan leaves out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    pub what: String,
    pub why: String,
}

/// A complete plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub kind: Kind,
    pub topology: String,
    /// PostgreSQL's system identifier of the databases that it is about: a
    /// deployment that is made anew has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The site that was active.
    pub from: SiteName,
    /// The site that will be active.
    pub to: SiteName,
    /// Primary before.
    pub old: HostName,
    /// Primary afterwards; for a rejoin the same.
    pub new: HostName,
    /// What was seen that led to this plan, one sentence each.
    pub because: Vec<String>,
    pub loss: Loss,
    pub steps: Vec<Planned>,
    pub left_out: Vec<LeftOut>,
}

impl Plan {
    /// Names exactly this plan: 12 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("a plan is plain data with string keys");
        let sum = Sha256::digest(&text);
        sum.iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The steps of a part.
    pub fn part(&self, part: Part) -> impl DoubleEndedIterator<Item = &Planned> {
        self.steps
            .iter()
            .filter(move |planned| planned.part == part)
    }

    /// The point of no return, if the plan has one.
    #[must_use]
    pub fn commit(&self) -> Option<&Planned> {
        self.part(Part::Commit).next()
    }

    /// The step of that number.
    #[must_use]
    pub fn step(&self, number: usize) -> Option<&Planned> {
        self.steps.get(number.checked_sub(1)?)
    }

    /// The host whose machine the plan brings back.
    #[must_use]
    pub fn heals(&self) -> Option<&HostName> {
        self.steps.iter().find_map(|planned| match &planned.step {
            Step::AwaitHost { host, .. } if self.kind == Kind::Heal => Some(host),
            _ => None,
        })
    }

    /// Whether the plan, past a promotion of its own, can end only while there
    /// is a primary.
    #[must_use]
    pub fn needs_primary(&self) -> bool {
        let stands_by = |planned: &Planned| matches!(planned.step, Step::Follow { .. });
        !self.steps.iter().all(stands_by)
    }

    /// The load balancers that the plan sends to the primary.
    pub fn routed(&self) -> impl Iterator<Item = &HostName> {
        self.steps.iter().filter_map(|planned| match &planned.step {
            Step::Route {
                lb,
                backend: Backend::Database,
                ..
            } => Some(lb),
            _ => None,
        })
    }

    /// Whether the plan moves DNS records.
    #[must_use]
    pub fn moves_records(&self) -> bool {
        let moves = |planned: &Planned| matches!(planned.step, Step::MoveRecords { .. });
        self.steps.iter().any(moves)
    }
}

/// What builders of plans are told besides the topology.
#[derive(Clone, Debug)]
pub struct Move<'a> {
    pub topology: &'a Topology,
    pub inventory: &'a Inventory,
    /// System identifier of the databases, where one is seen.
    pub cluster: Option<String>,
    /// Primary before.
    pub old: HostName,
    /// Primary afterwards.
    pub new: HostName,
    pub because: Vec<String>,
    pub loss: Loss,
    pub database_only: bool,
    /// Hosts that cannot be used now, with the reason: steps on them are
    /// left out.
    pub unusable: std::collections::BTreeMap<HostName, String>,
    /// How the old primary can be fenced, best first; only for failovers.
    pub ways: Vec<FenceWay>,
    /// Bytes of log that may be lost, where it is known how far the old primary
    /// was; only for failovers.
    pub lacks_at_most: Option<u64>,
    /// What a run has left on the machine of the new primary; only for failovers.
    pub trace: Option<Trace>,
}

impl Move<'_> {
    /// Whether the guard of the primary itself keeps who confirms commits.
    #[must_use]
    pub fn keeps_set(&self) -> bool {
        self.topology.is_automatic() && self.orders_set_at_all()
    }

    /// Whether the plan has to say who confirms commits.
    #[must_use]
    pub fn orders_set(&self) -> bool {
        !self.topology.is_automatic() && self.orders_set_at_all()
    }

    fn orders_set_at_all(&self) -> bool {
        self.topology.database.replication == Replication::Synchronous
    }
}
