//! Reads the Route 53 side of the API.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_route53::error::DisplayErrorContext;
use aws_sdk_route53::types as sdk;

use crate::dns::{HealthCheck, Probe, RecordKind, RecordSet, Routing, Zone};

/// Hosted zones and health checks could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from the API: {detail}")]
pub struct NamesError {
    what: &'static str,
    detail: String,
}

fn failed(what: &'static str) -> impl Fn(aws_sdk_route53::Error) -> NamesError {
    move |error| NamesError {
        what,
        detail: DisplayErrorContext(&error).to_string(),
    }
}

/// Zones and health checks by id.
pub type Names = (BTreeMap<String, Zone>, BTreeMap<String, HealthCheck>);

/// Reads all hosted zones with their records, and all health checks.
///
/// # Errors
/// When the API does not answer.
pub async fn read_names(endpoint: &str) -> Result<Names, NamesError> {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("lab", "lab", None, None, "lab"))
        .build();
    let client = Client::from_conf(config);
    let mut zones = BTreeMap::new();
    for id in zone_ids(&client).await? {
        let zone = read_zone(&client, &id).await?;
        zones.insert(id, zone);
    }
    Ok((zones, health_checks(&client).await?))
}

async fn zone_ids(client: &Client) -> Result<Vec<String>, NamesError> {
    let found: Result<Vec<sdk::HostedZone>, _> = client
        .list_hosted_zones()
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await;
    let found = found.map_err(|e| failed("hosted zones")(e.into()))?;
    Ok(found.into_iter().map(|z| z.id).collect())
}

async fn read_zone(client: &Client, id: &str) -> Result<Zone, NamesError> {
    let zone = client
        .get_hosted_zone()
        .id(id)
        .send()
        .await
        .map_err(|e| failed("a hosted zone")(e.into()))?;
    let mut records = Vec::new();
    let mut from: Option<(String, sdk::RrType, Option<String>)> = None;
    loop {
        let mut call = client.list_resource_record_sets().hosted_zone_id(id);
        if let Some((name, kind, set)) = from {
            call = call
                .start_record_name(name)
                .start_record_type(kind)
                .set_start_record_identifier(set);
        }
        let page = call.send().await.map_err(|e| failed("records")(e.into()))?;
        records.extend(page.resource_record_sets.into_iter().filter_map(record_set));
        from = match (
            page.is_truncated,
            page.next_record_name,
            page.next_record_type,
        ) {
            (true, Some(name), Some(kind)) => Some((name, kind, page.next_record_identifier)),
            _ => break,
        };
    }
    Ok(Zone {
        name: zone.hosted_zone.map(|z| z.name).unwrap_or_default(),
        name_servers: zone
            .delegation_set
            .map(|d| d.name_servers)
            .unwrap_or_default(),
        records,
    })
}

fn record_set(set: sdk::ResourceRecordSet) -> Option<RecordSet> {
    let kind = match set.r#type {
        sdk::RrType::A => RecordKind::A,
        sdk::RrType::Aaaa => RecordKind::Aaaa,
        sdk::RrType::Cname => RecordKind::Cname,
        sdk::RrType::Txt => RecordKind::Txt,
        sdk::RrType::Ns => RecordKind::Ns,
        sdk::RrType::Soa => RecordKind::Soa,
        _ => return None,
    };
    let routing = match (set.failover, set.weight) {
        (Some(sdk::ResourceRecordSetFailover::Primary), _) => Routing::Primary,
        (Some(_), _) => Routing::Secondary,
        (None, Some(weight)) => Routing::Weighted(u64::try_from(weight).unwrap_or(0)),
        (None, None) => Routing::Simple,
    };
    let values = set.resource_records.unwrap_or_default();
    Some(RecordSet {
        name: set.name,
        kind,
        ttl: set.ttl.and_then(|t| u32::try_from(t).ok()).unwrap_or(0),
        values: values.into_iter().map(|r| r.value).collect(),
        set_identifier: set.set_identifier,
        routing,
        health_check_id: set.health_check_id,
    })
}

async fn health_checks(client: &Client) -> Result<BTreeMap<String, HealthCheck>, NamesError> {
    let found: Result<Vec<sdk::HealthCheck>, _> = client
        .list_health_checks()
        .into_paginator()
        .items()
        .send()
        .try_collect()
        .await;
    let found = found.map_err(|e| failed("health checks")(e.into()))?;
    Ok(found
        .into_iter()
        .filter_map(|check| Some((check.id, health_check(check.health_check_config?)?)))
        .collect())
}

fn health_check(config: sdk::HealthCheckConfig) -> Option<HealthCheck> {
    let path = config.resource_path.unwrap_or_else(|| "/".to_owned());
    let host = config.fully_qualified_domain_name;
    let (probe, usual_port) = match config.r#type {
        sdk::HealthCheckType::Tcp => (Probe::Tcp, 80),
        sdk::HealthCheckType::Http => (Probe::Http { path, host }, 80),
        sdk::HealthCheckType::Https => (Probe::Https { path, host }, 443),
        _ => return None,
    };
    let address: Ipv4Addr = config.ip_address?.parse().ok()?;
    let port = config
        .port
        .and_then(|p| u16::try_from(p).ok())
        .unwrap_or(usual_port);
    let seconds = config
        .request_interval
        .and_then(|s| u64::try_from(s).ok())
        .unwrap_or(30);
    Some(HealthCheck {
        probe,
        address: IpAddr::V4(address),
        port,
        interval: Duration::from_secs(seconds),
        failure_threshold: config
            .failure_threshold
            .and_then(|t| u32::try_from(t).ok())
            .unwrap_or(3),
        inverted: config.inverted.unwrap_or(false),
        disabled: config.disabled.unwrap_or(false),
    })
}
