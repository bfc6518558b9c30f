//! Connections to Redis, and the names of its keys.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisResult};

use crate::args::{RedisArgs, secret};

/// The queue: a list, `RPUSH` puts votes in, the head is the oldest.
pub const VOTES: &str = "votes";
/// `0` waives the confirmation by a replica while there surely is none.
pub const CONFIRMATIONS: &str = "votes:confirmations";
/// Entries that are no votes.
pub const REJECTED: &str = "votes:rejected";
/// A set with the keys of all processing lists that may hold votes.
pub const PROCESSING: &str = "votes:processing";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to reach Redis.
#[derive(Clone)]
pub struct Queue {
    client: Client,
    name: String,
}

impl Queue {
    /// Takes the password from the environment.
    ///
    /// # Errors
    /// When the password file cannot be read.
    pub fn new(args: &RedisArgs) -> anyhow::Result<Self> {
        let address = ConnectionAddr::Tcp(args.redis_host.clone(), args.redis_port);
        let mut info = address.into_connection_info()?;
        if let Some(password) = secret("REDIS_PASSWORD")? {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let name = format!("{}:{}", args.redis_host, args.redis_port);
        Ok(Self {
            client: Client::open(info)?,
            name,
        })
    }

    /// Host and port, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A connection of its own, on which any answer takes at most `limit`.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses the password.
    pub async fn connect(&self, limit: Duration) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(limit));
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}
