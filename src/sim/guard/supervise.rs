//! Makes PostgreSQL what is wanted: after its crash, the guard's own, a boot;
//! and sees whether it still commits.

use std::time::Duration;

use crate::order::{PostgresState, WantedRole};

use super::{super::mutation::Mutation, Program};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(300);
/// A primary that does not commit for so long is dead.
const HUNG: Duration = Duration::from_secs(2);

impl Program {
    pub(super) async fn supervise_forever(self) {
        let mut stuck = Duration::ZERO;
        loop {
            self.sleep(PERIOD).await;
            stuck = if self.is_stuck() {
                stuck + PERIOD
            } else {
                Duration::ZERO
            };
            if stuck >= HUNG {
                self.step_down("PostgreSQL does not commit").await;
                stuck = Duration::ZERO;
            }
            if self.lacks_room() {
                self.step_down("its disk is full").await;
            }
            if self.begin_work(Duration::ZERO).await {
                self.converge().await;
                self.sim.lock().guard(&self.host).busy = false;
            }
        }
    }

    fn is_stuck(&self) -> bool {
        let core = self.sim.lock();
        let primary = core.state.databases[&self.host].state == PostgresState::Primary;
        primary && core.state.guards[&self.host].disk.hangs
    }

    /// Better than nobody, where nobody else has every commit.
    fn lacks_room(&self) -> bool {
        let core = self.sim.lock();
        let guard = &core.state.guards[&self.host];
        let primary = core.state.databases[&self.host].state == PostgresState::Primary;
        primary && guard.disk.full && !guard.set.stored.is_empty()
    }

    /// A right whose loss could not be remembered, for the disk was full.
    async fn forget_lost(&self) {
        let lost = {
            let core = self.sim.lock();
            let guard = &core.state.guards[&self.host];
            let wanted = core.state.databases[&self.host].wanted == WantedRole::Primary;
            let may = wanted && !guard.turn && guard.held.is_none();
            guard.disk.right.filter(|_| may)
        };
        if let Some(right) = lost {
            self.forget_right(right).await;
        }
    }

    async fn converge(&self) {
        self.forget_lost().await;
        let (state, wanted, broken, may) = {
            let core = self.sim.lock();
            let database = &core.state.databases[&self.host];
            (
                database.state,
                database.wanted.clone(),
                database.broken || !core.state.takes_writes(&self.host),
                core.may_write(&self.host).is_some(),
            )
        };
        if wanted != WantedRole::Primary && self.sim.lock().held(&self.host).is_some() {
            // Nobody else could take it, for as long as it is renewed.
            self.kill_primary(state).await;
            self.give_back().await;
        }
        match (state, wanted) {
            // The defect: what may not write goes on.
            (PostgresState::Primary, _) if self.mutation() == Some(Mutation::SkipKill) => {}
            (PostgresState::Primary, _) if !may => {
                self.sim
                    .lock()
                    .tell(|| format!("{} accepts writes and may not", self.host));
                self.kill_all().await;
            }
            (PostgresState::Standby, WantedRole::Primary) if !may => {
                self.want_standby();
            }
            (PostgresState::Stopped, WantedRole::Primary) if may && broken => {
                self.step_down("PostgreSQL does not start").await;
            }
            (PostgresState::Stopped, WantedRole::Primary) if may => self.restart().await,
            (PostgresState::Stopped, WantedRole::Primary) => self.want_standby(),
            (PostgresState::Stopped, WantedRole::Standby { .. }) if !broken => {
                self.sleep(Duration::from_millis(150)).await;
                let mut core = self.sim.lock();
                core.start_postgres(&self.host, PostgresState::Standby);
            }
            _ => {}
        }
    }

    async fn kill_primary(&self, state: PostgresState) {
        if state == PostgresState::Primary {
            self.kill_all().await;
        }
    }

    fn want_standby(&self) {
        let mut core = self.sim.lock();
        let database = core.state.databases.get_mut(&self.host);
        database.expect("a database").wanted = WantedRole::Standby { upstream: None };
    }

    /// In place: recovery takes a while, and the right may end in it.
    async fn restart(&self) {
        let takes = {
            let mut core = self.sim.lock();
            core.guard(&self.host).set.starts();
            core.rng.between(100, 700)
        };
        self.sleep(Duration::from_millis(takes)).await;
        let mut core = self.sim.lock();
        if core.may_write(&self.host).is_some() {
            core.start_postgres(&self.host, PostgresState::Primary);
        }
    }
}

impl super::Core {
    fn start_postgres(&mut self, host: &super::HostName, as_what: PostgresState) {
        let database = self.state.databases.get_mut(host).expect("a database");
        if database.state == PostgresState::Stopped && !database.broken {
            database.state = as_what;
            self.state.touch();
            self.tell(|| format!("PostgreSQL on {host} starts as {as_what:?}"));
        }
    }
}
