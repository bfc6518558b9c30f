//! The cloud as provisioning needs it: find by tags, make, change, remove.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use async_trait::async_trait;
use secrecy::SecretString;

use crate::{
    ids::Region,
    provision::{
        diff::Update,
        order::Target,
        resource::{Discovered, Found, Key, Resource},
    },
};

/// What belongs to a deployment and where to look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Value of the tag `hafail:topology`.
    pub topology: String,
    pub regions: std::collections::BTreeSet<Region>,
    /// The hosted zone, its management and the names in it.
    pub zone: Option<ZoneScope>,
}

/// The zone of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneScope {
    pub name: String,
    /// The zone is ours; otherwise only the named records are.
    pub managed: bool,
    /// What health checks of ours may be called.
    pub checks: std::collections::BTreeSet<Key>,
    pub records: std::collections::BTreeSet<String>,
}

/// A resource to be made.
pub struct Creation<'a> {
    pub key: &'a Key,
    pub resource: &'a Resource,
    /// Instances only: holds the private SSH host key.
    pub user_data: Option<SecretString>,
    /// Tags beyond those of the resource.
    pub tags: BTreeMap<String, String>,
}

/// The cloud's name of something, and its address if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    pub id: String,
    pub address: Option<Ipv4Addr>,
}

/// The resources that exist by now, by logical name.
pub type Known = BTreeMap<Key, Handle>;

/// The cloud. Every call either has its effect or can be made again: nothing
/// that it makes is made twice.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Everything that carries the tags of the deployment.
    async fn discover(&self, scope: &Scope) -> Result<Discovered, CloudError>;

    /// Looks for the resource by its tags, makes it when it is not there, and
    /// waits until it can be used.
    async fn create(&self, creation: &Creation<'_>, known: &Known) -> Result<Handle, CloudError>;

    /// Makes the update so. `id` names the resource.
    async fn update(
        &self,
        id: &str,
        target: Target<'_>,
        update: &Update,
        known: &Known,
    ) -> Result<(), CloudError>;

    /// Removes it, and waits until it is gone. What is gone already is fine.
    async fn delete(&self, found: &Found) -> Result<(), CloudError>;

    /// What is in a VPC, subnet, group or zone that the deployment did not
    /// make, by kind and id: it keeps it from removal.
    async fn occupants(&self, found: &Found) -> Result<Vec<String>, CloudError>;

    /// The instances of the deployment in a region, terminated ones excepted.
    /// Quick: gives up within seconds where the region does not answer.
    async fn machines(
        &self,
        region: &Region,
        topology: &str,
    ) -> Result<Vec<MachineFacts>, CloudError>;
}

/// An instance as the cloud describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFacts {
    pub key: Key,
    pub id: String,
    /// `pending`, `running`, `stopping`, `stopped`.
    pub state: String,
    pub private_address: Option<Ipv4Addr>,
    /// Elastic IP.
    pub public_address: Option<Ipv4Addr>,
    /// From the tag `hafail:ssh-host-key`.
    pub host_key: Option<String>,
}

/// A call that the cloud did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudError {
    /// Also the name of the permission, such as `ec2:RunInstances`.
    pub call: String,
    pub region: Option<Region>,
    pub fault: Fault,
    /// What the cloud said.
    pub message: String,
}

/// What kind of failure it was; decides what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many requests; surely nothing happened.
    Throttled,
    /// No answer, or an internal error: it may have happened.
    Unclear,
    /// No connection; surely nothing happened.
    Unreachable,
    /// The credentials lack the permission that `call` names.
    Denied,
    /// No credentials, or wrong ones.
    Credentials,
    /// Not there, or not in the right state, yet: eventual consistency.
    NotYet,
    /// Something else still needs it.
    InUse,
    /// Holds something that others made.
    Occupied,
    /// A quota of the account, or no capacity.
    Quota,
    /// The cloud understood and refused.
    Refused,
}

impl Fault {
    /// Whether the same call may go through later.
    #[must_use]
    pub fn passes(self) -> bool {
        match self {
            Self::Throttled | Self::Unclear | Self::Unreachable | Self::NotYet | Self::InUse => {
                true
            }
            Self::Denied | Self::Credentials | Self::Quota | Self::Occupied | Self::Refused => {
                false
            }
        }
    }
}

impl CloudError {
    /// What the user can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let endpoint = "AWS_ENDPOINT_URL (unset for AWS itself)";
        match self.fault {
            Fault::Throttled => "the account's request rate is used up; run the same command again in a minute".to_owned(),
            Fault::Unclear => "run the same command again: it looks first and makes nothing twice".to_owned(),
            Fault::Unreachable => format!("check the network and {endpoint}, then run the same command again"),
            Fault::Denied => format!(
                "add {} to the policy of these credentials; docs/iam-policy.json has all that hafail needs",
                self.call
            ),
            Fault::Credentials => format!(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; `aws sts get-caller-identity` shows who they are; check {endpoint} too"
            ),
            Fault::NotYet => "the cloud is slow to show what was made; run the same command again".to_owned(),
            Fault::InUse => "remove what still uses it, or run the same command again when it is gone".to_owned(),
            Fault::Occupied => "hafail removes only what it made: remove these yourself, then run the same command again".to_owned(),
            Fault::Quota => "raise the quota of the account (Service Quotas console) or free some, then run the same command again".to_owned(),
            Fault::Refused => "correct what the message names, then run the same command again".to_owned(),
        }
    }
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.call)?;
        if let Some(region) = &self.region {
            write!(f, " in {region}")?;
        }
        match self.fault {
            Fault::Throttled => write!(f, " was throttled: {}", self.message),
            Fault::Unclear => write!(f, " got no clear answer: {}", self.message),
            Fault::Unreachable => write!(f, ": the endpoint cannot be reached: {}", self.message),
            Fault::Denied => write!(f, " is not permitted: {}", self.message),
            Fault::Credentials if self.message.contains("no providers in chain") => {
                f.write_str(": there are no credentials")
            }
            Fault::Credentials => {
                write!(f, ": the credentials were not accepted: {}", self.message)
            }
            Fault::NotYet | Fault::InUse | Fault::Occupied | Fault::Quota | Fault::Refused => {
                write!(f, ": {}", self.message)
            }
        }
    }
}

impl std::error::Error for CloudError {}
