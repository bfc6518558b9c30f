//! Security groups and address translation of one VPC, as nftables rules. Pure.
//!
//! The rules stand in the VPC's router, outside of the instances: whatever runs
//! in an instance, its Docker engine included, can neither see nor change them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::internet::OPERATOR;
use super::plan::{leads_to_internet, link_of, nat_address};
use crate::cloud::model::{Instance, Permission, Protocol, Region, Target};

/// Clients on the operator's machine have this address, whichever they see themselves.
const OPERATORS_OWN: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What the rules are rendered from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// By link of the instance.
    instances: BTreeMap<String, Guarded>,
    /// Private to public address, both ways.
    public: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Subnets behind a NAT gateway, to its public address.
    translated: BTreeMap<Ipv4Net, Ipv4Addr>,
}

/// One instance and what its groups let through.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Guarded {
    address: Ipv4Addr,
    ingress: Vec<String>,
    egress: Vec<String>,
}

/// Collects the rules of a VPC.
pub(super) fn rules(region: &Region, vpc: &str) -> Rules {
    let mut rules = Rules::default();
    for (id, instance) in region.instances_of(vpc) {
        let guarded = Guarded {
            address: instance.private_ip,
            ingress: matches(region, instance, "saddr", |g| &g.ingress),
            egress: matches(region, instance, "daddr", |g| &g.egress),
        };
        rules.instances.insert(link_of('i', id), guarded);
        if let Some(public) = instance.public_ip
            && leads_to_internet(region, &instance.subnet)
        {
            rules.public.insert(instance.private_ip, public);
        }
    }
    for (id, subnet) in region.subnets.iter().filter(|(_, s)| s.vpc == vpc) {
        let table = region.table_of(id);
        if let Some(Target::NatGateway(nat)) = table.and_then(|t| t.routes.get(&Ipv4Net::default()))
            && let Some(public) = nat_address(region, vpc, nat)
        {
            rules.translated.insert(subnet.cidr.trunc(), public);
        }
    }
    rules
}

fn matches(
    region: &Region,
    instance: &Instance,
    side: &str,
    direction: impl Fn(&crate::cloud::model::Group) -> &Vec<Permission>,
) -> Vec<String> {
    instance
        .groups
        .iter()
        .filter_map(|id| region.groups.get(id))
        .flat_map(direction)
        .filter_map(|permission| matching(region, permission, side))
        .collect()
}

/// One permission as the match of an nftables rule; `None` when it lets nobody through.
fn matching(region: &Region, permission: &Permission, side: &str) -> Option<String> {
    let mut peers: Vec<Ipv4Net> = permission.cidrs.clone();
    if peers.iter().any(|net| net.contains(&OPERATORS_OWN)) {
        peers.push(OPERATOR.into());
    }
    for group in &permission.groups {
        peers.extend(region.members(group).into_iter().map(Ipv4Net::from));
    }
    let peers = Ipv4Net::aggregate(&peers);
    if peers.is_empty() {
        return None;
    }
    let everyone = peers.contains(&Ipv4Net::default());
    let who = if everyone {
        String::new()
    } else {
        let list: Vec<String> = peers.iter().map(Ipv4Net::to_string).collect();
        format!("ip {side} {{ {} }} ", list.join(", "))
    };
    let what = match permission.protocol {
        Protocol::All => String::new(),
        Protocol::Tcp(from, to) => format!("tcp dport {from}-{to} "),
        Protocol::Udp(from, to) => format!("udp dport {from}-{to} "),
        Protocol::Icmp(None) => "ip protocol icmp ".to_owned(),
        Protocol::Icmp(Some(kind)) => format!("icmp type {kind} "),
        Protocol::Number(number) => format!("ip protocol {number} "),
    };
    Some(format!("{who}{what}"))
}

/// The rules as input of `nft -f`, replacing what was loaded before in one step.
pub(super) fn render(rules: &Rules) -> String {
    let mut text = String::from("table ip lab\ndelete table ip lab\ntable ip lab {\n");
    render_translation(&mut text, rules);
    for (link, guarded) in &rules.instances {
        render_instance(&mut text, link, guarded);
    }
    let jumps = |direction: &str| -> String {
        let entries: Vec<String> = rules
            .instances
            .keys()
            .map(|link| format!("\"{link}\" : goto {direction}_{link}"))
            .collect();
        entries.join(", ")
    };
    text.push_str("  chain ingress {\n");
    if !rules.instances.is_empty() {
        let _ = writeln!(text, "    oifname vmap {{ {} }}", jumps("in"));
    }
    for source in sources_with_internet(rules) {
        let _ = writeln!(text, "    oifname \"igw\" ip saddr {source} accept");
    }
    text.push_str("    oifname \"p*\" accept\n    drop\n  }\n");
    text.push_str(
        "  chain forward {\n    type filter hook forward priority filter; policy drop;\n",
    );
    text.push_str("    ct state established,related accept\n    ct state invalid drop\n");
    // From outside only what was addressed to a public address comes in.
    text.push_str("    iifname \"igw\" ct status dnat goto ingress\n");
    text.push_str("    iifname \"p*\" goto ingress\n");
    if !rules.instances.is_empty() {
        let _ = writeln!(text, "    iifname vmap {{ {} }}", jumps("out"));
    }
    text.push_str("  }\n");
    // The resolver is for the VPC itself, and a router never says what it dropped.
    text.push_str("  chain input {\n    type filter hook input priority filter; policy accept;\n");
    text.push_str("    iifname \"igw\" drop\n    iifname \"p*\" drop\n  }\n");
    text.push_str(
        "  chain output {\n    type filter hook output priority filter; policy accept;\n",
    );
    text.push_str("    icmp type destination-unreachable drop\n  }\n}\n");
    text
}

fn sources_with_internet(rules: &Rules) -> Vec<String> {
    let hosts = rules.public.keys().map(Ipv4Addr::to_string);
    let subnets = rules.translated.keys().map(Ipv4Net::to_string);
    hosts.chain(subnets).collect()
}

fn render_translation(text: &mut String, rules: &Rules) {
    text.push_str(
        "  chain prerouting {\n    type nat hook prerouting priority dstnat; policy accept;\n",
    );
    for (private, public) in &rules.public {
        let _ = writeln!(text, "    ip daddr {public} dnat to {private}");
    }
    text.push_str("  }\n");
    text.push_str(
        "  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n",
    );
    // Also where an instance reaches a public address of its own VPC: the way
    // leads to the gateway and back.
    let sources = rules
        .public
        .iter()
        .map(|(private, public)| (private.to_string(), public))
        .chain(
            rules
                .translated
                .iter()
                .map(|(subnet, public)| (subnet.to_string(), public)),
        );
    for (source, public) in sources {
        let _ = writeln!(
            text,
            "    oifname \"igw\" ip saddr {source} snat to {public}"
        );
        let _ = writeln!(
            text,
            "    ct status dnat ip saddr {source} snat to {public}"
        );
    }
    text.push_str("  }\n");
}

fn render_instance(text: &mut String, link: &str, guarded: &Guarded) {
    let _ = writeln!(text, "  chain in_{link} {{");
    for rule in &guarded.ingress {
        let _ = writeln!(text, "    {rule}accept");
    }
    text.push_str("    drop\n  }\n");
    let _ = writeln!(
        text,
        "  chain out_{link} {{\n    ip saddr != {} drop",
        guarded.address
    );
    for rule in &guarded.egress {
        let _ = writeln!(text, "    {rule}goto ingress");
    }
    text.push_str("    drop\n  }\n");
}
