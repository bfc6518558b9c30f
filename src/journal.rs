//! What a run did, as a log of events. A live run and a replay go through the
//! same transition function, [`Progress::apply`]; a sequence that it does not
//! know is an error, not a guess.

mod past;
mod progress;

use serde::{Deserialize, Serialize};

pub use past::{is_gone, past};
pub use progress::{Facts, IllegalEvent, Phase, Progress, StepState};

use crate::{
    ids::{Epoch, HostName, Lsn, Timeline},
    plan::Plan,
    ports::{records::ChangeId, store::RunId},
};

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From 0, without gaps.
    pub sequence: u64,
    /// Wall time as text, for display.
    pub at: String,
    pub event: Event,
}

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    RunStarted(Box<RunStarted>),
    /// Somebody goes on with the run.
    Resumed {
        operator: String,
        machine: String,
    },
    /// Written before the effect.
    StepStarted {
        step: usize,
    },
    /// Written before the promotion that it permits.
    ProofRecorded(Proof),
    StepDone {
        step: usize,
        /// Something was changed; if not, all was so already.
        changed: bool,
        /// One line for people.
        what: String,
        facts: Vec<Fact>,
        milliseconds: u64,
    },
    StepFailed {
        step: usize,
        why: String,
        /// It surely had no effect and cannot have one any more.
        certain: bool,
        milliseconds: u64,
    },
    /// From here the run goes back.
    UndoBegun {
        why: String,
    },
    UndoStarted {
        step: usize,
    },
    UndoDone {
        step: usize,
        what: String,
    },
    UndoFailed {
        step: usize,
        why: String,
    },
    /// What a client that writes all the time saw.
    WritesSeen(WritesSeen),
    /// The runner stops. Final or not is up to the outcome.
    Stopped {
        outcome: Outcome,
        why: String,
        /// Steps that are not done, for people.
        left: Vec<String>,
    },
}

impl Event {
    /// The event's name.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::RunStarted(_) => "run-started",
            Self::Resumed { .. } => "resumed",
            Self::StepStarted { .. } => "step-started",
            Self::ProofRecorded(_) => "proof-recorded",
            Self::StepDone { .. } => "step-done",
            Self::StepFailed { .. } => "step-failed",
            Self::UndoBegun { .. } => "undo-begun",
            Self::UndoStarted { .. } => "undo-started",
            Self::UndoDone { .. } => "undo-done",
            Self::UndoFailed { .. } => "undo-failed",
            Self::WritesSeen(_) => "writes-seen",
            Self::Stopped { .. } => "stopped",
        }
    }
}

/// The first event of every journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunStarted {
    pub run: RunId,
    pub plan: Plan,
    /// Digest of the plan that the operator was shown.
    pub shown: String,
    /// Orders of this run carry it; undoing uses the next one.
    pub epoch: Epoch,
    pub operator: String,
    pub machine: String,
}

/// Why a promotion is safe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    pub kind: ProofKind,
    /// The host that surely writes no more.
    pub host: HostName,
    pub evidence: Vec<String>,
}

/// The kinds of proof that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofKind {
    LeaseExpired,
    StoppedByGuard,
    InstanceStopped,
    AssertedByOperator,
}

impl ProofKind {
    /// The name as written in documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::LeaseExpired => "lease-expired",
            Self::StoppedByGuard => "stopped-by-guard",
            Self::InstanceStopped => "instance-stopped",
            Self::AssertedByOperator => "asserted-by-operator",
        }
    }
}

/// Something that a step found out and later steps or the report use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fact {
    /// The old primary stopped cleanly: its log ends here.
    Shutdown { end: Lsn, timeline: Timeline },
    /// The candidate has the whole log.
    Equal { end: Lsn },
    /// Where the candidate was just before its promotion.
    Promoting { received: Lsn, timeline: Timeline },
    /// The new primary's timeline.
    Promoted { timeline: Timeline },
    /// The change of DNS records.
    Changed { change: ChangeId },
    /// Whether health checks have moved the names in time.
    Followed { followed: bool },
    /// What resolvers answered at the end: how many the new addresses.
    Resolvers { asked: usize, moved: usize },
    /// How the rejoin was done.
    RejoinedBy { way: String },
}

/// What a client saw that wrote all the time through a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WritesSeen {
    pub acknowledged: u64,
    pub failed: u64,
    /// Longest time without an acknowledged write; none: no write at all.
    pub longest_gap_ms: Option<u64>,
}

/// How a runner stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All steps are done.
    Succeeded,
    /// Undone: as before.
    Unwound,
    /// Steps are left that could not be done: `hafail resume`.
    Stuck,
    /// The operator interrupted it after the point of no return.
    Interrupted,
    /// The operator gave it up with steps left.
    Abandoned,
    /// A newer run has been there.
    Superseded,
}

impl Outcome {
    /// Nobody goes on with the run.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Unwound | Self::Abandoned | Self::Superseded => true,
            Self::Stuck | Self::Interrupted => false,
        }
    }

    /// The name as written in documents.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Unwound => "unwound",
            Self::Stuck => "stuck",
            Self::Interrupted => "interrupted",
            Self::Abandoned => "abandoned",
            Self::Superseded => "superseded",
        }
    }
}

/// Why a journal cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error("line {line} of the journal of run {run} is damaged: {why}")]
    Damaged {
        run: RunId,
        line: usize,
        why: String,
    },
    #[error("the journal of run {run} is not a possible one at line {line}: {illegal}")]
    Illegal {
        run: RunId,
        line: usize,
        illegal: IllegalEvent,
    },
    #[error("the journal of run {run} is empty")]
    Empty { run: RunId },
}

/// Reads the lines of a journal.
///
/// # Errors
/// A line that is not one of this version's.
pub fn parse(run: &RunId, lines: &[String]) -> Result<Vec<Entry>, JournalError> {
    let read = |(index, line): (usize, &String)| {
        serde_json::from_str(line).map_err(|error| JournalError::Damaged {
            run: run.clone(),
            line: index + 1,
            why: error.to_string(),
        })
    };
    lines.iter().enumerate().map(read).collect()
}

/// Replays a journal.
///
/// # Errors
/// A sequence that no run can have written.
pub fn replay(run: &RunId, entries: &[Entry]) -> Result<Progress, JournalError> {
    let Some((first, rest)) = entries.split_first() else {
        return Err(JournalError::Empty { run: run.clone() });
    };
    let illegal = |line: usize, illegal| JournalError::Illegal {
        run: run.clone(),
        line,
        illegal,
    };
    let mut progress = Progress::begin(first).map_err(|error| illegal(1, error))?;
    for (index, entry) in rest.iter().enumerate() {
        progress
            .apply(entry)
            .map_err(|error| illegal(index + 2, error))?;
    }
    Ok(progress)
}
