//! One action, tried until it is done or hopeless.

use std::{collections::BTreeMap, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use super::{
    apply::{Event, Observer},
    host_key::HostKey,
    order::{Action, Node},
    resource::{Resource, Spec, TAG_HOST_KEY},
};
use crate::ports::cloud::{Cloud, CloudError, Creation, Fault, Handle, Known};

/// How long failures that may pass are borne.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Before the second attempt; doubles with each, with jitter.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// With throttling and with an endpoint that gives no answer.
    pub no_answer: Duration,
    /// With things that are not to be seen yet.
    pub not_yet: Duration,
    /// With things that are still in use.
    pub in_use: Duration,
    /// Between a creation without an answer and looking whether it happened.
    pub settle: Duration,
    /// For actions that run when the user interrupts.
    pub goodbye: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(5),
            no_answer: Duration::from_secs(60),
            not_yet: Duration::from_secs(120),
            in_use: Duration::from_secs(180),
            settle: Duration::from_secs(3),
            goodbye: Duration::from_secs(10),
        }
    }
}

impl Patience {
    fn limit(&self, fault: Fault) -> Duration {
        match fault {
            Fault::Throttled | Fault::Unclear | Fault::Unreachable => self.no_answer,
            Fault::NotYet => self.not_yet,
            Fault::InUse => self.in_use,
            Fault::Denied
            | Fault::Credentials
            | Fault::Quota
            | Fault::Occupied
            | Fault::Refused => Duration::ZERO,
        }
    }
}

/// One action with all it needs.
pub(super) struct Attempt<'a> {
    pub cloud: &'a dyn Cloud,
    pub patience: &'a Patience,
    pub observer: Observer<'a>,
    pub node: Node<'a>,
    pub known: Known,
}

impl Attempt<'_> {
    /// Tries until it is done, the failure will not pass, or patience ends.
    pub(super) async fn run(self) -> Result<Option<Handle>, CloudError> {
        let creation = match self.node.action {
            Action::Create(resource) => Some(self.creation(resource)),
            Action::Update(..) | Action::Delete(_) => None,
        };
        let mut failing_since = None;
        let mut waits = ExponentialBuilder::new()
            .with_min_delay(self.patience.first_wait)
            .with_max_delay(self.patience.longest_wait)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let error = match self.once(creation.as_ref()).await {
                Ok(handle) => return Ok(handle),
                Err(error) => error,
            };
            let error = self.explained(error).await;
            let since = *failing_since.get_or_insert_with(Instant::now);
            if !error.fault.passes() || since.elapsed() >= self.patience.limit(error.fault) {
                return Err(error);
            }
            (self.observer)(Event::Retried {
                key: self.node.key.clone(),
                verb: self.node.action.verb(),
                why: error.to_string(),
            });
            let mut wait = waits.next().unwrap_or(self.patience.longest_wait);
            if creation.is_some() && error.fault == Fault::Unclear {
                wait = wait.max(self.patience.settle);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, creation: Option<&Creation<'_>>) -> Result<Option<Handle>, CloudError> {
        match (self.node.action, creation) {
            (Action::Create(_), None) => unreachable!("run() prepares every creation"),
            (Action::Create(_), Some(creation)) => {
                self.cloud.create(creation, &self.known).await.map(Some)
            }
            (Action::Update(target, update), _) => {
                let id = target.id.map(str::to_owned).or_else(|| {
                    let known = self.known.get(self.node.key)?;
                    Some(known.id.clone())
                });
                let id = id.expect("an update waits for the creation");
                self.cloud.update(&id, target, update, &self.known).await?;
                Ok(None)
            }
            (Action::Delete(found), _) => {
                self.cloud.delete(found).await?;
                Ok(None)
            }
        }
    }

    /// Made once for all attempts, so that a repeated request is the same.
    fn creation<'b>(&'b self, resource: &'b Resource) -> Creation<'b> {
        let mut creation = Creation {
            key: self.node.key,
            resource,
            user_data: None,
            tags: BTreeMap::new(),
        };
        if let Spec::Instance(instance) = &resource.spec {
            let host_key = HostKey::generate();
            creation.user_data = Some(host_key.user_data(&instance.host));
            creation
                .tags
                .insert(TAG_HOST_KEY.to_owned(), host_key.public);
        }
        creation
    }

    /// A removal that waits for something that nobody will remove ends at
    /// once, and says what is in the way.
    async fn explained(&self, mut error: CloudError) -> CloudError {
        if let (Fault::InUse, Action::Delete(found)) = (error.fault, self.node.action)
            && let Ok(occupants) = self.cloud.occupants(found).await
            && !occupants.is_empty()
        {
            let list = occupants.join(", ");
            error.message = format!("not made by hafail and still there: {list}");
            error.fault = Fault::Occupied;
        }
        error
    }
}
