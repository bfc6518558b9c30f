//! The way of a vote into the queue.
//!
//! A few lanes, each with a connection of its own. A lane takes all votes that
//! wait at that moment, sends them as one `RPUSH` and, where the replica has to
//! confirm, one `WAIT` on the same connection: the round trip to the other
//! region is shared by everybody who waits for it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError, RedisResult, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::ballot::{Ballot, Fate};
use crate::args::Durability;
use crate::backoff::Backoff;
use crate::queue::{CONFIRMATIONS, Queue, VOTES};

const LANES: usize = 4;
/// Votes that may wait for one lane.
const WAITING: usize = 1_024;
/// Most votes in one `RPUSH`.
const BATCH: usize = 256;
/// Time for Redis to answer, beyond the wait for the replica.
const ANSWER: Duration = Duration::from_secs(1);
/// No further attempt is begun so shortly before a voter's time is over.
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Why a vote is not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the form has no vote `a` or `b`")]
    Invalid,
    #[error("too many votes wait for the queue")]
    Overloaded,
    #[error("the vote was not recorded: the queue cannot be written ({reason})")]
    Unreachable { reason: String },
    #[error("the vote was not confirmed ({reason})")]
    Unconfirmed { reason: String },
}

impl Refusal {
    /// A stable word for programs.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Invalid => "invalid-vote",
            Self::Overloaded => "overloaded",
            Self::Unreachable { .. } => "queue-unreachable",
            Self::Unconfirmed { .. } => "not-confirmed",
        }
    }

    /// What it means and what to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Invalid => "Send the form field vote with the value a or b.",
            Self::Overloaded | Self::Unreachable { .. } => {
                "It does not count. Please vote again in a moment."
            }
            Self::Unconfirmed { .. } => {
                "It does not count as accepted, but may still arrive. \
                 Voting again is safe: every voter counts once."
            }
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) type Answer = Result<(), Refusal>;

/// All lanes.
pub struct Lanes {
    lanes: Vec<mpsc::Sender<Ballot>>,
    next: AtomicUsize,
    timeout: Duration,
}

impl Lanes {
    /// Starts the lanes; they connect with their first vote.
    pub fn start(queue: &Queue, durability: Durability, wait: Duration, timeout: Duration) -> Self {
        let start = |_| {
            let (sender, receiver) = mpsc::channel(WAITING);
            let queue = queue.clone();
            let wait = (durability == Durability::Replicated).then_some(wait);
            tokio::spawn(
                Lane {
                    queue,
                    wait,
                    connection: None,
                    alone: false,
                }
                .run(receiver),
            );
            sender
        };
        Self {
            lanes: (0..LANES).map(start).collect(),
            next: AtomicUsize::new(0),
            timeout,
        }
    }

    /// Returns once the vote is in the queue as durably as configured.
    ///
    /// # Errors
    /// [`Refusal`], at the latest when the voter's time is over.
    pub async fn cast(&self, payload: String) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let fate = Fate::default();
        let (answer, answered) = oneshot::channel();
        let ballot = Ballot {
            payload,
            deadline,
            fate: fate.clone(),
            answer,
        };
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        self.lanes[lane]
            .try_send(ballot)
            .map_err(|_| Refusal::Overloaded)?;
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(fate.give_up("no answer in time")),
        }
    }
}

struct Lane {
    queue: Queue,
    /// How long the replica may take; `None`: nobody asks it.
    wait: Option<Duration>,
    connection: Option<MultiplexedConnection>,
    /// Whether the queue said at last that nobody needs to confirm.
    alone: bool,
}

