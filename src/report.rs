//! What a run was, folded from its events: for people, for programs, for the
//! history.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::{
    ids::Timeline,
    journal::{
        Entry, Event, Fact, JournalError, Outcome, Phase, Progress, Proof, RunStarted, replay,
    },
    plan::{Kind, LeftOut, Loss},
    ports::store::RunId,
    step::Step,
};

/// The account of a run. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub run: RunId,
    /// `running` when the runner has not stopped, or died.
    pub outcome: &'static str,
    pub why: String,
    pub kind: Kind,
    pub topology: String,
    pub from: String,
    pub to: String,
    pub old_primary: String,
    pub new_primary: String,
    pub epoch: u64,
    pub operator: String,
    pub started: String,
    pub ended: Option<String>,
    pub duration_ms: Option<u64>,
    /// Digest of the plan that was shown and run.
    pub plan: String,
    pub proof: Option<Proof>,
    pub timeline_before: Option<Timeline>,
    pub timeline_after: Option<Timeline>,
    /// Bytes of acknowledged log that were lost; none: unknown.
    pub lost_bytes: Option<u64>,
    pub loss: String,
    /// Longest time in which a client that writes all the time got nothing
    /// acknowledged; none: it never got an answer.
    pub write_outage_ms: Option<u64>,
    pub writes_acknowledged: u64,
    pub dns: DnsReport,
    pub steps: Vec<StepReport>,
    /// Steps that were not planned, since their host could not be used.
    pub left_out: Vec<LeftOut>,
    /// What is still to be done.
    pub left: Vec<String>,
}

/// What became of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DnsReport {
    pub moved: bool,
    pub change: Option<String>,
    pub records: Vec<String>,
    pub addresses: Vec<String>,
    pub authoritative: bool,
    /// Answers of resolvers at the end, and how many were the new ones.
    pub resolver_answers: usize,
    pub resolver_answers_moved: usize,
}

/// A step as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    pub number: usize,
    pub kind: &'static str,
    pub part: crate::step::Part,
    pub what: String,
    /// `pending`, `started`, `done`, `failed`, `undone`, `undo-failed`.
    pub state: &'static str,
    pub changed: bool,
    pub result: String,
    pub duration_ms: Option<u64>,
}

/// Folds the journal of a run.
///
/// # Errors
/// A journal that no run can have written.
pub fn report(run: &RunId, entries: &[Entry]) -> Result<Report, JournalError> {
    let progress = replay(run, entries)?;
    let Event::RunStarted(started) = &entries[0].event else {
        unreachable!("a journal that replays begins with the start of its run");
    };
    let stopped = entries.iter().rev().find_map(|entry| match &entry.event {
        Event::Stopped { why, left, .. } => Some((entry.at.clone(), why.clone(), left.clone())),
        _ => None,
    });
    let outcome = match &progress.phase {
        Phase::Stopped { outcome, .. } => Some(*outcome),
        _ => None,
    };
    let (ended, why, left) = match (outcome, stopped) {
        (Some(_), Some((at, why, left))) => (Some(at), why, left),
        _ => (
            None,
            "its journal has no end".to_owned(),
            steps_left(&progress),
        ),
    };
    let writes = progress.writes.clone().unwrap_or_default();
    Ok(Report {
        outcome: outcome.map_or("running", Outcome::word),
        why,
        left,
        duration_ms: ended
            .as_deref()
            .and_then(|end| between(&progress.started, end)),
        ended,
        proof: progress.proof.clone(),
        timeline_before: progress.facts.promoting.map(|(_, timeline)| timeline),
        timeline_after: progress.facts.promoted,
        lost_bytes: lost(&progress),
        loss: progress.plan.loss.to_string(),
        write_outage_ms: writes.longest_gap_ms,
        writes_acknowledged: writes.acknowledged,
        dns: dns(&progress, entries),
        steps: steps(&progress, entries),
        ..begun(started, &progress)
    })
}

/// What is known from the first event on.
fn begun(started: &RunStarted, progress: &Progress) -> Report {
    let plan = &started.plan;
    Report {
        run: started.run.clone(),
        outcome: "running",
        why: String::new(),
        kind: plan.kind,
        topology: plan.topology.clone(),
        from: plan.from.to_string(),
        to: plan.to.to_string(),
        old_primary: plan.old.to_string(),
        new_primary: plan.new.to_string(),
        epoch: started.epoch.0,
        operator: format!("{}@{}", started.operator, started.machine),
        started: progress.started.clone(),
        ended: None,
        duration_ms: None,
        plan: started.shown.clone(),
        proof: None,
        timeline_before: None,
        timeline_after: None,
        lost_bytes: None,
        loss: String::new(),
        write_outage_ms: None,
        writes_acknowledged: 0,
        dns: DnsReport::default(),
        steps: Vec::new(),
        left_out: plan.left_out.clone(),
        left: Vec::new(),
    }
}

fn steps_left(progress: &Progress) -> Vec<String> {
    progress
        .left()
        .map(|planned| planned.step.to_string())
        .collect()
}

/// Milliseconds between two times as written in a journal.
fn between(start: &str, end: &str) -> Option<u64> {
    let (start, end): (jiff::Timestamp, jiff::Timestamp) = (start.parse().ok()?, end.parse().ok()?);
    u64::try_from(end.as_millisecond() - start.as_millisecond()).ok()
}

