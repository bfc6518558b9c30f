//! What a random schedule consists of, drawn from its seed before anything
//! runs, so that parts of it can be left out.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    decide::{Allowance, Intent},
    ids::{HostName, SiteName},
    right::Terms,
    topology::{Replication, Role, Topology},
};

use super::{CrashPoint, Rng, Settings, fault::Fault, mutation::Mutation};

mod faults;

/// Which world a schedule is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Operators act.
    Manual,
    /// Leases in a shared store; operators may act as well.
    Automatic,
    /// The same with the real watchers.
    Watched,
    /// With watchers that only look: operators act.
    Observed,
}

impl Mode {
    /// The name as in `scripts/simulate --NAME`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "automatic",
            Self::Watched => "watched",
            Self::Observed => "observed",
        }
    }

    fn is_automatic(self) -> bool {
        self != Self::Manual
    }

    /// With the real watchers.
    #[must_use]
    pub fn has_watchers(self) -> bool {
        matches!(self, Self::Watched | Self::Observed)
    }
}

/// A schedule, to be played.
#[derive(Clone, Debug)]
pub struct Script {
    pub mode: Mode,
    pub seed: u64,
    pub settings: Settings,
    /// Of the world's own chances.
    pub chances: u64,
    /// The operators have a journal each.
    pub apart: bool,
    /// By host, how many millionths its clock runs fast.
    pub drifts: Vec<(HostName, i64)>,
    /// Numbered as `f0`, `f1`, …
    pub troubles: Vec<(usize, Trouble)>,
    /// Numbered as `s0`, `s1`, …
    pub steps: Vec<(usize, Step)>,
}

/// A fault and its time.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub fault: Fault,
    pub start: Duration,
    pub end: Duration,
}

/// What operators do after a while.
#[derive(Clone, Debug)]
pub struct Step {
    pub wait: Duration,
    pub act: Act,
}

/// One command of one operator, or two at once.
#[derive(Clone, Debug)]
pub enum Act {
    Alone {
        /// It is Ben's, where he has a journal of his own.
        ben: bool,
        mishap: Mishap,
        command: Command,
    },
    /// Ann's process sleeps somewhere in the middle; Ben meanwhile does his.
    Together {
        record: usize,
        nap: Duration,
        wait: Duration,
        ann: Wish,
        /// None: he resumes.
        ben: Option<Wish>,
    },
}

/// What happens to the process of a command.
#[derive(Clone, Debug)]
pub enum Mishap {
    None,
    Dies(CrashPoint),
    Interrupted(Duration),
}

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    Failover(Wish),
    Rejoin(HostName),
    Resume { abandon: bool },
    Pause(Duration),
    Acknowledge,
}

/// What an operator wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub intent: Intent,
    /// Vouches for a primary that is truly off.
    pub vouches: bool,
}

/// Faults begin within this time.
const BEGIN: u64 = 30_000;

impl Script {
    /// The schedule of a seed.
    #[must_use]
    pub fn new(mode: Mode, seed: u64, mutation: Option<Mutation>) -> Self {
        let mut draw = Draw {
            rng: Rng::new(seed),
            mode,
        };
        let settings = draw.settings(mutation);
        // Only two journals can choose the same epoch, or need traces.
        let needed = [Mutation::AcceptOldEpoch, Mutation::LeaveNoTrace];
        let apart = draw.rng.permille(400) || mutation.is_some_and(|it| needed.contains(&it));
        let names = Names::of(&settings.topology);
        Self {
            mode,
            seed,
            chances: draw.rng.any(),
            apart,
            drifts: draw.drifts(&names),
            troubles: draw.troubles(&names).into_iter().enumerate().collect(),
            steps: draw.steps(&names).into_iter().enumerate().collect(),
            settings,
        }
    }

    /// The parts by name.
    #[must_use]
    pub fn parts(&self) -> Vec<String> {
        let troubles = self.troubles.iter().map(|(number, _)| format!("f{number}"));
        let steps = self.steps.iter().map(|(number, _)| format!("s{number}"));
        troubles.chain(steps).collect()
    }

    /// The same without the other parts.
    #[must_use]
    pub fn keeping(&self, parts: &BTreeSet<String>) -> Self {
        let mut less = self.clone();
        less.troubles
            .retain(|(number, _)| parts.contains(&format!("f{number}")));
        less.steps
            .retain(|(number, _)| parts.contains(&format!("s{number}")));
        less
    }
}

/// Names to draw from.
struct Names {
    hosts: Vec<HostName>,
    sites: Vec<SiteName>,
    databases: Vec<HostName>,
    members: Vec<HostName>,
}

impl Names {
    fn of(topology: &Topology) -> Self {
        let with = |role| {
            let hosts = topology.hosts_with(role);
            hosts.map(|host| host.name.clone()).collect::<Vec<_>>()
        };
        let mut members = with(Role::Lb);
        members.extend(with(Role::Witness));
        Self {
            hosts: topology.hosts().map(|host| host.name.clone()).collect(),
            sites: topology.sites.keys().cloned().collect(),
            databases: with(Role::Db),
            members,
        }
    }
}

