//! Finds votes in the queues and in the database of a deployment.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join_all;
use redis::AsyncTypedCommands;
use secrecy::SecretString;
use serde::Deserialize;

use super::redis_link;
use crate::{
    ids::HostName,
    load::{
        account::Found,
        ledger::{Ledger, LedgerError},
        send::number,
    },
    ports::remote::{Command, Remote},
    topology::{Role, Topology},
};

/// How long a host may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Reads through the hosts themselves: `psql` as the system user of
/// PostgreSQL, and Redis.
pub struct HostLedger {
    remote: Arc<dyn Remote>,
    databases: Vec<HostName>,
    queues: Vec<HostName>,
    database: String,
    database_port: u16,
    queue_port: u16,
    password: SecretString,
}

impl HostLedger {
    /// The ledger of a deployment.
    #[must_use]
    pub fn new(remote: Arc<dyn Remote>, topology: &Topology, password: SecretString) -> Self {
        let names = |role| {
            topology
                .hosts_with(role)
                .map(|host| host.name.clone())
                .collect()
        };
        Self {
            remote,
            databases: names(Role::Db),
            queues: names(Role::Queue),
            database: topology.database.name.clone(),
            database_port: topology.database.port,
            queue_port: topology.queue.port,
            password,
        }
    }

    /// Entries of the list `votes` and of the workers' processing lists.
    async fn queued(&self, host: &HostName, run: &str) -> Result<BTreeSet<u64>, String> {
        let opened =
            redis_link::open(&*self.remote, host, self.queue_port, &self.password, ANSWER).await;
        let mut redis = opened.map_err(|error| error.to_string())?;
        let text = |error: redis::RedisError| format!("Redis on {host}: {error}");
        let mut lists = vec!["votes".to_owned()];
        let mut keys = redis.scan_match("votes:processing:*").await.map_err(text)?;
        while let Some(key) = keys.next_item().await {
            lists.push(key.map_err(text)?);
        }
        drop(keys);
        let mut found = BTreeSet::new();
        // From the queue to the processing lists, the way a vote moves: read
        // in that order, none is missed in between.
        for list in lists {
            let entries = redis.lrange(list, 0, -1).await.map_err(text)?;
            found.extend(entries.iter().filter_map(|entry| entry_number(run, entry)));
        }
        Ok(found)
    }

    async fn persisted(&self, host: &HostName, run: &str) -> Result<Rows, String> {
        let script = format!(
            "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -p {} -d {}",
            self.database_port,
            quoted(&self.database)
        );
        let output = self.remote.run(
            host,
            Command {
                script,
                stdin: query(run).into_bytes(),
                root: true,
                deadline: ANSWER,
            },
        );
        let output = output.await.map_err(|error| error.to_string())?;
        if output.status != 0 {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("psql on {host}: {}", why.trim()));
        }
        rows(run, &String::from_utf8_lossy(&output.stdout))
            .ok_or_else(|| format!("psql on {host}: an answer that is not understood"))
    }
}

#[async_trait]
impl Ledger for HostLedger {
    async fn find(&self, run: &str) -> Result<Found, LedgerError> {
        let mut found = Found::default();
        let queued = self.queues.iter().map(|host| self.queued(host, run));
        for read in join_all(queued).await {
            match read {
                Ok(votes) => found.queued.extend(votes),
                Err(why) => found.unseen.push(why),
            }
        }
        let read = self.databases.iter().map(|host| self.persisted(host, run));
        let read = join_all(read).await;
        let mut primaries = Vec::new();
        let mut others = Vec::new();
        for (host, rows) in self.databases.iter().zip(read) {
            match rows {
                Ok(Rows::Primary(votes)) => primaries.push((host, votes)),
                Ok(Rows::Standby) => others.push(format!("{host} is a standby")),
                Err(why) => others.push(why),
            }
        }
        match primaries.len() {
            0 => Err(LedgerError::NoPrimary(others.join("; "))),
            1 => {
                found.persisted = primaries.remove(0).1;
                Ok(found)
            }
            _ => {
                let names: Vec<_> = primaries.iter().map(|(host, _)| host.as_str()).collect();
                Err(LedgerError::TwoPrimaries(names.join(" and ")))
            }
        }
    }
}

/// What a database answered.
#[derive(Debug, PartialEq, Eq)]
enum Rows {
    Primary(BTreeSet<u64>),
    Standby,
}

/// Whether it is in recovery, then the voters of the run. A run id is made of
/// letters and digits, so it needs no escaping.
fn query(run: &str) -> String {
    format!(
        "select pg_is_in_recovery();\n\
         select id from votes where id like 'load-{run}-%' and not pg_is_in_recovery();\n"
    )
}

fn rows(run: &str, text: &str) -> Option<Rows> {
    let mut lines = text.lines();
    match lines.next()? {
        "t" => Some(Rows::Standby),
        "f" => Some(Rows::Primary(
            lines.filter_map(|id| number(run, id)).collect(),
        )),
        _ => None,
    }
}

/// An entry as the voting page writes it.
#[derive(Deserialize)]
struct Entry {
    voter_id: String,
}

fn entry_number(run: &str, entry: &str) -> Option<u64> {
    let entry: Entry = serde_json::from_str(entry).ok()?;
    number(run, &entry.voter_id)
}

/// A word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_run_are_read_from_a_primary_only() {
        assert_eq!(
            rows("1a", "f\nload-1a-0\nload-1a-7\nload-1b-9\n"),
            Some(Rows::Primary([0, 7].into()))
        );
        assert_eq!(rows("1a", "t\n"), Some(Rows::Standby));
        assert_eq!(rows("1a", ""), None);
        assert_eq!(rows("1a", "ERROR\n"), None);
    }

    #[test]
    fn entries_of_the_queue_are_recognised() {
        let entry = r#"{"voter_id":"load-1a-12","vote":"a"}"#;
        assert_eq!(entry_number("1a", entry), Some(12));
        assert_eq!(entry_number("1b", entry), None);
        assert_eq!(entry_number("1a", "garbage"), None);
    }
}
