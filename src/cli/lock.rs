//! One at a time: commands that change hosts or resources hold the lock of
//! failovers, so that neither works under the other's hands.

use std::collections::BTreeSet;

use super::{CommandError, Context, operating};
use crate::{
    adapters::{clock, journal_file::JournalDirectory},
    decide::unfinished,
    history::{HistoryError, journals},
    journal::{Entry, Event, Outcome, parse, past, replay},
    ports::store::{Holder, RunId, Store},
    topology::Topology,
};

/// Held until it is dropped, or the process ends.
pub(super) struct Lock(JournalDirectory);

impl Lock {
    /// Takes the lock of the deployment on this machine for the command
    /// `what`.
    ///
    /// # Errors
    /// Another command holds it, who is named; or the directory cannot be
    /// used.
    pub async fn take(
        context: &Context,
        topology: &Topology,
        what: &str,
    ) -> Result<Self, CommandError> {
        let store = operating::store(context, topology)?;
        let who = operating::who();
        let holder = Holder {
            what: what.to_owned(),
            run: RunId(what.to_owned()),
            operator: who.operator,
            machine: who.machine,
            process: who.process,
            since: clock::wall(),
        };
        store.register(&holder).await?;
        Ok(Self(store))
    }

    /// The run that was broken off and waits to be resumed, if any.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub async fn unfinished(&self) -> Result<Option<RunId>, CommandError> {
        let journals = journals(&self.0).await?;
        let journals: Vec<_> = journals.into_iter().map(|(_, entries)| entries).collect();
        // Which databases there are is not known here: all journals count.
        let past = past(&journals, &BTreeSet::new()).map_err(HistoryError::from)?;
        Ok(past.unfinished)
    }

    /// Ends the journal of a run whose deployment was destroyed: nothing is
    /// left to resume, and the next deployment has nothing to do with it.
    ///
    /// # Errors
    /// The journal cannot be read or written.
    pub async fn bury(&self, run: &RunId) -> Result<(), CommandError> {
        let entries = parse(run, &self.0.read(run).await?).map_err(HistoryError::from)?;
        let progress = replay(run, &entries).map_err(HistoryError::from)?;
        let who = operating::who();
        let resumed = Event::Resumed {
            operator: who.operator,
            machine: who.machine,
        };
        let stopped = Event::Stopped {
            outcome: Outcome::Abandoned,
            why: "the deployment was destroyed".to_owned(),
            left: Vec::new(),
        };
        let events = [resumed, stopped]
            .into_iter()
            .zip(progress.next_sequence()..);
        let lines: Vec<String> = events
            .map(|(event, sequence)| Entry {
                sequence,
                at: clock::wall(),
                event,
            })
            .map(|entry| serde_json::to_string(&entry).expect("an entry is plain data"))
            .collect();
        Ok(self.0.append(run, &lines).await?)
    }

    /// Refuses where a run waits to be resumed: hosts and resources are in
    /// between then, and who is primary is not settled.
    ///
    /// # Errors
    /// The refusal, or the journals cannot be read.
    pub async fn refuse_unfinished(&self, what: &str) -> Result<(), CommandError> {
        let Some(run) = self.unfinished().await? else {
            return Ok(());
        };
        let mut error = CommandError::from(unfinished(&run));
        error.causes = vec![format!(
            "its journal has no end: {what} could work against it, or take the wrong database for the primary"
        )];
        error.details = serde_json::json!({ "run": run });
        Err(error)
    }
}