struct Draw {
    rng: Rng,
    mode: Mode,
}

impl Draw {
    fn settings(&mut self, mutation: Option<Mutation>) -> Settings {
        let replication = if self.rng.permille(700) {
            Replication::Synchronous
        } else {
            Replication::Asynchronous
        };
        let mut settings = match self.mode {
            Mode::Manual => Settings::new(replication),
            Mode::Automatic => Settings::automatic(replication),
            Mode::Watched | Mode::Observed => Settings::watched(replication),
        };
        settings.observe = self.mode == Mode::Observed;
        settings.mutation = mutation;
        settings.story = false;
        settings.replication_delay = self.millis(1, 40);
        if self.mode.is_automatic() {
            let seconds = self.rng.between(2, 4);
            let terms = Terms::of(Duration::from_secs(seconds));
            settings.automatic = Some(terms);
            std::sync::Arc::make_mut(&mut settings.topology).lease = terms;
            settings.block_on_standby_loss = self.rng.permille(200);
        }
        settings
    }

    /// Two clocks differ by less than the margin of the terms, 33 ‰.
    fn drifts(&mut self, names: &Names) -> Vec<(HostName, i64)> {
        let mut drift = || match self.mode {
            Mode::Manual => 0,
            Mode::Automatic | Mode::Watched | Mode::Observed => {
                i64::try_from(self.rng.between(0, 30_000)).expect("small") - 15_000
            }
        };
        let hosts = names.hosts.iter();
        hosts.map(|host| (host.clone(), drift())).collect()
    }

    fn troubles(&mut self, names: &Names) -> Vec<Trouble> {
        let most = match self.mode {
            Mode::Manual => 4,
            Mode::Automatic | Mode::Watched | Mode::Observed => 6,
        };
        let trouble = |draw: &mut Self| {
            let fault = draw.fault(names);
            let start = draw.millis(0, BEGIN);
            let end = start + draw.millis(500, 15_000);
            Trouble { fault, start, end }
        };
        let count = self.rng.between(0, most);
        (0..count).map(|_| trouble(self)).collect()
    }

    fn steps(&mut self, names: &Names) -> Vec<Step> {
        // Where it goes by itself nobody need act.
        let by_itself = matches!(self.mode, Mode::Automatic | Mode::Watched);
        if by_itself && self.rng.permille(600) {
            return Vec::new();
        }
        let step = |draw: &mut Self| Step {
            wait: draw.millis(10, 8_000),
            act: draw.act(names),
        };
        (0..12).map(|_| step(self)).collect()
    }

    fn act(&mut self, names: &Names) -> Act {
        if self.mode.has_watchers() && self.rng.permille(300) {
            return self.care();
        }
        let command = match self.rng.between(0, 99) {
            0..=54 => Command::Failover(self.wish()),
            55..=74 => Command::Rejoin(self.rng.pick(&names.databases).clone()),
            75..=89 => Command::Resume {
                abandon: self.rng.permille(150),
            },
            _ => return self.together(),
        };
        let ben = self.rng.permille(400);
        let mishap = if self.rng.permille(300) {
            Mishap::Dies(CrashPoint {
                record: self.number(1, 45),
                durable: self.rng.permille(500),
            })
        } else if self.rng.permille(100) {
            Mishap::Interrupted(self.millis(1, 3_000))
        } else {
            Mishap::None
        };
        Act::Alone {
            ben,
            mishap,
            command,
        }
    }

    /// What only operators of automatic mode do.
    fn care(&mut self) -> Act {
        let command = match self.rng.between(0, 2) {
            0 => Command::Pause(self.millis(1_000, 15_000)),
            _ => Command::Acknowledge,
        };
        Act::Alone {
            ben: self.rng.permille(400),
            mishap: Mishap::None,
            command,
        }
    }

    fn together(&mut self) -> Act {
        Act::Together {
            record: self.number(1, 40),
            nap: self.millis(100, 25_000),
            wait: self.millis(0, 3_000),
            ann: self.wish(),
            ben: (!self.rng.permille(300)).then(|| self.wish()),
        }
    }

    fn wish(&mut self) -> Wish {
        let regions = ["eu-west-1", "us-east-1"];
        let allow_data_loss = match self.rng.between(0, 9) {
            0 => Some(Allowance::Any),
            1 => Some(Allowance::Bytes(self.rng.between(0, 20_000))),
            _ => None,
        };
        let intent = Intent {
            region: (*self.rng.pick(&regions)).to_owned(),
            database_only: self.rng.permille(150),
            allow_data_loss,
            fenced_by_operator: None,
        };
        let vouches = self.rng.permille(100) && self.mode == Mode::Manual;
        Wish { intent, vouches }
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.rng.between(low, high))
    }

    fn number(&mut self, low: u64, high: u64) -> usize {
        usize::try_from(self.rng.between(low, high)).expect("small")
    }
}
