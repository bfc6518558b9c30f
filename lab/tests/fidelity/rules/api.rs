//! The API, the names and the lab itself.

use std::process::Command;
use std::time::Duration;

use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_route53::types as dns;

use crate::lab::{BLOCK, Seen, dial, poll};
use crate::world::{World, endpoint};

pub async fn up_again_changes_nothing(world: World) {
    let pids = ["daemon", "registry", "moto"].map(|s| world.lab.pid(s));
    world.lab.up();
    assert_eq!(
        ["daemon", "registry", "moto"].map(|s| world.lab.pid(s)),
        pids
    );
    assert_eq!(dial(&world.one.address, 22), Seen::Open);
}

pub async fn the_image_is_found_by_owner_and_name_in_every_region(world: World) {
    assert!(world.one.image().await.starts_with("ami-"));
    assert!(world.other.image().await.starts_with("ami-"));
}

pub async fn a_changed_record_is_what_a_query_answers(world: World) {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(aws_sdk_route53::config::BehaviorVersion::latest())
        .endpoint_url(endpoint())
        .region(aws_sdk_route53::config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_route53::config::Credentials::new(
            "lab", "lab", None, None, "test",
        ))
        .build();
    let client = aws_sdk_route53::Client::from_conf(config);
    let zone = client
        .create_hosted_zone()
        .name("votes.test")
        .caller_reference("1")
        .send();
    let zone = zone.await.unwrap().hosted_zone.unwrap().id;
    for value in [&world.one.address, &world.other.address] {
        let record = dns::ResourceRecord::builder()
            .value(value.as_str())
            .build()
            .unwrap();
        let set = dns::ResourceRecordSet::builder()
            .name("vote.votes.test")
            .r#type(dns::RrType::A)
            .ttl(5)
            .resource_records(record)
            .build()
            .unwrap();
        let change = dns::Change::builder().action(dns::ChangeAction::Upsert);
        let change = change.resource_record_set(set).build().unwrap();
        let batch = dns::ChangeBatch::builder().changes(change).build().unwrap();
        let call = client
            .change_resource_record_sets()
            .hosted_zone_id(&zone)
            .change_batch(batch);
        call.send().await.unwrap();
        assert_eq!(
            query("vote.votes.test").map(|ip| ip.to_string()).as_ref(),
            Some(value)
        );
        let inside = world
            .lab
            .must(&world.one.db, &["getent", "ahostsv4", "vote.votes.test"]);
        assert!(inside.starts_with(value.as_str()), "{inside}");
    }
}

/// Asks the lab's DNS server for the first address of a name.
fn query(name: &str) -> Option<std::net::Ipv4Addr> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send_to(&question, format!("{BLOCK}.53:53")).unwrap();
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).ok()?;
    // One answer of type A and nothing after it: the address is at the end.
    assert_eq!(answer[6..8], [0, 1], "one answer");
    assert_eq!(answer[8..12], [0; 4], "nothing but the answer");
    let address: [u8; 4] = answer[length - 4..length].try_into().unwrap();
    Some(address.into())
}

pub async fn one_client_token_makes_one_instance(world: World) {
    let site = &world.one;
    let image = site.image().await;
    let call = |token: &str, count| {
        let call = site
            .client
            .run_instances()
            .image_id(&image)
            .client_token(token);
        call.min_count(1)
            .max_count(count)
            .subnet_id(&site.public_subnet)
            .send()
    };
    let ids = |answer: aws_sdk_ec2::operation::run_instances::RunInstancesOutput| {
        answer.instances.unwrap()[0].instance_id.clone().unwrap()
    };
    let (first, second) = futures::join!(call("token", 1), call("token", 1));
    let (first, second) = (ids(first.unwrap()), ids(second.unwrap()));
    assert_eq!(first, second);
    let error = call("token", 2).await.unwrap_err();
    assert_eq!(error.code(), Some("IdempotentParameterMismatch"));
    site.client
        .terminate_instances()
        .instance_ids(first)
        .send()
        .await
        .unwrap();
}

pub async fn faults_strike_as_ordered_and_calls_are_counted(world: World) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let lab = |path: &str| format!("{}/_lab/{path}", endpoint());
    client.delete(lab("calls")).send().await.unwrap();
    let fault = serde_json::json!({"action": "DescribeVpcs", "code": "RequestLimitExceeded"});
    let armed = client
        .post(lab("faults"))
        .json(&fault)
        .send()
        .await
        .unwrap();
    assert!(armed.status().is_success());
    let error = world.one.client.describe_vpcs().send().await.unwrap_err();
    assert_eq!(error.code(), Some("RequestLimitExceeded"));
    world.one.client.describe_vpcs().send().await.unwrap();
    let calls: Vec<serde_json::Value> = client
        .get(lab("calls"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let statuses: Vec<u64> = calls
        .iter()
        .filter(|c| c["action"] == "DescribeVpcs" && c["region"] == "eu-west-1")
        .filter_map(|c| c["status"].as_u64())
        .collect();
    assert_eq!(statuses, [503, 200]);
}

pub async fn a_lab_whose_daemon_died_comes_back(world: World) {
    let pid = world.lab.pid("daemon");
    Command::new("kill").args(["-9", &pid]).status().unwrap();
    let gone = || (!std::path::Path::new("/proc").join(&pid).exists()).then_some(());
    assert_eq!(poll(gone), Some(()));
    world.lab.up();
    assert_ne!(world.lab.pid("daemon"), pid);
    assert_eq!(
        poll(|| (dial(&world.one.address, 22) == Seen::Open).then_some(())),
        Some(())
    );
    assert_eq!(
        world.lab.dial(&world.one.bastion, &world.one.db_ip, 22),
        Seen::Open
    );
    assert_eq!(dial(&world.one.address, 8080), Seen::Silence);
}
