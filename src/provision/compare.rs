//! Compares one resource as wanted with the same as found.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use super::{
    diff::{Edit, Update},
    resource::{
        AddressRecord, Found, HealthCheck, Instance, Key, Peer, Power, Rule, Spec, TAG_HOST_KEY,
        join,
    },
};

/// How the two differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub edits: Vec<Edit>,
    /// Something differs that no call can change.
    pub fixed: Option<String>,
}

impl Comparison {
    fn edit(&mut self, field: &str, old: impl Display, new: impl Display, update: Update) {
        self.edits.push(Edit {
            field: field.to_owned(),
            old: old.to_string(),
            new: new.to_string(),
            update,
        });
    }

    /// Requires that a fixed property is equal.
    fn same<T: PartialEq + Display>(&mut self, field: &str, wanted: &T, found: &T) {
        if wanted != found && self.fixed.is_none() {
            self.fixed = Some(format!("{field} is {found}, not {wanted}"));
        }
    }
}

/// The group that a rule lets in, if it is one.
pub(super) fn group_of(rule: &Rule) -> Option<Key> {
    match &rule.peer {
        Peer::Group(group) => Some(group.clone()),
        Peer::Network(_) | Peer::List(_) => None,
    }
}

/// The same without associations with instances that are about to be made
/// anew: they end with the old one.
pub(super) fn without(spec: &Spec, new: &BTreeSet<Key>) -> Spec {
    match spec {
        Spec::Address {
            instance: Some(instance),
        } if new.contains(instance) => Spec::Address { instance: None },
        other => other.clone(),
    }
}

/// What to do where something differs that cannot be changed in place.
pub(super) fn remedy(wanted: &Spec) -> String {
    match wanted {
        Spec::Instance(instance) => format!(
            "to lose this machine with its disk and make a new one: `hafail deploy --replace {}`",
            instance.host
        ),
        Spec::KeyPair { .. } => {
            "use the secrets directory that the first deploy made (option --home)".to_owned()
        }
        _ => "undo the change in the topology, or `hafail destroy` and deploy anew".to_owned(),
    }
}

/// Compares; the edits lead from `found` to `wanted`.
pub(super) fn specs(wanted: &Spec, found: &Spec) -> Comparison {
    let mut out = Comparison::default();
    match (wanted, found) {
        (
            Spec::Vpc { cidr, dns },
            Spec::Vpc {
                cidr: old,
                dns: had,
            },
        ) => {
            out.same("the CIDR", cidr, old);
            if *dns && !had {
                out.edit("DNS names", "off", "on", Update::EnableDns);
            }
        }
        (
            Spec::Subnet { vpc, cidr, zone },
            Spec::Subnet {
                vpc: old_vpc,
                cidr: old,
                zone: had,
            },
        ) => {
            out.same("the VPC", vpc, old_vpc);
            out.same("the CIDR", cidr, old);
            out.same("the zone", zone, had);
        }
        (Spec::InternetGateway { vpc }, Spec::InternetGateway { vpc: old }) => {
            gateway(&mut out, vpc.as_ref(), old.as_ref());
        }
        (Spec::Address { instance }, Spec::Address { instance: old }) => {
            address(&mut out, instance.as_ref(), old.as_ref());
        }
        (
            Spec::NatGateway { subnet, address },
            Spec::NatGateway {
                subnet: old,
                address: had,
            },
        ) => {
            out.same("the subnet", subnet, old);
            out.same("the address", address, had);
        }
        (Spec::RouteTable { .. }, Spec::RouteTable { .. }) => route_table(&mut out, wanted, found),
        (
            Spec::Peering {
                from,
                to,
                to_region,
                accepted,
            },
            Spec::Peering {
                from: old_from,
                to: old_to,
                accepted: had,
                ..
            },
        ) => {
            out.same("the requester", from, old_from);
            out.same("the accepter", to, old_to);
            if *accepted && !had {
                let region = to_region.clone();
                out.edit("state", "requested", "accepted", Update::Accept { region });
            }
        }
        (
            Spec::SecurityGroup { vpc, rules, .. },
            Spec::SecurityGroup {
                vpc: old,
                rules: had,
                ..
            },
        ) => {
            out.same("the VPC", vpc, old);
            group(&mut out, rules, had);
        }
        (
            Spec::KeyPair {
                public_key: Some(new),
                ..
            },
            Spec::KeyPair {
                public_key: Some(old),
                ..
            },
        ) => {
            out.same("the public key", new, old);
        }
        (Spec::Instance(new), Spec::Instance(old)) => instance(&mut out, new, old),
        (Spec::HealthCheck(new), Spec::HealthCheck(old)) => check(&mut out, new, old),
        (Spec::Record(new), Spec::Record(old)) => record(&mut out, new, old),
        (Spec::KeyPair { .. }, Spec::KeyPair { .. }) | (Spec::Zone { .. }, Spec::Zone { .. }) => {}
        (wanted, found) => out.same("the kind", &wanted.kind(), &found.kind()),
    }
    out
}

fn name(key: Option<&Key>) -> &str {
    key.map_or("nothing", Key::as_str)
}

fn gateway(out: &mut Comparison, new: Option<&Key>, old: Option<&Key>) {
    if new == old {
        return;
    }
    if let Some(vpc) = old {
        let vpc = vpc.clone();
        out.edit("attached to", name(old), name(None), Update::Detach { vpc });
    }
    if let Some(vpc) = new {
        let vpc = vpc.clone();
        out.edit("attached to", name(None), name(new), Update::Attach { vpc });
    }
}

