//! Requests on their way: delays, losses, and effects without answers.

use std::time::Duration;

use crate::{ids::HostName, ports::PortError};

use super::{Core, Sim, core::Slot};

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

/// Delivers a request to a host (none: to the cloud) and waits for the answer
/// at most `patience`. The effect, once on its way, does not depend on the
/// one who waits.
pub(super) async fn deliver<T: Send + 'static>(
    sim: &Sim,
    to: Option<&HostName>,
    what: String,
    patience: Duration,
    effect: impl FnOnce(&mut Core) -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    let slot = Slot::default();
    {
        let mut core = sim.lock();
        send(&mut core, to.cloned(), &what, slot.clone(), effect);
        let (slot, within) = (slot.clone(), patience.min(BROKEN));
        core.answer_later(within, slot, Err(PortError::Unanswered { what, within }));
    }
    slot.await
}

fn send<T: Send + 'static>(
    core: &mut Core,
    to: Option<HostName>,
    what: &str,
    slot: Slot<Result<T, PortError>>,
    effect: impl FnOnce(&mut Core) -> Result<T, PortError> + Send + 'static,
) {
    let slow = to
        .as_ref()
        .map_or(Duration::ZERO, |host| core.state.machines[host].slow);
    let mut way = Duration::from_micros(core.rng.between(300, 3000)) + slow;
    let back = Duration::from_micros(core.rng.between(300, 3000));
    let fate = fate(core);
    match fate {
        Fate::RequestLost => {
            core.tell(format!("lost on its way: {what}"));
            return;
        }
        Fate::AnswerLost => core.tell(format!("its answer will be lost: {what}")),
        Fate::Late(late) => {
            way += late;
            core.tell(format!("on its way for {late:?}: {what}"));
        }
        Fate::Arrives => {}
    }
    let what = what.to_owned();
    core.later(way, move |core| {
        if let Some(host) = &to
            && !hears(core, host)
        {
            let why = "no route to host".to_owned();
            core.answer_later(CONNECT, slot, Err(PortError::Unreachable { what, why }));
            return;
        }
        let answer = effect(core);
        let answers = to
            .as_ref()
            .is_none_or(|host| core.state.machines[host].answers);
        if answers && !matches!(fate, Fate::AnswerLost) {
            core.answer_later(back, slot, answer);
        }
    });
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

fn hears(core: &Core, host: &HostName) -> bool {
    let machine = &core.state.machines[host];
    machine.on && machine.heard
}
