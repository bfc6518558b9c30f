//! What topologies want, and what differs, without any cloud.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use super::{
    diff::{Changes, What, diff},
    order::{Action, order},
    removal, render,
    resource::{Discovered, Found, Key, Peer, Power, Resource, Resources, Rule, Spec},
};
use crate::topology::{Place, Topology};

fn topology(name: &str) -> Topology {
    let text = match name {
        "two-regions.yaml" => include_str!("../../topologies/two-regions.yaml"),
        "three-tier.yaml" => include_str!("../../topologies/three-tier.yaml"),
        _ => include_str!("../../topologies/static-hosts.yaml"),
    };
    Topology::parse(text, name).unwrap()
}

fn wanted() -> Resources {
    super::desired(&topology("two-regions.yaml"), Some("ssh-ed25519 AAAA me"))
}

/// The cloud as it is once everything was made.
fn made(wanted: &Resources) -> Discovered {
    let mut found = Discovered::default();
    for (number, (key, resource)) in wanted.entries.iter().enumerate() {
        found.add(made_one(number, key, resource));
    }
    found
}

fn made_one(number: usize, key: &Key, resource: &Resource) -> Found {
    let last = u8::try_from(number).unwrap();
    Found {
        key: key.clone(),
        id: format!("id-{number}"),
        region: resource.region.clone(),
        tags: resource.tags.clone(),
        address: Some(Ipv4Addr::new(192, 0, 2, last)),
        spec: resource.spec.clone(),
    }
}

fn changes(wanted: &Resources, found: &Discovered) -> Changes {
    diff(wanted, found, &BTreeSet::new())
}

/// Changes one found resource and renders the plan.
fn after(key: &str, change: impl FnOnce(&mut Found)) -> String {
    let wanted = wanted();
    let mut found = made(&wanted);
    change(found.entries.get_mut(&Key::new(key)).unwrap());
    render::text(&changes(&wanted, &found))
}

#[test]
fn the_plan_of_two_regions() {
    let wanted = wanted();
    let mut text = render::text(&changes(&wanted, &Discovered::default()));
    text.push_str("\n\nrules and routes\n");
    for (key, resource) in &wanted.entries {
        match &resource.spec {
            Spec::SecurityGroup { rules, .. } => {
                text.extend(rules.iter().map(|rule| format!("{key}: {rule}\n")));
            }
            Spec::RouteTable { routes, .. } => {
                text.extend(
                    routes
                        .iter()
                        .map(|(to, via)| format!("{key}: {to} → {via}\n")),
                );
            }
            _ => {}
        }
    }
    insta::assert_snapshot!(text);
}

#[test]
fn nothing_changes_where_all_is_as_wanted() {
    let wanted = wanted();
    let changes = changes(&wanted, &made(&wanted));
    assert!(changes.is_empty(), "{}", render::text(&changes));
    assert_eq!(changes.unchanged, wanted.entries.len());
}

#[test]
fn only_web_ports_and_ssh_are_open_to_the_world() {
    for name in ["two-regions.yaml", "three-tier.yaml"] {
        let topology = topology(name);
        let wanted = super::desired(&topology, None);
        let rules = wanted.entries.values().filter_map(|it| match &it.spec {
            Spec::SecurityGroup { rules, .. } => Some(rules),
            _ => None,
        });
        let open = rules.flatten().filter(|rule| match &rule.peer {
            Peer::Network(network) => network.prefix_len() < 8,
            Peer::Group(_) | Peer::List(_) => false,
        });
        let ports: BTreeSet<u16> = open.map(|rule| rule.ports.unwrap().0).collect();
        let public = topology.stack.iter().filter_map(|it| it.public_port);
        let mut allowed: BTreeSet<u16> = public.collect();
        allowed.insert(topology.load_balancer.statistics_port);
        allowed.insert(22);
        assert!(ports.is_subset(&allowed), "{name}: {ports:?}");
        assert!(!ports.contains(&topology.database.port));
        assert!(!ports.contains(&topology.queue.port));
    }
}

