//! Dry runs of the real engine, whose every host is this machine: scripts are
//! run by its own shell. A dry run changes nothing, so that is safe.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio, sync::Mutex};

use async_trait::async_trait;
use hafail::{
    configure::{Library, Options, Report, Request, Secrets, Source, prepare},
    ids::HostName,
    inventory::Inventory,
    ports::remote::{Command, Endpoint, Output, Remote, RemoteError, Stream},
    topology::Topology,
};
use tokio::io::AsyncWriteExt;

/// This machine in the place of all hosts.
pub struct Machine {
    /// The connection to this host breaks.
    lost: Option<HostName>,
    pub asked: Mutex<Vec<HostName>>,
    /// Where scripts leave a trace that should not run.
    pub trace: PathBuf,
    _directory: tempfile::TempDir,
}

impl Default for Machine {
    fn default() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            lost: None,
            asked: Mutex::default(),
            trace: directory.path().join("trace"),
            _directory: directory,
        }
    }
}

impl Machine {
    pub fn losing(host: HostName) -> Self {
        Self {
            lost: Some(host),
            ..Self::default()
        }
    }
}

#[async_trait]
impl Remote for Machine {
    async fn run(&self, host: &HostName, command: Command) -> Result<Output, RemoteError> {
        self.asked.lock().unwrap().push(host.clone());
        if self.lost.as_ref() == Some(host) {
            return Err(RemoteError::Broken {
                host: host.clone(),
                why: "end of file".to_owned(),
            });
        }
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", &command.script])
            .env("HAFAIL_TEST_TRACE", &self.trace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&command.stdin).await.unwrap();
        drop(input);
        let output = tokio::time::timeout(command.deadline, child.wait_with_output());
        let output = output.await.expect("within its deadline").unwrap();
        Ok(Output {
            status: u32::try_from(output.status.code().unwrap()).unwrap(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    async fn dial(&self, host: &HostName, _: Endpoint) -> Result<Box<dyn Stream>, RemoteError> {
        panic!("playbooks do not dial {host}");
    }
}

/// A dry run of plays, in YAML, for all hosts of the shipped topology.
pub async fn dry_run(machine: &Machine, plays: &str) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("name: test\nplays:{plays}");
    std::fs::write(directory.path().join("test.yaml"), text).unwrap();
    let library = Library::open(&Source::Directory(directory.path().to_owned())).unwrap();
    let file = "topologies/two-regions.yaml";
    let topology = Topology::parse(&std::fs::read_to_string(file).unwrap(), file).unwrap();
    let prepared = prepare(&Request {
        library: &library,
        playbook: "test",
        topology: &topology,
        inventory: &Inventory::default(),
        secrets: &Secrets::default(),
        vars: BTreeMap::new(),
        options: Options {
            dry_run: true,
            ..Options::default()
        },
    });
    let prepared = prepared.unwrap_or_else(|error| panic!("{error}"));
    prepared.run(machine, &|_| {}).await
}
