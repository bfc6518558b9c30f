use std::{net::Ipv4Addr, sync::Arc};

use aws_sdk_ec2::config::{
    BehaviorVersion, Credentials, Region as SdkRegion, SharedCredentialsProvider,
};
use hafail::{
    adapters::{aws::Clients, records::ZoneRecords, resolver::Resolver},
    ids::Epoch,
    observation::{AddressRecord, Knowledge},
    ports::{PortError, records::Records},
};

use crate::{dns::Server, local::until, moto};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

fn clients(endpoint: &str) -> Clients {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let config = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(SdkRegion::new("eu-west-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Clients::from_config(&config, ["eu-west-1".parse().unwrap()])
}

fn record(name: &str, address: Ipv4Addr) -> AddressRecord {
    AddressRecord {
        name: name.into(),
        ttl: 5,
        addresses: [address].into(),
    }
}

async fn zone(zone: &str, resolver: Resolver) -> ZoneRecords {
    let clients = clients(&format!("http://{}", moto::address()));
    let create = clients.route53().write.create_hosted_zone();
    create
        .name(zone)
        .caller_reference(zone)
        .send()
        .await
        .unwrap();
    ZoneRecords::new(clients, Arc::new(resolver), Some(zone.to_owned()))
}

#[tokio::test]
async fn records_move_together_and_remember_the_epoch() {
    let records = zone("moves.example.org", Resolver::new(Vec::new())).await;
    let (vote, result) = ("moves.example.org", "result.moves.example.org");
    assert_eq!(records.current(vote).await.unwrap(), None);

    let both = [record(vote, ONE), record(result, ONE)];
    let change = records.point(Epoch(3), &both).await.unwrap();
    assert!(!change.0.is_empty());
    assert!(records.in_sync(&change).await.unwrap());
    assert_eq!(records.current(vote).await.unwrap(), Some(both[0].clone()));
    assert_eq!(
        records.current(result).await.unwrap(),
        Some(both[1].clone())
    );

    // The same again is harmless; a newer epoch moves them.
    records.point(Epoch(3), &both).await.unwrap();
    records.point(Epoch(4), &[record(vote, TWO)]).await.unwrap();
    assert_eq!(
        records.current(vote).await.unwrap(),
        Some(record(vote, TWO))
    );
    assert_eq!(
        records.current(result).await.unwrap(),
        Some(record(result, ONE))
    );
}

#[tokio::test]
async fn a_change_of_an_old_epoch_is_refused() {
    let records = zone("stale.example.org", Resolver::new(Vec::new())).await;
    let name = "stale.example.org";
    records.point(Epoch(7), &[record(name, ONE)]).await.unwrap();
    let error = records
        .point(Epoch(6), &[record(name, TWO)])
        .await
        .unwrap_err();
    let PortError::StaleEpoch { ours, seen, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((ours, seen), (Epoch(6), Epoch(7)));
    assert_eq!(
        records.current(name).await.unwrap(),
        Some(record(name, ONE))
    );
}

#[tokio::test]
async fn resolvers_are_seen_one_by_one() {
    let (old, new) = (
        Server::start(&[ONE], 5).await,
        Server::start(&[TWO], 5).await,
    );
    let resolver = Resolver::new(vec![old.address, new.address]);
    let records = zone("seen.example.org", resolver).await;
    let answers = records.resolved("seen.example.org").await;
    let known = |server: &Server| match &answers[&server.address.to_string()] {
        Knowledge::Known(record) => record.addresses.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((known(&old), known(&new)), ([ONE].into(), [TWO].into()));

    // The zone's own servers cannot be found by these resolvers.
    let authoritative = records.authoritative("seen.example.org").await.unwrap();
    assert!(!authoritative.is_empty(), "the delegation set is asked");
}

#[tokio::test]
async fn an_api_that_is_gone_is_unreachable_and_a_missing_zone_absent() {
    let resolver = Arc::new(Resolver::new(Vec::new()));
    let port = crate::port::free_port();
    let nobody = clients(&format!("http://127.0.0.1:{port}"));
    let gone = ZoneRecords::new(nobody, resolver.clone(), Some("gone.example.org".into()));
    let error = gone.current("gone.example.org").await.unwrap_err();
    assert!(matches!(error, PortError::Unreachable { .. }), "{error}");

    let clients = clients(&format!("http://{}", moto::address()));
    let none = ZoneRecords::new(clients, resolver, Some("none.example.org".into()));
    until("the API that is there answers", || async {
        let found = none.current("none.example.org").await;
        matches!(found, Err(PortError::Absent { .. }))
    })
    .await;
}
