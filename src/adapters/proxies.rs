//! HAProxy through its runtime API, over streams to its socket.

mod parse;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{
    ids::HostName,
    observation::{ProxyOrder, ProxyStatus, ProxyVerb},
    ports::{
        PortError,
        proxies::Proxies,
        remote::{Endpoint, Remote},
    },
};

/// How long HAProxy may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Only servers, of all proxies.
const STATUS: &str = "show stat -1 4 -1\n";

/// The load balancers of a deployment.
pub struct RuntimeApi {
    remote: Arc<dyn Remote>,
    socket: String,
}

impl RuntimeApi {
    /// `socket`: path of the administration socket on each load balancer.
    #[must_use]
    pub fn new(remote: Arc<dyn Remote>, socket: impl Into<String>) -> Self {
        Self {
            remote,
            socket: socket.into(),
        }
    }

    /// One line of commands, and all that is answered to it.
    async fn ask(&self, host: &HostName, line: &str) -> Result<String, PortError> {
        let what = name(host);
        let dialling = self.remote.dial(host, Endpoint::Unix(self.socket.clone()));
        let unreachable = |why: String| PortError::Unreachable {
            what: what.clone(),
            why,
        };
        let mut stream = match timeout(ANSWER, dialling).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no connection within {ANSWER:?}"))),
        };
        let mut answer = Vec::new();
        let exchange = async {
            stream.write_all(line.as_bytes()).await?;
            stream.flush().await?;
            // It answers one line, then closes.
            stream.read_to_end(&mut answer).await
        };
        match timeout(ANSWER, exchange).await {
            Ok(Ok(_)) => Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(Err(_)) | Err(_) => Err(PortError::Unanswered {
                what,
                within: ANSWER,
            }),
        }
    }
}

fn name(host: &HostName) -> String {
    format!("HAProxy on {host}")
}

fn command(order: &ProxyOrder) -> String {
    let server = format!("{}/{}", order.backend, order.server);
    match order.what {
        ProxyVerb::Drain => format!("set server {server} state drain"),
        ProxyVerb::Maintenance => format!("set server {server} state maint"),
        ProxyVerb::Ready => format!("set server {server} state ready"),
        ProxyVerb::HealthUp => format!("set server {server} health up"),
        ProxyVerb::HealthDown => format!("set server {server} health down"),
        ProxyVerb::ShutSessions => format!("shutdown sessions server {server}"),
    }
}

#[async_trait]
impl Proxies for RuntimeApi {
    async fn status(&self, lb: &HostName) -> Result<ProxyStatus, PortError> {
        let text = self.ask(lb, STATUS).await?;
        parse::status(&text).map_err(|why| PortError::Failed {
            what: name(lb),
            why,
        })
    }

    async fn tell(&self, lb: &HostName, orders: &[ProxyOrder]) -> Result<(), PortError> {
        if orders.is_empty() {
            return Ok(());
        }
        let commands: Vec<_> = orders.iter().map(command).collect();
        let answer = self.ask(lb, &format!("{}\n", commands.join(";"))).await?;
        // Success is silence.
        let complaint = answer.split_whitespace().collect::<Vec<_>>().join(" ");
        if complaint.is_empty() {
            return Ok(());
        }
        Err(PortError::Failed {
            what: name(lb),
            why: format!("{complaint} (told: {})", commands.join("; ")),
        })
    }
}
