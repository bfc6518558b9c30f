//! The unplanned way: the primary is lost.

use crate::step::{Part, Step};

use super::{Kind, Loss, Move, Plan, build::Builder, forward};

/// Claim the candidate → prove that the old primary is fenced → promote →
/// redirect. The old primary comes back by a rejoin.
#[must_use]
pub fn failover(given: &Move<'_>) -> Plan {
    let (old, new) = (&given.old, &given.new);
    let mut plan = Builder::new(given);
    let claimed = plan.add(Part::Reversible, &[], Step::Claim { host: new.clone() });
    let fence = Step::Fence {
        host: old.clone(),
        ways: given.ways.clone(),
    };
    let fenced = plan.add(Part::Reversible, &[claimed], fence);
    let promoted = plan.add(
        Part::Commit,
        &[fenced],
        Step::Promote {
            host: new.clone(),
            from: old.clone(),
            in_sync: given.keeps_set() && matches!(given.loss, Loss::Nothing { .. }),
        },
    );
    let redirected = forward::redirect(&mut plan, promoted);
    let follow = Step::Follow {
        host: old.clone(),
        upstream: new.clone(),
    };
    plan.leave_out(
        &follow,
        &format!("it may have diverged: `hafail rejoin {old}` afterwards"),
    );
    forward::verify(&mut plan, &redirected);
    plan.finish(Kind::Failover)
}
