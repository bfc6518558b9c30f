//! The hosted zone and its records.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use aws_sdk_route53::types::{
    ChangeAction, HostedZone, ResourceRecordSet, RrType, Tag, TagResourceType,
};

use super::{
    Clients, Route53,
    calls::{call, unless},
    records::{address_set, change},
};
use crate::{
    ports::cloud::{CloudError, Creation, Fault, Handle, Known, Scope, ZoneScope},
    provision::resource::{AddressRecord, Discovered, Found, Key, Resource, Spec, TAG_TOPOLOGY},
};

/// What was found of a zone.
#[derive(Debug, Default)]
pub(super) struct FoundZone {
    zone: Option<(String, BTreeMap<String, String>)>,
    scope: Option<ZoneScope>,
    sets: Vec<ResourceRecordSet>,
}

/// Looks for the zone of the deployment and its records.
pub(super) async fn discover(clients: &Clients, scope: &Scope) -> Result<FoundZone, CloudError> {
    let Some(wanted) = &scope.zone else {
        return Ok(FoundZone::default());
    };
    let route53 = clients.route53();
    let mut found = FoundZone {
        scope: Some(wanted.clone()),
        ..FoundZone::default()
    };
    for zone in zones_named(route53, &wanted.name).await? {
        let id = bare_id(zone.id()).to_owned();
        let tags = if wanted.managed {
            tags_of(route53, &id).await?
        } else {
            BTreeMap::new()
        };
        if wanted.managed && !is_ours(&zone, &tags, &scope.topology) {
            continue;
        }
        found.sets = record_sets(&route53.read, &id).await?;
        found.zone = Some((id, tags));
        break;
    }
    Ok(found)
}

