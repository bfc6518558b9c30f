//! The real watchers in the simulated world: one in each place, a process
//! that can be killed, stopped, and ambushed while it writes a journal.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    coordination::{Leader, prefix},
    decide::{Finding, Policy},
    ids::HostName,
    journal::{Entry, Event},
    ports::{
        quorum::{Change, Condition, Reading},
        store::{Holder, RunId},
    },
    run::Who,
    watch::{Notice, Notices, Settings, Watcher},
};

use super::{
    Core, Sim, check,
    clock::ClockOf,
    delivery::Party,
    guard::{NAME, key},
    mutation::Mutation,
    ports,
    quorum::SimQuorum,
    tasks::Process,
};

/// As whom watchers run what they run.
pub(super) const OPERATOR: &str = "hafail watch";
/// Between two looks, as in the real world.
const PERIOD: Duration = Duration::from_secs(1);
const GLANCE: Duration = Duration::from_millis(250);
/// How long the host needs to start it again.
const RESTART: Duration = Duration::from_secs(2);

/// What befalls the watcher that writes a journal, at the nth record from
/// the fault on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ambush {
    pub records: usize,
    pub what: Mischief,
}

/// What befalls it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mischief {
    Dies {
        /// The record is written all the same.
        durable: bool,
    },
    /// It does not run for so long.
    Sleeps(Duration),
}

/// Starts the watcher of a host.
pub(super) fn start(core: &mut Core, sim: &Sim, host: &HostName) {
    let process = core.new_process(host);
    let terms = core.state.settings.automatic.expect("automatic mode");
    let who = Who {
        operator: OPERATOR.to_owned(),
        machine: host.to_string(),
        process: u32::try_from(process.number).unwrap_or(u32::MAX),
    };
    let party = Party {
        sim: sim.clone(),
        from: Some(host.clone()),
        who: Some(who.clone()),
    };
    let mut world = ports::world_of(party, core.state.inventory());
    let client = SimQuorum::of(core, sim, host, terms.rpc_timeout).for_watcher(&process);
    world.quorum = Some(Arc::new(client));
    world.clock = Arc::new(ClockOf {
        sim: sim.clone(),
        host: host.clone(),
    });
    let topology = core.state.topology().clone();
    let settings = &core.state.settings;
    let settings = Settings {
        host: host.clone(),
        cooldown: topology.watch.failover_cooldown,
        topology,
        terms,
        policy: Policy {
            observe: settings.observe && settings.mutation != Some(Mutation::ActWhileObserving),
            ..Policy::default()
        },
        period: PERIOD,
        glance: GLANCE,
        who,
    };
    let notices = Told {
        sim: sim.clone(),
        host: host.clone(),
    };
    let watcher = Watcher::new(settings, world, Arc::new(notices));
    core.tell(|| format!("the watcher of {host} begins"));
    core.attendants.push(process.clone());
    core.spawn(&process, watcher.watch());
}

/// Its process dies; its host starts it again.
pub(super) fn crash(core: &mut Core, host: &HostName) {
    let mut processes = core.attendants.iter();
    let own = processes.find(|process| &process.host == host).cloned();
    if let Some(process) = own {
        kill(core, &process);
    }
}

fn kill(core: &mut Core, process: &Process) {
    core.kill(process);
    core.attendants.retain(|other| other != process);
    let host = process.host.clone();
    core.tell(|| format!("the watcher of {host} is killed"));
    let boots = core.state.machines[&host].boots;
    core.later(RESTART, move |core| {
        let machine = &core.state.machines[&host];
        let lives = core.attendants.iter().any(|process| process.host == host);
        if machine.on && machine.boots == boots && !lives {
            let sim = core.handle();
            start(core, &sim, &host);
        }
    });
}

