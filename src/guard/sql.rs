//! What the guard asks its PostgreSQL, over the Unix socket.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use tokio_postgres::{Client, NoTls};

use super::config::GuardConfig;
use crate::{
    ids::{Lsn, Timeline},
    order::{Downstream, Slot},
};

/// Why PostgreSQL gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("cannot connect to PostgreSQL: {}", chain(.0))]
    Connect(tokio_postgres::Error),
    #[error("PostgreSQL refused: {}", chain(.0))]
    Query(#[from] tokio_postgres::Error),
    #[error("PostgreSQL did not answer within {0:?}")]
    Deadline(Duration),
    #[error("cannot read PostgreSQL's answer: {0}")]
    Answer(#[from] serde_json::Error),
}

fn chain(error: &tokio_postgres::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A look at a running PostgreSQL.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    pub in_recovery: bool,
    pub system_identifier: String,
    pub timeline: Option<Timeline>,
    pub written: Option<Lsn>,
    pub received: Option<Lsn>,
    pub replayed: Option<Lsn>,
    pub receiver: Option<Receiver>,
    pub standbys: Option<BTreeMap<String, Downstream>>,
    pub slots: Option<BTreeMap<String, Slot>>,
    pub synchronous_standby_names: String,
}

/// `pg_stat_wal_receiver`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    pub status: String,
    pub host: Option<String>,
    /// The primary's position in its last message.
    pub latest_end: Option<Lsn>,
    /// When the last message came, by the wall clock; only compared.
    pub message_at: Option<String>,
    pub message_age_ms: Option<f64>,
}

// A standby without a stream writes to its control file only now and then which
// timeline it is on. It reads, as recovery does, the newest timeline that has
// a file for the last byte.
const OBSERVE: &str = "
SELECT json_build_object(
  'in_recovery', r,
  'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
  'timeline', CASE WHEN r
    THEN coalesce(
      (SELECT received_tli FROM pg_stat_wal_receiver),
      (SELECT greatest(timeline_id,
          (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
          (SELECT max(('x' || left(name, 8))::bit(32)::int) FROM pg_ls_waldir()
            WHERE substr(name, 9) = last_segment))
         FROM pg_control_checkpoint(), LATERAL (
           SELECT lpad(upper(to_hex(div(segment, per_file)::bigint)), 8, '0')
               || lpad(upper(to_hex(mod(segment, per_file)::bigint)), 8, '0') AS last_segment
           FROM (SELECT pg_size_bytes(current_setting('wal_segment_size'))::numeric AS size) AS s,
             LATERAL (SELECT div(greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                 - '0/0'::pg_lsn - 1, size) AS segment, div(4294967296, size) AS per_file) AS p
         ) AS l))
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END,
  'written', CASE WHEN NOT r THEN pg_current_wal_lsn() END,
  'received', CASE WHEN r THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) END,
  'replayed', CASE WHEN r THEN pg_last_wal_replay_lsn() END,
  'receiver', (SELECT json_build_object(
      'status', status, 'host', sender_host, 'latest_end', latest_end_lsn,
      'message_at', last_msg_receipt_time::text,
      'message_age_ms',
        greatest(0, extract(epoch FROM clock_timestamp() - last_msg_receipt_time) * 1000))
    FROM pg_stat_wal_receiver),
  'standbys', (SELECT json_object_agg(application_name, json_build_object(
      'state', state, 'sync_state', sync_state,
      'address', coalesce(host(client_addr), 'local'),
      'sent', sent_lsn, 'flushed', flush_lsn, 'replayed', replay_lsn,
      'replied_at', reply_time::text))
    FROM pg_stat_replication WHERE state IS NOT NULL),
  'slots', (SELECT json_object_agg(slot_name, json_build_object(
      'active', active, 'restart', restart_lsn))
    FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT temporary),
  'synchronous_standby_names', current_setting('synchronous_standby_names')
)::text FROM (SELECT pg_is_in_recovery() AS r) AS recovery";

/// A connection as superuser.
pub struct Session {
    client: Client,
}

impl Session {
    /// Connects over the Unix socket, within `limit`.
    pub async fn open(
        config: &GuardConfig,
        database: &str,
        limit: Duration,
    ) -> Result<Self, SqlError> {
        let mut options = tokio_postgres::Config::new();
        options
            .host_path(&config.socket_dir)
            .port(config.port)
            .user(&config.superuser.user)
            .dbname(database)
            .application_name("hafail guard")
            // The guard's own statements never wait for a standby.
            .options("-c synchronous_commit=local");
        let connecting = tokio::time::timeout(limit, options.connect(NoTls));
        let (client, connection) = match connecting.await {
            Ok(result) => result.map_err(SqlError::Connect)?,
            Err(_) => return Err(SqlError::Deadline(limit)),
        };
        tokio::spawn(async move {
            // Its end is seen by the client's next query.
            let _ = connection.await;
        });
        Ok(Self { client })
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Looks at everything that the status shows.
    pub async fn observe(&self) -> Result<Observed, SqlError> {
        let text = self.text(OBSERVE).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Whether PostgreSQL is in recovery.
    pub async fn in_recovery(&self) -> Result<bool, SqlError> {
        Ok(self.text("SELECT pg_is_in_recovery()::text").await? == "true")
    }

    /// The one value of a query, as text; empty where there is none.
    pub async fn text(&self, query: &str) -> Result<String, SqlError> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let messages = self.client.simple_query(query).await?;
        let value = messages.iter().find_map(|message| match message {
            Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(value.unwrap_or_default())
    }

    /// Runs statements.
    pub async fn run(&self, statements: &str) -> Result<(), SqlError> {
        Ok(self.client.batch_execute(statements).await?)
    }
}

/// A string as SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    let escaped = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", escaped.replace('\\', "\\\\"))
    } else {
        format!("'{escaped}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_cannot_be_left() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }
}