#[test]
fn groups_are_referred_to_inside_their_site_only() {
    for (key, resource) in &wanted().entries {
        let Spec::SecurityGroup { rules, .. } = &resource.spec else {
            continue;
        };
        for rule in rules {
            if let Peer::Group(group) = &rule.peer {
                assert_eq!(group.family(), key.family(), "{key}: {rule}");
            }
        }
    }
}

#[test]
fn static_hosts_need_no_cloud_but_names() {
    let mut topology = topology("static-hosts.yaml");
    topology.dns = None;
    assert!(super::desired(&topology, None).entries.is_empty());
    assert!(super::regions(&topology).is_empty());
}

#[test]
fn each_difference_is_named() {
    let vpc = after("site1/vpc", |found| {
        let Spec::Vpc { dns, .. } = &mut found.spec else {
            panic!()
        };
        *dns = false;
    });
    assert!(vpc.contains("DNS names: off → on"), "{vpc}");
    let gateway = after("site1/internet-gateway", |found| {
        found.spec = Spec::InternetGateway { vpc: None };
    });
    assert!(
        gateway.contains("attached to: nothing → site1/vpc"),
        "{gateway}"
    );
    let peering = after("peering/site1-site2", |found| {
        let Spec::Peering { accepted, .. } = &mut found.spec else {
            panic!()
        };
        *accepted = false;
    });
    assert!(peering.contains("state: requested → accepted"), "{peering}");
    let stopped = after("site1/instance/site1-db", |found| {
        let Spec::Instance(instance) = &mut found.spec else {
            panic!()
        };
        instance.power = Power::Stopped;
    });
    assert!(stopped.contains("power: stopped → running"), "{stopped}");
    let open = after("site1/security-group/db", |found| {
        let Spec::SecurityGroup { rules, .. } = &mut found.spec else {
            panic!()
        };
        rules.insert(Rule {
            protocol: "-1".to_owned(),
            ports: None,
            peer: Peer::Network("::/0".parse().unwrap()),
        });
    });
    assert!(open.contains("forbid: all from ::/0"), "{open}");
    let tags = after("site1/vpc", |found| {
        found.tags.remove("owner");
    });
    assert!(tags.contains("tags: nothing → owner=platform"), "{tags}");
}

#[test]
fn what_cannot_be_changed_is_left_to_the_user() {
    let moved = after("site1/vpc", |found| {
        let Spec::Vpc { cidr, .. } = &mut found.spec else {
            panic!()
        };
        *cidr = "10.99.0.0/16".parse().unwrap();
    });
    assert!(moved.contains("! vpc"), "{moved}");
    let grown = after("site1/instance/site1-db", |found| {
        let Spec::Instance(instance) = &mut found.spec else {
            panic!()
        };
        instance.instance_type = "t3.nano".to_owned();
    });
    assert!(grown.contains("--replace site1-db"), "{grown}");
    let key = after("site1/key-pair", |found| {
        let Spec::KeyPair { public_key, .. } = &mut found.spec else {
            panic!()
        };
        *public_key = Some("ssh-ed25519 BBBB".to_owned());
    });
    assert!(key.contains("secrets directory"), "{key}");
    let lost = after("site1/instance/site1-db", |found| {
        let Spec::Instance(instance) = &mut found.spec else {
            panic!()
        };
        instance.host_key = false;
    });
    assert!(lost.contains("hafail:ssh-host-key is lost"), "{lost}");
}

#[test]
fn a_double_is_left_to_the_user_and_removed_at_the_end() {
    let wanted = wanted();
    let mut found = made(&wanted);
    let key = Key::new("site1/vpc");
    let double = made_one(200, &key, &wanted.entries[&key]);
    found.add(double);
    let text = render::text(&changes(&wanted, &found));
    assert!(
        text.contains("id-200 carries the tags of site1/vpc too"),
        "{text}"
    );
    let removal = removal(&wanted, &found);
    assert_eq!(removal.entries.len(), wanted.entries.len() + 1);
}

