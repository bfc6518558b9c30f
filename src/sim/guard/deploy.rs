//! As the deploy left it: the first primary holds the right, its standby has
//! every acknowledged commit.

use crate::{
    coordination::{Primary, Right, SyncSet, Taken, prefix},
    ids::{Epoch, HostName},
    order::PostgresState,
    ports::quorum::{Change, LeaseId},
    right::Holding,
};

use super::{super::Core, Held, NAME};

const FIRST: Epoch = Epoch(1);

/// Writes the keys and lets the primary hold the right.
pub(in crate::sim) fn deploy(core: &mut Core, host: &HostName) {
    let database = &core.state.databases[host];
    if database.state != PostgresState::Primary {
        return;
    }
    let primary = Primary {
        host: host.clone(),
        epoch: FIRST,
        timeline: Some(database.timeline),
        lsn: Some(database.end()),
    };
    let taken = Taken {
        epoch: FIRST,
        host: host.clone(),
    };
    let sync = SyncSet {
        primary: host.clone(),
        members: database.synchronous.iter().cloned().collect(),
        epoch: FIRST,
    };
    let terms = core.state.settings.automatic.expect("automatic mode");
    let leader = core.known().members[0].clone();
    let now = core.moment(&leader);
    let quorum = core.store().expect("automatic mode");
    let lease = LeaseId(0x1001);
    quorum.grant(lease, terms.ttl, now);
    let then = [
        put("primary", &primary, Some(lease)),
        put("epoch", &taken, None),
        put("sync", &sync, None),
    ];
    let created = quorum.commit(&[], &then).ok().flatten();
    let right = Right {
        lease,
        epoch: FIRST,
        created: created.expect("an empty store takes everything"),
    };
    let holding = Holding::sent(&terms, core.deadline_clock(host));
    let boots = core.state.machines[host].boots;
    let guard = core.guard(host);
    guard.disk.right = Some(right);
    guard.disk.grant = Some((FIRST, boots));
    guard.held = Some(Held { right, holding });
    core.arm(host, &holding);
    core.heed_sync(&[key("sync")]);
}

fn put<T: serde::Serialize>(name: &str, value: &T, lease: Option<LeaseId>) -> Change {
    Change::Put {
        key: key(name),
        text: serde_json::to_string(value).expect("plain data with string keys"),
        lease,
    }
}

/// The name of a key as [`crate::coordination`] writes it.
pub(in crate::sim) fn key(name: &str) -> String {
    format!("{}live/{name}", prefix(NAME))
}
