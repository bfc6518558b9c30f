//! Plays random schedules: faults, commands, crashes of the runner, two
//! operators; then the faults end and everything must become healthy again.

use std::{collections::BTreeSet, fmt, time::Duration};

use crate::order::PostgresState;

use super::{
    Answer, Core, Operator, Sim, Violation,
    mutation::Mutation,
    recover,
    script::{Act, Command, Mishap, Mode, Script, Wish},
};

/// Commands begin within this time, and faults end.
const TROUBLE: Duration = Duration::from_secs(45);
/// When the world begins.
const BEGIN: Duration = Duration::from_secs(1);
/// Clients are busy so long before a fault, which then hits what is under way.
const BEFORE: Duration = Duration::from_millis(100);
/// Without faults, everything automatic is well again within this time.
const CONVERGES: Duration = Duration::from_secs(90);

/// What a schedule did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub runs: usize,
    pub promotions: usize,
    pub acknowledged: usize,
}

impl Done {
    /// Counts another one as well.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.promotions += other.promotions;
        self.acknowledged += other.acknowledged;
    }
}

/// A schedule that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    pub mode: Mode,
    pub seed: u64,
    /// The parts that it takes.
    pub parts: Vec<String>,
    pub violations: Vec<Violation>,
    pub story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.mode.word();
        writeln!(f, "seed {} of {mode} mode breaks", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        write!(f, "{}", self.story)?;
        let (seed, keep) = (self.seed, self.parts.join(","));
        writeln!(
            f,
            "again: scripts/simulate --{mode} --seed {seed} --keep '{keep}'"
        )
    }
}

/// Runs the schedule of a seed.
///
/// # Errors
/// The invariants that it broke, with the story of as little of it as breaks
/// them.
pub fn run(mode: Mode, seed: u64, mutation: Option<Mutation>) -> Result<Done, Box<Failure>> {
    let script = Script::new(mode, seed, mutation);
    // Stories cost more than what they tell of: only a failure's is made.
    play(&script).map_err(|failure| shrunk(&script, failure))
}

/// As [`run`], without looking for less.
///
/// # Errors
/// The invariants that it broke.
pub fn try_once(mode: Mode, seed: u64, mutation: Option<Mutation>) -> Result<Done, Box<Failure>> {
    play(&Script::new(mode, seed, mutation))
}

/// Runs some parts of a schedule.
///
/// # Errors
/// The invariants that they broke, with the story.
pub fn run_parts(mode: Mode, seed: u64, parts: &BTreeSet<String>) -> Result<Done, Box<Failure>> {
    let mut script = Script::new(mode, seed, None).keeping(parts);
    script.settings.story = true;
    play(&script)
}

/// Leaves out one part after the other while the same invariant breaks.
fn shrunk(script: &Script, failure: Box<Failure>) -> Box<Failure> {
    let invariant = failure.violations[0].invariant;
    let breaks = |script: &Script| {
        let failure = play(script).err()?;
        let same = |violation: &Violation| violation.invariant == invariant;
        failure.violations.iter().any(same).then_some(failure)
    };
    let mut parts: BTreeSet<_> = script.parts().into_iter().collect();
    loop {
        let before = parts.len();
        for part in parts.clone() {
            let mut fewer = parts.clone();
            fewer.remove(&part);
            if breaks(&script.keeping(&fewer)).is_some() {
                parts = fewer;
            }
        }
        if parts.len() == before {
            break;
        }
    }
    let mut least = script.keeping(&parts);
    least.settings.story = true;
    breaks(&least).unwrap_or(failure)
}

/// Plays a script.
fn play(script: &Script) -> Result<Done, Box<Failure>> {
    let stage = Stage::new(script);
    stage.trouble();
    stage.recover();
    stage.judge()
}

struct Stage<'a> {
    script: &'a Script,
    sim: Sim,
    ann: Operator,
    ben: Operator,
}

impl<'a> Stage<'a> {
    fn new(script: &'a Script) -> Self {
        let sim = Sim::new(script.settings.clone(), script.chances);
        let ann = Operator::new(&sim, "ann");
        let ben = if script.apart {
            Operator::new(&sim, "ben")
        } else {
            ann.beside("ben")
        };
        Self {
            script,
            sim,
            ann,
            ben,
        }
    }

    fn trouble(&self) {
        {
            let mut core = self.sim.lock();
            for (host, ppm) in &self.script.drifts {
                core.drift(host, *ppm);
            }
            for (_, trouble) in &self.script.troubles {
                let (begin, stop) = (trouble.fault.clone(), trouble.fault.clone());
                // Clients are busy when it begins, as in the real world.
                core.look_later(trouble.start.saturating_sub(BEFORE), Core::stir);
                core.later(trouble.start, move |core| begin.set(core, true));
                core.later(trouble.end, move |core| stop.set(core, false));
            }
        }
        for (_, step) in &self.script.steps {
            if self.sim.lock().now() >= TROUBLE {
                break;
            }
            self.sim.pass(step.wait);
            self.act(&step.act);
        }
        let troubles = self.script.troubles.iter();
        let last = troubles.map(|(_, trouble)| BEGIN + trouble.end).max();
        let left = last.unwrap_or_default().min(TROUBLE);
        let left = left.saturating_sub(self.sim.lock().now());
        self.sim.pass(left + Duration::from_secs(2));
        self.ann.interrupt.clear();
    }

