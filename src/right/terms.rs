//! The times of a lease, the inequality that makes them safe, and the
//! recovery time that follows from them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The times of the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The store ends the lease no sooner than this after a renewal. Whole
    /// seconds: etcd counts no finer.
    pub ttl: Duration,
    /// From one renewal to the next.
    pub renew_every: Duration,
    /// How long a renewal, or the promises of all peers, may take.
    pub rpc_timeout: Duration,
    /// How long it takes to kill PostgreSQL with all its processes.
    pub kill_time: Duration,
    /// How far two clocks may run apart within one `ttl`.
    pub drift_margin: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self::of(Duration::from_secs(3))
    }
}

/// The right could outlive the lease, or be lost by one slow answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "renew_every {} + 2 × rpc_timeout {} + kill_time {} + drift_margin {} is {} > lease_ttl {}",
    ms(.0.renew_every), ms(.0.rpc_timeout), ms(.0.kill_time), ms(.0.drift_margin),
    ms(.0.needed()), ms(.0.ttl)
)]
pub struct TooTight(pub Terms);

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// From the fault to the first accepted write, at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct WorstCase {
    /// The host of the primary is lost or cut off.
    pub host: Duration,
    /// Its whole site is lost, and the leader of the store with it: all
    /// leases start anew after the store's election.
    pub site: Duration,
}

/// The store looks for leases that have ended that often (etcd).
const EXPIRY: Duration = Duration::from_millis(500);
/// A promotion until it accepts writes; measured 20 to 133 ms.
const PROMOTION: Duration = Duration::from_millis(300);
/// Load balancers hear of it; measured below 50 ms.
const REDIRECT: Duration = Duration::from_millis(200);

impl Terms {
    /// The longest lease, in whole seconds: what waits for the end of one
    /// waits so long.
    pub const LONGEST: Duration = Duration::from_secs(60);

    /// Terms for a lease of that length, in proportions that hold.
    #[must_use]
    pub fn of(ttl: Duration) -> Self {
        Self {
            ttl,
            renew_every: ttl / 6,
            rpc_timeout: ttl / 4,
            kill_time: ttl / 10,
            drift_margin: ttl / 30,
        }
    }

    /// The longest whole-second terms whose worst case is within `rto`.
    #[must_use]
    pub fn within(rto: Duration, election: Duration) -> Option<Self> {
        (2..=30)
            .rev()
            .map(Duration::from_secs)
            .map(Self::of)
            .find(|terms| terms.worst_case(election).site <= rto)
    }

    /// What must fit into the lease: a renewal that fails, one that is slow,
    /// and the kill.
    #[must_use]
    pub fn needed(&self) -> Duration {
        self.renew_every + 2 * self.rpc_timeout + self.kill_time + self.drift_margin
    }

    /// # Errors
    /// The inequality does not hold.
    pub fn check(&self) -> Result<(), TooTight> {
        if self.needed() <= self.ttl {
            Ok(())
        } else {
            Err(TooTight(*self))
        }
    }

    /// Until when PostgreSQL may accept writes after a renewal that was
    /// *sent* then; past it the kill begins.
    #[must_use]
    pub fn deadline(&self, sent: super::Moment) -> super::Moment {
        sent + self.ttl.saturating_sub(self.kill_time + self.drift_margin)
    }

    /// For how long a peer's promise binds it: as long as the lease.
    #[must_use]
    pub fn promise(&self) -> Duration {
        self.ttl
    }

    /// The worst case, where the store elects a new leader within `election`.
    #[must_use]
    pub fn worst_case(&self, election: Duration) -> WorstCase {
        let after = EXPIRY + 2 * self.rpc_timeout + PROMOTION + REDIRECT;
        WorstCase {
            host: self.ttl + after,
            site: election + self.ttl + after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_hold_for_every_length() {
        for seconds in 1..=60 {
            Terms::of(Duration::from_secs(seconds)).check().unwrap();
        }
    }

    #[test]
    fn terms_that_are_too_tight_say_by_how_much() {
        let terms = Terms {
            rpc_timeout: Duration::from_secs(2),
            ..Terms::default()
        };
        let error = terms.check().unwrap_err().to_string();
        assert!(error.ends_with("is 4900 ms > lease_ttl 3000 ms"), "{error}");
    }

    #[test]
    fn an_objective_gives_the_longest_lease_that_meets_it() {
        let election = Duration::from_secs(2);
        let terms = Terms::within(Duration::from_secs(30), election).unwrap();
        assert!(terms.worst_case(election).site <= Duration::from_secs(30));
        let longer = Terms::of(terms.ttl + Duration::from_secs(1));
        assert!(longer.worst_case(election).site > Duration::from_secs(30));
        assert_eq!(Terms::within(Duration::from_secs(2), election), None);
    }
}
