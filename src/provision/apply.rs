//! Makes changes: every action as soon as what it waits for is done, all
//! regions and instances at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{Attempt, Patience},
    diff::{Changes, What},
    order::{self, Node},
    resource::{Discovered, Key},
};
use crate::ports::cloud::{Cloud, CloudError, Handle, Known};

/// What happens, as it happens.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    Started {
        key: Key,
        verb: &'static str,
    },
    /// Tried again later.
    Retried {
        key: Key,
        verb: &'static str,
        why: String,
    },
    Finished {
        key: Key,
        verb: &'static str,
        milliseconds: u64,
        done: usize,
        total: usize,
    },
    Failed {
        key: Key,
        verb: &'static str,
        why: String,
    },
}

/// Takes the events of a run.
pub type Observer<'a> = &'a (dyn Fn(Event) + Send + Sync);

/// How far a run came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    pub created: usize,
    pub updated: usize,
    pub deleted: usize,
}

/// Why not everything was done. What was done stays, and the next run goes on
/// from there.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{}", failures(.errors, *.left))]
    Failed {
        /// The first failure of each resource that failed.
        errors: BTreeMap<Key, CloudError>,
        /// Actions that were not done.
        left: usize,
    },
    #[error("interrupted with {done} of {total} actions done; now undecided: {}", undecided(.open))]
    Interrupted {
        done: usize,
        total: usize,
        /// Actions that had been asked for and not been answered.
        open: Vec<String>,
    },
    #[error("{key} needs a decision: {why}")]
    Blocked {
        key: Key,
        why: String,
        remedy: String,
    },
}

fn failures(errors: &BTreeMap<Key, CloudError>, left: usize) -> String {
    let lines: Vec<String> = errors
        .iter()
        .map(|(key, error)| format!("{key}: {error}"))
        .collect();
    format!("{}\n{left} actions were not done", lines.join("\n"))
}

fn undecided(open: &[String]) -> String {
    if open.is_empty() {
        "nothing".to_owned()
    } else {
        open.join(", ")
    }
}

