//! From tags to logical names and back.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::{
    ports::cloud::{CloudError, Fault, Known},
    provision::resource::{Key, TAG_RESOURCE, TAG_TOPOLOGY},
};

/// Tags as a map.
pub(super) fn tags(tags: &[Tag]) -> BTreeMap<String, String> {
    let pairs = tags.iter().filter_map(|tag| {
        let (key, value) = (tag.key()?, tag.value()?);
        Some((key.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// The logical name in the tags; where its tag is lost, the one in `Name`.
pub(super) fn key_of(tags: &BTreeMap<String, String>) -> Option<Key> {
    if let Some(key) = tags.get(TAG_RESOURCE) {
        return Some(Key::new(key.as_str()));
    }
    let name = tags.get("Name")?;
    let (_, key) = name.split_once('/')?;
    Some(Key::new(key))
}

/// The ids of the deployment's resources, to read references by.
#[derive(Debug, Default)]
pub(super) struct Ids(HashMap<String, Key>);

impl Ids {
    pub(super) fn add(&mut self, id: Option<&str>, tags: &[Tag]) {
        if let (Some(id), Some(key)) = (id, key_of(&self::tags(tags))) {
            self.0.insert(id.to_owned(), key);
        }
    }

    /// The logical name; the id itself where it is none of ours.
    pub(super) fn key(&self, id: Option<&str>) -> Key {
        let id = id.unwrap_or("unknown");
        self.0.get(id).cloned().unwrap_or_else(|| Key::new(id))
    }
}

/// Finds by the deployment's tag.
pub(super) fn of_topology(topology: &str) -> Vec<Filter> {
    vec![filter(&format!("tag:{TAG_TOPOLOGY}"), [topology])]
}

/// Finds one resource of ours, even where the deployment's tag is lost. A
/// name alone proves nothing: others may have chosen it too.
pub(super) fn named(tags: &BTreeMap<String, String>) -> Vec<Filter> {
    let name = tags.get("Name").map_or("", String::as_str);
    of_names([name])
}

/// Finds resources of ours by their names.
pub(super) fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Filter> {
    vec![filter("tag:Name", names), filter("tag-key", [TAG_RESOURCE])]
}

/// A filter of a describe call.
pub(super) fn filter<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Filter {
    let values = values.into_iter().map(str::to_owned).collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}

/// The tags of a resource at its creation.
pub(super) fn specification<'a>(
    kind: ResourceType,
    tags: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(list(tags)))
        .build()
}

/// Tags as the API wants them.
pub(super) fn list<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Vec<Tag> {
    let each = tags.into_iter();
    each.map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// The id of a resource that exists by now.
pub(super) fn id<'a>(known: &'a Known, key: &'a Key) -> Result<&'a str, CloudError> {
    known
        .get(key)
        .map(|handle| handle.id.as_str())
        .ok_or_else(|| CloudError {
            call: "hafail".to_owned(),
            region: None,
            fault: Fault::NotYet,
            message: format!("{key} does not exist yet"),
        })
}
