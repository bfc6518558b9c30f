//! Changes resources. Each call is "make it so": where the effect is there
//! already, it is a success.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{AttributeBooleanValue, RouteTable};
use ipnet::IpNet;

use super::{
    Clients, Regional,
    calls::{call, has_code, unless},
    gather, health,
    ids::{filter, id, list},
    rules, sets,
    wait::{Goal, until},
    zone,
};
use crate::{
    ids::Region,
    ports::cloud::{CloudError, Known},
    provision::{
        diff::Update,
        order::Target,
        resource::{Key, Rule, Spec},
    },
};

/// Makes an update so.
pub(super) async fn update(
    clients: &Clients,
    subject: &str,
    target: Target<'_>,
    update: &Update,
    known: &Known,
) -> Result<(), CloudError> {
    match (update, target.spec) {
        (Update::Tag(tags), Spec::Zone { .. }) => {
            return zone::tag(clients, subject, tags).await;
        }
        (Update::Tag(tags), Spec::HealthCheck(_)) => {
            return health::tag(clients, subject, tags).await;
        }
        (Update::Check(check), _) => {
            return health::update(clients, subject, check, known).await;
        }
        (Update::Point(record), _) => return sets::point(clients, record, known).await.map(drop),
        (Update::Accept { region }, _) => return accept(clients, region, subject).await,
        _ => {}
    }
    let change = Change {
        at: clients.ec2(target.region)?,
        subject,
        known,
    };
    change.make(target.spec, update).await
}

/// Sets tags of something in EC2.
pub(super) async fn set_tags(
    at: &Regional,
    subject: &str,
    spec: &Spec,
    tags: &BTreeMap<String, String>,
) -> Result<(), CloudError> {
    let mut resource = subject.to_owned();
    if let Spec::KeyPair { .. } = spec {
        // Key pairs are used by name and tagged by id.
        let found = gather::key_pairs(at, vec![filter("key-name", [subject])]).await?;
        let id = found.first().and_then(|pair| pair.key_pair_id());
        resource = id.unwrap_or(subject).to_owned();
    }
    let request = (at.write.create_tags())
        .resources(resource)
        .set_tags(Some(list(tags)));
    call!("ec2:CreateTags", &at.region, request)?;
    Ok(())
}

/// A peering is accepted in the region of the accepter, where it may be seen
/// a moment later.
async fn accept(clients: &Clients, region: &Region, peering: &str) -> Result<(), CloudError> {
    let at = clients.ec2(Some(region))?;
    let request = (at.write.accept_vpc_peering_connection()).vpc_peering_connection_id(peering);
    match call!("ec2:AcceptVpcPeeringConnection", &at.region, request) {
        Ok(_) => Ok(()),
        Err(error) => {
            let filters = vec![filter("vpc-peering-connection-id", [peering])];
            let found = gather::peerings(at, filters).await?;
            let state = found.first().and_then(super::discover::peering_state);
            if state.is_some_and(|state| state.as_str() == "active") {
                return Ok(());
            }
            Err(error)
        }
    }
}

struct Change<'a> {
    at: &'a Regional,
    subject: &'a str,
    known: &'a Known,
}

