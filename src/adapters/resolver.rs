//! Name resolution of our own: by the configured resolvers, keeping answers
//! no longer than they live, and asking single servers on purpose. The
//! system's resolver hides both.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures::StreamExt;
use hickory_resolver::{
    net::{runtime::TokioRuntimeProvider, udp::UdpClientStream, xfer::DnsHandle},
    proto::{
        op::{DnsRequestOptions, DnsResponse, Query, ResponseCode},
        rr::{Name, RData, RecordType},
    },
};
use tokio::{sync::Mutex, time::Instant};

/// Names the resolvers to use instead of those of the system: a comma list of
/// `address` or `address:port`.
pub const RESOLVERS: &str = "HAFAIL_RESOLVERS";

/// How long one server may take to answer.
const DEADLINE: Duration = Duration::from_millis(1500);

/// How long a failure is remembered, so that many callers do not each wait
/// for the same silent server.
const FAILURE_LIVES: Duration = Duration::from_millis(500);

/// Why a name has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    #[error("`{0}` is not a name")]
    Name(String),
    #[error(
        "`{0}` is not the address of a DNS server; {RESOLVERS} is a comma list of address:port"
    )]
    Server(String),
    #[error("cannot read the system's resolvers: {0}")]
    System(String),
    #[error("{server} did not answer for {name}: {why}")]
    NoAnswer {
        server: SocketAddr,
        name: String,
        why: String,
    },
    #[error("{server} answered {code} for {name}")]
    Refused {
        server: SocketAddr,
        name: String,
        code: String,
    },
    #[error("{server} knows no address of {name}")]
    NoAddress { server: SocketAddr, name: String },
}

/// An answer of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Addresses, aliases followed.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// The shortest time to live of what led there.
    pub ttl: Duration,
    /// The server has the zone itself.
    pub authoritative: bool,
}

/// Asks `server` for the addresses of `name`: recursively, or only for what it
/// knows itself.
///
/// # Errors
/// No answer in time, another code than NOERROR, or no address in it.
pub async fn ask(server: SocketAddr, name: &str, recursive: bool) -> Result<Answer, DnsError> {
    let response = exchange(server, name, RecordType::A, recursive).await?;
    let addresses: BTreeSet<_> = response.answers.iter().filter_map(address).collect();
    if addresses.is_empty() {
        return Err(DnsError::NoAddress {
            server,
            name: name.to_owned(),
        });
    }
    let ttl = response.answers.iter().map(|record| record.ttl).min();
    Ok(Answer {
        addresses,
        ttl: Duration::from_secs(u64::from(ttl.unwrap_or(0))),
        authoritative: response.metadata.authoritative,
    })
}

fn address(record: &hickory_resolver::proto::rr::Record) -> Option<Ipv4Addr> {
    match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    }
}

async fn name_servers(server: SocketAddr, zone: &str) -> Result<Vec<String>, DnsError> {
    let response = exchange(server, zone, RecordType::NS, true).await?;
    let names = response
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::NS(name) => Some(name.0.to_utf8().trim_end_matches('.').to_owned()),
            _ => None,
        });
    let names: Vec<_> = names.collect();
    match names.is_empty() {
        true => Err(DnsError::NoAddress {
            server,
            name: zone.to_owned(),
        }),
        false => Ok(names),
    }
}

async fn exchange(
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    recursive: bool,
) -> Result<DnsResponse, DnsError> {
    let mut full = Name::from_ascii(name).map_err(|_| DnsError::Name(name.to_owned()))?;
    full.set_fqdn(true);
    let exchange = UdpClientStream::builder(server, TokioRuntimeProvider::new())
        .with_timeout(Some(DEADLINE))
        .with_os_port_selection(true)
        .exchange();
    let mut options = DnsRequestOptions::default();
    options.recursion_desired = recursive;
    let no_answer = |why: String| DnsError::NoAnswer {
        server,
        name: name.to_owned(),
        why,
    };
    let response = match exchange
        .lookup(Query::query(full, kind), options)
        .next()
        .await
    {
        Some(Ok(response)) => response,
        Some(Err(error)) => return Err(no_answer(error.to_string())),
        None => return Err(no_answer("nothing answers there".into())),
    };
    match response.metadata.response_code {
        ResponseCode::NoError => Ok(response),
        code => Err(DnsError::Refused {
            server,
            name: name.to_owned(),
            code: code.to_str().to_owned(),
        }),
    }
}

