//! A connection to the Redis of a queue host, over the host's own stream.

use std::time::Duration;

use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, aio::MultiplexedConnection};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::{
    ids::HostName,
    ports::{
        PortError,
        remote::{Endpoint, Remote},
    },
};

/// Opens a connection, on which any answer takes at most `within`.
///
/// # Errors
/// `Unreachable` where nothing could be asked, `Denied` for a wrong password.
pub async fn open(
    remote: &dyn Remote,
    host: &HostName,
    port: u16,
    password: &SecretString,
    within: Duration,
) -> Result<MultiplexedConnection, PortError> {
    let what = name(host);
    let opening = async {
        let stream = remote.dial(host, Endpoint::Tcp(port)).await;
        let stream = stream.map_err(|error| PortError::Unreachable {
            what: what.clone(),
            why: error.to_string(),
        })?;
        let info = RedisConnectionInfo::default().set_password(password.expose_secret());
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(within));
        let opened = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = opened.map_err(|error| failure(host, &error, within))?;
        // Ends when the last clone of the connection is dropped.
        tokio::spawn(driver);
        Ok(connection)
    };
    match timeout(within, opening).await {
        Ok(opened) => opened,
        // Nothing but a greeting was sent.
        Err(_) => Err(PortError::Unreachable {
            what,
            why: format!("no connection within {within:?}"),
        }),
    }
}

/// What an error of Redis means.
#[must_use]
pub fn failure(host: &HostName, error: &RedisError, within: Duration) -> PortError {
    let what = name(host);
    if error.is_timeout() || error.is_connection_dropped() || error.is_io_error() {
        return PortError::Unanswered { what, within };
    }
    let why = error.to_string();
    if why.contains("WRONGPASS")
        || why.contains("NOAUTH")
        || error.kind() == redis::ErrorKind::AuthenticationFailed
    {
        return PortError::Denied {
            what,
            why: "the password is not the one of this deployment".into(),
            permission: None,
        };
    }
    PortError::Failed { what, why }
}

fn name(host: &HostName) -> String {
    format!("Redis on {host}")
}
