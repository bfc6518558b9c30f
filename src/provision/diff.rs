//! What has to change so that what was found becomes what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    compare,
    resource::{
        AddressRecord, Discovered, Found, HealthCheck, Key, Resource, Resources, Rule, Spec,
    },
};
use crate::ids::Region;

/// All that would change, by logical name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    pub entries: BTreeMap<Key, Change>,
    /// Resources that are as they should be.
    pub unchanged: usize,
}

/// The change of one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    pub region: Option<Region>,
    pub kind: &'static str,
    pub what: What,
}

/// What happens to a resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum What {
    Create {
        resource: Resource,
        edits: Vec<Edit>,
    },
    Update {
        resource: Resource,
        id: String,
        edits: Vec<Edit>,
    },
    /// Removed and made anew, because the user said that it may be.
    Replace {
        why: String,
        old: Box<Found>,
        resource: Resource,
        edits: Vec<Edit>,
    },
    Delete {
        found: Found,
        edits: Vec<Edit>,
    },
    /// Needs a decision that provisioning does not take.
    Blocked {
        why: String,
        remedy: String,
    },
}

/// One aspect that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Edit {
    pub field: String,
    pub old: String,
    pub new: String,
    pub update: Update,
}

/// One call on an existing resource. Each is "make it so": done twice, the
/// second finds nothing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    Tag(BTreeMap<String, String>),
    EnableDns,
    Attach { vpc: Key },
    Detach { vpc: Key },
    Associate { instance: Key },
    Disassociate,
    Accept { region: Region },
    Allow(BTreeSet<Rule>),
    Forbid(BTreeSet<Rule>),
    Route { to: IpNet, via: Key },
    DropRoute { to: IpNet },
    Link { subnet: Key },
    Unlink { subnet: Key },
    Groups(BTreeSet<Key>),
    Start,
    Check(HealthCheck),
    Point(AddressRecord),
}

impl Update {
    /// What it refers to.
    #[must_use]
    pub fn refers_to(&self) -> BTreeSet<Key> {
        let peers = |rules: &BTreeSet<Rule>| rules.iter().filter_map(compare::group_of).collect();
        match self {
            Self::Attach { vpc } => BTreeSet::from([vpc.clone()]),
            Self::Associate { instance } => BTreeSet::from([instance.clone()]),
            Self::Allow(rules) => peers(rules),
            Self::Route { via, .. } => BTreeSet::from([via.clone()]),
            Self::Link { subnet } => BTreeSet::from([subnet.clone()]),
            Self::Groups(groups) => groups.clone(),
            Self::Check(check) => BTreeSet::from([check.address.clone()]),
            Self::Point(record) => record.refers_to(),
            Self::Tag(_)
            | Self::EnableDns
            | Self::Detach { .. }
            | Self::Disassociate
            | Self::Accept { .. }
            | Self::Forbid(_)
            | Self::DropRoute { .. }
            | Self::Unlink { .. }
            | Self::Start => BTreeSet::new(),
        }
    }
}

impl Changes {
    /// Nothing to do and nothing to decide.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The changes that need a decision, with why and what to do.
    pub fn blocked(&self) -> impl Iterator<Item = (&Key, &str, &str)> {
        self.entries
            .iter()
            .filter_map(|(key, change)| match &change.what {
                What::Blocked { why, remedy } => Some((key, why.as_str(), remedy.as_str())),
                _ => None,
            })
    }
}

/// Compares what is wanted with what was found. Instances in `replace` are
/// removed and made anew, whatever differs.
#[must_use]
pub fn diff(wanted: &Resources, found: &Discovered, replace: &BTreeSet<Key>) -> Changes {
    let mut changes = Changes::default();
    let mut new: BTreeSet<Key> = (wanted.entries.keys())
        .filter(|key| !found.entries.contains_key(*key))
        .cloned()
        .collect();
    new.extend(replace.iter().cloned());
    for (key, resource) in &wanted.entries {
        let what = match found.entries.get(key) {
            None => Some(create(resource)),
            Some(found) => update(key, resource, found, &new),
        };
        changes.add(key, resource.region.as_ref(), &resource.spec, what);
    }
    for (key, found) in &found.entries {
        let spared = is_foreign_zone(&found.spec) || is_marker(key);
        if !wanted.entries.contains_key(key) && !spared {
            changes.add(key, found.region.as_ref(), &found.spec, Some(delete(found)));
        }
    }
    for double in &found.doubles {
        let what = What::Blocked {
            why: format!("{} carries the tags of {} too", double.id, double.key),
            remedy: format!(
                "find out which of the two is in use and remove the other, {} or {}",
                double.id,
                found
                    .entries
                    .get(&double.key)
                    .map_or("?", |found| &found.id)
            ),
        };
        let key = Key::new(format!("{} ({})", double.key, double.id));
        changes.add(&key, double.region.as_ref(), &double.spec, Some(what));
    }
    changes
}

