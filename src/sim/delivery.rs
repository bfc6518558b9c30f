//! Requests on their way: delays, losses, and effects without answers.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    ids::HostName,
    order::{OrderAnswer, OrderRequest},
    ports::PortError,
};

use super::{Core, Sim, core::Slot, events::Kind, guard, machine};
use crate::run::Who;

/// Who asks and orders: an operator somewhere outside, or a program on a host.
#[derive(Clone)]
pub(super) struct Party {
    pub sim: Sim,
    /// None: outside, where only [`super::fault::Fault::Unheard`] and the like
    /// are between it and the hosts.
    pub from: Option<HostName>,
    /// As whom it must hold the run lock when it changes something; none:
    /// nobody minds.
    pub who: Option<Who>,
}

/// A connection that finds nobody gives up after so long.
const CONNECT: Duration = Duration::from_millis(700);
/// A broken connection is noticed after so long.
const BROKEN: Duration = Duration::from_secs(10);

/// What becomes of a request.
enum Fate {
    Arrives,
    RequestLost,
    AnswerLost,
    /// It arrives when nobody waits any more.
    Late(Duration),
}

/// A request in words, made into text only where somebody reads it.
#[derive(Clone)]
pub(super) enum What {
    Plain(&'static str),
    Of(&'static str, HostName),
    Order(HostName, Arc<OrderRequest>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(what) => f.write_str(what),
            Self::Of(what, host) => write!(f, "{what} {host}"),
            Self::Order(host, request) => {
                let OrderRequest { epoch, order, .. } = request.as_ref();
                write!(f, "order {order:?} of epoch {epoch} to {host}")
            }
        }
    }
}

/// Delivers a request to a host (none: to the cloud) and waits for the answer
/// at most `patience`. The effect, once on its way, does not depend on the
/// one who waits.
pub(super) async fn deliver<T: Send + 'static>(
    party: &Party,
    to: Option<&HostName>,
    what: What,
    patience: Duration,
    effect: impl Fn(&mut Core) -> Result<T, PortError> + Send + Sync + 'static,
) -> Result<T, PortError> {
    let effect = Arc::new(move |core: &mut Core| Some(effect(core)));
    party.must_hold_lock(&what);
    request(party, to, what, patience, Kind::Change, effect).await
}

/// The same for a question, which changes nothing.
pub(super) async fn ask<T: Send + 'static>(
    party: &Party,
    to: Option<&HostName>,
    what: What,
    patience: Duration,
    look: impl Fn(&mut Core) -> Result<T, PortError> + Send + Sync + 'static,
) -> Result<T, PortError> {
    let look = Arc::new(move |core: &mut Core| Some(look(core)));
    request(party, to, what, patience, Kind::Look, look).await
}

/// What a request does each time that it arrives, and its answer; none: that
/// comes later, by itself.
type Effect<T> = Arc<dyn Fn(&mut Core) -> Option<Result<T, PortError>> + Send + Sync>;

fn request<T: Send + 'static>(
    party: &Party,
    to: Option<&HostName>,
    what: What,
    patience: Duration,
    kind: Kind,
    effect: Effect<T>,
) -> Slot<Result<T, PortError>> {
    let slot = Slot::default();
    let mut core = party.sim.lock();
    let within = patience.min(BROKEN);
    let asked = what.clone();
    core.give_up_later(within, slot.clone(), move || {
        let what = asked.to_string();
        Err(PortError::Unanswered { what, within })
    });
    let request = Request {
        from: party.from.clone(),
        to: to.cloned(),
        what,
        kind,
        effect,
    };
    request.send(&mut core, slot.clone());
    slot
}

/// Gives an order to a guard of automatic mode, which works on it for a while.
pub(super) async fn order_by_right(
    party: &Party,
    what: What,
    request: Arc<OrderRequest>,
    patience: Duration,
) -> Result<OrderAnswer, PortError> {
    let What::Order(host, _) = what.clone() else {
        unreachable!("an order is described as one");
    };
    let slot: Slot<Result<OrderAnswer, PortError>> = Slot::default();
    party.must_hold_lock(&what);
    {
        let sim = &party.sim;
        let mut core = sim.lock();
        let within = patience.min(BROKEN);
        let asked = what.clone();
        core.give_up_later(within, slot.clone(), move || {
            let what = asked.to_string();
            Err(PortError::Unanswered { what, within })
        });
        let (sim, to, answer) = (sim.clone(), host.clone(), slot.clone());
        let asks = party.from.clone();
        let effect: Effect<OrderAnswer> = Arc::new(move |core| {
            let (from, asks, answer) = (to.clone(), asks.clone(), answer.clone());
            let back = Duration::from_micros(core.rng.between(300, 3000));
            let given = move |core: &mut Core, given| {
                if answers(core, &from, asks.as_ref()) {
                    core.answer_later(back, answer, Ok(given));
                }
            };
            if guard::take_order(core, &sim, &to, request.clone(), given).is_none() {
                let (what, why) = (to.to_string(), "connection refused".to_owned());
                return Some(Err(PortError::Unreachable { what, why }));
            }
            None
        });
        let request = Request {
            from: party.from.clone(),
            to: Some(host),
            what,
            kind: Kind::Change,
            effect,
        };
        request.send(&mut core, slot.clone());
    }
    slot.await
}

