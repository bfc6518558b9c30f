//! Who confirms commits: the order of writes that keeps `sync` true, so that
//! whoever is in it has every acknowledged commit.

use std::collections::BTreeSet;

use crate::ids::{HostName, Lsn};

/// The set as the store and PostgreSQL have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Members of the key `sync`.
    pub stored: BTreeSet<HostName>,
    /// Hosts in `synchronous_standby_names`.
    pub configured: BTreeSet<HostName>,
}

/// A standby as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub host: HostName,
    /// `streaming` in `pg_stat_replication`, and it has answered lately.
    pub streaming: bool,
    /// `sync_state` says that it confirms commits.
    pub confirms: bool,
    pub flushed: Option<Lsn>,
}

/// The next write. One at a time: each is looked at before the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncStep {
    /// Name these hosts in PostgreSQL.
    Configure(BTreeSet<HostName>),
    /// Write these hosts to the store.
    Store(BTreeSet<HostName>),
    /// A standby is to be added, and has not confirmed up to here yet.
    CatchUp { host: HostName, to: Lsn },
    /// As it should be.
    Settled,
}

/// The next write that brings both towards the standbys that are well.
///
/// - Adding: PostgreSQL first; the store when the standby confirms commits
///   and has flushed `mark`, a position of the log taken after PostgreSQL
///   had named it.
/// - Removing: the store first; then PostgreSQL.
///
/// `keep`: standbys stay in the set however they are (`on_standby_loss:
/// block`).
#[must_use]
pub fn next_sync(set: &Synced, seen: &[Seen], mark: Option<Lsn>, keep: bool) -> SyncStep {
    let well: BTreeSet<HostName> = seen
        .iter()
        .filter(|standby| standby.streaming)
        .map(|standby| standby.host.clone())
        .collect();
    let wanted: BTreeSet<HostName> = if keep {
        set.configured.union(&well).cloned().collect()
    } else {
        well
    };
    // Leave first: whoever is lost holds up every commit.
    let staying: BTreeSet<_> = set.stored.intersection(&wanted).cloned().collect();
    if staying != set.stored {
        return SyncStep::Store(staying);
    }
    // The store never names whom PostgreSQL does not wait for.
    if !set.stored.is_subset(&set.configured) {
        return SyncStep::Store(set.stored.intersection(&set.configured).cloned().collect());
    }
    if set.configured != wanted {
        return SyncStep::Configure(wanted);
    }
    let Some(next) = set.configured.difference(&set.stored).next() else {
        return SyncStep::Settled;
    };
    let standby = seen.iter().find(|standby| &standby.host == next);
    let caught_up = standby
        .is_some_and(|standby| standby.confirms && mark.is_some() && standby.flushed >= mark);
    if caught_up {
        let mut stored = set.stored.clone();
        stored.insert(next.clone());
        return SyncStep::Store(stored);
    }
    SyncStep::CatchUp {
        host: next.clone(),
        to: mark.unwrap_or(Lsn(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<HostName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn synced(stored: &[&str], configured: &[&str]) -> Synced {
        Synced {
            stored: set(stored),
            configured: set(configured),
        }
    }

    fn standby(streaming: bool, confirms: bool, flushed: u64) -> Seen {
        Seen {
            host: "b".parse().unwrap(),
            streaming,
            confirms,
            flushed: Some(Lsn(flushed)),
        }
    }

    #[test]
    fn adding_configures_first_and_stores_what_has_caught_up() {
        let mark = Some(Lsn(100));
        let next = |set: &Synced, seen: Seen, mark| next_sync(set, &[seen], mark, false);
        let alone = synced(&[], &[]);
        assert_eq!(
            next(&alone, standby(true, false, 90), None),
            SyncStep::Configure(set(&["b"]))
        );
        let named = synced(&[], &["b"]);
        for (seen, mark) in [
            (standby(true, false, 200), mark),
            (standby(true, true, 99), mark),
            (standby(true, true, 200), None),
        ] {
            let step = next(&named, seen.clone(), mark);
            assert!(
                matches!(step, SyncStep::CatchUp { .. }),
                "{seen:?} {mark:?}"
            );
        }
        assert_eq!(
            next(&named, standby(true, true, 100), mark),
            SyncStep::Store(set(&["b"]))
        );
        let both = synced(&["b"], &["b"]);
        assert_eq!(
            next(&both, standby(true, true, 100), mark),
            SyncStep::Settled
        );
    }

    #[test]
    fn removing_stores_first_and_then_configures() {
        let lost = [standby(false, false, 0)];
        let both = synced(&["b"], &["b"]);
        assert_eq!(
            next_sync(&both, &lost, None, false),
            SyncStep::Store(set(&[]))
        );
        let written = synced(&[], &["b"]);
        let next = next_sync(&written, &lost, None, false);
        assert_eq!(next, SyncStep::Configure(set(&[])));
        assert_eq!(next_sync(&both, &[], None, true), SyncStep::Settled);
    }

    #[test]
    fn the_store_never_names_whom_postgresql_does_not_wait_for() {
        let astray = synced(&["b"], &[]);
        let seen = [standby(true, true, 500)];
        let next = next_sync(&astray, &seen, Some(Lsn(1)), false);
        assert_eq!(next, SyncStep::Store(set(&[])));
    }
}
