//! The playbook language: what a host shall be, as typed steps. Text is parsed
//! with positions; strings are templates that `render` fills with facts.

mod action;
mod facts;
mod parse;
mod template;
mod text;
pub mod texts;

pub use action::{
    Absent, Action, Assert, ChangedWhen, Container, ContainerHealth, ContainersAbsent, Directory,
    ExtraName, File, Hosts, Http, Pull, Redis, Run, Service, ServiceState, Sql, SqlCheck, Tcp,
    Upload, Wait,
};
pub use facts::Facts;
pub use parse::{ParseError, nearest, parse};
pub use template::{Renderer, Scope};
pub use text::{Position, Seconds, Text};

use sha2::{Digest, Sha256};

use crate::topology::Role;

/// Names of the secrets in templates.
pub const SECRETS: [&str; 7] = [
    "database_superuser",
    "database_replication",
    "database_rewind",
    "database_user",
    "queue_password",
    "statistics_password",
    "carried_vault",
];

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A playbook as one file states it.
#[derive(Clone, Debug, PartialEq)]
pub struct Playbook {
    /// File that it was read from, for messages.
    pub file: String,
    pub name: String,
    pub description: String,
    pub plays: Vec<Item>,
}

/// An entry of `plays`.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Play(Box<Play>),
    /// All plays of another playbook, here.
    Include {
        playbook: Text,
        when: Option<Text>,
    },
}

/// Steps for a set of hosts. The next play begins when every host has ended
/// this one.
#[derive(Clone, Debug, PartialEq)]
pub struct Play {
    pub name: Text,
    pub position: Position,
    pub target: Target,
    /// One host after another instead of all at once.
    pub serial: bool,
    /// Only on the first of the hosts.
    pub once: bool,
    /// Expression; asked on each host.
    pub when: Option<Text>,
    pub steps: Vec<Step>,
    /// Steps that run at the end of the play, or at `flush`, when notified.
    pub handlers: Vec<Step>,
}

/// Which hosts a play is for: all conditions hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub hosts: HostSet,
    pub place: Option<Place>,
}

/// Hosts by name or role.
#[derive(Clone, Debug, PartialEq)]
pub enum HostSet {
    All,
    /// Hosts with one of these roles.
    Roles(Vec<Role>),
    Named(Vec<Text>),
}

/// Hosts by site.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The site whose database is primary.
    PrimarySite,
    /// All other sites.
    StandbySites,
    Site(Text),
}

/// One thing to make so.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub name: Text,
    pub position: Position,
    /// Expression; the step is skipped where it is false.
    pub when: Option<Text>,
    pub for_each: Option<ForEach>,
    /// Names of handlers to run when this step changed something.
    pub notify: Vec<Text>,
    /// Time for the whole step; each action has its own default.
    pub deadline: Option<Seconds>,
    pub action: Action,
}

/// Repeats a step.
#[derive(Clone, Debug, PartialEq)]
pub struct ForEach {
    /// Expression that gives a list.
    pub list: Text,
    /// Name of the variable that holds the element.
    pub variable: String,
}