/// The removal of everything that was found and is ours, doubles too. In a
/// zone that is the user's own, a record is ours while it has the value that
/// we gave it.
#[must_use]
pub fn removal(wanted: &Resources, found: &Discovered) -> Changes {
    let mut changes = Changes::default();
    let own_zone = |found: &Found| is_foreign_zone(&found.spec);
    let foreign = found.entries.values().any(own_zone);
    for found in found.entries.values() {
        if own_zone(found) || (foreign && !has_our_value(wanted, found)) {
            continue;
        }
        changes.add(
            &found.key,
            found.region.as_ref(),
            &found.spec,
            Some(delete(found)),
        );
    }
    for double in &found.doubles {
        let key = Key::new(format!("{} ({})", double.key, double.id));
        changes.add(
            &key,
            double.region.as_ref(),
            &double.spec,
            Some(delete(double)),
        );
    }
    changes
}

fn has_our_value(wanted: &Resources, found: &Found) -> bool {
    let Spec::Record(record) = &found.spec else {
        return true;
    };
    match wanted
        .entries
        .get(&found.key)
        .map(|resource| &resource.spec)
    {
        Some(Spec::Record(ours)) => {
            record.addresses == ours.addresses || ours.alternatives.contains(&record.addresses)
        }
        _ => is_marker(&found.key),
    }
}

/// The record in which failovers keep the epoch of the newest change of the
/// zone. Provisioning leaves it alone and removes it at the end.
fn is_marker(key: &Key) -> bool {
    key.as_str().starts_with("record/_hafail.")
}

/// A zone that is the user's own, expected to exist.
fn is_foreign_zone(spec: &Spec) -> bool {
    matches!(spec, Spec::Zone { managed: false, .. })
}

impl Changes {
    fn add(&mut self, key: &Key, region: Option<&Region>, spec: &Spec, what: Option<What>) {
        let Some(what) = what else {
            self.unchanged += 1;
            return;
        };
        let change = Change {
            region: region.cloned(),
            kind: spec.kind(),
            what,
        };
        self.entries.insert(key.clone(), change);
    }
}

fn create(resource: &Resource) -> What {
    if let Spec::Zone {
        name,
        managed: false,
    } = &resource.spec
    {
        return What::Blocked {
            why: format!("the hosted zone {name} does not exist"),
            remedy: "create the zone, or let hafail do it: `manage_zone: true`; or leave `dns` out of the topology and point names yourself".to_owned(),
        };
    }
    What::Create {
        edits: compare::specs(&resource.spec, &resource.spec.bare()).edits,
        resource: resource.clone(),
    }
}

fn update(key: &Key, resource: &Resource, found: &Found, new: &BTreeSet<Key>) -> Option<What> {
    let present = compare::without(&found.spec, new);
    let comparison = compare::specs(&resource.spec, &present);
    if new.contains(key) {
        return Some(What::Replace {
            why: comparison
                .fixed
                .unwrap_or_else(|| "asked for with --replace".to_owned()),
            old: Box::new(found.clone()),
            edits: compare::specs(&resource.spec, &resource.spec.bare()).edits,
            resource: resource.clone(),
        });
    }
    if let Some(why) = comparison.fixed {
        let remedy = compare::remedy(&resource.spec);
        return Some(What::Blocked { why, remedy });
    }
    // Tags first: permissions may depend on them.
    let mut edits: Vec<Edit> = compare::tags(&resource.tags, found).into_iter().collect();
    edits.extend(comparison.edits);
    let update = |edits| What::Update {
        resource: resource.clone(),
        id: found.id.clone(),
        edits,
    };
    (!edits.is_empty()).then(|| update(edits))
}

fn delete(found: &Found) -> What {
    What::Delete {
        edits: compare::specs(&found.spec.bare(), &found.spec).edits,
        found: found.clone(),
    }
}
