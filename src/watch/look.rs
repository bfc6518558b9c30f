//! Looking: often at what answers at once, now and then at everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Remembered, Watcher};
use crate::{
    coordination::State,
    decide::{Past, Reaction, Sight, Verdict, decide_automatically, is_away},
    history::{HistoryError, journals},
    ids::HostName,
    journal,
    observation::{Knowledge, Snapshot, StoreSight},
    probe,
    topology::{HealMode, Role},
    watch::Notice,
};

/// Every so many looks the cloud and the records are asked as well: their
/// interfaces are slow and count requests.
const EVERYTHING: u32 = 30;
/// Every so many looks the leader asks each member of the store, and the cloud
/// is asked of the machines while something does not answer.
const OTHERS: u32 = 10;
/// How long the cloud may take then: the right to write may become free
/// meanwhile.
const CLOUD: Duration = Duration::from_secs(1);

impl Watcher {
    /// Guards, load balancers and queues now; machines, records and a write
    /// as they were last seen.
    pub(super) async fn look(&mut self, state: &State) -> Snapshot {
        let (topology, world) = (&self.settings.topology, &self.world);
        let everything = self.looks.is_multiple_of(EVERYTHING) && state.primary.is_some();
        self.looks = self.looks.wrapping_add(1);
        let now_and_then = self.looks.is_multiple_of(OTHERS) && state.primary.is_some();
        let leader = state.leader.as_ref().map(|key| &key.value.host);
        let asks_members = now_and_then && leader == Some(&self.settings.host);
        let members = async {
            match asks_members {
                true => Some(probe::silent_members(world).await),
                false => None,
            }
        };
        let (mut snapshot, members) = if everything {
            let (snapshot, names, members) = futures::join!(
                probe::snapshot(topology, world),
                probe::names(topology, world),
                members,
            );
            self.names = names;
            (snapshot, members)
        } else {
            // Only at the moment when the right has become free: a host that
            // comes back needs time for its first answer.
            let before = self.kept.as_ref().filter(|_| state.primary.is_none());
            let before = before.filter(|kept| holds(kept));
            let silent = before.map(silent).unwrap_or_default();
            let glance = probe::glance(topology, world, self.settings.glance, &silent);
            futures::join!(glance, members)
        };
        self.silent = members.unwrap_or_else(|| std::mem::take(&mut self.silent));
        if !everything && let Some(kept) = &self.kept {
            snapshot.machines = match now_and_then && self.misses_any(&snapshot) {
                true => probe::machines(topology, world, CLOUD).await,
                false => kept.machines.clone(),
            };
            snapshot.records = kept.records.clone();
        }
        snapshot.store = Knowledge::Known(StoreSight {
            silent: self.silent.clone(),
            ..probe::seen(topology, state)
        });
        self.kept = Some(snapshot.clone());
        snapshot
    }

    /// Whether a host that may be healed does not answer.
    fn misses_any(&self, snapshot: &Snapshot) -> bool {
        let apps = self.settings.topology.hosts_with(Role::App);
        let away = |host: &HostName| {
            let mut proxies = snapshot.proxies.values().filter_map(Knowledge::known);
            proxies.any(|seen| is_away(seen, host))
        };
        let kept = self.kept.iter().flat_map(|kept| kept.machines.values());
        let mut down = kept
            .filter_map(Knowledge::known)
            .filter(|machine| machine.is_down());
        self.settings.policy.heal.mode != HealMode::Off
            && (down.next().is_some()
                || !silent(snapshot).is_empty()
                || apps.into_iter().any(|host| away(&host.name)))
    }

    /// What the leader makes of it.
    pub(super) async fn decide(
        &mut self,
        state: &State,
        mut snapshot: Snapshot,
    ) -> Option<Verdict> {
        let (past, promoted) = match self.past(state, &snapshot).await {
            Ok(known) => known,
            Err(error) => {
                self.notices.tell(&Notice::Blind(error.to_string()));
                return None;
            }
        };
        heed_cooldown(&mut snapshot, &promoted);
        let now = self.world.clock.now();
        let sight = Sight {
            topology: &self.settings.topology,
            inventory: &self.world.inventory,
            snapshot: &snapshot,
            past: &past,
        };
        let verdict = decide_automatically(&sight, &self.settings.policy, &self.memory, now);
        self.memory = verdict.memory.clone();
        self.account(&verdict).await;
        if let Reaction::Act(act) = &verdict.reaction {
            let epoch = snapshot.newest_epoch().max(past.epoch).next().next();
            self.act(act, epoch).await;
        }
        Some(verdict)
    }

    /// The journals, read anew when somebody has worked on them since.
    async fn past(
        &mut self,
        state: &State,
        snapshot: &Snapshot,
    ) -> Result<(Past, BTreeSet<String>), HistoryError> {
        let run = state.last_run.as_ref().map(|key| key.modified);
        if let Some(known) = &self.past
            && known.run == run
            && state.lock.is_none()
        {
            return Ok((known.past.clone(), known.promoted.clone()));
        }
        let journals = journals(&self.journals).await?;
        let mut promoted = BTreeSet::new();
        for (run, entries) in &journals {
            if journal::replay(run, entries)?.may_be_committed() {
                promoted.insert(run.to_string());
            }
        }
        let journals: Vec<_> = journals.into_iter().map(|(_, entries)| entries).collect();
        let past = journal::past(&journals, &snapshot.clusters())?;
        self.past = state.lock.is_none().then(|| Remembered {
            run,
            past: past.clone(),
            promoted: promoted.clone(),
        });
        Ok((past, promoted))
    }
}

/// The cooldown is written before its run begins: one that never came to its
/// promotion, because its leader died, must not hold back the next.
fn heed_cooldown(snapshot: &mut Snapshot, promoted: &BTreeSet<String>) {
    if let Knowledge::Known(store) = &mut snapshot.store {
        store.cooling = store.cooling.take().filter(|run| promoted.contains(run));
    }
}

/// Whether somebody held the right to write.
fn holds(snapshot: &Snapshot) -> bool {
    let store = snapshot.store.known();
    store.is_some_and(|store| store.primary.is_some())
}

/// Hosts that did not answer.
fn silent(snapshot: &Snapshot) -> BTreeSet<HostName> {
    fn of<T>(seen: &BTreeMap<HostName, Knowledge<T>>) -> impl Iterator<Item = HostName> {
        let silent = seen.iter().filter(|(_, known)| known.known().is_none());
        silent.map(|(host, _)| host.clone())
    }
    let hosts = of(&snapshot.guards).chain(of(&snapshot.proxies));
    hosts.chain(of(&snapshot.queues)).collect()
}
