//! Asks the members for what may be asked twice: the first good answer counts.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError},
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::{Etcd, PARTS, fault::Fault, member::Member};
use crate::ports::quorum::QuorumError;

/// Nobody answered well.
pub(super) struct Missed {
    said: Option<QuorumError>,
    faults: BTreeMap<String, String>,
}

impl Missed {
    pub(super) fn one(member: &str, why: String) -> Self {
        Self {
            said: None,
            faults: BTreeMap::from([(member.to_owned(), why)]),
        }
    }

    /// What the store itself said, if anything.
    pub(super) fn refusal(self) -> Result<QuorumError, Self> {
        match self.said {
            Some(error) => Ok(error),
            None => Err(self),
        }
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (member, why)) in self.faults.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{member}: {why}")?;
        }
        Ok(())
    }
}

impl Etcd {
    /// Asks until somebody answers or the deadline passes.
    pub(super) async fn idempotent<T, A, F>(&self, ask: A) -> Result<T, QuorumError>
    where
        A: Fn(Arc<Member>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let answered = self.first(Instant::now() + self.deadline, ask).await;
        answered.map_err(|missed| {
            let refusal = missed.refusal();
            refusal.unwrap_or_else(|missed| self.unanswered(&missed))
        })
    }

    /// The one that answered last is asked first; another one after each part
    /// of the deadline, and at once when one fails; again when all have.
    pub(super) async fn first<T, A, F>(&self, until: Instant, ask: A) -> Result<T, Missed>
    where
        A: Fn(Arc<Member>) -> F,
        F: Future<Output = Result<T, Fault>>,
    {
        let question = |index: usize| {
            let (member, ask) = (Arc::clone(&self.members[index]), &ask);
            async move { (index, member.asked(ask).await) }
        };
        let mut faults = BTreeMap::new();
        let mut waiting = self.order();
        let mut asked = FuturesUnordered::from_iter([question(waiting.remove(0))]);
        let mut fresh = waiting.len();
        let part = self.deadline / PARTS;
        let mut pace = interval_at(Instant::now() + part, part);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let begin = tokio::select! {
                biased;
                Some((index, answer)) = asked.next() => match answer {
                    Ok(answer) => {
                        self.remember(&self.members[index]);
                        return Ok(answer);
                    }
                    Err(Fault::Said(error)) => {
                        return Err(Missed { said: Some(error), faults });
                    }
                    Err(Fault::Away(why)) => {
                        faults.insert(self.members[index].name().to_owned(), why);
                        waiting.push(index);
                        fresh > 0
                    }
                },
                _ = pace.tick() => !waiting.is_empty(),
                () = sleep_until(until) => {
                    for member in &self.members {
                        let name = member.name().to_owned();
                        faults.entry(name).or_insert_with(|| "no answer".to_owned());
                    }
                    return Err(Missed { said: None, faults });
                }
            };
            if begin {
                fresh = fresh.saturating_sub(1);
                asked.push(question(waiting.remove(0)));
            }
        }
    }

    /// All members, the one that answered last before the others.
    fn order(&self) -> Vec<usize> {
        let good = *self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let first = good.map_or(0, |(index, _)| index);
        let count = self.members.len();
        (0..count).map(|at| (first + at) % count).collect()
    }

    pub(super) fn remember(&self, member: &Arc<Member>) {
        let index = self.members.iter().position(|one| Arc::ptr_eq(one, member));
        let good = index.map(|index| (index, Instant::now()));
        *self.good.lock().unwrap_or_else(PoisonError::into_inner) = good;
    }
}