#[test]
fn a_record_stays_with_the_site_that_a_failover_gave_it_to() {
    let point = |address: &str, ttl: u64| {
        let address = Key::new(address);
        after("record/vote.example.org", move |found| {
            let Spec::Record(record) = &mut found.spec else {
                panic!()
            };
            record.addresses = BTreeSet::from([address]);
            record.ttl = Duration::from_secs(ttl);
        })
    };
    assert!(point("site2/address/site2-lb", 5).starts_with("0 changes"));
    let ttl = point("site2/address/site2-lb", 9);
    assert!(
        ttl.contains("TTL: 9 s → 5 s") && !ttl.contains("addresses"),
        "{ttl}"
    );
    let foreign = point("192.0.2.200", 5);
    assert!(
        foreign.contains("192.0.2.200 → site1/address/site1-lb"),
        "{foreign}"
    );
}

#[test]
fn a_zone_of_the_user_is_expected_and_kept() {
    let mut topology = topology("two-regions.yaml");
    topology.dns.as_mut().unwrap().manage_zone = false;
    let wanted = super::desired(&topology, None);
    let text = render::text(&changes(&wanted, &Discovered::default()));
    assert!(
        text.contains("! zone  hosted zone: the hosted zone vote.example.org does not exist"),
        "{text}"
    );
    let mut found = made(&wanted);
    let name = Key::new("record/site1.vote.example.org");
    let Spec::Record(record) = &mut found.entries.get_mut(&name).unwrap().spec else {
        panic!()
    };
    record.addresses = BTreeSet::from([Key::new("192.0.2.200")]);
    let removal = removal(&wanted, &found);
    assert!(!removal.entries.contains_key(&Key::new("zone")));
    assert!(
        !removal.entries.contains_key(&name),
        "its value is not ours"
    );
    assert!(
        removal
            .entries
            .contains_key(&Key::new("record/vote.example.org"))
    );
}

#[test]
fn the_marker_of_failovers_is_left_alone_until_the_end() {
    let wanted = wanted();
    let mut found = made(&wanted);
    let record = Key::new("record/vote.example.org");
    let marker = Key::new("record/_hafail.vote.example.org");
    found.add(made_one(99, &marker, &wanted.entries[&record]));
    assert!(changes(&wanted, &found).is_empty());
    assert!(removal(&wanted, &found).entries.contains_key(&marker));
}

/// Every action gets its turn.
fn in_turn(changes: &Changes) -> Vec<String> {
    let nodes = order(changes);
    let mut done = BTreeSet::new();
    let mut turns = Vec::new();
    while done.len() < nodes.len() {
        let ready =
            (0..nodes.len()).find(|it| !done.contains(it) && nodes[*it].after.is_subset(&done));
        let ready = ready.expect("the order has a cycle");
        done.insert(ready);
        let verb = match nodes[ready].action {
            Action::Create(_) => "create",
            Action::Update(..) => "update",
            Action::Delete(_) => "delete",
        };
        turns.push(format!("{verb} {}", nodes[ready].key));
    }
    turns
}

fn assert_order(turns: &[String], first: &str, second: &str) {
    let at = |what: &str| {
        let found = turns.iter().position(|turn| turn == what);
        found.unwrap_or_else(|| panic!("no {what} in {turns:#?}"))
    };
    assert!(at(first) < at(second), "{first} comes after {second}");
}

