//! Simulated time and the executor: one future is polled, and while it waits
//! the next event happens.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{
    Rng, State, automatic, check, clients,
    events::{Action, Events, Kind},
    proxy,
    state::Settings,
    tasks::{Process, Tasks},
    watcher::Ambush,
};

/// Runaway simulations end here.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// Clients are busy for so long after something has happened.
const LIVELY: Duration = Duration::from_secs(1);

/// The world and its clock.
pub struct Core {
    now: Duration,
    events: Events,
    pub state: State,
    pub rng: Rng,
    /// The runner's process died.
    pub crashed: bool,
    lively_until: Duration,
    pub(super) tasks: Tasks,
    pub(super) attendants: Vec<Process>,
    pub(super) ambush: Option<Ambush>,
    handle: Weak<Mutex<Self>>,
    story: Option<Vec<(Duration, String)>>,
}

impl Core {
    /// The handle on this world.
    pub(super) fn handle(&self) -> Sim {
        Sim(self.handle.upgrade().expect("whoever acts holds the world"))
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets something happen after a while, whoever is still there then.
    pub fn later(&mut self, wait: Duration, action: impl FnOnce(&mut Self) + Send + 'static) {
        self.add(wait, Kind::Change, Box::new(action));
    }

    /// Lets somebody look after a while. What it changes must not matter to
    /// the world, or is told by [`State::touch`].
    pub(super) fn look_later(
        &mut self,
        wait: Duration,
        action: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.add(wait, Kind::Look, Box::new(action));
    }

    pub(super) fn later_as(
        &mut self,
        kind: Kind,
        wait: Duration,
        action: impl FnOnce(&mut Self) + Send + 'static,
    ) {
        self.add(wait, kind, Box::new(action));
    }

    /// Gives an answer after a while.
    pub(super) fn answer_later<T: Send + 'static>(
        &mut self,
        wait: Duration,
        slot: Slot<T>,
        value: T,
    ) {
        self.add(wait, Kind::Wake, Box::new(move |_| slot.fill(value)));
    }

    /// Ends the waiting for an answer that has not come by then.
    pub(super) fn give_up_later<T: Send + 'static>(
        &mut self,
        wait: Duration,
        slot: Slot<T>,
        why: impl FnOnce() -> T + Send + 'static,
    ) {
        let end = move |_: &mut Self| {
            if slot.is_awaited() {
                slot.fill(why());
            }
        };
        self.add(wait, Kind::Wake, Box::new(end));
    }

    fn add(&mut self, wait: Duration, kind: Kind, action: Action) {
        self.events.add(self.now + wait, kind, action);
    }

    /// What was written now arrives at the other site later.
    pub(super) fn let_it_flow(&mut self) {
        let delay = self.state.settings.replication_delay;
        self.look_later(delay, |_| {});
    }

    /// Adds a line to the story, which is not even made where nobody reads it.
    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        self.stir();
        if let Some(story) = &mut self.story {
            story.push((self.now, line()));
        }
    }

    /// Somebody reads the story.
    pub(super) fn is_told(&self) -> bool {
        self.story.is_some()
    }

    /// Something happens, or is about to: clients are busy. While nothing
    /// does, simulated hours should be cheap.
    pub fn stir(&mut self) {
        let was_lively = self.is_lively();
        self.lively_until = self.now + LIVELY;
        if !was_lively {
            clients::wake(self);
        }
    }

    pub(super) fn is_lively(&self) -> bool {
        self.now < self.lively_until
    }

    /// The story so far, for a failing seed.
    #[must_use]
    pub fn story(&self) -> String {
        let line =
            |(at, line): &(Duration, String)| format!("{:>9.3} s  {line}\n", at.as_secs_f64());
        match &self.story {
            Some(story) => story.iter().map(line).collect(),
            None => "nobody listened to the story\n".to_owned(),
        }
    }
}

/// A handle on the world; clones share it.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<Core>>);

impl Sim {
    /// A healthy world with clients that write.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let now = Duration::from_secs(1);
        let core = Core {
            now,
            events: Events::default(),
            story: settings.story.then(Vec::new),
            state: State::healthy(settings),
            rng: Rng::new(seed),
            crashed: false,
            lively_until: now + LIVELY,
            tasks: Tasks::default(),
            attendants: Vec::new(),
            ambush: None,
            handle: Weak::new(),
        };
        let sim = Self(Arc::new(Mutex::new(core)));
        let mut core = sim.lock();
        core.handle = Arc::downgrade(&sim.0);
        clients::start(&mut core);
        proxy::start_checks(&mut core);
        automatic::start(&mut core, &sim);
        drop(core);
        sim
    }

    /// The world, for as long as the answer is kept.
    ///
    /// # Panics
    /// When an action panicked.
    pub fn lock(&self) -> MutexGuard<'_, Core> {
        self.0.lock().expect("no action panicked")
    }

    /// Runs the future; none when the runner's process died under it.
    ///
    /// # Panics
    /// When simulated time runs away.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.poll_tasks();
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            if woken.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(value) = future.as_mut().poll(&mut context)
            {
                return Some(value);
            }
            let mut core = self.lock();
            if core.crashed {
                core.crashed = false;
                return None;
            }
            drop(core);
            self.step();
            self.poll_tasks();
        }
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.run(self.sleep(time));
    }

    fn step(&self) {
        let mut core = self.lock();
        let next = core.events.next();
        let (at, event) = next.expect("clients and checks always come again");
        assert!(at < LONGEST, "time ran away\n{}", core.story());
        core.now = at;
        if event.kind == Kind::Wake {
            (event.action)(&mut core);
            return;
        }
        let mut moved = core.state.settle_if_due(at);
        (event.action)(&mut core);
        if event.kind == Kind::Change || core.state.was_touched() {
            clients::retry_held(&mut core);
            core.state.settle(at);
            moved = true;
        }
        if moved {
            check::instant(&mut core);
        }
    }

    /// Looks over what programs have changed.
    pub(super) fn look_over(&self) {
        let mut core = self.lock();
        if core.state.was_touched() {
            let now = core.now;
            clients::retry_held(&mut core);
            core.state.settle(now);
            check::instant(&mut core);
        }
    }

    /// Waits in simulated time.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send + 'static {
        let slot = Slot::default();
        self.lock().answer_later(time, slot.clone(), ());
        slot
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Something that will be there once an event has happened.
pub struct Slot<T>(Arc<Mutex<Waiting<T>>>);

struct Waiting<T> {
    value: Option<T>,
    given: bool,
    waker: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            value: None,
            given: false,
            waker: None,
        })))
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Slot<T> {
    /// Nobody has given a value yet.
    pub(super) fn is_awaited(&self) -> bool {
        !self.0.lock().expect("nobody panics in here").given
    }

    /// Gives the value; the first one counts.
    pub fn fill(&self, value: T) {
        let mut waiting = self.0.lock().expect("nobody panics in here");
        if waiting.given {
            return;
        }
        waiting.given = true;
        waiting.value = Some(value);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Slot<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut waiting = self.0.lock().expect("nobody panics in here");
        match waiting.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
