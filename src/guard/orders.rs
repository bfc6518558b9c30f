//! Orders: one at a time, each durable before its first effect, each safe to
//! repeat from the beginning wherever an earlier attempt ended.

mod copy;
mod demote;
mod initialise;
mod promote;
mod rewind;
mod small;
mod standby;

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Guard, failpoint,
    lease::TakeError,
    process::Process,
    server::ServerError,
    sql::SqlError,
    store::{Grant, Persisted, StoreError},
    supervise::ConvergeError,
    tools::ToolError,
};
use crate::{
    ids::{Epoch, HostName},
    order::{Order, OrderAnswer, OrderRequest, WantedRole},
};

/// What an order came to.
enum Done {
    Changed(String),
    /// Changed, and the view is of after that.
    Seen(String),
    /// All was as ordered.
    Unchanged(String),
}

/// Why an order was not carried out.
enum NotDone {
    /// Before anything was changed.
    Refused {
        id: &'static str,
        why: String,
    },
    Failed(String),
}

type Result<T, E = NotDone> = std::result::Result<T, E>;

macro_rules! failures {
    ($($error:ty),+) => {
        $(impl From<$error> for NotDone {
            fn from(error: $error) -> Self {
                Self::Failed(error.to_string())
            }
        })+
    };
}
failures!(
    ServerError,
    SqlError,
    StoreError,
    ToolError,
    ConvergeError,
    std::io::Error
);

impl From<TakeError> for NotDone {
    fn from(error: TakeError) -> Self {
        match error.refusal() {
            Some(id) => Self::Refused {
                id,
                why: error.to_string(),
            },
            None => Self::Failed(error.to_string()),
        }
    }
}

fn refused<T>(id: &'static str, why: impl Into<String>) -> Result<T> {
    Err(NotDone::Refused {
        id,
        why: why.into(),
    })
}

/// The name of an order, for people and logs.
#[must_use]
pub fn order_name(order: &Order) -> &'static str {
    match order {
        Order::Initialise => "initialise",
        Order::Clone { .. } => "clone",
        Order::Claim => "claim",
        Order::Checkpoint => "checkpoint",
        Order::Demote { .. } => "demote",
        Order::Promote { .. } => "promote",
        Order::Follow { .. } => "follow",
        Order::Resume { .. } => "resume",
        Order::Rewind { .. } => "rewind",
        Order::Reclone { .. } => "reclone",
        Order::Synchronous { .. } => "synchronous",
        Order::DropKept => "drop-kept",
    }
}

impl Guard {
    /// Carries out an order. It goes on to its end even when nobody waits for
    /// the answer any more.
    pub(super) async fn take(self: &Arc<Self>, request: OrderRequest) -> OrderAnswer {
        let guard = Arc::clone(self);
        let work = tokio::spawn(async move { guard.take_in_turn(request).await });
        match work.await {
            Ok(answer) => answer,
            Err(error) => OrderAnswer::Failed {
                why: format!("the order ended abnormally: {error}"),
                status: Box::new(self.status()),
            },
        }
    }

    async fn take_in_turn(self: &Arc<Self>, request: OrderRequest) -> OrderAnswer {
        let name = order_name(&request.order);
        let limit = Duration::from_millis(self.config.timing.queue_ms);
        let Ok(_hands) = tokio::time::timeout(limit, self.hands.lock()).await else {
            let holder = self.running_order().unwrap_or_else(|| "a start".to_owned());
            let why = format!("{holder} runs; ask again when it has ended");
            return self.answer(name, refused("busy", why)).await;
        };
        let current = |state: &Persisted| request.is_current(state.epoch, state.holder.as_deref());
        if let Err(why) = self.store.with(current) {
            return self.answer(name, refused("stale-epoch", why)).await;
        }
        tracing::info!(run = request.run, epoch = %request.epoch, order = ?request.order, "order");
        self.set_running(Some((name, request.run.clone())));
        let begin = std::time::Instant::now();
        let mut result = match self.withdraw_older_promotion(&request).await {
            Ok(()) => self.carry_out(&request).await,
            Err(error) => Err(error),
        };
        // Orders that want no other state count for the epoch as well.
        if result.is_ok()
            && let Err(error) = self.accept(request.epoch, |_| {}).await
        {
            result = Err(error);
        }
        let answer = self.answer(name, result).await;
        self.set_running(None);
        self.supervise.notify_one();
        tracing::info!(name, took_ms = begin.elapsed().as_millis(), "order ends");
        answer
    }

