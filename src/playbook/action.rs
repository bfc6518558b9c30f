//! What a step makes so. Every `Text` is a template unless said otherwise.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Seconds, Text};

/// One action; a step has exactly one.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Debian packages, installed without starting their services.
    Packages(Vec<Text>),
    File(Box<File>),
    Directory(Directory),
    Absent(Absent),
    Upload(Upload),
    Service(Service),
    Container(Box<Container>),
    ContainersAbsent(ContainersAbsent),
    Run(Box<Run>),
    Wait(Box<Wait>),
    Sql(Box<Sql>),
    Assert(Assert),
    Hosts(Hosts),
    /// Runs the notified handlers now.
    Flush,
}

/// A file with this content. Written beside and renamed, so that readers see
/// the old or the new one; in place where the file is a mount point.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub dest: Text,
    /// May use secrets. Exactly one of `content` and `template`.
    pub content: Option<Text>,
    /// A file in `templates/` beside the playbooks. May use secrets.
    pub template: Option<Text>,
    /// Octal.
    pub mode: Option<Text>,
    pub owner: Option<Text>,
    pub group: Option<Text>,
    /// Script that accepts the new file, whose path is in `$FILE`, before it
    /// takes the old one's place.
    pub check: Option<Text>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    pub path: Text,
    /// Octal.
    pub mode: Option<Text>,
    pub owner: Option<Text>,
    pub group: Option<Text>,
}

/// A file, or an empty directory, that shall not be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    pub path: Text,
}

/// A copy of a file of the operator's machine, sent compressed when its
/// SHA-256 differs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// Path on the operator's machine.
    pub from: Text,
    pub dest: Text,
    /// Octal.
    pub mode: Option<Text>,
    pub owner: Option<Text>,
    pub group: Option<Text>,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// With or without `.service`.
    pub name: Text,
    pub state: Option<ServiceState>,
    /// Started at boot.
    pub enabled: Option<bool>,
}

/// What a unit shall do. Changed unit files are always loaded first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    Started,
    Stopped,
    /// Always restarts: meant for handlers.
    Restarted,
    /// Always reloads, or starts what does not run: meant for handlers.
    Reloaded,
}

/// A Docker container. It is made anew when its specification or its image
/// differs from the running one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub name: Text,
    pub image: Text,
    #[serde(default)]
    pub command: Vec<Text>,
    /// Expression that gives a list of further arguments.
    pub command_from: Option<Text>,
    /// Given by a 0600 file. May use secrets.
    #[serde(default)]
    pub env: BTreeMap<String, Text>,
    /// Expression that gives a map of further environment, whose values are
    /// templates too. May use secrets.
    pub env_from: Option<Text>,
    /// As for `docker run -p`.
    #[serde(default)]
    pub ports: Vec<Text>,
    /// Expression that gives a list of further ports.
    pub ports_from: Option<Text>,
    /// As for `docker run -v`.
    #[serde(default)]
    pub volumes: Vec<Text>,
    /// `bridge` when absent; `host` for the host's own network.
    pub network: Option<Text>,
    /// `always` when absent.
    pub restart: Option<Text>,
    #[serde(default)]
    pub pull: Pull,
    pub health: Option<ContainerHealth>,
    /// Time until it must be healthy (or running, without health check).
    /// 60 s when absent.
    pub ready_within: Option<Seconds>,
}

/// How Docker asks for the health of a container.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerHealth {
    /// Command inside the container; empty: no check.
    pub command: Text,
    /// `2s` when absent; a template, so that it can come from the topology.
    pub interval: Option<Text>,
    pub timeout: Option<Seconds>,
    pub retries: Option<u32>,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pull {
    /// Ask the registry every time.
    #[default]
    Always,
    Missing,
    Never,
}

