//! The planned way: the healthy primary hands over.

use crate::{
    step::{Part, Step},
    topology::Role,
};

use super::{
    Kind, Move, Plan,
    build::{Builder, beside, with_role},
    forward,
};

/// Clients of the queue wait at most so long, should the run die meanwhile.
const QUEUE_PAUSE_MS: u64 = 20_000;

/// Hold → stop → prove equality → promote → redirect → follow.
#[must_use]
pub fn switchover(given: &Move<'_>) -> Plan {
    let (old, new) = (&given.old, &given.new);
    let mut plan = Builder::new(given);
    let reversible = Part::Reversible;

    // The candidate first: whoever holds it last is the one who may promote.
    let claimed = plan.add(reversible, &[], Step::Prepare { host: new.clone() });
    let prepared = plan.add(reversible, &[claimed], Step::Prepare { host: old.clone() });
    let mut held = plan.each(
        reversible,
        &[prepared],
        &with_role(given.topology, Role::Lb),
        |lb| Step::HoldWrites {
            lb: lb.clone(),
            server: old.clone(),
        },
    );
    held.extend(pause_queue(&mut plan, prepared));
    held.push(prepared);
    let stopped = plan.add(reversible, &held, Step::Demote { host: old.clone() });
    let equal = plan.add(
        reversible,
        &[stopped],
        Step::ProveEquality {
            from: old.clone(),
            to: new.clone(),
        },
    );
    let promoted = plan.add(
        Part::Commit,
        &[equal],
        Step::Promote {
            host: new.clone(),
            from: old.clone(),
            // All of its log is proven to be there.
            in_sync: false,
        },
    );
    let redirected = forward::redirect(&mut plan, promoted);
    forward::follow(&mut plan, &redirected);
    forward::verify(&mut plan, &redirected);
    plan.finish(Kind::Switchover)
}

fn pause_queue(plan: &mut Builder<'_>, after: usize) -> Option<usize> {
    let given = plan.given;
    let queue = beside(given.topology, &given.old, Role::Queue)?;
    beside(given.topology, &given.new, Role::Queue)?;
    let step = Step::PauseQueue {
        host: queue.clone(),
        limit_ms: QUEUE_PAUSE_MS,
    };
    plan.usable(&queue, &step)
        .then(|| plan.add(Part::Reversible, &[after], step.clone()))
}
