//! Where a lab keeps its things and which addresses it uses.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of every Docker label, namespace and file of the lab.
pub const LABEL: &str = "hafail-lab";

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The name goes into names of interfaces, namespaces and files.
    #[error("`{0}` is no name for a lab: use 1 to 20 lower-case letters, digits and hyphens")]
    Name(String),
    /// Service addresses must be loopback addresses that nothing else uses.
    #[error("`{0}` is no block for a lab: use three numbers like 127.63.0, from 127.1.0 up")]
    Addresses(String),
    /// No home directory and nothing given instead.
    #[error("neither HOME nor HAFAIL_LAB_STATE is set; set one of them")]
    NoHome,
    /// The lab is up with other settings.
    #[error("lab `{name}` is up at {at}.*; take it down first: hafail-lab down --name {name}")]
    OtherAddresses { name: String, at: String },
    /// A file of the state directory is not readable.
    #[error("cannot use {}: {source}; `hafail-lab down` removes it", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// One lab: its name, directories and addresses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tells labs on one machine apart.
    pub name: String,
    /// Directory of this lab; `down` removes it.
    pub state: PathBuf,
    /// Kept by `down`: the moto environment, the work of image builds.
    pub cache: PathBuf,
    /// First three numbers of the service addresses, for example `127.63.0`.
    pub block: Block,
}

/// The first three octets of the service addresses of a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Block([u8; 3]);

impl Block {
    /// The block of a lab that was not told otherwise.
    pub const DEFAULT: Self = Self([127, 63, 0]);

    fn host(self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, last)
    }
}

impl std::str::FromStr for Block {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let bad = || SettingsError::Addresses(text.to_owned());
        let numbers: Vec<u8> = text
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| bad())?;
        // 127.0.x.x belongs to the machine itself, and its instances keep it for themselves.
        match numbers[..] {
            [127, b @ 1..=254, c] => Ok(Self([127, b, c])),
            _ => Err(bad()),
        }
    }
}

impl TryFrom<String> for Block {
    type Error = SettingsError;

    fn try_from(text: String) -> Result<Self, SettingsError> {
        text.parse()
    }
}

impl From<Block> for String {
    fn from(block: Block) -> Self {
        block.to_string()
    }
}

impl std::fmt::Display for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "{a}.{b}.{c}")
    }
}

/// What `up` decided and everyone else reads: `lab.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub name: String,
    pub block: Block,
    /// Port of moto on 127.0.0.1.
    pub moto_port: u16,
    /// Docker image that instances are made of.
    pub image: String,
}

impl Settings {
    /// Settings from the command line and the environment.
    ///
    /// # Errors
    /// On a name that cannot be used, or without a home directory.
    pub fn new(name: &str, state: Option<PathBuf>, block: Block) -> Result<Self, SettingsError> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(good) {
            return Err(SettingsError::Name(name.to_owned()));
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let state = match (state, &home) {
            (Some(root), _) => root.join(name),
            (None, Some(home)) => home.join(".local/state/hafail-lab").join(name),
            (None, None) => return Err(SettingsError::NoHome),
        };
        let cache = home.map_or_else(
            || state.join("cache"),
            |home| home.join(".cache/hafail-lab"),
        );
        Ok(Self {
            name: name.to_owned(),
            state,
            cache,
            block,
        })
    }

    /// The API, for the operator and for instances with a way to the internet.
    #[must_use]
    pub fn api(&self) -> SocketAddr {
        (self.block.host(10), 5566).into()
    }

    /// The image registry, for both sides likewise.
    #[must_use]
    pub fn registry(&self) -> SocketAddr {
        (self.block.host(50), 5000).into()
    }

    /// The DNS server, for both sides likewise.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        (self.block.host(53), 53).into()
    }

    /// A file of the state directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// What is known of this lab, or `None` when it is not up.
    ///
    /// # Errors
    /// When `lab.json` is there but cannot be read.
    pub fn record(&self) -> Result<Option<Record>, SettingsError> {
        let path = self.file("lab.json");
        let fail = |source| SettingsError::File {
            path: path.clone(),
            source,
        };
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(
                serde_json::from_slice(&bytes).map_err(|error| fail(error.into()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// Writes `lab.json` so that a reader sees the old or the new one, whole.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write_record(&self, record: &Record) -> Result<(), SettingsError> {
        let text =
            serde_json::to_vec_pretty(record).expect("a record has only strings and numbers");
        write_whole(&self.file("lab.json"), &text)
    }
}

/// Replaces a file in one step.
///
/// # Errors
/// When its directory cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SettingsError> {
    let fail = |source| SettingsError::File {
        path: path.to_owned(),
        source,
    };
    let new = path.with_extension("new");
    fs::write(&new, bytes).map_err(fail)?;
    fs::rename(&new, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_an_interface_or_a_path_are_refused() {
        for name in ["", "../x", "Lab", "a.b", &"x".repeat(21)] {
            assert!(
                Settings::new(name, Some("/tmp".into()), Block::DEFAULT).is_err(),
                "{name}"
            );
        }
        assert!(Settings::new("two-regions-1", Some("/tmp".into()), Block::DEFAULT).is_ok());
    }

    #[test]
    fn a_block_is_loopback_and_not_the_machines_own() {
        assert_eq!("127.63.7".parse::<Block>().unwrap().to_string(), "127.63.7");
        for text in ["127.0.0", "10.1.1", "127.63", "127.63.1.1", "127.300.1"] {
            assert!(text.parse::<Block>().is_err(), "{text}");
        }
    }
}
