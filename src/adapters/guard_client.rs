//! Talks to guards: status and orders over any stream, with mutual TLS.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde::de::DeserializeOwned;
use tokio_rustls::TlsConnector;

use crate::{
    ids::HostName,
    order::{GuardStatus, OrderAnswer, OrderRequest},
    ports::remote::Stream,
    right::{NoPromise, Promise, PromiseRequest},
};

/// Why a guard gave no answer. After an order that may mean anything: ask
/// for the status, or repeat the order.
#[derive(Debug, thiserror::Error)]
pub enum GuardClientError {
    #[error("the {what} for guards cannot be used: {why}")]
    Identity { what: &'static str, why: String },
    #[error("no TLS with the guard of {host}: {why}")]
    Tls { host: HostName, why: String },
    #[error("the connection to the guard of {host} broke: {why}")]
    Broken { host: HostName, why: String },
    #[error("the guard of {host} did not answer within {within:?} ({what})")]
    Deadline {
        host: HostName,
        within: Duration,
        what: &'static str,
    },
    #[error("the guard of {host} answered {status}: {body}")]
    Status {
        host: HostName,
        status: u16,
        body: String,
    },
    #[error("cannot read the answer of the guard of {host}: {why}")]
    Answer { host: HostName, why: String },
}

impl GuardClientError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Identity { .. } => {
                "look into the secrets directory of the deployment; `hafail deploy` makes \
                 missing certificates"
                    .to_owned()
            }
            Self::Tls { host, .. } => {
                format!("run `hafail run deploy-guard --host {host}` to renew its certificates")
            }
            Self::Broken { host, .. } | Self::Deadline { host, .. } => {
                format!("see what the guard says: `hafail logs {host}`")
            }
            Self::Status { host, .. } | Self::Answer { host, .. } => {
                format!("bring the guard to this version: `hafail run deploy-guard --host {host}`")
            }
        }
    }
}

/// Who talks to guards: the operator's certificate and the deployment's CA.
#[derive(Clone)]
pub struct GuardClient {
    connector: TlsConnector,
}

impl GuardClient {
    /// From PEM texts: the CA, the client's certificate (made out to
    /// `operator`) and its private key.
    pub fn new(ca: &str, certificate: &str, key: &str) -> Result<Self, GuardClientError> {
        let identity = |what| move |why: String| GuardClientError::Identity { what, why };
        let mut roots = RootCertStore::empty();
        for root in certificates(ca).map_err(identity("CA"))? {
            roots
                .add(root)
                .map_err(|error| identity("CA")(error.to_string()))?;
        }
        let chain = certificates(certificate).map_err(identity("certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| identity("private key")(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| identity("TLS version")(error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| identity("certificate")(error.to_string()))?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Begins a connection over `stream`, to be kept for many questions. The
    /// guard must prove to be that of `host`.
    pub async fn connect(
        &self,
        stream: impl Stream + 'static,
        host: &HostName,
        deadline: Duration,
    ) -> Result<GuardConnection, GuardClientError> {
        let connecting = self.handshake(stream, host);
        match tokio::time::timeout(deadline, connecting).await {
            Ok(result) => result,
            Err(_) => Err(GuardClientError::Deadline {
                host: host.clone(),
                within: deadline,
                what: "TLS handshake",
            }),
        }
    }

    async fn handshake(
        &self,
        stream: impl Stream + 'static,
        host: &HostName,
    ) -> Result<GuardConnection, GuardClientError> {
        let tls = |why: String| GuardClientError::Tls {
            host: host.clone(),
            why,
        };
        let name = ServerName::try_from(host.to_string()).map_err(|e| tls(e.to_string()))?;
        let stream = self.connector.connect(name, stream).await;
        let stream = stream.map_err(|e| tls(e.to_string()))?;
        GuardConnection::begin(stream, host).await
    }

    /// Asks once.
    pub async fn status(
        &self,
        stream: impl Stream + 'static,
        host: &HostName,
        deadline: Duration,
    ) -> Result<GuardStatus, GuardClientError> {
        let mut connection = self.connect(stream, host, deadline).await?;
        connection.status(deadline).await
    }

    /// Orders once.
    pub async fn order(
        &self,
        stream: impl Stream + 'static,
        host: &HostName,
        request: &OrderRequest,
        deadline: Duration,
    ) -> Result<OrderAnswer, GuardClientError> {
        let mut connection = self.connect(stream, host, deadline).await?;
        connection.order(request, deadline).await
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(found)
}

/// A connection to one guard.
pub struct GuardConnection {
    host: HostName,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl GuardConnection {
    /// Begins a connection to the guard of this very host, by its socket
    /// file: no TLS, for the file's permissions say who may.
    pub async fn local(
        stream: tokio::net::UnixStream,
        host: &HostName,
    ) -> Result<Self, GuardClientError> {
        Self::begin(stream, host).await
    }

    async fn begin(
        stream: impl Stream + 'static,
        host: &HostName,
    ) -> Result<Self, GuardClientError> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| GuardClientError::Broken {
                    host: host.clone(),
                    why: error.to_string(),
                })?;
        tokio::spawn(async move {
            // How it ended is seen by the request that it breaks.
            let _ = connection.await;
        });
        Ok(Self {
            host: host.clone(),
            sender,
        })
    }

    /// Whether the connection has ended; a new one is needed then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// What the guard last saw: from its memory, so quickly.
    pub async fn status(&mut self, deadline: Duration) -> Result<GuardStatus, GuardClientError> {
        let request = self.request(Method::GET, "/status", Bytes::new());
        self.ask(request, deadline, "status").await
    }

    /// Gives an order and waits for its end. Past the deadline the guard
    /// still carries it out: repeat it to learn the outcome.
    pub async fn order(
        &mut self,
        request: &OrderRequest,
        deadline: Duration,
    ) -> Result<OrderAnswer, GuardClientError> {
        let body = serde_json::to_vec(request).expect("orders are plain data with string keys");
        let request = self.request(Method::POST, "/orders", Bytes::from(body));
        self.ask(request, deadline, "order").await
    }

    /// Asks for a promise not to become primary.
    pub async fn promise(
        &mut self,
        ask: &PromiseRequest,
        deadline: Duration,
    ) -> Result<Result<Promise, NoPromise>, GuardClientError> {
        let body = serde_json::to_vec(ask).expect("plain data with string keys");
        let request = self.request(Method::POST, "/promise", Bytes::from(body));
        self.ask(request, deadline, "promise").await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.host.as_str())
            .header("content-type", "application/json")
            .body(Full::new(body))
            .expect("method, path and headers are valid")
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        request: Request<Full<Bytes>>,
        deadline: Duration,
        what: &'static str,
    ) -> Result<T, GuardClientError> {
        let host = self.host.clone();
        let asking = self.exchange(request);
        let Ok(result) = tokio::time::timeout(deadline, asking).await else {
            return Err(GuardClientError::Deadline {
                host,
                within: deadline,
                what,
            });
        };
        let (status, body) = result.map_err(|error| GuardClientError::Broken {
            host: host.clone(),
            why: chain(&error),
        })?;
        if status != 200 {
            let body = String::from_utf8_lossy(&body).chars().take(300).collect();
            return Err(GuardClientError::Status { host, status, body });
        }
        serde_json::from_slice(&body).map_err(|error| GuardClientError::Answer {
            host,
            why: error.to_string(),
        })
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<(u16, Bytes)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// The error with its causes: hyper's own text never says why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
