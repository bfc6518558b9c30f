//! The peers' side: a promise not to take the right for a while, which keeps
//! a primary writing whose store is lost.

use serde::{Deserialize, Serialize};

use super::{Moment, Terms};
use crate::ids::{Epoch, HostName};

/// `POST /promise`: a primary asks a peer not to become primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromiseRequest {
    /// Who asks.
    pub host: HostName,
    /// The epoch whose right it holds.
    pub epoch: Epoch,
    /// For how long from now on, in milliseconds.
    pub for_ms: u64,
}

/// A promise, kept over restarts of the guard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    pub to: HostName,
    pub epoch: Epoch,
    /// In milliseconds since that boot.
    pub until_ms: u64,
    pub boot: String,
}

impl Promise {
    /// A promise of an earlier boot, whose clock is gone, as one of this boot:
    /// it binds for a whole term from `now` on. To be kept instead of it, for
    /// else each start of a guard would begin that term again.
    #[must_use]
    pub fn in_boot(&self, boot: &str, terms: &Terms, now: Moment) -> Self {
        if self.boot == boot {
            return self.clone();
        }
        Self {
            until_ms: millis(now + terms.promise()),
            boot: boot.to_owned(),
            ..self.clone()
        }
    }
}

/// Why a guard does not promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum NoPromise {
    #[error("this host has the right to write, or is taking it")]
    Primary,
    #[error("this host is bound to {to} in epoch {epoch}")]
    Bound { to: HostName, epoch: Epoch },
    #[error("this host cannot remember a promise")]
    Forgetful,
}

/// What the promising side knows of itself.
#[derive(Clone, Debug)]
pub struct Standing<'a> {
    /// It holds the right, or a request for it is under way.
    pub takes: bool,
    /// The promise that it gave last.
    pub given: Option<&'a Promise>,
    pub boot: &'a str,
    /// When this guard's process began, or later: a promise of an earlier
    /// boot, whose clock is gone, counts from here.
    pub began: Moment,
}

impl Standing<'_> {
    /// Whether it may promise, and what it must remember first.
    ///
    /// # Errors
    /// Why not.
    pub fn promise(&self, ask: &PromiseRequest, now: Moment) -> Result<Promise, NoPromise> {
        if self.takes {
            return Err(NoPromise::Primary);
        }
        if let Some(given) = self.given
            && given.to != ask.host
            && given.epoch >= ask.epoch
        {
            let (to, epoch) = (given.to.clone(), given.epoch);
            return Err(NoPromise::Bound { to, epoch });
        }
        Ok(Promise {
            to: ask.host.clone(),
            epoch: ask.epoch,
            until_ms: millis(now).saturating_add(ask.for_ms),
            boot: self.boot.to_owned(),
        })
    }

    /// Until when a promise keeps it from taking the right; none: it is free.
    #[must_use]
    pub fn bound(&self, terms: &Terms, now: Moment) -> Option<(Moment, &Promise)> {
        let given = self.given?;
        // Where the disk was full it is yet to be kept as one of this boot.
        let until = given.in_boot(self.boot, terms, self.began).until_ms;
        let until = Moment::from_millis(until);
        (now < until).then_some((until, given))
    }
}

fn millis(moment: Moment) -> u64 {
    u64::try_from(moment.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ask(host: &str, epoch: u64) -> PromiseRequest {
        PromiseRequest {
            host: host.parse().unwrap(),
            epoch: Epoch(epoch),
            for_ms: 3_000,
        }
    }

    fn standing(given: Option<&Promise>) -> Standing<'_> {
        Standing {
            takes: false,
            given,
            boot: "b1",
            began: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_promise_binds_for_its_time_and_over_a_boot() {
        let terms = Terms::default();
        let now = Duration::from_secs(100);
        let given = standing(None).promise(&ask("site1-db", 4), now).unwrap();
        let bound = |standing: &Standing<'_>, at: u64| {
            let bound = standing.bound(&terms, Duration::from_secs(at));
            bound.map(|(until, _)| until.as_secs())
        };
        assert_eq!(bound(&standing(Some(&given)), 102), Some(103));
        assert_eq!(bound(&standing(Some(&given)), 103), None);
        let mut after = standing(Some(&given));
        after.boot = "b2";
        assert_eq!(bound(&after, 12), Some(13));
        assert_eq!(bound(&after, 13), None);

        // Kept at the guard's first start it binds no longer at a later one.
        let kept = given.in_boot("b2", &terms, after.began);
        assert_eq!((&kept.to, kept.epoch), (&given.to, given.epoch));
        let mut later = standing(Some(&kept));
        later.boot = "b2";
        later.began = Duration::from_secs(50);
        assert_eq!(bound(&later, 12), Some(13));
        assert_eq!(bound(&later, 50), None);
        assert_eq!(kept.in_boot("b2", &terms, later.began), kept);
    }

    #[test]
    fn a_primary_and_one_who_is_bound_to_another_give_none() {
        let now = Duration::from_secs(100);
        let mut primary = standing(None);
        primary.takes = true;
        assert_eq!(primary.promise(&ask("a", 9), now), Err(NoPromise::Primary));
        let given = standing(None).promise(&ask("a", 4), now).unwrap();
        let again = standing(Some(&given)).promise(&ask("a", 4), now);
        assert!(again.is_ok());
        let other = standing(Some(&given)).promise(&ask("b", 4), now);
        assert!(matches!(other, Err(NoPromise::Bound { .. })));
        assert!(standing(Some(&given)).promise(&ask("b", 5), now).is_ok());
    }
}
