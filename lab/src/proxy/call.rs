//! What a request asks of which service. Pure.

use std::collections::BTreeSet;

use axum::http::{HeaderMap, Method, Uri, header};

/// An AWS service that the lab treats in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Ec2,
    Route53,
    /// Passed through.
    Other,
}

/// One API call.
#[derive(Clone, Debug)]
pub struct Call {
    pub service: Service,
    /// From the credential scope.
    pub region: String,
    /// As in an IAM policy, for example `RunInstances`.
    pub action: String,
    /// Form fields of a query API.
    pub parameters: Vec<(String, String)>,
    /// Whether it may change something.
    pub changes: bool,
}

impl Call {
    /// Reads a call from a signed request. The signature itself is not checked.
    #[must_use]
    pub fn parse(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let (region, service) = scope(headers).unwrap_or_default();
        let parameters = form(body);
        let action = parameters
            .iter()
            .find(|(k, _)| k == "Action")
            .map(|(_, v)| v.clone());
        let service = match service.as_str() {
            "ec2" => Service::Ec2,
            "route53" => Service::Route53,
            _ => Service::Other,
        };
        let action = match service {
            Service::Route53 => route53_action(method, uri.path()),
            Service::Ec2 | Service::Other => {
                action.unwrap_or_else(|| format!("{method} {}", uri.path()))
            }
        };
        let changes = match service {
            Service::Ec2 => !crate::reconcile::affected(&action, &parameters).is_empty(),
            Service::Route53 => !super::reads(method),
            Service::Other => false,
        };
        Self {
            service,
            region,
            action,
            parameters,
            changes,
        }
    }

    /// A single parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// All members of a list parameter, `Name.1`, `Name.2` and so on.
    #[must_use]
    pub fn list(&self, name: &str) -> BTreeSet<String> {
        let member = |key: &str| {
            key.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.'))
                .is_some_and(|n| n.parse::<u32>().is_ok())
        };
        self.parameters
            .iter()
            .filter(|(k, _)| member(k))
            .map(|(_, v)| v.clone())
            .collect()
    }

    /// Whether the caller only asks if it might.
    #[must_use]
    pub fn dry_run(&self) -> bool {
        self.parameter("DryRun") == Some("true")
    }
}

/// Region and service of `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
fn scope(headers: &HeaderMap) -> Option<(String, String)> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let credential = text.split("Credential=").nth(1)?.split(',').next()?;
    let mut parts = credential.split('/').skip(2);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    let Ok(text) = std::str::from_utf8(body) else {
        return Vec::new();
    };
    if !text.contains("Action=") {
        return Vec::new();
    }
    text.split('&')
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

/// Undoes the encoding of `application/x-www-form-urlencoded`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = (*first == b'%')
            .then(|| std::str::from_utf8(tail.get(..2)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, hex) {
            (_, Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', None) => bytes.push(b' '),
            (other, None) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Names of the REST calls that clients of the lab use; others keep method and path.
fn route53_action(method: &Method, path: &str) -> String {
    let parts: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    let name = match (method.as_str(), parts.as_slice()) {
        ("POST", ["hostedzone"]) => "CreateHostedZone",
        ("GET", ["hostedzone"]) => "ListHostedZones",
        ("GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
        ("GET", ["hostedzone", _]) => "GetHostedZone",
        ("DELETE", ["hostedzone", _]) => "DeleteHostedZone",
        ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("GET", ["change", _]) => "GetChange",
        ("POST", ["healthcheck"]) => "CreateHealthCheck",
        ("POST", ["healthcheck", _]) => "UpdateHealthCheck",
        ("DELETE", ["healthcheck", _]) => "DeleteHealthCheck",
        ("GET", ["healthcheck"]) => "ListHealthChecks",
        ("GET", ["healthcheck", _]) => "GetHealthCheck",
        ("POST", ["tags", _]) => "ListTagsForResources",
        ("GET", ["tags", _, _]) => "ListTagsForResource",
        ("POST", ["tags", _, _]) => "ChangeTagsForResource",
        _ => return format!("{method} {path}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(service: &str) -> HeaderMap {
        let value = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261120/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn an_ec2_call_is_read_from_its_form() {
        let body = b"Action=StopInstances&InstanceId.1=i-1&InstanceId.2=i-2&Force=true&X=a%20b+c%";
        let call = Call::parse(&Method::POST, &Uri::from_static("/"), &headers("ec2"), body);
        assert_eq!(
            (call.action.as_str(), call.region.as_str()),
            ("StopInstances", "eu-west-1")
        );
        assert_eq!(
            call.list("InstanceId"),
            BTreeSet::from(["i-1".into(), "i-2".into()])
        );
        assert_eq!(call.parameter("X"), Some("a b c%"));
        assert!(call.changes && !call.dry_run());
    }

    #[test]
    fn a_route_53_call_is_read_from_its_path() {
        let uri = Uri::from_static("/2013-04-01/hostedzone/Z1/rrset");
        let change = Call::parse(&Method::POST, &uri, &headers("route53"), b"<xml/>");
        assert_eq!(change.action, "ChangeResourceRecordSets");
        assert!(change.changes);
        let list = Call::parse(&Method::GET, &uri, &headers("route53"), b"");
        assert!(!list.changes);
    }
}
