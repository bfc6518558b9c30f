//! The image registry: Debian's docker-registry on the internet of the lab.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::fabric::{Internet, path};
use crate::process::{self, Process, ProcessError, Service};
use crate::settings::Settings;

/// How long it may take until it answers.
const START: Duration = Duration::from_secs(20);

/// The registry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Files could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    /// It could not be started.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It ended or stays silent.
    #[error("the image registry does not answer; its log is {}", log.display())]
    Silent { log: PathBuf },
}

/// Starts the registry unless it runs. Images live as long as the lab.
///
/// # Errors
/// When it cannot be started or does not answer in time.
pub async fn ensure_running(settings: &Settings) -> Result<(), RegistryError> {
    let pidfile = settings.file("registry.pid");
    if Process::recorded(&pidfile).is_some() {
        return Ok(());
    }
    let address = settings.registry();
    let storage = settings.file("registry");
    let config = settings.file("registry.json");
    // JSON is YAML.
    let text = serde_json::json!({
        "version": 0.1,
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": storage },
            "delete": { "enabled": true },
        },
        "http": { "addr": address.to_string() },
    });
    fs::write(&config, text.to_string()).map_err(|source| RegistryError::Write {
        path: config.clone(),
        source,
    })?;
    let log = settings.file("registry.log");
    let namespace = path(&Internet::new(settings).namespace());
    let command = [
        "nsenter".to_owned(),
        format!("--net={}", namespace.display()),
        "docker-registry".to_owned(),
        "serve".to_owned(),
        config.to_string_lossy().into_owned(),
    ];
    let process = process::start(&Service {
        command: &command,
        env: &[("OTEL_TRACES_EXPORTER".to_owned(), "none".to_owned())],
        log: log.clone(),
        pidfile,
    })?;
    let deadline = Instant::now() + START;
    while process.alive() && Instant::now() < deadline {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(RegistryError::Silent { log })
}