struct Request<T> {
    from: Option<HostName>,
    to: Option<HostName>,
    what: What,
    kind: Kind,
    effect: Effect<T>,
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy)]
struct Trip {
    answered: bool,
    back: Duration,
    /// How much later it comes for the second time.
    again: Option<Duration>,
}

impl<T: Send + 'static> Request<T> {
    fn send(self, core: &mut Core, slot: Slot<Result<T, PortError>>) {
        let slow = self
            .to
            .as_ref()
            .map_or(Duration::ZERO, |host| core.state.machines[host].slow);
        let mut way = Duration::from_micros(core.rng.between(300, 3000)) + slow;
        let back = Duration::from_micros(core.rng.between(300, 3000));
        let fate = fate(core);
        let what = &self.what;
        match fate {
            Fate::RequestLost => return core.tell(|| format!("lost on its way: {what}")),
            Fate::AnswerLost => core.tell(|| format!("its answer will be lost: {what}")),
            Fate::Late(late) => {
                way += late;
                core.tell(|| format!("on its way for {late:?}: {what}"));
            }
            Fate::Arrives => {}
        }
        let trip = Trip {
            answered: !matches!(fate, Fate::AnswerLost),
            back,
            again: core.comes_again(),
        };
        self.travel(core, slot, way, trip);
    }

    fn travel(self, core: &mut Core, slot: Slot<Result<T, PortError>>, way: Duration, trip: Trip) {
        let to = self.to.clone();
        let kind = self.kind;
        let arrive = move |core: &mut Core| self.arrive(core, slot, trip);
        core.later_as(kind, way, move |core| match &to {
            Some(host) => machine::at(core, host, Box::new(arrive)),
            None => arrive(core),
        });
    }

    fn arrive(self, core: &mut Core, slot: Slot<Result<T, PortError>>, trip: Trip) {
        // Where no connection is made nothing was sent, and nothing comes
        // again.
        if let Some(host) = &self.to
            && !hears(core, host, self.from.as_ref())
        {
            let (what, why) = (self.what.to_string(), "no route to host".to_owned());
            core.answer_later(CONNECT, slot, Err(PortError::Unreachable { what, why }));
            return;
        }
        if let Some(again) = trip.again {
            core.tell(|| format!("comes again {again:?} later: {}", self.what));
            let trip = Trip {
                again: None,
                ..trip
            };
            self.copy().travel(core, slot.clone(), again, trip);
        }
        let Some(answer) = (self.effect)(core) else {
            return;
        };
        let from = self.from.as_ref();
        let back_to = |host: &HostName| answers(core, host, from);
        if trip.answered && self.to.as_ref().is_none_or(back_to) {
            core.answer_later(trip.back, slot, answer);
        }
    }
}

impl<T> Request<T> {
    fn copy(&self) -> Self {
        Self {
            from: self.from.clone(),
            to: self.to.clone(),
            what: self.what.clone(),
            kind: self.kind,
            effect: self.effect.clone(),
        }
    }
}

fn fate(core: &mut Core) -> Fate {
    let chance = core.state.unreliable;
    if chance == 0 || !core.rng.permille(chance) {
        return Fate::Arrives;
    }
    match core.rng.between(0, 2) {
        0 => Fate::RequestLost,
        1 => Fate::AnswerLost,
        _ => Fate::Late(Duration::from_millis(core.rng.between(100, 20_000))),
    }
}

fn hears(core: &Core, host: &HostName, from: Option<&HostName>) -> bool {
    let machine = &core.state.machines[host];
    let arrives = from.map_or(machine.heard, |from| core.state.passes(from, host));
    machine.on && arrives
}

fn answers(core: &Core, host: &HostName, to: Option<&HostName>) -> bool {
    let machine = &core.state.machines[host];
    to.map_or(machine.answers, |to| core.state.passes(host, to))
}

impl Core {
    /// A message that the network delivers twice: how much later it comes for
    /// the second time.
    pub(super) fn comes_again(&mut self) -> Option<Duration> {
        let chance = self.state.doubling;
        let twice = chance > 0 && self.rng.permille(chance);
        twice.then(|| Duration::from_millis(self.rng.between(1, 5_000)))
    }
}

impl Party {
    /// Whoever lost the run lock changes nothing any more.
    fn must_hold_lock(&self, what: &What) {
        let mut core = self.sim.lock();
        if !core.state.settings.watched {
            return;
        }
        let Some(who) = &self.who else { return };
        let holder = core.holder_of_lock();
        let holds = holder.as_ref().is_some_and(|holder| {
            (&holder.operator, &holder.machine, holder.process)
                == (&who.operator, &who.machine, who.process)
        });
        if !holds {
            let holder = holder.map_or_else(|| "nobody".to_owned(), |holder| holder.to_string());
            let Who {
                operator, machine, ..
            } = who;
            let what = format!("{operator} on {machine} sent {what} while {holder} holds the lock");
            core.tell(|| format!("VIOLATION {what}"));
            core.state.ledger.violated("no_stale_actor", what);
        }
    }
}
