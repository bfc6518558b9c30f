//! Makes PostgreSQL what the memory wants, whenever it is not: after its
//! crash, after the guard's own, after a boot.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Guard, failpoint,
    process::Process,
    server::{self, Mode, ServerError},
    settings,
    sql::{SqlError, literal},
    store::StoreError,
    tools::{self, ToolError},
};
use crate::{
    ids::HostName,
    order::{PostgresState, WantedRole},
};

/// Between two looks when nothing happens.
const PERIOD: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the supervisor waits for a start before it lets orders pass.
const START: Duration = Duration::from_secs(2);
const STOP: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(2);

/// Why PostgreSQL is not as wanted.
#[derive(Debug, thiserror::Error)]
pub enum ConvergeError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error(transparent)]
    Sql(#[from] SqlError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the shared store: {0}")]
    Shared(String),
    #[error("cannot write PostgreSQL's settings: {0}")]
    Settings(#[from] std::io::Error),
}

impl Guard {
    /// Converges at once when PostgreSQL ends or an order is done, and every
    /// second; failing starts are repeated with growing pauses.
    pub(super) async fn supervise_forever(self: Arc<Self>) {
        let mut pause = PERIOD;
        let mut known = None;
        loop {
            let result = {
                let _hands = self.hands.lock().await;
                self.converge().await
            };
            pause = match result {
                Ok(()) => PERIOD,
                Err(error) => {
                    tracing::error!(%error, "PostgreSQL is not as wanted");
                    self.publish(|view| view.blind(error.to_string()));
                    (pause * 2).min(LONGEST_PAUSE)
                }
            };
            self.wait_for_news(pause, &mut known).await;
        }
    }

    /// `known` is the process as last found: where it has ended since, its
    /// descriptor says so at once.
    async fn wait_for_news(self: &Arc<Self>, pause: Duration, known: &mut Option<Process>) {
        if let Ok(Some(process)) = self.find() {
            *known = Some(process);
        }
        let ended = async {
            match known.as_ref() {
                Some(process) => process.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ended => {
                *known = None;
                self.publish(|view| {
                    // An order that stopped it may have published more by now.
                    if view.postgres.state != PostgresState::Stopped {
                        view.ended();
                    }
                });
                self.counters.ended();
                tracing::warn!("PostgreSQL has ended");
                // Whoever stops it on purpose has taken the right away before.
                if self.may_write().is_ok() && self.counters.crashed() {
                    self.step_down("PostgreSQL ends again and again").await;
                }
            }
            () = self.supervise.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Makes PostgreSQL what is wanted. The caller holds the hands.
    async fn converge(self: &Arc<Self>) -> Result<(), ConvergeError> {
        self.forget_lost().await;
        let state = self.store.get();
        let Some(data) = self.data().filter(|_| state.rewinding.is_none()) else {
            return Ok(());
        };
        self.give_back_unwanted().await;
        let process = self.find_in(&data)?;
        match (state.wanted, process) {
            (WantedRole::Uninitialised, _) | (WantedRole::Stopped, None) => Ok(()),
            (WantedRole::Stopped, Some(process)) => {
                server::stop(&self.config, &data, &process, STOP).await?;
                self.publish(super::view::View::ended);
                Ok(())
            }
            (WantedRole::Primary | WantedRole::Standby { .. }, Some(process)) => {
                self.adopt(&data, &process).await
            }
            (WantedRole::Primary | WantedRole::Standby { .. }, None) => self.bring_up(&data).await,
        }
    }

    async fn bring_up(self: &Arc<Self>, data: &Path) -> Result<(), ConvergeError> {
        // A cluster that was a standby becomes a primary by promotion only:
        // without a timeline of its own it would fork its upstream's.
        let primary =
            self.may_write().is_ok() && !tools::control(&self.config, data).await?.was_standby();
        let mode = if primary {
            Mode::Primary
        } else {
            Mode::Standby
        };
        if primary && let Some(coordination) = &self.config.coordination {
            return self
                .restart_primary(data, coordination.restart_within())
                .await;
        }
        let process = self.start(data, mode).await?;
        if server::wait_ready(&self.config, data, &process, START).await? {
            self.adopt(data, &process).await?;
            self.look_now().await;
        }
        Ok(())
    }

    /// In place, where that is quicker than a failover; else the right goes
    /// back at once, so that nobody waits for its end.
    async fn restart_primary(
        self: &Arc<Self>,
        data: &Path,
        limit: Duration,
    ) -> Result<(), ConvergeError> {
        let ready = async {
            let process = self.start(data, Mode::Primary).await?;
            let ready = server::wait_ready(&self.config, data, &process, limit).await?;
            Ok::<_, ServerError>((process, ready))
        };
        match ready.await {
            Ok((process, true)) => {
                self.adopt(data, &process).await?;
                self.look_now().await;
            }
            Ok((_, false)) => self.step_down("PostgreSQL recovers too long").await,
            Err(error) => self.step_down(&error.to_string()).await,
        }
        Ok(())
    }

    /// Starts PostgreSQL with the settings that the memory asks for.
    pub(super) async fn start(&self, data: &Path, mode: Mode) -> Result<Process, ServerError> {
        if mode == Mode::Primary
            && let Err(why) = self.may_write()
        {
            return Err(ServerError::Start {
                why: format!("not as a primary: {why}"),
            });
        }
        if mode == Mode::Primary
            && let Some(lease) = &self.lease
        {
            lease.starts();
        }
        let settings = self.settings();
        let started = server::start(&self.config, data, mode, &settings, &self.os_user).await?;
        self.counters.started();
        failpoint::pass("postgres started");
        Ok(started)
    }

    /// Takes over a running PostgreSQL: right settings, right role. One that
    /// accepts writes without the right is killed.
    async fn adopt(self: &Arc<Self>, data: &Path, process: &Process) -> Result<(), ConvergeError> {
        let settings = self.settings();
        // Certificates may have changed with the guard's restart, and show in
        // no setting.
        let first = !self.reloaded.swap(true, Ordering::Relaxed);
        if first || !settings::is_installed(&self.config, data, &settings) {
            settings::install(&self.config, data, &settings, &self.os_user)?;
            server::reload(process)?;
        }
        let session = match self.session(ANSWER).await {
            Ok(session) => session,
            // It starts, stops or hangs; the monitor says which.
            Err(SqlError::Connect(_) | SqlError::Deadline(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let answer = tokio::time::timeout(ANSWER, session.in_recovery()).await;
        let Ok(in_recovery) = answer else {
            return Ok(());
        };
        match (in_recovery?, self.may_write()) {
            (false, Err(why)) => {
                tracing::error!(%why, "PostgreSQL accepts writes and may not: killing it");
                server::kill(&self.config, data, process).await?;
                self.publish(super::view::View::ended);
                self.supervise.notify_one();
                Ok(())
            }
            (true, Ok(epoch)) => {
                tracing::warn!(%epoch, "finishing an interrupted promotion");
                Ok(server::trigger_promotion(data, process)?)
            }
            (_, _) => self.keep_slots().await,
        }
    }

    /// A primary keeps a slot for each peer, so that none misses log. A
    /// standby drops them: what nobody reads would only fill its disk.
    pub(super) async fn keep_slots(&self) -> Result<(), ConvergeError> {
        let session = self.session(ANSWER).await?;
        let (state, slots) = {
            let view = self.view.borrow();
            (view.postgres.state, view.postgres.slots.clone())
        };
        for peer in self.config.peers.keys() {
            let name = settings::slot_name(peer);
            let slot = slots.get(&name);
            match (state, slot) {
                (PostgresState::Primary, None) => session.run(&create_slot(peer)).await?,
                // Its log was given up for the disk's sake: nobody can use it.
                (PostgresState::Primary, Some(slot)) if !slot.active && slot.restart.is_none() => {
                    session.run(&drop_slot(peer)).await?;
                    session.run(&create_slot(peer)).await?;
                }
                (PostgresState::Standby, Some(slot)) if !slot.active => {
                    session.run(&drop_slot(peer)).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Creates the slot of a host where it is missing, reserving the log at once.
pub(super) fn create_slot(host: &HostName) -> String {
    let name = literal(&settings::slot_name(host));
    format!(
        "SELECT pg_create_physical_replication_slot({name}, true) \
         WHERE NOT pg_is_in_recovery() AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {name})"
    )
}

fn drop_slot(host: &HostName) -> String {
    let name = literal(&settings::slot_name(host));
    format!(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
         WHERE slot_name = {name} AND NOT active \
         AND (pg_is_in_recovery() OR restart_lsn IS NULL)"
    )
}