/// Containers that shall not be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainersAbsent {
    /// Names or patterns with `*`.
    pub names: Vec<Text>,
    /// Names that stay.
    #[serde(default)]
    pub except: Vec<Text>,
    /// Expression that gives a list of further names that stay.
    pub except_from: Option<Text>,
}

/// A shell script.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Run by `bash -euo pipefail`, as root unless `user` says otherwise.
    pub script: Text,
    /// Standard input. May use secrets.
    pub stdin: Option<Text>,
    /// Environment, not seen in argv. May use secrets.
    #[serde(default)]
    pub env: BTreeMap<String, Text>,
    pub user: Option<Text>,
    /// Nothing to do where this path exists.
    pub creates: Option<Text>,
    /// Nothing to do where this script succeeds.
    pub unless: Option<Text>,
    /// Skipped where this script fails.
    pub only_if: Option<Text>,
    pub changed_when: Option<ChangedWhen>,
    /// Show what it prints, also when nothing changed.
    #[serde(default)]
    pub show: bool,
}

/// How a script says that it changed something; without, it always did.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedWhen {
    /// It only looks; runs in a dry run too.
    #[serde(default)]
    pub never: bool,
    /// Exit status that means "changed"; 0 then means "was so already".
    pub status: Option<u32>,
    /// Its output contains this.
    pub output: Option<Text>,
}

/// Waits until something answers, asked from the host itself. Exactly one of
/// `tcp`, `http`, `sql`, `redis` and `script`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    pub tcp: Option<Tcp>,
    pub http: Option<Http>,
    pub sql: Option<SqlCheck>,
    pub redis: Option<Redis>,
    /// Succeeds when ready.
    pub script: Option<Text>,
    /// Time until it must be so; 60 s when absent.
    pub within: Option<Seconds>,
    /// What to do when it is not.
    pub remedy: Option<Text>,
}

/// A port that accepts connections.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// The host itself when absent.
    pub host: Option<Text>,
    pub port: Text,
    /// Expect the opposite: that no connection is accepted.
    #[serde(default)]
    pub closed: bool,
}

/// An address that answers HTTP.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub url: Text,
    /// 200 when absent.
    pub status: Option<u16>,
    /// Text that the body contains.
    pub body: Option<Text>,
}

/// A query that gives a row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlCheck {
    pub query: Text,
    /// `postgres` when absent.
    pub database: Option<Text>,
    /// The local socket as user postgres when absent.
    pub host: Option<Text>,
    pub port: Option<Text>,
    pub user: Option<Text>,
    /// May use secrets.
    pub password: Option<Text>,
}

/// A Redis that answers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// The host itself when absent.
    pub host: Option<Text>,
    pub port: Text,
    /// May use secrets.
    pub password: Option<Text>,
    /// Such as `PING` (when absent) or `INFO replication`.
    pub command: Option<Text>,
    /// Text that the answer contains; `PONG` when there is no command.
    pub answer: Option<Text>,
}

/// A statement in the local database, as user postgres over its socket.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// May use secrets, quoted by the filter `sql`.
    pub statement: Text,
    /// Nothing to do where this query gives a row. May use secrets.
    pub unless: Option<Text>,
    /// `postgres` when absent.
    pub database: Option<Text>,
    /// 5432 when absent.
    pub port: Option<Text>,
    /// Directory of the socket; PostgreSQL's default when absent.
    pub socket: Option<Text>,
}

/// Something that must be so. Exactly one of `that` and `script`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assert {
    /// Expression over the facts.
    pub that: Option<Text>,
    /// Script that succeeds.
    pub script: Option<Text>,
    pub message: Text,
    pub remedy: Option<Text>,
}

/// The names of all hosts in `/etc/hosts`, in a marked block.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hosts {
    /// Further lines of the block.
    #[serde(default)]
    pub extra: Vec<ExtraName>,
    /// `/etc/hosts` when absent.
    pub path: Option<Text>,
}

/// A further line of the block.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraName {
    pub address: Text,
    pub names: Vec<Text>,
}
