//! How the old primary can be proved not to write.

use crate::{
    ids::HostName,
    observation::{Knowledge, StoreSight},
    step::FenceWay,
};

use super::{
    Intent,
    refusal::{self, Refusal},
    view::View,
};

/// The ways that are open, best first.
pub(super) fn ways(
    view: &View<'_>,
    intent: &Intent,
    old: &HostName,
) -> Result<Vec<FenceWay>, Refusal> {
    let mut ways = Vec::new();
    let store = view.store();
    if store.is_some_and(StoreSight::is_free) {
        ways.push(FenceWay::Lease);
    }
    if view.guard(old).is_some() {
        ways.push(FenceWay::Guard);
    }
    if store.is_some_and(|store| !store.is_free()) {
        ways.push(FenceWay::Lease);
    }
    if view.topology().is_automatic() && !ways.is_empty() {
        return Ok(ways);
    }
    let machine = view.snapshot().machines.get(old);
    match (&intent.fenced_by_operator, machine) {
        (Some(reason), _) => ways.push(FenceWay::Operator {
            reason: reason.clone(),
        }),
        (None, Some(Knowledge::Known(_))) => ways.push(FenceWay::PowerOff),
        (None, _) => {}
    }
    if ways.is_empty() {
        return Err(refusal::no_proof(view, intent, old));
    }
    Ok(ways)
}
