//! Which hosts there are and how they are reached.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::desired::instance_key;
use crate::{
    ids::{HostName, Region},
    inventory::{HostEntry, Inventory, SshWay},
    ports::cloud::{Cloud, CloudError, MachineFacts},
    topology::{Host, Place, Role, Site, Topology},
};

/// What was found of the hosts of a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundHosts {
    pub inventory: Inventory,
    /// Hosts that are not in the inventory, each with why.
    pub missing: BTreeMap<HostName, String>,
    /// What the cloud says of each instance: `running`, `stopped`, …
    pub states: BTreeMap<HostName, String>,
    /// Regions that gave no answer.
    pub errors: BTreeMap<Region, CloudError>,
}

/// Finds all hosts: static ones in the topology, instances by asking every
/// region at the same time. A region that does not answer leaves its hosts
/// out, with the reason, and no others.
pub async fn find_inventory(topology: &Topology, cloud: &dyn Cloud) -> FoundHosts {
    let regions: BTreeSet<&Region> = instances(topology).map(|(site, _)| &site.region).collect();
    let asked = regions.into_iter().map(async |region| {
        let machines = cloud.machines(region, &topology.name).await;
        (region.clone(), machines)
    });
    inventory(topology, join_all(asked).await.into_iter().collect())
}

fn instances(topology: &Topology) -> impl Iterator<Item = (&Site, &Host)> {
    let hosts = topology.sites.values().flat_map(|site| {
        let hosts = site.hosts.values();
        hosts.map(move |host| (site, host))
    });
    hosts.filter(|(_, host)| matches!(host.place, Place::Instance { .. }))
}

/// The inventory from what each region said.
#[must_use]
pub fn inventory(
    topology: &Topology,
    regions: BTreeMap<Region, Result<Vec<MachineFacts>, CloudError>>,
) -> FoundHosts {
    let mut found = FoundHosts::default();
    for site in topology.sites.values() {
        for host in site.hosts.values() {
            match entry(topology, site, host, &regions, &mut found.states) {
                Ok(entry) => {
                    found.inventory.hosts.insert(host.name.clone(), entry);
                }
                Err(why) => {
                    found.missing.insert(host.name.clone(), why);
                }
            }
        }
    }
    for (region, answer) in regions {
        if let Err(error) = answer {
            found.errors.insert(region, error);
        }
    }
    found
}

fn entry(
    topology: &Topology,
    site: &Site,
    host: &Host,
    regions: &BTreeMap<Region, Result<Vec<MachineFacts>, CloudError>>,
    states: &mut BTreeMap<HostName, String>,
) -> Result<HostEntry, String> {
    if let Some(entry) = static_entry(topology, site, host) {
        return Ok(entry);
    }
    let machines = match regions.get(&site.region) {
        Some(Ok(machines)) => machines,
        Some(Err(error)) => return Err(error.to_string()),
        None => return Err(format!("{} was not asked", site.region)),
    };
    let key = instance_key(host);
    let machine = machines.iter().find(|machine| machine.key == key);
    let machine = machine.ok_or("there is no such instance: `hafail deploy` makes it")?;
    states.insert(host.name.clone(), machine.state.clone());
    let private_address = machine.private_address;
    let private_address = private_address.ok_or("the instance has no address yet")?;
    let host_key = machine.host_key.clone();
    let direct = host.is(Role::Bastion).then_some(machine.public_address);
    let address = match direct {
        Some(address) => address.ok_or("the bastion has no Elastic IP: `hafail deploy`")?,
        None => private_address,
    };
    Ok(HostEntry {
        name: host.name.clone(),
        site: site.name.clone(),
        region: site.region.clone(),
        instance_id: Some(machine.id.clone()),
        private_address,
        public_address: machine.public_address,
        ssh: SshWay {
            user: topology.access.ssh_user.clone(),
            address: address.to_string(),
            port: 22,
            host_key: host_key.ok_or("its SSH host key is not known: the tag is lost")?,
            jump: jump(site, host),
        },
    })
}

/// The bastion through which a host is reached; none for bastions.
fn jump(site: &Site, host: &Host) -> Option<HostName> {
    if host.is(Role::Bastion) {
        return None;
    }
    let bastion = site.hosts.values().find(|host| host.is(Role::Bastion));
    bastion.map(|bastion| bastion.name.clone())
}

fn static_entry(topology: &Topology, site: &Site, host: &Host) -> Option<HostEntry> {
    let Place::Static {
        private_address,
        ssh_address,
        ssh_port,
        host_key,
    } = &host.place
    else {
        return None;
    };
    let public_address = ssh_address.as_ref().and_then(|text| text.parse().ok());
    Some(HostEntry {
        name: host.name.clone(),
        site: site.name.clone(),
        region: site.region.clone(),
        instance_id: None,
        private_address: *private_address,
        public_address,
        ssh: SshWay {
            user: topology.access.ssh_user.clone(),
            address: ssh_address
                .clone()
                .unwrap_or_else(|| private_address.to_string()),
            port: *ssh_port,
            host_key: host_key.clone(),
            jump: if ssh_address.is_some() {
                None
            } else {
                jump(site, host)
            },
        },
    })
}
