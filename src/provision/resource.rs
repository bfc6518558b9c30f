//! The words of provisioning: resources by logical name, what they should be
//! and what was found. Both sides use the same [`Spec`], with references to
//! other resources by logical name, so that they can be compared as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
};

use ipnet::IpNet;
use serde::Serialize;

pub use super::names::{AddressRecord, HealthCheck, Rank};
use crate::{ids::Region, topology::ImageFilter};

/// Tag with the name of the topology.
pub const TAG_TOPOLOGY: &str = "hafail:topology";
/// Tag with the logical name of the resource.
pub const TAG_RESOURCE: &str = "hafail:resource";
/// Tag of an instance with the public SSH key that it presents.
pub const TAG_HOST_KEY: &str = "hafail:ssh-host-key";
/// Tag of the run that stopped an instance to promote another database.
pub const TAG_DEPOSED: &str = "hafail:deposed-by";

/// The logical name of a resource, such as `site1/subnet/public`. Where
/// something refers to a resource that is not ours, the cloud's own id stands
/// in its place, which equals no logical name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// A logical name, or an id of the cloud.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the resource belongs to: a site, or `peering`, `zone`, `record`.
    #[must_use]
    pub fn family(&self) -> &str {
        self.0.split('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A resource as it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resource {
    /// None for what has no region: zones, health checks and records.
    pub region: Option<Region>,
    /// All tags that it must have; others are left alone.
    pub tags: BTreeMap<String, String>,
    pub spec: Spec,
    /// What must be complete before this one, beyond what it refers to.
    pub after: BTreeSet<Key>,
}

/// Everything that should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Resources {
    pub entries: BTreeMap<Key, Resource>,
}

/// A resource as it was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    pub key: Key,
    /// The cloud's name for it.
    pub id: String,
    pub region: Option<Region>,
    pub tags: BTreeMap<String, String>,
    /// Elastic IPs: the public address; instances: the private one.
    pub address: Option<Ipv4Addr>,
    pub spec: Spec,
}

/// What was found by tags.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Discovered {
    pub entries: BTreeMap<Key, Found>,
    /// Second resources with a logical name that another one has too.
    pub doubles: Vec<Found>,
    /// Records of the managed zone that the topology does not name.
    pub foreign_records: Vec<String>,
}

impl Discovered {
    /// Adds a resource; one whose name is taken becomes a double.
    pub fn add(&mut self, found: Found) {
        match self.entries.entry(found.key.clone()) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(found);
            }
            std::collections::btree_map::Entry::Occupied(_) => self.doubles.push(found),
        }
    }
}

/// What a resource is, without its identity.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Spec {
    Vpc {
        cidr: IpNet,
        /// DNS resolution and names for public addresses.
        dns: bool,
    },
    Subnet {
        vpc: Key,
        cidr: IpNet,
        zone: String,
    },
    InternetGateway {
        vpc: Option<Key>,
    },
    /// An Elastic IP.
    Address {
        instance: Option<Key>,
    },
    NatGateway {
        subnet: Key,
        address: Key,
    },
    RouteTable {
        vpc: Key,
        subnets: BTreeSet<Key>,
        routes: BTreeMap<IpNet, Key>,
    },
    Peering {
        from: Key,
        to: Key,
        to_region: Region,
        accepted: bool,
    },
    SecurityGroup {
        vpc: Key,
        name: String,
        rules: BTreeSet<Rule>,
    },
    KeyPair {
        name: String,
        /// `ssh-ed25519 AAAA…`; none: not known on this side.
        public_key: Option<String>,
    },
    Instance(Instance),
    Zone {
        name: String,
        managed: bool,
    },
    HealthCheck(HealthCheck),
    Record(AddressRecord),
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Instance {
    pub host: String,
    /// None for what was found: a newer image replaces no machine.
    pub image: Option<ImageFilter>,
    pub instance_type: String,
    pub subnet: Key,
    pub groups: BTreeSet<Key>,
    pub key_pair: Key,
    /// Fixed private address; none: any.
    pub address: Option<Ipv4Addr>,
    /// Root volume in GiB; not compared.
    pub disk_gib: Option<u32>,
    pub power: Power,
    /// Whether the public SSH host key is known (by its tag).
    pub host_key: bool,
}

/// Whether an instance runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    Running,
    /// Stopped or on its way there.
    Stopped,
}

/// What may come in: TCP ports from a peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Rule {
    /// `tcp`, `udp`, `icmp`, or `-1` for everything.
    pub protocol: String,
    /// First and last port; none: all.
    pub ports: Option<(u16, u16)>,
    pub peer: Peer,
}

