//! The programs that come with PostgreSQL, run to their end.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{
    config::GuardConfig,
    control::Control,
    settings::{self, conninfo, slot_name},
};
use crate::ids::{HostName, Lsn, Timeline};

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("cannot run {program}: {source}")]
    Spawn {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("{program} failed: {why}")]
    Failed { program: String, why: String },
    #[error("{program} did not end within {within:?}")]
    Deadline { program: String, within: Duration },
    #[error("{host} is not a peer of this guard")]
    UnknownPeer { host: HostName },
}

/// A long copy may take hours; it ends by itself when its source is lost.
const NO_LIMIT: Duration = Duration::from_secs(7 * 24 * 3600);
const SHORT: Duration = Duration::from_secs(60);

/// What a program printed.
struct Printed {
    stdout: String,
    stderr: String,
}

async fn run(command: &mut Command, name: &str, limit: Duration) -> Result<Printed, ToolError> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let program = PathBuf::from(command.as_std().get_program());
    let child = command
        .spawn()
        .map_err(|source| ToolError::Spawn { program, source })?;
    let output = match tokio::time::timeout(limit, child.wait_with_output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(failed(name, &error.to_string())),
        Err(_) => {
            return Err(ToolError::Deadline {
                program: name.to_owned(),
                within: limit,
            });
        }
    };
    let printed = Printed {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    if output.status.success() {
        return Ok(printed);
    }
    let why = last_lines(&printed.stderr, &printed.stdout);
    Err(failed(name, &format!("{}: {why}", output.status)))
}

fn failed(program: &str, why: &str) -> ToolError {
    ToolError::Failed {
        program: program.to_owned(),
        why: why.to_owned(),
    }
}

fn last_lines(stderr: &str, stdout: &str) -> String {
    let text = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

fn tool(config: &GuardConfig, name: &str) -> Command {
    let mut command = Command::new(config.program(name));
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("PG") {
            command.env_remove(key);
        }
    }
    command
}

/// Reads the control file.
pub async fn control(config: &GuardConfig, data: &Path) -> Result<Control, ToolError> {
    let mut command = tool(config, "pg_controldata");
    command.arg("-D").arg(data);
    let printed = run(&mut command, "pg_controldata", SHORT).await?;
    Control::parse(&printed.stdout).map_err(|why| failed("pg_controldata", &why))
}

/// Makes a new cluster.
pub async fn initdb(config: &GuardConfig, data: &Path) -> Result<(), ToolError> {
    let mut command = tool(config, "initdb");
    command
        .arg("-D")
        .arg(data)
        .arg("-U")
        .arg(&config.superuser.user)
        .arg("--pwfile")
        .arg(&config.superuser.password_file)
        .args(["--data-checksums", "--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--auth-local=peer", "--auth-host=scram-sha-256"]);
    run(&mut command, "initdb", SHORT * 5).await.map(drop)
}

/// Copies a running peer.
pub async fn basebackup(
    config: &GuardConfig,
    upstream: &HostName,
    data: &Path,
) -> Result<(), ToolError> {
    let source = peer_conninfo(config, upstream, Source::Replication)?;
    let mut command = tool(config, "pg_basebackup");
    command
        .arg("-D")
        .arg(data)
        .arg("-d")
        .arg(source)
        .arg("-S")
        .arg(slot_name(&config.host))
        .args(["-X", "stream", "--checkpoint=fast", "--no-password"]);
    run(&mut command, "pg_basebackup", NO_LIMIT).await.map(drop)
}

/// What a rewind would do, or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// The clusters never parted: following is enough.
    None,
    /// They parted at this position of this timeline.
    At(Lsn, Timeline),
    /// They parted, and pg_rewind did not say where.
    Somewhere,
}

/// Asks where the clusters parted, without changing anything.
pub async fn divergence(
    config: &GuardConfig,
    upstream: &HostName,
    data: &Path,
) -> Result<Divergence, ToolError> {
    let printed = rewind_command(
        config,
        upstream,
        data,
        &["--dry-run", "--no-ensure-shutdown"],
    );
    let printed = run(&mut printed?, "pg_rewind --dry-run", SHORT * 10).await?;
    Ok(parse_divergence(&(printed.stdout + &printed.stderr)))
}

