//! Network namespaces by name, and code that runs inside of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{CommandError, run, run_with_input};

/// File that stands for the namespace `name`.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(name)
}

/// Settings of every namespace of the lab that forwards. Loopback addresses
/// are routed like any other, and `lo` stays down so that they are not local.
const ROUTER: &[&str] = &[
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.route_localnet=1",
    "net.ipv4.conf.default.route_localnet=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv4.conf.all.proxy_arp=1",
    "net.ipv4.conf.default.proxy_arp=1",
];

/// Makes the namespace with the settings of a router and a bridge without
/// ports, `name`d `bridge`, for the router's own addresses. What is sent to it
/// disappears, as towards an address that nobody has.
pub(super) async fn create_router(name: &str, bridge: &str) -> Result<(), CommandError> {
    if path(name).exists() {
        return Ok(());
    }
    run("ip", &["netns", "add", name]).await?;
    let mut sysctl = vec!["netns", "exec", name, "sysctl", "-qw"];
    sysctl.extend(ROUTER);
    run("ip", &sysctl).await?;
    create_bridge(name, bridge).await
}

/// Makes the bridge for the router's own addresses.
pub(super) async fn create_bridge(name: &str, bridge: &str) -> Result<(), CommandError> {
    let links = format!("link add {bridge} type bridge\nlink set {bridge} up\n");
    batch(name, &links).await
}

/// Runs lines of `ip` in the namespace, up to the first that fails.
pub(super) async fn batch(name: &str, lines: &str) -> Result<(), CommandError> {
    if lines.is_empty() {
        return Ok(());
    }
    run_with_input("ip", &["-n", name, "-batch", "-"], lines.as_bytes()).await?;
    Ok(())
}

/// Runs lines of `ip` that may fail: what they remove may be gone already.
pub(super) async fn batch_remove(name: &str, lines: &str) {
    if !lines.is_empty() {
        let _ = run_with_input(
            "ip",
            &["-n", name, "-force", "-batch", "-"],
            lines.as_bytes(),
        )
        .await;
    }
}

/// Whether the kernel has the link, whatever is remembered of it.
pub(super) async fn has_link(name: &str, link: &str) -> bool {
    run("ip", &["-n", name, "link", "show", link]).await.is_ok()
}

/// Names of the links in the namespace.
pub(super) async fn links(name: &str) -> Result<BTreeSet<String>, CommandError> {
    let shown = run("ip", &["-n", name, "-brief", "link"]).await?;
    Ok(shown.lines().filter_map(link_name).collect())
}

/// The name in a line of `ip -brief link`.
fn link_name(line: &str) -> Option<String> {
    line.split(['@', ' ']).next().map(str::to_owned)
}

/// Loads packet filter rules in one step.
pub(super) async fn load_filter(name: &str, rules: &str) -> Result<(), CommandError> {
    run_with_input(
        "ip",
        &["netns", "exec", name, "nft", "-f", "-"],
        rules.as_bytes(),
    )
    .await?;
    Ok(())
}

/// Removes the namespace and every link in it.
pub(super) async fn remove(name: &str) -> Result<(), CommandError> {
    if path(name).exists() {
        run("ip", &["netns", "del", name]).await?;
    }
    Ok(())
}

/// Names of namespaces that begin with `prefix`.
pub(super) fn names(prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return Vec::new();
    };
    entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// A socket that listens inside of the namespace, usable from anywhere.
///
/// # Errors
/// When the namespace is gone or the address is taken.
pub fn listen(name: &str, address: SocketAddr) -> std::io::Result<TcpListener> {
    let name = name.to_owned();
    // Only this thread moves; it ends with the function.
    let inside = thread::spawn(move || {
        enter(&name)?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    inside
        .join()
        .unwrap_or_else(|_| Err(std::io::Error::other("the thread that listens panicked")))
}

/// Runs a future on a thread of its own inside of the namespace: sockets it
/// opens belong there. The thread ends when the future does.
///
/// # Errors
/// When no thread can be had.
pub fn in_namespace<F, Fut>(name: &str, make: F) -> std::io::Result<()>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let name = name.to_owned();
    let body = move || {
        let result = enter(&name)
            .and_then(|()| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
            })
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(make()));
        if let Err(error) = result {
            tracing::error!(namespace = name, "a service inside ended: {error:#}");
        }
    };
    thread::Builder::new()
        .name("namespace".to_owned())
        .spawn(body)?;
    Ok(())
}

fn enter(name: &str) -> std::io::Result<()> {
    let file = File::open(path(name))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::link_name;

    #[test]
    fn links_have_names_with_and_without_another_end() {
        let names = ["own              UNKNOWN 02", "igw@if3          UP 02"].map(link_name);
        assert_eq!(names, ["own", "igw"].map(|name| Some(name.to_owned())));
    }
}
