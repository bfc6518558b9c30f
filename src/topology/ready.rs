//! The second pass: whether what the file names outside of itself is there.

use std::path::{Path, PathBuf};

use super::{
    Reading, SecretName, lower,
    problem::{Position, Problem, Severity},
    raw,
};

/// What the machine of the operator has.
pub trait Surroundings {
    /// Whether the environment variable is set and not empty.
    fn has_variable(&self, name: &str) -> bool;

    /// Why the file cannot be read; none when it can.
    fn unreadable(&self, path: &Path) -> Option<String>;
}

/// Something outside that the file names, and where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    at: Position,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    SecretFile(SecretName, PathBuf),
    SecretVariable(SecretName, String),
    SshKey(PathBuf),
}

/// All that the file names outside of itself.
pub(super) fn named(raw: &raw::Topology, folder: &Path) -> Vec<Outside> {
    let mut named = Vec::new();
    if let Some(key) = raw.access.get().and_then(|access| access.ssh_key.as_ref()) {
        named.push(Outside {
            at: key.at,
            what: What::SshKey(lower::path(&key.value, folder)),
        });
    }
    let secrets = raw.secrets.iter().flat_map(|at| at.value.named());
    for (name, field) in secrets {
        let Some(raw::Secret::Stated(place)) = field.as_ref().map(|at| &at.value) else {
            continue;
        };
        if let Some(file) = &place.file {
            let path = lower::path(&file.value, folder);
            named.push(Outside {
                at: file.at,
                what: What::SecretFile(name, path),
            });
        } else if let Some(variable) = &place.environment {
            named.push(Outside {
                at: variable.at,
                what: What::SecretVariable(name, variable.value.clone()),
            });
        }
    }
    named
}

impl Reading {
    /// Adds what is missing around the file: secrets and keys that it names
    /// and that are not there.
    pub fn look_around(&mut self, around: &dyn Surroundings) {
        let missing = self
            .outside
            .iter()
            .filter_map(|named| named.missing(around));
        let missing: Vec<_> = missing.collect();
        self.problems.add(missing);
        if self.problems.is_fatal() {
            self.topology = None;
        }
    }
}

impl Outside {
    fn missing(&self, around: &dyn Surroundings) -> Option<Problem> {
        let (message, hint) = match &self.what {
            What::SecretFile(name, path) => {
                let why = around.unreadable(path)?;
                let (name, path) = (name.key(), path.display());
                (
                    format!("the secret `{name}` cannot be read from {path}: {why}"),
                    format!(
                        "write it there, readable for you alone, or leave `{name}` out to have it generated"
                    ),
                )
            }
            // A name that is none was reported; it may be the secret itself.
            What::SecretVariable(name, variable) => {
                if !super::check::is_variable(variable) || around.has_variable(variable) {
                    return None;
                }
                let name = name.key();
                (
                    format!(
                        "the environment variable `{variable}` of the secret `{name}` is not set"
                    ),
                    format!("export {variable}, or leave `{name}` out to have it generated"),
                )
            }
            What::SshKey(path) => {
                let why = around.unreadable(path)?;
                let path = path.display();
                (
                    format!("the SSH key {path} cannot be read: {why}"),
                    "name another key, or leave `ssh_key` out to have one generated".to_owned(),
                )
            }
        };
        Some(Problem {
            severity: Severity::Error,
            id: "missing-secret",
            at: self.at,
            message,
            hint,
        })
    }
}
