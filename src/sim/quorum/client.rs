//! The store as a program on a host sees it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    super::{Core, Sim, core::Slot, machine, mutation::Mutation, tasks::Process, watcher},
    Watch,
};
use crate::{
    ids::HostName,
    ports::quorum::{
        Change, Condition, LeaseId, MemberHealth, Quorum, QuorumError, Reading, Revision,
    },
    right::Moment,
};

/// A client of the store on a host. It asks one member, and the next one
/// when that is silent.
#[derive(Clone)]
pub struct SimQuorum {
    sim: Sim,
    from: HostName,
    deadline: Duration,
    member: Arc<AtomicUsize>,
    /// The watcher whose client it is.
    watcher: Option<Process>,
}

/// What a request does once a leader has it.
type Effect<T> = Arc<dyn Fn(&mut Core, By) -> Result<T, QuorumError> + Send + Sync>;

/// The leader that carries a request out.
#[derive(Clone, Copy)]
struct By {
    /// What its clock shows.
    moment: Moment,
    /// Its term, as it believes.
    term: u64,
    /// The member that was asked.
    member: usize,
}

/// Members that a question goes to, one after the other.
const PARTS: usize = 3;

/// Who may carry out a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// A leader with a majority: it is agreed on, and hangs otherwise.
    Majority,
    /// Whoever believes to lead, as etcd renews leases.
    Leader,
}

struct Request<T> {
    client: SimQuorum,
    member: usize,
    needs: Needs,
    /// The answer gets lost.
    unheard: bool,
    slot: Slot<Result<T, QuorumError>>,
    effect: Effect<T>,
}

impl SimQuorum {
    /// A client whose calls end within the deadline, by true time.
    #[must_use]
    pub fn new(sim: &Sim, from: &HostName, deadline: Duration) -> Self {
        Self::of(&sim.lock(), sim, from, deadline)
    }

    pub(in crate::sim) fn of(core: &Core, sim: &Sim, from: &HostName, deadline: Duration) -> Self {
        let near = core.state.quorum.as_ref().and_then(|quorum| {
            let mut members = quorum.members.iter();
            members.position(|member| core.state.site_of(member) == core.state.site_of(from))
        });
        Self {
            sim: sim.clone(),
            from: from.clone(),
            deadline,
            member: Arc::new(AtomicUsize::new(near.unwrap_or(0))),
            watcher: None,
        }
    }

    pub(in crate::sim) fn for_watcher(self, process: &Process) -> Self {
        Self {
            watcher: Some(process.clone()),
            ..self
        }
    }

    fn defect(&self) -> Option<Mutation> {
        self.watcher.as_ref()?;
        self.sim.lock().state.settings.mutation
    }

