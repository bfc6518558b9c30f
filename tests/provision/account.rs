//! What is in an account, asked from outside the program.

use std::collections::BTreeMap;

use super::world::World;

/// How many of each kind there are, by region and kind, dead ones left out.
/// Network interfaces are not counted: moto keeps those of dead instances.
pub async fn census(world: &World) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for site in world.topology.sites.keys() {
        let ec2 = world.ec2(site.as_str());
        let mut put = |kind: &str, number: usize| {
            all.insert(format!("{site} {kind}"), number);
        };
        let vpcs = ec2.describe_vpcs().send().await.unwrap();
        put("vpcs", vpcs.vpcs().len());
        let subnets = ec2.describe_subnets().send().await.unwrap();
        put("subnets", subnets.subnets().len());
        let gateways = ec2.describe_internet_gateways().send().await.unwrap();
        put("internet gateways", gateways.internet_gateways().len());
        let nat = ec2.describe_nat_gateways().send().await.unwrap();
        let nat = nat.nat_gateways().iter();
        put(
            "NAT gateways",
            nat.filter(|it| it.state().unwrap().as_str() != "deleted")
                .count(),
        );
        let tables = ec2.describe_route_tables().send().await.unwrap();
        put("route tables", tables.route_tables().len());
        let groups = ec2.describe_security_groups().send().await.unwrap();
        put("security groups", groups.security_groups().len());
        let rules = groups.security_groups().iter();
        put(
            "ingress permissions",
            rules.map(|it| it.ip_permissions().len()).sum(),
        );
        let keys = ec2.describe_key_pairs().send().await.unwrap();
        put("key pairs", keys.key_pairs().len());
        let addresses = ec2.describe_addresses().send().await.unwrap();
        put("addresses", addresses.addresses().len());
        let peerings = ec2.describe_vpc_peering_connections().send().await.unwrap();
        let peerings = peerings.vpc_peering_connections().iter();
        let alive = peerings.filter(|it| {
            let code = it.status().unwrap().code().unwrap().as_str();
            !["deleted", "failed", "rejected"].contains(&code)
        });
        put("peerings", alive.count());
        let instances = ec2.describe_instances().send().await.unwrap();
        let instances = instances
            .reservations()
            .iter()
            .flat_map(|it| it.instances());
        let alive =
            instances.filter(|it| it.state().unwrap().name().unwrap().as_str() != "terminated");
        put("instances", alive.count());
        let volumes = ec2.describe_volumes().send().await.unwrap();
        put("volumes", volumes.volumes().len());
    }
    let checks = world.route53().list_health_checks().send().await.unwrap();
    all.insert("health checks".to_owned(), checks.health_checks().len());
    let zones = world.route53().list_hosted_zones().send().await.unwrap();
    all.insert("zones".to_owned(), zones.hosted_zones().len());
    let mut records = 0;
    for zone in zones.hosted_zones() {
        let sets = world
            .route53()
            .list_resource_record_sets()
            .hosted_zone_id(zone.id());
        records += sets.send().await.unwrap().resource_record_sets().len();
    }
    all.insert("records".to_owned(), records);
    all
}
