//! The unplanned way: the primary is lost.

use crate::{
    ids::HostName,
    step::{FenceWay, Part, Step},
};

use super::{Kind, Loss, Move, Plan, build::Builder, forward};

/// Claim the candidate → prove that the old primary is fenced → promote →
/// redirect. The old primary comes back by a rejoin.
#[must_use]
pub fn failover(given: &Move<'_>) -> Plan {
    let (old, new) = (&given.old, &given.new);
    let mut plan = Builder::new(given);
    let claimed = plan.add(Part::Reversible, &[], Step::Claim { host: new.clone() });
    let fence = fence(&mut plan, old);
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

/// A machine that is off does not say how far its log went, which a loss that
/// is permitted up to some bytes is judged by.
fn fence(plan: &mut Builder<'_>, old: &HostName) -> Step {
    let lacks_at_most = plan.given.lacks_at_most;
    let must_tell = lacks_at_most.is_some();
    let (silent, ways): (Vec<_>, _) = (plan.given.ways.iter().cloned())
        .partition(|way| must_tell && matches!(way, FenceWay::PowerOff));
    if !silent.is_empty() {
        let off = Step::Fence {
            host: old.clone(),
            ways: silent,
            lacks_at_most: None,
            trace: None,
        };
        let why = "nobody would know then how much is lost; --allow-data-loss any permits that";
        plan.leave_out(&off, why);
    }
    Step::Fence {
        host: old.clone(),
        ways,
        lacks_at_most,
        trace: plan.given.trace.clone(),
    }
}
