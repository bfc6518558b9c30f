//! Steps on load balancers. They confirm by their own checks later; told at
//! once, nobody waits for a check.

use futures::future::join_all;

use crate::{
    ids::HostName,
    observation::{ProxyOrder, ProxyVerb},
    step::Backend,
};

use super::context::{Context, Done, Failure};

fn tell(backend: Backend, server: &HostName, what: ProxyVerb) -> ProxyOrder {
    ProxyOrder {
        backend: backend.name().to_owned(),
        server: server.to_string(),
        what,
    }
}

/// Open sessions go on until the primary stops; new ones wait.
pub(super) async fn hold(
    cx: &Context<'_>,
    lb: &HostName,
    server: &HostName,
) -> Result<Done, Failure> {
    cx.holds_lock()?;
    let orders = [tell(Backend::Database, server, ProxyVerb::Drain)];
    cx.world.proxies.tell(lb, &orders).await?;
    Ok(Done::new(true, format!("{lb} lets new connections wait")))
}

/// Undo of [`hold`]. The health is left to the checks, which went on.
pub(super) async fn unhold(
    cx: &Context<'_>,
    lb: &HostName,
    server: &HostName,
) -> Result<String, Failure> {
    cx.holds_lock()?;
    let orders = [tell(Backend::Database, server, ProxyVerb::Ready)];
    cx.world.proxies.tell(lb, &orders).await?;
    Ok(format!("{lb} uses {server} again"))
}

/// Away with the old servers first, so that there is never a choice of two.
/// Sessions that still hang on them, in the middle of connecting too, end.
pub(super) async fn route(
    cx: &Context<'_>,
    lb: &HostName,
    backend: Backend,
    to: &HostName,
    away: &[HostName],
) -> Result<Done, Failure> {
    cx.still_current().await?;
    let mut orders: Vec<_> = away
        .iter()
        .flat_map(|server| {
            [ProxyVerb::Maintenance, ProxyVerb::ShutSessions]
                .map(|what| tell(backend, server, what))
        })
        .collect();
    orders.extend(use_it(backend, to));
    cx.world.proxies.tell(lb, &orders).await?;
    Ok(Done::new(true, format!("{lb} uses {to}")))
}

fn use_it(backend: Backend, server: &HostName) -> [ProxyOrder; 2] {
    [ProxyVerb::Ready, ProxyVerb::HealthUp].map(|what| tell(backend, server, what))
}

/// Tells the load balancers that the run has sent to its primary once more.
/// Those that do not answer are left to the next try.
pub(super) async fn use_primary(cx: &Context<'_>) -> Result<(), Failure> {
    cx.still_current().await?;
    let orders = use_it(Backend::Database, &cx.plan.new);
    let routed = cx.plan.routed();
    let told = routed.map(|lb| cx.world.proxies.tell(lb, &orders));
    join_all(told).await;
    Ok(())
}

/// A server that leaves maintenance counts as up until its first check fails;
/// this one must pass first.
pub(super) async fn release(
    cx: &Context<'_>,
    lb: &HostName,
    backend: Backend,
    server: &HostName,
) -> Result<Done, Failure> {
    cx.still_current().await?;
    let orders = [
        tell(backend, server, ProxyVerb::Ready),
        tell(backend, server, ProxyVerb::HealthDown),
    ];
    cx.world.proxies.tell(lb, &orders).await?;
    Ok(Done::new(true, format!("{lb} checks {server} again")))
}
