//! From what was seen to a plan or a refusal. Pure: the same sight gives the
//! same answer.

mod astray;
mod automatic;
mod candidate;
mod diagnosis;
mod fence;
mod loss;
mod places;
mod refusal;
mod rejoin;
mod stack;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use automatic::{Act, Memory, Policy, Reaction, Verdict, decide_automatically, is_away};
pub use candidate::Candidate;
pub use diagnosis::{Diagnosis, Finding, diagnose};
pub use refusal::{Reason, Refusal, no_such_region, unfinished};
pub use rejoin::decide_rejoin;

use crate::{
    ids::{Epoch, HostName, SiteName},
    inventory::Inventory,
    observation::Snapshot,
    plan::{self, Loss, Move, Plan},
    ports::store::RunId,
    topology::{Replication, Role, Topology},
};
use view::View;

/// What an operator (later: a watcher, a drill) wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Region or site that shall be active.
    pub region: String,
    /// Leave the DNS records as they are.
    pub database_only: bool,
    pub allow_data_loss: Option<Allowance>,
    /// The operator vouches that the old primary is fenced, for this reason.
    pub fenced_by_operator: Option<String>,
}

/// Acknowledged writes that the operator is ready to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowance {
    /// Up to so many bytes of log, where the loss is known.
    Bytes(u64),
    /// Whatever it is, known or not.
    Any,
}

/// What the journal tells of earlier runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The newest epoch that a run of this journal has used.
    pub epoch: Epoch,
    /// The newest epoch of a run that said who is primary or who confirms
    /// commits: what older runs did is over.
    pub settled: Epoch,
    /// All runs of this journal.
    pub runs: BTreeSet<RunId>,
    /// The primary that the last run left.
    pub primary: Option<HostName>,
    /// Whose commits wait for whom, as the last run left it.
    pub synchronous: BTreeMap<HostName, Vec<HostName>>,
    /// A run that has not ended.
    pub unfinished: Option<RunId>,
    /// Whether that run can be begun anew at any time: it heals a machine, or
    /// rejoins a database.
    pub gives_way: bool,
    /// Whether all that is left of that run is found and done anew by whoever
    /// looks: it promotes nobody any more, and moves no names.
    pub can_be_left: bool,
}

/// Everything that a decision stands on.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    pub topology: &'a Topology,
    pub inventory: &'a Inventory,
    pub snapshot: &'a Snapshot,
    pub past: &'a Past,
}

/// The plan that does what is wanted, or why not.
///
/// # Errors
/// A refusal with its reason, the evidence and the next command.
pub fn decide_failover(sight: &Sight<'_>, intent: &Intent) -> Result<Plan, Refusal> {
    let view = View::new(sight);
    let target = target(&view, intent)?;
    if let Some(run) = &sight.past.unfinished {
        return Err(refusal::unfinished(run));
    }
    refuse_two_writers(&view)?;
    let running = view.running_primary();
    if let Some(primary) = &running
        && view.site_of(primary) == target
    {
        return follow_up(&view, intent, primary.clone());
    }
    let live = running.filter(|primary| view.is_live(primary));
    match live {
        Some(primary) => switch(&view, intent, &target, primary),
        None => fail_over(&view, intent, &target),
    }
}

fn target(view: &View<'_>, intent: &Intent) -> Result<SiteName, Refusal> {
    let topology = view.topology();
    let site = topology
        .site_in(&intent.region)
        .filter(|site| site.serves());
    let site = site.ok_or_else(|| refusal::no_such_region(topology, &intent.region))?;
    if view.databases().count() < 2 {
        return Err(refusal::single_database(topology));
    }
    Ok(site.name.clone())
}

fn refuse_two_writers(view: &View<'_>) -> Result<(), Refusal> {
    let writers: Vec<_> = view.running_primaries().collect();
    match writers.as_slice() {
        [first, second, ..] => Err(refusal::two_writers(view, first, second)),
        _ => Ok(()),
    }
}

fn switch(
    view: &View<'_>,
    intent: &Intent,
    target: &SiteName,
    old: HostName,
) -> Result<Plan, Refusal> {
    let candidates = candidate::for_switchover(view, target, &old);
    let new = candidate::choose(view, &candidates)?;
    refusal::unseen_parts(view, intent)?;
    let because = vec![view.says_primary(&old), view.says_standby(&new)];
    let loss = Loss::Nothing {
        because: "the promotion waits until equality is proven".to_owned(),
    };
    let given = given(view, intent.database_only, old, new, because, loss);
    Ok(plan::switchover(&given))
}

/// The primary is there already: what does not follow it is sent after it.
fn follow_up(view: &View<'_>, intent: &Intent, primary: HostName) -> Result<Plan, Refusal> {
    let astray = astray::astray(view, intent, &primary);
    if astray.is_empty() {
        return Err(refusal::already_active(view, &primary));
    }
    let old = view.to_fence(&primary, &primary);
    let mut because = vec![view.says_primary(&primary)];
    because.extend(astray);
    let loss = Loss::Nothing {
        because: "nobody is promoted".to_owned(),
    };
    let given = given(view, intent.database_only, old, primary, because, loss);
    Ok(plan::redirect(&given))
}

fn fail_over(view: &View<'_>, intent: &Intent, target: &SiteName) -> Result<Plan, Refusal> {
    let candidates = candidate::for_failover(view, target);
    let new = candidate::choose(view, &candidates)?;
    let last = view.last_primary();
    let old = view.to_fence(&new, &last);
    view.others_are_standbys(&old, &new)?;
    let ways = fence::ways(view, intent, &old)?;
    let loss = loss::expected(view, &last, &new);
    let lacks_at_most = loss::permitted(view, intent, &loss)?;
    let mut because: Vec<_> = diagnose(view.topology(), view.snapshot())
        .into_iter()
        .flat_map(|finding| finding.sentences())
        .collect();
    because.push(view.says_standby(&new));
    let mut given = given(view, intent.database_only, old, new, because, loss);
    given.ways = ways;
    given.trace = view.trace_on_machine(&given.new);
    given.lacks_at_most = lacks_at_most;
    Ok(plan::failover(&given))
}

/// What every plan is built from; a failover is told more.
fn given<'a>(
    view: &View<'a>,
    database_only: bool,
    old: HostName,
    new: HostName,
    because: Vec<String>,
    loss: Loss,
) -> Move<'a> {
    Move {
        topology: view.topology(),
        inventory: view.inventory(),
        cluster: view.snapshot().clusters().into_iter().next(),
        old,
        new,
        because,
        loss,
        database_only,
        unusable: view.unusable(),
        ways: Vec::new(),
        lacks_at_most: None,
        trace: None,
    }
}

/// Whether commits wait for a standby in this topology.
fn is_synchronous(topology: &Topology) -> bool {
    topology.database.replication == Replication::Synchronous
}

/// The hosts that hold databases.
fn databases(topology: &Topology) -> impl Iterator<Item = &HostName> {
    topology.hosts_with(Role::Db).map(|host| &host.name)
}
