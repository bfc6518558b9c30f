//! An operator in the simulated world: the same way from sight to plan to run
//! as the command line goes.

use std::{sync::Arc, time::Duration};

use crate::{
    coordination::{Pause, Shared, SharedJournals},
    decide::{Allowance, Intent, Refusal},
    ground::Ground,
    history::HistoryError,
    ids::{Epoch, HostName},
    journal::{Entry, Outcome},
    plan::Plan,
    ports::{
        World,
        store::{RunId, Store, StoreError},
    },
    run::{Interrupt, Ran, RunError, Runner, Unobserved, Who},
    topology::Topology,
};

use super::{Sim, SimStore, delivery::Party, ports, quorum::SimQuorum};

/// What became of a command.
#[derive(Debug)]
pub enum Answer {
    Refused(Refusal),
    Ran(Outcome, Vec<Entry>),
    /// Another run holds the lock, or nothing was to resume.
    NotStarted(String),
}

impl Answer {
    /// The outcome of a run, if one ran.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Ran(outcome, _) => Some(*outcome),
            _ => None,
        }
    }
}

/// One operator with a journal of their own.
pub struct Operator {
    pub sim: Sim,
    pub store: SimStore,
    pub interrupt: Arc<Interrupt>,
    name: String,
    world: World,
    topology: Arc<Topology>,
}

impl Operator {
    #[must_use]
    pub fn new(sim: &Sim, name: &str) -> Self {
        let topology = sim.lock().state.settings.topology.clone();
        let mut world = ports::world(sim);
        let mut store = SimStore::new(sim);
        let place = Self::place(sim, name);
        if let Some(place) = place {
            let terms = topology.lease;
            let quorum = Arc::new(SimQuorum::new(sim, &place, terms.rpc_timeout));
            let party = Party {
                sim: sim.clone(),
                from: None,
                who: Some(Self::who_is(name)),
            };
            world = ports::world_of(party, world.inventory);
            world.quorum = Some(quorum.clone());
            let shared = Shared::new(quorum, &topology.name);
            let journals = SharedJournals::new(shared, terms, world.clock.clone());
            store = SimStore::shared(sim, journals);
        }
        Self {
            sim: sim.clone(),
            store,
            interrupt: Arc::default(),
            name: name.to_owned(),
            world,
            topology,
        }
    }

    /// From where the shared store is reached, where operators share one.
    fn place(sim: &Sim, name: &str) -> Option<HostName> {
        let core = sim.lock();
        let quorum = core
            .state
            .quorum
            .as_ref()
            .filter(|_| core.state.settings.watched)?;
        let members = &quorum.members;
        members.get(name.len() % members.len()).cloned()
    }

    fn is_watched(&self) -> bool {
        self.sim.lock().state.settings.watched
    }

    /// The shared store, as this operator reaches it.
    fn keys(&self) -> Option<Shared> {
        let quorum = self.world.quorum.clone()?;
        Some(Shared::new(quorum, &self.topology.name))
    }

    /// `hafail pause`.
    pub async fn pause(&self, time: Duration) {
        let pause = Pause {
            why: "I look after it".to_owned(),
            by: self.name.clone(),
            until: "soon".to_owned(),
        };
        if let Some(keys) = self.keys() {
            let paused = keys.pause(&pause, time).await.is_ok();
            let mut core = self.sim.lock();
            core.tell(|| format!("{} pauses for {time:?}: {paused}", self.name));
        }
    }

    /// `hafail acknowledge`.
    pub async fn acknowledge(&self) {
        if let Some(keys) = self.keys()
            && let Ok(Some(cooldown)) = keys.acknowledge().await
        {
            let mut core = self.sim.lock();
            core.tell(|| format!("{} acknowledges {}", self.name, cooldown.run));
        }
    }