/// Brings a data directory back to where the clusters parted.
pub async fn rewind(
    config: &GuardConfig,
    upstream: &HostName,
    data: &Path,
) -> Result<(), ToolError> {
    let mut command = rewind_command(config, upstream, data, &["--no-ensure-shutdown"])?;
    run(&mut command, "pg_rewind", NO_LIMIT).await.map(drop)
}

fn rewind_command(
    config: &GuardConfig,
    upstream: &HostName,
    data: &Path,
    options: &[&str],
) -> Result<Command, ToolError> {
    let mut command = tool(config, "pg_rewind");
    command
        .arg("-D")
        .arg(data)
        .arg("--source-server")
        .arg(peer_conninfo(config, upstream, Source::Rewind)?)
        .args(options);
    Ok(command)
}

fn parse_divergence(output: &str) -> Divergence {
    if output.contains("no rewind required") {
        return Divergence::None;
    }
    let position = output
        .split_once("servers diverged at WAL location ")
        .and_then(|(_, rest)| {
            let mut words = rest.split_whitespace();
            let lsn = words.next()?.parse().ok()?;
            let timeline = words.nth(2)?.parse().ok()?;
            Some(Divergence::At(lsn, Timeline(timeline)))
        });
    position.unwrap_or(Divergence::Somewhere)
}

/// Lists the records of the log from a position to its end.
pub async fn waldump(
    config: &GuardConfig,
    data: &Path,
    from: Lsn,
    timeline: Timeline,
    into: &Path,
) -> Result<(), ToolError> {
    let file =
        std::fs::File::create(into).map_err(|error| failed("pg_waldump", &error.to_string()))?;
    let mut command = tool(config, "pg_waldump");
    command
        .arg("-p")
        .arg(data.join("pg_wal"))
        .args(["-t", &timeline.to_string(), "-s", &from.to_string()])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .kill_on_drop(true);
    // The log ends in the middle of a segment, which pg_waldump calls an
    // error: its status says nothing.
    let status = tokio::time::timeout(SHORT, command.status()).await;
    match status {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed("pg_waldump", &error.to_string())),
        Err(_) => Err(ToolError::Deadline {
            program: "pg_waldump".to_owned(),
            within: SHORT,
        }),
    }
}

/// Runs one statement on a peer as the role of pg_rewind.
pub async fn psql(
    config: &GuardConfig,
    upstream: &HostName,
    statement: &str,
) -> Result<String, ToolError> {
    let mut command = tool(config, "psql");
    command
        .args(["-X", "-A", "-t", "-w", "-c"])
        .arg(statement)
        .arg(peer_conninfo(config, upstream, Source::Rewind)?);
    let printed = run(&mut command, "psql", SHORT * 5).await?;
    Ok(printed.stdout.trim().to_owned())
}

/// The name of the user that runs this process.
pub async fn os_user() -> Result<String, ToolError> {
    let mut command = Command::new("id");
    command.arg("-un");
    let printed = run(&mut command, "id -un", SHORT).await?;
    Ok(printed.stdout.trim().to_owned())
}

enum Source {
    Replication,
    Rewind,
}

fn peer_conninfo(
    config: &GuardConfig,
    upstream: &HostName,
    source: Source,
) -> Result<impl AsRef<OsStr>, ToolError> {
    let (login, database) = match source {
        Source::Replication => (&config.replication, None),
        Source::Rewind => (&config.rewind, Some("postgres")),
    };
    settings::write_passfile(config).map_err(|error| failed("passfile", &error.to_string()))?;
    conninfo(config, upstream, login, database).ok_or_else(|| ToolError::UnknownPeer {
        host: upstream.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_rewind_says_where_the_clusters_parted() {
        let output = "pg_rewind: connected to server\n\
            pg_rewind: servers diverged at WAL location 0/3000148 on timeline 1\n\
            pg_rewind: rewinding from last common checkpoint at 0/2000060 on timeline 1\n";
        let expected = Divergence::At("0/3000148".parse().unwrap(), Timeline(1));
        assert_eq!(parse_divergence(output), expected);
        assert_eq!(
            parse_divergence("pg_rewind: no rewind required"),
            Divergence::None
        );
        assert_eq!(parse_divergence(""), Divergence::Somewhere);
    }
}