fn address(out: &mut Comparison, new: Option<&Key>, old: Option<&Key>) {
    match new {
        _ if new == old => {}
        Some(instance) => {
            let instance = instance.clone();
            out.edit("for", name(old), name(new), Update::Associate { instance });
        }
        None => out.edit("for", name(old), name(new), Update::Disassociate),
    }
}

fn route_table(out: &mut Comparison, wanted: &Spec, found: &Spec) {
    let (
        Spec::RouteTable {
            vpc,
            subnets,
            routes,
        },
        Spec::RouteTable {
            vpc: old_vpc,
            subnets: old_subnets,
            routes: old_routes,
        },
    ) = (wanted, found)
    else {
        return;
    };
    out.same("the VPC", vpc, old_vpc);
    for subnet in subnets.difference(old_subnets) {
        let update = Update::Link {
            subnet: subnet.clone(),
        };
        out.edit("subnet", "nothing", subnet, update);
    }
    for subnet in old_subnets.difference(subnets) {
        let update = Update::Unlink {
            subnet: subnet.clone(),
        };
        out.edit("subnet", subnet, "nothing", update);
    }
    for (to, via) in routes {
        let old = old_routes.get(to);
        if old != Some(via) {
            let update = Update::Route {
                to: *to,
                via: via.clone(),
            };
            out.edit(&format!("route {to}"), name(old), via, update);
        }
    }
    for (to, via) in old_routes {
        if !routes.contains_key(to) {
            let update = Update::DropRoute { to: *to };
            out.edit(&format!("route {to}"), via, "nothing", update);
        }
    }
}

fn group(out: &mut Comparison, new: &BTreeSet<Rule>, old: &BTreeSet<Rule>) {
    let list = |rules: &BTreeSet<Rule>| {
        let words: Vec<String> = rules.iter().map(ToString::to_string).collect();
        words.join("; ")
    };
    let missing: BTreeSet<Rule> = new.difference(old).cloned().collect();
    if !missing.is_empty() {
        out.edit("allow", "", list(&missing), Update::Allow(missing.clone()));
    }
    let extra: BTreeSet<Rule> = old.difference(new).cloned().collect();
    if !extra.is_empty() {
        out.edit("forbid", list(&extra), "", Update::Forbid(extra.clone()));
    }
}

fn instance(out: &mut Comparison, new: &Instance, old: &Instance) {
    out.same("the instance type", &new.instance_type, &old.instance_type);
    out.same("the subnet", &new.subnet, &old.subnet);
    if let (Some(new), Some(old)) = (new.address, old.address) {
        out.same("the private address", &new, &old);
    }
    if new.host_key && !old.host_key && out.fixed.is_none() {
        out.fixed = Some(format!("its tag {TAG_HOST_KEY} is lost"));
    }
    if new.groups != old.groups {
        let update = Update::Groups(new.groups.clone());
        out.edit("groups", join(&old.groups), join(&new.groups), update);
    }
    if new.power == Power::Running && old.power == Power::Stopped {
        out.edit("power", "stopped", "running", Update::Start);
    }
}

fn check(out: &mut Comparison, new: &HealthCheck, old: &HealthCheck) {
    let seconds = |check: &HealthCheck| format!("{} s", check.interval.as_secs());
    out.same("the interval", &seconds(new), &seconds(old));
    let state = |check: &HealthCheck| if check.in_force { "on" } else { "off" };
    let update = || Update::Check(new.clone());
    if new.asks() != old.asks() {
        out.edit("asks", old.asks(), new.asks(), update());
    }
    if new.threshold != old.threshold {
        out.edit("threshold", old.threshold, new.threshold, update());
    }
    if new.in_force != old.in_force {
        out.edit("state", state(old), state(new), update());
    }
}

fn record(out: &mut Comparison, new: &AddressRecord, old: &AddressRecord) {
    let mut goal = new.clone();
    if new.alternatives.contains(&old.addresses) {
        goal.addresses.clone_from(&old.addresses);
    }
    if goal.addresses != old.addresses || goal.ranks != old.ranks {
        let (was, becomes) = (old.answers(), goal.answers());
        out.edit("addresses", was, becomes, Update::Point(goal.clone()));
    }
    if goal.ttl != old.ttl {
        let seconds = |record: &AddressRecord| format!("{} s", record.ttl.as_secs());
        out.edit(
            "TTL",
            seconds(old),
            seconds(&goal),
            Update::Point(goal.clone()),
        );
    }
}

/// The tags that are missing or wrong. Records have none.
pub(super) fn tags(wanted: &BTreeMap<String, String>, found: &Found) -> Option<Edit> {
    if matches!(
        found.spec,
        Spec::Record(_) | Spec::Zone { managed: false, .. }
    ) {
        return None;
    }
    let wrong: BTreeMap<String, String> = (wanted.iter())
        .filter(|(name, value)| found.tags.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let names = |tags: &BTreeMap<String, String>| {
        let pairs: Vec<String> = tags.iter().map(|(k, v)| format!("{k}={v}")).collect();
        pairs.join(" ")
    };
    let old: BTreeMap<String, String> = (found.tags.iter())
        .filter(|(name, _)| wrong.contains_key(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!wrong.is_empty()).then(|| Edit {
        field: "tags".to_owned(),
        old: names(&old),
        new: names(&wrong),
        update: Update::Tag(wrong),
    })
}