    fn act(&self, act: &Act) {
        match act {
            Act::Alone {
                ben,
                mishap,
                command,
            } => self.alone(*ben && self.script.apart, mishap, command),
            Act::Together {
                record,
                nap,
                wait,
                ann,
                ben,
            } => {
                self.ann.store.pause_at(*record, *nap);
                let intent = self.intent(ann);
                let ann = self.ann.failover(&intent);
                let ben = async {
                    self.sim.sleep(*wait).await;
                    match ben {
                        Some(wish) => self.ben.failover(&self.intent(wish)).await,
                        None => self.ben.resume(false).await,
                    }
                };
                self.sim.run(async { futures::join!(ann, ben) });
                self.ann.store.process_died();
            }
        }
    }

    fn alone(&self, bens: bool, mishap: &Mishap, command: &Command) {
        let operator = if bens { &self.ben } else { &self.ann };
        match mishap {
            Mishap::None => {}
            Mishap::Dies(point) => operator.store.crash_at(*point),
            Mishap::Interrupted(wait) => {
                let interrupt = operator.interrupt.clone();
                self.sim.lock().later(*wait, move |core| {
                    core.tell(|| "Ctrl-C".to_owned());
                    interrupt.set();
                });
            }
        }
        if self.sim.run(self.give(operator, command)).is_none() {
            let name = if bens { "ben" } else { "ann" };
            self.sim.lock().tell(|| format!("{name}'s process is gone"));
        }
        operator.store.process_died();
        operator.interrupt.clear();
    }

    async fn give(&self, operator: &Operator, command: &Command) -> Answer {
        match command {
            Command::Failover(wish) => operator.failover(&self.intent(wish)).await,
            Command::Rejoin(host) => operator.rejoin(host.as_str()).await,
            Command::Resume { abandon } => operator.resume(*abandon).await,
            Command::Pause(time) => {
                operator.pause(*time).await;
                Answer::NotStarted("paused".to_owned())
            }
            Command::Acknowledge => {
                operator.acknowledge().await;
                Answer::NotStarted("acknowledged".to_owned())
            }
        }
    }

    /// Operators vouch only for machines that are truly off, and that stay so,
    /// and where the cloud denies them the trace, only those who share a
    /// journal do.
    fn intent(&self, wish: &Wish) -> crate::decide::Intent {
        let mut intent = wish.intent.clone();
        let core = self.sim.lock();
        let mut databases = core.state.databases.values();
        let off = databases.all(|database| {
            database.state == PostgresState::Standby || !core.state.is_on(&database.host)
        });
        if wish.vouches && off && !self.script.apart {
            intent.fenced_by_operator = Some("I saw the rack dark".to_owned());
        }
        intent
    }

    fn recover(&self) {
        self.sim.lock().tell(|| "the faults have ended".to_owned());
        self.sim.pass(Duration::from_secs(5));
        let operators = [&self.ben, &self.ann];
        let recovered = match self.script.mode {
            Mode::Manual | Mode::Observed => recover::recover(&self.sim, &operators),
            Mode::Automatic => recover::by_itself(&self.sim, &operators, CONVERGES),
            Mode::Watched => recover::by_watchers(&self.sim, &self.ann, CONVERGES),
        };
        if let Err(what) = recovered {
            let mut core = self.sim.lock();
            core.tell(|| format!("VIOLATION {what}"));
            core.state.ledger.violated("converges", what);
        }
    }

    fn judge(&self) -> Result<Done, Box<Failure>> {
        let mut core = self.sim.lock();
        // The queue follows by orders, which nobody gives in automatic mode.
        let lost = core.state.lost_votes();
        if lost > 0 && self.script.mode != Mode::Automatic {
            let what = format!("{lost} votes that a copy had confirmed");
            core.state.ledger.violated("no_accepted_vote_lost", what);
        }
        let mut journals = self.ann.store.local_journals();
        journals.append(&mut self.ben.store.local_journals());
        if self.script.mode.has_watchers() {
            journals.append(&mut core.shared_journals());
        }
        let ledger = &mut core.state.ledger;
        ledger.orders_are_of_plans();
        for (run, lines) in &journals {
            ledger.has_run(run, lines);
        }
        let ledger = &core.state.ledger;
        if ledger.violations.is_empty() {
            return Ok(Done {
                runs: ledger.runs.len(),
                promotions: ledger.promotions.len(),
                acknowledged: ledger.acknowledged.len(),
            });
        }
        Err(Box::new(Failure {
            mode: self.script.mode,
            seed: self.script.seed,
            parts: self.script.parts(),
            violations: ledger.violations.clone(),
            story: core.story(),
        }))
    }
}
