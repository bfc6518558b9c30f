//! Keeps who confirms commits, by the order of writes that makes `sync` true.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Held, Lease};
use crate::{
    coordination::SyncSet,
    guard::{Guard, config::OnStandbyLoss, server, settings, supervise::ConvergeError},
    ids::{HostName, Lsn},
    order::{Downstream, PostgresState},
    ports::quorum::Revision,
    right::{Seen, SyncStep, Synced, next_sync},
};

/// A standby that has said nothing for so long is lost. Standbys answer at
/// least once a second (`wal_receiver_status_interval`).
const SILENT: Duration = Duration::from_millis(2_500);
/// The end of the log is not known yet.
const UNKNOWN: Lsn = Lsn(u64::MAX);
/// Older looks tell nothing of standbys.
const FRESH: Duration = Duration::from_millis(1_000);
/// Between two looks when nothing changes.
const PERIOD: Duration = Duration::from_millis(250);
/// Between two looks while a standby catches up.
const SOON: Duration = Duration::from_millis(10);

/// What is known of the set.
#[derive(Default)]
pub struct Set {
    /// Members of `sync` as this holder wrote or read them.
    pub stored: BTreeSet<HostName>,
    /// The right for which `stored` was read, and when it was last written.
    read_for: Option<(crate::coordination::Right, Revision)>,
    /// End of the log when PostgreSQL had named a new standby.
    pub mark: Option<Lsn>,
    /// After a crash: end of the log that no standby has confirmed yet.
    pub unconfirmed: Option<Lsn>,
    /// By standby: its last word, and when it was first heard.
    heard: BTreeMap<String, (String, Instant)>,
    /// By standby: when it was last seen to stream.
    streamed: BTreeMap<HostName, Instant>,
}

impl Set {
    /// Whether the standby has said something lately, by this host's clock.
    fn is_heard(&mut self, name: &str, word: Option<&String>, now: Instant) -> bool {
        let Some(word) = word else { return true };
        match self.heard.get(name) {
            Some((known, since)) if known == word => now.duration_since(*since) < SILENT,
            _ => {
                let _ = self.heard.insert(name.to_owned(), (word.clone(), now));
                true
            }
        }
    }
}

impl Lease {
    /// Whether users may see what this host has: after a crash, only once a
    /// standby that confirms commits has all of it.
    pub fn is_confirmed(&self) -> bool {
        self.set().unconfirmed.is_none()
    }

    /// PostgreSQL starts as a primary, perhaps after a crash.
    pub fn starts(&self) {
        let mut set = self.set();
        set.unconfirmed = Some(UNKNOWN);
        set.mark = None;
    }
}

impl Set {
    /// Whether the standby streams. A member that has just lost its connection
    /// takes it up again within moments, as after a restart of this primary:
    /// it stays for a while, and commits wait. One that is connected and says
    /// nothing has had its while.
    fn streams(&mut self, host: &HostName, row: Option<&Downstream>, now: Instant) -> bool {
        if let Some(row) = row {
            let heard = self.is_heard(host.as_str(), row.replied_at.as_ref(), now);
            if heard && row.state == "streaming" {
                let _ = self.streamed.insert(host.clone(), now);
                return true;
            }
            if !heard {
                return false;
            }
        }
        let lately = self.streamed.get(host);
        let lately = lately.is_some_and(|last| now.duration_since(*last) < SILENT);
        lately && self.stored.contains(host)
    }
}

impl Guard {
    /// Works on the set for as long as this host is primary.
    pub(in crate::guard) async fn keep_set_forever(self: Arc<Self>) {
        let Some(lease) = &self.lease else {
            return std::future::pending().await;
        };
        let mut looks = self.view.subscribe();
        loop {
            let pause = match self.keep_set(lease).await {
                Ok(pause) if lease.is_confirmed() || lease.held().is_none() => pause,
                Ok(_) => {
                    // Users wait: the next look is taken at once.
                    self.look.notify_one();
                    SOON
                }
                Err(error) => {
                    tracing::warn!(%error, "who confirms commits is not as it should be");
                    PERIOD
                }
            };
            let _ = tokio::time::timeout(pause, looks.changed()).await;
            looks.mark_unchanged();
        }
    }

    /// One step. How long nothing need be done.
    async fn keep_set(self: &Arc<Self>, lease: &Lease) -> Result<Duration, ConvergeError> {
        let primary = self.view.borrow().postgres.state == PostgresState::Primary;
        let held = lease.held().filter(|_| primary && self.may_write().is_ok());
        let Some(held) = held else {
            return Ok(PERIOD);
        };
        // A PostgreSQL that does not answer says nothing of its standbys: they
        // are who takes over from it.
        let seen_at = self.view.borrow().seen_at;
        if seen_at.is_none_or(|at| at.elapsed() > FRESH) {
            return Ok(PERIOD);
        }
        if !self.read_set(lease, &held).await? {
            return Ok(PERIOD);
        }
        self.confirm(lease);
        if !self.config.synchronous {
            return Ok(PERIOD);
        }
        let seen = self.seen(lease);
        let (synced, mark) = {
            let set = lease.set();
            let configured = self.store.with(|state| state.synchronous.clone());
            let synced = Synced {
                stored: set.stored.clone(),
                configured: configured.into_iter().collect(),
            };
            (synced, set.mark)
        };
        let coordination = self.config.coordination.as_ref();
        let keep = coordination.is_some_and(|c| c.on_standby_loss == OnStandbyLoss::Block);
        match next_sync(&synced, &seen, mark, keep) {
            SyncStep::Settled => Ok(PERIOD),
            SyncStep::Store(members) => self.store_set(lease, &held, members).await,
            SyncStep::Configure(members) => self.configure(lease, members).await,
            SyncStep::CatchUp { .. } if mark.is_none() => {
                let end = self.session(PERIOD * 4).await?;
                let end = end.text("SELECT pg_current_wal_flush_lsn()").await?;
                lease.set().mark = end.parse().ok();
                Ok(SOON)
            }
            SyncStep::CatchUp { .. } => {
                self.look.notify_one();
                Ok(SOON)
            }
        }
    }

