//! The machines under the hosts, by EC2.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::aws::{Clients, Regional, machines};
use crate::{
    ids::{Epoch, HostName, Region},
    observation::{Machine, MachineState},
    order::Trace,
    ports::{
        PortError,
        cloud::{CloudError, Fault},
        machines::Machines,
    },
    provision::{
        FoundHosts,
        desired::instance_key,
        resource::{Key, TAG_DEPOSED},
    },
    topology::{Place, Topology},
};

/// How long the quick clients try (see [`super::aws`]).
const WITHIN: std::time::Duration = std::time::Duration::from_secs(6);

/// How long the answer may take that fencing does not need.
const CHECKS: std::time::Duration = std::time::Duration::from_millis(500);

/// The instances of a deployment.
pub struct Instances {
    clients: Clients,
    /// By host: its region, its name in tags, and the instance that was seen
    /// last. One that was made anew has another id.
    ids: Mutex<BTreeMap<HostName, (Region, Key, String)>>,
    topology: String,
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
            let key = instance_key(topology.host(host.name.as_str())?);
            Some((host.name.clone(), (host.region.clone(), key, id)))
        });
        let missing = topology.hosts().filter_map(|host| {
            let region = &topology.sites.get(&host.site)?.region;
            let error = found.errors.get(region)?;
            let instance = matches!(host.place, Place::Instance { .. });
            instance.then(|| (host.name.clone(), port_error(error)))
        });
        Self {
            clients,
            ids: Mutex::new(ids.collect()),
            topology: topology.name.clone(),
            unseen: missing.collect(),
        }
    }

    fn instance(&self, host: &HostName) -> Result<(&Regional, String), PortError> {
        let absent = || PortError::Absent {
            what: format!("an instance of {host}"),
        };
        let unknown = || self.unseen.get(host).cloned().unwrap_or_else(absent);
        let ids = self.ids.lock().expect("no holder of this lock panics");
        let (region, _, id) = ids.get(host).ok_or_else(unknown)?;
        let at = self
            .clients
            .ec2(Some(region))
            .map_err(|error| port_error(&error))?;
        Ok((at, id.clone()))
    }

    /// The instance that was made in the place of one that is gone; from now
    /// on it is the host's.
    async fn successor(
        &self,
        host: &HostName,
        at: &Regional,
    ) -> Result<Option<String>, CloudError> {
        let instances = machines::facts(at, &self.topology).await?;
        let mut ids = self.ids.lock().expect("no holder of this lock panics");
        let Some((_, key, id)) = ids.get_mut(host) else {
            return Ok(None);
        };
        let found = instances.into_iter().find(|found| found.key == *key);
        Ok(found.map(|found| {
            id.clone_from(&found.id);
            found.id
        }))
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

fn machine(
    host: &HostName,
    found: Option<(String, BTreeMap<String, String>)>,
    impaired: bool,
) -> Result<Machine, PortError> {
    let (word, tags) = found.unzip();
    let deposed = tags.and_then(|tags| trace_in(tags.get(TAG_DEPOSED)?));
    let state = state(host, word.as_deref())?;
    Ok(Machine {
        state,
        deposed,
        impaired,
    })
}

/// Value of the tag, such as `epoch=5 run=20260101120000-1a2b3c`.
fn trace_text(trace: &Trace) -> String {
    format!("epoch={} run={}", trace.epoch, trace.run)
}

fn trace_in(value: &str) -> Option<Trace> {
    let (epoch, run) = value.strip_prefix("epoch=")?.split_once(" run=")?;
    Some(Trace {
        epoch: Epoch(epoch.parse().ok()?),
        run: run.to_owned(),
    })
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
    async fn state(&self, host: &HostName) -> Result<Machine, PortError> {
        let (at, id) = self.instance(host)?;
        let checks = tokio::time::timeout(CHECKS, machines::is_impaired(at, &id));
        let (found, impaired) = futures::join!(machines::state(at, &id), checks);
        let mut found = found.map_err(|error| port_error(&error))?;
        let is_gone = found
            .as_ref()
            .is_none_or(|(state, _)| state == "terminated");
        if is_gone {
            let successor = self.successor(host, at).await;
            if let Some(id) = successor.map_err(|error| port_error(&error))? {
                let state = machines::state(at, &id).await;
                found = state.map_err(|error| port_error(&error))?;
            }
        }
        // Without an answer nothing is known against it.
        machine(host, found, matches!(impaired, Ok(Ok(true))))
    }

    async fn depose(&self, host: &HostName, by: &Trace) -> Result<(), PortError> {
        let (at, id) = self.instance(host)?;
        machines::set_tag(at, &id, TAG_DEPOSED, &trace_text(by))
            .await
            .map_err(|error| port_error(&error))
    }

    async fn power_off(&self, host: &HostName) -> Result<(), PortError> {
        let (at, id) = self.instance(host)?;
        machines::power_off(at, &id)
            .await
            .map_err(|error| port_error(&error))
    }

    async fn power_on(&self, host: &HostName) -> Result<(), PortError> {
        let (at, id) = self.instance(host)?;
        machines::power_on(at, &id)
            .await
            .map_err(|error| port_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_reads_as_it_is_written() {
        let trace = Trace {
            epoch: Epoch(5),
            run: "20260101120000-1a2b3c".to_owned(),
        };
        assert_eq!(trace_in(&trace_text(&trace)), Some(trace));
        for other in ["", "epoch=5", "epoch=x run=1", "run=1 epoch=5"] {
            assert_eq!(trace_in(other), None, "{other}");
        }
    }
}