    /// Asks the member that answered last, and the next ones after a while
    /// each, where asking twice does no harm; the first answer counts, with
    /// the member that gave it.
    async fn ask_any<T: Send + 'static>(
        &self,
        needs: Needs,
        effect: impl Fn(&mut Core, By) -> Result<T, QuorumError> + Send + Sync + 'static,
    ) -> Result<(usize, T), QuorumError> {
        let slot = self.give_up();
        let effect: Effect<(usize, T)> = Arc::new(move |core, by| {
            let answer = effect(core, by)?;
            Ok((by.member, answer))
        });
        let first = self.member.load(Ordering::Relaxed);
        for later in 0..PARTS {
            let (effect, slot) = (effect.clone(), slot.clone());
            self.send(
                first + later,
                needs,
                effect,
                slot,
                self.deadline / 4 * later as u32,
            );
        }
        let answer = slot.await;
        if let Ok((member, _)) = &answer {
            self.member.store(*member, Ordering::Relaxed);
        }
        answer
    }

    /// Asks one member, once.
    async fn ask_one<T: Send + 'static>(
        &self,
        member: usize,
        effect: impl Fn(&mut Core, By) -> Result<T, QuorumError> + Send + Sync + 'static,
    ) -> Result<T, QuorumError> {
        let slot = self.give_up();
        let (needs, now) = (Needs::Majority, Duration::ZERO);
        self.send(member, needs, Arc::new(effect), slot.clone(), now);
        let answer = slot.await;
        if matches!(answer, Err(QuorumError::Unanswered { .. })) {
            self.member.store(member + 1, Ordering::Relaxed);
        }
        answer
    }

    fn give_up<T: Send + 'static>(&self) -> Slot<Result<T, QuorumError>> {
        let slot = Slot::default();
        let within = self.deadline;
        let mut core = self.sim.lock();
        core.give_up_later(within, slot.clone(), move || {
            let why = "no answer".to_owned();
            Err(QuorumError::Unanswered { within, why })
        });
        slot
    }

    fn send<T: Send + 'static>(
        &self,
        member: usize,
        needs: Needs,
        effect: Effect<T>,
        slot: Slot<Result<T, QuorumError>>,
        wait: Duration,
    ) {
        let mut core = self.sim.lock();
        let chance = core.state.unreliable;
        if chance > 0 && core.rng.permille(chance) {
            return;
        }
        let unheard = chance > 0 && core.rng.permille(chance);
        let member = member % core.known().members.len();
        let way = wait + core.way_to_member();
        let again = core.comes_again().map(|again| way + again);
        for way in [Some(way), again].into_iter().flatten() {
            let request = Request {
                client: self.clone(),
                member,
                needs,
                unheard,
                slot: slot.clone(),
                effect: effect.clone(),
            };
            core.look_later(way, move |core| {
                if !wait.is_zero() && !request.slot.is_awaited() {
                    // Answered before this member would have been asked.
                    return;
                }
                let host = core.known().members[member].clone();
                machine::at(core, &host, Box::new(|core| request.arrive(core)));
            });
        }
    }

    fn trusts_any_leader(&self) -> bool {
        let mutation = self.sim.lock().state.settings.mutation;
        mutation == Some(Mutation::TrustStaleLeader)
    }
}

impl<T: Send + 'static> Request<T> {
    fn arrive(self, core: &mut Core) {
        let host = core.known().members[self.member].clone();
        let from = &self.client.from;
        let heard = core.state.passes(from, &host) && !core.state.machines[from].shut_out;
        if !core.serves(&host) || !heard {
            return;
        }
        let stale = core.known().stale.as_ref();
        let stale = stale.filter(|stale| stale.member == self.member);
        if let Some(term) = stale.map(|stale| stale.term)
            && self.needs == Needs::Leader
        {
            let moment = core.moment(&host);
            let member = self.member;
            let by = By {
                moment,
                term,
                member,
            };
            return self.carry_out(core, by);
        }
        let Some(leader) = core.known().leader else {
            return;
        };
        let leads = core.known().members[leader].clone();
        if leads != host && !core.state.connected(&host, &leads) {
            return;
        }
        if self.needs == Needs::Majority && !core.has_majority(leader) {
            // Agreed on when the majority is back, if that leader still leads.
            let hanging = Box::new(|core: &mut Core| self.carry_out_later(core));
            core.store().expect("it is there").hanging.push(hanging);
            return;
        }
        let way = core.way_to_member();
        core.look_later(way, |core| self.carry_out_later(core));
    }

    fn carry_out_later(self, core: &mut Core) {
        let Some(leader) = core.known().leader else {
            return;
        };
        let host = core.known().members[leader].clone();
        if !core.serves(&host) || (self.needs == Needs::Majority && !core.has_majority(leader)) {
            return;
        }
        let by = By {
            moment: core.moment(&host),
            term: core.known().term,
            member: self.member,
        };
        self.carry_out(core, by);
    }

    fn carry_out(self, core: &mut Core, by: By) {
        let answer = (self.effect)(core, by);
        let host = core.known().members[self.member].clone();
        if !self.unheard && core.state.passes(&host, &self.client.from) {
            let back = core.way_to_member();
            core.answer_later(back, self.slot, answer);
        }
    }
}

