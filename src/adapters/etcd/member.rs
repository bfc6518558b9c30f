//! One member: its connection, and the streams kept open on it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use etcd_client::{Client, KvClient, LeaseKeepAliveStream, LeaseKeeper};
use tokio::time::Instant;

use super::{fault::Fault, link::Link};
use crate::ports::quorum::LeaseId;

/// A connection over which nothing came for so long, though it was asked, is
/// made anew: after a cut heals, the old one would wait for TCP's next try.
const SILENCE: Duration = Duration::from_secs(2);

/// Whole histories are read at once.
const LARGEST_ANSWER: usize = 64 << 20;

/// A stream of renewals.
pub(super) type Keep = (LeaseKeeper, LeaseKeepAliveStream);

pub(super) struct Member {
    link: Link,
    state: Mutex<State>,
}

struct State {
    client: Client,
    /// When something last came, or the connection was made anew.
    heard: Instant,
    keeps: BTreeMap<LeaseId, Keep>,
    /// The store's term when a majority last confirmed it here.
    term: Option<u64>,
}

impl Member {
    pub(super) fn new(link: Link) -> Self {
        let state = State {
            client: link.client(),
            heard: Instant::now(),
            keeps: BTreeMap::new(),
            term: None,
        };
        Self {
            link,
            state: Mutex::new(state),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.link.name()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn client(&self) -> Client {
        self.state().client.clone()
    }

    pub(super) fn reader(&self) -> KvClient {
        let client = self.state().client.kv_client();
        client.max_decoding_message_size(LARGEST_ANSWER)
    }

    /// The open stream of a lease, to be put back after use. One that is not
    /// put back may have an answer on its way and is of no more use.
    pub(super) fn take_keep(&self, lease: LeaseId) -> Option<Keep> {
        self.state().keeps.remove(&lease)
    }

    pub(super) fn put_keep(&self, lease: LeaseId, keep: Keep) {
        self.state().keeps.insert(lease, keep);
    }

    pub(super) fn term(&self) -> Option<u64> {
        self.state().term
    }

    pub(super) fn put_term(&self, term: u64) {
        self.state().term = Some(term);
    }

    pub(super) fn forget(&self, lease: LeaseId) {
        self.state().keeps.remove(&lease);
    }

    /// Asks, and takes note of whether anything came back.
    pub(super) async fn asked<T, F>(
        self: &Arc<Self>,
        ask: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let silent = Silent(self);
        let answer = ask(Arc::clone(self)).await;
        std::mem::forget(silent);
        self.state().heard = Instant::now();
        answer
    }
}

/// A question that is given up without an answer.
struct Silent<'a>(&'a Member);

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.heard.elapsed() > SILENCE {
            state.client = self.0.link.client();
            state.heard = Instant::now();
            state.keeps.clear();
        }
    }
}
