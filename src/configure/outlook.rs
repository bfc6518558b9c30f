//! What a deploy would do on hosts, as far as it can be known: the second
//! part of a plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use serde::Serialize;

use super::report::{Entry, Failure, Report, Untold};
use crate::ids::HostName;

/// What is ahead of all hosts.
#[derive(Clone, Debug, Default)]
pub struct Outlooks {
    pub hosts: BTreeMap<HostName, Outlook>,
    /// What was assumed for want of better knowledge.
    pub notes: Vec<String>,
}

/// What is ahead of one host.
#[derive(Clone, Debug)]
pub enum Outlook {
    /// There is no such machine yet, or another takes its place: why.
    FromNothing { why: String },
    /// It could not be looked at. That says nothing about what would change.
    Unknown { why: String, remedy: String },
    /// It was looked at by a dry run.
    Seen(Findings),
}

/// What a dry run found on one host.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub changes: Vec<Entry>,
    /// Steps that would fail, whatever is changed before.
    pub failures: Vec<Failure>,
    /// Steps of which a dry run cannot tell.
    pub untold: Vec<Untold>,
}

/// Hosts and steps by what is ahead of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Hosts on which steps would change something.
    pub change: usize,
    pub from_nothing: usize,
    pub unknown: usize,
    /// Hosts on which a step would fail.
    pub failing: usize,
    pub as_wanted: usize,
    /// Steps that would change something.
    pub steps: usize,
    /// Steps of which a dry run cannot tell.
    pub untold: usize,
}

/// The outlooks for programs.
#[derive(Debug, Serialize)]
pub struct Document {
    pub counts: Tally,
    pub hosts: Vec<HostDocument>,
    pub notes: Vec<String>,
}

/// One host for programs.
#[derive(Debug, Serialize)]
pub struct HostDocument {
    pub host: HostName,
    /// `change`, `from-nothing`, `unknown`, `failing` or `as-wanted`.
    pub outlook: &'static str,
    pub why: Option<String>,
    pub remedy: Option<String>,
    pub changes: Vec<Entry>,
    pub failures: Vec<Failure>,
    pub untold: Vec<Untold>,
}

impl Outlooks {
    /// Adds what a dry run found on the hosts that it was for. A host that
    /// was lost on the way is unknown, whatever was seen of it before.
    pub fn add(&mut self, report: &Report) {
        for host in report.hosts.keys() {
            let of = |name: &HostName| name == host;
            let findings = Findings {
                changes: (report.changed.iter().filter(|it| of(&it.host)))
                    .cloned()
                    .collect(),
                failures: (report.failed.iter().filter(|it| of(&it.host)))
                    .cloned()
                    .collect(),
                untold: (report.untold.iter().filter(|it| of(&it.host)))
                    .cloned()
                    .collect(),
            };
            let lost = findings.failures.iter().find(|it| it.unreachable);
            let outlook = match lost {
                Some(Failure { why, remedy, .. }) => Outlook::Unknown {
                    why: why.clone(),
                    remedy: remedy.clone(),
                },
                None => Outlook::Seen(findings),
            };
            self.hosts.insert(host.clone(), outlook);
        }
    }

    /// Whether all hosts were seen to be as they should be.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.tally().as_wanted == self.hosts.len()
    }

    /// The numbers.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for outlook in self.hosts.values() {
            match outlook.word() {
                "change" => tally.change += 1,
                "from-nothing" => tally.from_nothing += 1,
                "unknown" => tally.unknown += 1,
                "failing" => tally.failing += 1,
                _ => tally.as_wanted += 1,
            }
            if let Outlook::Seen(findings) = outlook {
                tally.steps += findings.changes.len();
                tally.untold += findings.untold.len();
            }
        }
        tally
    }

    /// For people: every host of which there is something to say, then the
    /// numbers. `~` change, `+` from nothing, `?` unknown, `!` would fail.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut told: BTreeSet<&HostName> = BTreeSet::new();
        for (host, outlook) in &self.hosts {
            // What is the same of many hosts is said once.
            let alike = self.hosts.iter().filter(|(_, it)| it.is_like(outlook));
            let alike: Vec<&HostName> = alike.map(|(host, _)| host).collect();
            if told.insert(host) {
                let names = if alike.is_empty() { vec![host] } else { alike };
                let text: Vec<&str> = names.iter().map(|host| host.as_str()).collect();
                outlook.write(&mut out, &text.join(", "));
                told.extend(names);
            }
        }
        if !out.is_empty() {
            out.insert_str(0, "hosts\n");
            out.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        out.push_str(&summary(&self.tally()));
        out
    }

    /// For programs.
    #[must_use]
    pub fn document(&self) -> Document {
        let hosts = self.hosts.iter();
        Document {
            counts: self.tally(),
            hosts: hosts
                .map(|(host, outlook)| outlook.document(host))
                .collect(),
            notes: self.notes.clone(),
        }
    }
}

