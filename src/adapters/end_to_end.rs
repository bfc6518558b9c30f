//! Writes the way an application writes: through a site's load balancer to
//! whichever database is primary.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;

use super::{
    balanced,
    database::{Login, one_line},
};
use crate::{
    ids::{HostName, SiteName},
    ports::{PortError, end_to_end::EndToEnd, remote::Remote},
};

/// Writes a record to the log and waits for its commit, without any table.
const WRITE: &str = "select pg_logical_emit_message(true, 'hafail', '')";

/// Writers through the load balancers of a deployment.
pub struct SiteWriters {
    remote: Arc<dyn Remote>,
    login: Login,
    port: u16,
    sites: BTreeMap<SiteName, Site>,
}

struct Site {
    balancers: Vec<HostName>,
    kept: Mutex<Option<Client>>,
}

impl SiteWriters {
    /// `port`: where load balancers lead to the primary.
    #[must_use]
    pub fn new(
        remote: Arc<dyn Remote>,
        login: Login,
        port: u16,
        balancers: BTreeMap<SiteName, Vec<HostName>>,
    ) -> Self {
        let sites = balancers.into_iter().map(|(site, balancers)| {
            let kept = Mutex::default();
            (site, Site { balancers, kept })
        });
        Self {
            remote,
            login,
            port,
            sites: sites.collect(),
        }
    }

    async fn connect(&self, name: &SiteName, site: &Site) -> Result<Client, PortError> {
        let what = writer(name);
        let stream =
            balanced::dial(self.remote.as_ref(), &site.balancers, self.port, &what).await?;
        let connected = self.login.over(stream).await;
        connected.map_err(|why| PortError::Failed { what, why })
    }
}

impl Site {
    fn kept(&self) -> MutexGuard<'_, Option<Client>> {
        self.kept.lock().expect("no holder of this lock panics")
    }
}

fn writer(site: &SiteName) -> String {
    format!("the database through the load balancer of {site}")
}

#[async_trait]
impl EndToEnd for SiteWriters {
    async fn write(&self, name: &SiteName, deadline: Duration) -> Result<(), PortError> {
        let end = Instant::now() + deadline;
        let late = || PortError::Unanswered {
            what: writer(name),
            within: deadline,
        };
        let site = self
            .sites
            .get(name)
            .ok_or_else(|| PortError::Absent { what: writer(name) })?;
        // A write that hangs keeps no other one waiting: that opens its own.
        let alive = site.kept().take().filter(|client| !client.is_closed());
        let client = match alive {
            Some(client) => client,
            None => timeout_at(end, self.connect(name, site))
                .await
                .map_err(|_| late())??,
        };
        let written = timeout_at(end, client.query_typed(WRITE, &[])).await;
        let written = written.map_err(|_| late())?;
        written.map_err(|error| PortError::Failed {
            what: writer(name),
            why: one_line(&error),
        })?;
        *site.kept() = Some(client);
        Ok(())
    }
}
