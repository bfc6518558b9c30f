//! The process that keeps the lab following its API.

mod events;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};

use crate::dns::{self, Zones};
use crate::fabric::{Fabric, in_namespace, listen};
use crate::machines::Machines;
use crate::proxy::Proxy;
use crate::reconcile::{self, Handle};
use crate::settings::Settings;
use crate::{moto, settings::Record};

/// Name under which the image registry is found in every VPC.
pub const REGISTRY_NAME: &str = "registry.lab.internal";

/// Runs until it is told to end.
///
/// # Errors
/// When the lab is not up, or an address is taken.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let record = settings
        .record()?
        .context("this lab is not up; hafail-lab up starts it")?;
    // A failure here only means that there is no terminal to leave.
    let _ = rustix::process::setsid();
    let fabric = Fabric::take_over(settings).await?;
    let internet = fabric.internet();
    let zones = Arc::new(watch::Sender::new(first_zones(settings)));
    let endpoint = moto::endpoint(record.moto_port);
    let machines = Machines::new(&settings.name, &record.image);
    let (handle, inbox) = Handle::new();
    let proxy = Proxy::new(&endpoint, handle.clone(), machines.clone());

    serve_names(settings, &internet, &zones).await?;
    events::follow(&settings.name, handle.clone());
    let worker = tokio::spawn(reconcile::run(
        reconcile::Start {
            endpoint,
            fabric,
            machines,
            zones: zones.clone(),
            regions_file: settings.file("regions.json"),
            handle: handle.clone(),
        },
        inbox,
    ));
    // Only when everything that was there is followed may clients come.
    handle.report().await;
    serve_api(settings, &record, &internet, &proxy).await?;
    info!(api = %settings.api(), "ready");
    tokio::select! {
        result = worker => { result.context("the worker ended")?; anyhow::bail!("the worker ended") }
        () = told_to_end() => Ok(()),
    }
}

fn first_zones(settings: &Settings) -> Zones {
    let ipv4 = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => Some(*v4.ip()),
        SocketAddr::V6(_) => None,
    };
    let registry = ipv4(settings.registry()).unwrap_or(Ipv4Addr::LOCALHOST);
    Zones {
        extra: [(REGISTRY_NAME.to_owned(), registry)].into(),
        server_address: ipv4(settings.dns()),
        ..Zones::default()
    }
}

/// The DNS server listens for the operator and, at the same address, on the
/// internet of the lab.
async fn serve_names(
    settings: &Settings,
    internet: &str,
    zones: &Arc<watch::Sender<Zones>>,
) -> anyhow::Result<()> {
    let address = settings.dns();
    // Found out here, where the operator sees it, rather than in the task.
    drop(
        TcpListener::bind(address)
            .await
            .with_context(|| format!("{address} is taken"))?,
    );
    let receiver = zones.subscribe();
    tokio::spawn(async move {
        if let Err(problem) = dns::serve(vec![address], receiver).await {
            error!("the DNS server ended: {problem:#}");
        }
    });
    let receiver = zones.subscribe();
    in_namespace(internet, move || dns::serve(vec![address], receiver))?;
    tokio::spawn(dns::probe_health(zones.clone()));
    Ok(())
}

async fn serve_api(
    settings: &Settings,
    record: &Record,
    internet: &str,
    proxy: &Arc<Proxy>,
) -> anyhow::Result<()> {
    let address = settings.api();
    let taken = || format!("{address} is taken; is lab {} up twice?", record.name);
    let outside = TcpListener::bind(address).await.with_context(taken)?;
    let inside = TcpListener::from_std(listen(internet, address).with_context(taken)?)?;
    for listener in [outside, inside] {
        let router = proxy.router();
        tokio::spawn(async move {
            if let Err(problem) = axum::serve(listener, router).await {
                error!("the API ended: {problem}");
            }
        });
    }
    Ok(())
}

async fn told_to_end() {
    let ended = async {
        let mut terminate = signal(SignalKind::terminate())?;
        terminate.recv().await;
        std::io::Result::Ok(())
    };
    if ended.await.is_err() {
        // Without the signal only a kill ends the daemon; `down` does that too.
        std::future::pending::<()>().await;
    }
}
