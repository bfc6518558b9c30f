//! Removes resources, and says what keeps one from removal.

use aws_sdk_ec2::types::Tag;

use super::{
    Clients, Regional,
    calls::{call, pages, unless},
    gather, health,
    ids::{filter, tags},
    sets,
    wait::{Goal, until},
    zone,
};
use crate::{
    ports::cloud::{CloudError, Fault},
    provision::resource::{Found, Spec, TAG_TOPOLOGY},
};

/// Removes a resource and waits until it is gone.
pub(super) async fn delete(clients: &Clients, found: &Found) -> Result<(), CloudError> {
    match &found.spec {
        Spec::Zone { .. } => return zone::delete_zone(clients, found).await,
        Spec::HealthCheck(_) => return health::delete(clients, found).await,
        Spec::Record(_) => return sets::delete(clients, found).await,
        _ => {}
    }
    let at = clients.ec2(found.region.as_ref())?;
    let id = found.id.as_str();
    match &found.spec {
        Spec::Instance(_) => return instance(at, id).await,
        Spec::NatGateway { .. } => return nat_gateway(at, id).await,
        _ => {}
    }
    if matches!(found.spec, Spec::Vpc { .. } | Spec::Subnet { .. }) {
        spare_others(at, found).await?;
    }
    let (result, gone) = simple(at, id, &found.spec).await;
    unless(result, &[gone])
}

/// What one call removes, and the error code that says that it is gone.
async fn simple(at: &Regional, id: &str, spec: &Spec) -> (Result<(), CloudError>, &'static str) {
    let (client, region) = (&at.write, &at.region);
    match spec {
        Spec::Vpc { .. } => {
            let request = client.delete_vpc().vpc_id(id);
            let result = call!("ec2:DeleteVpc", region, request);
            (result.map(drop), "InvalidVpcID.NotFound")
        }
        Spec::Subnet { .. } => {
            let request = client.delete_subnet().subnet_id(id);
            let result = call!("ec2:DeleteSubnet", region, request);
            (result.map(drop), "InvalidSubnetID.NotFound")
        }
        Spec::InternetGateway { .. } => {
            let request = client.delete_internet_gateway().internet_gateway_id(id);
            let result = call!("ec2:DeleteInternetGateway", region, request);
            (result.map(drop), "InvalidInternetGatewayID.NotFound")
        }
        Spec::Address { .. } => {
            let request = client.release_address().allocation_id(id);
            let result = call!("ec2:ReleaseAddress", region, request);
            (result.map(drop), "InvalidAllocationID.NotFound")
        }
        Spec::RouteTable { .. } => {
            let request = client.delete_route_table().route_table_id(id);
            let result = call!("ec2:DeleteRouteTable", region, request);
            (result.map(drop), "InvalidRouteTableID.NotFound")
        }
        Spec::Peering { .. } => {
            let request = (client.delete_vpc_peering_connection()).vpc_peering_connection_id(id);
            let result = call!("ec2:DeleteVpcPeeringConnection", region, request);
            (result.map(drop), "InvalidVpcPeeringConnectionID.NotFound")
        }
        Spec::SecurityGroup { .. } => {
            let request = client.delete_security_group().group_id(id);
            let result = call!("ec2:DeleteSecurityGroup", region, request);
            (result.map(drop), "InvalidGroup.NotFound")
        }
        Spec::KeyPair { .. } => {
            let request = client.delete_key_pair().key_name(id);
            let result = call!("ec2:DeleteKeyPair", region, request);
            (result.map(drop), "InvalidKeyPair.NotFound")
        }
        Spec::Instance(_)
        | Spec::NatGateway { .. }
        | Spec::Zone { .. }
        | Spec::HealthCheck(_)
        | Spec::Record(_) => (Ok(()), ""),
    }
}

async fn instance(at: &Regional, id: &str) -> Result<(), CloudError> {
    let request = at.write.terminate_instances().instance_ids(id);
    let result = call!("ec2:TerminateInstances", &at.region, request).map(drop);
    unless(result, &["InvalidInstanceID.NotFound"])?;
    until(at, id, Goal::Terminated).await
}

