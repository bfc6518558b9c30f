//! From what the API describes to resources by logical name.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    Address, Instance as SdkInstance, InstanceStateName, NatGateway, NatGatewayState, Route,
    RouteOrigin, RouteState, RouteTable, SecurityGroup, Tag, VpcPeeringConnection,
    VpcPeeringConnectionStateReasonCode as PeeringState,
};
use futures::future::try_join_all;
use ipnet::IpNet;

use super::{
    Clients,
    gather::{Gathered, gather},
    ids::{Ids, key_of, tags},
    rules, zone,
};
use crate::{
    ids::Region,
    ports::cloud::{CloudError, Scope},
    provision::{
        desired::key_without_comment,
        resource::{Discovered, Found, Instance, Key, Power, Spec, TAG_HOST_KEY},
    },
};

/// Everything with the deployment's tags, in all regions at the same time.
pub(super) async fn discover(clients: &Clients, scope: &Scope) -> Result<Discovered, CloudError> {
    let regions = clients.regions().map(async |at| {
        let gathered = gather(at, &scope.topology).await?;
        Ok::<_, CloudError>((at.region.clone(), gathered))
    });
    let zone = zone::discover(clients, scope);
    let (regions, zone) = tokio::try_join!(try_join_all(regions), zone)?;
    let ids = ids(&regions);
    let mut found = Discovered::default();
    for (region, gathered) in &regions {
        let mut reader = Reader {
            region,
            ids: &ids,
            found: &mut found,
        };
        reader.network(gathered);
        reader.machines(gathered);
    }
    zone.add_to(&mut found);
    Ok(found)
}

/// The ids of what is alive.
fn ids(regions: &[(Region, Gathered)]) -> Ids {
    let mut ids = Ids::default();
    for (_, all) in regions {
        all.vpcs
            .iter()
            .for_each(|(it, _)| ids.add(it.vpc_id(), it.tags()));
        all.subnets
            .iter()
            .for_each(|it| ids.add(it.subnet_id(), it.tags()));
        all.gateways
            .iter()
            .for_each(|it| ids.add(it.internet_gateway_id(), it.tags()));
        all.addresses
            .iter()
            .for_each(|it| ids.add(it.allocation_id(), it.tags()));
        all.groups
            .iter()
            .for_each(|it| ids.add(it.group_id(), it.tags()));
        all.key_pairs
            .iter()
            .for_each(|it| ids.add(it.key_name(), it.tags()));
        let nat_gateways = all.nat_gateways.iter().filter(|it| nat_lives(it));
        nat_gateways.for_each(|it| ids.add(it.nat_gateway_id(), it.tags()));
        let peerings = all.peerings.iter().filter(|it| peering_lives(it));
        peerings.for_each(|it| ids.add(it.vpc_peering_connection_id(), it.tags()));
        let instances = all.instances.iter().filter(|it| power(it).is_some());
        instances.for_each(|it| ids.add(it.instance_id(), it.tags()));
    }
    ids
}

/// Failed gateways vanish by themselves, and never serve.
pub(super) fn nat_lives(gateway: &NatGateway) -> bool {
    matches!(
        gateway.state(),
        Some(NatGatewayState::Pending | NatGatewayState::Available)
    )
}

pub(super) fn peering_state(peering: &VpcPeeringConnection) -> Option<&PeeringState> {
    peering.status().and_then(|status| status.code())
}

/// Rejected, expired and deleted ones stay to be seen for a while.
pub(super) fn peering_lives(peering: &VpcPeeringConnection) -> bool {
    matches!(
        peering_state(peering),
        Some(
            PeeringState::InitiatingRequest
                | PeeringState::PendingAcceptance
                | PeeringState::Provisioning
                | PeeringState::Active
        )
    )
}

/// None: terminated, or on its way there.
pub(super) fn power(instance: &SdkInstance) -> Option<Power> {
    match instance.state().and_then(|state| state.name())? {
        InstanceStateName::Pending | InstanceStateName::Running => Some(Power::Running),
        InstanceStateName::Stopping | InstanceStateName::Stopped => Some(Power::Stopped),
        _ => None,
    }
}

struct Reader<'a> {
    region: &'a Region,
    ids: &'a Ids,
    found: &'a mut Discovered,
}

