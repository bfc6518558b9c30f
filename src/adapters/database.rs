//! Sessions of the database through a load balancer, as applications have
//! them: the stream leads to the balancer's port, TLS ends at the database.

use std::{
    collections::BTreeSet,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{Client, Config, config::SslMode, tls::MakeTlsConnect, types::Type};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    ids::HostName,
    load::{
        account::Answer,
        writer::{Session, Sessions},
    },
    ports::remote::{Endpoint, Remote, Stream},
    topology::Database,
};

/// How to log in to the database.
#[derive(Clone)]
pub struct Login {
    config: Config,
    tls: MakeRustlsConnect,
    /// Any one of the databases, for the TLS library.
    name: String,
}

impl Login {
    /// As the application, to any of the hosts `names`, whose certificates
    /// `roots` must have signed.
    ///
    /// # Errors
    /// No certificate in `roots`.
    pub fn new(
        database: &Database,
        password: &SecretString,
        roots: RootCertStore,
        names: &[HostName],
    ) -> Result<Self, TlsError> {
        let mut config = Config::new();
        config
            .dbname(&database.name)
            .user(&database.user)
            .password(password.expose_secret())
            .application_name("hafail")
            .ssl_mode(SslMode::Require);
        let verifier = AnyOf::new(roots, names)?;
        let tls = ClientConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
        Ok(Self {
            config,
            tls: MakeRustlsConnect::new(tls),
            name: names.first().map(ToString::to_string).unwrap_or_default(),
        })
    }

    /// Logs in over a stream.
    ///
    /// # Errors
    /// Why it did not work, in one line.
    pub fn over(&self, stream: Box<dyn Stream>) -> BoxFuture<'static, Result<Client, String>> {
        let Self {
            config,
            mut tls,
            name,
        } = self.clone();
        Box::pin(async move {
            let connector = MakeTlsConnect::<Pipe>::make_tls_connect(&mut tls, &name)
                .map_err(|error| error.to_string())?;
            let connected = config.connect_raw(Pipe(stream), connector).await;
            let (client, connection) = connected.map_err(|error| one_line(&error))?;
            // Ends with its client; its error reaches the client too.
            tokio::spawn(async move {
                let _ = connection.await;
            });
            Ok(client)
        })
    }
}

/// A stream with a type of its own: the compiler cannot see that futures over
/// `Box<dyn Stream>` are `Send` for every lifetime of the trait object.
struct Pipe(Box<dyn Stream>);

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The error with what it stands on: the first level alone says "db error".
pub fn one_line(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => {
            let mut text = error.to_string();
            let mut next = std::error::Error::source(error);
            while let Some(source) = next {
                text = format!("{text}: {source}");
                next = source.source();
            }
            text
        }
    }
}

/// Accepts the certificate of any of several hosts: behind the balancer's port
/// is whichever is primary.
#[derive(Debug)]
struct AnyOf {
    inner: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
}

impl AnyOf {
    fn new(roots: RootCertStore, names: &[HostName]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| TlsError::General(error.to_string()))?;
        let names = names.iter().map(|name| {
            ServerName::try_from(name.to_string())
                .map_err(|error| TlsError::General(error.to_string()))
        });
        Ok(Self {
            inner,
            names: names.collect::<Result<_, _>>()?,
        })
    }
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let mut failure = TlsError::InvalidCertificate(CertificateError::NotValidForName);
        for name in &self.names {
            let verified =
                self.inner
                    .verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
            match verified {
                Ok(verified) => return Ok(verified),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Sessions through the load balancers: the one that worked last is tried
/// first.
pub struct BalancedSessions {
    remote: Arc<dyn Remote>,
    login: Login,
    balancers: Vec<HostName>,
    port: u16,
    current: AtomicUsize,
}

impl BalancedSessions {
    /// Through `balancers`, in that order, at their port for the primary.
    #[must_use]
    pub fn new(remote: Arc<dyn Remote>, login: Login, balancers: Vec<HostName>, port: u16) -> Self {
        Self {
            remote,
            login,
            balancers,
            port,
            current: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl Sessions for BalancedSessions {
    async fn open(&self) -> Result<Box<dyn Session>, String> {
        let current = self.current.load(Ordering::Relaxed);
        let balancer = &self.balancers[current % self.balancers.len()];
        // Counted before it is known: a caller that gives up in the middle
        // goes on with the next balancer.
        self.current.store(current + 1, Ordering::Relaxed);
        let stream = self.remote.dial(balancer, Endpoint::Tcp(self.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        // Reached: a missing primary is not this balancer's fault.
        self.current.store(current, Ordering::Relaxed);
        Ok(Box::new(Commits(self.login.over(stream).await?)))
    }
}

/// A session that commits numbers to a table of its own.
struct Commits(Client);

#[async_trait]
impl Session for Commits {
    async fn prepare(&mut self) -> Result<(), String> {
        let make = "set client_min_messages = warning;
             create table if not exists hafail_load (
                 run text not null, n bigint not null, primary key (run, n))";
        let mut made = self.0.batch_execute(make).await;
        if made.as_ref().is_err_and(another_made_it) {
            made = self.0.batch_execute(make).await;
        }
        made.map_err(|error| one_line(&error))
    }

    async fn commit(&mut self, run: &str, n: u64) -> Answer {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        let insert = "insert into hafail_load (run, n) values ($1, $2)";
        // Typed: one round trip, so that what is measured is the commit.
        match self
            .0
            .query_typed(insert, &[(&run, Type::TEXT), (&n, Type::INT8)])
            .await
        {
            Ok(_) => Answer::Accepted,
            Err(error) => judge(&error),
        }
    }

    async fn numbers(&mut self, run: &str) -> Result<BTreeSet<u64>, String> {
        let rows = self
            .0
            .query("select n from hafail_load where run = $1", &[&run])
            .await;
        let rows = rows.map_err(|error| one_line(&error))?;
        let numbers = rows.iter().map(|row| row.get::<_, i64>(0));
        Ok(numbers.filter_map(|n| u64::try_from(n).ok()).collect())
    }

    async fn forget(&mut self, run: &str) -> Result<(), String> {
        let removed = self
            .0
            .execute("delete from hafail_load where run = $1", &[&run])
            .await;
        removed.map(|_| ()).map_err(|error| one_line(&error))
    }
}

/// `if not exists` looks before it locks: two who make a table at the same
/// time meet at its name.
fn another_made_it(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    let code = error.code();
    code == Some(&SqlState::UNIQUE_VIOLATION) || code == Some(&SqlState::DUPLICATE_TABLE)
}

/// An error that the server answered is a clear no, unless it says that the
/// session was ended from outside, which can hit a commit in its last wait.
fn judge(error: &tokio_postgres::Error) -> Answer {
    let why = one_line(error);
    match error.code() {
        Some(code) if !code.code().starts_with("57P") && !code.code().starts_with("08") => {
            Answer::Refused { why }
        }
        Some(_) | None => Answer::Unknown { why },
    }
}
