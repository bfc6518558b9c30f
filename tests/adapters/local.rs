//! Programs that end with their test, and hosts that are all this machine.

use std::{
    collections::BTreeMap,
    process::{Child, Command as Process, Stdio},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use hafail::{
    ids::HostName,
    ports::remote::{Command, Endpoint, Output, Remote, RemoteError, Stream},
};
use tokio::net::{TcpStream, UnixStream};

/// Longer than anything takes here, on a machine that is ten times slower than
/// usual too. What is quick is shown by `scripts/bench`.
pub const BOUND: Duration = Duration::from_secs(180);

pub fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

/// Dials loopback: ports are those that the test gave the host, since all
/// hosts share one address here.
#[derive(Default)]
pub struct Loopback {
    ports: BTreeMap<HostName, u16>,
}

impl Loopback {
    pub fn new(ports: &[(&str, u16)]) -> Self {
        Self {
            ports: ports
                .iter()
                .map(|(name, port)| (host(name), *port))
                .collect(),
        }
    }
}

#[async_trait]
impl Remote for Loopback {
    async fn run(&self, host: &HostName, command: Command) -> Result<Output, RemoteError> {
        use tokio::io::AsyncWriteExt;
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", &command.script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&command.stdin)
            .await
            .unwrap();
        let output = tokio::time::timeout(command.deadline, child.wait_with_output()).await;
        let output = output.map_err(|_| RemoteError::Deadline {
            host: host.clone(),
            within: command.deadline,
            what: "a command".into(),
        })?;
        let output = output.unwrap();
        Ok(Output {
            status: u32::try_from(output.status.code().unwrap_or(255)).unwrap_or(255),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    async fn dial(
        &self,
        host: &HostName,
        endpoint: Endpoint,
    ) -> Result<Box<dyn Stream>, RemoteError> {
        let failed = |error: std::io::Error| RemoteError::Connect {
            host: host.clone(),
            address: "loopback".into(),
            why: error.to_string(),
        };
        match endpoint {
            Endpoint::Tcp(port) => {
                let port = self.ports.get(host).copied().unwrap_or(port);
                let stream = TcpStream::connect(("127.0.0.1", port))
                    .await
                    .map_err(failed)?;
                Ok(Box::new(stream))
            }
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
        }
    }
}

/// A program that is killed when its test ends.
pub struct Program(Child);

impl Program {
    pub fn start(process: &mut Process) -> Self {
        let name = format!("{process:?}");
        let process = process
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = process.spawn();
        Self(child.unwrap_or_else(|error| panic!("cannot start {name}: {error}")))
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        self.wait();
    }

    /// Until it has ended.
    pub fn wait(&mut self) {
        let _ = self.0.wait();
    }

    #[allow(dead_code, reason = "not all tests that share this freeze programs")]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(process, signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until it holds.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something listens there.
pub async fn listens(port: u16) {
    until(&format!("port {port} listens"), || async move {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
}
