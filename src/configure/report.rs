//! What happened on the hosts: events while it runs, and their sum.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use crate::ids::HostName;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    PlayStarted {
        play: String,
        hosts: Vec<HostName>,
    },
    /// A host has begun to change something.
    StepStarted {
        host: HostName,
        step: String,
    },
    StepEnded(StepEnded),
    PlayEnded {
        play: String,
        took: Duration,
    },
}

/// What became of a step on a host.
#[derive(Clone, Debug)]
pub struct StepEnded {
    pub host: HostName,
    pub play: String,
    pub step: String,
    /// `file:line:column`.
    pub place: String,
    pub outcome: Outcome,
    pub took: Duration,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok {
        /// What a script printed, where it is to be shown.
        output: Option<String>,
    },
    Changed {
        /// Why, and in a dry run the difference.
        what: String,
        diff: Option<String>,
    },
    Skipped {
        why: String,
    },
    /// A dry run cannot tell what would become of it.
    Untold {
        why: String,
    },
    Failed {
        /// What the host said.
        why: String,
        remedy: String,
        /// The host was lost: nothing is known of what follows there.
        unreachable: bool,
        /// It could not even be begun with: the way, a key, `sudo`.
        unusable: bool,
    },
}

/// The sum of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing was changed: `changed` says what would be.
    pub dry_run: bool,
    pub hosts: BTreeMap<HostName, Counts>,
    pub changed: Vec<Entry>,
    /// Steps of which a dry run cannot tell.
    pub untold: Vec<Untold>,
    pub failed: Vec<Failure>,
    pub durations: Durations,
    /// Plays that were not begun because of failures before.
    pub not_begun: Vec<String>,
}

/// In a dry run, what earlier plays found.
#[derive(Clone, Debug, Default)]
pub(super) struct Before {
    /// Something would have changed by now.
    pub changed: bool,
    /// Something would or may have changed by now.
    pub unsettled: bool,
    /// Hosts that were lost.
    pub lost: BTreeSet<HostName>,
}

/// Steps of one host by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub ok: u32,
    pub changed: u32,
    pub skipped: u32,
    pub untold: u32,
    pub failed: u32,
}

/// A step that changed something.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub host: HostName,
    pub play: String,
    pub step: String,
    pub what: String,
    /// In a dry run, the difference without secrets.
    pub diff: Option<String>,
    pub milliseconds: u64,
}

/// A step of which a dry run cannot tell.
#[derive(Clone, Debug, Serialize)]
pub struct Untold {
    pub host: HostName,
    pub play: String,
    pub step: String,
    pub why: String,
}

/// A step that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    pub host: HostName,
    pub play: String,
    pub step: String,
    /// `file:line:column`.
    pub place: String,
    pub why: String,
    pub remedy: String,
    /// The host was lost: nothing is known of what follows there.
    pub unreachable: bool,
    /// It could not even be begun with: the way, a key, `sudo`.
    pub unusable: bool,
}

/// Milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Durations {
    pub total: u64,
    pub plays: Vec<(String, u64)>,
}

impl Report {
    /// Whether every host did everything.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.failed.is_empty()
    }

    /// Whether it found or made any difference, or cannot tell.
    fn is_unsettled(&self) -> bool {
        !(self.changed.is_empty() && self.untold.is_empty())
    }

    /// Hosts that were lost on the way.
    fn lost(&self) -> BTreeSet<HostName> {
        let lost = self.failed.iter().filter(|failure| failure.unreachable);
        lost.map(|failure| failure.host.clone()).collect()
    }

    /// What the plays before leave for the next one.
    pub(super) fn before(&self) -> Before {
        Before {
            changed: !self.changed.is_empty(),
            unsettled: self.is_unsettled(),
            lost: self.lost(),
        }
    }

    /// Adds one event.
    pub fn add(&mut self, event: &Event) {
        match event {
            Event::PlayStarted { hosts, .. } => {
                for host in hosts {
                    self.hosts.entry(host.clone()).or_default();
                }
            }
            Event::StepStarted { .. } => {}
            Event::StepEnded(ended) => self.add_step(ended),
            Event::PlayEnded { play, took } => {
                let took = milliseconds(*took);
                self.durations.plays.push((play.clone(), took));
                self.durations.total += took;
            }
        }
    }

    fn add_step(&mut self, ended: &StepEnded) {
        let counts = self.hosts.entry(ended.host.clone()).or_default();
        match &ended.outcome {
            Outcome::Ok { .. } => counts.ok += 1,
            Outcome::Skipped { .. } => counts.skipped += 1,
            Outcome::Untold { why } => {
                counts.untold += 1;
                self.untold.push(Untold {
                    host: ended.host.clone(),
                    play: ended.play.clone(),
                    step: ended.step.clone(),
                    why: why.clone(),
                });
            }
            Outcome::Changed { what, diff } => {
                counts.changed += 1;
                self.changed.push(Entry {
                    host: ended.host.clone(),
                    play: ended.play.clone(),
                    step: ended.step.clone(),
                    what: what.clone(),
                    diff: diff.clone(),
                    milliseconds: milliseconds(ended.took),
                });
            }
            Outcome::Failed {
                why,
                remedy,
                unreachable,
                unusable,
            } => {
                counts.failed += 1;
                self.failed.push(Failure {
                    host: ended.host.clone(),
                    play: ended.play.clone(),
                    step: ended.step.clone(),
                    place: ended.place.clone(),
                    why: why.clone(),
                    remedy: remedy.clone(),
                    unreachable: *unreachable,
                    unusable: *unusable,
                });
            }
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
