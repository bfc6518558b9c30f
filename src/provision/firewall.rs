//! Who may reach whom. Inside a site rules refer to groups; across sites,
//! where a reference is not possible over a peering, to the other's network.
//! Only the load balancers' public ports and the bastions' SSH are open to
//! networks from outside.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};

use super::resource::{Key, Peer, Rule};
use crate::topology::{Coordination, Role, Service, Site, Topology};

const SSH: u16 = 22;

/// The group of a role at a site.
#[must_use]
pub fn group_key(site: &Site, role: &str) -> Key {
    Key::new(format!("{}/security-group/{role}", site.name))
}

/// The groups of a site, one for each role that has hosts there.
#[must_use]
pub fn groups(topology: &Topology, site: &Site) -> BTreeMap<&'static str, BTreeSet<Rule>> {
    let roles: BTreeSet<Role> = (site.hosts.values())
        .flat_map(|host| host.roles.iter().copied())
        .collect();
    let firewall = Firewall {
        topology,
        site,
        roles: &roles,
    };
    let each = roles
        .iter()
        .map(|role| (role.word(), firewall.rules(*role)));
    each.collect()
}

struct Firewall<'a> {
    topology: &'a Topology,
    site: &'a Site,
    roles: &'a BTreeSet<Role>,
}

impl Firewall<'_> {
    fn rules(&self, role: Role) -> BTreeSet<Rule> {
        let mut rules = match role {
            Role::Bastion => self.bastion(),
            Role::Lb => self.load_balancer(),
            Role::App => self.app(),
            Role::Queue => self.queue(),
            Role::Db => self.database(),
            Role::Witness => self.store(role),
        };
        rules.extend(self.of_role(Role::Bastion, (SSH, SSH)));
        rules
    }

    fn bastion(&self) -> BTreeSet<Rule> {
        let networks = self.topology.access.ssh_from.iter();
        let mut rules: BTreeSet<Rule> =
            (networks.map(|network| from(*network, (SSH, SSH)))).collect();
        if self.topology.replaces_machines() {
            // Watchers configure what they make anew, wherever that is.
            rules.extend(self.of_other_sites((SSH, SSH)));
            rules.extend(self.of_role(Role::Lb, (SSH, SSH)));
        }
        rules
    }

    fn load_balancer(&self) -> BTreeSet<Rule> {
        let balancer = &self.topology.load_balancer;
        let services = self.topology.stack.iter();
        let mut public: BTreeSet<u16> = services.filter_map(|it| it.public_port).collect();
        public.insert(balancer.statistics_port);
        let world = Ipv4Net::default();
        let mut rules: BTreeSet<Rule> = (public.into_iter())
            .map(|port| from(world, (port, port)))
            .collect();
        for port in [
            balancer.primary_port,
            balancer.replica_port,
            balancer.queue_port,
        ] {
            rules.extend(self.of_role(Role::App, (port, port)));
        }
        rules.extend(self.store(Role::Lb));
        rules.extend(self.watched());
        rules
    }

    /// Watchers write through every load balancer and tell it where to send
    /// writers.
    fn watched(&self) -> BTreeSet<Rule> {
        if self.topology.coordination == Coordination::Manual {
            return BTreeSet::new();
        }
        let admin = self.topology.watch.admin_port;
        let primary = self.topology.load_balancer.primary_port;
        let mut rules = BTreeSet::new();
        for port in [admin, primary] {
            rules.extend(self.of_other_sites((port, port)));
            rules.extend(self.among(Role::Lb, port));
        }
        rules
    }

    /// Where members of the store run: members reach each other, guards and
    /// watchers reach all of them.
    fn store(&self, role: Role) -> BTreeSet<Rule> {
        if self.topology.coordination == Coordination::Manual {
            return BTreeSet::new();
        }
        let etcd = &self.topology.etcd;
        let mut rules = self.of_other_sites((etcd.peer_port, etcd.peer_port));
        rules.extend(self.of_other_sites((etcd.client_port, etcd.client_port)));
        rules.extend(self.of_role(Role::Db, (etcd.client_port, etcd.client_port)));
        rules.extend(self.among(role, etcd.client_port));
        rules
    }

    fn app(&self) -> BTreeSet<Rule> {
        let hosts = self.site.hosts.values().filter(|host| host.is(Role::App));
        let hosts = u32::try_from(hosts.count()).unwrap_or(u32::MAX).max(1);
        let services = self.topology.stack.iter();
        let ranges = services.filter_map(|service| host_ports(service, hosts));
        ranges
            .flat_map(|range| {
                let mut rules = self.of_other_sites(range);
                rules.extend(self.of_role(Role::Lb, range));
                rules
            })
            .collect()
    }

    fn queue(&self) -> BTreeSet<Rule> {
        let port = self.topology.queue.port;
        let mut rules = self.of_other_sites((port, port));
        rules.extend(self.of_role(Role::Lb, (port, port)));
        rules.extend(self.among(Role::Queue, port));
        rules
    }

    fn database(&self) -> BTreeSet<Rule> {
        let database = &self.topology.database;
        let mut rules = BTreeSet::new();
        for port in [database.port, database.guard_port] {
            rules.extend(self.of_other_sites((port, port)));
            rules.extend(self.of_role(Role::Lb, (port, port)));
            rules.extend(self.among(Role::Db, port));
        }
        // Watchers give orders, and guards ask each other for promises.
        if self.topology.coordination == Coordination::Etcd {
            let order = database.order_port;
            rules.extend(self.of_other_sites((order, order)));
            rules.extend(self.of_role(Role::Lb, (order, order)));
        }
        // A queue asks the guards, when it starts, whether it is the active one.
        let guard = database.guard_port;
        rules.extend(self.of_role(Role::Queue, (guard, guard)));
        rules
    }

    /// From the hosts of a role at the same site, where there are any.
    fn of_role(&self, role: Role, ports: (u16, u16)) -> Option<Rule> {
        let there = self.roles.contains(&role);
        there.then(|| Rule {
            protocol: "tcp".to_owned(),
            ports: Some(ports),
            peer: Peer::Group(group_key(self.site, role.word())),
        })
    }

    /// Among the hosts of one role, where a site has several.
    fn among(&self, role: Role, port: u16) -> Option<Rule> {
        let hosts = self.site.hosts.values().filter(|host| host.is(role));
        (hosts.count() > 1).then(|| self.of_role(role, (port, port)))?
    }

    fn of_other_sites(&self, ports: (u16, u16)) -> BTreeSet<Rule> {
        let others = self.topology.sites.values();
        others
            .filter(|other| other.name != self.site.name)
            .filter_map(|other| other.network.as_ref())
            .map(|network| from(network.cidr, ports))
            .collect()
    }
}

fn from(network: Ipv4Net, ports: (u16, u16)) -> Rule {
    Rule {
        protocol: "tcp".to_owned(),
        ports: Some(ports),
        peer: Peer::Network(IpNet::V4(network.trunc())),
    }
}

/// The ports that the replicas of a service take on each app host.
fn host_ports(service: &Service, hosts: u32) -> Option<(u16, u16)> {
    let first = service.host_port?;
    let replicas = service.replicas.div_ceil(hosts).max(1);
    let more = u16::try_from(replicas - 1).unwrap_or(u16::MAX);
    Some((first, first.saturating_add(more)))
}