    /// The members as the store has them, once for each right.
    async fn read_set(self: &Arc<Self>, lease: &Lease, held: &Held) -> Result<bool, ConvergeError> {
        let known = lease.set().read_for;
        if known.is_some_and(|(right, _)| right == held.right) {
            return Ok(true);
        }
        let state = lease.shared.state().await.map_err(store)?;
        if let Some(epoch) = state.taken_further(&held.right) {
            // An order did so, and this guard died, or was not answered. An
            // order that works goes first.
            if let Ok(_hands) = self.hands.try_lock() {
                self.take_further(epoch).await.map_err(store)?;
            }
            return Ok(false);
        }
        let Some(sync) = state
            .sync
            .filter(|sync| sync.value.epoch == held.right.epoch)
        else {
            return Ok(false);
        };
        // Written again, so that no earlier write that was not answered comes
        // true any more.
        self.write_set(lease, held, sync.value.members, sync.modified)
            .await?;
        lease.set().mark = None;
        Ok(true)
    }

    async fn store_set(
        &self,
        lease: &Lease,
        held: &Held,
        members: BTreeSet<HostName>,
    ) -> Result<Duration, ConvergeError> {
        let Some((_, over)) = lease.set().read_for else {
            return Ok(SOON);
        };
        self.write_set(lease, held, members.clone(), over).await?;
        tracing::info!(?members, "who has every acknowledged commit");
        Ok(Duration::ZERO)
    }

    async fn write_set(
        &self,
        lease: &Lease,
        held: &Held,
        members: BTreeSet<HostName>,
        over: Revision,
    ) -> Result<(), ConvergeError> {
        let sync = SyncSet {
            primary: self.config.host.clone(),
            members: members.clone(),
            epoch: held.right.epoch,
        };
        // What was not answered may be written: the next look reads it.
        lease.set().read_for = None;
        let written = lease.shared.replace_sync(&held.right, &sync, over).await;
        let written = written.map_err(store)?;
        let mut set = lease.set();
        set.stored = members;
        set.read_for = Some((held.right, written));
        Ok(())
    }

    async fn configure(
        self: &Arc<Self>,
        lease: &Lease,
        members: BTreeSet<HostName>,
    ) -> Result<Duration, ConvergeError> {
        // An order that works on PostgreSQL goes first.
        let Ok(_hands) = self.hands.try_lock() else {
            return Ok(SOON);
        };
        let Some((data, process)) = self.data().zip(self.find()?) else {
            return Ok(PERIOD);
        };
        let session = self.session(PERIOD * 4).await?;
        lease.set().mark = None;
        let standbys: Vec<_> = members.into_iter().collect();
        let names = settings::synchronous_standby_names(&standbys);
        self.remember(move |state| state.synchronous = standbys)
            .await?;
        settings::install(&self.config, &data, &self.settings(), &self.os_user)?;
        server::reload(&process)?;
        let begin = Instant::now();
        while session.text("SHOW synchronous_standby_names").await? != names {
            if begin.elapsed() > Duration::from_secs(5) {
                return Ok(PERIOD);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tracing::info!(names, "who confirms commits");
        Ok(Duration::ZERO)
    }

    fn seen(&self, lease: &Lease) -> Vec<Seen> {
        let standbys = self.view.borrow().postgres.standbys.clone();
        let now = Instant::now();
        let mut set = lease.set();
        let peers = self.config.peers.keys();
        peers
            .map(|peer| {
                let row: Option<&Downstream> = standbys.get(peer.as_str());
                Seen {
                    host: peer.clone(),
                    streaming: set.streams(peer, row, now),
                    confirms: row.is_some_and(|row| row.sync_state == "sync"),
                    flushed: row.and_then(|row| row.flushed),
                }
            })
            .collect()
    }

    /// After a crash: users may see the log once a member has all of it.
    fn confirm(&self, lease: &Lease) {
        let standbys = self.view.borrow().postgres.standbys.clone();
        let mut set = lease.set();
        let postgres = &self.view.borrow().postgres;
        if set.unconfirmed == Some(UNKNOWN) && !set.stored.is_empty() {
            set.unconfirmed = postgres.written.or(Some(UNKNOWN));
        }
        let Some(end) = set.unconfirmed else { return };
        let has_all = |member: &HostName| {
            let row = standbys.get(member.as_str());
            row.is_some_and(|row| row.state == "streaming" && row.flushed >= Some(end))
        };
        if set.stored.is_empty() || set.stored.iter().any(has_all) {
            set.unconfirmed = None;
        }
    }
}

fn store(error: impl std::fmt::Display) -> ConvergeError {
    ConvergeError::Shared(error.to_string())
}
