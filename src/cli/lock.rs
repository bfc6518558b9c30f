//! One at a time: commands that change hosts or resources hold the lock of
//! failovers, so that neither works under the other's hands.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{CommandError, Context, operating};
use crate::{
    adapters::{
        clock,
        journal_file::JournalDirectory,
        kept_lock::{Change, KeptLock},
    },
    coordination::Shared,
    decide::unfinished,
    history::{HistoryError, journals},
    journal::{Entry, Event, Outcome, parse, past, replay},
    ports::store::{Holder, RunId, Store, StoreError},
    topology::Topology,
};

/// How long the shared lock outlives a process that dies with it, and the
/// store may be silent before it is lost: members restart under a deploy.
const TTL: Duration = Duration::from_secs(30);

/// Held until it is dropped, or the process ends: on this machine, and in the
/// shared store where that answers.
pub(super) struct Lock {
    own: JournalDirectory,
    shared: Option<KeptLock>,
    /// The store goes with what is destroyed.
    going: Arc<AtomicBool>,
}

impl Lock {
    /// Takes the lock of the deployment for the command `what`. A store that
    /// should be there and does not answer is said, and no obstacle: this
    /// command may be what mends it.
    ///
    /// # Errors
    /// Another command holds it, who is named; or the directory cannot be
    /// used.
    pub async fn take(
        context: &Context,
        topology: &Topology,
        what: &str,
    ) -> Result<Self, CommandError> {
        let own = operating::store(context, topology)?;
        let who = operating::who();
        let holder = Holder {
            what: what.to_owned(),
            run: RunId(what.to_owned()),
            operator: who.operator,
            machine: who.machine,
            process: who.process,
            since: clock::wall(),
        };
        own.register(&holder).await?;
        let going = Arc::new(AtomicBool::new(false));
        let shared = match store_of(context, topology).await? {
            Some((shared, clock)) => {
                let told = tell(context, &going);
                match KeptLock::take(shared, TTL, clock, holder, told).await {
                    Ok(kept) => Some(kept),
                    Err(held @ StoreError::Held(_)) => return Err(held.into()),
                    Err(error) => {
                        context.ui.warning(&format!(
                            "the shared store does not answer ({error}): only the lock of this machine is held, and runs that wait to be resumed are not seen. See that nobody else changes anything"
                        ));
                        None
                    }
                }
            }
            None => None,
        };
        Ok(Self { own, shared, going })
    }

    /// The store goes with what this command removes: its silence is no news
    /// from now on.
    pub fn store_goes(&self) {
        self.going.store(true, Ordering::Relaxed);
    }

    fn store(&self) -> &dyn Store {
        match &self.shared {
            Some(kept) => kept.journals(),
            None => &self.own,
        }
    }

    /// The run that was broken off and waits to be resumed, if any.
    ///
    /// # Errors
    /// The journals cannot be read.
    pub async fn unfinished(&self) -> Result<Option<RunId>, CommandError> {
        let journals = journals(self.store()).await?;
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
        if self.shared.is_some() {
            // Its journal went with the store.
            return Ok(());
        }
        let entries = parse(run, &self.own.read(run).await?).map_err(HistoryError::from)?;
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
        Ok(self.own.append(run, &lines).await?)
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

/// The shared store of a deployment that has one already.
async fn store_of(
    context: &Context,
    topology: &Topology,
) -> Result<Option<(Shared, Arc<dyn crate::ports::clock::Clock>)>, CommandError> {
    // Without a key from an earlier deploy there is no way to any host.
    if !topology.is_automatic() || !context.vault_as_it_is(topology)?.has_ssh_key() {
        return Ok(None);
    }
    let deployment = context.deployment(topology).await?;
    let hosts = &deployment.found.inventory.hosts;
    let members = topology.store_members().into_iter();
    let is_made = members
        .into_iter()
        .any(|host| hosts.contains_key(&host.name));
    let world = deployment.world;
    let quorum = world.quorum.filter(|_| is_made);
    Ok(quorum.map(|quorum| (Shared::new(quorum, &topology.name), world.clock)))
}

/// Says what becomes of the lock, and stops the command when another one has
/// it.
fn tell(context: &Context, going: &Arc<AtomicBool>) -> impl Fn(Change) + Send + Sync + 'static {
    let (stop, going) = (context.interrupted(), Arc::clone(going));
    move |change| match change {
        _ if going.load(Ordering::Relaxed) => {}
        Change::Lost(why) => tracing::warn!("the lock in the shared store may be lost: {why}"),
        Change::Regained => tracing::warn!("the lock in the shared store is held again"),
        Change::Taken(holder) => {
            tracing::error!("{holder} took the lock meanwhile: this command stops");
            stop.cancel();
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let Some(kept) = &self.shared else { return };
        if self.going.load(Ordering::Relaxed) {
            return;
        }
        // Others shall not wait for the end of its lease.
        tokio::task::block_in_place(|| {
            let released = tokio::runtime::Handle::current().block_on(kept.release());
            if let Err(error) = released {
                tracing::warn!("the lock in the shared store ends within {TTL:?}: {error}");
            }
        });
    }
}
