//! Nothing is promoted: load balancers, queue and names that do not follow the
//! primary are sent after it.

use crate::step::{Part::Forward, Step};

use super::{Kind, Move, Plan, build::Builder, forward};

/// Claim the primary → redirect → verify. `old` is the other database.
#[must_use]
pub fn redirect(given: &Move<'_>) -> Plan {
    let mut plan = Builder::new(given);
    let claimed = plan.add(
        Forward,
        &[],
        Step::Claim {
            host: given.new.clone(),
        },
    );
    let redirected = forward::send(&mut plan, claimed, claimed);
    forward::verify(&mut plan, &redirected);
    plan.finish(Kind::Redirect)
}
