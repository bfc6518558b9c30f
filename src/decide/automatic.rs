//! What the leading watcher does about what it sees. Pure, like every
//! decision: its memory and the time are arguments.

mod balancers;
mod heal;
mod memory;
mod policy;
#[cfg(test)]
mod scene;
mod sentence;
mod standbys;
mod stopped;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

pub use heal::is_away;
pub use policy::Policy;

use super::{
    Diagnosis, Finding, Intent, Reason, Refusal, Sight, decide_failover, diagnose, places, refusal,
    stack, view::View,
};
use crate::{
    ids::{HostName, SiteName},
    observation::{Knowledge, RightHolder, StoreSight},
    order::PostgresState,
    plan::{Kind, Plan},
    ports::store::RunId,
    right::Moment,
    topology::Role,
};

/// What a leader remembers from one look to the next. A new leader begins
/// with an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Databases that do not follow, since when.
    pub(super) astray: BTreeMap<HostName, Moment>,
    /// Load balancers or queues are astray, since when.
    pub(super) held: Option<Moment>,
    /// Machines that are dead, since when.
    pub(super) dead: BTreeMap<HostName, Moment>,
    /// What was tried and did not end well, by its sentence: how often, and
    /// when last.
    pub(super) tried: BTreeMap<String, (u32, Moment)>,
}

/// The longest pause between two tries of the same.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Memory {
    /// What was begun did not succeed: the next try waits.
    pub fn failed(&mut self, act: &Act, now: Moment) {
        let tried = self.tried.entry(act.sentence()).or_insert((0, now));
        *tried = (tried.0 + 1, now);
    }

    /// How long the next try still waits, and how many there were.
    fn waits(&self, act: &Act, policy: &Policy, now: Moment) -> Option<(Duration, u32)> {
        let (times, last) = self.tried.get(&act.sentence())?;
        let pause = policy.again_after * 2_u32.saturating_pow((*times - 1).min(16));
        let pause = pause.min(LONGEST_PAUSE);
        let left = (*last + pause).saturating_sub(now);
        (!left.is_zero()).then_some((left, *times))
    }

    fn times(&self, act: &Act) -> u32 {
        self.tried
            .get(&act.sentence())
            .map_or(0, |(times, _)| *times)
    }
}

/// Something that a leader runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A failover, a redirection, a rejoin, or the healing of a machine.
    Run(Box<Plan>),
    /// Go on with a run whose runner died.
    Resume(RunId),
    /// Give up a run that cannot go on, so that another can begin.
    Abandon(RunId),
}

impl Act {
    /// For people, one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Run(plan) if plan.kind == Kind::Rejoin => {
                let first = plan.steps.first().map(|planned| planned.step.to_string());
                format!("rejoin: {}", first.unwrap_or_default())
            }
            Self::Run(plan) if plan.kind == Kind::Heal => {
                let first = plan.steps.first().map(|planned| planned.step.to_string());
                format!("heal: {}", first.unwrap_or_default())
            }
            Self::Run(plan) => format!("{} from {} to {}", plan.kind, plan.from, plan.to),
            Self::Resume(run) => format!("go on with run {run}"),
            Self::Abandon(run) => format!("give up run {run}"),
        }
    }
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// All is well.
    Rest,
    /// Nothing now, for this reason; the next look may tell more.
    Wait { why: String },
    /// This is run now.
    Act(Act),
    /// This would be run, were it not for that.
    Withheld { act: Act, why: String },
    /// Something must be done, and nothing may be: a person is needed.
    Blocked(Refusal),
}

/// A decision with its ground.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    pub reaction: Reaction,
    pub memory: Memory,
}

/// Decides. Unknown is never evidence: what a watcher cannot see leads to
/// another look; a failover needs the store's word that the right to write is
/// free.
#[must_use]
pub fn decide_automatically(
    sight: &Sight<'_>,
    policy: &Policy,
    memory: &Memory,
    now: Moment,
) -> Verdict {
    let view = View::new(sight);
    let mut memory = memory.clone();
    let reaction = react(&view, sight, policy, &mut memory, now);
    let mut findings = diagnose(view.topology(), view.snapshot());
    findings.extend(store_finding(&view));
    findings.extend(stack::services_down(&view));
    if findings.len() > 1 {
        findings.retain(|finding| finding.diagnosis != Diagnosis::Healthy);
    }
    Verdict {
        findings,
        reaction: restrain(&view, policy, &memory, now, reaction),
        memory,
    }
}