/// Makes the changes. Ends early, with what runs finished or given up within
/// [`Patience::goodbye`], once `stop` is cancelled.
///
/// # Errors
/// The first failure of each resource; others that do not depend on it are
/// done nevertheless.
pub async fn apply(
    cloud: &dyn Cloud,
    changes: &Changes,
    found: &Discovered,
    patience: &Patience,
    observer: Observer<'_>,
    stop: &CancellationToken,
) -> Result<Applied, ApplyError> {
    if let Some((key, why, remedy)) = changes.blocked().next() {
        return Err(ApplyError::Blocked {
            key: key.clone(),
            why: why.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
    let mut run = Run::new(cloud, order::order(changes), found, patience, observer);
    run.go(stop).await?;
    Ok(count(changes))
}

fn count(changes: &Changes) -> Applied {
    let mut applied = Applied::default();
    for change in changes.entries.values() {
        match change.what {
            What::Create { .. } => applied.created += 1,
            What::Update { .. } => applied.updated += 1,
            What::Delete { .. } => applied.deleted += 1,
            What::Replace { .. } => {
                applied.created += 1;
                applied.deleted += 1;
            }
            What::Blocked { .. } => {}
        }
    }
    applied
}

/// At most so many actions at the same time: the API throttles beyond.
const WIDTH: usize = 16;

struct Run<'a> {
    cloud: &'a dyn Cloud,
    patience: &'a Patience,
    observer: Observer<'a>,
    nodes: Vec<Node<'a>>,
    known: Mutex<Known>,
    done: BTreeSet<usize>,
    open: BTreeSet<usize>,
    failed: BTreeMap<usize, CloudError>,
}

type Outcome = (usize, Instant, Result<Option<Handle>, CloudError>);

impl<'a> Run<'a> {
    fn new(
        cloud: &'a dyn Cloud,
        nodes: Vec<Node<'a>>,
        found: &Discovered,
        patience: &'a Patience,
        observer: Observer<'a>,
    ) -> Self {
        let handle = |found: &super::resource::Found| Handle {
            id: found.id.clone(),
            address: found.address,
        };
        let entries = found.entries.iter();
        let known = entries.map(|(key, found)| (key.clone(), handle(found)));
        Self {
            cloud,
            patience,
            observer,
            nodes,
            known: Mutex::new(known.collect()),
            done: BTreeSet::new(),
            open: BTreeSet::new(),
            failed: BTreeMap::new(),
        }
    }

    async fn go(&mut self, stop: &CancellationToken) -> Result<(), ApplyError> {
        let mut running: FuturesUnordered<BoxFuture<'a, Outcome>> = FuturesUnordered::new();
        loop {
            if !stop.is_cancelled() {
                while running.len() < WIDTH
                    && let Some(position) = self.next()
                {
                    running.push(self.start(position));
                }
            }
            let outcome = if stop.is_cancelled() {
                let last = tokio::time::timeout(self.patience.goodbye, running.next());
                last.await.unwrap_or(None)
            } else {
                tokio::select! {
                    () = stop.cancelled() => continue,
                    outcome = running.next() => outcome,
                }
            };
            match outcome {
                Some(outcome) => self.finish(outcome),
                None => break,
            }
        }
        self.result(stop.is_cancelled())
    }

    /// The next action that can start.
    fn next(&self) -> Option<usize> {
        let ready = |position: &usize| {
            !self.done.contains(position)
                && !self.open.contains(position)
                && !self.failed.contains_key(position)
                && self.nodes[*position].after.is_subset(&self.done)
        };
        (0..self.nodes.len()).find(ready)
    }

    fn start(&mut self, position: usize) -> BoxFuture<'a, Outcome> {
        self.open.insert(position);
        let node = self.nodes[position].clone();
        let verb = node.action.verb();
        let key = node.key.clone();
        (self.observer)(Event::Started { key, verb });
        let known = self.known.lock().expect("no holder panics").clone();
        let attempt = Attempt {
            cloud: self.cloud,
            patience: self.patience,
            observer: self.observer,
            node,
            known,
        };
        let since = Instant::now();
        async move { (position, since, attempt.run().await) }.boxed()
    }

    fn finish(&mut self, (position, since, result): Outcome) {
        self.open.remove(&position);
        let node = &self.nodes[position];
        let (key, verb) = (node.key.clone(), node.action.verb());
        match result {
            Ok(handle) => {
                if let Some(handle) = handle {
                    let mut known = self.known.lock().expect("no holder panics");
                    known.insert(key.clone(), handle);
                }
                self.done.insert(position);
                let milliseconds = since.elapsed().as_millis();
                (self.observer)(Event::Finished {
                    key,
                    verb,
                    milliseconds: u64::try_from(milliseconds).unwrap_or(u64::MAX),
                    done: self.done.len(),
                    total: self.nodes.len(),
                });
            }
            Err(error) => {
                let why = error.to_string();
                (self.observer)(Event::Failed { key, verb, why });
                self.failed.insert(position, error);
            }
        }
    }

    fn result(&self, interrupted: bool) -> Result<(), ApplyError> {
        let (done, total) = (self.done.len(), self.nodes.len());
        if !self.failed.is_empty() {
            let failed = self.failed.iter();
            let errors = failed.map(|(it, error)| (self.nodes[*it].key.clone(), error.clone()));
            return Err(ApplyError::Failed {
                errors: errors.collect(),
                left: total - done,
            });
        }
        if interrupted && done < total {
            let describe = |position: &usize| {
                let Node { key, action, .. } = &self.nodes[*position];
                format!("{} {key}", action.verb())
            };
            let open = self.open.iter().map(describe).collect();
            return Err(ApplyError::Interrupted { done, total, open });
        }
        assert_eq!(done, total, "the order of changes has no cycle");
        Ok(())
    }
}
