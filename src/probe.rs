//! Looks at everything at once and says what was seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, Shared, join_all, select},
};

use crate::{
    ids::{HostName, SiteName},
    observation::{
        AddressRecord, DoorAnswer, Doors, Knowledge, Machine, ProxyStatus, QueueStatus, Snapshot,
        WriteAnswer,
    },
    order::{GuardStatus, PostgresState},
    ports::{PortError, World},
    topology::{Host, Record, RecordTarget, Role, Topology},
};

mod hosts;
mod page;
mod store;

pub use page::{Places, view};
pub use store::{seen, silent_members};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a service may take to be called open.
const DOOR_PATIENCE: Duration = Duration::from_secs(1);

/// How long a write may take to be called answered.
const WRITE_PATIENCE: Duration = Duration::from_millis(1500);

/// Asks every guard, machine, load balancer, front door, queue and record at
/// once, then tries a write through the load balancer of every site. What does not answer
/// in time is unknown. A host whose machine is down is not waited for: with a
/// region dark, every second counts.
pub async fn snapshot(topology: &Topology, world: &World) -> Snapshot {
    let eyes = Eyes::new(topology, world);
    let ((guards, proxies, queues), machines, records, doors, store) = futures::join!(
        eyes.hosts(),
        eyes.machines(),
        eyes.records(),
        eyes.doors(),
        store::sight(topology, world),
    );
    let writes = eyes.writes(&guards).await;
    Snapshot {
        taken: world.clock.wall(),
        guards,
        machines,
        proxies,
        queues,
        records,
        writes,
        doors,
        store,
    }
}

/// Asks every guard, load balancer and queue, and waits for none longer than
/// `patience`, and for those that did not answer lately a part of it: what is
/// not there must not hold up what is. Machines, records, writes and front doors
/// are unknown.
pub async fn glance(
    topology: &Topology,
    world: &World,
    patience: Duration,
    silent: &BTreeSet<HostName>,
) -> Snapshot {
    let eyes = Eyes {
        topology,
        world,
        machines: BTreeMap::new(),
        patience,
        silent: silent.clone(),
    };
    let (guards, proxies, queues) = eyes.hosts().await;
    Snapshot {
        taken: world.clock.wall(),
        guards,
        machines: BTreeMap::new(),
        proxies,
        queues,
        records: BTreeMap::new(),
        writes: BTreeMap::new(),
        doors: BTreeMap::new(),
        store: Knowledge::Absent,
    }
}

/// Asks the cloud of every machine.
pub async fn machines(
    topology: &Topology,
    world: &World,
    patience: Duration,
) -> BTreeMap<HostName, Knowledge<Machine>> {
    let asked = topology.hosts().map(|host| async move {
        let state = world.machines.state(&host.name);
        (host.name.clone(), know(world, patience, state).await)
    });
    join_all(asked).await.into_iter().collect()
}

/// Asks the name servers of the zone what the names lead to that follow the
/// active site.
pub async fn names(
    topology: &Topology,
    world: &World,
) -> BTreeMap<String, Knowledge<AddressRecord>> {
    let eyes = Eyes::new(topology, world);
    let active = topology.dns.iter().flat_map(|dns| &dns.records);
    let active = active.filter(|record| record.target == RecordTarget::Active);
    let asked =
        active.map(|record| async { (record.name.clone(), eyes.answered(&record.name).await) });
    join_all(asked).await.into_iter().collect()
}

type MachineAnswer<'a> = Shared<BoxFuture<'a, Knowledge<Machine>>>;

struct Eyes<'a> {
    topology: &'a Topology,
    world: &'a World,
    /// Each asked once, awaited by whoever needs it.
    machines: BTreeMap<HostName, MachineAnswer<'a>>,
    /// How long one answer may take.
    patience: Duration,
    /// Hosts that did not answer the last time.
    silent: BTreeSet<HostName>,
}