fn react(
    view: &View<'_>,
    sight: &Sight<'_>,
    policy: &Policy,
    memory: &mut Memory,
    now: Moment,
) -> Reaction {
    let store = match &view.snapshot().store {
        Knowledge::Known(store) => store,
        Knowledge::Unknown { why, .. } => return wait(format!("the store is lost: {why}")),
        Knowledge::Absent => return wait("nothing is automatic here"),
    };
    if store.locked {
        return wait("a run is under way");
    }
    if let Some(run) = &view.past().unfinished {
        return broken_off(view, store, memory, run);
    }
    let Some(last) = &store.last else {
        return wait("no database has been primary yet: hafail deploy");
    };
    match &store.primary {
        None => lost(view, sight, last),
        Some(holder) => held(view, sight, holder, policy, memory, now),
    }
}

fn wait(why: impl Into<String>) -> Reaction {
    Reaction::Wait { why: why.into() }
}

/// How often a run is gone on with before it is given up for another one.
const TRIES: u32 = 3;

fn broken_off(view: &View<'_>, store: &StoreSight, memory: &Memory, run: &RunId) -> Reaction {
    let resume = Act::Resume(run.clone());
    let tries = memory.times(&resume);
    // Its steps are patient enough, and what it found may be otherwise now: it
    // keeps nothing else back, and is begun anew where it is still wanted.
    if view.past().gives_way && (tries > 0 || store.is_free()) {
        return Reaction::Act(Act::Abandon(run.clone()));
    }
    // Its new primary is gone as well, so that what is left of it is void; or a
    // host that it needs is, which nobody heals while it is open.
    if tries >= TRIES && (store.is_free() || view.past().can_be_left) {
        return Reaction::Act(Act::Abandon(run.clone()));
    }
    Reaction::Act(resume)
}

/// Nobody holds the right to write.
fn lost(view: &View<'_>, sight: &Sight<'_>, last: &RightHolder) -> Reaction {
    let databases: Vec<_> = view.databases().collect();
    let promised = |host: &&&HostName| {
        let lease = view.guard(host).and_then(|guard| guard.lease.as_ref());
        lease.is_some_and(|lease| lease.by_promises)
    };
    if let Some(host) = databases.iter().find(promised) {
        return wait(format!(
            "{host} goes on under promises: it does not reach the store"
        ));
    }
    let accepts = |host: &&&HostName| {
        let guard = view.guard(host);
        guard.is_some_and(|guard| guard.postgres.state == PostgresState::Primary)
    };
    if let Some(host) = databases.iter().find(accepts) {
        return wait(format!(
            "{host} is still seen as primary: it is killed or has taken the right"
        ));
    }
    let origin = view.topology().host(last.host.as_str());
    let origin = origin.map(|host| host.site.clone());
    let mut sites: Vec<_> = view.topology().sites.values().collect();
    // In place only where nobody else can: its host has just failed.
    sites.sort_by_key(|site| Some(&site.name) == origin.as_ref());
    let mut refusals = Vec::new();
    for site in sites {
        let has_database = site.hosts.values().any(|host| host.is(Role::Db));
        if !has_database {
            continue;
        }
        let moves_names = origin.as_ref().is_some_and(|origin| is_dark(view, origin));
        let intent = intent(view, &site.name, !moves_names);
        match decide_failover(sight, &intent) {
            Ok(plan) => return Reaction::Act(Act::Run(Box::new(plan))),
            Err(refusal) => refusals.push(refusal),
        }
    }
    if let Some(plan) = stopped::stands_by(view) {
        return Reaction::Act(Act::Run(Box::new(plan)));
    }
    blocked(refusals)
}

fn blocked(refusals: Vec<Refusal>) -> Reaction {
    let mut refusals = refusals.into_iter();
    let Some(mut first) = refusals.next() else {
        return wait("there is no database to promote");
    };
    for other in refusals {
        first.evidence.push(other.message);
        first.evidence.extend(other.evidence);
        first.next.extend(other.next);
    }
    Reaction::Blocked(first)
}

