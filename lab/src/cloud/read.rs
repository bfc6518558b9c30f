//! Reads the EC2 side of the API, aspect by aspect.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::Ipv4Addr;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region as SdkRegion};
use aws_sdk_ec2::types as sdk;
use base64::Engine;

use super::convert::{instance, openssh_line, permission, route_table};
use super::model::{Aspect, Group, Instance, NatGateway, Peering, Region, RouteTable, Subnet, Vpc};

/// The API could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} of {region} from the API: {source}")]
pub struct ReadError {
    what: &'static str,
    region: String,
    source: Box<dyn Error + Send + Sync>,
}

/// Reads one region.
#[derive(Clone, Debug)]
pub struct Reader {
    region: String,
    client: Client,
}

/// Collects the pages of a describe call.
macro_rules! pages {
    ($self:ident, $what:literal, $call:expr) => {
        $call
            .into_paginator()
            .items()
            .send()
            .try_collect()
            .await
            .map_err(|e| $self.failed($what, e))?
    };
}

impl Reader {
    /// A reader of `region` behind `endpoint`.
    #[must_use]
    pub fn new(endpoint: &str, region: &str) -> Self {
        let config = aws_sdk_ec2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(SdkRegion::new(region.to_owned()))
            .credentials_provider(Credentials::new("lab", "lab", None, None, "lab"))
            .build();
        Self {
            region: region.to_owned(),
            client: Client::from_conf(config),
        }
    }

    fn failed(
        &self,
        what: &'static str,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ReadError {
        ReadError {
            what,
            region: self.region.clone(),
            source: source.into(),
        }
    }

    /// Reads `aspect` anew into `region`.
    ///
    /// # Errors
    /// When the API does not answer; `region` is then unchanged.
    pub async fn refresh(&self, aspect: Aspect, region: &mut Region) -> Result<(), ReadError> {
        match aspect {
            Aspect::Vpcs => region.vpcs = self.vpcs().await?,
            Aspect::Subnets => region.subnets = self.subnets().await?,
            Aspect::RouteTables => region.route_tables = self.route_tables().await?,
            Aspect::InternetGateways => region.internet_gateways = self.internet_gateways().await?,
            Aspect::NatGateways => region.nat_gateways = self.nat_gateways().await?,
            Aspect::Peerings => region.peerings = self.peerings().await?,
            Aspect::Groups => region.groups = self.groups().await?,
            Aspect::Instances => region.instances = self.instances().await?,
            Aspect::Addresses => region.addresses = self.addresses().await?,
        }
        Ok(())
    }

    async fn vpcs(&self) -> Result<BTreeMap<String, Vpc>, ReadError> {
        let found: Vec<sdk::Vpc> = pages!(self, "VPCs", self.client.describe_vpcs());
        Ok(found
            .into_iter()
            .filter_map(|v| {
                let vpc = Vpc {
                    cidr: v.cidr_block?.parse().ok()?,
                    default: v.is_default.unwrap_or(false),
                };
                Some((v.vpc_id?, vpc))
            })
            .collect())
    }

    async fn subnets(&self) -> Result<BTreeMap<String, Subnet>, ReadError> {
        let found: Vec<sdk::Subnet> = pages!(self, "subnets", self.client.describe_subnets());
        Ok(found
            .into_iter()
            .filter_map(|s| {
                let subnet = Subnet {
                    vpc: s.vpc_id?,
                    cidr: s.cidr_block?.parse().ok()?,
                };
                Some((s.subnet_id?, subnet))
            })
            .collect())
    }

    async fn route_tables(&self) -> Result<BTreeMap<String, RouteTable>, ReadError> {
        let found: Vec<sdk::RouteTable> =
            pages!(self, "route tables", self.client.describe_route_tables());
        Ok(found.into_iter().filter_map(route_table).collect())
    }

    async fn internet_gateways(&self) -> Result<BTreeMap<String, String>, ReadError> {
        let found: Vec<sdk::InternetGateway> = pages!(
            self,
            "internet gateways",
            self.client.describe_internet_gateways()
        );
        Ok(found
            .into_iter()
            .filter_map(|g| {
                let attachment = g.attachments?.into_iter().next()?;
                Some((g.internet_gateway_id?, attachment.vpc_id?))
            })
            .collect())
    }

