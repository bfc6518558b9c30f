//! Looks at everything at once and says what was seen.

use std::{collections::BTreeMap, future::Future, time::Duration};

use futures::future::join_all;

use crate::{
    ids::{HostName, SiteName},
    observation::{AddressRecord, Knowledge, MachineState, Snapshot, WriteAnswer},
    ports::{PortError, World},
    topology::{Host, Role, Topology},
};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long a write may take to be called answered.
const WRITE_PATIENCE: Duration = Duration::from_secs(3);

/// Asks every guard, machine, load balancer, queue and record at once, and
/// tries a write through the load balancer of every site. What does not answer
/// in time is unknown.
pub async fn snapshot(topology: &Topology, world: &World) -> Snapshot {
    let (guards, machines, proxies, queues, records, writes) = futures::join!(
        each(world, topology, Role::Db, |host| async move {
            world.guards.status(&host.name).await
        }),
        machines(topology, world),
        each(world, topology, Role::Lb, |host| async move {
            world.proxies.status(&host.name).await
        }),
        each(world, topology, Role::Queue, |host| async move {
            world.queues.status(&host.name).await
        }),
        records(topology, world),
        writes(topology, world),
    );
    Snapshot {
        taken: world.clock.wall(),
        guards,
        machines,
        proxies,
        queues,
        records,
        writes,
    }
}

/// Turns an answer, or none in time, into knowledge.
async fn know<T>(
    world: &World,
    answer: impl Future<Output = Result<T, PortError>>,
) -> Knowledge<T> {
    let answer = std::pin::pin!(answer);
    let end = world.clock.sleep(PATIENCE);
    match futures::future::select(answer, end).await {
        futures::future::Either::Left((Ok(value), _)) => Knowledge::Known(value),
        futures::future::Either::Left((Err(PortError::Absent { .. }), _)) => Knowledge::Absent,
        futures::future::Either::Left((Err(error), _)) => Knowledge::unknown(error),
        futures::future::Either::Right(_) => {
            Knowledge::unknown(format!("no answer within {} s", PATIENCE.as_secs()))
        }
    }
}

async fn each<'a, T, F>(
    world: &World,
    topology: &'a Topology,
    role: Role,
    ask: impl Fn(&'a Host) -> F,
) -> BTreeMap<HostName, Knowledge<T>>
where
    F: Future<Output = Result<T, PortError>>,
{
    let asked = topology.hosts_with(role).map(|host| {
        let answer = ask(host);
        async move { (host.name.clone(), know(world, answer).await) }
    });
    join_all(asked).await.into_iter().collect()
}

async fn machines(
    topology: &Topology,
    world: &World,
) -> BTreeMap<HostName, Knowledge<MachineState>> {
    let asked = topology.hosts().map(|host| async move {
        let state = know(world, world.machines.state(&host.name)).await;
        (host.name.clone(), state)
    });
    join_all(asked).await.into_iter().collect()
}

async fn records(topology: &Topology, world: &World) -> BTreeMap<String, Knowledge<AddressRecord>> {
    let records = topology.dns.iter().flat_map(|dns| &dns.records);
    let asked = records.map(|record| async move {
        let seen = know(world, world.records.current(&record.name)).await;
        let seen = match seen {
            Knowledge::Known(Some(record)) => Knowledge::Known(record),
            Knowledge::Known(None) | Knowledge::Absent => Knowledge::Absent,
            Knowledge::Unknown { since, why } => Knowledge::Unknown { since, why },
        };
        (record.name.clone(), seen)
    });
    join_all(asked).await.into_iter().collect()
}

async fn writes(topology: &Topology, world: &World) -> BTreeMap<SiteName, Knowledge<WriteAnswer>> {
    let asked = topology.sites.keys().map(|site| async move {
        let start = world.clock.now();
        let answer = match world.end_to_end.write(site, WRITE_PATIENCE).await {
            Ok(()) => Knowledge::Known(WriteAnswer::Acknowledged {
                milliseconds: milliseconds(world.clock.now().saturating_sub(start)),
            }),
            Err(PortError::Unreachable { what, why }) => {
                Knowledge::unknown(format!("{what} cannot be reached: {why}"))
            }
            Err(error) => Knowledge::Known(WriteAnswer::NotAcknowledged {
                why: error.to_string(),
            }),
        };
        (site.clone(), answer)
    });
    join_all(asked).await.into_iter().collect()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
