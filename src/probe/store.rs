//! Asks the shared store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    coordination::{Shared, State},
    ids::HostName,
    observation::{Knowledge, RightHolder, StoreSight},
    ports::World,
    status::Automatic,
    topology::Topology,
};

/// What the store says; absent where there is none.
pub async fn sight(topology: &Topology, world: &World) -> Knowledge<StoreSight> {
    let Some(quorum) = &world.quorum else {
        return Knowledge::Absent;
    };
    let shared = Shared::new(Arc::clone(quorum), &topology.name);
    match shared.state().await {
        Ok(state) => Knowledge::Known(seen(topology, &state)),
        Err(error) => Knowledge::unknown(error),
    }
}

/// What the store says, for people; absent where there is none.
pub async fn automatic(topology: &Topology, world: &World) -> Knowledge<Automatic> {
    let Some(quorum) = &world.quorum else {
        return Knowledge::Absent;
    };
    let shared = Shared::new(Arc::clone(quorum), &topology.name);
    let (state, decisions) = futures::join!(shared.state(), shared.decisions());
    match (state, decisions) {
        (Ok(state), Ok(mut decisions)) => Knowledge::Known(Automatic::new(state, decisions.pop())),
        (Err(error), _) | (_, Err(error)) => Knowledge::unknown(error),
    }
}

/// The state of the store in the words of a decision.
#[must_use]
pub fn seen(topology: &Topology, state: &State) -> StoreSight {
    let primary = state.primary.as_ref().map(|key| RightHolder {
        host: key.value.host.clone(),
        epoch: key.value.epoch,
    });
    let last = state.epoch.as_ref().map(|key| RightHolder {
        host: key.value.host.clone(),
        epoch: key.value.epoch,
    });
    let databases = topology.hosts_with(crate::topology::Role::Db);
    let has_all = databases.map(|host| &host.name);
    let unreached = state.said.iter().map(|(place, said)| {
        let asked = said.balancers.iter().chain(&said.guards);
        let out = asked.filter(|(_, reached)| !**reached);
        let out: BTreeSet<HostName> = out.map(|(host, _)| host.clone()).collect();
        (place.clone(), out)
    });
    StoreSight {
        primary,
        last,
        has_all: has_all
            .filter(|host| state.has_all(host))
            .cloned()
            .collect(),
        paused: state.pause.as_ref().map(|key| {
            let pause = &key.value;
            format!("{} (by {}, until {})", pause.why, pause.by, pause.until)
        }),
        cooling: state.cooldown.as_ref().map(|key| key.value.run.clone()),
        leader: state.leader.as_ref().map(|key| key.value.host.clone()),
        locked: state.lock.is_some(),
        healed: (state.healed.iter())
            .map(|healed| (healed.run.clone(), healed.host.clone()))
            .collect(),
        unreached: unreached.collect(),
        silent: BTreeMap::new(),
    }
}

/// Members of the store that do not serve, each with the reason.
pub async fn silent_members(world: &World) -> BTreeMap<String, String> {
    let Some(quorum) = &world.quorum else {
        return BTreeMap::new();
    };
    let members = quorum.members().await.into_iter();
    let silent = members.filter_map(|(name, health)| Some((name, health.trouble()?)));
    silent.collect()
}
