//! What a failover would lose of what was acknowledged, as far as it can be
//! known, and whether that is permitted.

use crate::{
    ids::{Epoch, HostName},
    observation::Knowledge,
    order::Trace,
    plan::Loss,
    ports::store::RunId,
};

use super::{
    Allowance, Intent, is_synchronous,
    refusal::{self, Refusal},
    view::View,
};

/// Deploying uses the first epoch; every later one belongs to a run.
const DEPLOYED: Epoch = Epoch(1);

/// What the candidate may lack of what `last`, the last primary, acknowledged.
pub(super) fn expected(view: &View<'_>, last: &HostName, new: &HostName) -> Loss {
    if view.topology().is_automatic() && is_synchronous(view.topology()) {
        return by_store(view, last, new);
    }
    if last == new {
        return itself(view, new);
    }
    if let Some(loss) = by_position(view, last, new) {
        return loss;
    }
    if !is_synchronous(view.topology()) {
        return Loss::Unknown {
            because: format!(
                "replication is asynchronous and {last} cannot be asked how far it was"
            ),
        };
    }
    by_membership(view, last, new)
}

/// In automatic mode the store says who has every acknowledged commit, and
/// the candidate gets the right to write only if it still says so then.
fn by_store(view: &View<'_>, last: &HostName, new: &HostName) -> Loss {
    match view.store() {
        Some(store) if store.has_all.contains(new) => nothing(format!(
            "the store says that {new} has every acknowledged commit"
        )),
        Some(_) => by_position(view, last, new).unwrap_or_else(|| Loss::Unknown {
            because: format!(
                "the store does not name {new} among those with every acknowledged commit: \
                 commits on {last} went on without it"
            ),
        }),
        None => Loss::Unknown {
            because: "the shared store cannot be asked who has every acknowledged commit"
                .to_owned(),
        },
    }
}

/// The candidate seems to have been the last primary. Sure is that only where
/// every other database is known to have no more, or the journal is complete.
fn itself(view: &View<'_>, new: &HostName) -> Loss {
    let own = view.end(new);
    let has_no_more = |host: &HostName| view.end(host).is_some_and(|end| Some(end) <= own);
    if view
        .databases()
        .filter(|host| *host != new)
        .all(has_no_more)
    {
        return nothing(format!("no other database has more than {new}"));
    }
    match (&view.past().primary, other_runs(view, new)) {
        (_, Some(because)) => Loss::Unknown { because },
        (Some(primary), None) if primary == new => nothing(format!(
            "{new} was the last primary itself, says the journal"
        )),
        (None, None) => nothing(format!("{new} is the primary since the deploy")),
        (Some(primary), None) => Loss::Unknown {
            because: format!(
                "the journal says that {primary} was the last primary, and it cannot be asked"
            ),
        },
    }
}

/// Why a run that this journal does not have may have been at work: another
/// may have promoted, and changed who confirms commits.
fn other_runs(view: &View<'_>, new: &HostName) -> Option<String> {
    if let Some(Knowledge::Unknown { why, .. }) = view.snapshot().machines.get(new) {
        return Some(format!(
            "the cloud cannot be asked whether a run that is not in this journal deposed {new}: {why}"
        ));
    }
    let past = view.past();
    let settled = past.settled.max(DEPLOYED);
    let foreign =
        |trace: &Trace| trace.epoch > settled && !past.runs.contains(&RunId(trace.run.clone()));
    view.snapshot().traces().find(foreign).map(|trace| {
        format!(
            "{} (epoch {}) was at work and is not in the journal here: it may have changed who confirms commits",
            name(&trace), trace.epoch
        )
    })
}

fn name(trace: &Trace) -> String {
    match trace.run.as_str() {
        "" => "a run".to_owned(),
        run => format!("run {run}"),
    }
}

/// Where the last primary can still say how far it was.
fn by_position(view: &View<'_>, last: &HostName, new: &HostName) -> Option<Loss> {
    let postgres = &view.guard(last)?.postgres;
    let end = postgres.ended_at()?;
    let received = view.received(new)?;
    let bytes = end.bytes_since(received);
    let because = format!("{last} ended at {end}, {new} has up to {received}");
    Some(match bytes {
        // A primary that still runs may go on acknowledging until it is
        // fenced; only a clean stop makes the position final.
        0 if postgres.shutdown_checkpoint.is_some() => nothing(because),
        0 if is_synchronous(view.topology()) => return None,
        bytes => Loss::Bytes { bytes, because },
    })
}

/// In synchronous mode whoever had to confirm has every acknowledged commit.
/// Manual mode never takes a lost standby out of the set, so the set is what
/// the last run, or the deploy, left.
fn by_membership(view: &View<'_>, last: &HostName, new: &HostName) -> Loss {
    if let Some(because) = other_runs(view, new) {
        return Loss::Unknown { because };
    }
    let past = view.past();
    match past.synchronous.get(last) {
        Some(standbys) if standbys.contains(new) => nothing(format!(
            "commits on {last} had to wait for {new} since the last run"
        )),
        Some(_) => Loss::Unknown {
            because: format!(
                "the last run left commits on {last} waiting for nobody, and no rejoin followed"
            ),
        },
        None if past.synchronous.is_empty()
            && view.site_of(last) == view.topology().initial_primary =>
        {
            nothing(format!(
                "replication is synchronous since the deploy: commits on {last} had to wait for {new}"
            ))
        }
        None => Loss::Unknown {
            because: format!("the journal does not say who had to confirm commits on {last}"),
        },
    }
}

fn nothing(because: String) -> Loss {
    Loss::Nothing { because }
}

/// Refuses a loss that neither the topology nor the operator permits. Answers
/// what a known one may come to until the old primary is fenced.
pub(super) fn permitted(
    view: &View<'_>,
    intent: &Intent,
    loss: &Loss,
) -> Result<Option<u64>, Refusal> {
    let limit = if is_synchronous(view.topology()) {
        0
    } else {
        view.topology().database.maximum_lag_on_failover
    };
    let most = match intent.allow_data_loss {
        Some(Allowance::Any) => return Ok(None),
        Some(Allowance::Bytes(allowed)) => limit.max(allowed),
        None => limit,
    };
    match loss {
        Loss::Nothing { .. } => Ok(None),
        Loss::Bytes { bytes, .. } if *bytes <= most => Ok(Some(most)),
        Loss::Bytes { bytes, because } => {
            Err(refusal::behind(view, intent, *bytes, limit, because))
        }
        Loss::Unknown { because } => Err(refusal::loss_unknown(view, intent, because)),
    }
}
