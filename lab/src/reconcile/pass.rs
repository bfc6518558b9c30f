//! The worker: reads what changed, then makes networks, machines and names follow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::machine_room::{MachineRoom, World};
use super::resolvers::Resolvers;
use super::{Affected, Handle, Inbox, InstanceReport, NetworkReport, Report, Request};
use crate::cloud::model::{Aspect, Cloud, Power, Region};
use crate::cloud::{Reader, read_names};
use crate::dns::Zones;
use crate::fabric::{Fabric, plan};
use crate::machines::{Exit, Machines};
use crate::settings::write_whole;

/// What could not be done is tried again after this time, and whether all is
/// still as it was made is looked at.
const RETRY: Duration = Duration::from_secs(2);

/// What the worker starts from.
pub struct Start {
    /// Where the API itself answers.
    pub endpoint: String,
    pub fabric: Fabric,
    pub machines: Machines,
    pub zones: Arc<watch::Sender<Zones>>,
    /// Where the list of regions in use is kept.
    pub regions_file: PathBuf,
    pub handle: Handle,
}

struct Worker {
    endpoint: String,
    regions_file: PathBuf,
    cloud: Cloud,
    readers: BTreeMap<String, Reader>,
    fabric: Fabric,
    room: MachineRoom,
    resolvers: Resolvers,
    zones: Arc<watch::Sender<Zones>>,
    /// What is to be read again, by region.
    stale: BTreeMap<String, BTreeSet<Aspect>>,
    stale_names: bool,
    /// Whether containers may differ from what is known of them.
    stale_machines: bool,
    problems: Vec<String>,
}

/// Follows the API until every handle is gone.
pub async fn run(start: Start, mut inbox: Inbox) {
    let mut worker = Worker::new(start);
    worker.pass().await;
    loop {
        let first = tokio::select! {
            request = inbox.0.recv() => request,
            () = tokio::time::sleep(RETRY) => match worker.has_more_to_do().await {
                true => Some(Request::Progress),
                false => continue,
            },
        };
        let Some(first) = first else { return };
        let mut waiting = Vec::new();
        let mut more = Some(first);
        let mut dirty = false;
        while let Some(request) = more {
            dirty |= worker.accept(request, &mut waiting).await;
            more = inbox.0.try_recv().ok();
        }
        if dirty {
            worker.pass().await;
        }
        for done in waiting {
            // The asker may have gone away.
            let _ = done.send(());
        }
    }
}

impl Worker {
    fn new(start: Start) -> Self {
        let known = std::fs::read(&start.regions_file).unwrap_or_default();
        let regions: Vec<String> = serde_json::from_slice(&known).unwrap_or_default();
        let mut worker = Self {
            endpoint: start.endpoint,
            regions_file: start.regions_file,
            cloud: Cloud::default(),
            readers: BTreeMap::new(),
            fabric: start.fabric,
            room: MachineRoom::new(start.machines, start.handle),
            resolvers: Resolvers::new(start.zones.subscribe()),
            zones: start.zones,
            stale: BTreeMap::new(),
            stale_names: true,
            stale_machines: true,
            problems: Vec::new(),
        };
        for region in regions {
            worker.meet(&region);
        }
        worker
    }

    /// Begins to follow a region.
    fn meet(&mut self, region: &str) {
        if self.readers.contains_key(region) {
            return;
        }
        let reader = Reader::new(&self.endpoint, region);
        self.readers.insert(region.to_owned(), reader);
        self.cloud
            .regions
            .insert(region.to_owned(), Region::default());
        self.stale.insert(region.to_owned(), Aspect::ALL.into());
        let names: Vec<&String> = self.readers.keys().collect();
        let text = serde_json::to_vec(&names).expect("a list of strings");
        if let Err(error) = write_whole(&self.regions_file, &text) {
            warn!("{error}");
        }
    }

    /// Takes a request in; true when there is something to do.
    async fn accept(&mut self, request: Request, waiting: &mut Vec<oneshot::Sender<()>>) -> bool {
        match request {
            Request::Changed {
                region,
                affected,
                done,
            } => {
                self.mark(region.as_deref(), affected);
                waiting.push(done);
                true
            }
            Request::Hold {
                region,
                instances,
                done,
            } => {
                let _ = done.send(self.hold(&region, instances).await);
                false
            }
            Request::Release { instances } => {
                self.room.held.retain(|id| !instances.contains(id));
                self.stale_machines = true;
                true
            }
            Request::Exited { instance, status } => self.exited(&instance, status).await,
            Request::Progress => {
                self.stale_machines = true;
                true
            }
            Request::Report { done } => {
                let _ = done.send(self.report());
                false
            }
        }
    }