impl Change<'_> {
    async fn make(&self, spec: &Spec, update: &Update) -> Result<(), CloudError> {
        match update {
            Update::Tag(tags) => set_tags(self.at, self.subject, spec, tags).await,
            Update::EnableDns => self.enable_dns().await,
            Update::Attach { vpc } => self.attach(vpc).await,
            Update::Detach { vpc } => self.detach(vpc).await,
            Update::Associate { instance } => self.associate(instance).await,
            Update::Disassociate => self.disassociate().await,
            Update::Allow(rules) => self.allow(rules).await,
            Update::Forbid(rules) => self.forbid(rules).await,
            Update::Route { to, via } => self.route(*to, via).await,
            Update::DropRoute { to } => self.drop_route(*to).await,
            Update::Link { subnet } => self.link(subnet).await,
            Update::Unlink { subnet } => self.unlink(subnet).await,
            Update::Groups(groups) => self.groups(groups).await,
            Update::Start => self.start().await,
            Update::Accept { .. } | Update::Check(_) | Update::Point(_) => Ok(()),
        }
    }

    /// The id of something of ours; anything else is an id already.
    fn id<'b>(&'b self, key: &'b Key) -> &'b str {
        id(self.known, key).unwrap_or(key.as_str())
    }

    async fn enable_dns(&self) -> Result<(), CloudError> {
        let on = || AttributeBooleanValue::builder().value(true).build();
        let request = (self.at.write.modify_vpc_attribute())
            .vpc_id(self.subject)
            .enable_dns_support(on());
        call!("ec2:ModifyVpcAttribute", &self.at.region, request)?;
        let request = (self.at.write.modify_vpc_attribute())
            .vpc_id(self.subject)
            .enable_dns_hostnames(on());
        call!("ec2:ModifyVpcAttribute", &self.at.region, request)?;
        Ok(())
    }

    async fn attach(&self, vpc: &Key) -> Result<(), CloudError> {
        let vpc = self.id(vpc);
        let request = (self.at.write.attach_internet_gateway())
            .internet_gateway_id(self.subject)
            .vpc_id(vpc);
        let result = call!("ec2:AttachInternetGateway", &self.at.region, request);
        let Err(error) = result.map(drop) else {
            return Ok(());
        };
        let filters = vec![filter("internet-gateway-id", [self.subject])];
        let found = gather::gateways(self.at, filters).await?;
        let mut attached = found.iter().flat_map(|it| it.attachments());
        match attached.any(|it| it.vpc_id() == Some(vpc)) {
            true => Ok(()),
            false => Err(error),
        }
    }

    async fn detach(&self, vpc: &Key) -> Result<(), CloudError> {
        let request = (self.at.write.detach_internet_gateway())
            .internet_gateway_id(self.subject)
            .vpc_id(self.id(vpc));
        let result = call!("ec2:DetachInternetGateway", &self.at.region, request).map(drop);
        unless(
            result,
            &["Gateway.NotAttached", "InvalidInternetGatewayID.NotFound"],
        )
    }

    async fn associate(&self, instance: &Key) -> Result<(), CloudError> {
        let request = (self.at.write.associate_address())
            .allocation_id(self.subject)
            .instance_id(self.id(instance))
            .allow_reassociation(true);
        call!("ec2:AssociateAddress", &self.at.region, request)?;
        Ok(())
    }

    async fn disassociate(&self) -> Result<(), CloudError> {
        let filters = vec![filter("allocation-id", [self.subject])];
        let found = gather::addresses(self.at, filters).await?;
        let Some(association) = found.first().and_then(|it| it.association_id()) else {
            return Ok(());
        };
        let request = (self.at.write.disassociate_address()).association_id(association);
        let result = call!("ec2:DisassociateAddress", &self.at.region, request).map(drop);
        unless(result, &["InvalidAssociationID.NotFound"])
    }

    /// All rules in one call; where one of them exists the call is refused as
    /// a whole, and they go one by one.
    async fn allow(&self, all: &BTreeSet<Rule>) -> Result<(), CloudError> {
        const EXISTS: &str = "InvalidPermission.Duplicate";
        match self.authorize(all.iter()).await {
            Err(error) if has_code(&error, EXISTS) => {}
            other => return other,
        }
        for rule in all {
            unless(self.authorize([rule]).await, &[EXISTS])?;
        }
        Ok(())
    }

    async fn authorize<'b>(
        &self,
        rules: impl IntoIterator<Item = &'b Rule>,
    ) -> Result<(), CloudError> {
        let permissions = rules.into_iter().map(|rule| rules::write(rule, self.known));
        let request = (self.at.write.authorize_security_group_ingress())
            .group_id(self.subject)
            .set_ip_permissions(Some(permissions.collect()));
        call!(
            "ec2:AuthorizeSecurityGroupIngress",
            &self.at.region,
            request
        )?;
        Ok(())
    }

    async fn forbid(&self, all: &BTreeSet<Rule>) -> Result<(), CloudError> {
        for rule in all {
            let request = (self.at.write.revoke_security_group_ingress())
                .group_id(self.subject)
                .ip_permissions(rules::write(rule, self.known));
            let result = call!("ec2:RevokeSecurityGroupIngress", &self.at.region, request);
            unless(
                result.map(drop),
                &["InvalidPermission.NotFound", "InvalidGroup.NotFound"],
            )?;
        }
        Ok(())
    }

    async fn route(&self, to: IpNet, via: &Key) -> Result<(), CloudError> {
        let (to, via) = (to.to_string(), self.id(via));
        let target = |prefix: &str| via.starts_with(prefix).then(|| via.to_owned());
        let request = (self.at.write.create_route())
            .route_table_id(self.subject)
            .destination_cidr_block(&to)
            .set_gateway_id(target("igw-"))
            .set_nat_gateway_id(target("nat-"))
            .set_vpc_peering_connection_id(target("pcx-"));
        match call!("ec2:CreateRoute", &self.at.region, request) {
            Err(error) if has_code(&error, "RouteAlreadyExists") => {}
            other => return other.map(drop),
        }
        let request = (self.at.write.replace_route())
            .route_table_id(self.subject)
            .destination_cidr_block(&to)
            .set_gateway_id(target("igw-"))
            .set_nat_gateway_id(target("nat-"))
            .set_vpc_peering_connection_id(target("pcx-"));
        call!("ec2:ReplaceRoute", &self.at.region, request)?;
        Ok(())
    }

    async fn drop_route(&self, to: IpNet) -> Result<(), CloudError> {
        let request = self.at.write.delete_route().route_table_id(self.subject);
        let request = match to {
            IpNet::V4(to) => request.destination_cidr_block(to.to_string()),
            IpNet::V6(to) => request.destination_ipv6_cidr_block(to.to_string()),
        };
        let result = call!("ec2:DeleteRoute", &self.at.region, request).map(drop);
        unless(
            result,
            &["InvalidRoute.NotFound", "InvalidRouteTableID.NotFound"],
        )
    }

    /// The table and association that a subnet has now.
    async fn association(&self, subnet: &str) -> Result<Option<(String, String)>, CloudError> {
        let filters = vec![filter("association.subnet-id", [subnet])];
        let tables = gather::tables(self.at, filters).await?;
        let mut pairs = tables.iter().flat_map(|table: &RouteTable| {
            let of_subnet = table.associations().iter();
            of_subnet
                .filter(|it| it.subnet_id() == Some(subnet))
                .filter_map(|it| {
                    let association = it.route_table_association_id()?;
                    Some((table.route_table_id()?.to_owned(), association.to_owned()))
                })
        });
        Ok(pairs.next())
    }

    async fn link(&self, subnet: &Key) -> Result<(), CloudError> {
        let subnet = self.id(subnet);
        match self.association(subnet).await? {
            Some((table, _)) if table == self.subject => Ok(()),
            Some((_, association)) => {
                let request = (self.at.write.replace_route_table_association())
                    .association_id(association)
                    .route_table_id(self.subject);
                call!("ec2:ReplaceRouteTableAssociation", &self.at.region, request)?;
                Ok(())
            }
            None => {
                let request = (self.at.write.associate_route_table())
                    .route_table_id(self.subject)
                    .subnet_id(subnet);
                call!("ec2:AssociateRouteTable", &self.at.region, request)?;
                Ok(())
            }
        }
    }

    async fn unlink(&self, subnet: &Key) -> Result<(), CloudError> {
        let now = self.association(self.id(subnet)).await?;
        let Some((table, association)) = now else {
            return Ok(());
        };
        if table != self.subject {
            return Ok(());
        }
        let request = (self.at.write.disassociate_route_table()).association_id(association);
        let result = call!("ec2:DisassociateRouteTable", &self.at.region, request).map(drop);
        unless(result, &["InvalidAssociationID.NotFound"])
    }

    async fn groups(&self, groups: &BTreeSet<Key>) -> Result<(), CloudError> {
        let groups = groups.iter().map(|group| self.id(group).to_owned());
        let request = (self.at.write.modify_instance_attribute())
            .instance_id(self.subject)
            .set_groups(Some(groups.collect()));
        call!("ec2:ModifyInstanceAttribute", &self.at.region, request)?;
        Ok(())
    }

    async fn start(&self) -> Result<(), CloudError> {
        let request = (self.at.write.start_instances()).instance_ids(self.subject);
        call!("ec2:StartInstances", &self.at.region, request)?;
        until(self.at, self.subject, Goal::Started).await
    }
}
