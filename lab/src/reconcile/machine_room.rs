//! Keeps containers as the API wants the instances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::Handle;
use crate::cloud::Reader;
use crate::cloud::model::{Cloud, Instance, Power};
use crate::fabric::{Fabric, Socket};
use crate::machines::{Container, Machines, Seed};

/// Containers, and what is being done to them.
pub(super) struct MachineRoom {
    pub(super) machines: Machines,
    pub(super) containers: BTreeMap<String, Container>,
    /// Instances that someone else takes care of.
    pub(super) held: BTreeSet<String>,
    /// Instances plugged in, with the process they were plugged in as.
    plugged: BTreeMap<String, u32>,
    busy: BTreeMap<String, Work>,
    handle: Handle,
}

/// What is being done to an instance.
struct Work {
    task: JoinHandle<Result<(), String>>,
    /// Set before the pass is asked for that looks at the result: the task
    /// itself counts as finished only a moment later.
    done: Arc<AtomicBool>,
}

/// Everything that a new instance is made from.
pub(super) struct World<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) fabric: &'a Fabric,
    pub(super) readers: &'a BTreeMap<String, Reader>,
}

impl MachineRoom {
    pub(super) fn new(machines: Machines, handle: Handle) -> Self {
        Self {
            machines,
            containers: BTreeMap::new(),
            held: BTreeSet::new(),
            plugged: BTreeMap::new(),
            busy: BTreeMap::new(),
            handle,
        }
    }

    /// Running instances that are plugged in and nobody is at work on.
    pub(super) fn plugged(&self) -> impl Iterator<Item = &String> {
        let plugged = self.plugged.iter().filter(|(id, pid)| {
            let container = self.containers.get(*id);
            container.is_some_and(|container| container.pid.as_ref() == Some(*pid))
                && !self.held.contains(*id)
                && !self.busy.contains_key(*id)
        });
        plugged.map(|(id, _)| id)
    }

    /// Waits until nothing is being done to an instance any more.
    pub(super) async fn settle(&mut self, instance: &str) {
        if let Some(work) = self.busy.remove(instance) {
            let _ = work.task.await;
        }
    }

    /// Whether an instance is on, once nothing is being done to it. One that
    /// cannot be asked about counts as on.
    pub(super) async fn runs(&mut self, instance: &str) -> bool {
        self.settle(instance).await;
        let containers = self.machines.list().await;
        containers.map_or(true, |all| {
            all.get(instance)
                .is_some_and(|container| container.pid.is_some())
        })
    }

    /// Compares every instance with its container and does what is missing.
    /// Long work goes on in the background; returns what could not be done.
    pub(super) async fn follow(&mut self, world: &World<'_>) -> Vec<String> {
        let mut problems = self.harvest().await;
        match self.machines.list().await {
            Ok(containers) => self.containers = containers,
            Err(error) => {
                problems.push(error.to_string());
                return problems;
            }
        }
        for (region, id, instance) in world.cloud.instances() {
            if self.held.contains(id) || self.busy.contains_key(id) {
                continue;
            }
            if let Err(problem) = self.follow_one(world, (region, id, instance)).await {
                problems.push(problem);
            }
        }
        self.remove_strangers(world.cloud);
        problems
    }

    /// Takes the results of background work that has ended.
    async fn harvest(&mut self) -> Vec<String> {
        let ended: Vec<String> = self
            .busy
            .iter()
            .filter(|(_, work)| work.done.load(Ordering::Acquire))
            .map(|(id, _)| id.clone())
            .collect();
        let mut problems = Vec::new();
        for id in ended {
            if let Some(Ok(Err(problem))) = match self.busy.remove(&id) {
                Some(work) => Some(work.task.await),
                None => None,
            } {
                problems.push(problem);
            }
        }
        problems
    }