impl Outlook {
    fn word(&self) -> &'static str {
        match self {
            Self::FromNothing { .. } => "from-nothing",
            Self::Unknown { .. } => "unknown",
            Self::Seen(findings) if !findings.failures.is_empty() => "failing",
            Self::Seen(findings) if !findings.changes.is_empty() => "change",
            Self::Seen(_) => "as-wanted",
        }
    }

    /// Whether the same is to be said of another host.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::FromNothing { why }, Self::FromNothing { why: also }) => why == also,
            (
                Self::Unknown { why, remedy },
                Self::Unknown {
                    why: also,
                    remedy: its,
                },
            ) => why == also && remedy == its,
            _ => false,
        }
    }

    fn write(&self, out: &mut String, host: &str) {
        let _ = match self {
            Self::FromNothing { why } => {
                writeln!(out, "  + {host}  will be configured from nothing: {why}")
            }
            Self::Unknown { why, remedy } => {
                let _ = writeln!(out, "  ? {host}  unknown: {}", indented(why, 6));
                writeln!(out, "      {}", indented(remedy, 6))
            }
            Self::Seen(findings) => {
                findings.write(out, host);
                Ok(())
            }
        };
    }

    fn document(&self, host: &HostName) -> HostDocument {
        let (why, remedy, findings) = match self {
            Self::FromNothing { why } => (Some(why), None, Findings::default()),
            Self::Unknown { why, remedy } => (Some(why), Some(remedy), Findings::default()),
            Self::Seen(findings) => (None, None, findings.clone()),
        };
        HostDocument {
            host: host.clone(),
            outlook: self.word(),
            why: why.cloned(),
            remedy: remedy.cloned(),
            changes: findings.changes,
            failures: findings.failures,
            untold: findings.untold,
        }
    }
}

impl Findings {
    /// Nothing where nothing would change: what cannot be told is only
    /// counted then.
    fn write(&self, out: &mut String, host: &str) {
        if self.changes.is_empty() && self.failures.is_empty() {
            return;
        }
        let sign = if self.failures.is_empty() { '~' } else { '!' };
        let _ = writeln!(out, "  {sign} {host}");
        for Entry {
            step, what, diff, ..
        } in &self.changes
        {
            let why = what.lines().next().unwrap_or_default();
            let colon = if why.is_empty() { "" } else { ": " };
            let _ = writeln!(out, "      {step}{colon}{why}");
            for line in diff.iter().flat_map(|diff| diff.lines()) {
                let _ = writeln!(out, "          {line}");
            }
        }
        for Failure {
            step, why, remedy, ..
        } in &self.failures
        {
            let _ = writeln!(out, "      {step} would fail: {}", indented(why, 10));
            if !remedy.is_empty() {
                let _ = writeln!(out, "          {}", indented(remedy, 10));
            }
        }
    }
}

/// The first line as it is, the others with that many spaces in front.
fn indented(text: &str, spaces: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.join(&format!("\n{:spaces$}", ""))
}

fn summary(tally: &Tally) -> String {
    let parts = [
        (tally.change, "to change"),
        (tally.from_nothing, "to configure from nothing"),
        (tally.failing, "where a step would fail"),
        (tally.unknown, "unknown"),
        (tally.as_wanted, "as wanted"),
    ];
    let shown: Vec<String> = (parts.iter())
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    let mut text = format!("hosts: {}", shown.join(", "));
    if tally.steps > 0 {
        let _ = write!(text, "; {} would change something", steps(tally.steps));
    }
    if tally.untold > 0 {
        let _ = write!(
            text,
            "\n({} can be told only by a deploy; `--output json` names what)",
            steps(tally.untold)
        );
    }
    text
}

fn steps(number: usize) -> String {
    match number {
        1 => "1 step".to_owned(),
        many => format!("{many} steps"),
    }
}
