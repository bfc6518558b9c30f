//! The describe calls, each with all its pages.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    Address, Filter, Instance, InternetGateway, KeyPairInfo, NatGateway, RouteTable, SecurityGroup,
    Subnet, Vpc, VpcAttributeName, VpcPeeringConnection,
};

use super::{
    Regional,
    calls::{call, pages},
    ids::{filter, of_names, of_topology},
};
use crate::ports::cloud::CloudError;

/// All that a region has of a deployment.
pub(super) struct Gathered {
    /// With whether DNS support and DNS names are on.
    pub vpcs: Vec<(Vpc, bool)>,
    pub subnets: Vec<Subnet>,
    pub gateways: Vec<InternetGateway>,
    pub addresses: Vec<Address>,
    pub nat_gateways: Vec<NatGateway>,
    pub tables: Vec<RouteTable>,
    pub peerings: Vec<VpcPeeringConnection>,
    pub groups: Vec<SecurityGroup>,
    pub key_pairs: Vec<KeyPairInfo>,
    pub instances: Vec<Instance>,
}

/// Asks a region for everything that has the deployment's tag, and for what
/// has lost it and is known by its name.
pub(super) async fn gather(at: &Regional, topology: &str) -> Result<Gathered, CloudError> {
    let (mut all, named) =
        tokio::try_join!(matching(at, of_topology(topology)), named(at, topology))?;
    let known = all.ids();
    let lost: BTreeSet<&str> = (named.iter())
        .filter(|(id, _)| !known.contains(*id))
        .map(|(_, name)| name.as_str())
        .collect();
    if !lost.is_empty() {
        let found = matching(at, of_names(lost)).await?;
        all.add(found, &known);
    }
    Ok(all)
}

async fn matching(at: &Regional, filters: Vec<Filter>) -> Result<Gathered, CloudError> {
    let filters = || filters.clone();
    let (vpcs, subnets, gateways, addresses, nat_gateways) = tokio::try_join!(
        vpcs_with_dns(at, filters()),
        subnets(at, filters()),
        gateways(at, filters()),
        addresses(at, filters()),
        nat_gateways(at, filters()),
    )?;
    let (tables, peerings, groups, key_pairs, instances) = tokio::try_join!(
        tables(at, filters()),
        peerings(at, filters()),
        groups(at, filters()),
        key_pairs(at, filters()),
        instances(at, filters()),
    )?;
    Ok(Gathered {
        vpcs,
        subnets,
        gateways,
        addresses,
        nat_gateways,
        tables,
        peerings,
        groups,
        key_pairs,
        instances,
    })
}

/// What can have the name of a resource of ours.
const KINDS: [&str; 10] = [
    "vpc",
    "subnet",
    "internet-gateway",
    "elastic-ip",
    "natgateway",
    "route-table",
    "vpc-peering-connection",
    "security-group",
    "key-pair",
    "instance",
];

/// The names of the deployment's resources, by id.
async fn named(at: &Regional, topology: &str) -> Result<BTreeMap<String, String>, CloudError> {
    let names = format!("{topology}/*");
    let request = (at.read.describe_tags())
        .filters(filter("key", ["Name"]))
        .filters(filter("value", [names.as_str()]))
        .filters(filter("resource-type", KINDS));
    let tags = pages!("ec2:DescribeTags", &at.region, request)?;
    let pairs = tags
        .into_iter()
        .filter_map(|tag| Some((tag.resource_id?, tag.value?)));
    Ok(pairs.collect())
}

/// Calls `$each` with every kind's list and how its ids are read.
macro_rules! kinds {
    ($each:ident) => {
        $each!(vpcs, |it| it.0.vpc_id());
        $each!(subnets, |it| it.subnet_id());
        $each!(gateways, |it| it.internet_gateway_id());
        $each!(addresses, |it| it.allocation_id());
        $each!(nat_gateways, |it| it.nat_gateway_id());
        $each!(tables, |it| it.route_table_id());
        $each!(peerings, |it| it.vpc_peering_connection_id());
        $each!(groups, |it| it.group_id());
        $each!(key_pairs, |it| it.key_pair_id());
        $each!(instances, |it| it.instance_id());
    };
}