/// Somebody holds the right to write: the rest follows it.
fn held(
    view: &View<'_>,
    sight: &Sight<'_>,
    holder: &RightHolder,
    policy: &Policy,
    memory: &mut Memory,
    now: Moment,
) -> Reaction {
    let Some(guard) = view.guard(&holder.host) else {
        let why = view.why_unseen(&holder.host);
        return wait(format!(
            "{} keeps its lease, and is not seen here: {why}",
            holder.host
        ));
    };
    if guard.postgres.state != PostgresState::Primary {
        return wait(format!(
            "{} holds the right to write, and PostgreSQL is {}",
            holder.host,
            refusal::word(guard.postgres.state)
        ));
    }
    if let Some(plan) = follow_records(view, sight, holder) {
        return Reaction::Act(Act::Run(Box::new(plan)));
    }
    let (followers, urgent) = balancers::react(view, sight, holder, policy, memory, now);
    // One that fails keeps nobody from being rejoined.
    if let Reaction::Act(act) = &followers
        && urgent
        && memory.times(act) == 0
    {
        return followers;
    }
    match standbys::react(view, sight, holder, policy, memory, now) {
        Reaction::Rest => {}
        reaction => return reaction,
    }
    match followers {
        Reaction::Rest => heal::react(view, holder, policy, memory, now),
        reaction => reaction,
    }
}

/// The names point to a site that is lost.
fn follow_records(view: &View<'_>, sight: &Sight<'_>, holder: &RightHolder) -> Option<Plan> {
    let active = view.site_of(&holder.host);
    let mut others = view
        .topology()
        .sites
        .values()
        .filter(|site| site.name != active);
    if !others.any(|site| is_dark(view, &site.name)) || is_dark(view, &active) {
        return None;
    }
    let plan = decide_failover(sight, &intent(view, &active, false)).ok()?;
    plan.moves_records().then_some(plan)
}

/// What watchers ask for: that site active, at no loss beyond the budget.
fn intent(view: &View<'_>, site: &SiteName, database_only: bool) -> Intent {
    Intent {
        region: view.topology().sites[site].region.to_string(),
        database_only,
        allow_data_loss: None,
        fenced_by_operator: None,
    }
}

/// A majority of places, all of them elsewhere, reaches no load balancer of
/// the site.
fn is_dark(view: &View<'_>, site: &SiteName) -> bool {
    places::agree_on_dark(view, site).is_some()
}

/// Pause, observation, cooldown and repeated failure hold an act back.
fn restrain(
    view: &View<'_>,
    policy: &Policy,
    memory: &Memory,
    now: Moment,
    reaction: Reaction,
) -> Reaction {
    let Reaction::Act(act) = reaction else {
        return reaction;
    };
    let store = view.store();
    let paused = store.and_then(|store| store.paused.as_ref());
    let cooling = store.and_then(|store| store.cooling.as_ref());
    let promotes = matches!(&act, Act::Run(plan) if plan.commit().is_some());
    let why = if policy.observe {
        Some("watch.mode is observe".to_owned())
    } else if let Some(pause) = paused {
        Some(format!("paused: {pause}"))
    } else if let (true, Some(run)) = (promotes, cooling) {
        Some(format!(
            "run {run} failed over automatically a short while ago: `hafail acknowledge` allows another"
        ))
    } else {
        let waits = memory.waits(&act, policy, now);
        waits.map(|(left, times)| {
            let seconds = left.as_secs_f32();
            format!("it failed {times} times; again in {seconds:.0} s")
        })
    };
    match why {
        Some(why) => Reaction::Withheld { act, why },
        None => Reaction::Act(act),
    }
}

fn store_finding(view: &View<'_>) -> Option<Finding> {
    let promised = |host: &&HostName| {
        let lease = view.guard(host).and_then(|guard| guard.lease.as_ref());
        lease.is_some_and(|lease| lease.by_promises)
    };
    if let Some(host) = view.databases().find(promised) {
        let evidence = format!("{host} does not reach the store and goes on under promises");
        return Some(Finding::new(Diagnosis::StoreDegraded, host, vec![evidence]));
    }
    match &view.snapshot().store {
        Knowledge::Unknown { why, .. } => Some(Finding::new(
            Diagnosis::StoreLost,
            "store",
            vec![why.clone()],
        )),
        Knowledge::Known(store) if !store.silent.is_empty() => {
            let silent = store.silent.iter();
            let evidence = silent.map(|(member, why)| format!("the member on {member} {why}"));
            Some(Finding::new(
                Diagnosis::StoreDegraded,
                "store",
                evidence.collect(),
            ))
        }
        _ => None,
    }
}

/// Refusals that mean that nothing is to be done.
pub(super) fn is_settled(reason: Reason) -> bool {
    matches!(reason, Reason::AlreadyJoined | Reason::IsPrimary)
}
