//! etcd as the shared store. Each member has a connection of its own: the one
//! that answered last is asked first, the next one a fraction of the deadline
//! later, so that a member that is dead, frozen or cut off costs little. Only
//! what may be asked twice is asked so; a commit goes to one member, once.

mod ask;
mod fault;
mod lease;
mod link;
mod member;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, PutOptions, Txn, TxnOp};
use futures::future::join_all;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::link::{EtcdError, Tls};
use self::{ask::Missed, fault::Fault, member::Member};
use crate::{
    ids::HostName,
    ports::{
        quorum::{
            Change, Condition, LeaseId, MemberHealth, Quorum, QuorumError, Reading, Revision, Value,
        },
        remote::Remote,
    },
};

/// The parts of a deadline: one passes before the next member is asked too.
const PARTS: u32 = 4;

/// The store of a deployment.
pub struct Etcd {
    members: Vec<Arc<Member>>,
    deadline: Duration,
    /// Which member answered last, and when.
    good: Mutex<Option<(usize, Instant)>>,
}

impl Etcd {
    /// Members by URL, such as `https://site1-lb:2379`; each call ends within
    /// the deadline. Connects to nothing yet. Needs a running tokio.
    ///
    /// # Errors
    /// A URL or a certificate cannot be used.
    pub fn new(endpoints: &[String], tls: &Tls, deadline: Duration) -> Result<Self, EtcdError> {
        let links = endpoints
            .iter()
            .map(|url| link::Link::direct(url, tls, deadline));
        Self::of(links, deadline)
    }

    /// Members by host, each reached over a stream to its own loopback
    /// address: for operators, who have nothing but SSH.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn through(
        remote: &Arc<dyn Remote>,
        hosts: impl IntoIterator<Item = HostName>,
        port: u16,
        tls: &Tls,
        deadline: Duration,
    ) -> Result<Self, EtcdError> {
        let links = hosts
            .into_iter()
            .map(|host| link::Link::through(Arc::clone(remote), host, port, tls, deadline));
        Self::of(links, deadline)
    }

    fn of(
        links: impl Iterator<Item = Result<link::Link, EtcdError>>,
        deadline: Duration,
    ) -> Result<Self, EtcdError> {
        let members: Result<Vec<_>, _> = links
            .map(|link| link.map(|link| Arc::new(Member::new(link))))
            .collect();
        let members = members?;
        if members.is_empty() {
            return Err(EtcdError::NoMember);
        }
        Ok(Self {
            members,
            deadline,
            good: Mutex::new(None),
        })
    }

    fn unanswered(&self, missed: &Missed) -> QuorumError {
        QuorumError::Unanswered {
            within: self.deadline,
            why: missed.to_string(),
        }
    }

    /// A member that surely lives and knows a majority: one that answered a
    /// moment ago, or the first to answer a linearizable read now.
    async fn live(&self, key: &str, until: Instant) -> Result<Arc<Member>, Missed> {
        let good = *self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((index, at)) = good
            && at.elapsed() < self.deadline / PARTS
        {
            return Ok(Arc::clone(&self.members[index]));
        }
        let answered = self.first(until, |member| {
            let key = key.to_owned();
            async move {
                let options = GetOptions::new().with_count_only();
                let mut client = member.client();
                let read = client.get(key, Some(options)).await;
                read.map(|_| member).map_err(|error| Fault::of(error, None))
            }
        });
        answered.await
    }
}

#[async_trait]
impl Quorum for Etcd {
    async fn lease(&self, ttl: Duration) -> Result<LeaseId, QuorumError> {
        // The id is ours, so that asking twice makes one lease.
        let id = LeaseId(rand::random::<i64>() & i64::MAX | 1);
        self.idempotent(|member| lease::grant(member, id, ttl))
            .await
            .map(|()| id)
    }