/// Whom a rule lets in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    Network(IpNet),
    Group(Key),
    /// A prefix list.
    List(String),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == "-1" {
            "all"
        } else {
            &self.protocol
        };
        match self.ports {
            Some((first, last)) if first == last => write!(f, "{protocol}/{first}")?,
            Some((first, last)) => write!(f, "{protocol}/{first}-{last}")?,
            None => f.write_str(protocol)?,
        }
        match &self.peer {
            Peer::Network(network) => write!(f, " from {network}"),
            Peer::Group(group) => write!(f, " from {group}"),
            Peer::List(list) => write!(f, " from {list}"),
        }
    }
}

impl Spec {
    /// The word for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vpc { .. } => "VPC",
            Self::Subnet { .. } => "subnet",
            Self::InternetGateway { .. } => "internet gateway",
            Self::Address { .. } => "Elastic IP",
            Self::NatGateway { .. } => "NAT gateway",
            Self::RouteTable { .. } => "route table",
            Self::Peering { .. } => "VPC peering",
            Self::SecurityGroup { .. } => "security group",
            Self::KeyPair { .. } => "key pair",
            Self::Instance(_) => "instance",
            Self::Zone { .. } => "hosted zone",
            Self::HealthCheck(_) => "health check",
            Self::Record(_) => "record",
        }
    }

    /// One line for people on what it is.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Vpc { cidr, .. } => cidr.to_string(),
            Self::Subnet { cidr, zone, .. } => format!("{cidr} in {zone}"),
            Self::InternetGateway { .. } => String::new(),
            Self::Address {
                instance: Some(instance),
            } => format!("for {instance}"),
            Self::Address { instance: None } => String::new(),
            Self::NatGateway { subnet, .. } => format!("in {subnet}"),
            Self::RouteTable {
                routes, subnets, ..
            } => {
                format!(
                    "{}, {}",
                    count(routes.len(), "route"),
                    count(subnets.len(), "subnet")
                )
            }
            Self::Peering { from, to, .. } => format!("{from} with {to}"),
            Self::SecurityGroup { rules, .. } => count(rules.len(), "rule"),
            Self::KeyPair { name, .. } | Self::Zone { name, .. } => name.clone(),
            Self::Instance(instance) => {
                format!("{} in {}", instance.instance_type, instance.subnet)
            }
            Self::HealthCheck(check) => format!("of {}", check.asks()),
            Self::Record(record) => {
                format!("A {} ({} s)", record.answers(), record.ttl.as_secs())
            }
        }
    }

    /// What creating it refers to: it must exist before, and can be removed
    /// only after.
    #[must_use]
    pub fn stands_on(&self) -> BTreeSet<Key> {
        match self {
            Self::Vpc { .. }
            | Self::InternetGateway { .. }
            | Self::Address { .. }
            | Self::KeyPair { .. }
            | Self::Zone { .. } => BTreeSet::new(),
            Self::Subnet { vpc, .. }
            | Self::RouteTable { vpc, .. }
            | Self::SecurityGroup { vpc, .. } => BTreeSet::from([vpc.clone()]),
            Self::NatGateway { subnet, address } => {
                BTreeSet::from([subnet.clone(), address.clone()])
            }
            Self::Peering { from, to, .. } => BTreeSet::from([from.clone(), to.clone()]),
            Self::Instance(instance) => {
                let mut keys = instance.groups.clone();
                keys.insert(instance.subnet.clone());
                keys.insert(instance.key_pair.clone());
                keys
            }
            Self::HealthCheck(check) => BTreeSet::from([check.address.clone()]),
            Self::Record(record) => {
                let mut keys = record.refers_to();
                keys.insert(record.zone.clone());
                keys
            }
        }
    }

    /// The same as it is right after its creation, before what is set by
    /// further calls.
    #[must_use]
    pub fn bare(&self) -> Self {
        let mut bare = self.clone();
        match &mut bare {
            Self::Vpc { dns, .. } => *dns = false,
            Self::InternetGateway { vpc } => *vpc = None,
            Self::Address { instance } => *instance = None,
            Self::RouteTable {
                subnets, routes, ..
            } => {
                subnets.clear();
                routes.clear();
            }
            Self::Peering { accepted, .. } => *accepted = false,
            Self::SecurityGroup { rules, .. } => rules.clear(),
            Self::Subnet { .. }
            | Self::NatGateway { .. }
            | Self::KeyPair { .. }
            | Self::Instance(_)
            | Self::Zone { .. }
            | Self::HealthCheck(_)
            | Self::Record(_) => {}
        }
        bare
    }
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Names joined for people; `nothing` when there are none.
pub(crate) fn join<'a>(keys: impl IntoIterator<Item = &'a Key>) -> String {
    let names: Vec<&str> = keys.into_iter().map(Key::as_str).collect();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