#[test]
fn things_are_made_before_what_stands_on_them_and_removed_after() {
    let wanted = wanted();
    let making = in_turn(&changes(&wanted, &Discovered::default()));
    for (first, second) in [
        ("create site1/vpc", "create site1/subnet/private"),
        ("update site1/internet-gateway", "create site1/nat-gateway"),
        (
            "create site1/nat-gateway",
            "update site1/route-table/private",
        ),
        (
            "update peering/site1-site2",
            "update site1/route-table/public",
        ),
        ("create site2/vpc", "create peering/site1-site2"),
        (
            "create site1/security-group/lb",
            "update site1/security-group/db",
        ),
        (
            "create site1/instance/site1-lb",
            "update site1/address/site1-lb",
        ),
        (
            "create site1/address/site1-lb",
            "create record/vote.example.org",
        ),
    ] {
        assert_order(&making, first, second);
    }
    let removing = in_turn(&removal(&wanted, &made(&wanted)));
    for (first, second) in [
        ("delete site1/subnet/private", "delete site1/vpc"),
        (
            "delete site1/instance/site1-db",
            "delete site1/subnet/private",
        ),
        (
            "update site1/security-group/db",
            "delete site1/security-group/lb",
        ),
        ("delete site1/nat-gateway", "delete site1/address/nat"),
        ("delete site1/address/nat", "update site1/internet-gateway"),
        ("update site1/internet-gateway", "delete site1/vpc"),
        ("delete peering/site1-site2", "delete site2/vpc"),
        ("delete record/vote.example.org", "delete zone"),
        (
            "delete record/vote.example.org",
            "delete site1/address/site1-lb",
        ),
    ] {
        assert_order(&removing, first, second);
    }
}

#[test]
fn a_site_that_leaves_takes_its_peering_and_routes_along() {
    let both = topology("two-regions.yaml");
    let found = made(&super::desired(&both, None));
    let mut one = both;
    let gone = one.sites.pop_last().unwrap().0;
    let dns = one.dns.as_mut().unwrap();
    dns.records
        .retain(|it| it.target != crate::topology::RecordTarget::Site(gone.clone()));
    let wanted = super::desired(&one, None);
    let changes = changes(&wanted, &found);
    let peering = &changes.entries[&Key::new("peering/site1-site2")].what;
    assert!(matches!(peering, What::Delete { .. }));
    let turns = in_turn(&changes);
    assert_order(
        &turns,
        "update site1/route-table/public",
        "delete peering/site1-site2",
    );
    assert_order(&turns, "delete site2/instance/site2-db", "delete site2/vpc");
}

#[test]
fn a_replaced_host_gets_its_address_back() {
    let wanted = wanted();
    let mut found = made(&wanted);
    let key = Key::new("site1/instance/site1-lb");
    let Spec::Instance(old) = &mut found.entries.get_mut(&key).unwrap().spec else {
        panic!()
    };
    old.instance_type = "t3.nano".to_owned();
    let changes = diff(&wanted, &found, &BTreeSet::from([key]));
    let turns = in_turn(&changes);
    assert_order(
        &turns,
        "delete site1/instance/site1-lb",
        "create site1/instance/site1-lb",
    );
    assert_order(
        &turns,
        "create site1/instance/site1-lb",
        "update site1/address/site1-lb",
    );
}

#[test]
fn a_host_is_replaced_when_asked_for_whatever_differs() {
    let wanted = wanted();
    let found = made(&wanted);
    let key = Key::new("site1/instance/site1-lb");
    let changes = diff(&wanted, &found, &BTreeSet::from([key.clone()]));
    let What::Replace { why, .. } = &changes.entries[&key].what else {
        panic!("{changes:?}")
    };
    assert_eq!(why, "asked for with --replace");
    assert_order(
        &in_turn(&changes),
        "create site1/instance/site1-lb",
        "update site1/address/site1-lb",
    );
    assert_eq!(changes.entries.len(), 2, "{changes:?}");
}

#[test]
fn several_hosts_of_a_role_reach_each_other() {
    let mut topology = topology("two-regions.yaml");
    let site = topology.sites.values_mut().next().unwrap();
    let mut second = site.hosts["site1-db"].clone();
    second.name = "site1-db2".parse().unwrap();
    assert!(matches!(second.place, Place::Instance { .. }));
    site.hosts.insert(second.name.clone(), second);
    let wanted = super::desired(&topology, None);
    let Spec::SecurityGroup { rules, .. } =
        &wanted.entries[&Key::new("site1/security-group/db")].spec
    else {
        panic!()
    };
    let own = Peer::Group(Key::new("site1/security-group/db"));
    assert!(
        rules
            .iter()
            .any(|rule| rule.ports == Some((5432, 5432)) && rule.peer == own)
    );
}
