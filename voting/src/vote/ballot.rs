//! A vote on its way, and what is known of its fate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lanes::{Answer, Refusal};

/// A vote that waits for a lane.
pub(super) struct Ballot {
    pub payload: String,
    pub deadline: Instant,
    pub fate: Fate,
    pub answer: oneshot::Sender<Answer>,
}

impl Ballot {
    /// Answers the voter, who may have gone.
    pub fn settle(self, answer: &Answer) {
        let _ = self.answer.send(answer.clone());
    }

    /// Answers that the time is over, with what that means for the vote.
    pub fn give_up(self, reason: &str) {
        let refusal = self.fate.give_up(reason);
        self.settle(&Err(refusal));
    }
}

const WAITING: u8 = 0;
const SENT: u8 = 1;
const WITHDRAWN: u8 = 2;
/// It may have arrived, whatever comes of further attempts.
const LOST: u8 = 3;

/// Shared by the voter's request and the lane, so that exactly one of "it has
/// not left and never will" and "it may have arrived" is true.
#[derive(Clone, Default)]
pub(super) struct Fate(Arc<AtomicU8>);

impl Fate {
    /// The lane is about to send the vote; false: it was withdrawn, leave it.
    pub fn depart(&self) -> bool {
        let left = self
            .0
            .compare_exchange(WAITING, SENT, Ordering::SeqCst, Ordering::SeqCst);
        !matches!(left, Err(WITHDRAWN))
    }

    /// The server refused the vote: it has not arrived by this attempt.
    pub fn came_back(&self) {
        let _ = self
            .0
            .compare_exchange(SENT, WAITING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Nobody knows whether this attempt arrived.
    pub fn is_lost(&self) {
        self.0.store(LOST, Ordering::SeqCst);
    }

    /// Withdraws a vote that has not left.
    pub fn give_up(&self, reason: &str) -> Refusal {
        let reason = reason.to_owned();
        match self
            .0
            .compare_exchange(WAITING, WITHDRAWN, Ordering::SeqCst, Ordering::SeqCst)
        {
            Ok(_) | Err(WITHDRAWN) => Refusal::Unreachable { reason },
            Err(_) => Refusal::Unconfirmed { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawn_vote_never_leaves() {
        let fate = Fate::default();
        assert!(matches!(fate.give_up("late"), Refusal::Unreachable { .. }));
        assert!(!fate.depart());
    }

    #[test]
    fn a_vote_that_has_left_is_unconfirmed_unless_the_server_refused_it() {
        let fate = Fate::default();
        assert!(fate.depart() && fate.depart(), "it may be sent again");
        assert!(matches!(fate.give_up("late"), Refusal::Unconfirmed { .. }));
        fate.came_back();
        assert!(matches!(fate.give_up("late"), Refusal::Unreachable { .. }));
    }

    #[test]
    fn what_may_have_arrived_once_is_unconfirmed_however_often_it_is_refused_later() {
        let fate = Fate::default();
        assert!(fate.depart());
        fate.is_lost();
        assert!(fate.depart(), "it is sent again");
        fate.came_back();
        assert!(matches!(fate.give_up("late"), Refusal::Unconfirmed { .. }));
    }
}
