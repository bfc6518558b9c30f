//! The guard of automatic mode: it holds the right to write by the same rules
//! as the real one ([`crate::right`], [`crate::coordination`]); what it does
//! to PostgreSQL is simulated.

mod deploy;
mod disk;
mod keep;
mod orders;
mod set;
mod supervise;
mod take;

use std::{sync::Arc, time::Duration};

use crate::{
    coordination::{Right, Shared},
    ids::{Epoch, HostName},
    order::{LeaseStatus, PostgresState, WantedRole},
    ports::quorum::LeaseId,
    right::{Holding, Moment, Standing, Terms},
};

use super::{
    Core, Sim, State, clock::ClockOf, events::Action, mutation::Mutation, quorum::SimQuorum,
    tasks::Process,
};

pub(super) use deploy::{deploy, key};
pub use disk::Disk;
pub(super) use orders::take_order;

/// What a guard knows, and what is remembered for it.
#[derive(Default)]
pub struct Guard {
    /// It lives.
    pub process: Option<Process>,
    held: Option<Held>,
    /// The right is being taken, or a promise given.
    turn: bool,
    /// An order or the supervisor works on PostgreSQL.
    busy: bool,
    began: Moment,
    /// Where the dead-man reads it; gone after a boot.
    deadline: Option<Moment>,
    /// Peers gave it; for the checker, who remembers that over restarts.
    by_promises: bool,
    set: set::Set,
    pub disk: Disk,
}

/// A right with its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    right: Right,
    holding: Holding,
}

/// A guard's program.
#[derive(Clone)]
struct Program {
    sim: Sim,
    host: HostName,
    shared: Shared,
    terms: Terms,
    process: Process,
}

/// How long a guard's restart takes.
const RESTART: Duration = Duration::from_millis(1500);
/// Longest call of the store, as the terms allow.
const CALL: Duration = Duration::from_millis(700);

/// Starts the guard of a host, which takes over what it finds.
pub(super) fn start(core: &mut Core, sim: &Sim, host: &HostName) {
    let Some(terms) = core.state.settings.automatic else {
        return;
    };
    if !core.state.is_on(host) || core.state.guards[host].process.is_some() {
        return;
    }
    let process = core.new_process(host);
    let boots = core.state.machines[host].boots;
    let began = core.deadline_clock(host);
    let forgets = core.state.settings.mutation == Some(Mutation::ForgetPromise);
    let guard = core.guard(host);
    guard.process = Some(process.clone());
    guard.began = began;
    (guard.turn, guard.busy) = (false, false);
    guard.set = set::Set::default();
    if forgets {
        guard.disk.promise = None;
    }
    guard.keep_promise_over_boot(&boot_name(boots), &terms);
    guard.held = guard.taken_over(boots);
    let took = guard.held.is_some();
    core.tell(|| format!("the guard of {host} begins; takes the right over: {took}"));
    core.stand_back_after_boot(host);
    let program = Program {
        sim: sim.clone(),
        host: host.clone(),
        shared: Shared::new(Arc::new(SimQuorum::of(core, sim, host, CALL)), NAME),
        terms,
        process,
    };
    core.spawn(&program.process, program.clone().keep_forever());
    core.spawn(&program.process, program.clone().keep_set_forever());
    core.spawn(&program.process, program.clone().supervise_forever());
}

/// The deployment's name in the store.
pub(super) const NAME: &str = "two-regions";

/// Kills the guard of a host; systemd starts it again.
pub(super) fn crash(core: &mut Core, host: &HostName) {
    let sim = core.handle();
    let Some(process) = core.guard(host).process.take() else {
        return;
    };
    core.kill(&process);
    core.guard(host).held = None;
    core.tell(|| format!("the guard of {host} is killed"));
    let host = host.clone();
    core.later(RESTART, move |core| start(core, &sim, &host));
}

/// Stops the guard of a host by a signal, or lets it go on.
pub(super) fn stop(core: &mut Core, host: &HostName, on: bool) {
    let Some(process) = core.guard(host).process.clone() else {
        return;
    };
    let machine = core.state.machines.get_mut(host).expect("a known host");
    if on {
        machine.stopped.insert(process.number);
    } else {
        machine.stopped.clear();
        core.thaw_tasks();
    }
}

/// PostgreSQL dies; its guard finds that.
pub(super) fn kill_postgres(core: &mut Core, host: &HostName) {
    core.kill_postgres(host);
}

