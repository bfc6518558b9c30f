//! What a step has at hand while it acts.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::{Either, select};

use crate::{
    ids::{Epoch, HostName},
    journal::{Fact, Facts, Proof},
    order::{GuardStatus, Order, OrderAnswer, OrderRequest},
    plan::Plan,
    ports::{
        PortError, World,
        store::{RunId, Store},
    },
};

/// Knowledge of being the current run is good for so long.
const CURRENT_FOR: Duration = Duration::from_secs(5);
/// How long a guard may take to say what it is where it is not waited for.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a step has at hand.
pub(super) struct Context<'a> {
    pub world: &'a World,
    /// Where the lock of this run is.
    pub store: &'a dyn Store,
    pub run: RunId,
    /// What the run is to do; the keys of the shared store are below the name
    /// of its topology.
    pub plan: Arc<Plan>,
    /// Epoch of orders.
    pub epoch: Epoch,
    /// Epoch of orders after the promotion, or of those that take back.
    pub undo_epoch: Epoch,
    /// The step was begun before, and may have had its effect.
    pub tried_before: bool,
    pub facts: Facts,
    pub proof: Option<Proof>,
    /// When a guard last accepted this run, by the monotonic clock.
    pub current: Arc<Mutex<Option<Duration>>>,
}

/// A step that is done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub changed: bool,
    pub what: String,
    pub facts: Vec<Fact>,
    pub proof: Option<Proof>,
}

impl Done {
    pub fn new(changed: bool, what: impl Into<String>) -> Self {
        Self {
            changed,
            what: what.into(),
            ..Self::default()
        }
    }

    pub fn fact(mut self, fact: Fact) -> Self {
        self.facts.push(fact);
        self
    }
}

/// A step that is not.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub why: String,
    /// The same again may succeed.
    pub retry: bool,
    /// It will once a promise has ended.
    pub bound: bool,
    /// It surely had no effect and cannot have one later.
    pub certain: bool,
    /// A newer run has been there.
    pub superseded: bool,
}

impl Failure {
    /// Not so yet, or not answered: again, until the deadline.
    pub fn again(why: impl Into<String>) -> Self {
        Self {
            retry: true,
            ..Self::for_good(why)
        }
    }

    /// It will not get better by itself.
    pub fn for_good(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            retry: false,
            bound: false,
            certain: false,
            superseded: false,
        }
    }

    /// Nothing is left to do: another run did otherwise.
    pub fn superseded(why: impl Into<String>) -> Self {
        Self {
            superseded: true,
            ..Self::refused(why)
        }
    }

    /// Refused by the other side, which changed nothing.
    pub fn refused(why: impl Into<String>) -> Self {
        Self {
            certain: true,
            ..Self::for_good(why)
        }
    }
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let certain = !matches!(
            error,
            PortError::Unanswered { .. } | PortError::Failed { .. }
        );
        Self {
            retry: error.passes(),
            certain,
            superseded: matches!(error, PortError::StaleEpoch { .. }),
            ..Self::for_good(error.to_string())
        }
    }
}

/// An order that a guard carried out.
pub(super) struct Obeyed {
    pub changed: bool,
    pub what: String,
    pub status: GuardStatus,
}

impl Context<'_> {
    /// Gives an order in the epoch of the run.
    pub async fn order(
        &self,
        host: &HostName,
        order: Order,
        deadline: Duration,
    ) -> Result<Obeyed, Failure> {
        self.order_in(self.epoch, host, order, deadline).await
    }

    /// Gives an order in that epoch.
    pub async fn order_in(
        &self,
        epoch: Epoch,
        host: &HostName,
        order: Order,
        deadline: Duration,
    ) -> Result<Obeyed, Failure> {
        self.holds_lock()?;
        let request = OrderRequest {
            run: self.run.to_string(),
            epoch,
            order,
        };
        match self.world.guards.order(host, request, deadline).await? {
            OrderAnswer::Done {
                changed,
                what,
                status,
            } => {
                self.confirmed();
                Ok(Obeyed {
                    changed,
                    what,
                    status: *status,
                })
            }
            OrderAnswer::Refused { id, why } => {
                let mut failure =
                    Failure::refused(format!("the guard of {host} refused ({id}): {why}"));
                failure.superseded = id == STALE_EPOCH;
                failure.bound = id == PROMISED;
                failure.retry = failure.bound || id == BUSY;
                Err(failure)
            }
            OrderAnswer::Failed { why, .. } => {
                Err(Failure::again(format!("the guard of {host} failed: {why}")))
            }
        }
    }

    /// Before every effect: a runner that was asleep may have lost the lock
    /// to another one, which goes on with the same run in the same epoch, so
    /// that no guard can tell the two apart.
    pub fn holds_lock(&self) -> Result<(), Failure> {
        if self.store.holds() {
            Ok(())
        } else {
            Err(Failure::refused(
                "the lock is not surely held any more: another runner may go on",
            ))
        }
    }

    /// What a guard says of itself, where it does so at once: one that is
    /// silent is not waited for.
    pub async fn says_at_once(&self, host: &HostName) -> Option<GuardStatus> {
        let asked = self.world.guards.status(host);
        match select(asked, self.world.clock.sleep(AT_ONCE)).await {
            Either::Left((status, _)) => status.ok(),
            Either::Right(_) => None,
        }
    }

    /// Makes sure that no newer run has been there before something is told
    /// to a party that knows no epochs. Free while a guard has just obeyed.
    pub async fn still_current(&self) -> Result<(), Failure> {
        self.holds_lock()?;
        let now = self.world.clock.now();
        let seen = *self.current.lock().expect("no holder of this lock panics");
        if seen.is_some_and(|seen| now.saturating_sub(seen) < CURRENT_FOR) {
            return Ok(());
        }
        let status = self.world.guards.status(&self.plan.new).await?;
        if status.epoch > self.undo_epoch {
            return Err(Failure::superseded(format!(
                "{} has seen epoch {}, this run has {}",
                self.plan.new, status.epoch, self.epoch
            )));
        }
        self.confirmed();
        // It may have slept until the answer.
        self.holds_lock()
    }

    fn confirmed(&self) {
        let now = self.world.clock.now();
        *self.current.lock().expect("no holder of this lock panics") = Some(now);
    }

    /// Asks until `holds` answers, or fails for good, or the time is over.
    pub async fn until<T, F>(&self, limit: Duration, ask: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let end = self.world.clock.now() + limit;
        let mut pause = Duration::from_millis(5);
        loop {
            match ask().await {
                Err(failure) if failure.retry && self.world.clock.now() + pause < end => {}
                answer => return answer,
            }
            self.world.clock.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

/// The id with which guards refuse older runs.
const STALE_EPOCH: &str = "stale-epoch";
/// The same while another order takes its time.
const BUSY: &str = "busy";
/// The same while a promise binds: for one lease at most.
const PROMISED: &str = "promised";
