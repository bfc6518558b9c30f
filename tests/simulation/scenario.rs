//! The commands that are failed, crashed and repeated at every step.

use std::time::Duration;

use hafail::{
    decide::Allowance,
    ids::{HostName, SiteName},
    journal::{Entry, Event, Outcome},
    observation::ServerAdmin,
    order::{Order, PostgresState},
    plan::Plan,
    sim::{
        Answer, Operator, Settings, Sim, Violation,
        fault::Fault,
        mutation::Mutation,
        recover::{plain, recover},
    },
    step::{Backend, FenceWay, Step},
    topology::Replication,
};

/// A command in its situation.
#[derive(Clone, Copy, Debug)]
pub enum Scenario {
    Switchover(Replication),
    /// The whole site of the primary has lost power.
    SiteLost(Replication),
    /// PostgreSQL of the primary is dead, its guard and site are well.
    PostgresDead(Replication),
    /// The site is back after a failover.
    Rejoin(Replication),
}

use Replication::{Asynchronous, Synchronous};

pub const ALL: [Scenario; 8] = [
    Scenario::Switchover(Synchronous),
    Scenario::Switchover(Asynchronous),
    Scenario::SiteLost(Synchronous),
    Scenario::SiteLost(Asynchronous),
    Scenario::PostgresDead(Synchronous),
    Scenario::PostgresDead(Asynchronous),
    Scenario::Rejoin(Synchronous),
    Scenario::Rejoin(Asynchronous),
];

impl Scenario {
    fn replication(self) -> Replication {
        match self {
            Self::Switchover(how)
            | Self::SiteLost(how)
            | Self::PostgresDead(how)
            | Self::Rejoin(how) => how,
        }
    }

    pub fn prepare(self) -> (Sim, Operator) {
        self.prepare_with(None)
    }

    fn prepare_with(self, mutation: Option<Mutation>) -> (Sim, Operator) {
        let mut settings = Settings::new(self.replication());
        settings.mutation = mutation;
        let sim = Sim::new(settings, 42);
        let operator = Operator::new(&sim, "ann");
        sim.pass(seconds(1));
        let set = |fault: Fault, on| fault.set(&mut sim.lock(), on);
        match self {
            Self::Switchover(_) => {}
            Self::SiteLost(_) => set(Fault::SiteDown(site("site1")), true),
            Self::PostgresDead(_) => set(Fault::PostgresBroken(host("site1-db")), true),
            Self::Rejoin(_) => {
                set(Fault::SiteDown(site("site1")), true);
                let answer = sim.run(operator.failover(&plain("us-east-1", Some(Allowance::Any))));
                assert_eq!(answer.unwrap().outcome(), Some(Outcome::Succeeded));
                set(Fault::SiteDown(site("site1")), false);
                sim.pass(seconds(1));
            }
        }
        (sim, operator)
    }

    pub async fn command(self, operator: &Operator) -> Answer {
        match self {
            Self::Switchover(_) => operator.failover(&plain("us-east-1", None)).await,
            Self::SiteLost(_) | Self::PostgresDead(_) => {
                operator
                    .failover(&plain("us-east-1", Some(Allowance::Any)))
                    .await
            }
            Self::Rejoin(_) => operator.rejoin("site1-db").await,
        }
    }

    /// The journal and the end of the run that nothing disturbs.
    pub fn unbroken(self) -> (Vec<Entry>, String) {
        let (sim, operator) = self.prepare();
        let answer = sim.run(self.command(&operator)).unwrap();
        let Answer::Ran(Outcome::Succeeded, entries) = answer else {
            panic!("{self:?}: {answer:?}\n{}", sim.lock().story());
        };
        sim.pass(seconds(2));
        assert_eq!(sim.lock().state.ledger.violations, []);
        (entries, signature(&sim))
    }

    /// After a crash: resume, or the same command where nothing had begun.
    pub fn go_on(self, sim: &Sim, operator: &Operator) {
        for _ in 0..4 {
            let answer = sim.run(operator.resume(false)).unwrap();
            match answer.outcome() {
                Some(outcome) if outcome.is_final() => return,
                Some(_) => {}
                None if sim.run(operator.look()).unwrap().past.unfinished.is_none() => break,
                None => {}
            }
        }
        let answer = sim.run(self.command(operator)).unwrap();
        assert!(
            matches!(answer.outcome(), None | Some(Outcome::Succeeded)),
            "{answer:?}"
        );
    }

    pub fn assert_end(self, sim: &Sim, end: &str, what: &str) {
        sim.pass(seconds(2));
        let now = signature(sim);
        let core = sim.lock();
        assert_eq!(now, end, "{what}\n{}", core.story());
        assert_eq!(core.state.ledger.violations, [], "{what}\n{}", core.story());
    }

    pub fn promotion_starts(self, entries: &[Entry]) -> Option<usize> {
        let Event::RunStarted(started) = &entries[0].event else {
            panic!("a run begins with its start");
        };
        let commit = started.plan.commit()?.number;
        entries
            .iter()
            .position(|entry| matches!(entry.event, Event::StepStarted { step } if step == commit))
    }

    /// Whether all is well with a defect.
    pub fn with(self, mutation: Mutation) -> Result<(), Vec<Violation>> {
        let (sim, operator) = self.prepare_with(Some(mutation));
        let answer = sim.run(self.command(&operator)).unwrap();
        sim.pass(seconds(2));
        let mut violations = sim.lock().state.ledger.violations.clone();
        let well = match self {
            Self::Switchover(_) | Self::Rejoin(_) => sim.lock().is_healthy(),
            _ => Ok(()),
        };
        if answer.outcome() != Some(Outcome::Succeeded) || well.is_err() {
            let what = format!("{:?}, {well:?}", answer.outcome());
            violations.push(Violation {
                invariant: "converges",
                what,
            });
        }
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }
}