/// What guards, load balancers and queues said.
type Hosts = (
    BTreeMap<HostName, Knowledge<GuardStatus>>,
    BTreeMap<HostName, Knowledge<ProxyStatus>>,
    BTreeMap<HostName, Knowledge<QueueStatus>>,
);

impl<'a> Eyes<'a> {
    fn new(topology: &'a Topology, world: &'a World) -> Self {
        let machines = topology.hosts().map(|host| {
            let answer =
                async move { know(world, PATIENCE, world.machines.state(&host.name)).await };
            (host.name.clone(), answer.boxed().shared())
        });
        Self {
            topology,
            world,
            machines: machines.collect(),
            patience: PATIENCE,
            silent: BTreeSet::new(),
        }
    }

    async fn hosts(&self) -> Hosts {
        let world = self.world;
        futures::join!(
            self.each(Role::Db, |host| async move {
                world.guards.status(&host.name).await
            }),
            self.each(Role::Lb, |host| async move {
                world.proxies.status(&host.name).await
            }),
            self.each(Role::Queue, |host| async move {
                world.queues.status(&host.name).await
            }),
        )
    }

    async fn machines(&self) -> BTreeMap<HostName, Knowledge<Machine>> {
        let asked = self.machines.iter().map(|(host, answer)| {
            let (host, answer) = (host.clone(), answer.clone());
            async move { (host, answer.await) }
        });
        join_all(asked).await.into_iter().collect()
    }

