//! `hafail-lab logs`, `shell` and `exec`.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use tokio::process::Command;

use super::status::report;
use crate::machines::container_name;
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Id or tag `Name` of an instance; without it the lab itself.
    host: Option<String>,
    /// Keep showing what comes.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines.
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: u32,
}

/// Name of the container of an instance, given its id or its tag `Name`.
pub(super) async fn container(settings: &Settings, host: &str) -> anyhow::Result<String> {
    let instances = report(settings).await?.instances;
    let hits: Vec<_> = instances
        .iter()
        .filter(|i| i.id == host || i.name.as_deref() == Some(host))
        .collect();
    match hits[..] {
        [one] if one.machine == "on" => Ok(container_name(&settings.name, &one.id)),
        [one] => bail!("{host} is {}; StartInstances switches it on", one.machine),
        [] => bail!("no instance has the id or name {host}; hafail-lab status lists them"),
        _ => bail!("{} instances are named {host}; give the id", hits.len()),
    }
}

pub(super) async fn logs(settings: &Settings, options: &Logs) -> anyhow::Result<ExitCode> {
    let lines = options.lines.to_string();
    let Some(host) = &options.host else {
        let log = settings.file("daemon.log");
        if !log.exists() {
            bail!("lab `{}` is not up; hafail-lab up starts it", settings.name);
        }
        let mut command = Command::new("tail");
        command
            .args(["-n", &lines])
            .args(options.follow.then_some("-F"))
            .arg(log);
        return finish(command).await;
    };
    let mut command = Command::new("docker");
    command.args([
        "exec",
        &container(settings, host).await?,
        "journalctl",
        "--no-pager",
    ]);
    command
        .args(["-n", &lines])
        .args(options.follow.then_some("-f"));
    finish(command).await
}

pub(super) async fn shell(settings: &Settings, host: &str) -> anyhow::Result<ExitCode> {
    let terminal = std::io::stdin().is_terminal();
    let mut command = Command::new("docker");
    command.args(["exec", if terminal { "-it" } else { "-i" }]);
    command.args([&container(settings, host).await?, "bash", "-l"]);
    finish(command).await
}

pub(super) async fn exec(
    settings: &Settings,
    host: &str,
    program: &[String],
) -> anyhow::Result<ExitCode> {
    let mut command = Command::new("docker");
    command
        .args(["exec", "-i", &container(settings, host).await?])
        .args(program);
    finish(command).await
}

/// Passes input, output and exit status through.
async fn finish(mut command: Command) -> anyhow::Result<ExitCode> {
    let status = command.status().await?;
    let code = status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}
