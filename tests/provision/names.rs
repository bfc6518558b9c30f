//! Names that health checks move.

use aws_sdk_route53::types::{ResourceRecordSet, ResourceRecordSetFailover};
use hafail::{
    provision::{self, render, resource::Key},
    topology::Cutover,
};

use crate::{
    account::census,
    world::{World, checked, small},
};

async fn sets(world: &World, name: &str) -> Vec<ResourceRecordSet> {
    let zone = world.id("zone").await;
    let request = world.route53().list_resource_record_sets();
    let answer = request.hosted_zone_id(zone).send().await.unwrap();
    let name = format!("{name}.");
    let sets = answer.resource_record_sets.into_iter();
    sets.filter(|set| set.name() == name && set.r#type().as_str() == "A")
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_has_an_answer_of_each_site_and_destroy_leaves_nothing() {
    let world = World::of(checked()).await;
    let before = census(&world).await;
    world.deploy().await.unwrap();
    world.assert_settled().await;
    let found = world.discover().await.unwrap();
    for name in ["vote.example.org", "result.vote.example.org"] {
        let sets = sets(&world, name).await;
        assert_eq!(sets.len(), 2, "{sets:?}");
        for set in sets {
            let (site, role) = match set.failover() {
                Some(ResourceRecordSetFailover::Primary) => ("site1", "Primary"),
                _ => ("site2", "Secondary"),
            };
            let of = |key: String| &found.entries[&Key::new(key)];
            let address = of(format!("{site}/address/{site}-lb")).address.unwrap();
            let values: Vec<_> = set.resource_records().iter().map(|it| it.value()).collect();
            assert_eq!(values, [address.to_string()], "{role}");
            let check = &of(format!("health-check/{site}")).id;
            assert_eq!(set.health_check_id(), Some(check.as_str()));
            assert_eq!(set.ttl(), Some(5));
        }
    }
    assert_eq!(sets(&world, "site1.vote.example.org").await.len(), 1);
    let checks = world.route53().list_health_checks().send().await.unwrap();
    assert_eq!(checks.health_checks().len(), 2);
    for check in checks.health_checks() {
        let config = check.health_check_config().unwrap();
        assert_eq!(config.port(), Some(8404));
        assert_eq!(config.resource_path(), Some("/active"));
        assert_eq!(config.request_interval(), Some(10));
        assert_eq!(config.failure_threshold(), Some(1));
        assert!(check.caller_reference().len() <= 64);
    }
    world.destroy().await.unwrap();
    assert_eq!(census(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_mended() {
    let world = World::of(checked()).await;
    world.deploy().await.unwrap();
    let check = world.id("health-check/site2").await;
    let change = || {
        world
            .route53()
            .update_health_check()
            .health_check_id(&check)
    };
    change().ip_address("192.0.2.9").send().await.unwrap();
    let says = "asks: 192.0.2.9:8404/active → site2/address/site2-lb:8404/active";
    world.shows_and_mends("health-check/site2", says).await;
    change().failure_threshold(3).send().await.unwrap();
    world
        .shows_and_mends("health-check/site2", "threshold: 3 → 1")
        .await;
    change().inverted(true).send().await.unwrap();
    world
        .shows_and_mends("health-check/site2", "state: off → on")
        .await;

    // One that is gone is made anew, and the names go on to it.
    let gone = world
        .route53()
        .delete_health_check()
        .health_check_id(&check);
    gone.send().await.unwrap();
    world.shows_and_mends("health-check/site2", "+ site2").await;
    let new = world.id("health-check/site2").await;
    assert_ne!(new, check);
    let sets = sets(&world, "vote.example.org").await;
    let mut asked = sets.iter().filter_map(|set| set.health_check_id());
    assert!(asked.any(|id| id == new), "{sets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_from_one_way_to_the_other_and_back() {
    let mut world = World::of(small()).await;
    world.deploy().await.unwrap();
    let plain = census(&world).await;
    let key = world.wanted.entries.values().find_map(|it| match &it.spec {
        provision::resource::Spec::KeyPair { public_key, .. } => public_key.clone(),
        _ => None,
    });
    let becomes = |world: &mut World, cutover| {
        world.topology.dns.as_mut().unwrap().cutover = cutover;
        world.wanted = provision::desired(&world.topology, key.as_deref());
    };
    becomes(&mut world, Cutover::HealthCheck);
    let text = render::text(&world.changes().await);
    let says = "addresses: site1/address/site1-lb → site1/address/site1-lb by health-check/site1, else site2/address/site2-lb by health-check/site2";
    assert!(text.contains(says), "{text}");
    world.deploy().await.unwrap();
    world.assert_settled().await;
    assert_eq!(sets(&world, "vote.example.org").await.len(), 2);

    // The other site is preferred from now on.
    world.topology.initial_primary = "site2".parse().unwrap();
    becomes(&mut world, Cutover::HealthCheck);
    world.deploy().await.unwrap();
    world.assert_settled().await;

    world.topology.initial_primary = "site1".parse().unwrap();
    becomes(&mut world, Cutover::Upsert);
    world.deploy().await.unwrap();
    world.assert_settled().await;
    assert_eq!(census(&world).await, plain);
    world.destroy().await.unwrap();
}