    /// Asks each host of a role, but no longer than its machine is up.
    async fn each<T, F>(
        &self,
        role: Role,
        ask: impl Fn(&'a Host) -> F,
    ) -> BTreeMap<HostName, Knowledge<T>>
    where
        F: Future<Output = Result<T, PortError>>,
    {
        let asked = self.topology.hosts_with(role).map(|host| {
            let parts = 1 + 4 * u32::from(self.silent.contains(&host.name));
            let answer = know(self.world, self.patience / parts, ask(host));
            async move { (host.name.clone(), self.while_up(host, answer).await) }
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn while_up<T>(
        &self,
        host: &Host,
        answer: impl Future<Output = Knowledge<T>>,
    ) -> Knowledge<T> {
        match select(std::pin::pin!(answer), self.down(&host.name).boxed()).await {
            Either::Left((answer, _)) => answer,
            Either::Right((why, _)) => Knowledge::unknown(why),
        }
    }

    /// Comes when the machine is known to be down, else never.
    async fn down(&self, host: &HostName) -> String {
        if let Some(machine) = self.machines.get(host)
            && let Knowledge::Known(machine) = machine.clone().await
            && machine.is_down()
        {
            return format!("the cloud says that {host} is down");
        }
        std::future::pending().await
    }

    async fn records(&self) -> BTreeMap<String, Knowledge<AddressRecord>> {
        let records = self.topology.dns.iter().flat_map(|dns| &dns.records);
        let by_checks = |record: &Record| {
            let dns = self.topology.dns.as_ref();
            dns.is_some_and(|dns| dns.follows_checks(record))
        };
        let asked = records.map(|record| async move {
            let seen = match by_checks(record) {
                true => self.answered(&record.name).await,
                false => self.stated(&record.name).await,
            };
            (record.name.clone(), seen)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// What the control plane has.
    async fn stated(&self, name: &str) -> Knowledge<AddressRecord> {
        let asked = self.world.records.current(name);
        match know(self.world, self.patience, asked).await {
            Knowledge::Known(Some(record)) => Knowledge::Known(record),
            Knowledge::Known(None) | Knowledge::Absent => Knowledge::Absent,
            Knowledge::Unknown { since, why } => Knowledge::Unknown { since, why },
        }
    }

    /// What the name servers answer, where health checks choose it: the first
    /// that answers, in their order.
    async fn answered(&self, name: &str) -> Knowledge<AddressRecord> {
        let asked = self.world.records.authoritative(name);
        let servers = match know(self.world, self.patience, asked).await {
            Knowledge::Known(servers) => servers,
            Knowledge::Absent => return Knowledge::Absent,
            Knowledge::Unknown { since, why } => return Knowledge::Unknown { since, why },
        };
        let mut answers = servers.into_values();
        let known = answers.find(|answer| !matches!(answer, Knowledge::Unknown { .. }));
        known.unwrap_or_else(|| Knowledge::unknown("no name server of the zone answers"))
    }

    async fn writes(
        &self,
        guards: &BTreeMap<HostName, Knowledge<GuardStatus>>,
    ) -> BTreeMap<SiteName, Knowledge<WriteAnswer>> {
        let primary = |guard: &GuardStatus| guard.postgres.state == PostgresState::Primary;
        let some_primary = guards.values().filter_map(Knowledge::known).any(primary);
        let sites = self.topology.serving_sites().map(|site| &site.name);
        let asked = sites.map(|site| async move {
            let answer = if some_primary {
                self.write(site).await
            } else {
                Knowledge::unknown("no write was tried: no guard says that it is primary")
            };
            (site.clone(), answer)
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn write(&self, site: &SiteName) -> Knowledge<WriteAnswer> {
        let clock = &self.world.clock;
        let start = clock.now();
        let tried = async {
            match self.world.end_to_end.write(site, WRITE_PATIENCE).await {
                Ok(()) => Knowledge::Known(WriteAnswer::Acknowledged {
                    milliseconds: milliseconds(clock.now().saturating_sub(start)),
                }),
                Err(PortError::Unreachable { what, why }) => {
                    Knowledge::unknown(format!("{what} cannot be reached: {why}"))
                }
                Err(error) => Knowledge::Known(WriteAnswer::NotAcknowledged {
                    why: error.to_string(),
                }),
            }
        };
        self.while_balanced(site, tried).await
    }

    /// Asks every service that is served, at every site.
    async fn doors(&self) -> Doors {
        let stack = self.topology.stack.iter();
        let served: Vec<_> = stack
            .filter(|service| service.public_port.is_some())
            .map(|service| &service.name)
            .collect();
        if served.is_empty() {
            return Doors::new();
        }
        let sites = self.topology.serving_sites().map(|site| &site.name);
        let asked = sites.map(|site| {
            let served = served.iter().map(move |service| async move {
                let asked = self.world.front_doors.ask(site, service);
                let answer = know(self.world, DOOR_PATIENCE, asked);
                let seen: Knowledge<DoorAnswer> = self.while_balanced(site, answer).await;
                ((*service).clone(), seen)
            });
            async move { (site.clone(), join_all(served).await.into_iter().collect()) }
        });
        join_all(asked).await.into_iter().collect()
    }

    /// The answer, but no longer than the load balancer of the site is up.
    async fn while_balanced<T>(
        &self,
        site: &SiteName,
        answer: impl Future<Output = Knowledge<T>>,
    ) -> Knowledge<T> {
        let in_site = |host: &&Host| &host.site == site;
        match self.topology.hosts_with(Role::Lb).find(in_site) {
            Some(balancer) => self.while_up(balancer, answer).await,
            None => Knowledge::Absent,
        }
    }
}

/// Turns an answer, or none in time, into knowledge.
async fn know<T>(
    world: &World,
    patience: Duration,
    answer: impl Future<Output = Result<T, PortError>>,
) -> Knowledge<T> {
    let end = world.clock.sleep(patience);
    match select(std::pin::pin!(answer), end).await {
        Either::Left((Ok(value), _)) => Knowledge::Known(value),
        Either::Left((Err(PortError::Absent { .. }), _)) => Knowledge::Absent,
        Either::Left((Err(error), _)) => Knowledge::unknown(error),
        Either::Right(_) => Knowledge::unknown(format!("no answer within {patience:?}")),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
