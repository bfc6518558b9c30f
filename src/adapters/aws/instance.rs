//! Makes instances.

use std::time::Duration;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, EbsBlockDevice, HttpTokensState, Image, Instance as SdkInstance,
    InstanceMetadataEndpointState, InstanceMetadataOptionsRequest, InstanceType, ResourceType,
    VolumeType,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret;

use super::{
    calls::{call, has_code, pages},
    create::Maker,
    discover::power,
    gather,
    ids::{filter, id, named},
};
use crate::{
    ports::cloud::{CloudError, Fault, Handle},
    provision::resource::Instance,
};

fn handle(instance: &SdkInstance) -> Option<Handle> {
    let address = instance.private_ip_address();
    Some(Handle {
        id: instance.instance_id()?.to_owned(),
        address: address.and_then(|text| text.parse().ok()),
    })
}

/// The living instance of this name, and the ids of dead ones.
pub(super) async fn existing(
    maker: &Maker<'_>,
) -> Result<(Option<Handle>, Vec<String>), CloudError> {
    let all = gather::instances(maker.at, named(&maker.creation.resource.tags)).await?;
    let alive = all.iter().find(|it| power(it).is_some()).and_then(handle);
    let dead = all.iter().filter(|it| power(it).is_none());
    let mut dead: Vec<String> = (dead.filter_map(|it| it.instance_id()))
        .map(str::to_owned)
        .collect();
    dead.sort();
    Ok((alive, dead))
}

/// How often a request under the same name is made with another token.
const GENERATIONS: u32 = 3;

/// Runs the instance.
pub(super) async fn make(maker: &Maker<'_>, wanted: &Instance) -> Result<Handle, CloudError> {
    let image = image(maker, wanted).await?;
    let (_, dead) = existing(maker).await?;
    let dead = dead.join(",");
    for generation in 0..GENERATIONS {
        match run(maker, wanted, &image, &dead, generation).await {
            // An earlier request with this token was done, with another host
            // key. Either its instance cannot be seen yet, or it lived and
            // has been forgotten since.
            Err(error) if has_code(&error, "IdempotentParameterMismatch") => {
                if let Some(handle) = appearing(maker).await? {
                    return Ok(handle);
                }
            }
            other => return other,
        }
    }
    Err(maker.no_id("ec2:RunInstances"))
}

async fn appearing(maker: &Maker<'_>) -> Result<Option<Handle>, CloudError> {
    for seconds in [1, 2, 4, 8] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        if let (Some(handle), _) = existing(maker).await? {
            return Ok(Some(handle));
        }
    }
    Ok(None)
}

async fn run(
    maker: &Maker<'_>,
    wanted: &Instance,
    image: &Image,
    dead: &str,
    generation: u32,
) -> Result<Handle, CloudError> {
    let subnet = id(maker.known, &wanted.subnet)?;
    let mut groups = Vec::new();
    for group in &wanted.groups {
        groups.push(id(maker.known, group)?.to_owned());
    }
    let user_data = maker.creation.user_data.as_ref();
    let user_data = user_data.map(|text| STANDARD.encode(text.expose_secret()));
    let metadata = InstanceMetadataOptionsRequest::builder()
        .http_tokens(HttpTokensState::Required)
        .http_endpoint(InstanceMetadataEndpointState::Enabled)
        .http_put_response_hop_limit(1)
        .build();
    let request = (maker.at.write.run_instances())
        .image_id(image.image_id().unwrap_or_default())
        .instance_type(InstanceType::from(wanted.instance_type.as_str()))
        .min_count(1)
        .max_count(1)
        .key_name(id(maker.known, &wanted.key_pair)?)
        .subnet_id(subnet)
        .set_security_group_ids(Some(groups))
        .set_private_ip_address(wanted.address.map(|it| it.to_string()))
        .set_user_data(user_data)
        .metadata_options(metadata)
        .block_device_mappings(root_volume(image, wanted.disk_gib))
        .client_token(maker.token(&[subnet, dead, &generation.to_string()]))
        .tag_specifications(maker.tagged(ResourceType::Instance))
        .tag_specifications(maker.tagged(ResourceType::Volume));
    let made = call!("ec2:RunInstances", &maker.at.region, request)?;
    let instance = made.instances().first().and_then(handle);
    instance.ok_or_else(|| maker.no_id("ec2:RunInstances"))
}

fn root_volume(image: &Image, gib: Option<u32>) -> BlockDeviceMapping {
    let volume = EbsBlockDevice::builder()
        .set_volume_size(gib.and_then(|gib| i32::try_from(gib).ok()))
        .volume_type(VolumeType::Gp3)
        .encrypted(true)
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder()
        .device_name(image.root_device_name().unwrap_or("/dev/xvda"))
        .ebs(volume)
        .build()
}

/// The newest available image of the owner with that name.
async fn image(maker: &Maker<'_>, wanted: &Instance) -> Result<Image, CloudError> {
    let Some(wanted) = &wanted.image else {
        return Err(maker.no_id("ec2:DescribeImages"));
    };
    let request = (maker.at.read.describe_images())
        .owners(&wanted.owner)
        .filters(filter("name", [wanted.name.as_str()]))
        .filters(filter("state", ["available"]));
    let images = pages!("ec2:DescribeImages", &maker.at.region, request)?;
    let newest = images
        .into_iter()
        .max_by(|a, b| a.creation_date().cmp(&b.creation_date()));
    newest.ok_or_else(|| CloudError {
        call: "ec2:DescribeImages".to_owned(),
        region: Some(maker.at.region.clone()),
        fault: Fault::Refused,
        message: format!(
            "owner {} has no available image named {} here; correct `provision.image`",
            wanted.owner, wanted.name
        ),
    })
}