/// Stops its process by a signal, or lets it go on.
pub(super) fn stop(core: &mut Core, host: &HostName, on: bool) {
    let processes = core.attendants.iter();
    let own = processes.filter(|process| &process.host == host).cloned();
    for process in own.collect::<Vec<_>>() {
        let machine = core.state.machines.get_mut(host).expect("a known host");
        if on {
            machine.stopped.insert(process.number);
        } else {
            machine.stopped.remove(&process.number);
            core.thaw_tasks();
        }
    }
}

/// Tells the story, where somebody reads it.
struct Told {
    sim: Sim,
    host: HostName,
}

impl Notices for Told {
    fn tell(&self, notice: &Notice) {
        let host = &self.host;
        let mut core = self.sim.lock();
        core.tell(|| format!("watcher of {host}: {}", words(notice)));
    }
}

fn words(notice: &Notice) -> String {
    match notice {
        Notice::Decided { findings, reaction } => {
            let name = |finding: &Finding| format!("{:?}", finding.diagnosis);
            let findings: Vec<_> = findings.iter().map(name).collect();
            format!("{}: {}", findings.join(", "), reacts(reaction))
        }
        Notice::Begins(act) => format!("begins: {}", act.sentence()),
        Notice::Ended { act, outcome, .. } => format!("{}: {}", act.sentence(), outcome.word()),
        Notice::Failed { act, why } => format!("{} failed: {why}", act.sentence()),
        Notice::Blind(why) => format!("sees nothing: {why}"),
    }
}

fn reacts(reaction: &crate::decide::Reaction) -> String {
    use crate::decide::Reaction;
    match reaction {
        Reaction::Rest => "rests".to_owned(),
        Reaction::Wait { why } => format!("waits: {why}"),
        Reaction::Act(act) => act.sentence(),
        Reaction::Withheld { act, why } => format!("withholds {}: {why}", act.sentence()),
        Reaction::Blocked(refusal) => format!("is blocked: {}", refusal.message),
    }
}

/// The lines of journals among changes.
fn lines(then: &[Change]) -> impl Iterator<Item = (&str, &str)> {
    let runs = format!("{}runs/", prefix(NAME));
    then.iter().filter_map(move |change| match change {
        Change::Put { key, text, .. } => {
            let run = key.strip_prefix(&runs)?.split('/').next()?;
            Some((run, text.as_str()))
        }
        Change::Delete { .. } => None,
    })
}

impl Core {
    /// Who holds the run lock, truly.
    pub(super) fn holder_of_lock(&self) -> Option<Holder> {
        let quorum = self.state.quorum.as_ref()?;
        serde_json::from_str(quorum.text(&key("lock"))?).ok()
    }

    /// False: the writer died before.
    pub(super) fn lives_to_write(&mut self, watcher: Option<&Process>, then: &[Change]) -> bool {
        let Some(watcher) = watcher else { return true };
        let count = lines(then).count();
        let Some(ambush) = self.ambush.as_mut().filter(|_| count > 0) else {
            return true;
        };
        ambush.records = ambush.records.saturating_sub(count);
        let dies = ambush.records == 0 && ambush.what == Mischief::Dies { durable: false };
        if dies {
            self.ambush = None;
            kill(self, watcher);
        }
        !dies
    }

    /// The checker hears of every record, and ambushes lie behind some.
    pub(super) fn has_written(&mut self, watcher: Option<&Process>, then: &[Change]) {
        for (run, line) in lines(then) {
            self.note_line(run, line);
        }
        let sprung = self
            .ambush
            .as_ref()
            .is_some_and(|ambush| ambush.records == 0);
        let (Some(watcher), true) = (watcher, sprung && lines(then).next().is_some()) else {
            return;
        };
        match self.ambush.take().map(|ambush| ambush.what) {
            Some(Mischief::Sleeps(time)) => {
                let process = watcher.clone();
                self.tell(|| format!("the watcher of {} sleeps for {time:?}", process.host));
                let machine = self.state.machines.get_mut(&process.host);
                machine
                    .expect("a known host")
                    .stopped
                    .insert(process.number);
                self.later(time, move |core| {
                    let machine = core.state.machines.get_mut(&process.host);
                    machine
                        .expect("a known host")
                        .stopped
                        .remove(&process.number);
                    core.thaw_tasks();
                });
            }
            Some(Mischief::Dies { .. }) => kill(self, watcher),
            None => {}
        }
    }

