//! What an error of the SDK means.

use std::error::Error;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use crate::ports::cloud::Fault;

/// The kind of failure, and `CODE: message`.
pub(super) fn read<E>(error: &SdkError<E>) -> (Fault, String)
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().unwrap_or_default();
            match (code, message) {
                ("", _) => (of_status(status), format!("HTTP status {status}")),
                (code, "") => (of_code(code, status), code.to_owned()),
                (code, message) => (of_code(code, status), format!("{code}: {message}")),
            }
        }
        other => {
            let chain = chain(other);
            (of_chain(other, &chain), chain)
        }
    }
}

fn chain(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// Without an answer: refused connections are told from lost answers.
fn of_chain<E>(error: &SdkError<E>, chain: &str) -> Fault {
    let chain = chain.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| chain.contains(word));
    if says(&["credential", "identity", "access key"]) {
        Fault::Credentials
    } else if matches!(error, SdkError::ConstructionFailure(_)) {
        Fault::Refused
    } else if says(&[
        "connection refused",
        "dns error",
        "failed to lookup address",
        "network unreachable",
        "no route to host",
        "connect timeout",
        "tcp connect error",
    ]) {
        Fault::Unreachable
    } else {
        Fault::Unclear
    }
}

fn of_status(status: u16) -> Fault {
    match status {
        401 => Fault::Credentials,
        403 => Fault::Denied,
        404 => Fault::NotYet,
        429 => Fault::Throttled,
        500.. => Fault::Unclear,
        _ => Fault::Refused,
    }
}

fn of_code(code: &str, status: u16) -> Fault {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "ThrottledException"
        | "EC2ThrottledException"
        | "TooManyRequestsException"
        | "PriorRequestNotComplete"
        | "BandwidthLimitExceeded"
        | "SlowDown" => Fault::Throttled,
        "InternalError"
        | "InternalFailure"
        | "InternalServiceError"
        | "ServiceUnavailable"
        | "Unavailable"
        | "RequestTimeout"
        | "RequestTimeoutException" => Fault::Unclear,
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" | "NotAuthorized" => {
            Fault::Denied
        }
        "AuthFailure"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "UnrecognizedClientException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "OptInRequired" => Fault::Credentials,
        "DependencyViolation"
        | "InvalidGroup.InUse"
        | "InvalidIPAddress.InUse"
        | "HostedZoneNotEmpty"
        | "ResourceInUse" => Fault::InUse,
        "InsufficientInstanceCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientCapacity"
        | "TooManyHostedZones" => Fault::Quota,
        // An image or type that is not there will not appear.
        "InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable" => Fault::Refused,
        "IncorrectState"
        | "IncorrectInstanceState"
        | "Gateway.NotAttached"
        | "InvalidStateTransition"
        | "InvalidVpcPeeringConnectionState.NotActive"
        | "NatGatewayNotFound"
        | "OperationNotPermitted.Pending"
        | "NoSuchHostedZone" => Fault::NotYet,
        code if code.ends_with(".NotFound") || code.ends_with(".NotFoundException") => {
            Fault::NotYet
        }
        code if code.ends_with("LimitExceeded") => Fault::Quota,
        _ if status >= 500 => Fault::Unclear,
        _ => Fault::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read() {
        for (code, status, expected) in [
            ("RequestLimitExceeded", 503, Fault::Throttled),
            ("AddressLimitExceeded", 400, Fault::Quota),
            ("InvalidVpcID.NotFound", 400, Fault::NotYet),
            ("InvalidAMIID.NotFound", 400, Fault::Refused),
            ("UnauthorizedOperation", 403, Fault::Denied),
            ("AuthFailure", 401, Fault::Credentials),
            ("DependencyViolation", 400, Fault::InUse),
            ("Whatever", 503, Fault::Unclear),
            ("InvalidParameterValue", 400, Fault::Refused),
        ] {
            assert_eq!(of_code(code, status), expected, "{code}");
        }
    }
}
