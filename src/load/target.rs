//! Where votes go: a plain HTTP URL, taken apart.

use std::str::FromStr;

use serde::Serialize;

use crate::topology::{RecordTarget, Topology};

/// An HTTP address of the voting page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Target {
    /// Name or address.
    pub host: String,
    pub port: u16,
    /// Begins with `/`.
    pub path: String,
}

impl Target {
    /// The voting page as users reach it: the first name that follows the
    /// active site, and the port of the service `vote` (or, where there is
    /// none of that name, of the first one that is served).
    #[must_use]
    pub fn of(topology: &Topology) -> Option<Self> {
        let mut records = topology.dns.iter().flat_map(|dns| &dns.records);
        let record = records.find(|record| record.target == RecordTarget::Active)?;
        let mut services = topology.stack.iter();
        let port = services
            .clone()
            .find(|service| service.name == "vote")
            .and_then(|service| service.public_port)
            .or_else(|| services.find_map(|service| service.public_port))?;
        Some(Self {
            host: record.name.clone(),
            port,
            path: "/".into(),
        })
    }

    /// The value of the header `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        match self.port {
            80 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

/// Text that is no address of a voting page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address such as http://vote.example.org:80/")]
pub struct InvalidTarget(String);

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let invalid = || InvalidTarget(text.to_owned());
        let uri: hyper::Uri = text.parse().map_err(|_| invalid())?;
        let plain = uri.scheme_str() == Some("http");
        let host = uri.host().filter(|host| plain && !host.is_empty());
        Ok(Self {
            host: host.ok_or_else(invalid)?.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for (text, printed) in [
            ("http://vote.example.org", "http://vote.example.org/"),
            ("http://vote.example.org:80/", "http://vote.example.org/"),
            (
                "http://127.0.0.1:8080/vote?x=1",
                "http://127.0.0.1:8080/vote?x=1",
            ),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), printed);
        }
        for text in [
            "",
            "vote.example.org",
            "https://vote.example.org",
            "http://",
            "ftp://a/",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
