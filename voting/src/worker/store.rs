//! The database's side of the worker.

use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::entry::Batch;
use crate::database::{Database, DatabaseError, Session, within};

/// Advisory lock of whoever moves votes ("votes" in ASCII).
const MOVER_LOCK: i64 = 0x76_6f74_6573;
/// Advisory lock for creating the schema.
const SCHEMA_LOCK: i64 = MOVER_LOCK + 1;

/// A dead worker's session must not hold the lock for long. None of these
/// limits cuts a COMMIT short, which would acknowledge it without the standby.
const LIMITS: &str = "SET idle_in_transaction_session_timeout = '5s'; \
    SET lock_timeout = '4s'; SET client_connection_check_interval = '1s'; \
    SET tcp_keepalives_idle = 2; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3";

const IS_READ_ONLY: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";

/// No condition that skips equal rows: a transaction that writes nothing does
/// not wait for the standby at COMMIT, and a vote that is written again after
/// an interrupted COMMIT would be acknowledged without being there.
const UPSERT: &str = "INSERT INTO votes (id, vote) SELECT * FROM unnest($1::text[], $2::text[]) \
    ON CONFLICT (id) DO UPDATE SET vote = EXCLUDED.vote";

/// A session on a writable database that has the schema.
pub struct Store {
    session: Session,
}

impl Store {
    /// Connects, makes sure that the server can be written, and creates the
    /// table where it is missing.
    pub async fn connect(database: &Database) -> Result<Self, DatabaseError> {
        let mut store = Self {
            session: database.connect().await?,
        };
        store.execute(LIMITS).await?;
        store.check_writable().await?;
        store.create_schema().await?;
        Ok(store)
    }

    pub async fn check_writable(&mut self) -> Result<(), DatabaseError> {
        self.refuse_read_only(IS_READ_ONLY).await
    }

    async fn create_schema(&mut self) -> Result<(), DatabaseError> {
        let missing = self
            .last_value("SELECT to_regclass('votes') IS NULL")
            .await?;
        if missing.as_deref() != Some("t") {
            return Ok(());
        }
        self.execute(&format!(
            "BEGIN; SELECT pg_advisory_xact_lock({SCHEMA_LOCK}); \
             CREATE TABLE IF NOT EXISTS votes (id text PRIMARY KEY, vote text NOT NULL); COMMIT"
        ))
        .await
    }

    /// Opens the transaction of a cycle and waits for the lock.
    pub async fn begin(&mut self) -> Result<(), DatabaseError> {
        let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({MOVER_LOCK}); {IS_READ_ONLY}");
        self.refuse_read_only(&begin).await
    }

    pub async fn write(&mut self, batch: &Batch) -> Result<(), DatabaseError> {
        if batch.votes.is_empty() {
            return Ok(());
        }
        let (ids, votes): (Vec<_>, Vec<_>) = batch.votes.iter().unzip();
        let client = &self.session.client;
        let arguments = [
            (&ids as _, Type::TEXT_ARRAY),
            (&votes as _, Type::TEXT_ARRAY),
        ];
        within(client.execute_typed(UPSERT, &arguments)).await?;
        Ok(())
    }

    /// Commits. A warning counts as a failure: it is how the server says that
    /// the wait for the standby was cancelled.
    pub async fn commit(&mut self) -> Result<(), DatabaseError> {
        let before = self.session.warnings();
        self.execute("COMMIT").await?;
        if self.session.warnings() == before {
            Ok(())
        } else {
            Err(DatabaseError::CommitWarned)
        }
    }

    pub async fn rollback(&mut self) -> Result<(), DatabaseError> {
        self.execute("ROLLBACK").await
    }

    async fn execute(&self, sql: &str) -> Result<(), DatabaseError> {
        within(self.session.client.batch_execute(sql)).await
    }

    async fn refuse_read_only(&self, sql: &str) -> Result<(), DatabaseError> {
        match self.last_value(sql).await?.as_deref() {
            Some("f") => Ok(()),
            _ => Err(DatabaseError::ReadOnly),
        }
    }

    /// The first column of the last row that the statements return.
    async fn last_value(&self, sql: &str) -> Result<Option<String>, DatabaseError> {
        let messages = within(self.session.client.simple_query(sql)).await?;
        let mut rows = messages.iter().rev().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        });
        Ok(rows.next().flatten())
    }
}
