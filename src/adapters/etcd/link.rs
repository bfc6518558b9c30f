//! How a member is reached: TLS over TCP, or over a stream to its host.

use std::{io, sync::Arc, time::Duration};

use etcd_client::{Channel, Client, ConnectOptions};
use futures::{FutureExt, future::BoxFuture};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};
use tower::service_fn;

use crate::{
    ids::HostName,
    ports::remote::{self, Remote, Stream},
};

/// A silently cut connection is noticed within twice this. The members of
/// hafail's playbook allow such pings; etcd's default would close over them.
const PING: Duration = Duration::from_millis(700);

/// What proves the client and the members, in PEM: the authority's
/// certificate, and the client's own with its key.
#[derive(Clone)]
pub struct Tls {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// Why the store cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("the store has no member")]
    NoMember,
    #[error("`{url}` is no URL of a member of the store: {why}")]
    Url { url: String, why: String },
    #[error("the certificates for the store cannot be used: {why}")]
    Tls { why: String },
}

impl EtcdError {
    /// What to do next.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::NoMember => "state `coordination: etcd` and three places".to_owned(),
            Self::Url { .. } => "write it as https://HOST:2379".to_owned(),
            Self::Tls { .. } => {
                "run `hafail deploy`: it makes missing certificates anew".to_owned()
            }
        }
    }
}

type Dial = Arc<dyn Fn() -> BoxFuture<'static, io::Result<Box<dyn Stream>>> + Send + Sync>;

pub(super) struct Link {
    name: String,
    endpoint: Endpoint,
    dial: Dial,
}

impl Link {
    pub(super) fn direct(url: &str, tls: &Tls, deadline: Duration) -> Result<Self, EtcdError> {
        let wrong = |why: &dyn ToString| EtcdError::Url {
            url: url.to_owned(),
            why: why.to_string(),
        };
        let uri: Uri = url.parse().map_err(|error| wrong(&error))?;
        let host = uri.host().ok_or_else(|| wrong(&"no host"))?.to_owned();
        let port = uri.port_u16().ok_or_else(|| wrong(&"no port"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong(&"not https"));
        }
        let target = (host.clone(), port);
        let dial = move || {
            let target = target.clone();
            let dialled = async move {
                let stream = TcpStream::connect(target).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            };
            dialled.boxed()
        };
        Self::new(host, uri, tls, deadline, Arc::new(dial))
    }

    pub(super) fn through(
        remote: Arc<dyn Remote>,
        host: HostName,
        port: u16,
        tls: &Tls,
        deadline: Duration,
    ) -> Result<Self, EtcdError> {
        let url = format!("https://{host}:{port}");
        let uri = url.parse().map_err(|error| EtcdError::Url {
            url,
            why: format!("{error}"),
        })?;
        let name = host.to_string();
        let dial = move || {
            let (remote, host) = (Arc::clone(&remote), host.clone());
            let dialled = async move {
                let stream = remote.dial(&host, remote::Endpoint::Tcp(port)).await;
                stream.map_err(io::Error::other)
            };
            dialled.boxed()
        };
        Self::new(name, uri, tls, deadline, Arc::new(dial))
    }

    fn new(
        name: String,
        uri: Uri,
        tls: &Tls,
        deadline: Duration,
        dial: Dial,
    ) -> Result<Self, EtcdError> {
        let identity = Identity::from_pem(&tls.certificate, &tls.key);
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(identity)
            .domain_name(&name);
        let endpoint = Endpoint::from(uri)
            .tls_config(config)
            .map_err(|error| EtcdError::Tls {
                why: std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string),
            })?
            .connect_timeout(deadline.max(PING))
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PING);
        Ok(Self {
            name,
            endpoint,
            dial,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection that is made when it is first used.
    pub(super) fn client(&self) -> Client {
        let dial = Arc::clone(&self.dial);
        let connector = service_fn(move |_: Uri| dial().map(|stream| stream.map(TokioIo::new)));
        let channel = self.endpoint.connect_with_connector_lazy(connector);
        // A member without a leader says so at once rather than after seconds.
        let options = ConnectOptions::new().with_require_leader(true);
        Client::from_channel(Channel::Tonic(channel), Some(options))
            .now_or_never()
            .and_then(Result::ok)
            .expect("without a user and password there is nothing to ask the member for")
    }
}
