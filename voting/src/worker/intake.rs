//! The queue's side of the worker.
//!
//! Every batch has a processing list of its own, whose key is registered in
//! the set `votes:processing` by the same transaction that fills it. So a list
//! only ever shrinks once it can be seen, and removing it late, after a lost
//! connection, can never remove votes of another batch.

use std::time::Duration;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;

use crate::queue::{PROCESSING, Queue, REJECTED, VOTES};

/// How long one wait for votes takes, in seconds.
const WAIT_SECONDS: u8 = 1;
const ANSWER: Duration = Duration::from_secs(3);
/// Rejected entries that are kept.
const KEEP_REJECTED: i64 = 10_000;
/// Entries moved back in one round trip.
const CHUNK: usize = 500;

/// The connection to the queue.
pub struct Intake {
    connection: MultiplexedConnection,
    worker: String,
    started: bool,
}

/// A batch in its processing list, oldest entry first.
pub struct Taken {
    key: String,
    pub entries: Vec<Vec<u8>>,
}

impl Intake {
    pub async fn connect(queue: &Queue, worker: &str) -> RedisResult<Self> {
        let connection = queue.connect(ANSWER).await?;
        Ok(Self {
            connection,
            worker: worker.to_owned(),
            started: false,
        })
    }

    /// True once there are votes in the queue or in somebody's processing
    /// list; false after a second without. Takes nothing: the head of the
    /// queue is moved to where it is.
    pub async fn wait(&mut self) -> RedisResult<bool> {
        if !std::mem::replace(&mut self.started, true) && self.has_leftovers().await? {
            return Ok(true);
        }
        let mut peek = redis::cmd("BLMOVE");
        peek.arg(VOTES)
            .arg(VOTES)
            .arg("LEFT")
            .arg("LEFT")
            .arg(WAIT_SECONDS);
        let head: Option<Vec<u8>> = peek.query_async(&mut self.connection).await?;
        Ok(head.is_some() || self.has_leftovers().await?)
    }

    async fn has_leftovers(&mut self) -> RedisResult<bool> {
        let lists: u64 = redis::cmd("SCARD")
            .arg(PROCESSING)
            .query_async(&mut self.connection)
            .await?;
        Ok(lists > 0)
    }

    /// Puts the votes of all processing lists back at the head of the queue,
    /// in their order. Only for the holder of the lock: nobody else is between
    /// taking and committing then, so whatever is in a list was interrupted
    /// (or is committed but not yet removed, and writing it again is the same).
    pub async fn recover(&mut self) -> RedisResult<()> {
        let lists: Vec<String> = redis::cmd("SMEMBERS")
            .arg(PROCESSING)
            .query_async(&mut self.connection)
            .await?;
        for list in lists {
            self.put_back(&list).await?;
            redis::cmd("SREM")
                .arg(PROCESSING)
                .arg(&list)
                .exec_async(&mut self.connection)
                .await?;
            tracing::info!(list, "put an interrupted batch back into the queue");
        }
        Ok(())
    }

    async fn put_back(&mut self, list: &str) -> RedisResult<()> {
        loop {
            let left: usize = redis::cmd("LLEN")
                .arg(list)
                .query_async(&mut self.connection)
                .await?;
            if left == 0 {
                return Ok(());
            }
            let mut moves = redis::pipe();
            for _ in 0..left.min(CHUNK) {
                moves
                    .cmd("LMOVE")
                    .arg(list)
                    .arg(VOTES)
                    .arg("RIGHT")
                    .arg("LEFT")
                    .ignore();
            }
            moves.exec_async(&mut self.connection).await?;
        }
    }

    /// Moves up to `most` votes from the head of the queue into a new list.
    pub async fn take(&mut self, most: usize) -> RedisResult<Taken> {
        let key = format!(
            "{PROCESSING}:{}:{:016x}",
            self.worker,
            rand::random::<u64>()
        );
        let waiting: usize = redis::cmd("LLEN")
            .arg(VOTES)
            .query_async(&mut self.connection)
            .await?;
        if waiting == 0 {
            return Ok(Taken {
                key,
                entries: Vec::new(),
            });
        }
        let mut moves = redis::pipe();
        moves
            .atomic()
            .cmd("SADD")
            .arg(PROCESSING)
            .arg(&key)
            .ignore();
        for _ in 0..waiting.min(most) {
            moves
                .cmd("LMOVE")
                .arg(VOTES)
                .arg(&key)
                .arg("LEFT")
                .arg("RIGHT");
        }
        let entries: Vec<Option<Vec<u8>>> = moves.query_async(&mut self.connection).await?;
        Ok(Taken {
            key,
            entries: entries.into_iter().flatten().collect(),
        })
    }

    /// Removes a batch that is committed, keeping what was no vote.
    pub async fn finish(&mut self, taken: &Taken, rejected: &[Vec<u8>]) -> RedisResult<()> {
        let mut removal = redis::pipe();
        removal.atomic().cmd("DEL").arg(&taken.key).ignore();
        removal.cmd("SREM").arg(PROCESSING).arg(&taken.key).ignore();
        if !rejected.is_empty() {
            removal.cmd("RPUSH").arg(REJECTED).arg(rejected).ignore();
            removal
                .cmd("LTRIM")
                .arg(REJECTED)
                .arg(-KEEP_REJECTED)
                .arg(-1)
                .ignore();
        }
        removal.exec_async(&mut self.connection).await
    }
}
