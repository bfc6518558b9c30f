//! `Follow`, and what all orders share that end in a standby.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Done, NotDone, Result};
use crate::{
    guard::{
        Guard, failpoint,
        server::{self, Mode},
        settings,
        store::Persisted,
        tools,
    },
    ids::{Epoch, HostName},
    order::WantedRole,
};

/// How long an order waits to see the stream that it asked for.
const STREAM: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(1);
/// A stream that lasts so long is not the rest of an older timeline, which is
/// sent within a moment.
const STEADY: Duration = Duration::from_millis(60);
/// How long a look takes that only asks whether the log streams.
pub(super) const GLANCE: Duration = Duration::from_millis(500);

/// Wants a standby of `upstream`.
pub(super) fn want_standby(state: &mut Persisted, upstream: HostName) {
    state.wanted = WantedRole::Standby {
        upstream: Some(upstream),
    };
    state.grant = None;
    state.synchronous.clear();
}

impl Guard {
    pub(super) async fn follow(self: &Arc<Self>, epoch: Epoch, upstream: HostName) -> Result<Done> {
        self.require_not_primary()?;
        self.require_peer(&upstream)?;
        let data = self.require_data()?;
        let target = upstream.clone();
        self.accept(epoch, move |state| want_standby(state, target))
            .await?;
        let changed = self.be_standby(&data).await?;
        let stream = self.wait_streaming(&upstream, STREAM).await;
        let what = match stream {
            Ok(()) => format!("streams from {upstream}"),
            Err(why) => format!("follows {upstream}, and does not stream yet: {why}"),
        };
        Ok(if changed {
            Done::Changed(what)
        } else {
            Done::Unchanged(what)
        })
    }

    /// Makes PostgreSQL a running standby with the remembered settings; says
    /// whether anything had to change.
    pub(super) async fn be_standby(&self, data: &Path) -> Result<bool> {
        let settings = self.settings();
        let Some(process) = self.find_in(data)? else {
            let process = self.start(data, Mode::Standby).await?;
            let limit = self.config.timing.start();
            if !server::wait_ready(&self.config, data, &process, limit).await? {
                let why = format!(
                    "PostgreSQL still recovers after {limit:?} and goes on: {}",
                    server::last_errors(&self.config)
                );
                return Err(NotDone::Failed(why));
            }
            return Ok(true);
        };
        if settings::is_installed(&self.config, data, &settings) {
            return Ok(false);
        }
        settings::install(&self.config, data, &settings, &self.os_user)?;
        server::reload(&process)?;
        failpoint::pass("settings reloaded");
        Ok(true)
    }

    /// Waits until the log streams from the upstream, or says what hinders.
    pub(super) async fn wait_streaming(
        &self,
        upstream: &HostName,
        limit: Duration,
    ) -> Result<(), String> {
        let Some(peer) = self.config.peers.get(upstream) else {
            return Err(format!("{upstream} is not a peer"));
        };
        // A diverged standby streams too, for a moment and again and again, up
        // to where its upstream left the common timeline: before its own end.
        let query = format!(
            "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming' \
             AND latest_end_lsn >= greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
             AND sender_host = {} AND sender_port = {}",
            crate::guard::sql::literal(&peer.address),
            peer.port
        );
        let begin = Instant::now();
        let mut streams_since = None;
        loop {
            let streams = match self.session(limit.max(CONNECT)).await {
                Ok(session) => session.text(&query).await.is_ok_and(|count| count == "1"),
                Err(_) => false,
            };
            if streams {
                let since = *streams_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STEADY {
                    return Ok(());
                }
            } else {
                streams_since = None;
            }
            if begin.elapsed() > limit {
                return Err(server::last_errors(&self.config));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops PostgreSQL, if it runs, for work on its data directory.
    pub(super) async fn stop_for_work(&self, data: &Path) -> Result<()> {
        if let Some(process) = self.find_in(data)? {
            server::stop(&self.config, data, &process, Duration::from_secs(10)).await?;
            self.publish(crate::guard::view::View::ended);
            failpoint::pass("stopped for work");
        }
        // A tool that an earlier guard left must not work beside ours.
        let root = self.config.version_dir();
        crate::guard::process::kill_tools(&self.config.bin_dir, &root).await?;
        Ok(())
    }

    /// Makes sure that a stopped data directory ended in order: a crashed one
    /// is started as a lone standby, which replays its log and writes none,
    /// and stopped again.
    pub(super) async fn settle(&self, data: &Path) -> Result<()> {
        use crate::guard::control::ClusterState::{ShutDown, ShutDownInRecovery};
        let control = tools::control(&self.config, data).await?;
        if matches!(control.state, ShutDown | ShutDownInRecovery) {
            return Ok(());
        }
        let alone = settings::Settings::default();
        let process =
            server::start(&self.config, data, Mode::Standby, &alone, &self.os_user).await?;
        let limit = self.config.timing.start() * 10;
        let ready = server::wait_ready(&self.config, data, &process, limit).await?;
        let limit = Duration::from_secs(30);
        server::stop(&self.config, data, &process, limit).await?;
        if !ready {
            let why = "the crashed cluster did not recover".to_owned();
            return Err(NotDone::Failed(why));
        }
        Ok(())
    }
}
