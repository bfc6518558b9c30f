//! From the SDK's types to the lab's words. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use aws_sdk_ec2::types as sdk;
use base64::Engine;
use ipnet::Ipv4Net;

use super::model::{Instance, Permission, Power, Protocol, RouteTable, Target};

/// moto gives imported keys back as they were sent: in base64.
pub(super) fn openssh_line(key: &str) -> String {
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(key.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.unwrap_or_else(|| key.to_owned()).trim().to_owned()
}

pub(super) fn route_table(table: sdk::RouteTable) -> Option<(String, RouteTable)> {
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

pub(super) fn permission(rule: sdk::IpPermission) -> Permission {
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

pub(super) fn instance(i: sdk::Instance) -> Option<(String, Instance)> {
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
