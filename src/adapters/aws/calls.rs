//! How calls are made: every one is named, so that a refusal can say which
//! permission is missing, and so that a test can compare the names with the
//! IAM policy.

/// Sends a request: `call!("ec2:StopInstances", region, client.stop_instances())`.
/// The name is also that of the permission.
macro_rules! call {
    ($name:literal, $region:expr, $request:expr) => {
        $request
            .send()
            .await
            .map_err(|error| $crate::adapters::aws::calls::failed($name, $region, error))
    };
}

/// Asks for all pages: `pages!("ec2:DescribeVpcs", region, client.describe_vpcs())`.
macro_rules! pages {
    ($name:literal, $region:expr, $request:expr) => {
        $request
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| $crate::adapters::aws::calls::failed($name, $region, error))
    };
}

pub(super) use call;
pub(super) use pages;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use super::fault;
use crate::{ids::Region, ports::cloud::CloudError};

/// The failure of a call in hafail's words.
pub(super) fn failed<'a, E>(
    call: &str,
    region: impl Into<Option<&'a Region>>,
    error: SdkError<E>,
) -> CloudError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (fault, message) = fault::read(&error);
    CloudError {
        call: call.to_owned(),
        region: region.into().cloned(),
        fault,
        message,
    }
}

/// Whether the cloud answered with this error code; read from the message.
pub(super) fn has_code(error: &CloudError, code: &str) -> bool {
    error.message.split(':').next() == Some(code)
}

/// Takes errors of these codes for success: the effect is there already.
pub(super) fn unless(result: Result<(), CloudError>, codes: &[&str]) -> Result<(), CloudError> {
    match result {
        Err(error) if codes.iter().any(|code| has_code(&error, code)) => Ok(()),
        other => other,
    }
}
