//! A step for one host with everything filled in, as shell functions.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// One thing to look at and, where needed, to do on one host.
#[derive(Clone)]
pub struct Task {
    /// As people read it.
    pub name: String,
    /// `file:line:column` of the step.
    pub place: String,
    /// Body of the function that looks; never changes anything unless
    /// `inline`.
    pub check: String,
    pub act: Act,
    /// What `check` needs to have been looked at before.
    pub looks: Looks,
    /// Time that `check` may take.
    pub check_time: Duration,
    /// Time that `act` may take.
    pub act_time: Duration,
    /// Handlers of the play, by index, to run when this changed something.
    pub notify: Vec<usize>,
    /// Follows from another step: mentioned only when it fails.
    pub hidden: bool,
    /// Its output is shown.
    pub show: bool,
    /// It waits for what others do, and changes nothing itself.
    pub waits: bool,
    /// What a dry run compares with what is there.
    pub wanted: Option<Wanted>,
    /// What to do when it fails.
    pub remedy: String,
}

/// How a task is done.
#[derive(Clone)]
pub enum Act {
    /// Nothing more: `check` says it all.
    None,
    /// Body of a function.
    Script(String),
    Upload(Upload),
    /// Run the notified handlers.
    Flush,
    /// Skipped on this host; why.
    Skip(String),
}

/// A file of the operator's machine on its way to a host.
#[derive(Clone)]
pub struct Upload {
    pub from: PathBuf,
    pub dest: String,
    pub sha256: String,
    pub mode: String,
    pub owner: String,
    pub group: String,
}

/// The new content of a file.
#[derive(Clone)]
pub enum Wanted {
    File(String),
    /// A block in front of the rest.
    Block(String),
}

/// What a script looks at once for all its tasks.
#[derive(Clone, Default)]
pub struct Looks {
    pub packages: BTreeSet<String>,
    pub files: BTreeSet<String>,
    pub units: BTreeSet<String>,
    pub boxes: BTreeSet<String>,
}

impl Looks {
    pub fn add(&mut self, other: &Self) {
        self.packages.extend(other.packages.iter().cloned());
        self.files.extend(other.files.iter().cloned());
        self.units.extend(other.units.iter().cloned());
        self.boxes.extend(other.boxes.iter().cloned());
    }
}

/// Quotes for a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A call of a shell function.
pub fn call(function: &str, arguments: &[&str]) -> String {
    let words = arguments.iter().map(|argument| quoted(argument));
    std::iter::once(function.to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Assignments in front of a call.
pub fn set(variables: &[(&str, &str)]) -> String {
    let lines = variables
        .iter()
        .map(|(name, value)| format!("{name}={}\n", quoted(value)));
    lines.collect()
}

/// An array assignment.
pub fn set_array(name: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("{name}=({})\n", words.join(" "))
}
