//! Provisioning against moto, with failures at chosen calls. Needs Python 3
//! with venv and PyPI at its first run.

#[path = "provision/account.rs"]
mod account;
#[path = "provision/drift.rs"]
mod drift;
#[path = "provision/moto.rs"]
mod moto;
#[path = "provision/names.rs"]
mod names;
#[path = "adapters/port.rs"]
mod port;
#[path = "provision/preview.rs"]
mod preview;
#[path = "provision/proxy.rs"]
mod proxy;
#[path = "provision/world.rs"]
mod world;

use std::{
    collections::{BTreeSet, HashSet},
    time::Instant,
};

use account::census;
use hafail::{
    ports::cloud::{Cloud, Fault},
    provision::{self, ApplyError, find_inventory, resource::Key},
};
use proxy::Verdict;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;
use world::{World, checked, small};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_deploy_makes_no_changes() {
    let world = World::new().await;
    let before = census(&world).await;
    let applied = world.deploy().await.unwrap();
    assert_eq!(applied.created, world.wanted.entries.len());
    world.assert_settled().await;
    world.proxy.calm();
    let again = world.deploy().await.unwrap();
    assert_eq!((again.created, again.updated, again.deleted), (0, 0, 0));
    assert_eq!(world.proxy.changes(), 0);

    let there = census(&world).await;
    for site in ["site1", "site2"] {
        let more = |kind: &str| {
            let key = format!("{site} {kind}");
            there[&key] - before[&key]
        };
        assert_eq!(more("instances"), 4);
        assert_eq!(more("volumes"), 4);
        assert_eq!(more("vpcs"), 1);
        assert_eq!(more("subnets"), 2);
        assert_eq!(more("addresses"), 2);
        assert_eq!(more("NAT gateways"), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_leaves_the_account_as_it_was() {
    let world = World::new().await;
    let before = census(&world).await;
    world.deploy().await.unwrap();
    let applied = world.destroy().await.unwrap();
    assert_eq!(applied.deleted, world.wanted.entries.len());
    assert_eq!(census(&world).await, before);
    let again = world.destroy().await.unwrap();
    assert_eq!(again.deleted, 0);
    // And a new start works, whatever traces the old one left.
    world.deploy().await.unwrap();
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn destroy_spares_and_names_what_others_put_there() {
    let world = World::new().await;
    world.deploy().await.unwrap();
    let vpc = world.id("site1/vpc").await;
    let foreign = (world.ec2("site1").create_security_group())
        .group_name("not-ours")
        .description("made by somebody else")
        .vpc_id(&vpc)
        .send()
        .await
        .unwrap();
    let foreign = foreign.group_id().unwrap();
    let error = world.destroy().await.unwrap_err().to_string();
    assert!(error.contains(foreign), "{error}");
    let kept = world
        .ec2("site1")
        .describe_security_groups()
        .group_ids(foreign);
    assert_eq!(kept.send().await.unwrap().security_groups().len(), 1);
    let gone = world.ec2("site1").delete_security_group().group_id(foreign);
    gone.send().await.unwrap();
    world.destroy().await.unwrap();
    assert!(world.discover().await.unwrap().entries.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_found_with_their_keys() {
    let world = World::new().await;
    world.deploy().await.unwrap();
    let since = Instant::now();
    let found = find_inventory(&world.topology, &world.cloud).await;
    let took = since.elapsed();
    assert!(found.missing.is_empty(), "{:?}", found.missing);
    assert_eq!(found.inventory.hosts.len(), 8);
    let bastion = &found.inventory.hosts["site1-lb"];
    assert_eq!(
        bastion.ssh.address,
        bastion.public_address.unwrap().to_string()
    );
    assert_eq!(bastion.ssh.jump, None);
    let database = &found.inventory.hosts["site1-db"];
    assert_eq!(database.ssh.address, database.private_address.to_string());
    assert_eq!(database.ssh.jump.as_ref().unwrap().as_str(), "site1-lb");
    assert_eq!(database.public_address, None);
    let keys = found
        .inventory
        .hosts
        .values()
        .map(|host| &host.ssh.host_key);
    let keys: BTreeSet<&String> = keys.collect();
    assert_eq!(keys.len(), 8);
    assert!(keys.iter().all(|key| key.starts_with("ssh-ed25519 AAAA")));
    assert!(took.as_secs() < 2, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dark_region_hides_only_its_own_hosts() {
    let world = World::new().await;
    world.deploy().await.unwrap();
    world.proxy.judge(|call| match call.region.as_str() {
        "eu-west-1" => Verdict::Cut,
        _ => Verdict::Pass,
    });
    let found = find_inventory(&world.topology, &world.cloud).await;
    let there: Vec<&str> = (found.inventory.hosts.keys())
        .map(|host| host.as_str())
        .collect();
    assert_eq!(there, ["site2-app", "site2-db", "site2-lb", "site2-queue"]);
    assert_eq!(found.missing.len(), 4);
    assert!(found.missing["site1-db"].contains("in eu-west-1"));
    assert_eq!(found.errors.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_image_is_used_and_its_metadata_protected() {
    let world = World::new().await;
    world.deploy().await.unwrap();
    let all = world
        .ec2("site1")
        .describe_instances()
        .send()
        .await
        .unwrap();
    let instances: Vec<_> = all
        .reservations()
        .iter()
        .flat_map(|it| it.instances())
        .collect();
    for instance in instances {
        assert_eq!(instance.image_id(), Some(moto::NEWEST_IMAGE));
        let options = instance.metadata_options().unwrap();
        assert_eq!(options.http_tokens().unwrap().as_str(), "required");
        let owner = instance
            .tags()
            .iter()
            .find(|tag| tag.key() == Some("owner"));
        assert_eq!(owner.unwrap().value(), Some("platform"));
    }
}

/// Every third change ends without an answer, each of them in one of three
/// runs.
async fn every_third(verdict: Verdict) {
    let reference = World::of(checked()).await;
    reference.deploy().await.unwrap();
    let expected = census(&reference).await;
    for rest in 0..3 {
        let world = World::of(checked()).await;
        let verdict = verdict.clone();
        let mut failed = HashSet::new();
        world.proxy.judge(move |call| {
            let third = call.changes && call.number % 3 == rest;
            // The same call again gets its answer.
            match third && failed.insert(call.content) {
                true => verdict.clone(),
                false => Verdict::Pass,
            }
        });
        world.deploy().await.unwrap();
        world.proxy.calm();
        world.assert_settled().await;
        assert_eq!(census(&world).await, expected, "rest {rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_makes_nothing_twice() {
    every_third(Verdict::LoseAnswer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_cut_off_is_made_again() {
    every_third(Verdict::Cut).await;
}

/// The program's view of its own death: the answer of one change is lost, and
/// nothing is answered any more.
fn dies_at(world: &mut World, last: usize) {
    world.patience.no_answer = std::time::Duration::from_millis(50);
    world.proxy.judge(move |call| match call.number {
        number if number > last => Verdict::Cut,
        number if number == last && call.changes => Verdict::LoseAnswer,
        number if number == last => Verdict::Cut,
        _ => Verdict::Pass,
    });
}

fn recovers(world: &mut World) {
    world.patience.no_answer = std::time::Duration::from_secs(20);
    world.proxy.calm();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_dies_is_completed_by_the_next() {
    let reference = World::of(checked()).await;
    reference.deploy().await.unwrap();
    let expected = census(&reference).await;
    let changes = reference.proxy.changes();
    for last in (1..changes).step_by(9) {
        let mut world = World::of(checked()).await;
        dies_at(&mut world, last);
        world.deploy().await.unwrap_err();
        recovers(&mut world);
        let next = world.deploy().await;
        next.unwrap_or_else(|error| panic!("died at {last}: {error}"));
        world.assert_settled().await;
        assert_eq!(census(&world).await, expected, "died at {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_dies_is_completed_by_the_next() {
    let mut world = World::of(checked()).await;
    let before = census(&world).await;
    for last in [1, 15, 30, 45] {
        recovers(&mut world);
        world.deploy().await.unwrap();
        dies_at(&mut world, last);
        world.destroy().await.unwrap_err();
        recovers(&mut world);
        let next = world.destroy().await;
        next.unwrap_or_else(|error| panic!("died at {last}: {error}"));
        assert_eq!(census(&world).await, before, "died at {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_waited_out() {
    let world = World::of(small()).await;
    // By dice, for an action of three calls that runs alone would meet every
    // third refusal at the same call, for ever.
    let mut dice = StdRng::seed_from_u64(7);
    world.proxy.judge(move |_| match dice.random_ratio(1, 3) {
        true => Verdict::Refuse(503, "RequestLimitExceeded"),
        false => Verdict::Pass,
    });
    world.deploy().await.unwrap();
    world.proxy.calm();
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_call_names_the_permission() {
    let world = World::new().await;
    world.proxy.judge(|call| match call.action.as_str() {
        "RunInstances" => Verdict::Refuse(403, "UnauthorizedOperation"),
        _ => Verdict::Pass,
    });
    let Err(ApplyError::Failed { errors, left }) = world.deploy().await else {
        panic!("RunInstances was denied");
    };
    assert_eq!(errors.len(), 8);
    assert!(left > 0);
    let error = errors.values().next().unwrap();
    assert_eq!(error.fault, Fault::Denied);
    assert!(error.to_string().contains("ec2:RunInstances"), "{error}");
    assert!(
        error.remedy().contains("ec2:RunInstances"),
        "{}",
        error.remedy()
    );
    // All that does not need an instance is there.
    world.proxy.calm();
    let left = world.changes().await;
    let instances = left.entries.values().filter(|it| it.kind == "instance");
    assert_eq!(instances.count(), 8);
    world.deploy().await.unwrap();
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_endpoint_are_told_apart() {
    let world = World::new().await;
    world.proxy.judge(|_| Verdict::Refuse(401, "AuthFailure"));
    let error = world.discover().await.unwrap_err();
    assert_eq!(error.fault, Fault::Credentials, "{error}");
    world
        .proxy
        .judge(|_| Verdict::Refuse(403, "InvalidClientTokenId"));
    let error = world.discover().await.unwrap_err();
    assert_eq!(error.fault, Fault::Credentials, "{error}");

    let silent = format!("http://127.0.0.1:{}", port::free_port());
    let config = world::config(&silent);
    let regions = provision::regions(&world.topology);
    let clients = hafail::adapters::aws::Clients::from_config(&config, regions);
    let cloud = hafail::adapters::aws::Aws { clients };
    let error = cloud.discover(&provision::scope(&world.topology)).await;
    assert_eq!(error.unwrap_err().fault, Fault::Unreachable);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_names_its_state_and_is_continued() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    world.proxy.judge(move |call| {
        if call.number == 30 {
            cancel.cancel();
        }
        Verdict::Pass
    });
    let result = world.deploy_until(&stop, &BTreeSet::new()).await;
    let Err(ApplyError::Interrupted { done, total, open }) = result else {
        panic!("{result:?}");
    };
    assert!((10..total).contains(&done), "{done} of {total}");
    assert!(open.is_empty(), "{open:?}");
    world.proxy.calm();
    world.deploy().await.unwrap();
    world.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_made_anew_only_when_told() {
    let mut world = World::new().await;
    world.deploy().await.unwrap();
    let old = world.id("site1/instance/site1-lb").await;
    let mut topology = world.topology.clone();
    let site = topology.sites.values_mut().next().unwrap();
    let host = site
        .hosts
        .values_mut()
        .find(|it| it.name.as_str() == "site1-lb")
        .unwrap();
    let hafail::topology::Place::Instance { instance_type, .. } = &mut host.place else {
        panic!("it is an instance");
    };
    *instance_type = "t3.large".to_owned();
    world.wanted = provision::desired(&topology, None);
    let Err(ApplyError::Blocked { remedy, .. }) = world.deploy().await else {
        panic!("a machine with its disk was removed unasked");
    };
    assert!(remedy.contains("--replace site1-lb"), "{remedy}");
    let replace = BTreeSet::from([Key::new("site1/instance/site1-lb")]);
    let stop = CancellationToken::new();
    world.deploy_until(&stop, &replace).await.unwrap();
    world.assert_settled().await;
    assert_ne!(world.id("site1/instance/site1-lb").await, old);
    let found = find_inventory(&topology, &world.cloud).await;
    assert!(found.inventory.hosts["site1-lb"].public_address.is_some());
}