impl Gathered {
    fn ids(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        macro_rules! collect {
            ($list:ident, |$it:ident| $id:expr) => {
                ids.extend(self.$list.iter().filter_map(|$it| $id).map(str::to_owned));
            };
        }
        kinds!(collect);
        ids
    }

    /// Adds what is not there yet.
    fn add(&mut self, found: Self, known: &BTreeSet<String>) {
        macro_rules! merge {
            ($list:ident, |$it:ident| $id:expr) => {
                let fresh = found.$list.into_iter();
                let fresh = fresh.filter(|$it| $id.is_some_and(|id| !known.contains(id)));
                self.$list.extend(fresh);
            };
        }
        kinds!(merge);
    }
}

async fn vpcs_with_dns(
    at: &Regional,
    filters: Vec<Filter>,
) -> Result<Vec<(Vpc, bool)>, CloudError> {
    let mut all = Vec::new();
    for vpc in vpcs(at, filters).await? {
        let dns = dns(at, vpc.vpc_id().unwrap_or_default()).await?;
        all.push((vpc, dns));
    }
    Ok(all)
}

async fn dns(at: &Regional, vpc: &str) -> Result<bool, CloudError> {
    let ask = async |name: VpcAttributeName| {
        let request = at.read.describe_vpc_attribute().vpc_id(vpc).attribute(name);
        call!("ec2:DescribeVpcAttribute", &at.region, request)
    };
    let (support, names) = tokio::try_join!(
        ask(VpcAttributeName::EnableDnsSupport),
        ask(VpcAttributeName::EnableDnsHostnames),
    )?;
    let support = support.enable_dns_support().and_then(|it| it.value());
    let names = names.enable_dns_hostnames().and_then(|it| it.value());
    Ok(support == Some(true) && names == Some(true))
}

/// Declares a paginated describe call that takes filters.
macro_rules! describe {
    ($name:ident, $call:literal, $operation:ident, $item:ty) => {
        pub(super) async fn $name(
            at: &Regional,
            filters: Vec<Filter>,
        ) -> Result<Vec<$item>, CloudError> {
            let request = at.read.$operation().set_filters(Some(filters));
            pages!($call, &at.region, request)
        }
    };
}

describe!(vpcs, "ec2:DescribeVpcs", describe_vpcs, Vpc);
describe!(subnets, "ec2:DescribeSubnets", describe_subnets, Subnet);
describe!(
    tables,
    "ec2:DescribeRouteTables",
    describe_route_tables,
    RouteTable
);
describe!(
    groups,
    "ec2:DescribeSecurityGroups",
    describe_security_groups,
    SecurityGroup
);
describe!(
    gateways,
    "ec2:DescribeInternetGateways",
    describe_internet_gateways,
    InternetGateway
);
describe!(
    peerings,
    "ec2:DescribeVpcPeeringConnections",
    describe_vpc_peering_connections,
    VpcPeeringConnection
);

pub(super) async fn nat_gateways(
    at: &Regional,
    filters: Vec<Filter>,
) -> Result<Vec<NatGateway>, CloudError> {
    let request = at.read.describe_nat_gateways().set_filter(Some(filters));
    pages!("ec2:DescribeNatGateways", &at.region, request)
}

pub(super) async fn addresses(
    at: &Regional,
    filters: Vec<Filter>,
) -> Result<Vec<Address>, CloudError> {
    let request = at.read.describe_addresses().set_filters(Some(filters));
    let answer = call!("ec2:DescribeAddresses", &at.region, request)?;
    Ok(answer.addresses.unwrap_or_default())
}

pub(super) async fn key_pairs(
    at: &Regional,
    filters: Vec<Filter>,
) -> Result<Vec<KeyPairInfo>, CloudError> {
    let request = (at.read.describe_key_pairs())
        .include_public_key(true)
        .set_filters(Some(filters));
    let answer = call!("ec2:DescribeKeyPairs", &at.region, request)?;
    Ok(answer.key_pairs.unwrap_or_default())
}

pub(super) async fn instances(
    at: &Regional,
    filters: Vec<Filter>,
) -> Result<Vec<Instance>, CloudError> {
    let request = at.read.describe_instances().set_filters(Some(filters));
    let reservations = pages!("ec2:DescribeInstances", &at.region, request)?;
    let each = reservations.into_iter();
    Ok(each
        .flat_map(|it| it.instances.unwrap_or_default())
        .collect())
}
