//! Records and the record sets that they are made of: one, or one for each
//! answer that health checks can choose.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use aws_sdk_route53::types::{
    ChangeAction, ResourceRecordSet, ResourceRecordSetFailover as Failover, RrType,
};

use super::{
    Clients, Route53,
    ids::id,
    records::{address_set, change},
    zone::{record_sets, without_dot, zone_of},
};
use crate::{
    ports::cloud::{self, CloudError, Fault, Handle},
    provision::resource::{AddressRecord, Found, Key, Rank, Spec},
};

/// What record sets refer to, by what they say.
pub(super) struct Known<'a> {
    pub addresses: &'a BTreeMap<Ipv4Addr, Key>,
    pub checks: &'a BTreeMap<String, Key>,
}

impl Known<'_> {
    /// Whether the address is one of the deployment's.
    pub(super) fn has(&self, address: &Key) -> bool {
        self.addresses.values().any(|known| known == address)
    }
}

/// The record sets of one record, the preferred one first.
#[derive(Debug)]
pub(super) struct Joined(Vec<ResourceRecordSet>);

/// Puts together what is chosen from by health checks; all others, also those
/// that are chosen by other rules, stay alone.
pub(super) fn joined(sets: Vec<ResourceRecordSet>) -> Vec<Joined> {
    let mut all: Vec<Joined> = Vec::new();
    for set in sets {
        let same = |other: &&mut Joined| {
            let first = other.first();
            is_ranked(&set)
                && is_ranked(first)
                && first.name() == set.name()
                && first.r#type() == set.r#type()
        };
        match all.iter_mut().find(same) {
            Some(other) => other.0.push(set),
            None => all.push(Joined(vec![set])),
        }
    }
    for joined in &mut all {
        joined
            .0
            .sort_by_key(|set| set.failover() != Some(&Failover::Primary));
    }
    all
}

fn is_ranked(set: &ResourceRecordSet) -> bool {
    set.failover().is_some()
}

impl Joined {
    pub(super) fn first(&self) -> &ResourceRecordSet {
        self.0.first().expect("nothing is joined of nothing")
    }

    /// A record of addresses as we make them.
    pub(super) fn is_of_addresses(&self) -> bool {
        let first = self.first();
        first.r#type() == &RrType::A && (is_ranked(first) || first.set_identifier().is_none())
    }

    pub(super) fn read(&self, known: &Known<'_>) -> AddressRecord {
        let first = self.first();
        let ranks: Vec<Rank> = match is_ranked(first) {
            true => self.0.iter().map(|set| rank(set, known)).collect(),
            false => Vec::new(),
        };
        let ttl = first.ttl().and_then(|ttl| u64::try_from(ttl).ok());
        AddressRecord {
            zone: Key::new("zone"),
            name: without_dot(first.name()).to_owned(),
            ttl: Duration::from_secs(ttl.unwrap_or(0)),
            addresses: self.0.iter().flat_map(|set| values(set, known)).collect(),
            alternatives: Vec::new(),
            ranks,
        }
    }
}

fn rank(set: &ResourceRecordSet, known: &Known<'_>) -> Rank {
    let check = set.health_check_id().unwrap_or("nothing");
    Rank {
        id: set.set_identifier().unwrap_or_default().to_owned(),
        addresses: values(set, known).into_iter().collect(),
        check: known
            .checks
            .get(check)
            .cloned()
            .unwrap_or_else(|| Key::new(check)),
    }
}

/// Elastic IPs of the deployment by logical name, and all else as it is.
fn values(set: &ResourceRecordSet, known: &Known<'_>) -> Vec<Key> {
    let key = |text: &str| {
        let address: Option<Ipv4Addr> = text.parse().ok();
        let ours = address.and_then(|address| known.addresses.get(&address));
        ours.cloned().unwrap_or_else(|| Key::new(text))
    };
    let values = set.resource_records().iter();
    let mut values: Vec<Key> = values.map(|it| key(it.value())).collect();
    if let Some(alias) = set.alias_target() {
        values.push(Key::new(format!("alias {}", alias.dns_name())));
    }
    values
}

/// Gives a record its value.
pub(super) async fn point(
    clients: &Clients,
    record: &AddressRecord,
    known: &cloud::Known,
) -> Result<Handle, CloudError> {
    let zone = id(known, &record.zone)?;
    let wanted = wanted(record, known)?;
    let mut changes = outdated(clients.route53(), zone, record, &wanted).await?;
    changes.extend(wanted.into_iter().map(|set| (ChangeAction::Upsert, set)));
    change(&clients.route53().write, zone, changes).await?;
    Ok(Handle {
        id: record.name.clone(),
        address: None,
    })
}

fn wanted(
    record: &AddressRecord,
    known: &cloud::Known,
) -> Result<Vec<ResourceRecordSet>, CloudError> {
    let set = |keys: &std::collections::BTreeSet<Key>| {
        let addresses: Result<Vec<_>, _> = keys.iter().map(|key| address_of(key, known)).collect();
        Ok::<_, CloudError>(address_set(&record.name, record.ttl, &addresses?))
    };
    if record.ranks.is_empty() {
        return Ok(vec![set(&record.addresses)?]);
    }
    let mut sets = Vec::new();
    for (place, rank) in record.ranks.iter().enumerate() {
        let mut ranked = set(&rank.addresses)?;
        ranked.set_identifier = Some(rank.id.clone());
        ranked.health_check_id = Some(id(known, &rank.check)?.to_owned());
        ranked.failover = Some(match place {
            0 => Failover::Primary,
            _ => Failover::Secondary,
        });
        sets.push(ranked);
    }
    Ok(sets)
}

/// Route 53 takes no ranked set beside a plain one, and no second of a rank:
/// what we made before and no longer want goes in the same batch. Sets that
/// are chosen by other rules are not ours, and keep the batch from passing.
async fn outdated(
    route53: &Route53,
    zone: &str,
    record: &AddressRecord,
    wanted: &[ResourceRecordSet],
) -> Result<Vec<(ChangeAction, ResourceRecordSet)>, CloudError> {
    let sets = record_sets(&route53.read, zone).await?;
    let old = sets.into_iter().filter(|set| {
        let same = |new: &ResourceRecordSet| {
            new.set_identifier() == set.set_identifier() && new.failover() == set.failover()
        };
        let plain = set.set_identifier().is_none();
        without_dot(set.name()) == record.name
            && set.r#type() == &RrType::A
            && (plain || is_ranked(set))
            && !wanted.iter().any(same)
    });
    Ok(old.map(|set| (ChangeAction::Delete, set)).collect())
}

pub(super) fn address_of(key: &Key, known: &cloud::Known) -> Result<Ipv4Addr, CloudError> {
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
pub(super) async fn delete(clients: &Clients, found: &Found) -> Result<(), CloudError> {
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
