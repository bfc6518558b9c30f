//! The guard's configuration: one JSON file, written at deploy.

mod coordination;

pub use coordination::{Coordination, OnStandbyLoss};

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::ids::HostName;

/// Everything that a guard must know of its host. Secrets are named by file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// Name of this host, as peers and operators call it.
    pub host: HostName,
    /// Data directories live below it, one folder for each major version.
    #[serde(default = "default_data_root")]
    pub data_root: PathBuf,
    /// State, generated files and logs of the guard.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// Where `postgres`, `pg_rewind` and the others are.
    pub bin_dir: PathBuf,
    /// Major version of PostgreSQL, such as 15.
    pub version: u32,
    /// Port of PostgreSQL.
    pub port: u16,
    /// Addresses on which PostgreSQL listens.
    #[serde(default = "default_listen_addresses")]
    pub listen_addresses: Vec<String>,
    /// Directory of the Unix socket.
    #[serde(default = "default_socket_dir")]
    pub socket_dir: PathBuf,
    /// Address on which the guard listens with both of its ports.
    #[serde(default = "default_guard_listen")]
    pub guard_listen: IpAddr,
    /// Role questions over HTTP.
    pub guard_port: u16,
    /// Orders over mutual TLS.
    pub order_port: u16,
    pub tls: TlsFiles,
    /// The other database hosts.
    pub peers: BTreeMap<HostName, Peer>,
    pub superuser: Login,
    pub replication: Login,
    pub rewind: Login,
    pub application: Application,
    pub access: Access,
    /// Whether `Synchronous` orders may name standbys.
    pub synchronous: bool,
    /// Further settings of PostgreSQL.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    #[serde(default)]
    pub timing: Timing,
    /// Names the boot of the kernel.
    #[serde(default = "default_boot_id_file")]
    pub boot_id_file: PathBuf,
    /// Hosts whose watchers may give orders.
    #[serde(default)]
    pub watchers: Vec<HostName>,
    /// Automatic mode: the right to write goes with a lease.
    #[serde(default)]
    pub coordination: Option<Coordination>,
    /// Where the dead-man of a former automatic mode may still be.
    #[serde(default = "coordination::default_runtime")]
    pub former_runtime_dir: PathBuf,
    /// Where this was read.
    #[serde(skip)]
    pub path: PathBuf,
}

/// Certificate files, PEM. PostgreSQL and the order port share them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    /// Readable by the guard's user only.
    pub key: PathBuf,
}

/// Another database host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Name or address; its certificate must be made out to it.
    pub address: String,
    /// Port of its PostgreSQL.
    pub port: u16,
    /// Where its guard takes orders; as here where not stated.
    #[serde(default)]
    pub order_port: Option<u16>,
}

/// A role of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub user: String,
    /// Holds the password, one line.
    pub password_file: PathBuf,
}

/// The application's role and database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    pub user: String,
    pub password_file: PathBuf,
    pub database: String,
}

/// Who may connect to PostgreSQL from where: networks (`10.10.0.0/16`) or
/// host names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Replication and pg_rewind.
    pub peers: Vec<String>,
    /// The application.
    pub applications: Vec<String>,
}

/// Periods and deadlines in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// Between two looks at PostgreSQL.
    pub observe_every_ms: u64,
    /// Between two new connections that prove liveness.
    pub probe_every_ms: u64,
    /// A new connection without an answer for so long: hung.
    pub hung_after_ms: u64,
    /// How long an order waits for the one that runs before it.
    pub queue_ms: u64,
    /// How long an order waits for PostgreSQL to come up.
    pub start_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            observe_every_ms: 250,
            probe_every_ms: 1_000,
            hung_after_ms: 3_000,
            queue_ms: 5_000,
            start_ms: 30_000,
        }
    }
}

impl Timing {
    /// Between two looks at PostgreSQL.
    #[must_use]
    pub fn observe_every(&self) -> Duration {
        Duration::from_millis(self.observe_every_ms)
    }

