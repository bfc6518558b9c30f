//! Has the lab follow the API.
//!
//! One worker does everything that changes networks and containers, so that no
//! two changes meet. Requests that wait together are served by one pass.

mod affects;
mod machine_room;
mod pass;
mod resolvers;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

pub use affects::{Affected, affected};
pub use pass::{Start, run};

/// What the worker is asked.
#[derive(Debug)]
enum Request {
    /// The API has changed in `region`; answered when the lab has followed.
    Changed {
        region: Option<String>,
        affected: Affected,
        done: oneshot::Sender<()>,
    },
    /// These instances are taken care of by the asker until released: the
    /// worker neither starts nor plugs them. Answered once it has let go, with
    /// whether all of them are known in the region.
    Hold {
        region: String,
        instances: BTreeSet<String>,
        done: oneshot::Sender<bool>,
    },
    /// Ends [`Request::Hold`].
    Release { instances: BTreeSet<String> },
    /// A container has ended by itself or by anyone, with this status.
    Exited { instance: String, status: i32 },
    /// A task of the worker's own has ended; there may be more to do.
    Progress,
    /// What is known now.
    Report { done: oneshot::Sender<Report> },
}

/// The state of a lab, for people and tests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub regions: Vec<String>,
    pub networks: Vec<NetworkReport>,
    pub instances: Vec<InstanceReport>,
    /// What could not be done and is being tried again.
    pub problems: Vec<String>,
}

/// One VPC that is built, in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NetworkReport {
    pub region: String,
    pub vpc: String,
}

/// One instance in a [`Report`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceReport {
    pub id: String,
    /// Tag `Name`.
    pub name: Option<String>,
    pub region: String,
    /// What the API wants: `on` or `off`.
    pub wanted: String,
    /// What the container is: `on`, `off` or `absent`.
    pub machine: String,
    pub private_ip: String,
    pub public_ip: Option<String>,
}

/// Asks the worker.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::UnboundedSender<Request>,
}

impl Handle {
    /// A handle and the receiving end for [`run`].
    #[must_use]
    pub fn new() -> (Self, Inbox) {
        let (requests, inbox) = mpsc::unbounded_channel();
        (Self { requests }, Inbox(inbox))
    }

    async fn ask<T: Default>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> T {
        let (done, answer) = oneshot::channel();
        // The worker ends only with the daemon.
        let _ = self.requests.send(make(done));
        answer.await.unwrap_or_default()
    }

    /// Returns when the lab has followed a change of the API.
    pub async fn changed(&self, region: Option<String>, affected: Affected) {
        self.ask(|done| Request::Changed {
            region,
            affected,
            done,
        })
        .await;
    }

    /// Keeps the worker from the instances. False: not all of them are known.
    pub async fn hold(&self, region: &str, instances: &BTreeSet<String>) -> bool {
        let (region, instances) = (region.to_owned(), instances.clone());
        self.ask(|done| Request::Hold {
            region,
            instances,
            done,
        })
        .await
    }

    /// Gives the instances back to the worker.
    pub fn release(&self, instances: BTreeSet<String>) {
        let _ = self.requests.send(Request::Release { instances });
    }

    /// Tells that a container has ended.
    pub fn exited(&self, instance: String, status: i32) {
        let _ = self.requests.send(Request::Exited { instance, status });
    }

    /// Tells that a background task has ended.
    fn progress(&self) {
        let _ = self.requests.send(Request::Progress);
    }

    /// What is known now.
    pub async fn report(&self) -> Report {
        self.ask(|done| Request::Report { done }).await
    }
}

/// Where requests arrive.
pub struct Inbox(mpsc::UnboundedReceiver<Request>);
