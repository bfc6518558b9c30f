//! What all journals together tell to a decision.

use std::collections::BTreeSet;

use crate::{decide::Past, plan::Kind, step::Step};

use super::{Entry, Event, IllegalEvent, Progress};

/// Whether a run was about databases that were destroyed since: another
/// cluster than the `clusters` (PostgreSQL's system identifiers) that are seen
/// now. While none is seen, nothing says so.
#[must_use]
pub fn is_gone(cluster: Option<&String>, clusters: &BTreeSet<String>) -> bool {
    !clusters.is_empty() && cluster.is_some_and(|cluster| !clusters.contains(cluster))
}

/// Folds the journals of all runs, oldest first. Those of clusters that are
/// gone tell nothing.
///
/// # Errors
/// A journal that no run can have written.
pub fn past(journals: &[Vec<Entry>], clusters: &BTreeSet<String>) -> Result<Past, IllegalEvent> {
    let mut past = Past::default();
    for entries in journals {
        let Some((first, rest)) = entries.split_first() else {
            continue;
        };
        let mut progress = Progress::begin(first)?;
        if is_gone(progress.plan.cluster.as_ref(), clusters) {
            continue;
        }
        for entry in rest {
            progress.apply(entry)?;
            learn(&mut past, &progress, &entry.event);
        }
        past.runs.insert(progress.run.clone());
        past.epoch = past.epoch.max(progress.undo_epoch());
        past.unfinished = (!progress.is_final()).then(|| progress.run.clone());
        let open = past.unfinished.is_some();
        past.gives_way = open && matches!(progress.plan.kind, Kind::Heal | Kind::Rejoin);
        past.can_be_left = open && progress.is_committed() && !moves_names(&progress);
    }
    Ok(past)
}

fn moves_names(progress: &Progress) -> bool {
    let mut left = progress.left();
    left.any(|planned| matches!(planned.step, Step::MoveRecords { .. }))
}

fn learn(past: &mut Past, progress: &Progress, event: &Event) {
    let step = |number: &usize| progress.plan.step(*number).map(|planned| &planned.step);
    match event {
        // Leaving the set counts from its beginning, joining from its end.
        Event::StepStarted { step: number } => {
            if let Some(Step::SetSynchronous { host, .. }) = step(number) {
                past.synchronous.insert(host.clone(), Vec::new());
            }
        }
        Event::StepDone { step: number, .. } => match step(number) {
            Some(Step::SetSynchronous { host, standbys }) => {
                past.synchronous.insert(host.clone(), standbys.clone());
                past.settled = past.settled.max(progress.epoch);
            }
            Some(Step::Promote { host, .. }) => {
                past.primary = Some(host.clone());
                past.settled = past.settled.max(progress.epoch);
            }
            _ => {}
        },
        _ => {}
    }
}
