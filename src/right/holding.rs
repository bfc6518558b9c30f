//! The holder's side: what follows from the answer to a renewal.

use super::{Moment, Terms};

/// The right to write of one epoch, as its holder knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Past it the kill begins.
    pub until: Moment,
    /// The peers gave it last, not the store.
    pub by_promises: bool,
}

/// What became of a question for more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The store renewed the lease.
    Renewed,
    /// The store says that the lease has ended: another may hold the right.
    Ended,
    /// The store did not answer, or not in time.
    Silence,
}

/// What the holder does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on writing under the new deadline.
    Hold(Holding),
    /// Ask every peer to promise; the deadline stays what it was.
    AskPeers,
    /// Kill PostgreSQL now.
    Stop(Stop),
}

/// Why the right is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("the store ended the lease")]
    Ended,
    #[error("neither the store nor all peers renewed the right in time")]
    Deadline,
}

impl Holding {
    /// A right that was taken or renewed by a request sent then.
    #[must_use]
    pub fn sent(terms: &Terms, sent: Moment) -> Self {
        Self {
            until: terms.deadline(sent),
            by_promises: false,
        }
    }

    /// Whether the right still holds.
    #[must_use]
    pub fn holds(&self, now: Moment) -> bool {
        now < self.until
    }

    /// After a renewal that was sent then. `now`: when the answer is used.
    #[must_use]
    pub fn renewed(&self, terms: &Terms, sent: Moment, now: Moment, answer: Answer) -> Next {
        if !self.holds(now) {
            // Late is lost, whatever the answer: the kill has begun.
            return Next::Stop(Stop::Deadline);
        }
        match answer {
            Answer::Renewed => Next::Hold(Self::sent(terms, sent)),
            // A lease that ended while peers kept their promises is taken
            // anew; without promises, nobody keeps others from it.
            Answer::Ended if !self.by_promises => Next::Stop(Stop::Ended),
            Answer::Ended | Answer::Silence => Next::AskPeers,
        }
    }

    /// After all peers were asked at `sent`; `all`: each of them promised.
    #[must_use]
    pub fn promised(&self, terms: &Terms, sent: Moment, now: Moment, all: bool) -> Next {
        if !self.holds(now) {
            return Next::Stop(Stop::Deadline);
        }
        Next::Hold(if all {
            Self {
                until: terms.deadline(sent),
                by_promises: true,
            }
        } else {
            *self
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    #[test]
    fn validity_counts_from_before_the_request() {
        let terms = Terms::default();
        let held = Holding::sent(&terms, at(1_000));
        assert_eq!(held.until, at(1_000 + 3_000 - 300 - 100));
        let next = held.renewed(&terms, at(1_500), at(2_200), Answer::Renewed);
        assert_eq!(next, Next::Hold(Holding::sent(&terms, at(1_500))));
    }

    #[test]
    fn an_answer_after_the_deadline_comes_too_late() {
        let terms = Terms::default();
        let held = Holding::sent(&terms, at(0));
        for answer in [Answer::Renewed, Answer::Ended, Answer::Silence] {
            let next = held.renewed(&terms, at(2_000), at(2_600), answer);
            assert_eq!(next, Next::Stop(Stop::Deadline), "{answer:?}");
        }
        let next = held.promised(&terms, at(2_000), at(2_600), true);
        assert_eq!(next, Next::Stop(Stop::Deadline));
    }

    #[test]
    fn silence_asks_the_peers_and_one_that_is_silent_too_gives_no_time() {
        let terms = Terms::default();
        let held = Holding::sent(&terms, at(0));
        let next = held.renewed(&terms, at(500), at(1_250), Answer::Silence);
        assert_eq!(next, Next::AskPeers);
        let next = held.promised(&terms, at(1_250), at(1_300), false);
        assert_eq!(next, Next::Hold(held));
        let Next::Hold(by_peers) = held.promised(&terms, at(1_250), at(1_300), true) else {
            panic!("promises of all give time");
        };
        assert_eq!(by_peers.until, terms.deadline(at(1_250)));
        assert!(by_peers.by_promises);
    }

    #[test]
    fn an_ended_lease_ends_the_right_unless_peers_have_promised() {
        let terms = Terms::default();
        let held = Holding::sent(&terms, at(0));
        let next = held.renewed(&terms, at(500), at(600), Answer::Ended);
        assert_eq!(next, Next::Stop(Stop::Ended));
        let held = Holding {
            by_promises: true,
            ..held
        };
        let next = held.renewed(&terms, at(500), at(600), Answer::Ended);
        assert_eq!(next, Next::AskPeers);
    }
}
