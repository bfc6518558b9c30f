//! A database that was lost comes back as a standby, and its site with it.

use crate::{
    ids::HostName,
    step::{Part::Forward, Step},
    topology::Role,
};

use super::{
    Kind, Move, Plan,
    build::{Builder, beside},
    forward,
};

/// What a rejoin was told beyond a [`Move`]: there `old` and `new` are both
/// the running primary.
#[derive(Clone, Debug)]
pub struct RejoinFacts {
    /// The database host that comes back.
    pub host: HostName,
    /// It never was a primary since: following is enough.
    pub may_have_diverged: bool,
}

/// Rewind (else copy) → stream → synchronous again → queue → balancers.
#[must_use]
pub fn rejoin(given: &Move<'_>, facts: &RejoinFacts) -> Plan {
    let primary = &given.new;
    let mut plan = Builder::new(given);
    let step = if facts.may_have_diverged {
        Step::Rejoin {
            host: facts.host.clone(),
            upstream: primary.clone(),
        }
    } else {
        Step::Follow {
            host: facts.host.clone(),
            upstream: primary.clone(),
        }
    };
    let back = plan.add(Forward, &[], step);
    forward::rejoined(&mut plan, back, &facts.host, primary);
    queue(&mut plan, facts);
    let all: Vec<_> = (1..=plan.count()).collect();
    forward::verify_writes(&mut plan, &all);
    plan.finish(Kind::Rejoin)
}

/// A database that is stopped, and need not be, stands by: it follows the
/// other one, which is no primary.
#[must_use]
pub fn stand_by(given: &Move<'_>) -> Plan {
    let mut plan = Builder::new(given);
    let step = Step::Follow {
        host: given.old.clone(),
        upstream: given.new.clone(),
    };
    plan.add(Forward, &[], step);
    plan.finish(Kind::Rejoin)
}

/// The queue of that site copies the active one, and may be used again.
fn queue(plan: &mut Builder<'_>, facts: &RejoinFacts) {
    let given = plan.given;
    let active = beside(given.topology, &given.new, Role::Queue);
    let returned = beside(given.topology, &facts.host, Role::Queue);
    let (Some(active), Some(returned)) = (active, returned) else {
        return;
    };
    let step = Step::FollowQueue {
        host: returned.clone(),
        master: active.clone(),
    };
    if active == returned || !plan.usable(&returned, &step) {
        return;
    }
    let follows = plan.add(Forward, &[], step);
    forward::release_queue(plan, follows, &returned);
}
