//! Health checks of Route 53, which ask load balancers from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use aws_sdk_route53::types::{
    HealthCheck as Sdk, HealthCheckConfig, HealthCheckType, TagResourceType,
};
use sha2::{Digest, Sha256};

use super::{
    Clients, Route53,
    calls::{call, pages, unless},
    ids::key_of,
    sets::address_of,
    zone::{set_tags, tags_of},
};
use crate::{
    ports::cloud::{CloudError, Creation, Fault, Handle, Known},
    provision::resource::{Discovered, Found, HealthCheck, Key, Spec, TAG_TOPOLOGY},
};

const TAGGED: TagResourceType = TagResourceType::Healthcheck;

/// A health check of ours with its tags.
#[derive(Debug)]
pub(super) struct FoundCheck {
    key: Key,
    check: Sdk,
    tags: BTreeMap<String, String>,
}

/// Those of a deployment. They are known by their references, which nobody
/// can change: one whose creation was interrupted has no tags yet.
pub(super) async fn discover(
    route53: &Route53,
    topology: &str,
    named: &BTreeSet<Key>,
) -> Result<Vec<FoundCheck>, CloudError> {
    let mut found = Vec::new();
    for check in all(route53).await? {
        if !check.caller_reference().starts_with(&of(topology)) {
            continue;
        }
        let tags = tags_of(route53, TAGGED, check.id()).await?;
        let by_reference = |key: &&Key| {
            let reference = reference(topology, key);
            check.caller_reference().starts_with(&reference)
        };
        let named = named.iter().find(by_reference).cloned();
        let Some(key) = key_of(&tags).or(named) else {
            tracing::warn!(
                id = check.id(),
                "a health check of ours without a name; left alone"
            );
            continue;
        };
        found.push(FoundCheck { key, check, tags });
    }
    Ok(found)
}

async fn all(route53: &Route53) -> Result<Vec<Sdk>, CloudError> {
    let request = route53.read.list_health_checks();
    pages!("route53:ListHealthChecks", None, request)
}

/// What the references of a deployment's health checks begin with; a
/// reference has 64 characters at most.
fn of(topology: &str) -> String {
    format!("hafail/{}/", short(topology))
}

fn reference(topology: &str, key: &Key) -> String {
    format!("{}{}/", of(topology), short(key.as_str()))
}