/// Resolves names as a browser does: keeps an answer until its time to live
/// is over, then asks again.
#[derive(Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    kept: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    until: Instant,
    answer: Result<BTreeSet<Ipv4Addr>, DnsError>,
}

impl Resolver {
    /// Asks these servers, the first that answers.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self {
            servers,
            kept: Mutex::default(),
        }
    }

    /// The resolvers of [`RESOLVERS`], else of the system.
    ///
    /// # Errors
    /// A server that is no address, or a system without resolvers.
    pub fn from_environment() -> Result<Self, DnsError> {
        let servers = match std::env::var(RESOLVERS) {
            Ok(list) if !list.trim().is_empty() => parse_servers(&list)?,
            _ => system_servers()?,
        };
        Ok(Self::new(servers))
    }

    /// The servers, in the order in which they are asked.
    #[must_use]
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The addresses of a name (or address) now.
    ///
    /// # Errors
    /// That of the last server when none knew an address.
    pub async fn addresses(&self, name: &str) -> Result<BTreeSet<Ipv4Addr>, DnsError> {
        if let Some(address) = literal(name) {
            return Ok([address].into());
        }
        // Held while asking: those who come meanwhile share the answer.
        let mut kept = self.kept.lock().await;
        if let Some(entry) = kept.get(name).filter(|entry| Instant::now() < entry.until) {
            return entry.answer.clone();
        }
        let entry = self.look_up(name).await;
        kept.insert(name.to_owned(), entry.clone());
        entry.answer
    }

    /// The name servers of a zone, as the first resolver that knows them says.
    ///
    /// # Errors
    /// That of the last resolver when none knew them.
    pub async fn name_servers(&self, zone: &str) -> Result<Vec<String>, DnsError> {
        let mut failure = DnsError::System("there is none".into());
        for &server in &self.servers {
            match name_servers(server, zone).await {
                Ok(names) => return Ok(names),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn look_up(&self, name: &str) -> Kept {
        let mut failure = DnsError::System("there is none".into());
        for &server in &self.servers {
            match ask(server, name, true).await {
                Ok(answer) => {
                    return Kept {
                        until: Instant::now() + answer.ttl,
                        answer: Ok(answer.addresses),
                    };
                }
                Err(error) => failure = error,
            }
        }
        Kept {
            until: Instant::now() + FAILURE_LIVES,
            answer: Err(failure),
        }
    }
}

fn literal(name: &str) -> Option<Ipv4Addr> {
    match name {
        "localhost" => Some(Ipv4Addr::LOCALHOST),
        _ => name.parse().ok(),
    }
}

fn parse_servers(list: &str) -> Result<Vec<SocketAddr>, DnsError> {
    let entries = list
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    entries
        .map(|entry| {
            entry
                .parse::<SocketAddr>()
                .or_else(|_| entry.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)))
                .map_err(|_| DnsError::Server(entry.to_owned()))
        })
        .collect()
}

fn system_servers() -> Result<Vec<SocketAddr>, DnsError> {
    let (config, _) = hickory_resolver::system_conf::read_system_conf()
        .map_err(|error| DnsError::System(error.to_string()))?;
    let mut servers = Vec::new();
    for server in config.name_servers() {
        let address = SocketAddr::new(server.ip, 53);
        if !servers.contains(&address) {
            servers.push(address);
        }
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_a_comma_list() {
        let servers = parse_servers("127.0.0.1:5353, 10.0.0.2,::1").unwrap();
        let printed: Vec<_> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(printed, ["127.0.0.1:5353", "10.0.0.2:53", "[::1]:53"]);
        assert!(parse_servers("resolver.example").is_err());
    }

    #[test]
    fn addresses_need_no_server() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let found = runtime.block_on(Resolver::new(Vec::new()).addresses("127.0.0.3"));
        assert_eq!(found.unwrap(), [Ipv4Addr::new(127, 0, 0, 3)].into());
    }
}