/// The machine lost power: what was only in memory is gone.
pub(super) fn lost_power(core: &mut Core, host: &HostName) {
    let Some(guard) = core.state.guards.get_mut(host) else {
        return;
    };
    guard.held = None;
    guard.deadline = None;
    if let Some(process) = guard.process.take() {
        core.kill(&process);
    }
}

/// The guard starts with the machine, and PostgreSQL with the guard.
pub(super) fn booted(core: &mut Core, host: &HostName) {
    if core.state.settings.automatic.is_none() || !core.state.guards.contains_key(host) {
        return;
    }
    let database = core.state.databases.get_mut(host).expect("a database");
    database.kill();
    let (sim, host) = (core.handle(), host.clone());
    core.later(RESTART / 5, move |core| start(core, &sim, &host));
}

impl Guard {
    /// The right that an earlier guard of this boot held.
    fn taken_over(&self, boots: u32) -> Option<Held> {
        self.disk.grant.filter(|(_, boot)| *boot == boots)?;
        Some(Held {
            right: self.disk.right?,
            holding: Holding {
                until: self.deadline?,
                by_promises: false,
            },
        })
    }

    fn keep_promise_over_boot(&mut self, boot: &str, terms: &Terms) {
        let writes = self.disk.takes_writes();
        if let Some(given) = self.disk.promise.as_mut().filter(|_| writes) {
            *given = given.in_boot(boot, terms, self.began);
        }
    }

    /// What the rules of promises need to know of it.
    fn standing<'a>(&'a self, takes: bool, boot: &'a str) -> Standing<'a> {
        Standing {
            takes: takes || self.held.is_some(),
            given: self.disk.promise.as_ref(),
            boot,
            began: self.began,
        }
    }
}

impl Core {
    fn guard(&mut self, host: &HostName) -> &mut Guard {
        self.state.guards.get_mut(host).expect("a guard's host")
    }

    /// The right to write does not outlive a boot.
    fn stand_back_after_boot(&mut self, host: &HostName) {
        let boots = self.state.machines[host].boots;
        let guard = self.guard(host);
        if guard.disk.grant.is_some_and(|(_, boot)| boot != boots) {
            guard.disk.grant = None;
            guard.disk.right = None;
        }
    }

    /// Moves the deadline that the dead-man goes by.
    fn arm(&mut self, host: &HostName, holding: &Holding) {
        let until = holding.until;
        self.guard(host).by_promises = holding.by_promises;
        self.guard(host).deadline = Some(until);
        let none = [Mutation::NoDeadMan, Mutation::SkipKill].map(Some);
        if !none.contains(&self.state.settings.mutation) {
            self.mind_deadline(host);
        }
    }

    fn disarm(&mut self, host: &HostName) {
        self.guard(host).deadline = None;
    }

    /// A right must not outlive its lease, whoever takes it next and when;
    /// promises are made for the time after.
    pub(super) fn check_ended(&mut self, lease: LeaseId) {
        let hosts = self.state.guards.keys().cloned();
        for host in hosts.collect::<Vec<_>>() {
            let held = self.held(&host).filter(|held| held.right.lease == lease);
            let outlives = held.is_some() && !self.state.guards[&host].by_promises;
            let writes = self.state.databases[&host].state == PostgresState::Primary;
            if outlives && writes {
                let what = format!("{host} can write although its lease has run out");
                self.tell(|| format!("VIOLATION {what}"));
                self.state.ledger.violated("never_two_writers", what);
            }
        }
    }

    /// What the clock shows by which deadlines are kept.
    fn deadline_clock(&self, host: &HostName) -> Moment {
        match self.state.settings.mutation {
            // The defect: the wall clock, which can be set.
            Some(Mutation::UseWallTime) => self.wall_of(host),
            _ => self.moment(host),
        }
    }

    /// The dead-man: a process of its own, which only reads the deadline.
    fn mind_deadline(&mut self, host: &HostName) {
        let Some(until) = self.state.guards[host].deadline else {
            return;
        };
        let left = until.saturating_sub(self.deadline_clock(host));
        let truly = self.state.machines[host].clock.truly(left) + Duration::from_micros(1);
        let (host, boots) = (host.clone(), self.state.machines[host].boots);
        self.look_later(truly, move |core| {
            let same_boot = core.state.machines[&host].boots == boots;
            if same_boot && core.state.guards[&host].deadline == Some(until) {
                let at = host.clone();
                let check: Action = Box::new(move |core| core.past_deadline(&at, until));
                super::machine::at(core, &host, check);
            }
        });
    }

