//! Machines that are made anew lose their disks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    cli::{CommandError, Context, Exit},
    ids::HostName,
    observation::Snapshot,
    order::PostgresState,
    ports::World,
    probe,
    provision::{Changes, desired::instance_key, diff::What},
    topology::{Host, Role, Topology},
};

/// How long guards may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Refuses changes by which what must not be lost would be: the last good
/// database, the majority of the store.
pub(super) async fn refuse(
    context: &Context,
    topology: &Topology,
    changes: &Changes,
) -> Result<(), CommandError> {
    let is_anew = |key| {
        let change = changes.entries.get(&key);
        change.is_some_and(|change| matches!(change.what, What::Replace { .. }))
    };
    let hosts = topology.hosts().filter(|host| is_anew(instance_key(host)));
    let anew: BTreeSet<HostName> = hosts.map(|host| host.name.clone()).collect();
    if anew.is_empty() {
        return Ok(());
    }
    let world = context.deployment(topology).await?.world;
    refuse_last_database(topology, &world, &anew).await?;
    refuse_majority(topology, &world, &anew).await
}

async fn refuse_last_database(
    topology: &Topology,
    world: &World,
    anew: &BTreeSet<HostName>,
) -> Result<(), CommandError> {
    let (lost, others): (Vec<_>, Vec<_>) =
        topology.hosts_with(Role::Db).partition(|host| anew.contains(&host.name));
    let Some(first) = lost.first() else {
        return Ok(());
    };
    let seen = probe::glance(topology, world, PATIENCE, &BTreeSet::new()).await;
    if is_served(&seen, anew) {
        return Ok(());
    }
    let name = &first.name;
    let message = format!(
        "{name} may have the only good data: no other database is seen as primary; nothing was changed"
    );
    let mut error = CommandError::new(Exit::Refused, message).id("last-database");
    if let Some(site) = others.first().and_then(|host| topology.sites.get(&host.site)) {
        error = error.hint(format!(
            "make another one primary first: hafail failover --region {}",
            site.region
        ));
    }
    Err(error)
}

/// Whether a database that stays is seen to accept writes.
fn is_served(seen: &Snapshot, anew: &BTreeSet<HostName>) -> bool {
    let mut others = seen.guards.iter().filter(|(host, _)| !anew.contains(*host));
    others.any(|(_, guard)| {
        guard.known().is_some_and(|guard| guard.postgres.state == PostgresState::Primary)
    })
}

async fn refuse_majority(
    topology: &Topology,
    world: &World,
    anew: &BTreeSet<HostName>,
) -> Result<(), CommandError> {
    let (lost, others): (Vec<&Host>, Vec<&Host>) =
        topology.store_members().into_iter().partition(|host| anew.contains(&host.name));
    let Some(first) = lost.first() else {
        return Ok(());
    };
    let others: Vec<_> = others.iter().map(|host| host.name.as_str()).collect();
    if keeps_majority(lost.len(), &others, &probe::silent_members(world).await) {
        return Ok(());
    }
    let name = &first.name;
    let message = format!(
        "without {name} the store would have no majority, and what it knows would be lost; nothing was changed"
    );
    Err(CommandError::new(Exit::Refused, message)
        .id("store-majority")
        .hint("hafail status names its members; one at a time, and only while all others serve"))
}

/// Whether more than half of the members serve and stay.
fn keeps_majority(lost: usize, others: &[&str], silent: &BTreeMap<String, String>) -> bool {
    let serve = others.iter().filter(|name| !silent.contains_key(**name));
    serve.count() * 2 > lost + others.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_lost_only_while_all_others_serve() {
        let all_serve = BTreeMap::new();
        let c_is_dark = BTreeMap::from([("c".to_owned(), "dark".to_owned())]);
        assert!(keeps_majority(1, &["b", "c"], &all_serve));
        assert!(keeps_majority(1, &["a", "b"], &c_is_dark));
        assert!(!keeps_majority(1, &["b", "c"], &c_is_dark));
        assert!(!keeps_majority(2, &["c"], &all_serve));
    }
}
