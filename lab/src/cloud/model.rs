//! The part of the API's world that has an effect outside of it. Pure data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Everything, by region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cloud {
    pub regions: BTreeMap<String, Region>,
}

/// One region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    pub vpcs: BTreeMap<String, Vpc>,
    pub subnets: BTreeMap<String, Subnet>,
    pub route_tables: BTreeMap<String, RouteTable>,
    /// Internet gateway to the VPC that it is attached to.
    pub internet_gateways: BTreeMap<String, String>,
    pub nat_gateways: BTreeMap<String, NatGateway>,
    /// Peerings in state `active`; a peering between regions is in both.
    pub peerings: BTreeMap<String, Peering>,
    pub groups: BTreeMap<String, Group>,
    pub instances: BTreeMap<String, Instance>,
    /// Elastic IPs to the private address they are associated with.
    pub addresses: BTreeMap<Ipv4Addr, Option<Ipv4Addr>>,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    pub cidr: Ipv4Net,
    /// The one that every region has from the start.
    pub default: bool,
}

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    pub vpc: String,
    pub cidr: Ipv4Net,
}

/// A route table with its associations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    pub vpc: String,
    /// Holds for subnets without a table of their own.
    pub main: bool,
    pub subnets: BTreeSet<String>,
    pub routes: BTreeMap<Ipv4Net, Target>,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Inside the VPC.
    Local,
    InternetGateway(String),
    NatGateway(String),
    Peering(String),
    /// Something the lab does not have: a black hole.
    Unknown,
}

/// A NAT gateway that is available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatGateway {
    pub subnet: String,
    /// `None` for a private one, which leads nowhere outside.
    pub public_ip: Option<Ipv4Addr>,
}

/// An active peering between two VPCs, each given as region and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    pub requester: (String, String),
    pub accepter: (String, String),
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub vpc: String,
    pub ingress: Vec<Permission>,
    pub egress: Vec<Permission>,
}

/// One rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub protocol: Protocol,
    pub cidrs: Vec<Ipv4Net>,
    /// Ids of groups whose members are meant.
    pub groups: Vec<String>,
}

/// What a rule lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    All,
    /// TCP ports, both ends included.
    Tcp(u16, u16),
    /// UDP ports, both ends included.
    Udp(u16, u16),
    /// Any ICMP message, or one type.
    Icmp(Option<u8>),
    /// Another protocol, by its number.
    Number(u8),
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub power: Power,
    pub vpc: String,
    pub subnet: String,
    pub private_ip: Ipv4Addr,
    /// Address given at launch or an Elastic IP.
    pub public_ip: Option<Ipv4Addr>,
    pub groups: BTreeSet<String>,
    pub key_name: Option<String>,
    /// First label of the private DNS name.
    pub hostname: String,
    /// Tag `Name`, for people.
    pub name: Option<String>,
}

/// What the API says an instance should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    On,
    Off,
    Gone,
}

impl Region {
    /// The route table that holds for a subnet.
    #[must_use]
    pub fn table_of(&self, subnet: &str) -> Option<&RouteTable> {
        let vpc = &self.subnets.get(subnet)?.vpc;
        let own = |t: &&RouteTable| t.subnets.contains(subnet);
        let main = |t: &&RouteTable| t.main && &t.vpc == vpc;
        self.route_tables
            .values()
            .find(own)
            .or_else(|| self.route_tables.values().find(main))
    }

    /// Whether an internet gateway is attached to the VPC.
    #[must_use]
    pub fn has_internet_gateway(&self, vpc: &str) -> bool {
        self.internet_gateways
            .values()
            .any(|attached| attached == vpc)
    }

    /// Instances of a VPC that still exist.
    pub fn instances_of<'a>(
        &'a self,
        vpc: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Instance)> {
        self.instances
            .iter()
            .filter(move |(_, i)| i.vpc == vpc && i.power != Power::Gone)
    }

    /// Private addresses of the members of a group.
    #[must_use]
    pub fn members(&self, group: &str) -> BTreeSet<Ipv4Addr> {
        self.instances
            .values()
            .filter(|i| i.power != Power::Gone && i.groups.contains(group))
            .map(|i| i.private_ip)
            .collect()
    }
}

impl Cloud {
    /// The instance with this id, and its region.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<(&String, &Instance)> {
        self.regions
            .iter()
            .find_map(|(name, region)| region.instances.get(id).map(|i| (name, i)))
    }

    /// All instances with their regions.
    pub fn instances(&self) -> impl Iterator<Item = (&String, &String, &Instance)> {
        self.regions
            .iter()
            .flat_map(|(name, region)| region.instances.iter().map(move |(id, i)| (name, id, i)))
    }

    /// A VPC by region and id.
    #[must_use]
    pub fn vpc(&self, region: &str, id: &str) -> Option<&Vpc> {
        self.regions.get(region)?.vpcs.get(id)
    }
}

/// Kinds of things that one call describes: what has to be read again after a
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    Vpcs,
    Subnets,
    RouteTables,
    InternetGateways,
    NatGateways,
    Peerings,
    Groups,
    Instances,
    Addresses,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Vpcs,
        Self::Subnets,
        Self::RouteTables,
        Self::InternetGateways,
        Self::NatGateways,
        Self::Peerings,
        Self::Groups,
        Self::Instances,
        Self::Addresses,
    ];
}
