//! What a topology wants of the cloud.

mod names;

pub use names::check_key;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};

use super::{
    firewall,
    resource::{Instance, Key, Power, Resource, Resources, Spec, TAG_RESOURCE, TAG_TOPOLOGY},
};
use crate::{
    ids::Region,
    topology::{Host, ImageFilter, Network, Place, Provision, Role, Site, Subnet, Topology},
};

/// All resources of the topology. `public_key` is the operator's SSH key in
/// OpenSSH form; none: there is none yet (it is made at the first deploy).
#[must_use]
pub fn desired(topology: &Topology, public_key: Option<&str>) -> Resources {
    let mut wanted = Wanted {
        topology,
        resources: Resources::default(),
    };
    if let Some(provision) = &topology.provision {
        for site in topology.sites.values() {
            if let Some(network) = &site.network {
                wanted.site(site, network, provision, public_key);
            }
        }
        wanted.peerings();
    }
    if let Some(dns) = &topology.dns {
        wanted.dns(dns);
    }
    wanted.resources
}

/// The logical name of a host's Elastic IP.
#[must_use]
pub fn address_key(host: &Host) -> Key {
    Key::new(format!("{}/address/{}", host.site, host.name))
}

/// The logical name of a host's instance.
#[must_use]
pub fn instance_key(host: &Host) -> Key {
    Key::new(format!("{}/instance/{}", host.site, host.name))
}

/// The addresses that a record of this site has: of its load balancers.
#[must_use]
pub fn site_addresses(site: &Site) -> BTreeSet<Key> {
    let balancers = site.hosts.values().filter(|host| host.is(Role::Lb));
    balancers
        .map(|host| match &host.place {
            Place::Instance { .. } => address_key(host),
            Place::Static {
                private_address,
                ssh_address,
                ..
            } => {
                let public = ssh_address.as_ref().filter(|text| is_address(text));
                Key::new(
                    public
                        .cloned()
                        .unwrap_or_else(|| private_address.to_string()),
                )
            }
        })
        .collect()
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::Ipv4Addr>().is_ok()
}

struct Wanted<'a> {
    topology: &'a Topology,
    resources: Resources,
}

