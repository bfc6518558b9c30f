//! One lease for all that a watcher says, and the lead.

use std::collections::BTreeMap;

use super::{Session, Watcher, leads};
use crate::{
    coordination::{Leader, Said, State},
    ids::HostName,
    observation::{DoorAnswer, Knowledge, Snapshot, WriteAnswer},
    ports::quorum::QuorumError,
};

impl Watcher {
    /// Says what it sees, where that has changed, under a lease that ends
    /// when this watcher does.
    pub(super) async fn speak(
        &mut self,
        state: &State,
        snapshot: &Snapshot,
    ) -> Result<(), QuorumError> {
        let said = self.said(snapshot);
        let session = match self.session.take() {
            Some(session) => session,
            None => Session {
                lease: self.shared.quorum.lease(self.settings.terms.ttl).await?,
                said: None,
            },
        };
        match self.shared.quorum.renew(session.lease).await {
            Ok(()) => {}
            // What it said is gone: it begins anew.
            Err(QuorumError::NoSuchLease(_)) => return Ok(()),
            Err(error) => {
                self.session = Some(session);
                return Err(error);
            }
        }
        let there = state.said.get(&self.settings.host) == Some(&said);
        if !there || session.said.as_ref() != Some(&said) {
            let host = &self.settings.host;
            self.shared.say(host, &said, session.lease).await?;
        }
        self.session = Some(Session {
            said: Some(said),
            ..session
        });
        Ok(())
    }

    /// Whether this watcher leads, now or since before.
    pub(super) async fn lead(&mut self, state: &State) -> Result<bool, QuorumError> {
        let Some(session) = &self.session else {
            return Ok(false);
        };
        if leads(state, &self.settings.host, session.lease) {
            return Ok(true);
        }
        if state.leader.is_some() {
            return Ok(false);
        }
        let leader = Leader {
            host: self.settings.host.clone(),
            since: self.world.clock.wall(),
        };
        self.shared.take_lead(&leader, session.lease).await
    }

    /// What a snapshot says to the other watchers. Writes, front doors and names
    /// are asked for now and then: what was said of them stays until then.
    fn said(&self, snapshot: &Snapshot) -> Said {
        let before = self.session.as_ref().and_then(|last| last.said.as_ref());
        let mut writes = before.map(|said| said.writes.clone()).unwrap_or_default();
        for (site, answer) in &snapshot.writes {
            let written = matches!(answer.known(), Some(WriteAnswer::Acknowledged { .. }));
            writes.insert(site.clone(), written);
        }
        let mut doors = before.map(|said| said.doors.clone()).unwrap_or_default();
        for (site, services) in &snapshot.doors {
            doors.insert(site.clone(), open(services));
        }
        let names = self.names.iter().map(|(name, answer)| {
            let addresses = answer.known().map(|record| record.addresses.clone());
            (name.clone(), addresses.unwrap_or_default())
        });
        Said {
            guards: seen(&snapshot.guards),
            balancers: seen(&snapshot.proxies),
            queues: seen(&snapshot.queues),
            writes,
            doors,
            names: names.collect(),
        }
    }
}

fn open(services: &BTreeMap<String, Knowledge<DoorAnswer>>) -> BTreeMap<String, bool> {
    let open = |seen: &Knowledge<DoorAnswer>| seen.known().is_some_and(DoorAnswer::is_open);
    let services = services.iter();
    services
        .map(|(name, seen)| (name.clone(), open(seen)))
        .collect()
}

fn seen<T>(known: &BTreeMap<HostName, Knowledge<T>>) -> BTreeMap<HostName, bool> {
    let seen = known.iter();
    seen.map(|(host, known)| (host.clone(), known.known().is_some()))
        .collect()
}
