//! An operator in the simulated world: the same way from sight to plan to run
//! as the command line goes.

use std::sync::Arc;

use crate::{
    decide::{Allowance, Intent, Refusal},
    ground::Ground,
    ids::Epoch,
    journal::{Entry, Outcome},
    plan::Plan,
    ports::{
        World,
        store::{RunId, Store, StoreError},
    },
    run::{Interrupt, Ran, RunError, Runner, Unobserved, Who},
    topology::Topology,
};

use super::{Sim, SimStore, ports};

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
        Self {
            sim: sim.clone(),
            store: SimStore::new(sim),
            interrupt: Arc::default(),
            name: name.to_owned(),
            world: ports::world(sim),
            topology,
        }
    }

    /// Another operator who works with the same journal.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self {
            store: self.store.clone(),
            ..Self::new(&self.sim, name)
        }
    }

    /// The plan that a command would show, or the refusal.
    pub async fn plan(&self, intent: &Intent) -> Result<(Ground, Plan), Refusal> {
        let ground = self.look().await;
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
        match self.plan(intent).await {
            Ok((ground, plan)) => {
                self.sim.lock().state.ledger.allowance = known;
                self.run(&ground, plan).await
            }
            Err(refusal) => self.refused(refusal),
        }
    }

    /// `hafail rejoin`.
    pub async fn rejoin(&self, host: &str) -> Answer {
        let ground = self.look().await;
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
        let Some(run) = self.look().await.past.unfinished else {
            return Answer::NotStarted("there is nothing to resume".to_owned());
        };
        let who = self.who();
        Self::answer(self.runner(&who).resume(&run, abandon).await)
    }

    /// What is seen and remembered now.
    pub async fn look(&self) -> Ground {
        let ground = Ground::look(&self.topology, &self.world, &self.store).await;
        ground.expect("simulated journals can be read")
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
        let now = self.sim.lock().now();
        let run = RunId(format!("{:010}-{}", now.as_millis(), self.name));
        let (who, shown) = (self.who(), plan.digest());
        Self::answer(
            self.runner(&who)
                .start(run, plan, &shown, ground.next_epoch())
                .await,
        )
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
        Who {
            operator: self.name.clone(),
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
            Err(error) => panic!("a run stopped itself: {error}"),
        }
    }
}
