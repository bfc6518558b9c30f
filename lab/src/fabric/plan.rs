//! From what the API describes to what each namespace should hold. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::filters;
use super::internet::{GATEWAY, INTERNET};
use crate::cloud::model::{Cloud, Region, RouteTable, Subnet, Target};

/// The bridge that holds a router's own addresses.
pub(super) const OWN: &str = "own";
/// A router's link to the internet.
pub(super) const GATEWAY_LINK: &str = "igw";

/// What the whole fabric should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By VPC id.
    pub vpcs: BTreeMap<String, VpcPlan>,
    /// Links between routers: peering to the two VPCs.
    pub peerings: BTreeMap<String, (String, String)>,
    /// Every public address that exists, to the VPC that answers for it.
    pub public: BTreeMap<Ipv4Addr, Option<String>>,
}

/// What one VPC's namespace should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VpcPlan {
    /// Whether an internet gateway is attached.
    pub internet: bool,
    /// Where the VPC's resolver listens.
    pub resolver: Option<Ipv4Addr>,
    /// `ip` objects in the order in which they are added.
    pub addresses: BTreeSet<String>,
    pub rules: BTreeSet<String>,
    pub routes: BTreeSet<String>,
    /// Packet filter and address translation, for `nft -f`.
    pub filter: String,
}

/// Name for the link of an instance or a peering, from its id: interfaces have
/// 15 characters at most, ids have 17 hexadecimal digits after the hyphen.
pub(super) fn link_of(letter: char, id: &str) -> String {
    let digits = id.rsplit('-').next().unwrap_or(id);
    format!("{letter}{}", &digits[digits.len().saturating_sub(13)..])
}

/// Plans the fabric of everything that the API describes. A region's default
/// VPC is only built when something lives in it.
#[must_use]
pub fn plan(cloud: &Cloud) -> Plan {
    let mut plan = Plan::default();
    for (region_name, region) in &cloud.regions {
        for (id, vpc) in &region.vpcs {
            if vpc.default && region.instances_of(id).next().is_none() {
                continue;
            }
            plan.vpcs
                .insert(id.clone(), vpc_plan(cloud, region_name, id));
        }
    }
    for peering in cloud.regions.values().flat_map(|r| &r.peerings) {
        let (id, p) = peering;
        let ends = (p.requester.1.clone(), p.accepter.1.clone());
        if plan.vpcs.contains_key(&ends.0) && plan.vpcs.contains_key(&ends.1) {
            plan.peerings.insert(id.clone(), ends);
        }
    }
    plan.public = public_addresses(cloud, &plan.vpcs);
    plan
}

fn vpc_plan(cloud: &Cloud, region_name: &str, id: &str) -> VpcPlan {
    let region = &cloud.regions[region_name];
    let cidr = region.vpcs[id].cidr.trunc();
    let internet = region.has_internet_gateway(id);
    let mut plan = VpcPlan {
        internet,
        resolver: cidr.hosts().nth(1),
        filter: filters::render(&filters::rules(region, id)),
        ..VpcPlan::default()
    };
    // The peer's next hop is the first address of the VPC, the resolver the second.
    for ip in cidr.hosts().take(2) {
        plan.addresses.insert(format!("{ip}/32 dev {OWN}"));
    }
    if internet {
        plan.addresses
            .insert(format!("{GATEWAY}/32 dev {GATEWAY_LINK}"));
    }
    plan.routes.insert(format!("blackhole {cidr}"));
    for (subnet_id, subnet) in region.subnets.iter().filter(|(_, s)| s.vpc == id) {
        add_subnet(&mut plan, cloud, region, (subnet_id, subnet));
    }
    plan
}

fn add_subnet(plan: &mut VpcPlan, cloud: &Cloud, region: &Region, (id, subnet): (&str, &Subnet)) {
    let cidr = subnet.cidr.trunc();
    if let Some(router) = cidr.hosts().next() {
        plan.addresses
            .insert(format!("{router}/{} dev {OWN}", cidr.prefix_len()));
    }
    // A table of its own per subnet, numbered by its first address.
    let table = u32::from(cidr.network());
    plan.rules
        .insert(format!("pref 100 from {cidr} lookup {table}"));
    let Some(route_table) = region.table_of(id) else {
        return;
    };
    for (destination, target) in &route_table.routes {
        let hop = hop(cloud, region, route_table, target);
        plan.routes
            .extend(hop.map(|hop| hop.line(*destination, table)));
    }
}

