//! Instances as failovers need them: find, describe, power off, start.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{
    Address, Instance, InstanceStateName, InstanceStatusSummary, SummaryStatus, Tag,
};

use super::{
    Regional,
    calls::{call, pages},
    ids::{filter, key_of, of_topology, tags},
};
use crate::{
    ports::cloud::{CloudError, MachineFacts},
    provision::resource::TAG_HOST_KEY,
};

/// The instances of a deployment in a region, terminated ones excepted.
///
/// # Errors
/// The region did not answer within seconds.
pub async fn facts(at: &Regional, topology: &str) -> Result<Vec<MachineFacts>, CloudError> {
    let alive = ["pending", "running", "stopping", "stopped"];
    let mut filters = of_topology(topology);
    filters.push(filter("instance-state-name", alive));
    let instances = async {
        let request = at.quick.describe_instances().set_filters(Some(filters));
        pages!("ec2:DescribeInstances", &at.region, request)
    };
    let addresses = async {
        let filters = of_topology(topology);
        let request = at.quick.describe_addresses().set_filters(Some(filters));
        call!("ec2:DescribeAddresses", &at.region, request)
    };
    let (reservations, addresses) = tokio::try_join!(instances, addresses)?;
    let public = by_instance(addresses.addresses());
    let mut instances: Vec<&Instance> = reservations.iter().flat_map(|it| it.instances()).collect();
    instances.sort_by_key(|it| it.launch_time().map(|time| time.as_nanos()));
    Ok(instances
        .into_iter()
        .filter_map(|it| fact(it, &public))
        .collect())
}

fn by_instance(addresses: &[Address]) -> BTreeMap<&str, &str> {
    let pairs = addresses.iter().filter_map(|address| {
        let instance = address.instance_id()?;
        Some((instance, address.public_ip()?))
    });
    pairs.collect()
}

fn fact(instance: &Instance, public: &BTreeMap<&str, &str>) -> Option<MachineFacts> {
    let tags = tags(instance.tags());
    let id = instance.instance_id()?;
    Some(MachineFacts {
        key: key_of(&tags)?,
        id: id.to_owned(),
        state: state_of(instance),
        private_address: instance.private_ip_address().and_then(|it| it.parse().ok()),
        public_address: public.get(id).and_then(|it| it.parse().ok()),
        host_key: tags.get(TAG_HOST_KEY).cloned(),
    })
}

fn state_of(instance: &Instance) -> String {
    let name = instance.state().and_then(|state| state.name());
    name.map_or("unknown", InstanceStateName::as_str).to_owned()
}

/// The state of an instance (`pending`, `running`, `stopping`, `stopped`,
/// `shutting-down` or `terminated`) and its tags; none: there is no such
/// instance.
///
/// # Errors
/// The region did not answer within seconds.
pub async fn state(
    at: &Regional,
    instance: &str,
) -> Result<Option<(String, BTreeMap<String, String>)>, CloudError> {
    let request = at.quick.describe_instances().instance_ids(instance);
    let answer = call!("ec2:DescribeInstances", &at.region, request)?;
    let mut instances = answer.reservations().iter().flat_map(|it| it.instances());
    Ok(instances.next().map(|it| (state_of(it), tags(it.tags()))))
}

/// Whether the cloud's own checks say that the instance or what it runs on
/// does not work. Only of running instances.
///
/// # Errors
/// The region did not answer within seconds.
pub async fn is_impaired(at: &Regional, instance: &str) -> Result<bool, CloudError> {
    let request = at.quick.describe_instance_status().instance_ids(instance);
    let answer = call!("ec2:DescribeInstanceStatus", &at.region, request)?;
    let impaired = |status: Option<&InstanceStatusSummary>| {
        status.and_then(InstanceStatusSummary::status) == Some(&SummaryStatus::Impaired)
    };
    let mut statuses = answer.instance_statuses().iter();
    Ok(statuses.any(|it| impaired(it.instance_status()) || impaired(it.system_status())))
}

/// Sets a tag of an instance.
///
/// # Errors
/// The region did not answer within seconds, or refused.
pub async fn set_tag(
    at: &Regional,
    instance: &str,
    name: &str,
    value: &str,
) -> Result<(), CloudError> {
    let tag = Tag::builder().key(name).value(value).build();
    let request = at.quick.create_tags().resources(instance).tags(tag);
    call!("ec2:CreateTags", &at.region, request)?;
    Ok(())
}

/// Asks for a stop without a shutdown of the operating system, and returns at
/// once. Harmless on an instance that is stopped or stopping.
///
/// # Errors
/// The region did not answer within seconds, or refused.
pub async fn power_off(at: &Regional, instance: &str) -> Result<(), CloudError> {
    let request = (at.quick.stop_instances())
        .instance_ids(instance)
        .force(true);
    call!("ec2:StopInstances", &at.region, request)?;
    Ok(())
}

/// Asks for a start, and returns at once. Harmless on a running instance.
///
/// # Errors
/// The region did not answer within seconds, or refused; an instance that is
/// still stopping is refused as [`crate::ports::cloud::Fault::NotYet`].
pub async fn power_on(at: &Regional, instance: &str) -> Result<(), CloudError> {
    let request = at.quick.start_instances().instance_ids(instance);
    call!("ec2:StartInstances", &at.region, request)?;
    Ok(())
}
