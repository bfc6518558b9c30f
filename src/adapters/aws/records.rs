//! Records as failovers change them: get, upsert, wait until in force.

use std::{net::Ipv4Addr, time::Duration};

use aws_sdk_route53::{
    Client,
    types::{
        Change, ChangeAction, ChangeBatch, ChangeStatus, ResourceRecord, ResourceRecordSet, RrType,
    },
};

use super::{
    calls::call,
    zone::{bare_id, without_dot, zones_by},
};
use crate::ports::cloud::CloudError;

/// The id of the public zone of that name; none: there is no such zone.
///
/// # Errors
/// The API did not answer.
pub async fn zone_id(client: &Client, name: &str) -> Result<Option<String>, CloudError> {
    let zones = zones_by(client, name).await?;
    Ok(zones.first().map(|zone| bare_id(zone.id()).to_owned()))
}

/// The record set of that name and type as the control plane has it.
///
/// # Errors
/// The API did not answer.
pub async fn record_set(
    client: &Client,
    zone: &str,
    name: &str,
    kind: RrType,
) -> Result<Option<ResourceRecordSet>, CloudError> {
    let request = (client.list_resource_record_sets())
        .hosted_zone_id(zone)
        .start_record_name(name)
        .start_record_type(kind.clone())
        .max_items(1);
    let answer = call!("route53:ListResourceRecordSets", None, request)?;
    let first = answer.resource_record_sets.into_iter().next();
    Ok(first.filter(|set| without_dot(set.name()) == name && set.r#type() == &kind))
}

/// An `A` record set.
#[must_use]
pub fn address_set(name: &str, ttl: Duration, addresses: &[Ipv4Addr]) -> ResourceRecordSet {
    let values = addresses.iter().map(ToString::to_string);
    set(name, RrType::A, ttl, values)
}

/// A `TXT` record set with one value; quotes are added.
#[must_use]
pub fn text_set(name: &str, ttl: Duration, text: &str) -> ResourceRecordSet {
    set(name, RrType::Txt, ttl, [format!("\"{text}\"")])
}

fn set(
    name: &str,
    kind: RrType,
    ttl: Duration,
    values: impl IntoIterator<Item = String>,
) -> ResourceRecordSet {
    let values = values.into_iter().map(|value| {
        let record = ResourceRecord::builder().value(value).build();
        record.expect("a record with a value is complete")
    });
    ResourceRecordSet::builder()
        .name(name)
        .r#type(kind)
        .ttl(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))
        .set_resource_records(Some(values.collect()))
        .build()
        .expect("a record set with name and type is complete")
}

/// Makes changes in a zone, all or none, and answers the id of the change.
///
/// # Errors
/// The API did not answer, or refused one of the changes.
pub async fn change(
    client: &Client,
    zone: &str,
    changes: Vec<(ChangeAction, ResourceRecordSet)>,
) -> Result<String, CloudError> {
    let changes = changes.into_iter().map(|(action, set)| {
        let change = Change::builder().action(action).resource_record_set(set);
        change
            .build()
            .expect("a change with action and set is complete")
    });
    let batch = ChangeBatch::builder().set_changes(Some(changes.collect()));
    let batch = batch.build().expect("a batch with changes is complete");
    let request = (client.change_resource_record_sets())
        .hosted_zone_id(zone)
        .change_batch(batch);
    let answer = call!("route53:ChangeResourceRecordSets", None, request)?;
    let id = answer
        .change_info()
        .map(|info| bare_id(info.id()).to_owned());
    Ok(id.unwrap_or_default())
}

/// Whether a change is in force on all authoritative servers.
///
/// # Errors
/// The API did not answer.
pub async fn in_sync(client: &Client, change: &str) -> Result<bool, CloudError> {
    let request = client.get_change().id(change);
    let answer = call!("route53:GetChange", None, request)?;
    let status = answer.change_info().map(|info| info.status());
    Ok(status == Some(&ChangeStatus::Insync))
}

/// The authoritative servers that Route 53 gave the zone.
///
/// # Errors
/// The API did not answer.
pub async fn name_servers(client: &Client, zone: &str) -> Result<Vec<String>, CloudError> {
    let request = client.get_hosted_zone().id(zone);
    let answer = call!("route53:GetHostedZone", None, request)?;
    let set = answer.delegation_set();
    Ok(set.map_or_else(Vec::new, |set| {
        set.name_servers()
            .iter()
            .map(|name| without_dot(name).to_owned())
            .collect()
    }))
}
