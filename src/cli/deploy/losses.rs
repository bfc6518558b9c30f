//! Machines that are made anew lose their disks.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cli::{CommandError, Context, Exit},
    ids::HostName,
    observation::Snapshot,
    order::PostgresState,
    ports::{World, quorum::MemberHealth},
    probe,
    provision::{Changes, desired::instance_key, diff::What},
    topology::{Role, Topology},
};

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
    if is_served(&probe::snapshot(topology, world).await, anew) {
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
    let Some(store) = &world.quorum else {
        return Ok(());
    };
    let members = topology.store_members();
    let mut lost = members.iter().filter(|member| anew.contains(&member.name));
    let Some(first) = lost.next() else {
        return Ok(());
    };
    if keeps_majority(store.members().await, anew) {
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
fn keeps_majority(members: BTreeMap<String, MemberHealth>, anew: &BTreeSet<HostName>) -> bool {
    let all = members.len();
    let stays = |name: &String| !anew.iter().any(|host| host.as_str() == name);
    let serve = members.into_iter().filter(|(name, _)| stays(name));
    serve.filter_map(|(_, health)| health.trouble().is_none().then_some(())).count() * 2 > all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<HostName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_member_is_lost_only_while_all_others_serve() {
        let dark = || MemberHealth::Unknown { why: "dark".to_owned() };
        let store = |third| {
            let members = [("a", MemberHealth::Leader), ("b", MemberHealth::Follower), ("c", third)];
            members.map(|(name, health)| (name.to_owned(), health)).into()
        };
        assert!(keeps_majority(store(MemberHealth::Follower), &names(&["a"])));
        assert!(keeps_majority(store(dark()), &names(&["c"])));
        assert!(!keeps_majority(store(dark()), &names(&["a"])));
        assert!(!keeps_majority(store(MemberHealth::Follower), &names(&["a", "b"])));
    }
}
