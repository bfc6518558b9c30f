//! Rules of security groups, to and from the API's form.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::{IpPermission, IpRange, Ipv6Range, PrefixListId, UserIdGroupPair};
use ipnet::IpNet;

use super::ids::{self, Ids};
use crate::{
    ports::cloud::Known,
    provision::resource::{Peer, Rule},
};

/// The rules of a permission, one for each peer.
pub(super) fn read(permission: &IpPermission, ids: &Ids) -> BTreeSet<Rule> {
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
    let ports = port(permission.from_port()).zip(port(permission.to_port()));
    let networks = permission.ip_ranges().iter().filter_map(IpRange::cidr_ip);
    let networks6 = (permission.ipv6_ranges().iter()).filter_map(Ipv6Range::cidr_ipv6);
    let networks = networks.chain(networks6).filter_map(|text| {
        let network: IpNet = text.parse().ok()?;
        Some(Peer::Network(network))
    });
    let groups = permission.user_id_group_pairs().iter();
    let groups = groups.map(|pair| Peer::Group(ids.key(pair.group_id())));
    let lists = permission.prefix_list_ids().iter();
    let lists = lists.filter_map(|list| Some(Peer::List(list.prefix_list_id()?.to_owned())));
    networks
        .chain(groups)
        .chain(lists)
        .map(|peer| Rule {
            protocol: permission.ip_protocol().unwrap_or("-1").to_owned(),
            ports,
            peer,
        })
        .collect()
}

/// A rule as the API wants it.
pub(super) fn write(rule: &Rule, known: &Known) -> IpPermission {
    let mut permission = IpPermission::builder().ip_protocol(&rule.protocol);
    permission = match rule.ports {
        Some((first, last)) => permission
            .from_port(i32::from(first))
            .to_port(i32::from(last)),
        None if rule.protocol == "-1" => permission,
        None => permission.from_port(-1).to_port(-1),
    };
    permission = match &rule.peer {
        Peer::Network(IpNet::V4(network)) => {
            permission.ip_ranges(IpRange::builder().cidr_ip(network.to_string()).build())
        }
        Peer::Network(IpNet::V6(network)) => {
            permission.ipv6_ranges(Ipv6Range::builder().cidr_ipv6(network.to_string()).build())
        }
        Peer::Group(group) => {
            // A group of somebody else stands for itself.
            let id = ids::id(known, group).unwrap_or(group.as_str());
            permission.user_id_group_pairs(UserIdGroupPair::builder().group_id(id).build())
        }
        Peer::List(list) => {
            permission.prefix_list_ids(PrefixListId::builder().prefix_list_id(list).build())
        }
    };
    permission.build()
}