    /// A new connection without an answer for so long: hung.
    #[must_use]
    pub fn hung_after(&self) -> Duration {
        Duration::from_millis(self.hung_after_ms)
    }

    /// How long an order waits for PostgreSQL to come up.
    #[must_use]
    pub fn start(&self) -> Duration {
        Duration::from_millis(self.start_ms)
    }
}

/// Settings that only the guard may make; a prefix where it ends in `*`.
const OWNED: &[&str] = &[
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "ssl*",
    "primary_*",
    "promote_trigger_file",
    "recovery_*",
    "restore_command",
    "archive_cleanup_command",
    "synchronous_standby_names",
    "synchronous_commit",
    "hot_standby",
    "wal_level",
    "wal_log_hints",
    "password_encryption",
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "cluster_name",
    "include*",
    "lc_messages",
    "fsync",
    "full_page_writes",
];

/// Whether the guard alone sets that parameter.
#[must_use]
pub fn is_owned(parameter: &str) -> bool {
    let parameter = parameter.to_ascii_lowercase();
    OWNED.iter().any(|owned| match owned.strip_suffix('*') {
        Some(prefix) => parameter.starts_with(prefix),
        None => parameter == *owned,
    })
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a guard configuration")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path} is not valid: {}", problems.join("; "))]
    Invalid {
        path: PathBuf,
        problems: Vec<String>,
    },
}

impl GuardConfig {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let owned = || path.to_owned();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: owned(),
            source,
        })?;
        let mut config: Self =
            serde_json::from_str(&text).map_err(|source| ConfigError::Parse {
                path: owned(),
                source,
            })?;
        config.path = owned();
        let mut problems = config.problems();
        problems.extend(config.missing_files());
        if problems.is_empty() {
            return Ok(config);
        }
        Err(ConfigError::Invalid {
            path: owned(),
            problems,
        })
    }

    /// Where the dead-man and the deadline are, or were under a store.
    pub fn runtime_dir(&self) -> PathBuf {
        match &self.coordination {
            Some(coordination) => coordination.runtime_dir.clone(),
            None => self.former_runtime_dir.clone(),
        }
    }

    /// All that is wrong with the values, whatever the host has.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(13..=17).contains(&self.version) {
            let version = self.version;
            problems.push(format!("version: {version} is not supported (13 to 17)"));
        }
        let ports = [self.port, self.guard_port, self.order_port];
        if ports[0] == ports[1] || ports[0] == ports[2] || ports[1] == ports[2] {
            problems.push("port, guard_port and order_port must differ".to_owned());
        }
        if self.peers.contains_key(&self.host) {
            problems.push(format!("peers: {} is this host itself", self.host));
        }
        for key in self.parameters.keys() {
            if is_owned(key) {
                problems.push(format!("parameters: `{key}` is set by the guard alone"));
            } else if !is_parameter(key) {
                problems.push(format!("parameters: `{key}` is not a parameter's name"));
            }
        }
        for address in self.access.peers.iter().chain(&self.access.applications) {
            if !is_address(address) {
                problems.push(format!(
                    "access: `{address}` is neither a network nor a host name"
                ));
            }
        }
        if let Some(coordination) = &self.coordination {
            problems.extend(coordination.problems());
        }
        for (key, name) in self.names() {
            if !is_identifier(name) {
                problems.push(format!(
                    "{key}: `{name}` is not a name (use a-z, 0-9 and _, at most 63)"
                ));
            }
        }
        problems
    }

    fn names(&self) -> [(&'static str, &str); 5] {
        [
            ("superuser.user", &self.superuser.user),
            ("replication.user", &self.replication.user),
            ("rewind.user", &self.rewind.user),
            ("application.user", &self.application.user),
            ("application.database", &self.application.database),
        ]
    }

    fn missing_files(&self) -> Vec<String> {
        let postgres = self.bin_dir.join("postgres");
        let files = [
            ("bin_dir", &postgres),
            ("tls.ca", &self.tls.ca),
            ("tls.cert", &self.tls.cert),
            ("tls.key", &self.tls.key),
            ("superuser.password_file", &self.superuser.password_file),
            ("replication.password_file", &self.replication.password_file),
            ("rewind.password_file", &self.rewind.password_file),
            ("application.password_file", &self.application.password_file),
        ];
        let unreadable = files.into_iter().filter_map(|(key, file)| {
            let error = std::fs::File::open(file).err()?;
            Some(format!("{key}: cannot read {}: {error}", file.display()))
        });
        unreadable.collect()
    }

    /// A program of PostgreSQL.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }

    /// Holds the data directories of this major version.
    #[must_use]
    pub fn version_dir(&self) -> PathBuf {
        self.data_root.join(self.version.to_string())
    }
}

