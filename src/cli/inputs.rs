//! What most commands begin with: the topology and the vault.

use std::path::Path;

use super::{CommandError, Context, Exit};
use crate::{
    adapters::secrets::{ThisMachine, Vault, VaultError},
    topology::{Problem, Problems, Reading, Topology},
};

impl Context {
    /// Reads the topology file; warnings are printed.
    ///
    /// # Errors
    /// The file cannot be read, or is not valid: all problems at once.
    pub fn topology(&self) -> Result<Topology, CommandError> {
        self.accept(read(&self.topology)?)
    }

    /// Reads another topology file.
    ///
    /// # Errors
    /// As [`Context::topology`].
    pub fn topology_of(&self, path: &std::path::Path) -> Result<Topology, CommandError> {
        self.accept(read(path)?)
    }

    /// Reads the topology file as [`Context::topology`] does, and looks for
    /// the secrets that it names: for what goes on to use all of them.
    ///
    /// # Errors
    /// As there, and where a secret is missing.
    pub fn ready_topology(&self) -> Result<Topology, CommandError> {
        let mut reading = read(&self.topology)?;
        reading.look_around(&ThisMachine);
        self.accept(reading)
    }

    fn accept(&self, reading: Reading) -> Result<Topology, CommandError> {
        let problems = reading.problems;
        match reading.topology {
            Some(topology) => {
                for problem in &problems.problems {
                    self.ui.warning(&one_line(&problems.file, problem));
                }
                Ok(topology)
            }
            None => {
                self.ui.status(&problems.render());
                Err(problems.into())
            }
        }
    }

    /// Opens the vault of the topology.
    ///
    /// # Errors
    /// The directory cannot be used, or others can read it.
    pub fn vault(&self, topology: &Topology) -> Result<Vault, CommandError> {
        Ok(Vault::open(&self.home, topology)?)
    }

    /// Opens the vault of the topology for a plan: nothing is written.
    ///
    /// # Errors
    /// Others can read the directory.
    pub fn vault_as_it_is(&self, topology: &Topology) -> Result<Vault, CommandError> {
        Ok(Vault::look(&self.home, topology)?)
    }
}

/// Reads a topology file with all that is wrong or doubtful.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path) -> Result<Reading, CommandError> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        CommandError::new(Exit::Invalid, format!("cannot read the topology {file}"))
            .because(&error)
            .id("no-topology")
            .hint("name one by --topology FILE, or make one: hafail init FILE")
    })?;
    Ok(Topology::read(&text, &file))
}

fn one_line(file: &str, problem: &Problem) -> String {
    let Problem {
        at, message, hint, ..
    } = problem;
    format!("{file}:{}:{}: {message} ({hint})", at.line, at.column)
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        let mut error = Self::new(Exit::Invalid, problems.to_string()).id("invalid-topology");
        error.details = serde_json::json!({ "problems": problems.problems });
        error
    }
}

impl From<VaultError> for CommandError {
    fn from(error: VaultError) -> Self {
        let exit = match error {
            VaultError::SecretFile { .. }
            | VaultError::SecretVariable { .. }
            | VaultError::Unusable { .. } => Exit::Invalid,
            _ => Exit::Access,
        };
        let mut failed = Self::new(exit, error.to_string())
            .hint(error.hint())
            .id("vault");
        if let Some(source) = std::error::Error::source(&error) {
            failed = failed.because(source);
        }
        failed
    }
}
