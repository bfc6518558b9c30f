//! The hosted zone and its records.

use std::{collections::BTreeMap, net::Ipv4Addr};

use aws_sdk_route53::types::{HostedZone, ResourceRecordSet, RrType, Tag, TagResourceType};

use super::{
    Clients, Route53,
    calls::{call, unless},
    health::{self, FoundCheck},
    sets::{self, Known},
};
use crate::{
    ports::cloud::{CloudError, Creation, Fault, Handle, Scope, ZoneScope},
    provision::resource::{Discovered, Found, Key, Resource, Spec, TAG_TOPOLOGY},
};

const TAGGED: TagResourceType = TagResourceType::Hostedzone;

/// What was found of a zone.
#[derive(Debug, Default)]
pub(super) struct FoundZone {
    zone: Option<(String, BTreeMap<String, String>)>,
    scope: Option<ZoneScope>,
    sets: Vec<ResourceRecordSet>,
    checks: Vec<FoundCheck>,
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
    found.checks = health::discover(route53, &scope.topology, &wanted.checks).await?;
    for zone in zones_named(route53, &wanted.name).await? {
        let id = bare_id(zone.id()).to_owned();
        let tags = if wanted.managed {
            tags_of(route53, TAGGED, &id).await?
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
    /// Adds health checks, zone and records. Elastic IPs must have been added
    /// before.
    pub(super) fn add_to(self, found: &mut Discovered) {
        let addresses: BTreeMap<Ipv4Addr, Key> = (found.entries.values())
            .filter(|it| matches!(it.spec, Spec::Address { .. }))
            .filter_map(|it| Some((it.address?, it.key.clone())))
            .collect();
        let mut checks = BTreeMap::new();
        for check in self.checks {
            checks.insert(check.id().to_owned(), check.key().clone());
            check.add_to(found, &addresses);
        }
        let (Some((id, tags)), Some(scope)) = (self.zone, self.scope) else {
            return;
        };
        let spec = Spec::Zone {
            name: scope.name.clone(),
            managed: scope.managed,
        };
        found.add(global(Key::new("zone"), id, tags, spec));
        let known = Known {
            addresses: &addresses,
            checks: &checks,
        };
        let marker = marker_name(&scope.name);
        for set in sets::joined(self.sets) {
            let record = set.read(&known);
            let name = record.name.clone();
            let ours = scope.managed
                && set.is_of_addresses()
                && !record.addresses.is_empty()
                && record.addresses.iter().all(|key| known.has(key));
            if (set.is_of_addresses() && (scope.records.contains(&name) || ours)) || name == marker
            {
                let key = Key::new(format!("record/{name}"));
                found.add(global(key, name, BTreeMap::new(), Spec::Record(record)));
            } else if scope.managed && !is_apex(set.first(), &scope.name) {
                let line = format!("{} {name}", set.first().r#type().as_str());
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

pub(super) async fn tags_of(
    route53: &Route53,
    kind: TagResourceType,
    id: &str,
) -> Result<BTreeMap<String, String>, CloudError> {
    let request = (route53.read.list_tags_for_resource())
        .resource_type(kind)
        .resource_id(id);
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
pub(super) async fn record_sets(
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
        if is_ours(&zone, &tags_of(route53, TAGGED, &id).await?, topology) {
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
    set_tags(route53, TAGGED, &id, &resource.tags).await?;
    Ok(Handle { id, address: None })
}

/// Tags a zone.
pub(super) async fn tag(
    clients: &Clients,
    zone: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), CloudError> {
    set_tags(clients.route53(), TAGGED, zone, tags).await
}

pub(super) async fn set_tags(
    route53: &Route53,
    kind: TagResourceType,
    id: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), CloudError> {
    let tags = tags.iter();
    let tags = tags.map(|(key, value)| Tag::builder().key(key).value(value).build());
    let request = (route53.write.change_tags_for_resource())
        .resource_type(kind)
        .resource_id(id)
        .set_add_tags(Some(tags.collect()));
    call!("route53:ChangeTagsForResource", None, request)?;
    Ok(())
}

/// The zone that holds a name: the longest suffix that has one.
pub(super) async fn zone_of(route53: &Route53, name: &str) -> Result<Option<String>, CloudError> {
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
