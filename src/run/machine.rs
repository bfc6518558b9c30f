//! Steps on machines that stay dead.

use std::{sync::Arc, time::Duration};

use crate::{
    coordination::Shared,
    ids::HostName,
    observation::{MachineState, ProxyStatus},
    ports::rebuild::Rebuild,
    step::Answers,
};

use super::context::{Context, Done, Failure};

/// How long the cloud may take for one change of state.
const CHANGE: Duration = Duration::from_secs(240);

/// Stops a machine that runs and does not work.
pub(super) async fn stop(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let machines = &cx.world.machines;
    let before = machines.state(host).await?.state;
    if !before.is_down() {
        spare_writer(cx, host).await?;
        cx.still_current().await?;
        machines.power_off(host).await?;
    }
    let state = until_in(cx, host, |state| state.is_down()).await?;
    let what = format!("the machine of {host} is {}", state.word());
    Ok(Done::new(!before.is_down(), what))
}

/// Starts a machine that is stopped, also one that is still on its way there.
pub(super) async fn start(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let machines = &cx.world.machines;
    let settled = |state| !matches!(state, MachineState::Stopping | MachineState::ShuttingDown);
    let before = until_in(cx, host, settled).await?;
    if before == MachineState::Terminated {
        return Err(Failure::for_good(format!(
            "there is no machine of {host} any more"
        )));
    }
    if before == MachineState::Stopped {
        spare_writer(cx, host).await?;
        cx.still_current().await?;
        machines.power_on(host).await?;
    }
    until_in(cx, host, |state| state == MachineState::Running).await?;
    let changed = before != MachineState::Running;
    Ok(Done::new(changed, format!("the machine of {host} runs")))
}

/// Makes a machine where there is none.
pub(super) async fn make(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    let before = cx.world.machines.state(host).await?.state;
    if before != MachineState::Terminated {
        let what = format!("the machine of {host} is {}", before.word());
        return Ok(Done::new(false, what));
    }
    spare_writer(cx, host).await?;
    cx.still_current().await?;
    rebuild(cx)?.make(host, &cx.run).await?;
    Ok(Done::new(true, format!("{host} has a new machine")))
}

/// Configures the host as a deploy does.
pub(super) async fn configure(cx: &Context<'_>, host: &HostName) -> Result<Done, Failure> {
    spare_writer(cx, host).await?;
    cx.still_current().await?;
    rebuild(cx)?.configure(host, &cx.run).await?;
    Ok(Done::new(true, format!("{host} is configured")))
}

fn rebuild<'a>(cx: &Context<'a>) -> Result<&'a dyn Rebuild, Failure> {
    let rebuild = cx.world.rebuild.as_deref();
    rebuild.ok_or_else(|| {
        Failure::refused("machines are made anew by watchers, or by hand: hafail deploy")
    })
}

async fn until_in(
    cx: &Context<'_>,
    host: &HostName,
    wanted: impl Fn(MachineState) -> bool,
) -> Result<MachineState, Failure> {
    let wanted = &wanted;
    let look = || async move {
        let state = cx.world.machines.state(host).await?.state;
        if wanted(state) {
            return Ok(state);
        }
        Err(Failure::again(format!(
            "the cloud says that the machine of {host} is {}",
            state.word()
        )))
    };
    cx.until(CHANGE, look).await
}

/// Whatever was decided before: nobody touches the machine of a database that
/// may write.
async fn spare_writer(cx: &Context<'_>, host: &HostName) -> Result<(), Failure> {
    let Some(quorum) = &cx.world.quorum else {
        return Err(Failure::for_good("there is no shared store"));
    };
    let shared = Shared::new(Arc::clone(quorum), &cx.plan.topology);
    let state = shared.state().await;
    let state = state.map_err(|error| Failure::again(error.to_string()))?;
    match state.primary {
        Some(primary) if &primary.value.host == host => {
            Err(Failure::refused(format!("{host} holds the right to write")))
        }
        Some(_) => Ok(()),
        None => Err(Failure::refused("nobody holds the right to write")),
    }
}

/// Waits until the host does what it is there for.
pub(super) async fn answers(
    cx: &Context<'_>,
    host: &HostName,
    answers: &Answers,
) -> Result<Done, Failure> {
    let world = cx.world;
    match answers {
        Answers::Guard => drop(world.guards.status(host).await?),
        Answers::Balancer => drop(world.proxies.status(host).await?),
        Answers::Queue => drop(world.queues.status(host).await?),
        Answers::Replicas { at } => replicas(cx, host, at).await?,
        Answers::Machine => {}
    }
    Ok(Done::new(false, format!("{host} answers")))
}

/// One load balancer finds all replicas of the host up; one that is away must
/// not keep it back.
async fn replicas(cx: &Context<'_>, host: &HostName, at: &[HostName]) -> Result<(), Failure> {
    let mut why = Failure::for_good("there is no load balancer");
    for balancer in at {
        why = match cx.world.proxies.status(balancer).await {
            Ok(seen) => match down(&seen, host) {
                None => return Ok(()),
                Some(server) => Failure::again(format!("{balancer} finds {server} down")),
            },
            Err(error) => error.into(),
        };
    }
    Err(why)
}

/// The first replica of the host that is not up.
fn down<'a>(seen: &'a ProxyStatus, host: &HostName) -> Option<&'a str> {
    let mut servers = seen.values().flatten();
    let of_host = |name: &str| {
        name.split_once('.')
            .is_some_and(|(_, of)| of == host.as_str())
    };
    let down = servers.find(|(name, server)| of_host(name) && !server.up);
    down.map(|(name, _)| name.as_str())
}