    fn mark(&mut self, region: Option<&str>, affected: Affected) {
        self.stale_names |= affected.names;
        let Some(region) = region else { return };
        self.meet(region);
        if affected.aspects.contains(&Aspect::Peerings) {
            // Both ends change, wherever the call was made.
            for known in self.readers.keys() {
                self.stale
                    .entry(known.clone())
                    .or_default()
                    .insert(Aspect::Peerings);
            }
        }
        self.stale
            .entry(region.to_owned())
            .or_default()
            .extend(affected.aspects);
    }

    async fn hold(&mut self, region: &str, instances: BTreeSet<String>) -> bool {
        let Some(known) = self.cloud.regions.get(region) else {
            return false;
        };
        if !instances.iter().all(|id| known.instances.contains_key(id)) {
            return false;
        }
        for id in &instances {
            self.room.settle(id).await;
        }
        self.room.held.extend(instances);
        true
    }

    /// An instance ended that nobody stopped: it rebooted, or it is off now.
    async fn exited(&mut self, id: &str, status: i32) -> bool {
        let Some((region, instance)) = self.cloud.instance(id) else {
            return false;
        };
        if self.room.held.contains(id) || instance.power != Power::On {
            return false;
        }
        self.stale_machines = true;
        let ended = Exit::of(status);
        if ended == Exit::Off && self.room.runs(id).await {
            info!(instance = id, status, "ended before its last start");
            return true;
        }
        info!(instance = id, status, "ended by itself");
        if ended == Exit::Off {
            let region = region.clone();
            if let Err(error) = self.readers[&region].switched_off(id).await {
                warn!("{error}");
            }
            self.stale
                .entry(region)
                .or_default()
                .insert(Aspect::Instances);
        }
        true
    }

    /// Whether anything could not be done, or is not as it was made any more.
    async fn has_more_to_do(&self) -> bool {
        if !self.problems.is_empty() {
            return true;
        }
        let plugged = self.room.plugged().filter_map(|id| {
            let (_, instance) = self.cloud.instance(id)?;
            Some((instance.vpc.as_str(), id.as_str()))
        });
        let whole = self.fabric.is_whole(plugged).await;
        if !whole {
            warn!("links of the networks are gone: making them anew");
        }
        !whole
    }

    /// Reads what is stale and makes everything follow.
    async fn pass(&mut self) {
        let mut problems = self.read().await;
        let plan = plan(&self.cloud);
        self.resolvers.before(&plan);
        match self.fabric.apply(&plan).await {
            Ok(()) => {
                if let Err(error) = self.resolvers.after(&plan, &self.fabric) {
                    problems.push(format!("cannot start a resolver: {error}"));
                }
                if std::mem::take(&mut self.stale_machines) {
                    let world = World {
                        cloud: &self.cloud,
                        fabric: &self.fabric,
                        readers: &self.readers,
                    };
                    problems.extend(self.room.follow(&world).await);
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        for problem in problems.iter().filter(|p| !self.problems.contains(p)) {
            warn!("{problem}");
        }
        self.problems = problems;
    }

    async fn read(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, aspects) in std::mem::take(&mut self.stale) {
            self.stale_machines |= aspects.contains(&Aspect::Instances);
            let region = self.cloud.regions.entry(name.clone()).or_default();
            for aspect in aspects {
                if let Err(error) = self.readers[&name].refresh(aspect, region).await {
                    problems.push(error.to_string());
                    self.stale.entry(name.clone()).or_default().insert(aspect);
                }
            }
        }
        if self.stale_names {
            match read_names(&self.endpoint).await {
                Ok((zones, checks)) => {
                    self.stale_names = false;
                    self.zones.send_modify(|all| {
                        all.zones = zones;
                        all.health_checks = checks;
                    });
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        problems
    }

    fn report(&self) -> Report {
        let instances = self
            .cloud
            .instances()
            .filter(|(_, _, i)| i.power != Power::Gone);
        let machine = |id: &String| match self.room.containers.get(id) {
            Some(container) if container.pid.is_some() => "on",
            Some(_) => "off",
            None => "absent",
        };
        let built = plan(&self.cloud).vpcs;
        let networks = self.cloud.regions.iter().flat_map(|(region, all)| {
            let network = |vpc: &String| NetworkReport {
                region: region.clone(),
                vpc: vpc.clone(),
            };
            all.vpcs
                .keys()
                .filter(|vpc| built.contains_key(*vpc))
                .map(network)
                .collect::<Vec<_>>()
        });
        Report {
            regions: self.readers.keys().cloned().collect(),
            networks: networks.collect(),
            instances: instances
                .map(|(region, id, instance)| InstanceReport {
                    id: id.clone(),
                    name: instance.name.clone(),
                    region: region.clone(),
                    wanted: if instance.power == Power::On {
                        "on"
                    } else {
                        "off"
                    }
                    .to_owned(),
                    machine: machine(id).to_owned(),
                    private_ip: instance.private_ip.to_string(),
                    public_ip: instance.public_ip.map(|ip| ip.to_string()),
                })
                .collect(),
            problems: self.problems.clone(),
        }
    }
}
