//! Random schedules: faults, commands, crashes of the runner, two operators;
//! then the faults end and everything must become healthy again.

use std::{fmt, time::Duration};

use crate::{
    decide::{Allowance, Intent},
    ids::{HostName, SiteName},
    order::PostgresState,
    topology::{Replication, Role},
};

use super::{
    Answer, Core, CrashPoint, Operator, Rng, Settings, Sim, Violation, fault::Fault,
    mutation::Mutation, recover,
};

/// Faults begin and end within this time.
const TROUBLE: Duration = Duration::from_secs(45);

/// Clients are busy so long before a fault, which then hits what is under way.
const BEFORE: Duration = Duration::from_millis(100);

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
    pub seed: u64,
    pub violations: Vec<Violation>,
    pub story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "  {violation}")?;
        }
        write!(f, "{}", self.story)
    }
}

/// Runs the schedule of a seed.
///
/// # Errors
/// The invariants that it broke, with its story.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Result<Done, Box<Failure>> {
    // Stories cost more than what they tell of: only a failure's is made.
    told(seed, mutation, false).or_else(|_| told(seed, mutation, true))
}

fn told(seed: u64, mutation: Option<Mutation>, story: bool) -> Result<Done, Box<Failure>> {
    let mut schedule = Schedule::new(seed, mutation, story);
    schedule.trouble();
    schedule.recover();
    schedule.judge()
}

struct Schedule {
    seed: u64,
    rng: Rng,
    sim: Sim,
    ann: Operator,
    /// Works with the same journal, or apart with one of his own.
    ben: Operator,
    apart: bool,
}

impl Schedule {
    fn new(seed: u64, mutation: Option<Mutation>, story: bool) -> Self {
        let mut rng = Rng::new(seed);
        let replication = if rng.permille(700) {
            Replication::Synchronous
        } else {
            Replication::Asynchronous
        };
        let mut settings = Settings::new(replication);
        settings.mutation = mutation;
        settings.story = story;
        settings.replication_delay = Duration::from_millis(rng.between(1, 40));
        let sim = Sim::new(settings, rng.any());
        let ann = Operator::new(&sim, "ann");
        // Only two journals can choose the same epoch, or need traces.
        let needed = [Mutation::AcceptOldEpoch, Mutation::LeaveNoTrace];
        let apart = rng.permille(400) || mutation.is_some_and(|it| needed.contains(&it));
        let ben = if apart {
            Operator::new(&sim, "ben")
        } else {
            ann.beside("ben")
        };
        Self {
            seed,
            rng,
            sim,
            ann,
            ben,
            apart,
        }
    }

    fn trouble(&mut self) {
        for _ in 0..self.rng.between(0, 4) {
            let fault = self.fault();
            let start = Duration::from_millis(self.rng.between(0, 30_000));
            let end = start + Duration::from_millis(self.rng.between(500, 15_000));
            let mut core = self.sim.lock();
            let (begin, stop) = (fault.clone(), fault);
            // Clients are busy when it begins, as they are in the real world.
            core.look_later(start.saturating_sub(BEFORE), Core::stir);
            core.later(start, move |core| begin.set(core, true));
            core.later(end, move |core| stop.set(core, false));
        }
        while self.sim.lock().now() < TROUBLE {
            self.sim
                .pass(Duration::from_millis(self.rng.between(10, 8_000)));
            self.command();
        }
        self.ann.interrupt.clear();
        self.sim.pass(Duration::from_secs(2));
    }

    fn fault(&mut self) -> Fault {
        let (hosts, sites, databases) = self.names();
        let rng = &mut self.rng;
        let host = rng.pick(&hosts).clone();
        let database = rng.pick(&databases).clone();
        match rng.between(0, 12) {
            0 | 1 => Fault::SiteDown(rng.pick(&sites).clone()),
            2 => Fault::HostDown(host),
            3 => Fault::HostDown(database),
            4 => Fault::PostgresBroken(database),
            5 => Fault::Unheard(host),
            6 => Fault::Unanswering(database),
            7 => Fault::Slow(host, Duration::from_millis(rng.between(20, 3_000))),
            8 => Fault::LinkCut,
            9 => Fault::SiteIsolated(rng.pick(&sites).clone()),
            10 => Fault::CloudDenied,
            11 => {
                if rng.permille(500) {
                    Fault::ZoneDark
                } else {
                    Fault::RewindFails(database)
                }
            }
            _ => Fault::Unreliable(rng.between(5, 120)),
        }
    }

    fn names(&self) -> (Vec<HostName>, Vec<SiteName>, Vec<HostName>) {
        let core = self.sim.lock();
        let topology = core.state.topology();
        (
            topology.hosts().map(|host| host.name.clone()).collect(),
            topology.sites.keys().cloned().collect(),
            topology
                .hosts_with(Role::Db)
                .map(|host| host.name.clone())
                .collect(),
        )
    }