/// What the promotion lost. After a clean stop the two positions tell; else
/// what was expected is all that can be known.
fn lost(progress: &Progress) -> Option<u64> {
    if progress.facts.promoted.is_none() {
        return Some(0);
    }
    if let (Some((end, _)), Some((received, _))) =
        (progress.facts.shutdown, progress.facts.promoting)
        && progress.facts.equal.is_some()
    {
        return Some(end.bytes_since(received));
    }
    match &progress.plan.loss {
        Loss::Nothing { .. } => Some(0),
        Loss::Bytes { bytes, .. } => Some(*bytes),
        Loss::Unknown { .. } => None,
    }
}

fn dns(progress: &Progress, entries: &[Entry]) -> DnsReport {
    let mut report = DnsReport::default();
    for planned in &progress.plan.steps {
        let done = progress.state(planned.number) == crate::journal::StepState::Done;
        match &planned.step {
            Step::MoveRecords { records } | Step::AwaitChecks { records, .. } => {
                report.moved = done && matches!(planned.step, Step::MoveRecords { .. });
                report.records = records.iter().map(|record| record.name.clone()).collect();
                let all: std::collections::BTreeSet<_> = records
                    .iter()
                    .flat_map(|record| &record.addresses)
                    .collect();
                report.addresses = all.into_iter().map(ToString::to_string).collect();
            }
            Step::AwaitAuthoritative { .. } => report.authoritative = done,
            _ => {}
        }
    }
    for entry in entries {
        let Event::StepDone { facts, .. } = &entry.event else {
            continue;
        };
        for fact in facts {
            match fact {
                Fact::Followed { followed } => {
                    (report.moved, report.authoritative) = (*followed, *followed);
                }
                Fact::Changed { change } => report.change = Some(change.0.clone()),
                Fact::Resolvers { asked, moved } => {
                    (report.resolver_answers, report.resolver_answers_moved) = (*asked, *moved);
                }
                _ => {}
            }
        }
    }
    report
}

fn steps(progress: &Progress, entries: &[Entry]) -> Vec<StepReport> {
    let mut steps: Vec<_> = progress
        .plan
        .steps
        .iter()
        .map(|planned| StepReport {
            number: planned.number,
            kind: planned.step.kind(),
            part: planned.part,
            what: planned.step.to_string(),
            state: progress.state(planned.number).word(),
            changed: false,
            result: String::new(),
            duration_ms: None,
        })
        .collect();
    for entry in entries {
        match &entry.event {
            Event::StepDone {
                step,
                changed,
                what,
                milliseconds,
                ..
            } => {
                let report = &mut steps[step - 1];
                (report.changed, report.duration_ms) = (*changed, Some(*milliseconds));
                report.result.clone_from(what);
            }
            Event::StepFailed {
                step,
                why,
                milliseconds,
                ..
            } => {
                let report = &mut steps[step - 1];
                report.duration_ms = Some(*milliseconds);
                report.result.clone_from(why);
            }
            Event::UndoDone { step, what } => steps[step - 1].result.clone_from(what),
            Event::UndoFailed { step, why } => steps[step - 1].result.clone_from(why),
            _ => {}
        }
    }
    steps
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took = self
            .duration_ms
            .map_or_else(String::new, |ms| format!(" in {}", seconds(ms)));
        writeln!(f, "{} {}: {}{took}", self.kind, self.run, self.outcome)?;
        if self.outcome != "succeeded" {
            writeln!(f, "  why              {}", self.why)?;
        }
        match self.kind {
            Kind::Switchover | Kind::Failover => self.promotion(f)?,
            Kind::Rejoin | Kind::Redirect | Kind::Heal => {}
        }
        if self.dns.moved {
            let DnsReport {
                records,
                addresses,
                resolver_answers: asked,
                resolver_answers_moved: moved,
                ..
            } = &self.dns;
            writeln!(
                f,
                "  names            {} answer {} ({moved} of {asked} resolver answers)",
                records.join(", "),
                addresses.join(", ")
            )?;
        }
        for LeftOut { what, why } in &self.left_out {
            writeln!(f, "  left out         {what} ({why})")?;
        }
        for left in &self.left {
            writeln!(f, "  left             {left}")?;
        }
        Ok(())
    }
}

impl Report {
    fn promotion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  primary          {} → {}",
            self.old_primary, self.new_primary
        )?;
        if let (Some(before), Some(after)) = (self.timeline_before, self.timeline_after) {
            writeln!(f, "  timeline         {before} → {after}")?;
        }
        if let Some(proof) = &self.proof {
            let mut evidence = String::new();
            for (index, line) in proof.evidence.iter().enumerate() {
                write!(evidence, "{}{line}", if index == 0 { "" } else { "; " })?;
            }
            writeln!(f, "  fencing proof    {} ({evidence})", proof.kind.word())?;
        }
        let lost = self
            .lost_bytes
            .map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes} bytes"));
        writeln!(f, "  lost             {lost}")?;
        let outage = self
            .write_outage_ms
            .map_or_else(|| "no write was acknowledged".to_owned(), seconds);
        writeln!(f, "  write outage     {outage}")
    }
}

fn seconds(milliseconds: u64) -> String {
    if milliseconds < 1000 {
        return format!("{milliseconds} ms");
    }
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}
