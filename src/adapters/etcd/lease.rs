//! Leases at one member. All of it may be asked of several.

use std::{sync::Arc, time::Duration};

use etcd_client::{Error, LeaseGrantOptions};

use super::{
    fault::Fault,
    member::{Keep, Member},
};
use crate::ports::quorum::{LeaseId, QuorumError};

/// What etcd says where another member has just made the same lease.
const EXISTS: &str = "etcdserver: lease already exists";
/// What the client library says of a lease that has ended.
const ENDED: &str = "lease not found";

/// Makes the lease of that id. etcd counts whole seconds: a fraction is
/// rounded up.
pub(super) async fn grant(member: Arc<Member>, id: LeaseId, ttl: Duration) -> Result<(), Fault> {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    let seconds = i64::try_from(seconds).map_err(|_| Fault::refused("a lease that long"))?;
    let options = LeaseGrantOptions::new().with_id(id.0);
    match member.client().lease_grant(seconds, Some(options)).await {
        Ok(_) => Ok(()),
        Err(Error::GRpcStatus(status)) if status.message() == EXISTS => Ok(()),
        Err(error) => Err(Fault::of(error, None)),
    }
}

/// Renews over the stream that is open for it, or opens one.
pub(super) async fn renew(member: Arc<Member>, lease: LeaseId) -> Result<(), Fault> {
    let keep = match member.take_keep(lease) {
        Some(keep) => again(keep, lease).await?,
        None => None,
    };
    let keep = match keep {
        Some(keep) => keep,
        None => open(&member, lease).await?,
    };
    member.put_keep(lease, keep);
    Ok(())
}

/// None: the stream had broken before.
async fn again((mut keeper, mut stream): Keep, lease: LeaseId) -> Result<Option<Keep>, Fault> {
    if keeper.keep_alive().await.is_err() {
        return Ok(None);
    }
    match stream.message().await {
        Ok(Some(answer)) if answer.ttl() > 0 => Ok(Some((keeper, stream))),
        Ok(Some(_)) => Err(Fault::Said(QuorumError::NoSuchLease(lease))),
        Ok(None) | Err(_) => Ok(None),
    }
}

async fn open(member: &Member, lease: LeaseId) -> Result<Keep, Fault> {
    let opened = member.client().lease_keep_alive(lease.0).await;
    opened.map_err(|error| match error {
        Error::LeaseKeepAliveError(why) if why == ENDED => {
            Fault::Said(QuorumError::NoSuchLease(lease))
        }
        error => Fault::of(error, Some(lease)),
    })
}

pub(super) async fn revoke(member: Arc<Member>, lease: LeaseId) -> Result<(), Fault> {
    let revoked = member.client().lease_revoke(lease.0).await;
    revoked
        .map(|_| ())
        .map_err(|error| Fault::of(error, Some(lease)))
}
