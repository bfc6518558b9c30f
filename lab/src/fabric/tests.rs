use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::plan::{Plan, VpcPlan, plan};
use crate::cloud::model::{
    Cloud, Group, Instance, NatGateway, Peering, Permission, Power, Protocol, Region, RouteTable,
    Subnet, Target, Vpc,
};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
const NAT: Ipv4Addr = Ipv4Addr::new(127, 8, 8, 8);

fn table(vpc: &str, subnet: &str, default: Target) -> RouteTable {
    RouteTable {
        vpc: vpc.into(),
        main: false,
        subnets: [subnet.to_owned()].into(),
        routes: [("0.0.0.0/0".parse().unwrap(), default)].into(),
    }
}

fn instance(
    vpc: &str,
    subnet: &str,
    ip: [u8; 4],
    public: Option<Ipv4Addr>,
    group: &str,
) -> Instance {
    Instance {
        power: Power::On,
        vpc: vpc.into(),
        subnet: subnet.into(),
        private_ip: ip.into(),
        public_ip: public,
        groups: [group.to_owned()].into(),
        key_name: None,
        hostname: "h".into(),
        name: None,
    }
}

fn ingress(vpc: &str, protocol: Protocol, cidrs: &[&str], groups: &[&str]) -> Group {
    let permission = Permission {
        protocol,
        cidrs: cidrs.iter().map(|c| c.parse().unwrap()).collect(),
        groups: groups.iter().map(|&g| g.to_owned()).collect(),
    };
    Group {
        vpc: vpc.into(),
        ingress: vec![permission],
        egress: Vec::new(),
    }
}

/// A VPC with a public subnet, a private one behind a NAT gateway, a bastion
/// and a database.
fn region(net: u8, vpc: &str) -> Region {
    let subnet = |third: u8| Subnet {
        vpc: vpc.into(),
        cidr: format!("10.{net}.{third}.0/24").parse().unwrap(),
    };
    let nat = NatGateway {
        subnet: "public".into(),
        public_ip: Some(NAT),
    };
    let cidr = format!("10.{net}.0.0/16").parse().unwrap();
    Region {
        vpcs: [(
            vpc.to_owned(),
            Vpc {
                cidr,
                default: false,
            },
        )]
        .into(),
        subnets: [("public".into(), subnet(1)), ("private".into(), subnet(2))].into(),
        route_tables: [
            (
                "rtb-1".into(),
                table(vpc, "public", Target::InternetGateway("igw-1".into())),
            ),
            (
                "rtb-2".into(),
                table(vpc, "private", Target::NatGateway("nat-1".into())),
            ),
        ]
        .into(),
        internet_gateways: [("igw-1".into(), vpc.into())].into(),
        nat_gateways: [("nat-1".into(), nat)].into(),
        peerings: BTreeMap::new(),
        groups: [
            (
                "sg-b".into(),
                ingress(vpc, Protocol::Tcp(22, 22), &["0.0.0.0/0"], &[]),
            ),
            (
                "sg-d".into(),
                ingress(vpc, Protocol::Tcp(5432, 5432), &[], &["sg-b"]),
            ),
        ]
        .into(),
        instances: [
            (
                "i-b".into(),
                instance(vpc, "public", [10, net, 1, 10], Some(PUBLIC), "sg-b"),
            ),
            (
                "i-d".into(),
                instance(vpc, "private", [10, net, 2, 10], None, "sg-d"),
            ),
        ]
        .into(),
        addresses: [(PUBLIC, Some(Ipv4Addr::new(10, net, 1, 10))), (NAT, None)].into(),
    }
}

fn cloud(change: impl FnOnce(&mut Region)) -> Cloud {
    let mut one = region(1, "vpc-1");
    change(&mut one);
    Cloud {
        regions: [("eu-west-1".to_owned(), one)].into(),
    }
}

fn vpc(cloud: &Cloud) -> VpcPlan {
    plan(cloud).vpcs["vpc-1"].clone()
}

fn leads(plan: &VpcPlan, subnet: [u8; 4]) -> Vec<String> {
    let table = format!("table {}", u32::from(Ipv4Addr::from(subnet)));
    plan.routes
        .iter()
        .filter(|r| r.ends_with(&table))
        .cloned()
        .collect()
}

#[test]
fn a_public_subnet_leads_out_by_its_own_address_and_a_private_one_by_the_nats() {
    let plan = vpc(&cloud(|_| ()));
    for subnet in [[10, 1, 1, 0], [10, 1, 2, 0]] {
        let routes = leads(&plan, subnet);
        assert!(
            routes[0].starts_with("0.0.0.0/0 via 203.0.113.2 dev igw"),
            "{routes:?}"
        );
    }
    assert!(plan.filter.contains("ip saddr 10.1.1.10 snat to 127.9.9.9"));
    assert!(
        plan.filter
            .contains("ip saddr 10.1.2.0/24 snat to 127.8.8.8")
    );
    assert!(plan.filter.contains("ip daddr 127.9.9.9 dnat to 10.1.1.10"));
}