fn is_parameter(text: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    !text.is_empty() && text.chars().all(part)
}

fn is_address(text: &str) -> bool {
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    text.parse::<ipnet::IpNet>().is_ok() || (!text.is_empty() && text.chars().all(label))
}

fn is_identifier(text: &str) -> bool {
    let part = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    (1..=63).contains(&text.len()) && text.bytes().all(part) && !text.as_bytes()[0].is_ascii_digit()
}

fn default_data_root() -> PathBuf {
    "/var/lib/hafail/postgresql".into()
}

fn default_state_dir() -> PathBuf {
    "/var/lib/hafail/guard".into()
}

fn default_socket_dir() -> PathBuf {
    "/var/run/postgresql".into()
}

fn default_boot_id_file() -> PathBuf {
    "/proc/sys/kernel/random/boot_id".into()
}

fn default_listen_addresses() -> Vec<String> {
    vec!["*".to_owned()]
}

fn default_guard_listen() -> IpAddr {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> GuardConfig {
        serde_json::from_value(serde_json::json!({
            "host": "site1-db",
            "bin_dir": "/usr/lib/postgresql/15/bin",
            "version": 15,
            "port": 5432,
            "guard_port": 8008,
            "order_port": 8009,
            "tls": {"ca": "/t/ca.pem", "cert": "/t/cert.pem", "key": "/t/key.pem"},
            "peers": {"site2-db": {"address": "site2-db", "port": 5432}},
            "superuser": {"user": "postgres", "password_file": "/s/superuser"},
            "replication": {"user": "replicator", "password_file": "/s/replication"},
            "rewind": {"user": "rewinder", "password_file": "/s/rewind"},
            "application": {"user": "vote", "password_file": "/s/user", "database": "postgres"},
            "access": {"peers": ["site2-db"], "applications": ["10.10.0.0/16"]},
            "synchronous": true,
        }))
        .unwrap()
    }

    #[test]
    fn the_example_is_valid() {
        assert_eq!(example().problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let mut config = example();
        config.version = 9;
        config.order_port = 5432;
        config.parameters = [("SSL_ciphers", "x"), ("work_mem", "1MB"), ("a b", "x")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        config
            .access
            .applications
            .push("0.0.0.0/0 trust".to_owned());
        config.rewind.user = "x\"; DROP".to_owned();
        let problems = config.problems().join("\n");
        for part in [
            "version: 9",
            "must differ",
            "SSL_ciphers",
            "a b",
            "trust",
            "DROP",
        ] {
            assert!(problems.contains(part), "{part} is missing in {problems}");
        }
        assert_eq!(config.problems().len(), 6);
    }

    #[test]
    fn unknown_keys_are_errors() {
        let mut value = serde_json::to_value(example()).unwrap();
        value["lease"] = 3.into();
        let error = serde_json::from_value::<GuardConfig>(value).unwrap_err();
        assert!(error.to_string().contains("lease"), "{error}");
    }
}
