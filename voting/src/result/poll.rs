//! One reader of the database for all browsers.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::database::{Database, DatabaseError, Session, within};

/// Votes by kind. A table that does not exist yet is an empty one: the worker
/// creates it.
const COUNT: &str = "SELECT count(*) FILTER (WHERE vote = 'a'), \
    count(*) FILTER (WHERE vote = 'b'), count(*) FROM votes";
const WHERE: &str = "SELECT coalesce(host(inet_server_addr()), 'local') || ':' || \
    current_setting('port') || CASE WHEN pg_is_in_recovery() THEN ' (standby)' ELSE ' (primary)' END";
const UNDEFINED_TABLE: &str = "42P01";

/// The newest totals, and why there are no newer ones.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub last: Option<Totals>,
    pub error: Option<String>,
}

/// Totals as of one moment.
#[derive(Clone, Debug)]
pub struct Totals {
    pub a: i64,
    pub b: i64,
    pub total: i64,
    /// Address and role of the server that was read.
    pub database: String,
    pub at: Instant,
}

/// Reads for ever, whatever happens to the connection.
pub struct Poller {
    pub database: Database,
    /// Time between two reads.
    pub every: Duration,
    pub sender: watch::Sender<Reading>,
}

impl Poller {
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new();
        loop {
            let error = tokio::select! {
                Err(error) = self.session(&mut backoff) => error,
                () = stop.cancelled() => return,
            };
            self.complain(&error);
            backoff.pause().await;
        }
    }

    /// Reads over one connection until it fails.
    async fn session(
        &self,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, DatabaseError> {
        let session = self.database.connect().await?;
        info!(postgres = self.database.name(), "connected");
        loop {
            let totals = read(&session).await?;
            *backoff = Backoff::new();
            self.sender.send_replace(Reading {
                last: Some(totals),
                error: None,
            });
            tokio::time::sleep(self.every).await;
        }
    }

    /// Publishes the reason; logs it only when it is a new one.
    fn complain(&self, error: &DatabaseError) {
        let text = error.to_string();
        let known = self.sender.borrow().error.as_ref() == Some(&text);
        if !known {
            warn!(
                postgres = self.database.name(),
                "totals cannot be read: {text}"
            );
            self.sender
                .send_modify(|reading| reading.error = Some(text));
        }
    }
}

async fn read(session: &Session) -> Result<Totals, DatabaseError> {
    let client = &session.client;
    let at = Instant::now();
    let database: String = within(client.query_typed_one(WHERE, &[])).await?.get(0);
    let (a, b, total) = match within(client.query_typed_one(COUNT, &[])).await {
        Ok(row) => (row.get(0), row.get(1), row.get(2)),
        Err(error) if error.sqlstate() == Some(UNDEFINED_TABLE) => (0, 0, 0),
        Err(error) => return Err(error),
    };
    Ok(Totals {
        a,
        b,
        total,
        database,
        at,
    })
}