impl FoundZone {
    /// Adds zone and records. Elastic IPs must have been added before.
    pub(super) fn add_to(self, found: &mut Discovered) {
        let (Some((id, tags)), Some(scope)) = (self.zone, self.scope) else {
            return;
        };
        let spec = Spec::Zone {
            name: scope.name.clone(),
            managed: scope.managed,
        };
        found.add(global(Key::new("zone"), id.clone(), tags, spec));
        let addresses: BTreeMap<Ipv4Addr, Key> = (found.entries.values())
            .filter(|it| matches!(it.spec, Spec::Address { .. }))
            .filter_map(|it| Some((it.address?, it.key.clone())))
            .collect();
        let marker = marker_name(&scope.name);
        for set in self.sets {
            let name = without_dot(set.name());
            let record = record(&set, &addresses);
            let known = |key: &Key| addresses.values().any(|known| known == key);
            let ours = scope.managed
                && set.r#type() == &RrType::A
                && !record.addresses.is_empty()
                && record.addresses.iter().all(known);
            let plain = set.r#type() == &RrType::A && set.set_identifier().is_none();
            if (plain && (scope.records.contains(name) || ours)) || name == marker {
                let key = Key::new(format!("record/{name}"));
                let id = name.to_owned();
                found.add(global(key, id, BTreeMap::new(), Spec::Record(record)));
            } else if scope.managed && !is_apex(&set, &scope.name) {
                let line = format!("{} {name}", set.r#type().as_str());
                found.foreign_records.push(line);
            }
        }
    }
}

fn global(key: Key, id: String, tags: BTreeMap<String, String>, spec: Spec) -> Found {
    Found {
        key,
        id,
        region: None,
        tags,
        address: None,
        spec,
    }
}

fn record(set: &ResourceRecordSet, addresses: &BTreeMap<Ipv4Addr, Key>) -> AddressRecord {
    let key = |text: &str| {
        let address: Option<Ipv4Addr> = text.parse().ok();
        let ours = address.and_then(|address| addresses.get(&address));
        ours.cloned().unwrap_or_else(|| Key::new(text))
    };
    let mut values: std::collections::BTreeSet<Key> = (set.resource_records().iter())
        .map(|it| key(it.value()))
        .collect();
    if let Some(alias) = set.alias_target() {
        values.insert(Key::new(format!("alias {}", alias.dns_name())));
    }
    AddressRecord {
        zone: Key::new("zone"),
        name: without_dot(set.name()).to_owned(),
        ttl: Duration::from_secs(
            set.ttl()
                .and_then(|ttl| u64::try_from(ttl).ok())
                .unwrap_or(0),
        ),
        addresses: values,
        alternatives: Vec::new(),
    }
}

/// The name of the record in which failovers keep their epoch.
fn marker_name(zone: &str) -> String {
    format!("_hafail.{zone}")
}

/// The records that every zone has.
fn is_apex(set: &ResourceRecordSet, zone: &str) -> bool {
    without_dot(set.name()) == zone && matches!(set.r#type(), RrType::Ns | RrType::Soa)
}

pub(super) fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// `/hostedzone/Z123` as `Z123`.
pub(super) fn bare_id(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Made by this deployment: by its tag, or, where an interruption came before
/// the tag, by the reference of the creation.
fn is_ours(zone: &HostedZone, tags: &BTreeMap<String, String>, topology: &str) -> bool {
    tags.get(TAG_TOPOLOGY).map(String::as_str) == Some(topology)
        || zone.caller_reference().starts_with(&reference(topology))
}

fn reference(topology: &str) -> String {
    format!("hafail/{topology}/")
}

/// All public zones of that name.
async fn zones_named(route53: &Route53, name: &str) -> Result<Vec<HostedZone>, CloudError> {
    zones_by(&route53.read, name).await
}

pub(super) async fn zones_by(
    client: &aws_sdk_route53::Client,
    name: &str,
) -> Result<Vec<HostedZone>, CloudError> {
    // Zones come in order of their names, so that those of one name are first.
    let request = client.list_hosted_zones_by_name().dns_name(name);
    let answer = call!("route53:ListHostedZonesByName", None, request)?;
    let zones = answer.hosted_zones.into_iter();
    Ok(zones
        .filter(|zone| without_dot(zone.name()) == name)
        .filter(|zone| !zone.config().is_some_and(|config| config.private_zone()))
        .collect())
}

async fn tags_of(route53: &Route53, zone: &str) -> Result<BTreeMap<String, String>, CloudError> {
    let request = (route53.read.list_tags_for_resource())
        .resource_type(TagResourceType::Hostedzone)
        .resource_id(zone);
    let answer = call!("route53:ListTagsForResource", None, request)?;
    let tags = answer
        .resource_tag_set()
        .map(|set| set.tags())
        .unwrap_or_default();
    let pairs = tags.iter().filter_map(|tag| {
        let (key, value) = (tag.key()?, tag.value()?);
        Some((key.to_owned(), value.to_owned()))
    });
    Ok(pairs.collect())
}

/// All record sets of a zone.
async fn record_sets(
    client: &aws_sdk_route53::Client,
    zone: &str,
) -> Result<Vec<ResourceRecordSet>, CloudError> {
    let mut all = Vec::new();
    let mut request = client.list_resource_record_sets().hosted_zone_id(zone);
    loop {
        let answer = call!("route53:ListResourceRecordSets", None, request)?;
        all.extend(answer.resource_record_sets);
        if !answer.is_truncated {
            return Ok(all);
        }
        request = (client.list_resource_record_sets())
            .hosted_zone_id(zone)
            .set_start_record_name(answer.next_record_name)
            .set_start_record_type(answer.next_record_type)
            .set_start_record_identifier(answer.next_record_identifier);
    }
}

/// Makes the zone, or finds the one that an earlier run made.
pub(super) async fn create_zone(
    clients: &Clients,
    creation: &Creation<'_>,
    name: &str,
) -> Result<Handle, CloudError> {
    let route53 = clients.route53();
    let resource = creation.resource;
    let topology = resource.tags.get(TAG_TOPOLOGY).map_or("", String::as_str);
    let mut foreign = None;
    for zone in zones_named(route53, name).await? {
        let id = bare_id(zone.id()).to_owned();
        if is_ours(&zone, &tags_of(route53, &id).await?, topology) {
            return tagged(route53, id, resource).await;
        }
        foreign = Some(id);
    }
    if let Some(id) = foreign {
        return Err(CloudError {
            call: "route53:CreateHostedZone".to_owned(),
            region: None,
            fault: Fault::Refused,
            message: format!(
                "there is a zone {name} ({id}) that hafail did not make; to put the records \
                 there, set `manage_zone: false`"
            ),
        });
    }
    // A reference counts once, also after its zone was removed; no two
    // creations pass this way at once unnoticed, since the list shows them.
    let request = (route53.write.create_hosted_zone())
        .name(name)
        .caller_reference(format!("{}{}", reference(topology), uuid::Uuid::now_v7()));
    let answer = call!("route53:CreateHostedZone", None, request)?;
    let id = answer
        .hosted_zone()
        .map(|zone| bare_id(zone.id()).to_owned());
    tagged(route53, id.unwrap_or_default(), resource).await
}

async fn tagged(route53: &Route53, id: String, resource: &Resource) -> Result<Handle, CloudError> {
    set_tags(route53, &id, &resource.tags).await?;
    Ok(Handle { id, address: None })
}

/// Tags a zone.
pub(super) async fn set_tags(
    route53: &Route53,
    zone: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), CloudError> {
    let tags = tags.iter();
    let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
    let request = (route53.write.change_tags_for_resource())
        .resource_type(TagResourceType::Hostedzone)
        .resource_id(zone)
        .set_add_tags(Some(tags.collect()));
    call!("route53:ChangeTagsForResource", None, request)?;
    Ok(())
}

/// Gives a record its value.
pub(super) async fn point(
    clients: &Clients,
    record: &AddressRecord,
    known: &Known,
) -> Result<Handle, CloudError> {
    let zone = super::ids::id(known, &record.zone)?;
    let mut addresses = Vec::new();
    for key in &record.addresses {
        addresses.push(address_of(key, known)?);
    }
    let set = address_set(&record.name, record.ttl, &addresses);
    change(
        &clients.route53().write,
        zone,
        vec![(ChangeAction::Upsert, set)],
    )
    .await?;
    Ok(Handle {
        id: record.name.clone(),
        address: None,
    })
}

fn address_of(key: &Key, known: &Known) -> Result<Ipv4Addr, CloudError> {
    let stated = key.as_str().parse().ok();
    let known = known.get(key).and_then(|handle| handle.address);
    stated.or(known).ok_or_else(|| CloudError {
        call: "route53:ChangeResourceRecordSets".to_owned(),
        region: None,
        fault: Fault::NotYet,
        message: format!("{key} has no address yet"),
    })
}

/// Removes a record with whatever value it has now.
pub(super) async fn delete_record(clients: &Clients, found: &Found) -> Result<(), CloudError> {
    let Spec::Record(record) = &found.spec else {
        return Ok(());
    };
    let route53 = clients.route53();
    let scope_zone = zone_of(route53, &record.name).await?;
    let Some(zone) = scope_zone else {
        return Ok(());
    };
    let sets = record_sets(&route53.read, &zone).await?;
    let ours = sets.into_iter().filter(|set| {
        without_dot(set.name()) == record.name && matches!(set.r#type(), RrType::A | RrType::Txt)
    });
    let changes: Vec<_> = ours.map(|set| (ChangeAction::Delete, set)).collect();
    if changes.is_empty() {
        return Ok(());
    }
    change(&route53.write, &zone, changes).await.map(drop)
}

/// The zone that holds a name: the longest suffix that has one.
async fn zone_of(route53: &Route53, name: &str) -> Result<Option<String>, CloudError> {
    let mut suffix = name;
    loop {
        if let Some(zone) = zones_named(route53, suffix).await?.first() {
            return Ok(Some(bare_id(zone.id()).to_owned()));
        }
        match suffix.split_once('.') {
            Some((_, rest)) => suffix = rest,
            None => return Ok(None),
        }
    }
}

/// Removes a zone; what is left in it makes it fail.
pub(super) async fn delete_zone(clients: &Clients, found: &Found) -> Result<(), CloudError> {
    let request = clients.route53().write.delete_hosted_zone().id(&found.id);
    let result = call!("route53:DeleteHostedZone", None, request).map(drop);
    unless(result, &["NoSuchHostedZone"])
}

/// The records that keep a zone from removal.
pub(super) async fn occupants(clients: &Clients, found: &Found) -> Result<Vec<String>, CloudError> {
    let Spec::Zone { name, .. } = &found.spec else {
        return Ok(Vec::new());
    };
    let sets = record_sets(&clients.route53().read, &found.id).await?;
    let others = sets.iter().filter(|set| !is_apex(set, name));
    Ok(others
        .map(|set| {
            format!(
                "record {} {}",
                set.r#type().as_str(),
                without_dot(set.name())
            )
        })
        .collect())
}