impl Lane {
    async fn run(mut self, mut waiting: mpsc::Receiver<Ballot>) {
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, BATCH).await > 0 {
            self.deliver(std::mem::take(&mut batch)).await;
        }
    }

    /// Tries until the votes are in or their time is over. A vote that may
    /// have arrived already is sent again: votes are idempotent by voter, and
    /// a voter who waits for the answer has not voted otherwise meanwhile.
    async fn deliver(&mut self, mut batch: Vec<Ballot>) {
        let mut backoff = Backoff::new();
        loop {
            batch.retain(|ballot| !ballot.answer.is_closed());
            if batch.is_empty() {
                return;
            }
            match self.attempt(&mut batch).await {
                Ok(true) => return answer_all(batch, &Ok(())),
                Ok(false) => {
                    let reason = "no replica has it".to_owned();
                    return answer_all(batch, &Err(Refusal::Unconfirmed { reason }));
                }
                Err(error) => {
                    self.connection = None;
                    batch = expire(batch, &error);
                    backoff.pause().await;
                }
            }
        }
    }

    /// One `RPUSH` of the whole batch; true when it is as durable as asked.
    async fn attempt(&mut self, batch: &mut Vec<Ballot>) -> RedisResult<bool> {
        let limit = ANSWER + self.wait.unwrap_or_default();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.queue.connect(limit).await?,
        };
        batch.retain(|ballot| ballot.fate.depart());
        if batch.is_empty() {
            self.connection = Some(connection);
            return Ok(true);
        }
        let mut push = redis::cmd("RPUSH");
        push.arg(VOTES);
        batch.iter().for_each(|ballot| {
            push.arg(&ballot.payload);
        });
        let mut pipeline = redis::pipe();
        // Each answer by itself: only that to `RPUSH` tells of the votes.
        pipeline.ignore_errors().add_command(push);
        if self.wait.is_some() {
            pipeline.cmd("GET").arg(CONFIRMATIONS);
        }
        if let Some(wait) = self.wait.filter(|_| !self.alone) {
            pipeline.add_command(wait_for_one(wait));
        }
        let answers: RedisResult<Vec<RedisResult<Value>>> =
            pipeline.query_async(&mut connection).await;
        let mut answers = match answers {
            Ok(answers) => answers.into_iter(),
            Err(error) => {
                batch.iter().for_each(|ballot| ballot.fate.is_lost());
                return Err(error);
            }
        };
        // A server that answers with an error (read-only, loading, out of
        // memory) has not taken the votes.
        if let Some(Err(error)) = answers.next() {
            batch.iter().for_each(|ballot| ballot.fate.came_back());
            return Err(error);
        }
        batch.iter().for_each(|ballot| ballot.fate.is_lost());
        let answers = answers.collect::<RedisResult<Vec<_>>>()?;
        let confirmed = self.confirmed(&answers, &mut connection).await?;
        self.connection = Some(connection);
        Ok(confirmed)
    }

    /// Judges the answers to `GET` and `WAIT`. Where confirmation was waived
    /// until now and is wanted again, it is asked for.
    async fn confirmed(
        &mut self,
        answers: &[Value],
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<bool> {
        let (Some(wait), Some(needed)) = (self.wait, answers.first()) else {
            return Ok(true);
        };
        let asked = !self.alone;
        self.alone = is_waived(needed);
        if self.alone {
            return Ok(true);
        }
        let copies = match answers.get(1) {
            Some(copies) if asked => u32::from_redis_value_ref(copies)?,
            _ => wait_for_one(wait).query_async(connection).await?,
        };
        Ok(copies >= 1)
    }
}

fn wait_for_one(limit: Duration) -> redis::Cmd {
    let mut wait = redis::cmd("WAIT");
    wait.arg(1).arg(limit.as_millis() as u64);
    wait
}

/// `0`: whoever runs the queues knows that there is no replica, and that
/// votes are to be taken all the same.
fn is_waived(confirmations: &Value) -> bool {
    matches!(confirmations, Value::BulkString(text) if text == b"0")
}

fn answer_all(batch: Vec<Ballot>, answer: &Answer) {
    batch.into_iter().for_each(|ballot| ballot.settle(answer));
}

/// Answers those whose time is over with the reason, and keeps the rest.
fn expire(batch: Vec<Ballot>, error: &RedisError) -> Vec<Ballot> {
    let soon = Instant::now() + LAST_PAUSE;
    let (over, alive): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .partition(|ballot| ballot.deadline <= soon);
    let reason = error.to_string();
    over.into_iter().for_each(|ballot| ballot.give_up(&reason));
    alive
}

/// What [`inspect`] finds.
pub struct Server {
    /// `master` or `slave`.
    pub role: String,
    /// Replicas that have the whole queue and follow it. One that still copies
    /// it is connected as well, and confirms nothing.
    pub replicas: usize,
    /// No replica needs to confirm for now.
    pub waived: bool,
}

/// Role of the Redis server and number of the replicas that follow it.
///
/// # Errors
/// When Redis does not answer.
pub async fn inspect(queue: &Queue) -> RedisResult<Server> {
    let mut connection = queue.connect(ANSWER).await?;
    let info: String = redis::cmd("INFO")
        .arg("replication")
        .query_async(&mut connection)
        .await?;
    let field = |name: &str| {
        let mut pairs = info.lines().filter_map(|line| line.trim().split_once(':'));
        pairs
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let confirmations: Value = redis::cmd("GET")
        .arg(CONFIRMATIONS)
        .query_async(&mut connection)
        .await?;
    Ok(Server {
        role: field("role").unwrap_or_default(),
        replicas: following(&info),
        waived: is_waived(&confirmations),
    })
}

/// Lines such as `slave0:ip=10.0.0.1,port=6379,state=online,offset=56,lag=0`.
fn following(info: &str) -> usize {
    let replica = |line: &&str| {
        let numbered = line.strip_prefix("slave").map(str::as_bytes);
        numbered.is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
    };
    let online = |line: &&str| line.split(',').any(|pair| pair.trim() == "state=online");
    info.lines().filter(replica).filter(online).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_still_copies_the_queue_does_not_count() {
        let info = |state: &str| {
            format!(
                "# Replication\r\nrole:master\r\nconnected_slaves:1\r\n\
                 slave0:ip=127.0.0.1,port=7000,state={state},offset=0,lag=0\r\n\
                 slave_expires_tracked_keys:0\r\n"
            )
        };
        assert_eq!(following(&info("online")), 1);
        for copying in ["wait_bgsave", "send_bulk"] {
            assert_eq!(following(&info(copying)), 0, "{copying}");
        }
        assert_eq!(following("role:master\r\nconnected_slaves:0\r\n"), 0);
    }
}
