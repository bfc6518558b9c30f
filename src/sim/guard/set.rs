//! Keeps who confirms commits, by the order of writes that makes `sync` true.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    coordination::{How, Right, SyncSet},
    ids::{Epoch, HostName, Lsn},
    order::PostgresState,
    ports::quorum::Revision,
    right::{Seen, SyncStep, Synced, next_sync},
    topology::Replication,
};

use super::{super::mutation::Mutation, Held, Program};

/// What is known of the set.
#[derive(Default)]
pub(super) struct Set {
    /// Members of `sync` as this holder wrote or read them.
    pub stored: BTreeSet<HostName>,
    /// When `sync` was last written.
    modified: Revision,
    read_for: Option<Right>,
    /// End of the log when PostgreSQL had named a new standby.
    mark: Option<Lsn>,
    /// After a crash: end of the log that no standby has confirmed yet.
    pub unconfirmed: Option<Lsn>,
}

impl Set {
    /// PostgreSQL starts as a primary, perhaps after a crash.
    pub fn starts(&mut self) {
        self.unconfirmed = Some(UNKNOWN);
        self.mark = None;
    }
}

/// The end of the log is not known yet.
const UNKNOWN: Lsn = Lsn(u64::MAX);
/// Between two looks when nothing changes.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two looks while a standby catches up.
const SOON: Duration = Duration::from_millis(20);

impl Program {
    /// Works on the set for as long as this host is primary.
    pub(super) async fn keep_set_forever(self) {
        loop {
            let pause = self.keep_set().await;
            self.sleep(pause).await;
        }
    }

    /// One step. How long nothing need be done.
    async fn keep_set(&self) -> Duration {
        let Some(held) = self.writing() else {
            return PERIOD;
        };
        if !self.read_set(&held).await {
            return PERIOD;
        }
        let (synced, seen, mark, keep) = {
            let mut core = self.sim.lock();
            core.confirm(&self.host);
            let state = &core.state;
            if state.topology().database.replication != Replication::Synchronous {
                return PERIOD;
            }
            let set = &state.guards[&self.host].set;
            let configured = state.databases[&self.host].synchronous.iter();
            let synced = Synced {
                stored: set.stored.clone(),
                configured: configured.cloned().collect(),
            };
            let keep = state.settings.block_on_standby_loss;
            (synced, state.seen_by(&self.host), set.mark, keep)
        };
        let step = next_sync(&synced, &seen, mark, keep);
        self.make_step(&held, step, mark).await
    }

    async fn make_step(&self, held: &Held, step: SyncStep, mark: Option<Lsn>) -> Duration {
        let forgets = self.mutation() == Some(Mutation::ForgetSync);
        match step {
            SyncStep::Settled => PERIOD,
            SyncStep::Store(members) => {
                // The defect: PostgreSQL first when removing.
                let fewer = members.len() < self.configured();
                if forgets && fewer {
                    self.configure(members).await;
                    return PERIOD;
                }
                self.store_set(held, members).await
            }
            SyncStep::Configure(members) => {
                let more = members.len() > self.configured();
                if forgets && more {
                    // And the store before it, when adding.
                    return self.store_set(held, members).await;
                }
                self.configure(members).await
            }
            SyncStep::CatchUp { .. } => {
                if mark.is_none() {
                    let mut core = self.sim.lock();
                    let end = core.state.databases[&self.host].end();
                    core.guard(&self.host).set.mark = Some(end);
                }
                SOON
            }
        }
    }

    fn configured(&self) -> usize {
        self.sim.lock().state.databases[&self.host]
            .synchronous
            .len()
    }

    /// The right under which this host writes now.
    fn writing(&self) -> Option<Held> {
        let core = self.sim.lock();
        let primary = core.state.databases[&self.host].state == PostgresState::Primary;
        core.may_write(&self.host).filter(|_| primary)?;
        core.held(&self.host).cloned()
    }

