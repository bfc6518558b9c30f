//! What a watcher says: to its log, and to whoever the topology names, one
//! message for each event.

mod receiver;

use std::sync::Mutex;

use serde::Serialize;
use tokio::sync::mpsc;

pub use receiver::{NotTaken, Receiver};

use crate::{
    adapters::clock,
    decide::{Act, Diagnosis, Finding, Reaction},
    ids::HostName,
    journal::{Entry, Event, Outcome, Progress},
    watch::{Notice, Notices},
};

/// Messages that wait while a receiver is away; older ones are kept.
const ROOM: usize = 256;

/// A message, as JSON: `event`, `what`, and what was done and is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    pub topology: String,
    /// The host of the watcher.
    pub by: HostName,
    /// Wall time.
    pub at: String,
    /// `blocked`, `acting`, `done`, `failed`, `withheld`, `healthy`, `test`.
    pub event: &'static str,
    /// What happened, one sentence each.
    pub what: Vec<String>,
    /// What was or is done about it.
    pub done: Vec<String>,
    /// What is left for people: commands, best first.
    pub left: Vec<String>,
}

/// Writes to the log and sends messages in the background.
pub struct Announcer {
    topology: String,
    host: HostName,
    /// To each receiver; none waits for another.
    senders: Vec<mpsc::Sender<Message>>,
    /// What was said last, so that nothing is said twice.
    last: Mutex<Option<(&'static str, Vec<String>)>>,
}

impl Announcer {
    /// Needs a running tokio.
    #[must_use]
    pub fn new(topology: &str, host: &HostName, receivers: Vec<Receiver>) -> Self {
        let senders = receivers.into_iter().map(|receiver| {
            let (sender, messages) = mpsc::channel(ROOM);
            tokio::spawn(receiver.send_all(messages));
            sender
        });
        let senders = senders.collect();
        Self {
            topology: topology.to_owned(),
            host: host.clone(),
            senders,
            last: Mutex::default(),
        }
    }

    fn message(&self, notice: &Notice) -> Option<Message> {
        let (event, what, done, left) = told(notice)?;
        let mut last = self.last.lock().expect("no holder of this lock panics");
        let new = (event, what.clone());
        if last.as_ref() == Some(&new) {
            return None;
        }
        // That all is well is news only after something was not.
        if event == "healthy" && last.is_none() {
            return None;
        }
        *last = Some(new);
        Some(Message {
            topology: self.topology.clone(),
            by: self.host.clone(),
            at: clock::wall(),
            event,
            what,
            done,
            left,
        })
    }
}

type Told = (&'static str, Vec<String>, Vec<String>, Vec<String>);

/// The parts of a message; none: nothing for people.
fn told(notice: &Notice) -> Option<Told> {
    Some(match notice {
        Notice::Decided { findings, reaction } => {
            let what = findings.iter().cloned();
            let what: Vec<_> = what.flat_map(Finding::sentences).collect();
            match reaction {
                Reaction::Rest if is_healthy(findings) => ("healthy", what, vec![], vec![]),
                Reaction::Rest => (
                    "degraded",
                    what,
                    Finding::rules(findings).map(str::to_owned).collect(),
                    vec!["hafail status".to_owned()],
                ),
                Reaction::Wait { .. } | Reaction::Act(_) => return None,
                Reaction::Withheld { act, why } => {
                    let done = vec![format!("would {}: {why}", act.sentence())];
                    ("withheld", what, done, vec!["hafail status".to_owned()])
                }
                Reaction::Blocked(refusal) => {
                    let mut what = what;
                    what.push(format!("{}: {}", refusal.reason.id(), refusal.message));
                    what.extend(refusal.evidence.iter().cloned());
                    ("blocked", what, vec![], refusal.next.clone())
                }
            }
        }
        Notice::Begins(act) => {
            let what = match act {
                Act::Run(plan) => plan.because.clone(),
                Act::Resume(_) | Act::Abandon(_) => vec!["a run was broken off".to_owned()],
            };
            ("acting", what, vec![act.sentence()], vec![])
        }
        // What it had been dead of, and that nobody need do anything.
        Notice::Ended {
            act: Act::Run(plan),
            outcome: Outcome::Succeeded,
            ..
        } if plan.heals().is_some() => {
            let done = plan.steps.iter().map(|planned| planned.step.to_string());
            ("done", plan.because.clone(), done.collect(), vec![])
        }
        Notice::Ended { act, outcome, .. } => {
            let done = vec![format!("{}: {}", act.sentence(), outcome.word())];
            ("done", vec![], done, vec!["hafail history".to_owned()])
        }
        Notice::Failed { act, why } => {
            let done = vec![format!("{}: {why}", act.sentence())];
            ("failed", vec![], done, vec!["hafail status".to_owned()])
        }
        Notice::Blind(_) => return None,
    })
}

fn is_healthy(findings: &[Finding]) -> bool {
    let mut findings = findings.iter();
    findings.all(|finding| finding.diagnosis == Diagnosis::Healthy)
}

impl Notices for Announcer {
    fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Blind(why) => tracing::warn!(why, "cannot see what is needed"),
            Notice::Decided { findings, reaction } => {
                tracing::info!(?findings, ?reaction, "decided");
            }
            Notice::Begins(act) => tracing::warn!(act = act.sentence(), "acts"),
            Notice::Ended { act, outcome, .. } => {
                tracing::warn!(act = act.sentence(), outcome = outcome.word(), "has acted");
            }
            Notice::Failed { act, why } => {
                tracing::error!(act = act.sentence(), why, "could not act");
            }
        }
        let Some(message) = self.message(notice) else {
            return;
        };
        for sender in &self.senders {
            if sender.try_send(message.clone()).is_err() {
                tracing::error!("a message was not sent: the receiver has been away for too long");
            }
        }
    }

    fn entry(&self, entry: &Entry, progress: &Progress) {
        if let Event::StepDone {
            step,
            what,
            milliseconds,
            ..
        } = &entry.event
        {
            tracing::info!(run = %progress.run, step, what, milliseconds, "step done");
        } else if let Event::StepFailed { step, why, .. } = &entry.event {
            tracing::warn!(run = %progress.run, step, why, "step failed");
        }
    }
}

/// A message that says it is a test.
#[must_use]
pub fn test_message(topology: &str, host: &HostName) -> Message {
    Message {
        topology: topology.to_owned(),
        by: host.clone(),
        at: clock::wall(),
        event: "test",
        what: vec!["this is a test: nothing has happened".to_owned()],
        done: Vec::new(),
        left: Vec::new(),
    }
}