    async fn nat_gateways(&self) -> Result<BTreeMap<String, NatGateway>, ReadError> {
        let found: Vec<sdk::NatGateway> =
            pages!(self, "NAT gateways", self.client.describe_nat_gateways());
        Ok(found
            .into_iter()
            .filter(|n| n.state == Some(sdk::NatGatewayState::Available))
            .filter_map(|n| {
                let mut addresses = n.nat_gateway_addresses.unwrap_or_default().into_iter();
                let gateway = NatGateway {
                    subnet: n.subnet_id?,
                    public_ip: addresses.find_map(|a| a.public_ip?.parse().ok()),
                };
                Some((n.nat_gateway_id?, gateway))
            })
            .collect())
    }

    async fn peerings(&self) -> Result<BTreeMap<String, Peering>, ReadError> {
        let found: Vec<sdk::VpcPeeringConnection> = pages!(
            self,
            "peerings",
            self.client.describe_vpc_peering_connections()
        );
        Ok(found.into_iter().filter_map(|p| self.peering(p)).collect())
    }

    fn peering(&self, p: sdk::VpcPeeringConnection) -> Option<(String, Peering)> {
        let code = p.status.and_then(|s| s.code)?;
        if code != sdk::VpcPeeringConnectionStateReasonCode::Active {
            return None;
        }
        let end = |info: sdk::VpcPeeringConnectionVpcInfo| {
            let region = info.region.unwrap_or_else(|| self.region.clone());
            Some((region, info.vpc_id?))
        };
        let peering = Peering {
            requester: end(p.requester_vpc_info?)?,
            accepter: end(p.accepter_vpc_info?)?,
        };
        Some((p.vpc_peering_connection_id?, peering))
    }

    async fn groups(&self) -> Result<BTreeMap<String, Group>, ReadError> {
        let found: Vec<sdk::SecurityGroup> = pages!(
            self,
            "security groups",
            self.client.describe_security_groups()
        );
        let rules = |list: Option<Vec<sdk::IpPermission>>| {
            list.unwrap_or_default()
                .into_iter()
                .map(permission)
                .collect()
        };
        Ok(found
            .into_iter()
            .filter_map(|g| {
                let group = Group {
                    vpc: g.vpc_id?,
                    ingress: rules(g.ip_permissions),
                    egress: rules(g.ip_permissions_egress),
                };
                Some((g.group_id?, group))
            })
            .collect())
    }

    async fn instances(&self) -> Result<BTreeMap<String, Instance>, ReadError> {
        let found: Vec<sdk::Reservation> =
            pages!(self, "instances", self.client.describe_instances());
        Ok(found
            .into_iter()
            .flat_map(|r| r.instances.unwrap_or_default())
            .filter_map(instance)
            .collect())
    }

    async fn addresses(&self) -> Result<BTreeMap<Ipv4Addr, Option<Ipv4Addr>>, ReadError> {
        let found = self
            .client
            .describe_addresses()
            .send()
            .await
            .map_err(|e| self.failed("Elastic IPs", e))?;
        Ok(found
            .addresses
            .unwrap_or_default()
            .into_iter()
            .filter_map(|a| {
                let private = a.private_ip_address.and_then(|ip| ip.parse().ok());
                Some((a.public_ip?.parse().ok()?, private))
            })
            .collect())
    }

    /// User data of an instance as `RunInstances` got it, decoded.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn user_data(&self, instance: &str) -> Result<Vec<u8>, ReadError> {
        let answer = self
            .client
            .describe_instance_attribute()
            .instance_id(instance)
            .attribute(sdk::InstanceAttributeName::UserData)
            .send()
            .await
            .map_err(|e| self.failed("user data", e))?;
        let text = answer.user_data.and_then(|v| v.value).unwrap_or_default();
        base64::engine::general_purpose::STANDARD
            .decode(text.trim())
            .map_err(|e| self.failed("user data", e))
    }

    /// The public half of a key pair, as a line for `authorized_keys`.
    ///
    /// # Errors
    /// When the API does not answer or does not know the key.
    pub async fn public_key(&self, name: &str) -> Result<String, ReadError> {
        let answer = self
            .client
            .describe_key_pairs()
            .key_names(name)
            .include_public_key(true)
            .send()
            .await
            .map_err(|e| self.failed("key pair", e))?;
        let key = answer
            .key_pairs
            .unwrap_or_default()
            .into_iter()
            .find_map(|k| k.public_key)
            .ok_or_else(|| self.failed("key pair", format!("{name} has no public key")))?;
        Ok(openssh_line(&key))
    }

    /// Tells the API that an instance has switched itself off.
    ///
    /// # Errors
    /// When the API does not answer.
    pub async fn switched_off(&self, instance: &str) -> Result<(), ReadError> {
        self.client
            .stop_instances()
            .instance_ids(instance)
            .send()
            .await
            .map_err(|e| self.failed("state of an instance", e))?;
        Ok(())
    }
}
