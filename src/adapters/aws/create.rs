//! Makes resources: looks first, makes, waits until it can be used.

use std::collections::BTreeMap;

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{DomainType, ResourceType, TagSpecification, VpcPeeringConnection};
use sha2::{Digest, Sha256};

use super::{
    Clients, Regional,
    calls::{call, has_code},
    discover::{nat_lives, peering_lives},
    gather, health,
    ids::{filter, id, named, specification},
    instance, sets, update,
    wait::{Goal, until},
    zone,
};
use crate::{
    ports::cloud::{CloudError, Creation, Fault, Handle, Known},
    provision::resource::Spec,
};

/// One creation with the clients of its region.
pub(super) struct Maker<'a> {
    pub at: &'a Regional,
    pub creation: &'a Creation<'a>,
    pub known: &'a Known,
}

/// Looks for the resource, makes it when it is not there.
pub(super) async fn create(
    clients: &Clients,
    creation: &Creation<'_>,
    known: &Known,
) -> Result<Handle, CloudError> {
    match &creation.resource.spec {
        Spec::Zone { name, .. } => return zone::create_zone(clients, creation, name).await,
        Spec::HealthCheck(check) => return health::create(clients, creation, check, known).await,
        Spec::Record(record) => return sets::point(clients, record, known).await,
        _ => {}
    }
    let at = clients.ec2(creation.resource.region.as_ref())?;
    let maker = Maker {
        at,
        creation,
        known,
    };
    let handle = match maker.existing().await? {
        Some(handle) => {
            // It may have lost its tags, or got them half.
            maker.tag(&handle).await?;
            handle
        }
        None => maker.make().await?,
    };
    maker.usable(handle).await
}

fn plain(id: Option<&str>) -> Option<Handle> {
    id.map(|id| Handle {
        id: id.to_owned(),
        address: None,
    })
}

