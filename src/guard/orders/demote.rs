//! `Demote` and its undo, `Resume`.

use std::{sync::Arc, time::Duration};

use super::{Done, Result, refused};
use crate::{
    coordination::How,
    guard::{
        Guard,
        control::ClusterState,
        failpoint,
        server::{self, Mode, Stopped},
        tools,
    },
    ids::{Epoch, Timeline},
    order::{PostgresState, WantedRole},
};

impl Guard {
    pub(super) async fn demote(self: &Arc<Self>, epoch: Epoch, limit: Duration) -> Result<Done> {
        let data = self.require_data()?;
        let stopped = self.store.with(|state| state.wanted == WantedRole::Stopped);
        let process = self.find()?;
        let (None, true) = (&process, stopped) else {
            return self.stop_for_good(epoch, limit).await;
        };
        self.give_back().await;
        let control = tools::control(&self.config, &data).await?;
        Ok(Done::Unchanged(format!("is stopped: {}", control.state)))
    }

    async fn stop_for_good(self: &Arc<Self>, epoch: Epoch, limit: Duration) -> Result<Done> {
        let data = self.require_data()?;
        // From here on the role questions say no, before the shutdown begins.
        self.accept(epoch, |state| {
            state.wanted = WantedRole::Stopped;
            state.grant = None;
        })
        .await?;
        let how = match self.find()? {
            Some(process) => {
                self.publish(|view| view.postgres.state = PostgresState::Stopping);
                let how = server::stop(&self.config, &data, &process, limit).await?;
                self.publish(crate::guard::view::View::ended);
                failpoint::pass("postgres stopped");
                how
            }
            None => Stopped::Fast,
        };
        // Whoever takes over waits for both.
        let ((), control) = tokio::join!(self.give_back(), tools::control(&self.config, &data));
        let control = control?;
        self.publish(|view| view.stopped(Ok(&control)));
        Ok(Done::Seen(match (how, control.shutdown_checkpoint()) {
            (Stopped::Fast, Some(end)) => format!("stopped cleanly at {end}"),
            (Stopped::Fast, None) => format!("stopped: {}", control.state),
            (_, _) => format!("stopped, not cleanly, after {limit:?}: {}", control.state),
        }))
    }

    pub(super) async fn resume(self: &Arc<Self>, epoch: Epoch, timeline: Timeline) -> Result<Done> {
        let data = self.require_data()?;
        if let Some(process) = self.find()? {
            let own = self.may_write().is_ok();
            let limit = self.config.timing.start();
            // A guard that took over may find PostgreSQL on its way up.
            server::wait_ready(&self.config, &data, &process, limit).await?;
            let session = self.session(limit).await?;
            let observed = session.observe().await?;
            if own && !observed.in_recovery && observed.timeline == Some(timeline) {
                return Ok(Done::Unchanged(format!(
                    "is primary on timeline {timeline}"
                )));
            }
            return refused(
                "not-a-stopped-primary",
                "PostgreSQL runs here: only a demoted, stopped primary resumes",
            );
        }
        let control = tools::control(&self.config, &data).await?;
        // A second attempt, after a crash behind the start, may find it unclean.
        let own = self.may_write().is_ok() && control.state == ClusterState::InProduction;
        let clean = control.state == ClusterState::ShutDown;
        if !(clean || own) || control.timeline != timeline {
            let found = format!("{} on timeline {}", control.state, control.timeline);
            return refused(
                "not-a-stopped-primary",
                format!("the cluster is {found}, not cleanly shut down on timeline {timeline}"),
            );
        }
        self.take_right(epoch, How::GoOn).await?;
        let grant = self.grant(epoch);
        self.accept(epoch, |state| {
            state.wanted = WantedRole::Primary;
            state.grant = Some(grant);
        })
        .await?;
        self.start_primary(&data).await?;
        Ok(Done::Changed(format!(
            "is primary again on timeline {timeline}"
        )))
    }

    /// Starts as primary and waits until it accepts writes.
    pub(super) async fn start_primary(self: &Arc<Self>, data: &std::path::Path) -> Result<()> {
        let process = self.start(data, Mode::Primary).await?;
        let limit = self.config.timing.start();
        if !server::wait_ready(&self.config, data, &process, limit).await? {
            let why = format!("PostgreSQL still recovers after {limit:?}; it goes on");
            return Err(super::NotDone::Failed(why));
        }
        self.look_now().await;
        Ok(())
    }
}
