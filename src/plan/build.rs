//! Puts steps in their places.

use crate::{
    ids::{HostName, SiteName},
    inventory::Inventory,
    observation::AddressRecord,
    step::{Part, Step},
    topology::{Host, RecordTarget, Role, Topology},
};

use super::{Kind, LeftOut, Move, Plan, Planned};

/// Collects the steps of a plan.
pub(super) struct Builder<'a> {
    pub given: &'a Move<'a>,
    steps: Vec<Planned>,
    left_out: Vec<LeftOut>,
}

impl<'a> Builder<'a> {
    pub fn new(given: &'a Move<'a>) -> Self {
        Self {
            given,
            steps: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Adds a step and answers its number.
    pub fn add(&mut self, part: Part, after: &[usize], step: Step) -> usize {
        let number = self.steps.len() + 1;
        self.steps.push(Planned {
            number,
            part,
            after: after.to_vec(),
            step,
        });
        number
    }

    /// Adds a step for each host that can be used and notes the others.
    pub fn each<'h>(
        &mut self,
        part: Part,
        after: &[usize],
        hosts: impl IntoIterator<Item = &'h HostName>,
        step: impl Fn(&HostName) -> Step,
    ) -> Vec<usize> {
        let mut added = Vec::new();
        for host in hosts {
            if self.usable(host, &step(host)) {
                added.push(self.add(part, after, step(host)));
            }
        }
        added
    }

    /// Whether the host can be used; if not, the step is noted as left out.
    pub fn usable(&mut self, host: &HostName, step: &Step) -> bool {
        let Some(why) = self.given.unusable.get(host) else {
            return true;
        };
        self.leave_out(step, why);
        false
    }

    /// Notes a step that is left out.
    pub fn leave_out(&mut self, step: &Step, why: &str) {
        self.left_out.push(LeftOut {
            what: step.to_string(),
            why: why.to_owned(),
        });
    }

    /// How many steps there are.
    pub fn count(&self) -> usize {
        self.steps.len()
    }

    pub fn finish(self, kind: Kind) -> Plan {
        let given = self.given;
        Plan {
            kind,
            topology: given.topology.name.clone(),
            cluster: given.cluster.clone(),
            from: site_of(given.topology, &given.old),
            to: site_of(given.topology, &given.new),
            old: given.old.clone(),
            new: given.new.clone(),
            because: given.because.clone(),
            loss: given.loss.clone(),
            steps: self.steps,
            left_out: self.left_out,
        }
    }
}

/// The site of a host of the topology.
pub(super) fn site_of(topology: &Topology, host: &HostName) -> SiteName {
    let host = topology.host(host.as_str());
    host.expect("plans are made for hosts of the topology")
        .site
        .clone()
}

/// The hosts of a role, all sites.
pub(super) fn with_role(topology: &Topology, role: Role) -> Vec<HostName> {
    topology
        .hosts_with(role)
        .map(|host| host.name.clone())
        .collect()
}

/// The first host of a role in the site of `beside`.
pub(super) fn beside(topology: &Topology, beside: &HostName, role: Role) -> Option<HostName> {
    let site = site_of(topology, beside);
    let in_site = |host: &&Host| host.site == site;
    topology
        .hosts_with(role)
        .find(in_site)
        .map(|host| host.name.clone())
}

/// The records that follow the active site, as they must be when `site` is.
#[must_use]
pub fn active_records(
    topology: &Topology,
    inventory: &Inventory,
    site: &SiteName,
) -> Vec<AddressRecord> {
    let balancers = topology
        .hosts_with(Role::Lb)
        .filter(|host| &host.site == site);
    let addresses: std::collections::BTreeSet<_> = balancers
        .filter_map(|host| inventory.hosts.get(&host.name))
        .map(|entry| entry.public_address.unwrap_or(entry.private_address))
        .collect();
    let records = topology.dns.iter().flat_map(|dns| &dns.records);
    records
        .filter(|record| record.target == RecordTarget::Active)
        .map(|record| AddressRecord {
            name: record.name.clone(),
            ttl: record.ttl.as_secs(),
            addresses: addresses.clone(),
        })
        .collect()
}
