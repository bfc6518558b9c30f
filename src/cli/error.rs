//! Errors as users meet them: what failed, why, what to do, which exit code.

use std::{error::Error, process::ExitCode};

/// How a command ended. The numbers are documented and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// Something failed; the message names the state, the next run goes on.
    Failed,
    /// Wrong arguments (clap's own code).
    Usage,
    /// The topology, a playbook or another input is not valid.
    Invalid,
    /// Refused for safety, with a reason id and the next command.
    Refused,
    /// Another run holds the lock.
    Locked,
    /// Credentials, permissions or hosts: the outside could not be used.
    Access,
    /// Past the point of no return with steps left: `hafail resume`.
    Stuck,
    /// `plan` found changes, `status` found something not as it should be.
    Differs,
    Interrupted,
}

impl Exit {
    /// The number that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Refused => 4,
            Self::Locked => 5,
            Self::Access => 6,
            Self::Stuck => 7,
            Self::Differs => 8,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct CommandError {
    pub exit: Exit,
    /// Stable id for programs, such as `standby-behind`; empty when none.
    pub id: &'static str,
    pub message: String,
    /// From the nearest to the deepest.
    pub causes: Vec<String>,
    /// What to do next.
    pub hints: Vec<String>,
    /// More for `--output json`, such as the evidence of a refusal.
    pub details: serde_json::Value,
}

impl CommandError {
    /// An error with its exit code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            id: "",
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
            details: serde_json::Value::Null,
        }
    }

    /// An operation that failed because of `source`.
    pub fn failed(what: impl Into<String>, source: &dyn Error) -> Self {
        Self::new(Exit::Failed, what).because(source)
    }

    /// Adds `source` and what it stands on to the causes.
    #[must_use]
    pub fn because(mut self, source: &dyn Error) -> Self {
        let mut next = Some(source);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Names the error for programs.
    #[must_use]
    pub fn id(mut self, id: &'static str) -> Self {
        self.id = id;
        self
    }
}
