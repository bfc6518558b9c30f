//! Machines made anew by this program itself, in a process of its own: a
//! deploy of one host. It ends with the watcher, and with the run's lock.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use async_trait::async_trait;
use tokio::process::Command;

use crate::{
    ids::HostName,
    ports::{PortError, rebuild::Rebuild, store::RunId},
};

/// Lines of its last words that are told.
const TOLD: usize = 12;

/// Calls `hafail rebuild`.
pub struct Rebuilder {
    program: PathBuf,
    config: PathBuf,
}

impl Rebuilder {
    /// With the configuration of the watcher.
    ///
    /// # Errors
    /// This program's file cannot be found.
    pub fn new(config: &Path) -> Result<Self, std::io::Error> {
        Ok(Self {
            program: std::env::current_exe()?,
            config: config.to_owned(),
        })
    }

    async fn call(&self, part: &str, host: &HostName, run: &RunId) -> Result<(), PortError> {
        let failed = |why: String| PortError::Failed {
            what: format!("hafail rebuild {host} --part {part}"),
            why,
        };
        let mut command = Command::new(&self.program);
        command
            .args(["rebuild", host.as_str(), "--part", part, "--run", &run.0])
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await;
        let output = output.map_err(|error| failed(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        for line in said.lines() {
            tracing::info!(%host, part, "{line}");
        }
        if output.status.success() {
            return Ok(());
        }
        let lines: Vec<_> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(TOLD)..].join("; ");
        Err(failed(format!("{}: {last}", output.status)))
    }
}

#[async_trait]
impl Rebuild for Rebuilder {
    async fn make(&self, host: &HostName, run: &RunId) -> Result<(), PortError> {
        self.call("machine", host, run).await
    }

    async fn configure(&self, host: &HostName, run: &RunId) -> Result<(), PortError> {
        self.call("services", host, run).await
    }
}