/// Where packets of a route go.
enum Hop {
    Internet,
    Router { peering: String, at: Ipv4Addr },
    Nowhere,
}

impl Hop {
    fn line(&self, destination: Ipv4Net, table: u32) -> String {
        match self {
            Self::Internet => {
                format!("{destination} via {INTERNET} dev {GATEWAY_LINK} onlink table {table}")
            }
            Self::Router { peering, at } => {
                let link = link_of('p', peering);
                format!("{destination} via {at} dev {link} onlink table {table}")
            }
            Self::Nowhere => format!("blackhole {destination} table {table}"),
        }
    }
}

fn hop(cloud: &Cloud, region: &Region, table: &RouteTable, target: &Target) -> Option<Hop> {
    let hop = match target {
        Target::Local => return None,
        Target::InternetGateway(id) if region.internet_gateways.get(id) == Some(&table.vpc) => {
            Hop::Internet
        }
        Target::NatGateway(id) if nat_address(region, &table.vpc, id).is_some() => Hop::Internet,
        Target::Peering(id) => peer_hop(cloud, region, &table.vpc, id).unwrap_or(Hop::Nowhere),
        _ => Hop::Nowhere,
    };
    Some(hop)
}

fn peer_hop(cloud: &Cloud, region: &Region, vpc: &str, id: &str) -> Option<Hop> {
    let peering = region.peerings.get(id)?;
    let (peer_region, peer) = if peering.requester.1 == vpc {
        &peering.accepter
    } else {
        &peering.requester
    };
    let at = cloud.vpc(peer_region, peer)?.cidr.trunc().hosts().next()?;
    Some(Hop::Router {
        peering: id.to_owned(),
        at,
    })
}

/// Public address of a NAT gateway that works: in a subnet of the same VPC
/// whose own default route leads to the internet.
pub(super) fn nat_address(region: &Region, vpc: &str, id: &str) -> Option<Ipv4Addr> {
    let gateway = region.nat_gateways.get(id)?;
    let subnet = region.subnets.get(&gateway.subnet)?;
    let public = leads_to_internet(region, &gateway.subnet);
    (subnet.vpc == vpc && public).then_some(gateway.public_ip)?
}

/// Whether the default route of a subnet leads to an attached internet gateway.
pub(super) fn leads_to_internet(region: &Region, subnet: &str) -> bool {
    let Some(table) = region.table_of(subnet) else {
        return false;
    };
    matches!(
        table.routes.get(&Ipv4Net::default()),
        Some(Target::InternetGateway(id)) if region.internet_gateways.get(id) == Some(&table.vpc)
    )
}

/// A VPC answers once it is linked to the internet: until then there is no way
/// to it, and the plan changes with the link.
fn public_addresses(
    cloud: &Cloud,
    vpcs: &BTreeMap<String, VpcPlan>,
) -> BTreeMap<Ipv4Addr, Option<String>> {
    let linked = |vpc: &String| vpcs.get(vpc).is_some_and(|plan| plan.internet);
    let mut public = BTreeMap::new();
    for region in cloud.regions.values() {
        public.extend(region.addresses.keys().map(|ip| (*ip, None)));
        let gateways = region.nat_gateways.values().filter_map(|gateway| {
            let subnet = region.subnets.get(&gateway.subnet);
            Some((gateway.public_ip?, subnet.map(|subnet| &subnet.vpc)))
        });
        let instances = region.vpcs.keys().flat_map(|vpc| {
            let instances = region.instances_of(vpc);
            instances.filter_map(move |(_, instance)| Some((instance.public_ip?, Some(vpc))))
        });
        for (ip, vpc) in gateways.chain(instances) {
            public.insert(ip, vpc.filter(|vpc| linked(vpc)).cloned());
        }
    }
    public
}
