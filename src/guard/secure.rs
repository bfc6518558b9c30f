//! Where orders come in. The order port: only who holds a certificate of the
//! deployment's CA, made out to `operator`, a peer or a watcher, may ask or order. The
//! socket file: root, and the user of the guard, on this host.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::{Guard, config::GuardConfig};
use crate::{
    order::{GuardStatus, OrderAnswer, OrderRequest},
    right::{NoPromise, Promise, PromiseRequest},
};

/// The name in an operator's certificate.
pub const OPERATOR: &str = "operator";

const STRANGER: &str =
    "the client's certificate is made out to neither the operator nor a peer nor a watcher";
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a status may take to be fresh.
const FRESH: Duration = Duration::from_millis(300);

/// Why certificates can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {why}")]
    File {
        path: std::path::PathBuf,
        why: String,
    },
    #[error("client certificates cannot be checked: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Builds the TLS side of the order port.
pub fn acceptor(config: &GuardConfig) -> Result<TlsAcceptor, TlsError> {
    let wrong = |path: &std::path::Path, why: &dyn std::fmt::Display| TlsError::File {
        path: path.to_owned(),
        why: why.to_string(),
    };
    let files = &config.tls;
    let certificates = |path: &std::path::Path| {
        let certificates = CertificateDer::pem_file_iter(path).map_err(|e| wrong(path, &e))?;
        let certificates: Result<Vec<_>, _> = certificates.collect();
        certificates.map_err(|e| wrong(path, &e))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate)?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(certificates(&files.cert)?, key)?;
    Ok(TlsAcceptor::from(Arc::new(server)))
}

/// The socket file for orders from this host itself.
#[must_use]
pub fn socket(config: &GuardConfig) -> PathBuf {
    config.state_dir.join("orders.sock")
}

/// Listens on the socket file. The directory admits only the guard's user.
pub fn listen_locally(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Serves the socket file for ever.
pub async fn serve_locally(guard: Arc<Guard>, listener: UnixListener) {
    if let Err(error) = axum::serve(listener, router(&guard)).await {
        tracing::error!(%error, "the socket for orders failed");
    }
}

fn router(guard: &Arc<Guard>) -> Router {
    Router::new()
        .route("/orders", post(take_order))
        .route("/promise", post(promise))
        .route("/status", get(status))
        .with_state(Arc::clone(guard))
}

/// Serves for ever, each connection in a task of its own.
pub async fn serve(guard: Arc<Guard>, listener: TcpListener, acceptor: TlsAcceptor) {
    let router = router(&guard);
    loop {
        let (stream, address) = accept(&listener).await;
        let (guard, router, acceptor) = (Arc::clone(&guard), router.clone(), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = serve_one(&guard, stream, acceptor, router).await {
                tracing::warn!(%address, %error, "connection to the order port ended");
            }
        });
    }
}

/// The next connection, however long it takes.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                // Out of descriptors, most likely: those in use must end first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_one(
    guard: &Guard,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
) -> io::Result<()> {
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time"))??;
    let (_, connection) = stream.get_ref();
    let certificate = connection.peer_certificates().and_then(<[_]>::first);
    let router = if certificate.is_some_and(|certificate| may_order(&guard.config, certificate)) {
        router
    } else {
        Router::new().fallback(async || (StatusCode::FORBIDDEN, STRANGER))
    };
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await
        .map_err(io::Error::other)
}

/// Whether a certificate, already verified, is made out to somebody who may
/// give orders.
fn may_order(config: &GuardConfig, certificate: &CertificateDer<'_>) -> bool {
    let Ok(certificate) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let peers = config.peers.keys().chain(&config.watchers);
    let peers = peers.map(crate::ids::HostName::as_str);
    std::iter::once(OPERATOR).chain(peers).any(|name| {
        ServerName::try_from(name)
            .is_ok_and(|name| rustls::client::verify_server_name(&certificate, &name).is_ok())
    })
}

async fn take_order(
    State(guard): State<Arc<Guard>>,
    Json(request): Json<OrderRequest>,
) -> Json<OrderAnswer> {
    Json(guard.take(request).await)
}

async fn promise(
    State(guard): State<Arc<Guard>>,
    Json(ask): Json<PromiseRequest>,
) -> Json<Result<Promise, NoPromise>> {
    Json(guard.promise(ask).await)
}

/// Decisions are made on this one, so it looks anew where that is quick.
async fn status(State(guard): State<Arc<Guard>>) -> Json<GuardStatus> {
    // Past the limit the memory answers; the monitor says what it could not see.
    let _ = tokio::time::timeout(FRESH, guard.look_now()).await;
    Json(guard.status())
}
