//! Asks the services of the stack the way a browser does: through a site's
//! load balancer.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::balanced;
use crate::{
    ids::{HostName, SiteName},
    observation::DoorAnswer,
    ports::{
        PortError,
        front_doors::FrontDoors,
        remote::{Remote, Stream},
    },
    topology::{RecordTarget, Topology},
};

/// Front doors of a deployment.
pub struct SiteDoors {
    remote: Arc<dyn Remote>,
    balancers: BTreeMap<SiteName, Vec<HostName>>,
    /// By service.
    doors: BTreeMap<String, Door>,
}

/// Where a service is asked.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where the load balancer listens for it.
    pub port: u16,
    /// The page that says whether it is ready.
    pub path: String,
    /// The name that users call it by.
    pub authority: String,
}

impl SiteDoors {
    /// `doors`: by service.
    #[must_use]
    pub fn new(
        remote: Arc<dyn Remote>,
        balancers: BTreeMap<SiteName, Vec<HostName>>,
        doors: BTreeMap<String, Door>,
    ) -> Self {
        Self {
            remote,
            balancers,
            doors,
        }
    }
}

/// Where each service that is served is asked.
#[must_use]
pub fn doors(topology: &Topology) -> BTreeMap<String, Door> {
    let mut records = topology.dns.iter().flat_map(|dns| &dns.records);
    let active = records.find(|record| record.target == RecordTarget::Active);
    let authority = active.map_or(&topology.name, |record| &record.name);
    let served = topology.stack.iter().filter_map(|service| {
        let path = service.health.as_ref().map_or("/", |health| &health.path);
        let door = Door {
            port: service.public_port?,
            path: path.to_owned(),
            authority: authority.clone(),
        };
        Some((service.name.clone(), door))
    });
    served.collect()
}

#[async_trait]
impl FrontDoors for SiteDoors {
    async fn ask(&self, site: &SiteName, service: &str) -> Result<DoorAnswer, PortError> {
        let what = format!("{service} through the load balancer of {site}");
        let Some(door) = self.doors.get(service) else {
            return Err(PortError::Absent { what });
        };
        let balancers = self.balancers.get(site).map_or(&[][..], Vec::as_slice);
        let stream = balanced::dial(self.remote.as_ref(), balancers, door.port, &what).await?;
        let start = Instant::now();
        let answer = get(stream, door).await;
        let status = answer.map_err(|why| PortError::Failed { what, why })?;
        Ok(DoorAnswer {
            status,
            milliseconds: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// The status of the answer; the page itself is not read.
async fn get(stream: Box<dyn Stream>, door: &Door) -> Result<u16, String> {
    let broken = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Ends with its sender, which has its error too.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let request = Request::get(&door.path)
        .header(header::HOST, &door.authority)
        .header(header::USER_AGENT, "hafail")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(broken)?;
    Ok(response.status().as_u16())
}
