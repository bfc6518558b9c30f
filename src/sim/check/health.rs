//! Whether everything has come to its right place.

use std::collections::BTreeSet;

use crate::{
    ids::HostName,
    observation::AddressRecord,
    order::PostgresState,
    step::Backend,
    topology::{Replication, Role},
};

use super::super::{Core, State};

impl Core {
    /// Whether everything is as it should be once faults have ended.
    ///
    /// # Errors
    /// What is not.
    pub fn is_healthy(&self) -> Result<(), String> {
        let state = &self.state;
        let primaries: Vec<_> = state
            .databases
            .values()
            .filter(|d| d.state == PostgresState::Primary)
            .collect();
        let [primary] = primaries.as_slice() else {
            return Err(format!("there are {} primaries", primaries.len()));
        };
        let mut standbys = state.databases.values().filter(|d| d.host != primary.host);
        if let Some(standby) = standbys.find(|standby| !state.streams(standby, primary)) {
            return Err(format!("{} does not stream", standby.host));
        }
        let synchronous = state.topology().database.replication == Replication::Synchronous;
        if synchronous && primary.synchronous.is_empty() {
            return Err(format!("commits on {} wait for nobody", primary.host));
        }
        if state.settings.automatic.is_some() {
            state.is_settled(&primary.host)?;
            if !state.settings.watched {
                // Queues and names follow by orders, which attendants never
                // give.
                return Ok(());
            }
        }
        state.parts_follow(&primary.host)?;
        state.names_follow(&primary.host)
    }
}

impl State {
    /// Automatic mode: the primary has the right, and the store knows who has
    /// every acknowledged commit.
    fn is_settled(&self, primary: &HostName) -> Result<(), String> {
        if !self.is_held_by(primary) {
            return Err(format!("{primary} writes, and the store does not know"));
        }
        let synchronous = self.topology().database.replication == Replication::Synchronous;
        let known = self.sync.as_ref();
        let members = known.filter(|sync| &sync.primary == primary);
        if synchronous && members.is_none_or(|sync| sync.members.is_empty()) {
            return Err(format!("nobody is known to have what {primary} has"));
        }
        Ok(())
    }

    fn parts_follow(&self, primary: &HostName) -> Result<(), String> {
        let site = self.site_of(primary);
        let queue = self.host_in(&site, Role::Queue);
        for lb in self.proxies.keys() {
            for (backend, wanted) in [(Backend::Database, primary), (Backend::Queue, &queue)] {
                let routed: Vec<_> = self.proxies[lb].usable(backend).collect();
                if routed != [wanted.as_str()] {
                    return Err(format!("{lb} sends {backend:?} to {routed:?}"));
                }
            }
        }
        if self.queues[&queue].of.is_some() {
            return Err(format!("{queue} is not the active queue"));
        }
        let copies = self.queues.iter().filter(|(host, _)| **host != queue);
        if let Some((copy, _)) = copies
            .into_iter()
            .find(|(_, copy)| copy.of.as_ref() != Some(&queue))
        {
            return Err(format!("{copy} does not copy {queue}"));
        }
        Ok(())
    }

    /// The names are in force and lead to one site. Watchers leave them where
    /// they are as long as that one serves: its load balancer sends on.
    fn names_follow(&self, primary: &HostName) -> Result<(), String> {
        let sites: Vec<_> = (self.sites.iter())
            .map(|place| (self.addresses(&place.site), &place.site))
            .collect();
        let leads = |record: &AddressRecord| {
            let mut sites = sites.iter();
            let found = sites.find(|(addresses, _)| addresses == &record.addresses);
            found.map(|(_, site)| *site)
        };
        let sites: BTreeSet<_> = self.zone.records.values().map(leads).collect();
        let [Some(site)] = sites.iter().collect::<Vec<_>>()[..] else {
            return Err(format!("the names lead to {sites:?}"));
        };
        if !self.settings.watched && **site != self.site_of(primary) {
            return Err(format!("the names lead to {site}, and {primary} writes"));
        }
        Ok(())
    }

    /// Accepted votes that the active queue lacks.
    #[must_use]
    pub fn lost_votes(&self) -> usize {
        let active = self.queues.values().find(|queue| queue.of.is_none());
        let Some(active) = active else {
            return 0;
        };
        let has: std::collections::BTreeSet<_> = active.log.iter().map(|(id, _)| *id).collect();
        self.ledger
            .votes_accepted
            .iter()
            .filter(|id| !has.contains(id))
            .count()
    }
}