impl Wanted<'_> {
    fn add(&mut self, key: Key, region: Option<&Region>, spec: Spec, after: &[Key]) {
        let name = &self.topology.name;
        let mut tags = self.topology.tags.clone();
        tags.insert(TAG_TOPOLOGY.into(), name.clone());
        tags.insert(TAG_RESOURCE.into(), key.to_string());
        tags.insert("Name".into(), format!("{name}/{key}"));
        let resource = Resource {
            region: region.cloned(),
            tags,
            spec,
            after: after.iter().cloned().collect(),
        };
        self.resources.entries.insert(key, resource);
    }

    fn site(
        &mut self,
        site: &Site,
        network: &Network,
        provision: &Provision,
        public_key: Option<&str>,
    ) {
        let region = Some(&site.region);
        let name = |rest: &str| Key::new(format!("{}/{rest}", site.name));
        let (vpc, gateway) = (name("vpc"), name("internet-gateway"));
        let cidr = IpNet::V4(network.cidr);
        self.add(vpc.clone(), region, Spec::Vpc { cidr, dns: true }, &[]);
        let attached = Some(vpc.clone());
        self.add(
            gateway,
            region,
            Spec::InternetGateway { vpc: attached },
            &[],
        );
        for subnet in network.subnets.values() {
            let spec = Spec::Subnet {
                vpc: vpc.clone(),
                cidr: IpNet::V4(subnet.cidr),
                zone: subnet.zone.clone(),
            };
            self.add(name(&format!("subnet/{}", subnet.name)), region, spec, &[]);
        }
        self.nat_gateway(site, network, provision);
        self.route_tables(site, network, provision);
        for (role, rules) in firewall::groups(self.topology, site) {
            let spec = Spec::SecurityGroup {
                vpc: vpc.clone(),
                name: format!("{}-{}-{role}", self.topology.name, site.name),
                rules,
            };
            self.add(firewall::group_key(site, role), region, spec, &[]);
        }
        let spec = Spec::KeyPair {
            name: format!("{}-{}", self.topology.name, site.name),
            public_key: public_key.map(key_without_comment),
        };
        self.add(name("key-pair"), region, spec, &[]);
        for host in site.hosts.values() {
            self.host(site, host, &provision.image);
        }
    }

    fn nat_gateway(&mut self, site: &Site, network: &Network, provision: &Provision) {
        let public = network.subnets.values().find(|subnet| subnet.public);
        let (true, Some(public)) = (provision.nat_gateway, public) else {
            return;
        };
        let name = |rest: &str| Key::new(format!("{}/{rest}", site.name));
        let after = [name("internet-gateway")];
        let region = Some(&site.region);
        let spec = Spec::Address { instance: None };
        self.add(name("address/nat"), region, spec, &[]);
        let spec = Spec::NatGateway {
            subnet: name(&format!("subnet/{}", public.name)),
            address: name("address/nat"),
        };
        self.add(name("nat-gateway"), region, spec, &after);
    }

    /// One table for the public subnets of a site, one for the private ones.
    fn route_tables(&mut self, site: &Site, network: &Network, provision: &Provision) {
        for public in [true, false] {
            let of_kind = |subnet: &&Subnet| subnet.public == public;
            let subnets: BTreeSet<Key> = (network.subnets.values().filter(of_kind))
                .map(|subnet| Key::new(format!("{}/subnet/{}", site.name, subnet.name)))
                .collect();
            if subnets.is_empty() {
                continue;
            }
            let mut routes = self.routes_to_peers(site);
            let exit = match (public, provision.nat_gateway) {
                (true, _) => Some("internet-gateway"),
                (false, true) => Some("nat-gateway"),
                (false, false) => None,
            };
            if let Some(exit) = exit {
                let key = Key::new(format!("{}/{exit}", site.name));
                routes.insert(IpNet::V4(Ipv4Net::default()), key);
            }
            // A route to a gateway that is not attached yet is refused.
            let after: Vec<Key> = routes.values().cloned().collect();
            let kind = if public { "public" } else { "private" };
            let key = Key::new(format!("{}/route-table/{kind}", site.name));
            let vpc = Key::new(format!("{}/vpc", site.name));
            let spec = Spec::RouteTable {
                vpc,
                subnets,
                routes,
            };
            self.add(key, Some(&site.region), spec, &after);
        }
    }

    fn routes_to_peers(&self, site: &Site) -> BTreeMap<IpNet, Key> {
        let others = self.topology.sites.values();
        let others = others.filter(|other| other.name != site.name);
        others
            .filter_map(|other| {
                let cidr = IpNet::V4(other.network.as_ref()?.cidr);
                Some((cidr, peering_key(site, other)))
            })
            .collect()
    }

    fn peerings(&mut self) {
        let topology = self.topology;
        let sites = || {
            topology
                .sites
                .values()
                .filter(|site| site.network.is_some())
        };
        for from in sites() {
            for to in sites().filter(|to| to.name > from.name) {
                let spec = Spec::Peering {
                    from: Key::new(format!("{}/vpc", from.name)),
                    to: Key::new(format!("{}/vpc", to.name)),
                    to_region: to.region.clone(),
                    accepted: true,
                };
                self.add(peering_key(from, to), Some(&from.region), spec, &[]);
            }
        }
    }

    fn host(&mut self, site: &Site, host: &Host, image: &ImageFilter) {
        let Place::Instance {
            instance_type,
            subnet,
            address,
            disk_gib,
        } = &host.place
        else {
            return;
        };
        let groups = host.roles.iter();
        let spec = Spec::Instance(Instance {
            host: host.name.to_string(),
            image: Some(image.clone()),
            instance_type: instance_type.clone(),
            subnet: Key::new(format!("{}/subnet/{subnet}", site.name)),
            groups: groups
                .map(|role| firewall::group_key(site, role.word()))
                .collect(),
            key_pair: Key::new(format!("{}/key-pair", site.name)),
            address: *address,
            disk_gib: Some(*disk_gib),
            power: Power::Running,
            host_key: true,
        });
        let region = Some(&site.region);
        self.add(instance_key(host), region, spec, &[]);
        if host.is(Role::Lb) || host.is(Role::Bastion) {
            let instance = Some(instance_key(host));
            let after = [Key::new(format!("{}/internet-gateway", site.name))];
            self.add(
                address_key(host),
                region,
                Spec::Address { instance },
                &after,
            );
        }
    }
}

fn peering_key(one: &Site, other: &Site) -> Key {
    let (first, second) = if one.name < other.name {
        (&one.name, &other.name)
    } else {
        (&other.name, &one.name)
    };
    Key::new(format!("peering/{first}-{second}"))
}

/// Algorithm and key: what is compared.
pub(crate) fn key_without_comment(key: &str) -> String {
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    words.join(" ")
}