    fn note_line(&mut self, run: &str, line: &str) {
        if check::is_heeded(line) || self.is_told() {
            let entry: Entry = serde_json::from_str(line).expect("our own line");
            self.note_entry(&RunId(run.to_owned()), &entry);
        }
    }

    /// The lines of all journals in the store.
    pub(super) fn shared_journals(&self) -> BTreeMap<RunId, Vec<String>> {
        let runs = format!("{}runs/", prefix(NAME));
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, text) in self.known().below(&runs) {
            let run = key.split('/').next().unwrap_or(key);
            let lines = all.entry(RunId(run.to_owned())).or_default();
            lines.push(text.to_owned());
        }
        all
    }

    /// The newest run, where its last record does not end it. An older one is
    /// over, however it ended: a newer epoch has been given out since.
    pub(super) fn open_run(&self) -> Option<RunId> {
        let runs = format!("{}runs/", prefix(NAME));
        // Keys sort by run, then by line.
        let (key, line) = self.known().below(&runs).last()?;
        let last = serde_json::from_str(line).map(|entry: Entry| entry.event);
        match last {
            Ok(Event::Stopped { outcome, .. }) if outcome.is_final() => None,
            _ => Some(RunId(key.split('/').next()?.to_owned())),
        }
    }
}

/// What a watcher with a defect reads.
pub(super) fn misread(defect: Option<Mutation>, process: &Process, reading: &mut Reading) {
    match defect {
        Some(Mutation::ActWhilePaused) => drop(reading.values.remove(&key("pause"))),
        Some(Mutation::IgnoreCooldown) => drop(reading.values.remove(&key("cooldown"))),
        Some(Mutation::ResumeWithoutLock) => drop(reading.values.remove(&key("lock"))),
        Some(Mutation::OneVoice) => {
            let said = key("said/");
            let own = reading.values.get(&format!("{said}{}", process.host));
            let own = own.map(|value| value.text.clone());
            let all = reading.values.iter_mut();
            for (_, value) in all.filter(|(key, _)| key.starts_with(&said)) {
                value.text = own.clone().unwrap_or_else(|| value.text.clone());
            }
        }
        Some(Mutation::IgnoreJournal) => {
            let (runs, own) = (format!("{}runs/", prefix(NAME)), process.host.as_str());
            let values = &mut reading.values;
            values.retain(|key, _| !key.starts_with(&runs) || key.contains(own));
        }
        Some(Mutation::ForgetCooldown) => {
            let cooling = reading.values.get(&key("cooldown"));
            if cooling.is_some_and(|value| !value.text.contains(process.host.as_str())) {
                reading.values.remove(&key("cooldown"));
            }
        }
        Some(Mutation::ActWithoutLeading) => {
            let said = key(&format!("said/{}", process.host));
            let lease = reading.values.get(&said).and_then(|value| value.lease);
            let Some(value) = reading.values.get_mut(&key("leader")) else {
                return;
            };
            let leader = Leader {
                host: process.host.clone(),
                since: String::new(),
            };
            value.text = serde_json::to_string(&leader).expect("plain data with string keys");
            value.lease = lease;
        }
        _ => {}
    }
}

/// What a watcher with a defect does not make its writes depend on.
pub(super) fn disregard(defect: Option<Mutation>, when: &mut Vec<Condition>) {
    if defect != Some(Mutation::ResumeWithoutLock) {
        return;
    }
    let lock = key("lock");
    when.retain(|condition| match condition {
        Condition::Absent { key }
        | Condition::CreatedAt { key, .. }
        | Condition::ModifiedAt { key, .. } => key != &lock,
    });
}