    /// One command of one operator, or two at once.
    fn command(&mut self) {
        let intent = self.intent();
        let (_, _, databases) = self.names();
        match self.rng.between(0, 99) {
            0..=54 => self.alone(Command::Failover(intent)),
            55..=74 => {
                let host = self.rng.pick(&databases).to_string();
                self.alone(Command::Rejoin(host));
            }
            75..=89 => {
                let abandon = self.rng.permille(150);
                self.alone(Command::Resume(abandon));
            }
            _ => self.together(&intent),
        }
    }

    fn intent(&mut self) -> Intent {
        let regions = ["eu-west-1", "us-east-1"];
        let allow_data_loss = match self.rng.between(0, 9) {
            0 => Some(Allowance::Any),
            1 => Some(Allowance::Bytes(self.rng.between(0, 20_000))),
            _ => None,
        };
        Intent {
            region: (*self.rng.pick(&regions)).to_owned(),
            database_only: self.rng.permille(150),
            allow_data_loss,
            fenced_by_operator: self.vouch(),
        }
    }

    /// Operators vouch only for machines that are truly off, and that stay so,
    /// and where the cloud denies them the trace, only those who share a
    /// journal do.
    fn vouch(&mut self) -> Option<String> {
        let core = self.sim.lock();
        let primary = core
            .state
            .databases
            .values()
            .find(|database| database.state == PostgresState::Primary);
        let off = primary.is_none();
        drop(core);
        (off && !self.apart && self.rng.permille(100)).then(|| "I saw the rack dark".to_owned())
    }

    fn alone(&mut self, command: Command) {
        let bens = self.apart && self.rng.permille(400);
        if self.rng.permille(300) {
            let record = usize::try_from(self.rng.between(1, 45)).expect("small");
            let durable = self.rng.permille(500);
            let point = CrashPoint { record, durable };
            self.one(bens).store.crash_at(point);
        } else if self.rng.permille(100) {
            let interrupt = self.one(bens).interrupt.clone();
            let wait = Duration::from_millis(self.rng.between(1, 3_000));
            self.sim.lock().later(wait, move |core| {
                core.tell(|| "Ctrl-C".to_owned());
                interrupt.set();
            });
        }
        let operator = self.one(bens);
        if self.sim.run(command.give(operator)).is_none() {
            let name = if bens { "ben" } else { "ann" };
            self.sim.lock().tell(|| format!("{name}'s process is gone"));
        }
        operator.store.process_died();
        operator.interrupt.clear();
    }

    fn one(&self, ben: bool) -> &Operator {
        if ben { &self.ben } else { &self.ann }
    }

    /// Ann's process sleeps somewhere in the middle; Ben meanwhile does his.
    fn together(&mut self, intent: &Intent) {
        let record = usize::try_from(self.rng.between(1, 40)).expect("small");
        let nap = Duration::from_millis(self.rng.between(100, 25_000));
        self.ann.store.pause_at(record, nap);
        let wait = Duration::from_millis(self.rng.between(0, 3_000));
        let theirs = self.intent();
        let resume = self.rng.permille(300);
        let (ann, ben, sim) = (&self.ann, &self.ben, &self.sim);
        let other = async {
            sim.sleep(wait).await;
            if resume {
                ben.resume(false).await
            } else {
                ben.failover(&theirs).await
            }
        };
        sim.run(async { futures::join!(ann.failover(intent), other) });
        self.ann.store.process_died();
    }

    fn recover(&self) {
        self.sim.lock().tell(|| "the faults have ended".to_owned());
        self.sim.pass(Duration::from_secs(5));
        if let Err(what) = recover::recover(&self.sim, &[&self.ben, &self.ann]) {
            self.sim.lock().state.ledger.violated("converges", what);
        }
    }

    fn judge(self) -> Result<Done, Box<Failure>> {
        let mut core = self.sim.lock();
        let lost = core.state.lost_votes();
        if lost > 0 {
            let what = format!("{lost} votes that a copy had confirmed");
            core.state.ledger.violated("no_accepted_vote_lost", what);
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
            seed: self.seed,
            violations: ledger.violations.clone(),
            story: core.story(),
        }))
    }
}

enum Command {
    Failover(Intent),
    Rejoin(String),
    Resume(bool),
}

impl Command {
    async fn give(self, operator: &Operator) -> Answer {
        match self {
            Self::Failover(intent) => operator.failover(&intent).await,
            Self::Rejoin(host) => operator.rejoin(&host).await,
            Self::Resume(abandon) => operator.resume(abandon).await,
        }
    }
}
