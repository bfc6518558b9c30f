//! From the topology to resources in the cloud, and from there to hosts with
//! addresses. `wanted − found = changes → apply`; state lives in tags only.

pub mod apply;
mod attempt;
mod compare;
pub mod desired;
pub mod diff;
mod firewall;
mod host_key;
pub mod inventory;
mod names;
pub mod order;
pub mod render;
pub mod resource;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use apply::{Applied, ApplyError, Event, apply};
pub use attempt::Patience;
pub use desired::desired;
pub use diff::{Changes, diff, removal};
pub use inventory::{FoundHosts, find_inventory};

use crate::{
    ports::cloud::{Scope, ZoneScope},
    topology::{Place, Topology},
};

/// Where the resources of a topology are to be looked for.
#[must_use]
pub fn scope(topology: &Topology) -> Scope {
    Scope {
        topology: topology.name.clone(),
        regions: regions(topology),
        zone: topology.dns.as_ref().map(|dns| ZoneScope {
            name: dns.zone.clone(),
            managed: dns.manage_zone,
            checks: topology.sites.keys().map(desired::check_key).collect(),
            records: dns
                .records
                .iter()
                .map(|record| record.name.clone())
                .collect(),
        }),
    }
}

/// The regions in which a topology has instances.
#[must_use]
pub fn regions(topology: &Topology) -> BTreeSet<crate::ids::Region> {
    let sites = topology.sites.values();
    let made = sites.filter(|site| {
        let mut hosts = site.hosts.values();
        site.network.is_some() || hosts.any(|host| matches!(host.place, Place::Instance { .. }))
    });
    made.map(|site| site.region.clone()).collect()
}
