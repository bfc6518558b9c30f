//! The machines under the hosts, by EC2.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::aws::{Clients, machines};
use crate::{
    ids::{HostName, Region},
    observation::MachineState,
    ports::{
        PortError,
        cloud::{CloudError, Fault},
        machines::Machines,
    },
    provision::FoundHosts,
    topology::{Place, Topology},
};

/// How long the quick clients try (see [`super::aws`]).
const WITHIN: std::time::Duration = std::time::Duration::from_secs(6);

/// The instances of a deployment.
pub struct Instances {
    clients: Clients,
    ids: BTreeMap<HostName, (Region, String)>,
    /// Hosts of regions that could not be asked which instances there are.
    unseen: BTreeMap<HostName, PortError>,
}

impl Instances {
    /// The instances that were found; static hosts have none.
    #[must_use]
    pub fn new(clients: Clients, topology: &Topology, found: &FoundHosts) -> Self {
        let hosts = found.inventory.hosts.values();
        let ids = hosts.filter_map(|host| {
            let id = host.instance_id.clone()?;
            Some((host.name.clone(), (host.region.clone(), id)))
        });
        let missing = topology.hosts().filter_map(|host| {
            let region = &topology.sites.get(&host.site)?.region;
            let error = found.errors.get(region)?;
            let instance = matches!(host.place, Place::Instance { .. });
            instance.then(|| (host.name.clone(), port_error(error)))
        });
        Self {
            clients,
            ids: ids.collect(),
            unseen: missing.collect(),
        }
    }

    fn instance(&self, host: &HostName) -> Result<(&super::aws::Regional, &str), PortError> {
        let absent = || PortError::Absent {
            what: format!("an instance of {host}"),
        };
        let unknown = || self.unseen.get(host).cloned().unwrap_or_else(absent);
        let (region, id) = self.ids.get(host).ok_or_else(unknown)?;
        let at = self
            .clients
            .ec2(Some(region))
            .map_err(|error| port_error(&error))?;
        Ok((at, id))
    }
}

/// An error of the cloud in the words of operation.
#[must_use]
pub fn port_error(error: &CloudError) -> PortError {
    let region = error.region.as_ref();
    let what = region.map_or_else(
        || error.call.clone(),
        |region| format!("{} in {region}", error.call),
    );
    let why = error.message.clone();
    match error.fault {
        Fault::Throttled => PortError::Throttled { what },
        Fault::Unclear => PortError::Unanswered {
            what,
            within: WITHIN,
        },
        Fault::Unreachable => PortError::Unreachable { what, why },
        Fault::Denied => PortError::Denied {
            permission: Some(error.call.clone()),
            what,
            why,
        },
        Fault::Credentials => PortError::Denied {
            what,
            why,
            permission: None,
        },
        Fault::NotYet | Fault::InUse | Fault::Occupied | Fault::Quota | Fault::Refused => {
            PortError::Failed { what, why }
        }
    }
}

fn state(host: &HostName, word: Option<&str>) -> Result<MachineState, PortError> {
    Ok(match word {
        Some("pending") => MachineState::Pending,
        Some("running") => MachineState::Running,
        Some("stopping") => MachineState::Stopping,
        Some("stopped") => MachineState::Stopped,
        Some("shutting-down") => MachineState::ShuttingDown,
        // EC2 forgets terminated instances after about an hour.
        Some("terminated") | None => MachineState::Terminated,
        Some(other) => {
            return Err(PortError::Failed {
                what: format!("the state of {host}"),
                why: format!("EC2 says `{other}`"),
            });
        }
    })
}

#[async_trait]
impl Machines for Instances {
    async fn state(&self, host: &HostName) -> Result<MachineState, PortError> {
        let (at, id) = self.instance(host)?;
        let word = machines::state(at, id)
            .await
            .map_err(|error| port_error(&error))?;
        state(host, word.as_deref())
    }

    async fn power_off(&self, host: &HostName) -> Result<(), PortError> {
        let (at, id) = self.instance(host)?;
        machines::power_off(at, id)
            .await
            .map_err(|error| port_error(&error))
    }

    async fn power_on(&self, host: &HostName) -> Result<(), PortError> {
        let (at, id) = self.instance(host)?;
        machines::power_on(at, id)
            .await
            .map_err(|error| port_error(&error))
    }
}