fn short(text: &str) -> String {
    let sum = Sha256::digest(text);
    sum.iter()
        .take(5)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl FoundCheck {
    /// Adds it. Elastic IPs, by their addresses, must be known.
    pub(super) fn add_to(self, found: &mut Discovered, addresses: &BTreeMap<Ipv4Addr, Key>) {
        let id = self.check.id().to_owned();
        let spec = Spec::HealthCheck(read(&self.check, addresses));
        found.add(Found {
            key: self.key,
            id,
            region: None,
            tags: self.tags,
            address: None,
            spec,
        });
    }

    pub(super) fn id(&self) -> &str {
        self.check.id()
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

fn read(check: &Sdk, addresses: &BTreeMap<Ipv4Addr, Key>) -> HealthCheck {
    let config = check.health_check_config();
    let text = config
        .and_then(|config| config.ip_address())
        .unwrap_or("nothing");
    let address = text
        .parse()
        .ok()
        .and_then(|address: Ipv4Addr| addresses.get(&address));
    let number = |value: Option<i32>| {
        value
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or(0)
    };
    let off = |flag: Option<bool>| flag != Some(true);
    HealthCheck {
        address: address.cloned().unwrap_or_else(|| Key::new(text)),
        port: config
            .and_then(|it| it.port())
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0),
        path: config
            .and_then(|it| it.resource_path())
            .unwrap_or_default()
            .to_owned(),
        interval: Duration::from_secs(number(config.and_then(|it| it.request_interval())).into()),
        threshold: number(config.and_then(|it| it.failure_threshold())),
        in_force: config.is_some_and(|it| off(it.disabled()) && off(it.inverted())),
    }
}

/// Makes the health check, or finds the one that an earlier run made.
pub(super) async fn create(
    clients: &Clients,
    creation: &Creation<'_>,
    wanted: &HealthCheck,
    known: &Known,
) -> Result<Handle, CloudError> {
    let route53 = clients.route53();
    let tags = &creation.resource.tags;
    let topology = tags.get(TAG_TOPOLOGY).map_or("", String::as_str);
    let reference = reference(topology, creation.key);
    let address = address_of(&wanted.address, known)?;
    let before = all(route53).await?;
    let made = before
        .iter()
        .find(|it| it.caller_reference().starts_with(&reference));
    let id = match made {
        Some(made) => {
            update(clients, made.id(), wanted, known).await?;
            made.id().to_owned()
        }
        None => {
            // A reference counts once, also after its check was removed.
            let unlike = uuid::Uuid::now_v7().simple();
            let request = (route53.write.create_health_check())
                .caller_reference(format!("{reference}{unlike}"))
                .health_check_config(config(wanted, address)?);
            let answer = call!("route53:CreateHealthCheck", None, request)?;
            answer
                .health_check()
                .map(|made| made.id().to_owned())
                .unwrap_or_default()
        }
    };
    set_tags(route53, TAGGED, &id, tags).await?;
    Ok(Handle { id, address: None })
}

fn config(wanted: &HealthCheck, address: Ipv4Addr) -> Result<HealthCheckConfig, CloudError> {
    let seconds = i32::try_from(wanted.interval.as_secs()).unwrap_or(i32::MAX);
    let built = HealthCheckConfig::builder()
        .r#type(HealthCheckType::Http)
        .ip_address(address.to_string())
        .port(wanted.port.into())
        .resource_path(&wanted.path)
        .request_interval(seconds)
        .failure_threshold(i32::try_from(wanted.threshold).unwrap_or(i32::MAX))
        .build();
    built.map_err(|error| CloudError {
        call: "route53:CreateHealthCheck".to_owned(),
        region: None,
        fault: Fault::Refused,
        message: error.to_string(),
    })
}

/// Lets it ask as wanted.
pub(super) async fn update(
    clients: &Clients,
    subject: &str,
    wanted: &HealthCheck,
    known: &Known,
) -> Result<(), CloudError> {
    let request = (clients.route53().write.update_health_check())
        .health_check_id(subject)
        .ip_address(address_of(&wanted.address, known)?.to_string())
        .port(wanted.port.into())
        .resource_path(&wanted.path)
        .failure_threshold(i32::try_from(wanted.threshold).unwrap_or(i32::MAX))
        .disabled(false)
        .inverted(false);
    call!("route53:UpdateHealthCheck", None, request)?;
    Ok(())
}

/// Tags it.
pub(super) async fn tag(
    clients: &Clients,
    subject: &str,
    tags: &BTreeMap<String, String>,
) -> Result<(), CloudError> {
    set_tags(clients.route53(), TAGGED, subject, tags).await
}

/// Removes it. Route 53 does not keep one from removal that records use: the
/// order of removals does.
pub(super) async fn delete(clients: &Clients, found: &Found) -> Result<(), CloudError> {
    let request = (clients.route53().write.delete_health_check()).health_check_id(&found.id);
    let result = call!("route53:DeleteHealthCheck", None, request).map(drop);
    unless(result, &["NoSuchHealthCheck"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_short_and_each_its_own() {
        let name = "n".repeat(63);
        let key = |site: &str| Key::new(format!("health-check/{site}"));
        let one = reference(&name, &key("site1"));
        assert!(one.len() + 32 <= 64, "{one}");
        assert!(one.starts_with(&of(&name)));
        assert_ne!(one, reference(&name, &key("site2")));
        assert_ne!(one, reference("other", &key("site1")));
    }
}
