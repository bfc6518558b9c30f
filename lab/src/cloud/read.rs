//! Reads the EC2 side of the API, aspect by aspect.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::Ipv4Addr;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::{BehaviorVersion, Credentials, Region as SdkRegion};
use aws_sdk_ec2::types as sdk;
use base64::Engine;
use ipnet::Ipv4Net;

use super::model::{
    Aspect, Group, Instance, NatGateway, Peering, Permission, Power, Protocol, Region, RouteTable,
    Subnet, Target, Vpc,
};

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

/// moto gives imported keys back as they were sent: in base64.
fn openssh_line(key: &str) -> String {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(key.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| key.to_owned()).trim().to_owned()
}

fn route_table(table: sdk::RouteTable) -> Option<(String, RouteTable)> {
    let associations = table.associations.unwrap_or_default();
    let routes = table.routes.unwrap_or_default().into_iter();
    let routes = routes
        .filter_map(|r| {
            Some((
                r.destination_cidr_block.as_deref()?.parse().ok()?,
                target(&r),
            ))
        })
        .collect();
    let found = RouteTable {
        vpc: table.vpc_id?,
        main: associations.iter().any(|a| a.main == Some(true)),
        subnets: associations
            .into_iter()
            .filter_map(|a| a.subnet_id)
            .collect(),
        routes,
    };
    Some((table.route_table_id?, found))
}

fn target(route: &sdk::Route) -> Target {
    if let Some(id) = &route.vpc_peering_connection_id {
        return Target::Peering(id.clone());
    }
    if let Some(id) = &route.nat_gateway_id {
        return Target::NatGateway(id.clone());
    }
    match route.gateway_id.as_deref() {
        Some("local") => Target::Local,
        Some(id) if id.starts_with("igw-") => Target::InternetGateway(id.to_owned()),
        Some(id) if id.starts_with("nat-") => Target::NatGateway(id.to_owned()),
        _ => Target::Unknown,
    }
}

fn permission(rule: sdk::IpPermission) -> Permission {
    let cidrs = rule.ip_ranges.unwrap_or_default().into_iter();
    let groups = rule.user_id_group_pairs.unwrap_or_default().into_iter();
    Permission {
        protocol: protocol(rule.ip_protocol.as_deref(), rule.from_port, rule.to_port),
        cidrs: cidrs
            .filter_map(|r| Some(r.cidr_ip?.parse::<Ipv4Net>().ok()?.trunc()))
            .collect(),
        groups: groups.filter_map(|g| g.group_id).collect(),
    }
}

fn protocol(name: Option<&str>, from: Option<i32>, to: Option<i32>) -> Protocol {
    let port =
        |p: Option<i32>, otherwise| p.and_then(|p| u16::try_from(p).ok()).unwrap_or(otherwise);
    let ports = || (port(from, 0), port(to, u16::MAX));
    match name {
        Some("tcp" | "6") => Protocol::Tcp(ports().0, ports().1),
        Some("udp" | "17") => Protocol::Udp(ports().0, ports().1),
        Some("icmp" | "1") => Protocol::Icmp(from.and_then(|t| u8::try_from(t).ok())),
        Some(number) => number.parse().map_or(Protocol::All, Protocol::Number),
        None => Protocol::All,
    }
}

fn instance(i: sdk::Instance) -> Option<(String, Instance)> {
    let groups: BTreeSet<String> = i
        .security_groups
        .unwrap_or_default()
        .into_iter()
        .filter_map(|g| g.group_id)
        .collect();
    let name = i
        .tags
        .unwrap_or_default()
        .into_iter()
        .find(|t| t.key() == Some("Name"));
    let private_ip: Ipv4Addr = i.private_ip_address?.parse().ok()?;
    let dns_name = i.private_dns_name.unwrap_or_default();
    let hostname = dns_name.split('.').next().filter(|h| !h.is_empty());
    let found = Instance {
        power: power(i.state.and_then(|s| s.name)),
        vpc: i.vpc_id?,
        subnet: i.subnet_id?,
        private_ip,
        public_ip: i.public_ip_address.and_then(|ip| ip.parse().ok()),
        groups,
        key_name: i.key_name.filter(|k| !k.is_empty() && k != "None"),
        hostname: hostname.map_or_else(
            || format!("ip-{}", private_ip.to_string().replace('.', "-")),
            str::to_owned,
        ),
        name: name.and_then(|t| t.value),
    };
    Some((i.instance_id?, found))
}

fn power(state: Option<sdk::InstanceStateName>) -> Power {
    match state {
        Some(sdk::InstanceStateName::Pending | sdk::InstanceStateName::Running) => Power::On,
        Some(sdk::InstanceStateName::Stopping | sdk::InstanceStateName::Stopped) => Power::Off,
        _ => Power::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imported_key_is_given_back_as_it_was_written() {
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 someone";
        let sent = base64::engine::general_purpose::STANDARD.encode(line);
        assert_eq!(openssh_line(&sent), line);
        assert_eq!(openssh_line(line), line);
    }

    #[test]
    fn protocols_by_name_and_number() {
        assert_eq!(
            protocol(Some("tcp"), Some(80), Some(81)),
            Protocol::Tcp(80, 81)
        );
        assert_eq!(protocol(Some("-1"), None, None), Protocol::All);
        assert_eq!(
            protocol(Some("icmp"), Some(-1), Some(-1)),
            Protocol::Icmp(None)
        );
        assert_eq!(protocol(Some("50"), None, None), Protocol::Number(50));
    }
}