impl Reader<'_> {
    fn add(&mut self, id: Option<&str>, sdk_tags: &[Tag], address: Option<&str>, spec: Spec) {
        let tags = tags(sdk_tags);
        let (Some(id), Some(key)) = (id, key_of(&tags)) else {
            tracing::warn!(id, "has the tag of the deployment and no name; left alone");
            return;
        };
        self.found.add(Found {
            key,
            id: id.to_owned(),
            region: Some(self.region.clone()),
            tags,
            address: address.and_then(|text| text.parse().ok()),
            spec,
        });
    }

    fn network(&mut self, all: &Gathered) {
        for (vpc, dns) in &all.vpcs {
            let cidr = network(vpc.cidr_block());
            let spec = Spec::Vpc { cidr, dns: *dns };
            self.add(vpc.vpc_id(), vpc.tags(), None, spec);
        }
        for subnet in &all.subnets {
            let spec = Spec::Subnet {
                vpc: self.ids.key(subnet.vpc_id()),
                cidr: network(subnet.cidr_block()),
                zone: subnet.availability_zone().unwrap_or_default().to_owned(),
            };
            self.add(subnet.subnet_id(), subnet.tags(), None, spec);
        }
        for gateway in &all.gateways {
            let attached = gateway.attachments().first();
            let vpc = attached.map(|it| self.ids.key(it.vpc_id()));
            let spec = Spec::InternetGateway { vpc };
            self.add(gateway.internet_gateway_id(), gateway.tags(), None, spec);
        }
        for gateway in all.nat_gateways.iter().filter(|it| nat_lives(it)) {
            let address = gateway.nat_gateway_addresses().first();
            let spec = Spec::NatGateway {
                subnet: self.ids.key(gateway.subnet_id()),
                address: self.ids.key(address.and_then(|it| it.allocation_id())),
            };
            self.add(gateway.nat_gateway_id(), gateway.tags(), None, spec);
        }
        for table in &all.tables {
            let spec = self.route_table(table);
            self.add(table.route_table_id(), table.tags(), None, spec);
        }
        for peering in all.peerings.iter().filter(|it| peering_lives(it)) {
            self.peering(peering);
        }
        for group in &all.groups {
            let spec = self.group(group);
            self.add(group.group_id(), group.tags(), None, spec);
        }
    }

    fn route_table(&self, table: &RouteTable) -> Spec {
        let subnets = table.associations().iter().filter_map(|it| it.subnet_id());
        let routes = table.routes().iter().filter(|route| is_own_route(route));
        let routes = routes.filter_map(|route| {
            let to = route.destination_cidr_block();
            let to = to.or(route.destination_ipv6_cidr_block())?;
            Some((to.parse().ok()?, self.target(route)))
        });
        Spec::RouteTable {
            vpc: self.ids.key(table.vpc_id()),
            subnets: subnets.map(|id| self.ids.key(Some(id))).collect(),
            routes: routes.collect(),
        }
    }

    fn target(&self, route: &Route) -> Key {
        if route.state() == Some(&RouteState::Blackhole) {
            return Key::new("blackhole");
        }
        let target = (route.gateway_id())
            .or(route.nat_gateway_id())
            .or(route.vpc_peering_connection_id())
            .or(route.instance_id())
            .or(route.network_interface_id())
            .or(route.transit_gateway_id());
        self.ids.key(target)
    }

    /// A peering is seen in both regions; it belongs to the requester's.
    fn peering(&mut self, peering: &VpcPeeringConnection) {
        let side = |info: Option<&aws_sdk_ec2::types::VpcPeeringConnectionVpcInfo>| {
            let vpc = self.ids.key(info.and_then(|it| it.vpc_id()));
            let region = info
                .and_then(|it| it.region())
                .and_then(|it| it.parse().ok());
            (vpc, region.unwrap_or_else(|| self.region.clone()))
        };
        let (from, home) = side(peering.requester_vpc_info());
        let (to, to_region) = side(peering.accepter_vpc_info());
        if home != *self.region {
            return;
        }
        let accepted = matches!(
            peering_state(peering),
            Some(PeeringState::Active | PeeringState::Provisioning)
        );
        let spec = Spec::Peering {
            from,
            to,
            to_region,
            accepted,
        };
        let id = peering.vpc_peering_connection_id();
        self.add(id, peering.tags(), None, spec);
    }

    fn group(&self, group: &SecurityGroup) -> Spec {
        let permissions = group.ip_permissions().iter();
        Spec::SecurityGroup {
            vpc: self.ids.key(group.vpc_id()),
            name: group.group_name().unwrap_or_default().to_owned(),
            rules: permissions
                .flat_map(|it| rules::read(it, self.ids))
                .collect(),
        }
    }

    fn machines(&mut self, all: &Gathered) {
        for pair in &all.key_pairs {
            let spec = Spec::KeyPair {
                name: pair.key_name().unwrap_or_default().to_owned(),
                public_key: pair.public_key().map(key_without_comment),
            };
            self.add(pair.key_name(), pair.tags(), None, spec);
        }
        for address in &all.addresses {
            self.address(address);
        }
        let mut instances: Vec<&SdkInstance> = all.instances.iter().collect();
        // Of two with one name the older is the one in use.
        instances.sort_by_key(|it| it.launch_time().map(|time| time.as_nanos()));
        for instance in instances {
            let Some(power) = power(instance) else {
                continue;
            };
            let spec = Spec::Instance(self.instance(instance, power));
            let address = instance.private_ip_address();
            self.add(instance.instance_id(), instance.tags(), address, spec);
        }
    }

    fn address(&mut self, address: &Address) {
        let instance = address.instance_id().filter(|id| !id.is_empty());
        let instance = instance.map(|id| self.ids.key(Some(id)));
        let public = address.public_ip();
        let spec = Spec::Address { instance };
        self.add(address.allocation_id(), address.tags(), public, spec);
    }

    fn instance(&self, instance: &SdkInstance, power: Power) -> Instance {
        let tags: BTreeMap<String, String> = tags(instance.tags());
        let host = key_of(&tags).map_or_else(String::new, |key| {
            key.as_str()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        let kind = instance.instance_type().map(|it| it.as_str());
        let groups = instance.security_groups().iter();
        Instance {
            host,
            image: None,
            instance_type: kind.unwrap_or_default().to_owned(),
            subnet: self.ids.key(instance.subnet_id()),
            groups: groups
                .map(|it| self.ids.key(it.group_id()))
                .collect::<BTreeSet<Key>>(),
            key_pair: self.ids.key(instance.key_name()),
            address: instance
                .private_ip_address()
                .and_then(|text| text.parse().ok()),
            disk_gib: None,
            power,
            host_key: tags.contains_key(TAG_HOST_KEY),
        }
    }
}

fn network(text: Option<&str>) -> IpNet {
    let parsed = text.and_then(|text| text.parse().ok());
    parsed.unwrap_or_else(|| IpNet::V4(ipnet::Ipv4Net::default()))
}

/// Neither the local route that every table has, nor a propagated one.
fn is_own_route(route: &Route) -> bool {
    route.gateway_id() != Some("local")
        && !matches!(
            route.origin(),
            Some(RouteOrigin::CreateRouteTable | RouteOrigin::EnableVgwRoutePropagation)
        )
}