    /// The members as the store has them, once for each right, and after each
    /// write that was not answered.
    async fn read_set(&self, held: &Held) -> bool {
        if self.sim.lock().guard(&self.host).set.read_for == Some(held.right) {
            return true;
        }
        let Ok(state) = self.shared.state().await else {
            return false;
        };
        if let Some(epoch) = state.taken_further(&held.right) {
            self.take_further(epoch).await;
            return false;
        }
        let Some(sync) = state
            .sync
            .filter(|sync| sync.value.epoch == held.right.epoch)
        else {
            return false;
        };
        // Written again, so that no earlier write comes true any more.
        let members = sync.value.members;
        if self.mutation() == Some(Mutation::TrustUnanswered) {
            self.has_set(held, members, sync.modified);
            return true;
        }
        self.write(held, members, sync.modified).await
    }

    /// An order took the right into a newer epoch, and this guard died, or was
    /// not answered.
    async fn take_further(&self, epoch: Epoch) {
        if self.begin_work(Duration::ZERO).await {
            let _ = self.right_first(epoch, How::GoOn).await;
            self.sim.lock().guard(&self.host).busy = false;
        }
    }

    async fn store_set(&self, held: &Held, members: BTreeSet<HostName>) -> Duration {
        let over = self.sim.lock().guard(&self.host).set.modified;
        if self.write(held, members, over).await {
            Duration::from_millis(1)
        } else {
            PERIOD
        }
    }

    async fn write(&self, held: &Held, members: BTreeSet<HostName>, over: Revision) -> bool {
        let sync = SyncSet {
            primary: self.host.clone(),
            members: members.clone(),
            epoch: held.right.epoch,
        };
        self.sim.lock().guard(&self.host).set.read_for = None;
        let written = if self.mutation() == Some(Mutation::TrustUnanswered) {
            let written = self.shared.write_sync(&held.right, &sync).await;
            written.map(|()| over)
        } else {
            self.shared.replace_sync(&held.right, &sync, over).await
        };
        match written {
            Ok(modified) => self.has_set(held, members, modified),
            Err(_) => return false,
        }
        true
    }

    fn has_set(&self, held: &Held, members: BTreeSet<HostName>, modified: Revision) {
        let mut core = self.sim.lock();
        let host = &self.host;
        core.tell(|| format!("{members:?} have every acknowledged commit of {host}"));
        let set = &mut core.guard(host).set;
        if set.read_for.is_none() && set.stored != members {
            set.mark = None;
        }
        set.stored = members;
        set.modified = modified;
        set.read_for = Some(held.right);
    }

    async fn configure(&self, members: BTreeSet<HostName>) -> Duration {
        if !self.begin_work(Duration::ZERO).await {
            return SOON;
        }
        // Written, reloaded, in force.
        if !self.remember(|_| {}).await {
            self.sim.lock().guard(&self.host).busy = false;
            return PERIOD;
        }
        self.sleep(Duration::from_millis(3)).await;
        let mut core = self.sim.lock();
        core.guard(&self.host).busy = false;
        core.guard(&self.host).set.mark = None;
        let database = core.state.databases.get_mut(&self.host);
        let database = database.expect("a database");
        if database.state == PostgresState::Primary {
            database.synchronous = members.iter().cloned().collect();
            core.state.touch();
            core.tell(|| format!("commits on {} wait for {members:?}", self.host));
        }
        Duration::from_millis(1)
    }
}

impl super::State {
    /// The standbys as the primary sees them. One that is cut off is seen
    /// until it has been silent for a while.
    fn seen_by(&self, host: &HostName) -> Vec<Seen> {
        let primary = &self.databases[host];
        let others = self.databases.values().filter(|other| &other.host != host);
        let seen = others.map(|standby| {
            let streams = self.streams(standby, primary);
            Seen {
                host: standby.host.clone(),
                streaming: streams,
                confirms: streams && primary.synchronous.contains(&standby.host),
                flushed: streams.then(|| standby.end()),
            }
        });
        seen.collect()
    }
}

impl super::Core {
    /// After a crash: users may see the log once a member has all of it.
    fn confirm(&mut self, host: &HostName) {
        let state = &self.state;
        let set = &state.guards[host].set;
        let Some(mut end) = set.unconfirmed else {
            return;
        };
        if end == UNKNOWN {
            end = state.databases[host].end();
        }
        let has_all = |member: &HostName| {
            let (standby, primary) = (&state.databases[member], &state.databases[host]);
            state.streams(standby, primary) && standby.end() >= end
        };
        let confirmed = set.stored.is_empty() || set.stored.iter().any(has_all);
        self.guard(host).set.unconfirmed = (!confirmed).then_some(end);
    }
}