#[test]
fn without_a_gateway_every_way_out_is_a_black_hole() {
    let plan = vpc(&cloud(|r| r.internet_gateways.clear()));
    for subnet in [[10, 1, 1, 0], [10, 1, 2, 0]] {
        assert!(leads(&plan, subnet)[0].starts_with("blackhole 0.0.0.0/0"));
    }
    assert!(!plan.filter.contains("snat"));
}

#[test]
fn a_private_nat_gateway_leads_nowhere_outside() {
    let plan = vpc(&cloud(|r| {
        r.nat_gateways.get_mut("nat-1").unwrap().public_ip = None
    }));
    assert!(leads(&plan, [10, 1, 2, 0])[0].starts_with("blackhole"));
}

#[test]
fn a_subnet_without_a_table_of_its_own_uses_the_main_one() {
    let plan = vpc(&cloud(|r| {
        r.route_tables.remove("rtb-2");
        r.route_tables.get_mut("rtb-1").unwrap().main = true;
    }));
    assert!(leads(&plan, [10, 1, 2, 0])[0].contains("dev igw"));
}

#[test]
fn a_group_reference_names_the_members() {
    let plan = vpc(&cloud(|_| ()));
    assert!(
        plan.filter
            .contains("ip saddr { 10.1.1.10/32 } tcp dport 5432-5432 accept")
    );
    let nobody = vpc(&cloud(|r| {
        r.instances.get_mut("i-b").unwrap().groups = BTreeSet::new()
    }));
    assert!(
        !nobody.filter.contains("5432"),
        "a group without members lets nobody in"
    );
}

#[test]
fn the_operators_address_is_let_in_where_localhost_is() {
    let open = |cidr: &'static str| {
        vpc(&cloud(move |r| {
            r.groups
                .insert("sg-b".into(), ingress("vpc-1", Protocol::All, &[cidr], &[]));
        }))
    };
    assert!(open("127.0.0.1/32").filter.contains("203.0.113.1"));
    assert!(!open("198.51.100.0/24").filter.contains("203.0.113.1"));
}

fn two_regions(active: bool) -> Plan {
    let peering = Peering {
        requester: ("eu-west-1".into(), "vpc-1".into()),
        accepter: ("us-east-1".into(), "vpc-2".into()),
    };
    let mut one = region(1, "vpc-1");
    let mut other = region(2, "vpc-2");
    let route = (
        "10.2.0.0/16".parse().unwrap(),
        Target::Peering("pcx-1".into()),
    );
    one.route_tables
        .get_mut("rtb-2")
        .unwrap()
        .routes
        .extend([route]);
    for region in [&mut one, &mut other] {
        if active {
            region.peerings.insert("pcx-1".into(), peering.clone());
        }
    }
    plan(&Cloud {
        regions: [
            ("eu-west-1".to_owned(), one),
            ("us-east-1".to_owned(), other),
        ]
        .into(),
    })
}

#[test]
fn a_peering_route_holds_for_its_subnet_while_the_peering_is_active() {
    let active = two_regions(true);
    assert_eq!(
        active.peerings["pcx-1"],
        ("vpc-1".to_owned(), "vpc-2".to_owned())
    );
    let routes = leads(&active.vpcs["vpc-1"], [10, 1, 2, 0]).join("\n");
    assert!(
        routes.contains("10.2.0.0/16 via 10.2.0.1 dev p1 onlink"),
        "{routes}"
    );
    assert!(
        !leads(&active.vpcs["vpc-1"], [10, 1, 1, 0])
            .join("\n")
            .contains("10.2.0.0")
    );
    let gone = two_regions(false);
    assert!(gone.peerings.is_empty());
    assert!(
        leads(&gone.vpcs["vpc-1"], [10, 1, 2, 0])
            .join("\n")
            .contains("blackhole 10.2.0.0/16")
    );
}

#[test]
fn a_default_vpc_is_built_when_something_lives_in_it() {
    let empty = cloud(|r| {
        r.vpcs.get_mut("vpc-1").unwrap().default = true;
        r.instances.clear();
    });
    assert!(plan(&empty).vpcs.is_empty());
    let used = cloud(|r| r.vpcs.get_mut("vpc-1").unwrap().default = true);
    assert_eq!(plan(&used).vpcs.len(), 1);
}

#[test]
fn every_public_address_is_known_with_who_answers() {
    let public = plan(&cloud(|r| {
        r.addresses.insert(Ipv4Addr::new(127, 7, 7, 7), None);
    }))
    .public;
    assert_eq!(public[&PUBLIC].as_deref(), Some("vpc-1"));
    assert_eq!(public[&NAT].as_deref(), Some("vpc-1"));
    assert_eq!(public[&Ipv4Addr::new(127, 7, 7, 7)], None);
}

#[test]
fn nobody_answers_for_an_address_before_there_is_a_way_to_it() {
    let public = plan(&cloud(|r| r.internet_gateways.clear())).public;
    assert_eq!(public[&PUBLIC], None);
    assert_eq!(public[&NAT], None);
}
