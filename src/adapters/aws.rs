//! AWS, or whatever answers at `AWS_ENDPOINT_URL`: the one place where its
//! clients are made, and the implementation of the cloud port.

mod calls;
mod create;
mod delete;
mod discover;
mod fault;
mod gather;
mod health;
mod ids;
mod instance;
pub mod machines;
#[cfg(test)]
mod policy_test;
pub mod records;
mod rules;
mod sets;
pub mod topic;
mod update;
mod wait;
mod zone;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_ec2::config::{Region as SdkRegion, retry::RetryConfig, timeout::TimeoutConfig};

use crate::{
    ids::Region,
    ports::cloud::{Cloud, CloudError, Creation, Fault, Handle, Known, MachineFacts, Scope},
    provision::{
        diff::Update,
        order::Target,
        resource::{Discovered, Found},
    },
};

/// The clients of a deployment: EC2 in each of its regions, and Route 53.
/// Credentials come from the standard chain.
#[derive(Clone)]
pub struct Clients {
    regions: BTreeMap<Region, Regional>,
    route53: Route53,
}

/// EC2 in one region, by the patience that a call deserves.
#[derive(Clone)]
pub struct Regional {
    pub region: Region,
    /// For questions: asked again when throttled or unanswered.
    pub read: aws_sdk_ec2::Client,
    /// For what changes something: asked once. Whether to ask again is
    /// decided by [`crate::provision`], which looks first.
    pub write: aws_sdk_ec2::Client,
    /// For questions and orders during a failover, when the region may be
    /// down: gives up within seconds.
    pub quick: aws_sdk_ec2::Client,
}

/// Route 53, by the patience that a call deserves, like [`Regional`].
#[derive(Clone)]
pub struct Route53 {
    pub read: aws_sdk_route53::Client,
    pub write: aws_sdk_route53::Client,
    pub quick: aws_sdk_route53::Client,
}

/// Credentials and all else of the standard chain.
async fn standard(region: &str) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(SdkRegion::new(region.to_owned()))
        .load()
        .await
}

impl Clients {
    /// Makes the clients. Opens no connection.
    pub async fn new(regions: impl IntoIterator<Item = Region>) -> Self {
        let regions: BTreeSet<Region> = regions.into_iter().collect();
        // Naming a region keeps the SDK from asking a metadata service for it.
        let any = regions.first().map_or("us-east-1", Region::as_str);
        Self::from_config(&standard(any).await, regions)
    }

    /// Makes the clients with an endpoint and credentials of one's own.
    #[must_use]
    pub fn from_config(shared: &SdkConfig, regions: impl IntoIterator<Item = Region>) -> Self {
        let regional = |region: Region| (region.clone(), Regional::new(shared, region));
        Self {
            regions: regions.into_iter().map(regional).collect(),
            route53: Route53::new(shared),
        }
    }

    /// The clients of a region.
    ///
    /// # Errors
    /// The region is none of the deployment's.
    pub fn ec2(&self, region: Option<&Region>) -> Result<&Regional, CloudError> {
        let found = region.and_then(|region| self.regions.get(region));
        found.ok_or_else(|| CloudError {
            call: "ec2".to_owned(),
            region: region.cloned(),
            fault: Fault::Refused,
            message: "the topology has no site in this region".to_owned(),
        })
    }

    /// All regions.
    pub fn regions(&self) -> impl Iterator<Item = &Regional> {
        self.regions.values()
    }

    /// The clients of Route 53.
    #[must_use]
    pub fn route53(&self) -> &Route53 {
        &self.route53
    }
}

/// How a client treats a call.
struct Manner {
    retry: RetryConfig,
    timeout: TimeoutConfig,
}

impl Manner {
    fn new(attempts: u32, connect: u64, attempt: u64) -> Self {
        let retry = RetryConfig::standard()
            .with_max_attempts(attempts)
            .with_initial_backoff(Duration::from_millis(100))
            .with_max_backoff(Duration::from_secs(5));
        let timeout = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(connect))
            .operation_attempt_timeout(Duration::from_secs(attempt))
            .build();
        Self { retry, timeout }
    }

    fn read() -> Self {
        Self::new(7, 4, 20)
    }

    fn write() -> Self {
        Self::new(1, 4, 30)
    }

    fn quick() -> Self {
        Self::new(2, 1, 3)
    }
}

impl Regional {
    fn new(shared: &SdkConfig, region: Region) -> Self {
        let client = |manner: Manner| {
            let config = aws_sdk_ec2::config::Builder::from(shared)
                .region(SdkRegion::new(region.to_string()))
                .retry_config(manner.retry)
                .timeout_config(manner.timeout)
                .build();
            aws_sdk_ec2::Client::from_conf(config)
        };
        Self {
            read: client(Manner::read()),
            write: client(Manner::write()),
            quick: client(Manner::quick()),
            region,
        }
    }
}

impl Route53 {
    fn new(shared: &SdkConfig) -> Self {
        let client = |manner: Manner| {
            let config = aws_sdk_route53::config::Builder::from(shared)
                .retry_config(manner.retry)
                .timeout_config(manner.timeout)
                .build();
            aws_sdk_route53::Client::from_conf(config)
        };
        Self {
            read: client(Manner::read()),
            write: client(Manner::write()),
            quick: client(Manner::quick()),
        }
    }
}

/// The cloud port on AWS.
#[derive(Clone)]
pub struct Aws {
    pub clients: Clients,
}

#[async_trait]
impl Cloud for Aws {
    async fn discover(&self, scope: &Scope) -> Result<Discovered, CloudError> {
        discover::discover(&self.clients, scope).await
    }

    async fn create(&self, creation: &Creation<'_>, known: &Known) -> Result<Handle, CloudError> {
        create::create(&self.clients, creation, known).await
    }

    async fn update(
        &self,
        id: &str,
        target: Target<'_>,
        update: &Update,
        known: &Known,
    ) -> Result<(), CloudError> {
        update::update(&self.clients, id, target, update, known).await
    }

    async fn delete(&self, found: &Found) -> Result<(), CloudError> {
        delete::delete(&self.clients, found).await
    }

    async fn occupants(&self, found: &Found) -> Result<Vec<String>, CloudError> {
        delete::occupants(&self.clients, found).await
    }

    async fn machines(
        &self,
        region: &Region,
        topology: &str,
    ) -> Result<Vec<MachineFacts>, CloudError> {
        machines::facts(self.clients.ec2(Some(region))?, topology).await
    }
}
