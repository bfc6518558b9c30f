//! Leases at one member. All of it may be asked of several.

use std::{sync::Arc, time::Duration};

use etcd_client::{Error, GetOptions, LeaseGrantOptions, ResponseHeader};

use super::{
    fault::Fault,
    member::{Keep, Member},
};
use crate::ports::quorum::{LeaseId, QuorumError};

/// Any will do, there or not.
const ANY_KEY: &str = "/hafail";
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

/// Renews, and sees to it that a leader with a majority has done so. etcd 3.4
/// lets a deposed leader, cut off and not aware of it yet, renew leases that
/// its successor ends: only a term that is the same before and after, and a
/// read that a majority confirmed, tell one from the other.
pub(super) async fn renew(member: Arc<Member>, lease: LeaseId) -> Result<(), Fault> {
    let mut before = member.term();
    for _ in 0..2 {
        let known = match before {
            Some(term) => term,
            None => confirmed_term(&member).await?,
        };
        keep_alive(&member, lease).await?;
        let after = confirmed_term(&member).await?;
        member.put_term(after);
        if known == after {
            return Ok(());
        }
        before = Some(after);
    }
    Err(Fault::Away("its leader changes again and again".to_owned()))
}

/// The term of the store, by a read that a majority confirmed just now.
async fn confirmed_term(member: &Member) -> Result<u64, Fault> {
    let options = GetOptions::new().with_count_only();
    let answer = member.client().get(ANY_KEY, Some(options)).await;
    let answer = answer.map_err(|error| Fault::of(error, None))?;
    let header = answer.header();
    header
        .map(ResponseHeader::raft_term)
        .ok_or_else(|| Fault::refused("an answer without a term"))
}

/// Over the stream that is open for it, or a new one.
async fn keep_alive(member: &Arc<Member>, lease: LeaseId) -> Result<(), Fault> {
    let keep = match member.take_keep(lease) {
        Some(keep) => again(keep, lease).await?,
        None => None,
    };
    let keep = match keep {
        Some(keep) => keep,
        None => open(member, lease).await?,
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
