//! The hosted zone, its name servers and one caching resolver.

use std::{collections::BTreeMap, time::Duration};

use crate::{ids::Epoch, observation::AddressRecord, topology::Topology};

use super::State;

/// A zone.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// As the control plane has it.
    pub records: BTreeMap<String, AddressRecord>,
    /// The newest epoch that changed it.
    pub epoch: Epoch,
    /// As the name servers answer.
    pub served: BTreeMap<String, AddressRecord>,
    /// The change that is under way, and when it is in force.
    pub pending: Option<(u64, Duration)>,
    changes: u64,
    /// The control plane does not answer.
    pub dark: bool,
    /// The control plane refuses.
    pub denied: bool,
    /// By name: what a resolver has cached, until when.
    cache: BTreeMap<String, (AddressRecord, Duration)>,
}

impl Zone {
    pub(super) fn deployed(topology: &Topology) -> Self {
        let records: BTreeMap<_, _> = topology
            .dns
            .iter()
            .flat_map(|dns| &dns.records)
            .map(|record| {
                let ttl = record.ttl.as_secs();
                let addresses = std::collections::BTreeSet::new();
                (
                    record.name.clone(),
                    AddressRecord {
                        name: record.name.clone(),
                        ttl,
                        addresses,
                    },
                )
            })
            .collect();
        Self {
            served: records.clone(),
            records,
            ..Self::default()
        }
    }

    /// Takes a change; its number.
    pub(super) fn change(
        &mut self,
        epoch: Epoch,
        records: &[AddressRecord],
        in_force: Duration,
    ) -> u64 {
        self.epoch = epoch;
        for record in records {
            self.records.insert(record.name.clone(), record.clone());
        }
        self.changes += 1;
        self.pending = Some((self.changes, in_force));
        self.changes
    }

    /// Lets a change come into force.
    pub(super) fn refresh(&mut self, now: Duration) {
        if self.pending.is_some_and(|(_, at)| at <= now) {
            self.pending = None;
            self.served = self.records.clone();
        }
    }

    /// What a caching resolver answers.
    pub(super) fn resolve(&mut self, name: &str, now: Duration) -> Option<AddressRecord> {
        if let Some((record, until)) = self.cache.get(name)
            && now < *until
        {
            return Some(record.clone());
        }
        let record = self.served.get(name)?.clone();
        let until = now + Duration::from_secs(record.ttl);
        self.cache.insert(name.to_owned(), (record.clone(), until));
        Some(record)
    }
}

impl State {
    /// The records point to the initial primary's site.
    pub(super) fn point_initially(&mut self) {
        let addresses = self.addresses(&self.topology().initial_primary.clone());
        let zone = &mut self.zone;
        for record in zone.records.values_mut().chain(zone.served.values_mut()) {
            record.addresses.clone_from(&addresses);
        }
    }
}
