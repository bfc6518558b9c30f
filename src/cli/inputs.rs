//! What most commands begin with: the topology and the vault.

use super::{CommandError, Context, Exit};
use crate::{
    adapters::secrets::{Vault, VaultError},
    topology::{Problem, Problems, Reading, Topology},
};

impl Context {
    /// Reads the topology file; warnings are printed.
    ///
    /// # Errors
    /// The file cannot be read, or is not valid: all problems at once.
    pub fn topology(&self) -> Result<Topology, CommandError> {
        let reading = self.read_topology()?;
        match reading.topology {
            Some(topology) => {
                for problem in &reading.problems.problems {
                    self.ui.warning(&one_line(&reading.problems.file, problem));
                }
                Ok(topology)
            }
            None => Err(reading.problems.into()),
        }
    }

    /// Reads the topology file with all that is wrong or doubtful.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_topology(&self) -> Result<Reading, CommandError> {
        let file = self.topology.display().to_string();
        let text = std::fs::read_to_string(&self.topology).map_err(|error| {
            CommandError::new(Exit::Invalid, format!("cannot read the topology {file}"))
                .because(&error)
                .id("no-topology")
                .hint("name one by --topology FILE, or make one: hafail init FILE")
        })?;
        Ok(Topology::read(&text, &file))
    }

    /// Opens the vault of the topology.
    ///
    /// # Errors
    /// The directory cannot be used, or others can read it.
    pub fn vault(&self, topology: &Topology) -> Result<Vault, CommandError> {
        Ok(Vault::open(&self.home, topology)?)
    }
}

fn one_line(file: &str, problem: &Problem) -> String {
    let Problem {
        at, message, hint, ..
    } = problem;
    format!("{file}:{}:{}: {message} ({hint})", at.line, at.column)
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        let mut error = Self::new(
            Exit::Invalid,
            format!("{problems}\n\n{}", problems.render()),
        )
        .id("invalid-topology");
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
