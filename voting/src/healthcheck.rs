//! `voting healthcheck`: lets an image without a shell check itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::args::HealthcheckArgs;

const LIMIT: Duration = Duration::from_secs(3);

/// Exit code 0 when one of the addresses answers 200.
pub fn run(args: &HealthcheckArgs) -> ExitCode {
    for url in addresses(args) {
        match ask(&url) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(reason) => eprintln!("{url}: {reason:#}"),
        }
    }
    ExitCode::FAILURE
}

/// The address that was given, else that of the environment, else the default
/// ports of the commands.
fn addresses(args: &HealthcheckArgs) -> Vec<String> {
    if let Some(url) = &args.url {
        return vec![url.clone()];
    }
    let variable = |name| std::env::var(name).ok();
    let listen = variable("LISTEN").and_then(|text| text.parse::<SocketAddr>().ok());
    let port = listen
        .map(|address| address.port().to_string())
        .or_else(|| variable("PORT"));
    let ports = port.map_or_else(
        || vec!["80".to_owned(), "8080".to_owned()],
        |port| vec![port],
    );
    ports
        .into_iter()
        .map(|port| format!("http://127.0.0.1:{port}/healthz"))
        .collect()
}

fn ask(url: &str) -> anyhow::Result<()> {
    let rest = url
        .strip_prefix("http://")
        .context("only http:// addresses can be asked")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let dial = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = dial
        .to_socket_addrs()?
        .next()
        .context("the name has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!(
            "answered {status:?}: {}",
            answer.lines().last().unwrap_or_default()
        );
    }
    Ok(())
}