impl Maker<'_> {
    /// What an earlier, perhaps unanswered, attempt has made.
    async fn existing(&self) -> Result<Option<Handle>, CloudError> {
        let (at, by_name) = (self.at, named(&self.creation.resource.tags));
        Ok(match &self.creation.resource.spec {
            Spec::Vpc { .. } => {
                let found = gather::vpcs(at, by_name).await?;
                found.first().and_then(|it| plain(it.vpc_id()))
            }
            Spec::Subnet { .. } => {
                let found = gather::subnets(at, by_name).await?;
                found.first().and_then(|it| plain(it.subnet_id()))
            }
            Spec::InternetGateway { .. } => {
                let found = gather::gateways(at, by_name).await?;
                found.first().and_then(|it| plain(it.internet_gateway_id()))
            }
            Spec::Address { .. } => {
                let found = gather::addresses(at, by_name).await?;
                found
                    .first()
                    .and_then(|it| address(it.allocation_id(), it.public_ip()))
            }
            Spec::NatGateway { .. } => {
                let found = gather::nat_gateways(at, by_name).await?;
                let found = found.iter().find(|it| nat_lives(it));
                found.and_then(|it| plain(it.nat_gateway_id()))
            }
            Spec::RouteTable { .. } => {
                let found = gather::tables(at, by_name).await?;
                found.first().and_then(|it| plain(it.route_table_id()))
            }
            Spec::Peering { .. } => {
                let found = gather::peerings(at, by_name).await?;
                // Not every account's API filters here: another peering of the
                // same VPC must not be taken for this one.
                let wanted = self.creation.resource.tags.get("Name");
                let named = |it: &&VpcPeeringConnection| {
                    let mut tags = it.tags().iter();
                    tags.any(|tag| {
                        tag.key() == Some("Name") && tag.value() == wanted.map(String::as_str)
                    })
                };
                let found = found.iter().filter(named).find(|it| peering_lives(it));
                found.and_then(|it| plain(it.vpc_peering_connection_id()))
            }
            Spec::SecurityGroup { .. } => self.existing_group().await?,
            Spec::KeyPair { .. } => {
                let found = gather::key_pairs(at, by_name).await?;
                found.first().and_then(|it| plain(it.key_name()))
            }
            Spec::Instance(_) => instance::existing(self).await?.0,
            Spec::Zone { .. } | Spec::HealthCheck(_) | Spec::Record(_) => None,
        })
    }

    /// A group's name is unique in its VPC, which is ours: one that bears it
    /// is the one, with or without tags.
    async fn existing_group(&self) -> Result<Option<Handle>, CloudError> {
        let Spec::SecurityGroup { vpc, name, .. } = &self.creation.resource.spec else {
            return Ok(None);
        };
        let filters = vec![
            filter("vpc-id", [id(self.known, vpc)?]),
            filter("group-name", [name.as_str()]),
        ];
        let found = gather::groups(self.at, filters).await?;
        Ok(found.first().and_then(|it| plain(it.group_id())))
    }

    async fn tag(&self, handle: &Handle) -> Result<(), CloudError> {
        // An instance that exists keeps the tag of the host key that it has.
        let Creation { resource, .. } = self.creation;
        update::set_tags(self.at, &handle.id, &resource.spec, &resource.tags).await
    }

    /// All tags of the new resource.
    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.creation.resource.tags.clone();
        tags.extend(self.creation.tags.clone());
        tags
    }

    pub(super) fn tagged(&self, kind: ResourceType) -> TagSpecification {
        specification(kind, &self.tags())
    }

    pub(super) fn no_id(&self, call: &str) -> CloudError {
        CloudError {
            call: call.to_owned(),
            region: Some(self.at.region.clone()),
            fault: Fault::Unclear,
            message: "the answer names no id".to_owned(),
        }
    }

    /// Names a request, so that repeating it makes nothing twice: the same
    /// for the same resource in the same surroundings.
    pub(super) fn token(&self, surroundings: &[&str]) -> String {
        let mut hash = Sha256::new();
        let name = self.creation.resource.tags.get("Name");
        hash.update(name.map_or("", String::as_str));
        for part in surroundings {
            hash.update([0]);
            hash.update(part);
        }
        let bytes = hash.finalize();
        bytes
            .iter()
            .take(24)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    async fn make(&self) -> Result<Handle, CloudError> {
        match &self.creation.resource.spec {
            Spec::Vpc { cidr, .. } => self.vpc(&cidr.to_string()).await,
            Spec::Subnet { .. } => self.subnet().await,
            Spec::InternetGateway { .. } => self.internet_gateway().await,
            Spec::Address { .. } => self.address().await,
            Spec::NatGateway { .. } => self.nat_gateway().await,
            Spec::RouteTable { .. } => self.route_table().await,
            Spec::Peering { .. } => self.peering().await,
            Spec::SecurityGroup { .. } => self.group().await,
            Spec::KeyPair { .. } => self.key_pair().await,
            Spec::Instance(wanted) => instance::make(self, wanted).await,
            Spec::Zone { .. } | Spec::HealthCheck(_) | Spec::Record(_) => {
                Err(self.no_id("route53"))
            }
        }
    }

    async fn vpc(&self, cidr: &str) -> Result<Handle, CloudError> {
        let request = (self.at.write.create_vpc())
            .cidr_block(cidr)
            .tag_specifications(self.tagged(ResourceType::Vpc));
        let made = call!("ec2:CreateVpc", &self.at.region, request)?;
        let id = made.vpc().and_then(|it| it.vpc_id());
        plain(id).ok_or_else(|| self.no_id("ec2:CreateVpc"))
    }

    async fn subnet(&self) -> Result<Handle, CloudError> {
        let Spec::Subnet { vpc, cidr, zone } = &self.creation.resource.spec else {
            return Err(self.no_id("ec2:CreateSubnet"));
        };
        let request = (self.at.write.create_subnet())
            .vpc_id(id(self.known, vpc)?)
            .cidr_block(cidr.to_string())
            .availability_zone(zone)
            .tag_specifications(self.tagged(ResourceType::Subnet));
        let made = call!("ec2:CreateSubnet", &self.at.region, request)?;
        let id = made.subnet().and_then(|it| it.subnet_id());
        plain(id).ok_or_else(|| self.no_id("ec2:CreateSubnet"))
    }

    async fn internet_gateway(&self) -> Result<Handle, CloudError> {
        let request = (self.at.write.create_internet_gateway())
            .tag_specifications(self.tagged(ResourceType::InternetGateway));
        let made = call!("ec2:CreateInternetGateway", &self.at.region, request)?;
        let id = made
            .internet_gateway()
            .and_then(|it| it.internet_gateway_id());
        plain(id).ok_or_else(|| self.no_id("ec2:CreateInternetGateway"))
    }

    async fn address(&self) -> Result<Handle, CloudError> {
        let request = (self.at.write.allocate_address())
            .domain(DomainType::Vpc)
            .tag_specifications(self.tagged(ResourceType::ElasticIp));
        let made = call!("ec2:AllocateAddress", &self.at.region, request)?;
        let handle = address(made.allocation_id(), made.public_ip());
        handle.ok_or_else(|| self.no_id("ec2:AllocateAddress"))
    }

    async fn nat_gateway(&self) -> Result<Handle, CloudError> {
        let Spec::NatGateway { subnet, address } = &self.creation.resource.spec else {
            return Err(self.no_id("ec2:CreateNatGateway"));
        };
        let (subnet, address) = (id(self.known, subnet)?, id(self.known, address)?);
        // A failed gateway has the same surroundings: its id makes the
        // difference.
        let earlier = gather::nat_gateways(self.at, named(&self.creation.resource.tags)).await?;
        let earlier: Vec<&str> = earlier
            .iter()
            .filter_map(|it| it.nat_gateway_id())
            .collect();
        let request = (self.at.write.create_nat_gateway())
            .subnet_id(subnet)
            .allocation_id(address)
            .client_token(self.token(&[subnet, address, &earlier.join(",")]))
            .tag_specifications(self.tagged(ResourceType::Natgateway));
        let made = call!("ec2:CreateNatGateway", &self.at.region, request)?;
        let id = made.nat_gateway().and_then(|it| it.nat_gateway_id());
        plain(id).ok_or_else(|| self.no_id("ec2:CreateNatGateway"))
    }

    async fn route_table(&self) -> Result<Handle, CloudError> {
        let Spec::RouteTable { vpc, .. } = &self.creation.resource.spec else {
            return Err(self.no_id("ec2:CreateRouteTable"));
        };
        let request = (self.at.write.create_route_table())
            .vpc_id(id(self.known, vpc)?)
            .tag_specifications(self.tagged(ResourceType::RouteTable));
        let made = call!("ec2:CreateRouteTable", &self.at.region, request)?;
        let id = made.route_table().and_then(|it| it.route_table_id());
        plain(id).ok_or_else(|| self.no_id("ec2:CreateRouteTable"))
    }

    async fn peering(&self) -> Result<Handle, CloudError> {
        let Spec::Peering {
            from,
            to,
            to_region,
            ..
        } = &self.creation.resource.spec
        else {
            return Err(self.no_id("ec2:CreateVpcPeeringConnection"));
        };
        let request = (self.at.write.create_vpc_peering_connection())
            .vpc_id(id(self.known, from)?)
            .peer_vpc_id(id(self.known, to)?)
            .peer_region(to_region.as_str())
            .tag_specifications(self.tagged(ResourceType::VpcPeeringConnection));
        let made = call!("ec2:CreateVpcPeeringConnection", &self.at.region, request)?;
        let id = made.vpc_peering_connection();
        plain(id.and_then(|it| it.vpc_peering_connection_id()))
            .ok_or_else(|| self.no_id("ec2:CreateVpcPeeringConnection"))
    }

    async fn group(&self) -> Result<Handle, CloudError> {
        let Spec::SecurityGroup { vpc, name, .. } = &self.creation.resource.spec else {
            return Err(self.no_id("ec2:CreateSecurityGroup"));
        };
        let request = (self.at.write.create_security_group())
            .vpc_id(id(self.known, vpc)?)
            .group_name(name)
            .description(format!("hafail: {}", self.creation.key))
            .tag_specifications(self.tagged(ResourceType::SecurityGroup));
        let made = call!("ec2:CreateSecurityGroup", &self.at.region, request)?;
        plain(made.group_id()).ok_or_else(|| self.no_id("ec2:CreateSecurityGroup"))
    }

    async fn key_pair(&self) -> Result<Handle, CloudError> {
        let Spec::KeyPair { name, public_key } = &self.creation.resource.spec else {
            return Err(self.no_id("ec2:ImportKeyPair"));
        };
        let key = public_key.as_deref().unwrap_or_default();
        let request = (self.at.write.import_key_pair())
            .key_name(name)
            .public_key_material(Blob::new(key.as_bytes()))
            .tag_specifications(self.tagged(ResourceType::KeyPair));
        match call!("ec2:ImportKeyPair", &self.at.region, request) {
            Err(error) if has_code(&error, "InvalidKeyPair.Duplicate") => Err(CloudError {
                message: format!(
                    "a key pair {name} that hafail did not make is there already; remove or rename it"
                ),
                ..error
            }),
            Err(error) => Err(error),
            Ok(_) => Ok(Handle {
                id: name.clone(),
                address: None,
            }),
        }
    }

    /// Waits for what is made in the background.
    async fn usable(&self, handle: Handle) -> Result<Handle, CloudError> {
        match &self.creation.resource.spec {
            Spec::NatGateway { .. } => until(self.at, &handle.id, Goal::NatAvailable).await?,
            Spec::Instance(_) => until(self.at, &handle.id, Goal::Running).await?,
            _ => {}
        }
        Ok(handle)
    }
}

fn address(id: Option<&str>, public: Option<&str>) -> Option<Handle> {
    Some(Handle {
        id: id?.to_owned(),
        address: public.and_then(|text| text.parse().ok()),
    })
}
