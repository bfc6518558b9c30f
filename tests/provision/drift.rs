//! What others change shows in the plan, and the next deploy mends it.

use aws_sdk_ec2::types::{IpPermission, IpRange, Tag};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use hafail::provision::resource::Key;

use crate::world::{World, small};

fn rule(port: i32, network: &str) -> IpPermission {
    IpPermission::builder()
        .ip_protocol("tcp")
        .from_port(port)
        .to_port(port)
        .ip_ranges(IpRange::builder().cidr_ip(network).build())
        .build()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_network() {
    let world = World::of(small()).await;
    world.deploy().await.unwrap();
    let ec2 = world.ec2("site1");

    let group = world.id("site1/security-group/db").await;
    let open = rule(5432, "0.0.0.0/0");
    let request = ec2.authorize_security_group_ingress().group_id(&group);
    request.ip_permissions(open).send().await.unwrap();
    let says = "forbid: tcp/5432 from 0.0.0.0/0";
    world.shows_and_mends("site1/security-group/db", says).await;

    let group = world.id("site1/security-group/lb").await;
    let request = ec2.revoke_security_group_ingress().group_id(&group);
    request
        .ip_permissions(rule(80, "0.0.0.0/0"))
        .send()
        .await
        .unwrap();
    let says = "allow: tcp/80 from 0.0.0.0/0";
    world.shows_and_mends("site1/security-group/lb", says).await;

    let table = world.id("site1/route-table/private").await;
    let request = ec2.delete_route().route_table_id(&table);
    request
        .destination_cidr_block("10.20.0.0/16")
        .send()
        .await
        .unwrap();
    let says = "route 10.20.0.0/16: nothing → peering/site1-site2";
    world
        .shows_and_mends("site1/route-table/private", says)
        .await;

    let gateway = world.id("site1/internet-gateway").await;
    let request = ec2
        .replace_route()
        .route_table_id(&table)
        .gateway_id(&gateway);
    request
        .destination_cidr_block("0.0.0.0/0")
        .send()
        .await
        .unwrap();
    let says = "route 0.0.0.0/0: site1/internet-gateway → site1/nat-gateway";
    world
        .shows_and_mends("site1/route-table/private", says)
        .await;

    let request = ec2
        .create_route()
        .route_table_id(&table)
        .gateway_id(&gateway);
    request
        .destination_cidr_block("192.0.2.0/24")
        .send()
        .await
        .unwrap();
    let says = "route 192.0.2.0/24: site1/internet-gateway → nothing";
    world
        .shows_and_mends("site1/route-table/private", says)
        .await;

    let peering = world.id("peering/site1-site2").await;
    let request = ec2
        .delete_vpc_peering_connection()
        .vpc_peering_connection_id(peering);
    request.send().await.unwrap();
    world
        .shows_and_mends("peering/site1-site2", "+ site1-site2")
        .await;

    let vpc = world.id("site1/vpc").await;
    let tag = |key: &str| Tag::builder().key(key).build();
    let request = ec2.delete_tags().resources(&vpc);
    request
        .tags(tag("owner"))
        .tags(tag("hafail:resource"))
        .send()
        .await
        .unwrap();
    let says = "hafail:resource=site1/vpc owner=platform";
    world.shows_and_mends("site1/vpc", says).await;

    // A name alone makes nothing ours.
    let before = ec2
        .create_vpc()
        .cidr_block("10.99.0.0/16")
        .send()
        .await
        .unwrap();
    let foreign = before.vpc().unwrap().vpc_id().unwrap();
    let name = Tag::builder()
        .key("Name")
        .value("two-regions/site1/vpc")
        .build();
    let request = ec2.create_tags().resources(foreign).tags(name);
    request.send().await.unwrap();
    world.assert_settled().await;

    // Without the tag of the deployment it is not found, but known by name.
    let request = ec2
        .delete_tags()
        .resources(&group)
        .tags(tag("hafail:topology"));
    request.send().await.unwrap();
    let says = "tags: nothing → hafail:topology=two-regions";
    world.shows_and_mends("site1/security-group/lb", says).await;
    assert_eq!(world.id("site1/security-group/lb").await, group);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_machines() {
    let world = World::of(small()).await;
    world.deploy().await.unwrap();
    let ec2 = world.ec2("site1");

    let id = world.id("site1/instance/site1-db").await;
    ec2.stop_instances().instance_ids(&id).send().await.unwrap();
    let says = "power: stopped → running";
    world.shows_and_mends("site1/instance/site1-db", says).await;
    assert_eq!(world.id("site1/instance/site1-db").await, id);

    let key_of = async || {
        let found = world.discover().await.unwrap();
        let found = &found.entries[&Key::new("site1/instance/site1-lb")];
        (found.id.clone(), found.tags["hafail:ssh-host-key"].clone())
    };
    let (id, key) = key_of().await;
    ec2.terminate_instances()
        .instance_ids(&id)
        .send()
        .await
        .unwrap();
    let says = "+ instance/site1-lb";
    world.shows_and_mends("site1/instance/site1-lb", says).await;
    let (new_id, new_key) = key_of().await;
    assert_ne!(id, new_id);
    assert_ne!(key, new_key, "a new machine has a new host key");

    let address = world.id("site1/address/site1-lb").await;
    let request = ec2.describe_addresses().allocation_ids(&address);
    let now = request.send().await.unwrap();
    let association = now.addresses()[0].association_id().unwrap();
    let request = ec2.disassociate_address().association_id(association);
    request.send().await.unwrap();
    let says = "for: nothing → site1/instance/site1-lb";
    world.shows_and_mends("site1/address/site1-lb", says).await;

    let group = world.id("site1/security-group/bastion").await;
    let (id, _) = key_of().await;
    let request = ec2
        .modify_instance_attribute()
        .instance_id(id)
        .groups(group);
    request.send().await.unwrap();
    let says = "groups: site1/security-group/bastion → site1/security-group/bastion, site1/security-group/lb";
    world.shows_and_mends("site1/instance/site1-lb", says).await;
}

async fn upsert(world: &World, name: &str, ttl: i64, addresses: &[String]) {
    let values = addresses
        .iter()
        .map(|it| ResourceRecord::builder().value(it).build().unwrap());
    let set = ResourceRecordSet::builder()
        .name(name)
        .r#type(RrType::A)
        .ttl(ttl)
        .set_resource_records(Some(values.collect()))
        .build()
        .unwrap();
    let change = Change::builder()
        .action(ChangeAction::Upsert)
        .resource_record_set(set);
    let batch = ChangeBatch::builder()
        .changes(change.build().unwrap())
        .build()
        .unwrap();
    let zone = world.id("zone").await;
    let request = world
        .route53()
        .change_resource_record_sets()
        .hosted_zone_id(zone);
    request.change_batch(batch).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_records() {
    let world = World::of(small()).await;
    world.deploy().await.unwrap();
    let found = world.discover().await.unwrap();
    let address = |key: &str| found.entries[&Key::new(key)].address.unwrap().to_string();
    let (site1, site2) = (
        address("site1/address/site1-lb"),
        address("site2/address/site2-lb"),
    );

    // A failover moved the active name: that is no drift.
    upsert(&world, "vote.example.org", 5, std::slice::from_ref(&site2)).await;
    world.assert_settled().await;

    let name = "vote.example.org";
    let key = format!("record/{name}");
    upsert(&world, name, 5, &["192.0.2.1".to_owned()]).await;
    let says = "addresses: 192.0.2.1 → site1/address/site1-lb";
    world.shows_and_mends(&key, says).await;

    upsert(&world, name, 300, std::slice::from_ref(&site2)).await;
    world.shows_and_mends(&key, "TTL: 300 s → 5 s").await;
    let found = world.discover().await.unwrap();
    let text = format!("{:?}", found.entries[&Key::new(key)].spec);
    assert!(text.contains("site2/address/site2-lb"), "{text}");

    // The names of sites stay theirs.
    upsert(
        &world,
        "site1.vote.example.org",
        60,
        std::slice::from_ref(&site2),
    )
    .await;
    let says = "addresses: site2/address/site2-lb → site1/address/site1-lb";
    world
        .shows_and_mends("record/site1.vote.example.org", says)
        .await;

    // Somebody else's record in our zone is named, and keeps the zone.
    upsert(
        &world,
        "other.vote.example.org",
        60,
        &["192.0.2.7".to_owned()],
    )
    .await;
    let found = world.discover().await.unwrap();
    assert_eq!(found.foreign_records, ["A other.vote.example.org"]);
    let error = world.destroy().await.unwrap_err().to_string();
    assert!(error.contains("other.vote.example.org"), "{error}");
    assert!(!error.contains(&site1));
}
