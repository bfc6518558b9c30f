//! `Promote`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Done, NotDone, Result, refused};
use crate::{
    coordination::How,
    guard::{
        Guard, failpoint, server, settings,
        sql::{Observed, Session},
        tools,
    },
    ids::{Epoch, Lsn},
    order::{Order, OrderRequest, WantedRole},
};

/// Between two questions whether the promotion is done.
const POLL: Duration = Duration::from_millis(2);

impl Guard {
    pub(super) async fn promote(
        self: &Arc<Self>,
        epoch: Epoch,
        at_least: Option<Lsn>,
        in_sync: bool,
    ) -> Result<Done> {
        let (data, process) = self.require_running()?;
        let session = match self.session(Duration::from_secs(2)).await {
            Ok(session) => session,
            Err(error) => return refused("not-ready", error.to_string()),
        };
        let observed = session.observe().await?;
        if !observed.in_recovery {
            return self.already_primary(epoch, &observed).await;
        }
        require_received(&observed, at_least)?;
        self.take_right(epoch, How::Promote { in_sync }).await?;
        let grant = self.grant(epoch);
        let confirmed = self.store.with(|state| !state.synchronous.is_empty());
        self.accept(epoch, |state| {
            state.wanted = WantedRole::Primary;
            state.grant = Some(grant);
            // Those who confirmed before may be gone; who must do so from now
            // on is for the next order to say.
            state.synchronous.clear();
        })
        .await?;
        if confirmed {
            settings::install(&self.config, &data, &self.settings(), &self.os_user)?;
            server::reload(&process)?;
            self.wait_setting(&session, "synchronous_standby_names", "")
                .await?;
        }
        let begin = Instant::now();
        // The lease may have ended while all this was written.
        if let Err(why) = self.may_write() {
            return Err(NotDone::Failed(why.to_string()));
        }
        server::trigger_promotion(&data, &process)?;
        failpoint::pass("promotion triggered");
        self.wait_promoted(&session).await?;
        let took = begin.elapsed().as_millis();
        let observed = session.observe().await?;
        let timeline = observed.timeline;
        self.publish(|view| view.seen(observed, Instant::now()));
        self.tidy_up_after_promotion();
        let timeline = timeline.map_or_else(|| "?".to_owned(), |timeline| timeline.to_string());
        Ok(Done::Seen(format!(
            "is primary on timeline {timeline} after {took} ms"
        )))
    }

    async fn already_primary(self: &Arc<Self>, epoch: Epoch, observed: &Observed) -> Result<Done> {
        if self.may_write().is_err() {
            return refused(
                "not-a-standby",
                "PostgreSQL accepts writes without the right to",
            );
        }
        self.take_right(epoch, How::GoOn).await?;
        let grant = self.grant(epoch);
        self.accept(epoch, |state| state.grant = Some(grant))
            .await?;
        let timeline = observed.timeline.map_or(0, |timeline| timeline.0);
        Ok(Done::Unchanged(format!(
            "is primary on timeline {timeline}"
        )))
    }

    /// A promotion of an older epoch that has not come true yet never does
    /// once a newer epoch is here: whoever gives the newer order may have
    /// given the right to write to another host.
    pub(super) async fn withdraw_older_promotion(
        self: &Arc<Self>,
        request: &OrderRequest,
    ) -> Result<()> {
        let Some(grant) = self.store.with(|state| state.grant.clone()) else {
            return Ok(());
        };
        let wants_it = matches!(request.order, Order::Promote { .. });
        if grant.epoch >= request.epoch || wants_it || !self.is_promotion_pending().await? {
            return Ok(());
        }
        tracing::warn!(epoch = %grant.epoch, "withdrawing a promotion that has not come true");
        self.accept(request.epoch, move |state| {
            state.wanted = WantedRole::Standby {
                upstream: grant.before,
            };
            state.grant = None;
        })
        .await?;
        // PostgreSQL was told and can't be told otherwise: it starts anew.
        let data = self.require_data()?;
        if let Some(process) = self.find()? {
            server::kill(&self.config, &data, &process).await?;
            self.publish(crate::guard::view::View::ended);
        }
        self.give_back().await;
        self.be_standby(&data).await?;
        Ok(())
    }

    async fn is_promotion_pending(&self) -> Result<bool> {
        let Some(data) = self.data() else {
            return Ok(false);
        };
        if self.may_write().is_err() {
            return Ok(false);
        }
        if self.find()?.is_some()
            && let Ok(session) = self.session(Duration::from_secs(2)).await
        {
            return Ok(session.in_recovery().await?);
        }
        // Stopped, or not yet answering: what it was decides how it comes up.
        Ok(tools::control(&self.config, &data).await?.was_standby())
    }

    async fn wait_promoted(&self, session: &Session) -> Result<()> {
        let limit = self.config.timing.start();
        let promoted = async {
            while session.in_recovery().await? {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        };
        match tokio::time::timeout(limit, promoted).await {
            Ok(result) => result,
            Err(_) => Err(NotDone::Failed(format!(
                "PostgreSQL has not left recovery within {limit:?}; it goes on"
            ))),
        }
    }

    /// What need not delay the first write: slots, and the checkpoint that
    /// tells pg_rewind of the new timeline.
    fn tidy_up_after_promotion(self: &Arc<Self>) {
        let guard = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = guard.keep_slots().await {
                tracing::warn!(%error, "cannot make the replication slots yet");
            }
            let session = match Session::open(&guard.config, "postgres", POLL * 1000).await {
                Ok(session) => session,
                Err(error) => return tracing::warn!(%error, "no checkpoint after promotion"),
            };
            if let Err(error) = session.run("CHECKPOINT").await {
                tracing::warn!(%error, "no checkpoint after promotion");
            }
        });
    }

    /// Waits until a reloaded setting is in force.
    pub(super) async fn wait_setting(
        &self,
        session: &Session,
        name: &str,
        value: &str,
    ) -> Result<()> {
        let limit = Duration::from_secs(5);
        let begin = Instant::now();
        let query = format!("SELECT current_setting('{name}')");
        loop {
            let found = session.text(&query).await?;
            if found == value {
                return Ok(());
            }
            if begin.elapsed() > limit {
                return Err(NotDone::Failed(format!(
                    "{name} is `{found}` after a reload, not `{value}`"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn require_received(observed: &Observed, at_least: Option<Lsn>) -> Result<()> {
    let has = observed.received.max(observed.replayed).unwrap_or(Lsn(0));
    match at_least {
        Some(at_least) if has < at_least => {
            let missing = at_least.bytes_since(has);
            let why = format!("received up to {has}, {missing} bytes before {at_least}");
            refused("behind", why)
        }
        _ => Ok(()),
    }
}