/// Roles, timelines, routes, queues and names: what an operator would compare.
pub fn signature(sim: &Sim) -> String {
    let core = sim.lock();
    let state = &core.state;
    let mut lines = Vec::new();
    for database in state.databases.values() {
        let sync: Vec<_> = database.synchronous.iter().map(HostName::as_str).collect();
        let sync = if database.state == PostgresState::Primary {
            sync.join(",")
        } else {
            String::new()
        };
        lines.push(format!(
            "{} {:?} timeline {} waits for [{sync}] on {}",
            database.host,
            database.state,
            database.timeline,
            state.is_on(&database.host)
        ));
    }
    for (lb, proxy) in &state.proxies {
        for backend in [Backend::Database, Backend::Queue] {
            let usable: Vec<_> = proxy.usable(backend).collect();
            lines.push(format!("{lb} {backend:?} {usable:?}"));
        }
    }
    for (queue, status) in &state.queues {
        lines.push(format!("{queue} copies {:?}", status.of));
    }
    for record in state.zone.records.values() {
        let to = state
            .topology()
            .sites
            .keys()
            .find(|site| state.addresses(site) == record.addresses);
        lines.push(format!(
            "names {}",
            to.map_or_else(|| "?".to_owned(), ToString::to_string)
        ));
    }
    lines.join("\n")
}

/// Faults that hit the step.
pub fn faults_of(step: &Step) -> Vec<Fault> {
    match step {
        Step::MoveRecords { .. } | Step::AwaitInSync => vec![Fault::ZoneDark],
        Step::AwaitAuthoritative { .. }
        | Step::AwaitChecks { .. }
        | Step::AwaitResolvers { .. }
        | Step::VerifyWrites { .. } => {
            vec![Fault::Unreliable(300)]
        }
        Step::HoldWrites { lb, .. } | Step::Route { lb, .. } | Step::Release { lb, .. } => on(lb),
        Step::ProveEquality { to, .. } => on(to),
        Step::AwaitStreaming { standby, .. } => on(standby),
        Step::Claim { host }
        | Step::Prepare { host }
        | Step::PauseQueue { host, .. }
        | Step::Demote { host }
        | Step::Fence { host, .. }
        | Step::Promote { host, .. }
        | Step::SetSynchronous { host, .. }
        | Step::PromoteQueue { host, .. }
        | Step::FollowQueue { host, .. }
        | Step::Follow { host, .. }
        | Step::Rejoin { host, .. }
        | Step::StopMachine { host }
        | Step::StartMachine { host }
        | Step::MakeMachine { host }
        | Step::Configure { host }
        | Step::AwaitHost { host, .. } => on(host),
    }
}

fn on(host: &HostName) -> Vec<Fault> {
    let host = || host.clone();
    vec![
        Fault::Unheard(host()),
        Fault::Unanswering(host()),
        Fault::HostDown(host()),
    ]
}

/// The order to a guard that a step stands for.
pub fn order_of(step: &Step) -> Option<(HostName, &'static str)> {
    let (host, word) = match step {
        Step::Claim { host } => (host, "claim"),
        Step::Prepare { host } => (host, "checkpoint"),
        Step::Demote { host } | Step::Fence { host, .. } => (host, "demote"),
        Step::Promote { host, .. } => (host, "promote"),
        Step::SetSynchronous { host, .. } => (host, "synchronous"),
        Step::Follow { host, .. } => (host, "follow"),
        Step::Rejoin { host, .. } => (host, "rewind"),
        _ => return None,
    };
    Some((host.clone(), word))
}

pub fn word(order: &Order) -> &'static str {
    match order {
        Order::Claim => "claim",
        Order::Checkpoint => "checkpoint",
        Order::Demote { .. } => "demote",
        Order::Promote { .. } => "promote",
        Order::Synchronous { .. } => "synchronous",
        Order::Follow { .. } => "follow",
        Order::Rewind { .. } => "rewind",
        _ => "another",
    }
}

/// These people get everything right again, and nothing was broken.
#[track_caller]
pub fn all_is_well(sim: &Sim, operators: &[&Operator], what: &str) {
    let recovered = recover(sim, operators);
    let core = sim.lock();
    assert_eq!(recovered, Ok(()), "{what}\n{}", core.story());
    assert_eq!(core.state.ledger.violations, [], "{what}\n{}", core.story());
}

/// A load balancer was told this of a database.
pub fn told(sim: &Sim, lb: &str, database: &str, admin: ServerAdmin) {
    let mut core = sim.lock();
    let proxy = core.state.proxies.get_mut(&host(lb)).unwrap();
    let servers = proxy.backends.get_mut(Backend::Database.name()).unwrap();
    let server = servers.get_mut(database).unwrap();
    server.admin = admin;
    server.up = admin == ServerAdmin::Ready;
}

/// How a failover fences the old primary.
pub fn fence_ways(plan: &Plan) -> Vec<FenceWay> {
    let ways = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Fence { ways, .. } => Some(ways.clone()),
        _ => None,
    });
    ways.expect("a failover fences")
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

pub fn site(name: &str) -> SiteName {
    name.parse().unwrap()
}