    fn past_deadline(&mut self, host: &HostName, until: Moment) {
        if !self.state.is_on(host) || self.state.guards[host].deadline != Some(until) {
            return;
        }
        if self.deadline_clock(host) < until {
            return self.mind_deadline(host);
        }
        // Finding and killing all processes takes a while.
        let terms = self.state.settings.automatic.expect("a guard has terms");
        let longest = u64::try_from(terms.kill_time.as_micros()).unwrap_or(0);
        let takes = Duration::from_micros(self.rng.between(100, longest.max(200) * 9 / 10));
        let takes = if self.state.machines[host].thawed_at == self.now() {
            Duration::ZERO
        } else {
            takes
        };
        self.tell(|| format!("the dead-man of {host} kills PostgreSQL"));
        if takes.is_zero() {
            return self.kill_postgres(host);
        }
        let (host, boots) = (host.clone(), self.state.machines[host].boots);
        self.later(takes, move |core| {
            let guard = &core.state.guards[&host];
            let late = guard.deadline == Some(until);
            if core.state.machines[&host].boots == boots && late {
                let at = host.clone();
                let kill: Action = Box::new(move |core| core.kill_postgres(&at));
                super::machine::at(core, &host, kill);
            }
        });
    }

    /// All processes of PostgreSQL are dead.
    fn kill_postgres(&mut self, host: &HostName) {
        let database = self.state.databases.get_mut(host).expect("a database");
        if matches!(
            database.state,
            PostgresState::Primary | PostgresState::Standby
        ) {
            database.kill();
            self.state.touch();
            self.tell(|| format!("PostgreSQL on {host} is killed"));
        }
    }

    /// The right that is held now: none past its deadline.
    fn held(&self, host: &HostName) -> Option<&Held> {
        let held = self.state.guards[host].held.as_ref()?;
        let now = self.deadline_clock(host);
        held.holding.holds(now).then_some(held)
    }

    /// The epoch for which a host may accept writes, if any.
    fn may_write(&self, host: &HostName) -> Option<Epoch> {
        let guard = &self.state.guards[host];
        let (epoch, boot) = guard.disk.grant?;
        let wanted = self.state.databases[host].wanted == WantedRole::Primary;
        let covered = self
            .held(host)
            .is_some_and(|held| held.right.epoch == epoch);
        (wanted && covered && boot == self.state.machines[host].boots).then_some(epoch)
    }

    fn boot_name(&self, host: &HostName) -> String {
        boot_name(self.state.machines[host].boots)
    }
}

fn boot_name(boots: u32) -> String {
    format!("boot-{boots}")
}

impl State {
    /// No guard lives there that could answer.
    pub(super) fn lacks_guard(&self, host: &HostName) -> bool {
        self.settings.automatic.is_some() && self.guards[host].process.is_none()
    }

    /// Its guard is stopped by a signal.
    pub(super) fn guard_sleeps(&self, host: &HostName) -> bool {
        let process = self.guards[host].process.as_ref();
        let stopped = &self.machines[host].stopped;
        process.is_some_and(|process| stopped.contains(&process.number))
    }

    /// The right as the guard tells of it.
    pub(super) fn lease_status(&self, host: &HostName) -> Option<LeaseStatus> {
        let held = self.guards.get(host)?.held.as_ref()?;
        let ttl = self.settings.automatic?.ttl;
        let known = self.sync.as_ref().filter(|sync| &sync.primary == host);
        Some(LeaseStatus {
            epoch: held.right.epoch,
            // Only shown to people.
            left_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            by_promises: held.holding.by_promises,
            members: known.map(|sync| sync.members.clone()).unwrap_or_default(),
        })
    }

    /// Whether users may be sent to this primary.
    pub(super) fn is_confirmed(&self, host: &HostName) -> bool {
        self.guards
            .get(host)
            .is_none_or(|guard| guard.set.unconfirmed.is_none())
    }
}

impl Program {
    fn clock(&self) -> ClockOf {
        ClockOf {
            sim: self.sim.clone(),
            host: self.host.clone(),
        }
    }

    async fn sleep(&self, time: Duration) {
        use crate::ports::clock::Clock;
        self.clock().sleep(time).await;
    }

    fn now(&self) -> Moment {
        self.sim.lock().deadline_clock(&self.host)
    }
}
