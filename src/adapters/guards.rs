//! The guards, over streams to their hosts and mutual TLS.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::timeout};

use super::guard_client::{GuardClient, GuardClientError, GuardConnection};
use crate::{
    ids::HostName,
    order::{GuardStatus, OrderAnswer, OrderRequest},
    ports::{
        PortError,
        guards::Guards,
        remote::{Endpoint, Remote},
    },
};

/// How long a guard may take to say its status.
const STATUS: Duration = Duration::from_secs(2);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(4);

/// The guards of a deployment.
pub struct GuardLinks {
    remote: Arc<dyn Remote>,
    client: GuardClient,
    port: u16,
    links: BTreeMap<HostName, Link>,
}

/// Two connections, so that a status need not wait for the end of an order.
#[derive(Default)]
struct Link {
    status: Mutex<Option<GuardConnection>>,
    orders: Mutex<Option<GuardConnection>>,
}

impl GuardLinks {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(
        remote: Arc<dyn Remote>,
        client: GuardClient,
        port: u16,
        hosts: impl IntoIterator<Item = HostName>,
    ) -> Self {
        let hosts = hosts.into_iter();
        Self {
            remote,
            client,
            port,
            links: hosts.map(|host| (host, Link::default())).collect(),
        }
    }

    fn link(&self, host: &HostName) -> Result<&Link, PortError> {
        self.links
            .get(host)
            .ok_or_else(|| PortError::Absent { what: name(host) })
    }

    async fn connect(&self, host: &HostName) -> Result<GuardConnection, PortError> {
        let unreachable = |why: String| PortError::Unreachable {
            what: name(host),
            why,
        };
        let connecting = async {
            let stream = self.remote.dial(host, Endpoint::Tcp(self.port)).await;
            let stream = stream.map_err(|error| unreachable(error.to_string()))?;
            let connected = self.client.connect(stream, host, CONNECT).await;
            connected.map_err(|error| unreachable(error.to_string()))
        };
        let connected = timeout(CONNECT, connecting).await;
        connected.unwrap_or_else(|_| Err(unreachable(format!("no connection within {CONNECT:?}"))))
    }
}

fn name(host: &HostName) -> String {
    format!("the guard of {host}")
}

/// The kept connection where it lives.
fn kept(slot: &mut Option<GuardConnection>) -> Option<GuardConnection> {
    slot.take().filter(|connection| !connection.is_closed())
}

/// What an error means, once the question or order was on its way.
fn asked(host: &HostName, error: &GuardClientError, within: Duration) -> PortError {
    let what = name(host);
    match error {
        GuardClientError::Deadline { within, .. } => PortError::Unanswered {
            what,
            within: *within,
        },
        GuardClientError::Broken { .. } => PortError::Unanswered { what, within },
        GuardClientError::Status {
            status: 401 | 403,
            body,
            ..
        } => PortError::Denied {
            what,
            why: body.clone(),
            permission: None,
        },
        GuardClientError::Identity { .. }
        | GuardClientError::Tls { .. }
        | GuardClientError::Status { .. }
        | GuardClientError::Answer { .. } => PortError::Failed {
            what,
            why: error.to_string(),
        },
    }
}

#[async_trait]
impl Guards for GuardLinks {
    async fn status(&self, host: &HostName) -> Result<GuardStatus, PortError> {
        let mut slot = self.link(host)?.status.lock().await;
        if let Some(mut connection) = kept(&mut slot)
            && let Ok(status) = connection.status(STATUS).await
        {
            *slot = Some(connection);
            return Ok(status);
        }
        let mut connection = self.connect(host).await?;
        let status = connection.status(STATUS).await;
        let status = status.map_err(|error| asked(host, &error, STATUS))?;
        *slot = Some(connection);
        Ok(status)
    }

    async fn order(
        &self,
        host: &HostName,
        request: OrderRequest,
        deadline: Duration,
    ) -> Result<OrderAnswer, PortError> {
        let mut slot = self.link(host)?.orders.lock().await;
        let mut broken = None;
        if let Some(mut connection) = kept(&mut slot) {
            match connection.order(&request, deadline).await {
                Ok(answer) => {
                    *slot = Some(connection);
                    return Ok(answer);
                }
                // The guard may have restarted since: every order is harmless
                // twice, so it is told once more.
                Err(error @ GuardClientError::Broken { .. }) => broken = Some(error),
                Err(error) => return Err(asked(host, &error, deadline)),
            }
        }
        let mut connection = match (self.connect(host).await, broken) {
            (Ok(connection), _) => connection,
            (Err(error), None) => return Err(error),
            // The first attempt may have arrived.
            (Err(_), Some(first)) => return Err(asked(host, &first, deadline)),
        };
        let answer = connection.order(&request, deadline).await;
        let answer = answer.map_err(|error| asked(host, &error, deadline))?;
        *slot = Some(connection);
        Ok(answer)
    }
}
