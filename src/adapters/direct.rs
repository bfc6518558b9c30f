//! Streams between the hosts themselves, for what runs on one of them: TCP to
//! private addresses. Files of sockets are behind a port with mutual TLS.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc, time::Duration};

use async_trait::async_trait;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::etcd::Tls;
use crate::{
    ids::HostName,
    inventory::Inventory,
    ports::remote::{Command, Endpoint, Output, Remote, RemoteError, Stream},
};

/// The hosts, as one of them reaches the others.
pub struct Direct {
    addresses: BTreeMap<HostName, Ipv4Addr>,
    sockets: BTreeMap<String, u16>,
    tls: TlsConnector,
    limit: Duration,
}

impl Direct {
    /// `sockets`: by file, the port behind which every host has it. `tls`
    /// proves this host to the others.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn new(
        inventory: &Inventory,
        sockets: BTreeMap<String, u16>,
        tls: &Tls,
        limit: Duration,
    ) -> Result<Self, rustls::Error> {
        let wrong =
            |error: rustls::pki_types::pem::Error| rustls::Error::General(error.to_string());
        let certificates = |text: &str| -> Result<Vec<CertificateDer<'static>>, rustls::Error> {
            let found: Result<_, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            found.map_err(wrong)
        };
        let mut roots = RootCertStore::empty();
        for root in certificates(&tls.ca)? {
            roots.add(root)?;
        }
        let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).map_err(wrong)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&tls.certificate)?, key)?;
        let hosts = inventory.hosts.values();
        Ok(Self {
            addresses: hosts
                .map(|entry| (entry.name.clone(), entry.private_address))
                .collect(),
            sockets,
            tls: TlsConnector::from(Arc::new(config)),
            limit,
        })
    }

    async fn tcp(&self, host: &HostName, port: u16) -> Result<TcpStream, RemoteError> {
        let address = self.addresses.get(host);
        let address = *address.ok_or_else(|| RemoteError::NoSuchHost { host: host.clone() })?;
        let connect = |why: String| RemoteError::Connect {
            host: host.clone(),
            address: format!("{address}:{port}"),
            why,
        };
        let connecting = timeout(self.limit, TcpStream::connect((address, port))).await;
        let stream = connecting
            .map_err(|_| connect(format!("no connection within {:?}", self.limit)))?
            .map_err(|error| connect(error.to_string()))?;
        stream
            .set_nodelay(true)
            .map_err(|error| connect(error.to_string()))?;
        Ok(stream)
    }

    async fn socket(&self, host: &HostName, file: &str) -> Result<Box<dyn Stream>, RemoteError> {
        let broken = |why: String| RemoteError::Broken {
            host: host.clone(),
            why,
        };
        let port = self.sockets.get(file);
        let port = *port.ok_or_else(|| broken(format!("{file} is behind no port")))?;
        let stream = self.tcp(host, port).await?;
        let name = ServerName::try_from(host.to_string()).map_err(|e| broken(e.to_string()))?;
        let secured = timeout(self.limit, self.tls.connect(name, stream)).await;
        let secured = secured
            .map_err(|_| broken(format!("no TLS within {:?}", self.limit)))?
            .map_err(|error| broken(error.to_string()))?;
        Ok(Box::new(secured))
    }
}

#[async_trait]
impl Remote for Direct {
    async fn run(&self, host: &HostName, _: Command) -> Result<Output, RemoteError> {
        Err(RemoteError::Broken {
            host: host.clone(),
            why: "commands go over SSH, which only operators have".to_owned(),
        })
    }

    async fn dial(
        &self,
        host: &HostName,
        endpoint: Endpoint,
    ) -> Result<Box<dyn Stream>, RemoteError> {
        match endpoint {
            Endpoint::Tcp(port) => Ok(Box::new(self.tcp(host, port).await?)),
            Endpoint::Unix(file) => self.socket(host, &file).await,
        }
    }
}
