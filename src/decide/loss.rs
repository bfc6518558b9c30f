//! What a failover would lose of what was acknowledged, as far as it can be
//! known, and whether that is permitted.

use crate::{
    ids::{Epoch, HostName},
    plan::Loss,
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
    match (&view.past().primary, is_journal_complete(view)) {
        (Some(primary), true) if primary == new => nothing(format!(
            "{new} was the last primary itself, says the journal"
        )),
        (None, true) => nothing(format!("{new} is the primary since the deploy")),
        _ => Loss::Unknown {
            because: format!(
                "it is not sure that {new} was the last primary: another database cannot be asked"
            ),
        },
    }
}

/// No guard that is seen has obeyed a run that the journal does not have.
fn is_journal_complete(view: &View<'_>) -> bool {
    newest_epoch(view) <= view.past().epoch.max(DEPLOYED)
}

fn newest_epoch(view: &View<'_>) -> Epoch {
    let guards = view.databases().filter_map(|host| view.guard(host));
    guards.map(|guard| guard.epoch).max().unwrap_or_default()
}

/// Where the last primary can still say how far it was.
fn by_position(view: &View<'_>, last: &HostName, new: &HostName) -> Option<Loss> {
    let postgres = &view.guard(last)?.postgres;
    let end = postgres.shutdown_checkpoint.or(postgres.written)?;
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
    let past = view.past();
    let seen = newest_epoch(view);
    if !is_journal_complete(view) {
        return Loss::Unknown {
            because: format!(
                "the guards have seen epoch {seen}, the journal here ends at {}: other runs may have changed who confirms commits",
                past.epoch
            ),
        };
    }
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

/// Refuses a loss that neither the topology nor the operator permits.
pub(super) fn permitted(view: &View<'_>, intent: &Intent, loss: &Loss) -> Result<(), Refusal> {
    let limit = if is_synchronous(view.topology()) {
        0
    } else {
        view.topology().database.maximum_lag_on_failover
    };
    match (loss, intent.allow_data_loss) {
        (Loss::Nothing { .. }, _) | (_, Some(Allowance::Any)) => Ok(()),
        (Loss::Bytes { bytes, .. }, _) if *bytes <= limit => Ok(()),
        (Loss::Bytes { bytes, .. }, Some(Allowance::Bytes(allowed))) if *bytes <= allowed => Ok(()),
        (Loss::Bytes { bytes, because }, _) => {
            Err(refusal::behind(view, intent, *bytes, limit, because))
        }
        (Loss::Unknown { because }, _) => Err(refusal::loss_unknown(view, intent, because)),
    }
}