#[async_trait]
impl Quorum for SimQuorum {
    async fn lease(&self, ttl: Duration) -> Result<LeaseId, QuorumError> {
        // The id is ours, so that asking twice makes one lease.
        let id = LeaseId(self.sim.lock().rng.any() as i64 & i64::MAX | 1);
        let granted = self.ask_any(Needs::Majority, move |core, by| {
            core.store().expect("it is there").grant(id, ttl, by.moment);
            Ok(())
        });
        granted.await.map(|_| id)
    }

    async fn renew(&self, lease: LeaseId) -> Result<(), QuorumError> {
        let renewed = self.ask_any(Needs::Leader, move |core, by| {
            // What a leader that is none any more renews is not the lease
            // that counts.
            if by.term == core.known().term {
                core.store().expect("it is there").renew(lease, by.moment)?;
            }
            Ok(by.term)
        });
        let (member, term) = renewed.await?;
        if self.trusts_any_leader() {
            return Ok(());
        }
        // Whoever renewed it may have been deposed: a majority says whether.
        let confirmed = self.ask_one(member, |_, by| Ok(by.term)).await?;
        if confirmed == term {
            return Ok(());
        }
        let (within, why) = (self.deadline, "another leader renewed it".to_owned());
        Err(QuorumError::Unanswered { within, why })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), QuorumError> {
        let revoked = self.ask_any(Needs::Majority, move |core, _| {
            core.end_lease(lease, "is given back");
            Ok(())
        });
        revoked.await.map(|_| ())
    }

    async fn read(&self, prefix: &str) -> Result<Reading, QuorumError> {
        let prefix = prefix.to_owned();
        let read = self.ask_any(Needs::Majority, move |core, _| {
            Ok(core.known().read(&prefix))
        });
        let (_, mut reading) = read.await?;
        if let Some(process) = &self.watcher {
            watcher::misread(self.defect(), process, &mut reading);
        }
        Ok(reading)
    }

    async fn commit(
        &self,
        when: &[Condition],
        then: &[Change],
    ) -> Result<Option<Revision>, QuorumError> {
        let (mut when, then) = (when.to_vec(), then.to_vec());
        watcher::disregard(self.defect(), &mut when);
        let member = self.member.load(Ordering::Relaxed);
        let process = self.watcher.clone();
        self.ask_one(member, move |core, _| {
            if !core.lives_to_write(process.as_ref(), &then) {
                return Ok(None);
            }
            let done = core.store().expect("it is there").commit(&when, &then);
            if let Ok(Some(_)) = done {
                let keys: Vec<_> = then.iter().map(|change| change.key().to_owned()).collect();
                core.notify(&keys);
                core.has_written(process.as_ref(), &then);
            }
            done
        })
        .await
    }

    async fn changed(
        &self,
        prefix: &str,
        after: Revision,
        within: Duration,
    ) -> Result<bool, QuorumError> {
        let slot = Slot::default();
        {
            let mut core = self.sim.lock();
            let truly = core.state.machines[&self.from].clock.truly(within);
            core.give_up_later(truly, slot.clone(), || Ok(false));
            if core.known().has_changed(prefix, after) {
                let way = core.way_to_member();
                core.answer_later(way, slot.clone(), Ok(true));
            }
            let members = core.known().members.len();
            let watch = Watch {
                prefix: prefix.to_owned(),
                answer: slot.clone(),
                member: self.member.load(Ordering::Relaxed) % members,
                from: self.from.clone(),
            };
            core.store().expect("it is there").watches.push(watch);
        }
        slot.await
    }

    async fn members(&self) -> BTreeMap<String, MemberHealth> {
        let core = self.sim.lock();
        let leader = core.working_leader();
        let members = core.known().members.iter().enumerate();
        let health = |(number, member): (usize, &HostName)| {
            let health = if !core.state.connected(&self.from, member) {
                let why = "no answer".to_owned();
                MemberHealth::Unknown { why }
            } else if leader == Some(number) {
                MemberHealth::Leader
            } else if leader.is_some() && core.has_majority(number) {
                MemberHealth::Follower
            } else {
                MemberHealth::Leaderless
            };
            (member.to_string(), health)
        };
        members.map(health).collect()
    }
}
