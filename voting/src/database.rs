//! Connections to PostgreSQL.

mod tls;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::warn;

use crate::args::{PostgresArgs, SslMode, secret};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// After this time without an answer a connection counts as lost.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("no answer from the database within {} s", COMMAND_TIMEOUT.as_secs())]
    Timeout,
    #[error("{}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("the database is read-only (a standby, or being switched over)")]
    ReadOnly,
    #[error("the database warned while committing: the row may not be on the standby")]
    CommitWarned,
}

impl DatabaseError {
    /// The SQLSTATE, where the server gave one.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Postgres(error) => error.code().map(|code| code.code()),
            _ => None,
        }
    }
}

/// The message with its cause: the outer one alone says only "db error".
fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{}: {} ({})", db.severity(), db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// How to reach PostgreSQL.
pub struct Database {
    config: Config,
    tls: MakeRustlsConnect,
    name: String,
}

impl Database {
    /// Takes the password from the environment.
    ///
    /// # Errors
    /// When the password file or the root certificates cannot be read.
    pub fn new(args: &PostgresArgs, application: &str) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config
            .host(&args.pg_host)
            .port(args.pg_port)
            .user(&args.pg_user)
            .dbname(&args.pg_database)
            .application_name(application)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(COMMAND_TIMEOUT)
            .keepalives_idle(Duration::from_secs(2))
            .keepalives_interval(Duration::from_secs(1))
            .keepalives_retries(3)
            .ssl_mode(match args.pg_sslmode {
                SslMode::Disable => tokio_postgres::config::SslMode::Disable,
                SslMode::Require | SslMode::VerifyFull => tokio_postgres::config::SslMode::Require,
            });
        if let Some(address) = args.pg_hostaddr {
            config.hostaddr(address);
        }
        if let Some(password) = secret("PGPASSWORD")? {
            config.password(password);
        }
        let name = format!("{}:{}", args.pg_host, args.pg_port);
        Ok(Self {
            config,
            tls: tls::connector(args)?,
            name,
        })
    }

    /// Host and port, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses the user.
    pub async fn connect(&self) -> Result<Session, DatabaseError> {
        let dial = self.config.connect(self.tls.clone());
        let (client, mut connection) = within(dial).await?;
        let warnings = Arc::new(AtomicU64::new(0));
        let counter = warnings.clone();
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) if is_warning(&notice) => {
                        counter.fetch_add(1, Ordering::SeqCst);
                        warn!(
                            code = notice.code().code(),
                            "PostgreSQL: {}",
                            notice.message()
                        );
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        Ok(Session {
            client,
            warnings,
            driver,
        })
    }
}

/// An open session; it is closed when dropped.
pub struct Session {
    pub client: Client,
    warnings: Arc<AtomicU64>,
    driver: JoinHandle<()>,
}

impl Session {
    /// Warnings that the server has sent so far.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::SeqCst)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Bounds a call to the database.
///
/// # Errors
/// Those of the call, or [`DatabaseError::Timeout`].
pub async fn within<T>(
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, DatabaseError> {
    match tokio::time::timeout(COMMAND_TIMEOUT, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DatabaseError::Timeout),
    }
}

/// Told by the field that is not translated.
fn is_warning(notice: &tokio_postgres::error::DbError) -> bool {
    notice.parsed_severity() == Some(tokio_postgres::error::Severity::Warning)
}
