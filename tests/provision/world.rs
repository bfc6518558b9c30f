//! A deployment in an account of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_ec2::config::{
    AsyncSleep, BehaviorVersion, Credentials, Region as SdkRegion, SharedAsyncSleep,
    SharedCredentialsProvider, Sleep,
};
use hafail::{
    adapters::aws::{Aws, Clients},
    ports::cloud::{Cloud, CloudError},
    provision::{
        self, Applied, ApplyError, Changes, Patience,
        resource::{Discovered, Key, Resources},
    },
    topology::{Role, Topology},
};
use tokio_util::sync::CancellationToken;

use super::proxy::Proxy;

const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGcREuOVuvG3DmJbtPyJjfZoUxfPsjONQEOH4BIZwXzt";

/// One deployment and the way to its cloud.
pub struct World {
    pub topology: Topology,
    pub wanted: Resources,
    pub proxy: Proxy,
    pub cloud: Aws,
    pub patience: Patience,
}

/// The shipped topology.
pub fn two_regions() -> Topology {
    let file = "topologies/two-regions.yaml";
    let text = std::fs::read_to_string(file).unwrap();
    Topology::parse(&text, file).unwrap()
}

/// The same with two hosts in each site: all kinds of resources, fewer calls.
pub fn small() -> Topology {
    let mut topology = two_regions();
    for site in topology.sites.values_mut() {
        site.hosts
            .retain(|_, host| host.is(Role::Lb) || host.is(Role::Db));
    }
    topology
}

/// The same, where health checks choose what names answer.
pub fn checked() -> Topology {
    let mut topology = small();
    let dns = topology.dns.as_mut().unwrap();
    dns.cutover = hafail::topology::Cutover::HealthCheck;
    topology
}

/// Waits of retries pass fifty times as fast. They have jitter: whole seconds
/// are time limits, and stay.
#[derive(Debug)]
struct Hasty;

impl AsyncSleep for Hasty {
    fn sleep(&self, time: Duration) -> Sleep {
        let short = time.subsec_nanos() != 0;
        let time = if short { time / 50 } else { time };
        Sleep::new(tokio::time::sleep(time))
    }
}

impl World {
    /// The shipped topology in an empty account.
    pub async fn new() -> Self {
        Self::of(two_regions()).await
    }

    /// A topology in an empty account.
    pub async fn of(topology: Topology) -> Self {
        let proxy = Proxy::start().await;
        let wanted = provision::desired(&topology, Some(PUBLIC_KEY));
        let config = config(&format!("http://{}", proxy.address));
        let clients = Clients::from_config(&config, provision::regions(&topology));
        Self {
            topology,
            wanted,
            proxy,
            cloud: Aws { clients },
            patience: Patience {
                first_wait: Duration::from_millis(5),
                longest_wait: Duration::from_millis(100),
                no_answer: Duration::from_secs(20),
                not_yet: Duration::from_secs(10),
                in_use: Duration::from_secs(10),
                settle: Duration::from_millis(10),
                goodbye: Duration::from_secs(10),
            },
        }
    }

    pub async fn discover(&self) -> Result<Discovered, CloudError> {
        self.cloud.discover(&provision::scope(&self.topology)).await
    }

    pub async fn changes(&self) -> Changes {
        let found = self.discover().await.unwrap();
        provision::diff(&self.wanted, &found, &BTreeSet::new())
    }

    /// Makes what differs so.
    pub async fn deploy(&self) -> Result<Applied, ApplyError> {
        self.deploy_until(&CancellationToken::new(), &BTreeSet::new())
            .await
    }

    pub async fn deploy_until(
        &self,
        stop: &CancellationToken,
        replace: &BTreeSet<Key>,
    ) -> Result<Applied, ApplyError> {
        let found = self.discover().await.map_err(|error| ApplyError::Failed {
            errors: BTreeMap::from([(Key::new("discovery"), error)]),
            left: 0,
        })?;
        let changes = provision::diff(&self.wanted, &found, replace);
        self.apply(&changes, &found, stop).await
    }

    pub async fn destroy(&self) -> Result<Applied, ApplyError> {
        let found = self.discover().await.unwrap();
        let changes = provision::removal(&self.wanted, &found);
        self.apply(&changes, &found, &CancellationToken::new())
            .await
    }

    async fn apply(
        &self,
        changes: &Changes,
        found: &Discovered,
        stop: &CancellationToken,
    ) -> Result<Applied, ApplyError> {
        let Self {
            cloud, patience, ..
        } = self;
        provision::apply(cloud, changes, found, patience, &|_| {}, stop).await
    }

    /// Fails where anything is not as wanted.
    pub async fn assert_settled(&self) {
        let changes = self.changes().await;
        assert!(changes.is_empty(), "{}", provision::render::text(&changes));
    }

    /// The plan names the resource and says this; the next deploy mends it.
    pub async fn shows_and_mends(&self, key: &str, says: &str) {
        let changes = self.changes().await;
        let text = provision::render::text(&changes);
        let shown = changes.entries.contains_key(&Key::new(key));
        assert!(shown, "{key}:\n{text}");
        assert!(text.contains(says), "{says}:\n{text}");
        let deployed = self.deploy().await;
        deployed.unwrap_or_else(|error| panic!("{key}: {error}"));
        self.assert_settled().await;
    }

    /// EC2 in the region of a site, past the tests' own bookkeeping.
    pub fn ec2(&self, site: &str) -> aws_sdk_ec2::Client {
        let site = self.topology.site_in(site).unwrap();
        self.cloud
            .clients
            .ec2(Some(&site.region))
            .unwrap()
            .read
            .clone()
    }

    pub fn route53(&self) -> aws_sdk_route53::Client {
        self.cloud.clients.route53().read.clone()
    }

    /// The cloud's id of a resource.
    pub async fn id(&self, key: &str) -> String {
        self.discover().await.unwrap().entries[&Key::new(key)]
            .id
            .clone()
    }
}

/// An SDK configuration for an endpoint of the tests.
pub fn config(endpoint: &str) -> aws_config::SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "tests");
    aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(SdkRegion::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .sleep_impl(SharedAsyncSleep::new(Hasty))
        .build()
}
