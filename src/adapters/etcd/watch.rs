//! Waits for changes. All members are watched at once: the first event wakes,
//! and one that is frozen or cut off delays nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use etcd_client::WatchOptions;
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, interval_at, sleep, sleep_until};

use super::{PARTS, fault::Fault, member::Member};
use crate::ports::quorum::{QuorumError, Revision};

pub(super) async fn changed(
    members: &[Arc<Member>],
    prefix: &str,
    after: Revision,
    within: Duration,
    deadline: Duration,
) -> Result<bool, QuorumError> {
    let until = Instant::now() + within;
    let watches: Vec<_> = members.iter().map(Watch::new).collect();
    let pause = deadline / PARTS;
    let mut watching: FuturesUnordered<_> = watches
        .iter()
        .map(|watch| watch.next(prefix, after, Duration::ZERO))
        .collect();
    let mut faults = BTreeMap::new();
    let mut look = interval_at(Instant::now() + deadline, deadline);
    loop {
        tokio::select! {
            biased;
            Some((watch, seen)) = watching.next() => match seen {
                Ok(()) => return Ok(true),
                Err(Fault::Said(error)) => return Err(error),
                Err(Fault::Away(why)) => {
                    faults.insert(watch.member.name(), why);
                    watching.push(watch.next(prefix, after, pause));
                }
            },
            () = sleep_until(until) => return Ok(false),
            _ = look.tick() => if watches.iter().all(|watch| !watch.stands()) {
                let faults = watches.iter().map(|watch| {
                    let name = watch.member.name();
                    let why = faults.get(name).map_or("no answer", String::as_str);
                    format!("{name}: {why}")
                });
                let why = faults.collect::<Vec<_>>().join("; ");
                return Err(QuorumError::Unreachable { why });
            },
        }
    }
}

struct Watch<'a> {
    member: &'a Arc<Member>,
    stands: AtomicBool,
}

impl<'a> Watch<'a> {
    fn new(member: &'a Arc<Member>) -> Self {
        Self {
            member,
            stands: AtomicBool::new(false),
        }
    }

    fn stands(&self) -> bool {
        self.stands.load(Ordering::Relaxed)
    }

    /// Ends with the first event, or when the watch breaks.
    async fn next(
        &self,
        prefix: &str,
        after: Revision,
        pause: Duration,
    ) -> (&Self, Result<(), Fault>) {
        sleep(pause).await;
        let seen = self.member.asked(|_| self.event(prefix, after)).await;
        self.stands.store(false, Ordering::Relaxed);
        (self, seen)
    }

    async fn event(&self, prefix: &str, after: Revision) -> Result<(), Fault> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(after.0 + 1);
        let fault = |error| Fault::of(error, None);
        let watch = self.member.client().watch(prefix, Some(options)).await;
        let mut watch = watch.map_err(fault)?;
        while let Some(answer) = watch.message().await.map_err(fault)? {
            // Changes that the store has forgotten are changes.
            if !answer.events().is_empty() || answer.compact_revision() > 0 {
                return Ok(());
            }
            if answer.canceled() {
                return Err(Fault::Away(answer.cancel_reason().to_owned()));
            }
            self.stands.store(true, Ordering::Relaxed);
        }
        Err(Fault::Away("the watch ended".to_owned()))
    }
}