async fn nat_gateway(at: &Regional, id: &str) -> Result<(), CloudError> {
    let request = at.write.delete_nat_gateway().nat_gateway_id(id);
    let result = call!("ec2:DeleteNatGateway", &at.region, request).map(drop);
    unless(result, &["NatGatewayNotFound"])?;
    until(at, id, Goal::NatDeleted).await
}

/// Refuses to remove what others use, rather than trust the cloud to refuse.
async fn spare_others(at: &Regional, found: &Found) -> Result<(), CloudError> {
    let mut others = Others::new(found);
    let by = match &found.spec {
        Spec::Subnet { .. } => "subnet-id",
        _ => "vpc-id",
    };
    others.machines(at, by, &found.id).await?;
    if by == "vpc-id" {
        others.network(at, &found.id).await?;
    }
    if others.list.is_empty() {
        return Ok(());
    }
    Err(CloudError {
        call: "hafail".to_owned(),
        region: found.region.clone(),
        fault: Fault::Occupied,
        message: format!(
            "not made by hafail and still there: {}",
            others.list.join(", ")
        ),
    })
}

/// What others have put into something of ours.
pub(super) async fn occupants(clients: &Clients, found: &Found) -> Result<Vec<String>, CloudError> {
    let name = match &found.spec {
        Spec::Zone { .. } => return zone::occupants(clients, found).await,
        Spec::Vpc { .. } => "vpc-id",
        Spec::Subnet { .. } => "subnet-id",
        Spec::SecurityGroup { .. } => "group-id",
        _ => return Ok(Vec::new()),
    };
    let at = clients.ec2(found.region.as_ref())?;
    let mut others = Others::new(found);
    if name != "group-id" {
        others.machines(at, name, &found.id).await?;
    }
    others.interfaces(at, name, &found.id).await?;
    if name == "vpc-id" {
        others.network(at, &found.id).await?;
    }
    Ok(others.list)
}

struct Others<'a> {
    topology: &'a str,
    list: Vec<String>,
}

impl<'a> Others<'a> {
    fn new(found: &'a Found) -> Self {
        Self {
            topology: found.tags.get(TAG_TOPOLOGY).map_or("", String::as_str),
            list: Vec::new(),
        }
    }

    fn add(&mut self, kind: &str, id: Option<&str>, of: &[Tag]) {
        let ours = tags(of).get(TAG_TOPOLOGY).map(String::as_str) == Some(self.topology);
        if let (false, Some(id)) = (ours, id) {
            self.list.push(format!("{kind} {id}"));
        }
    }

    async fn machines(&mut self, at: &Regional, by: &str, id: &str) -> Result<(), CloudError> {
        for it in gather::instances(at, vec![filter(by, [id])]).await? {
            if super::discover::power(&it).is_some() {
                self.add("instance", it.instance_id(), it.tags());
            }
        }
        Ok(())
    }

    async fn interfaces(&mut self, at: &Regional, by: &str, id: &str) -> Result<(), CloudError> {
        let request = (at.read.describe_network_interfaces()).filters(filter(by, [id]));
        for it in pages!("ec2:DescribeNetworkInterfaces", &at.region, request)? {
            // Those of instances and gateways come and go with them.
            let owner = it.attachment().and_then(|it| it.instance_id());
            if owner.is_none() && it.requester_managed() != Some(true) {
                self.add("network interface", it.network_interface_id(), it.tag_set());
            }
        }
        Ok(())
    }

    /// What a VPC holds beside machines; what comes with every VPC left out.
    async fn network(&mut self, at: &Regional, vpc: &str) -> Result<(), CloudError> {
        let by = || vec![filter("vpc-id", [vpc])];
        for it in gather::subnets(at, by()).await? {
            self.add("subnet", it.subnet_id(), it.tags());
        }
        for it in gather::groups(at, by()).await? {
            if it.group_name() != Some("default") {
                self.add("security group", it.group_id(), it.tags());
            }
        }
        for it in gather::tables(at, by()).await? {
            if !it.associations().iter().any(|it| it.main() == Some(true)) {
                self.add("route table", it.route_table_id(), it.tags());
            }
        }
        for it in gather::gateways(at, vec![filter("attachment.vpc-id", [vpc])]).await? {
            self.add("internet gateway", it.internet_gateway_id(), it.tags());
        }
        Ok(())
    }
}
