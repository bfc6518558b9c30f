//! The queues, over streams to their hosts.

mod info;

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use redis::{Cmd, FromRedisValue, aio::MultiplexedConnection};
use secrecy::SecretString;

use super::redis_link;
use crate::{
    ids::HostName,
    observation::{QueueRole, QueueStatus},
    ports::{PortError, queues::Queues, remote::Remote},
};

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The queues of a deployment.
pub struct RedisQueues {
    remote: Arc<dyn Remote>,
    port: u16,
    password: SecretString,
    /// Names of queue hosts by the addresses that Redis reports.
    names: BTreeMap<Ipv4Addr, HostName>,
    kept: Mutex<BTreeMap<HostName, MultiplexedConnection>>,
}

impl RedisQueues {
    /// Connects to nothing yet. `names`: private addresses of queue hosts.
    #[must_use]
    pub fn new(
        remote: Arc<dyn Remote>,
        port: u16,
        password: SecretString,
        names: BTreeMap<Ipv4Addr, HostName>,
    ) -> Self {
        Self {
            remote,
            port,
            password,
            names,
            kept: Mutex::default(),
        }
    }

    /// Runs a command on the kept connection, or on a new one. A connection
    /// that has not answered is given up, also where nobody waited for long:
    /// that of a machine that lost power stays silent.
    async fn ask<T: FromRedisValue>(&self, host: &HostName, command: &Cmd) -> Result<T, PortError> {
        let kept = self.kept().remove(host);
        let mut connection = match kept {
            Some(connection) => connection,
            None => {
                redis_link::open(&*self.remote, host, self.port, &self.password, ANSWER).await?
            }
        };
        let answer = command.query_async(&mut connection).await;
        let answer = answer.map_err(|error| redis_link::failure(host, &error, ANSWER))?;
        self.kept().insert(host.clone(), connection);
        Ok(answer)
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<HostName, MultiplexedConnection>> {
        self.kept.lock().expect("no holder of this lock panics")
    }

    /// Calls a change again on a new connection when the kept one turned out
    /// to be dead: all of them are harmless twice.
    async fn tell(&self, host: &HostName, command: &Cmd) -> Result<(), PortError> {
        match self.ask::<()>(host, command).await {
            Err(PortError::Unanswered { .. }) => self.ask(host, command).await,
            told => told,
        }
    }

    async fn replication(&self, host: &HostName) -> Result<BTreeMap<String, String>, PortError> {
        let mut command = redis::cmd("INFO");
        command.arg("replication");
        let text: String = match self.ask(host, &command).await {
            Err(PortError::Unanswered { .. }) => self.ask(host, &command).await?,
            answered => answered?,
        };
        Ok(info::fields(&text))
    }
}

#[async_trait]
impl Queues for RedisQueues {
    async fn status(&self, host: &HostName) -> Result<QueueStatus, PortError> {
        let fields = self.replication(host).await?;
        let mut status = info::status(&fields).map_err(|why| PortError::Failed {
            what: format!("Redis on {host}"),
            why,
        })?;
        if let QueueRole::Replica { of, .. } = &mut status.role
            && let Ok(address) = of.parse::<Ipv4Addr>()
            && let Some(name) = self.names.get(&address)
        {
            *of = name.to_string();
        }
        status.votes = self.ask(host, redis::cmd("LLEN").arg("votes")).await?;
        Ok(status)
    }

    async fn pause_writes(&self, host: &HostName, time: Duration) -> Result<(), PortError> {
        let mut command = redis::cmd("CLIENT");
        if time.is_zero() {
            command.arg("UNPAUSE");
        } else {
            let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            command.arg("PAUSE").arg(milliseconds).arg("WRITE");
        }
        self.tell(host, &command).await
    }

    async fn promote(&self, host: &HostName) -> Result<(), PortError> {
        self.tell(host, redis::cmd("REPLICAOF").arg("NO").arg("ONE"))
            .await
    }

    async fn require_confirmation(&self, host: &HostName, required: bool) -> Result<(), PortError> {
        let mut command = redis::cmd("SET");
        command.arg("votes:confirmations").arg(u8::from(required));
        self.tell(host, &command).await
    }

    async fn follow(&self, host: &HostName, master: &HostName) -> Result<(), PortError> {
        let mut command = redis::cmd("REPLICAOF");
        command.arg(master.as_str()).arg(self.port);
        self.tell(host, &command).await
    }
}