    async fn carry_out(self: &Arc<Self>, request: &OrderRequest) -> Result<Done> {
        let epoch = request.epoch;
        match request.order.clone() {
            Order::Initialise => self.initialise(epoch).await,
            Order::Clone { upstream } => self.clone_from(epoch, upstream).await,
            Order::Claim => self.be_claimed(),
            Order::Checkpoint => self.checkpoint().await,
            Order::Demote { deadline_ms } => {
                self.demote(epoch, Duration::from_millis(deadline_ms)).await
            }
            Order::Promote { at_least, in_sync } => self.promote(epoch, at_least, in_sync).await,
            Order::Follow { upstream } => self.follow(epoch, upstream).await,
            Order::Resume { timeline } => self.resume(epoch, timeline).await,
            Order::Rewind { upstream } => self.rewind(epoch, upstream).await,
            Order::Reclone { upstream } => self.reclone(epoch, upstream).await,
            Order::Synchronous { standbys } => self.synchronous(request, standbys).await,
            Order::DropKept => self.drop_kept().await,
        }
    }

    async fn answer(&self, name: &'static str, result: Result<Done>) -> OrderAnswer {
        let status = async || {
            self.look_now().await;
            Box::new(self.status())
        };
        let answer = match result {
            Ok(Done::Changed(what)) => OrderAnswer::Done {
                changed: true,
                what,
                status: status().await,
            },
            Ok(Done::Seen(what)) => OrderAnswer::Done {
                changed: true,
                what,
                status: Box::new(self.status()),
            },
            Ok(Done::Unchanged(what)) => OrderAnswer::Done {
                changed: false,
                what,
                status: status().await,
            },
            Err(NotDone::Refused { id, why }) => {
                tracing::warn!(name, id, why, "order refused");
                let id = id.to_owned();
                OrderAnswer::Refused { id, why }
            }
            Err(NotDone::Failed(why)) => {
                tracing::error!(name, why, "order failed");
                let status = status().await;
                OrderAnswer::Failed { why, status }
            }
        };
        self.counters.ordered(name, &answer);
        answer
    }

    fn running_order(&self) -> Option<String> {
        let (name, run) = self.running()?;
        Some(format!("{name} of run {run}"))
    }

    /// Name and run of the order that runs.
    fn running(&self) -> Option<(&'static str, String)> {
        self.order
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    fn set_running(&self, order: Option<(&'static str, String)>) {
        *self.order.lock().expect("no holder of this lock panics") = order;
    }

    /// Makes the epoch and a change of what is wanted durable. What follows
    /// may crash anywhere: this is where a repetition begins.
    async fn accept(
        self: &Arc<Self>,
        epoch: Epoch,
        change: impl FnOnce(&mut Persisted) + Send + 'static,
    ) -> Result<()> {
        let run = self.running().map(|(_, run)| run);
        self.remember(move |state| {
            if epoch > state.epoch {
                (state.epoch, state.holder) = (epoch, run);
            }
            change(state);
        })
        .await?;
        failpoint::pass("state written");
        Ok(())
    }

    /// The right to write for an epoch, in this boot.
    pub(super) fn grant(&self, epoch: Epoch) -> Grant {
        let boot = self.boot.clone();
        let before = self.settings().upstream;
        Grant {
            epoch,
            boot,
            before,
        }
    }

    /// The complete data directory, or a refusal.
    fn require_data(&self) -> Result<PathBuf> {
        match self.data() {
            Some(data) if self.store.with(|state| state.rewinding.is_none()) => Ok(data),
            Some(_) => refused(
                "rewind-unfinished",
                "a rewind began and did not end: order rewind or reclone",
            ),
            None => refused("no-cluster", "there is no data directory"),
        }
    }

    /// The running PostgreSQL, or a refusal.
    fn require_running(&self) -> Result<(PathBuf, Process)> {
        let data = self.require_data()?;
        match self.find()? {
            Some(process) => Ok((data, process)),
            None => refused("not-running", "PostgreSQL does not run here"),
        }
    }

    /// Refuses what would destroy or redirect a primary.
    fn require_not_primary(&self) -> Result<()> {
        if self.store.with(|state| state.wanted == WantedRole::Primary) {
            return refused(
                "primary-running",
                "this host is the primary: demote it first",
            );
        }
        Ok(())
    }

    fn require_peer(&self, upstream: &HostName) -> Result<()> {
        if self.config.peers.contains_key(upstream) {
            return Ok(());
        }
        refused(
            "unknown-upstream",
            format!("{upstream} is not a peer of this guard"),
        )
    }
}