    /// Another operator who works with the same journal.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        let other = Self::new(&self.sim, name);
        if other.store.is_shared() {
            return other;
        }
        Self {
            store: self.store.clone(),
            ..other
        }
    }

    /// The plan that a command would show, or the refusal.
    pub async fn plan(&self, intent: &Intent) -> Result<(Ground, Plan), Refusal> {
        let ground = self.look().await;
        self.plan_on(ground, intent)
    }

    fn plan_on(&self, ground: Ground, intent: &Intent) -> Result<(Ground, Plan), Refusal> {
        let mutation = self.mutation();
        let mut believed = ground.clone();
        if let Some(mutation) = mutation {
            let target = self.topology.site_in(&intent.region);
            let mut databases = self.topology.hosts_with(crate::topology::Role::Db);
            let new = databases.find(|host| target.is_some_and(|site| site.name == host.site));
            if let Some(new) = new {
                mutation.of_past(&mut believed.past, &new.name);
            }
        }
        let mut plan = believed.failover(&self.topology, intent)?;
        if let Some(mutation) = mutation {
            mutation.of_plan(&mut plan);
        }
        Ok((ground, plan))
    }

    /// `hafail failover`.
    pub async fn failover(&self, intent: &Intent) -> Answer {
        let known = match intent.allow_data_loss {
            Some(Allowance::Any) => None,
            Some(Allowance::Bytes(bytes)) => Some(bytes),
            None => Some(0),
        };
        let Ok(ground) = self.try_look().await else {
            return Self::blind();
        };
        match self.plan_on(ground, intent) {
            Ok((ground, plan)) => {
                let run = self.new_run(&ground);
                self.permits(&run, known);
                self.run_as(run, &ground, plan).await
            }
            Err(refusal) => self.refused(refusal),
        }
    }

    /// `hafail rejoin`.
    pub async fn rejoin(&self, host: &str) -> Answer {
        let Ok(ground) = self.try_look().await else {
            return Self::blind();
        };
        match ground.rejoin(&self.topology, host) {
            Ok(mut plan) => {
                if let Some(mutation) = self.mutation() {
                    mutation.of_plan(&mut plan);
                }
                self.run(&ground, plan).await
            }
            Err(refusal) => self.refused(refusal),
        }
    }

    /// `hafail resume`.
    pub async fn resume(&self, abandon: bool) -> Answer {
        let Ok(ground) = self.try_look().await else {
            return Self::blind();
        };
        let Some(run) = ground.past.unfinished else {
            return Answer::NotStarted("there is nothing to resume".to_owned());
        };
        let who = self.who();
        Self::answer(self.runner(&who).resume(&run, abandon).await)
    }

    /// What is seen and remembered now.
    pub async fn look(&self) -> Ground {
        let ground = self.try_look().await;
        ground.expect("simulated journals can be read")
    }

    async fn try_look(&self) -> Result<Ground, HistoryError> {
        Ground::look(&self.topology, &self.world, &self.store).await
    }

    fn blind() -> Answer {
        Answer::NotStarted("the journals cannot be read now".to_owned())
    }

    /// Whether the journal knows a run that has not ended.
    pub async fn has_open_run(&self) -> bool {
        let runs = self
            .store
            .list()
            .await
            .expect("simulated journals can be read");
        let Some(last) = runs.last() else {
            return false;
        };
        let lines = self.store.read(last).await.expect("it was listed");
        // Most often its last line says it, which spares reading all.
        let last_line = lines.last().map(|line| serde_json::from_str::<Entry>(line));
        if let Some(Ok(Entry {
            event: crate::journal::Event::Stopped { outcome, .. },
            ..
        })) = last_line
        {
            return !outcome.is_final();
        }
        true
    }

    /// The journal lines of all runs.
    pub async fn journals(&self) -> Vec<(RunId, Vec<String>)> {
        let mut all = Vec::new();
        for run in self
            .store
            .list()
            .await
            .expect("simulated journals can be read")
        {
            let lines = self.store.read(&run).await.expect("it was listed");
            all.push((run, lines));
        }
        all
    }

    /// Starts a run of a plan.
    pub async fn run(&self, ground: &Ground, plan: Plan) -> Answer {
        self.run_as(self.new_run(ground), ground, plan).await
    }

    async fn run_as(&self, run: RunId, ground: &Ground, plan: Plan) -> Answer {
        let (who, shown) = (self.who(), plan.digest());
        Self::answer(
            self.runner(&who)
                .start(run, plan, &shown, ground.next_epoch())
                .await,
        )
    }

    fn permits(&self, run: &RunId, loss: Option<u64>) {
        let ledger = &mut self.sim.lock().state.ledger;
        ledger.allowances.insert(run.to_string(), loss);
    }

    fn new_run(&self, ground: &Ground) -> RunId {
        if self.is_watched() {
            let wall = self.world.clock.wall();
            let digits: String = wall.chars().filter(char::is_ascii_digit).take(14).collect();
            return RunId(format!("{digits}-{}-{}", self.name, ground.next_epoch()));
        }
        let now = self.sim.lock().now();
        RunId(format!("{:010}-{}", now.as_millis(), self.name))
    }

    /// Starts a run of a plan, whatever was shown.
    ///
    /// # Errors
    /// Why it did not start, as text.
    pub async fn run_shown(
        &self,
        plan: Plan,
        shown: &str,
        epoch: Epoch,
    ) -> Result<Outcome, String> {
        let (run, who) = (RunId("by-hand".to_owned()), self.who());
        let ran = self.runner(&who).start(run, plan, shown, epoch).await;
        ran.map(|ran| ran.outcome)
            .map_err(|error| error.to_string())
    }

    fn runner<'a>(&'a self, who: &'a Who) -> Runner<'a> {
        Runner {
            world: &self.world,
            store: &self.store,
            observer: &Unobserved,
            interrupt: &self.interrupt,
            who,
        }
    }

    fn who(&self) -> Who {
        Self::who_is(&self.name)
    }

    fn who_is(name: &str) -> Who {
        Who {
            operator: name.to_owned(),
            machine: "desk".to_owned(),
            process: 1,
        }
    }

    fn mutation(&self) -> Option<super::mutation::Mutation> {
        self.sim.lock().state.settings.mutation
    }

    fn refused(&self, refusal: Refusal) -> Answer {
        let (name, message) = (&self.name, &refusal.message);
        let id = refusal.reason.id();
        let mut core = self.sim.lock();
        core.tell(|| format!("{name} is refused: {message} ({id})"));
        drop(core);
        Answer::Refused(refusal)
    }

    fn answer(result: Result<Ran, RunError>) -> Answer {
        match result {
            Ok(ran) => Answer::Ran(ran.outcome, ran.entries),
            Err(RunError::Store(StoreError::Held(holder))) => {
                Answer::NotStarted(format!("{} holds the lock", holder.run))
            }
            Err(RunError::Ended { run, .. }) => Answer::NotStarted(format!("{run} has ended")),
            Err(RunError::Store(error @ StoreError::Failed { .. })) => {
                Answer::NotStarted(error.to_string())
            }
            Err(error) => panic!("a run stopped itself: {error}"),
        }
    }
}