    async fn follow_one(
        &mut self,
        world: &World<'_>,
        (region, id, instance): (&String, &String, &Instance),
    ) -> Result<(), String> {
        let container = self.containers.get(id).copied();
        match (instance.power, container) {
            (Power::On, Some(Container { pid: Some(pid) })) => {
                self.plug(world, (region, id, instance), pid).await
            }
            (Power::On, Some(Container { pid: None })) => {
                self.plugged.remove(id);
                self.start(id, None);
                Ok(())
            }
            (Power::On, None) => {
                let seed = seed(world, region, id, instance).await?;
                self.start(id, Some(seed));
                Ok(())
            }
            (Power::Off, Some(Container { pid: Some(_) })) => {
                self.plugged.remove(id);
                let stopped = self.machines.stop(id, false).await;
                stopped.map_err(|e| e.to_string())
            }
            (Power::Gone, Some(_)) => {
                self.remove(id);
                Ok(())
            }
            (Power::Off | Power::Gone, _) => Ok(()),
        }
    }

    fn start(&mut self, id: &str, seed: Option<Seed>) {
        let (machines, handle, instance) =
            (self.machines.clone(), self.handle.clone(), id.to_owned());
        let work = async move {
            if let Some(seed) = seed {
                machines.create(&seed).await.map_err(|e| e.to_string())?;
            }
            machines.start(&instance).await.map_err(|e| e.to_string())?;
            Ok(())
        };
        self.spawn(id, handle, work);
    }

    fn remove(&mut self, id: &str) {
        self.plugged.remove(id);
        let (machines, handle, instance) =
            (self.machines.clone(), self.handle.clone(), id.to_owned());
        let work = async move { machines.remove(&instance).await.map_err(|e| e.to_string()) };
        self.spawn(id, handle, work);
    }

    fn spawn(
        &mut self,
        id: &str,
        handle: Handle,
        work: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let done = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&done);
        let task = tokio::spawn(async move {
            let result = work.await;
            ended.store(true, Ordering::Release);
            handle.progress();
            result
        });
        self.busy.insert(id.to_owned(), Work { task, done });
    }

    /// Containers of instances that the API does not know any more.
    fn remove_strangers(&mut self, cloud: &Cloud) {
        let unknown = |id: &&String| cloud.instance(id).is_none() && !self.busy.contains_key(*id);
        let strangers: Vec<String> = self.containers.keys().filter(unknown).cloned().collect();
        for id in strangers {
            self.remove(&id);
        }
    }

    async fn plug(
        &mut self,
        world: &World<'_>,
        (region, id, instance): (&String, &String, &Instance),
        pid: u32,
    ) -> Result<(), String> {
        let subnet = world.cloud.regions[region].subnets.get(&instance.subnet);
        let socket = Socket {
            instance: id.clone(),
            vpc: instance.vpc.clone(),
            subnet: subnet
                .ok_or_else(|| format!("{id}: no subnet {}", instance.subnet))?
                .cidr,
            address: instance.private_ip,
        };
        // A router that was made anew has lost its links.
        if self.plugged.get(id) == Some(&pid) && world.fabric.connected(&socket).await {
            return Ok(());
        }
        world
            .fabric
            .connect(&socket, pid)
            .await
            .map_err(|e| e.to_string())?;
        self.plugged.insert(id.clone(), pid);
        Ok(())
    }
}

async fn seed(
    world: &World<'_>,
    region: &str,
    id: &str,
    instance: &Instance,
) -> Result<Seed, String> {
    let reader = world
        .readers
        .get(region)
        .ok_or_else(|| format!("{region} is not read"))?;
    let mut public_keys = Vec::new();
    if let Some(name) = &instance.key_name {
        public_keys.push(reader.public_key(name).await.map_err(|e| e.to_string())?);
    }
    let vpc = world.cloud.vpc(region, &instance.vpc);
    let resolver = vpc.and_then(|v| v.cidr.trunc().hosts().nth(1));
    Ok(Seed {
        instance_id: id.to_owned(),
        region: region.to_owned(),
        hostname: instance.hostname.clone(),
        domain: Seed::domain_of(region),
        private_ip: instance.private_ip,
        resolver: resolver.ok_or_else(|| format!("{id}: no VPC {}", instance.vpc))?,
        public_keys,
        user_data: reader.user_data(id).await.map_err(|e| e.to_string())?,
    })
}