    async fn renew(&self, lease: LeaseId) -> Result<(), QuorumError> {
        self.idempotent(|member| lease::renew(member, lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), QuorumError> {
        let revoked = self.idempotent(|member| lease::revoke(member, lease)).await;
        for member in &self.members {
            member.forget(lease);
        }
        match revoked {
            Err(QuorumError::NoSuchLease(_)) => Ok(()),
            other => other,
        }
    }

    async fn read(&self, prefix: &str) -> Result<Reading, QuorumError> {
        self.idempotent(|member| read(member, prefix.to_owned()))
            .await
    }

    async fn commit(
        &self,
        when: &[Condition],
        then: &[Change],
    ) -> Result<Option<Revision>, QuorumError> {
        let until = Instant::now() + self.deadline;
        let key = then.first().map_or("/", Change::key);
        let live = self.live(key, until).await;
        let member = live.map_err(|missed| {
            missed
                .refusal()
                .unwrap_or_else(|missed| QuorumError::Unreachable {
                    why: missed.to_string(),
                })
        })?;
        let (transaction, lease) = transaction(when, then);
        let sent = member.asked(async |member: Arc<Member>| {
            let answer = member.client().txn(transaction).await;
            answer.map_err(|error| Fault::of(error, lease))
        });
        let missed = match timeout_at(until, sent).await {
            Ok(Ok(answer)) => {
                self.remember(&member);
                let revision = answer.header().map(|header| Revision(header.revision()));
                return Ok(revision.filter(|_| answer.succeeded()));
            }
            Ok(Err(Fault::Said(error))) => return Err(error),
            Ok(Err(Fault::Away(why))) => why,
            Err(_) => "no answer".to_owned(),
        };
        Err(self.unanswered(&Missed::one(member.name(), missed)))
    }

    async fn changed(
        &self,
        prefix: &str,
        after: Revision,
        within: Duration,
    ) -> Result<bool, QuorumError> {
        watch::changed(&self.members, prefix, after, within, self.deadline).await
    }

    async fn members(&self) -> BTreeMap<String, MemberHealth> {
        let asked = self.members.iter().map(async |member| {
            let health = timeout(self.deadline, health(member)).await;
            let health = health.unwrap_or_else(|_| MemberHealth::Unknown {
                why: format!("no answer within {:?}", self.deadline),
            });
            (member.name().to_owned(), health)
        });
        join_all(asked).await.into_iter().collect()
    }
}

async fn read(member: Arc<Member>, prefix: String) -> Result<Reading, Fault> {
    let options = GetOptions::new().with_prefix();
    let answer = member.reader().get(prefix, Some(options)).await;
    let answer = answer.map_err(|error| Fault::of(error, None))?;
    let mut reading = Reading {
        revision: Revision(
            answer
                .header()
                .map_or(0, etcd_client::ResponseHeader::revision),
        ),
        values: BTreeMap::new(),
    };
    for pair in answer.kvs() {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|_| Fault::refused("a key or value is no text"))
        };
        let value = Value {
            text: text(pair.value())?,
            created: Revision(pair.create_revision()),
            modified: Revision(pair.mod_revision()),
            lease: (pair.lease() != 0).then(|| LeaseId(pair.lease())),
        };
        reading.values.insert(text(pair.key())?, value);
    }
    Ok(reading)
}

/// In etcd's words; with the lease that it names.
fn transaction(when: &[Condition], then: &[Change]) -> (Txn, Option<LeaseId>) {
    let compares: Vec<_> = when.iter().map(compare).collect();
    let mut named = None;
    let operations: Vec<_> = then
        .iter()
        .map(|change| match change {
            Change::Put { key, text, lease } => {
                named = named.or(*lease);
                let options = lease.map(|LeaseId(id)| PutOptions::new().with_lease(id));
                TxnOp::put(key.as_str(), text.as_str(), options)
            }
            Change::Delete { key } => TxnOp::delete(key.as_str(), None),
        })
        .collect();
    (Txn::new().when(compares).and_then(operations), named)
}

fn compare(condition: &Condition) -> Compare {
    match condition {
        // Of a key that is not there, etcd says that revision 0 made it.
        Condition::Absent { key } => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
        Condition::CreatedAt { key, created } => {
            Compare::create_revision(key.as_str(), CompareOp::Equal, created.0)
        }
        Condition::ModifiedAt { key, modified } => {
            Compare::mod_revision(key.as_str(), CompareOp::Equal, modified.0)
        }
    }
}

async fn health(member: &Member) -> MemberHealth {
    match member.client().status().await {
        Ok(status) if status.leader() == 0 => MemberHealth::Leaderless,
        Ok(status) => {
            let own = status.header().map(etcd_client::ResponseHeader::member_id);
            if own == Some(status.leader()) {
                MemberHealth::Leader
            } else {
                MemberHealth::Follower
            }
        }
        Err(error) if fault::knows_no_leader(&error) => MemberHealth::Leaderless,
        Err(error) => MemberHealth::Unknown {
            why: fault::why(&error),
        },
    }
}
