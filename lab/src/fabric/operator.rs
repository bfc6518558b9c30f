//! The operator's machine: its link to the internet of the lab, and its routes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::internet::{INTERNET, Internet, OPERATOR, OPERATOR_LINK};
use super::namespace;
use crate::command::{CommandError, run, run_with_input};

/// Links the machine to the internet of the lab, and routes what is always there.
pub(super) async fn link_operator(names: &Internet) -> Result<(), CommandError> {
    let (link, space) = (&names.link, names.namespace());
    let there = run("ip", &["link", "show", link]).await.is_ok();
    if !there {
        let add = [
            "link",
            "add",
            link,
            "type",
            "veth",
            "peer",
            "name",
            OPERATOR_LINK,
            "netns",
            &space,
        ];
        run("ip", &add).await?;
    }
    run(
        "sysctl",
        &["-qw", &format!("net.ipv4.conf.{link}.route_localnet=1")],
    )
    .await?;
    let lines = format!("addr replace {OPERATOR}/32 dev {link}\nlink set {link} up\n");
    run_with_input("ip", &["-batch", "-"], lines.as_bytes()).await?;
    let inside =
        format!("link set {OPERATOR_LINK} up\nroute replace {OPERATOR}/32 dev {OPERATOR_LINK}\n");
    namespace::batch(&space, &inside).await?;
    route_operator(names, names.always_routed(), &[]).await
}

/// The operator's machine routes exactly the lab's public addresses into the lab.
pub(super) async fn route_operator(
    names: &Internet,
    new: &BTreeSet<Ipv4Addr>,
    gone: &[Ipv4Addr],
) -> Result<(), CommandError> {
    let link = &names.link;
    let loopback = |ip: &&Ipv4Addr| ip.is_loopback();
    let lines: String = new
        .iter()
        .filter(loopback)
        .map(|ip| format!("route replace {ip}/32 via {INTERNET} dev {link} onlink src {OPERATOR} table local\n"))
        .chain(gone.iter().filter(loopback).map(|ip| format!("route del {ip}/32 dev {link} table local\n")))
        .collect();
    if !lines.is_empty() {
        run_with_input("ip", &["-force", "-batch", "-"], lines.as_bytes()).await?;
    }
    Ok(())
}

/// Removes routes to public addresses that an earlier daemon made.
pub(super) async fn forget_public(names: &Internet) -> Result<(), CommandError> {
    let shown = run(
        "ip",
        &["route", "show", "table", "local", "dev", &names.link],
    )
    .await?;
    let routed = shown
        .lines()
        .filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let gone: Vec<Ipv4Addr> = routed
        .filter(|ip: &Ipv4Addr| ip.is_loopback() && !names.always_routed().contains(ip))
        .collect();
    route_operator(names, &BTreeSet::new(), &gone).await
}
