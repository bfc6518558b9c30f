//! A Redis server of its own.

use std::process::{Child, Command, Stdio};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::eventually;
use crate::port::free_port;

/// Killed when dropped.
pub struct Redis {
    pub port: u16,
    child: Child,
    _dir: TempDir,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(free_port(), &[]).await
    }

    /// A replica of this server, once it confirms what is written here.
    pub async fn replica(&self) -> Self {
        let of = format!("127.0.0.1 {}", self.port);
        let replica = Self::start_with(free_port(), &["--replicaof", &of]).await;
        // That it calls its link up is not enough: where the process that sent
        // the copy ended late, the master begins to stream only with the next
        // acknowledgement, up to a second later.
        let mut connection = self.connection().await;
        eventually("the replica confirms what is written", async || {
            let mut both = redis::pipe();
            both.cmd("PUBLISH").arg("probe").arg("").ignore();
            both.cmd("WAIT").arg(1).arg(200);
            let (confirmed,): (u32,) = both.query_async(&mut connection).await.ok()?;
            (confirmed >= 1).then_some(())
        })
        .await;
        replica
    }

    pub async fn start_with(port: u16, more: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("voting-redis-")
            .tempdir()
            .unwrap();
        let port_text = port.to_string();
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig=KILL",
                "redis-server",
                "--port",
                &port_text,
                "--bind",
                "127.0.0.1",
            ])
            .args(["--save", "", "--repl-diskless-sync-delay", "0", "--dir"])
            .arg(dir.path())
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self {
            port,
            child,
            _dir: dir,
        };
        eventually(
            "Redis answers (hint: apt-get install redis-server)",
            async || redis.try_connection().await,
        )
        .await;
        redis
    }

    async fn try_connection(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(("127.0.0.1", self.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        redis::cmd("PING").exec_async(&mut connection).await.ok()?;
        Some(connection)
    }

    pub async fn connection(&self) -> MultiplexedConnection {
        self.try_connection()
            .await
            .expect("Redis takes connections")
    }

    /// Puts entries into the queue as the public application does.
    pub async fn push(&self, entries: &[String]) {
        let mut connection = self.connection().await;
        for chunk in entries.chunks(1_000) {
            let mut push = redis::cmd("RPUSH");
            push.arg("votes").arg(chunk);
            push.exec_async(&mut connection).await.unwrap();
        }
    }

    pub async fn list(&self, key: &str) -> Vec<String> {
        let mut range = redis::cmd("LRANGE");
        range.arg(key).arg(0).arg(-1);
        range
            .query_async(&mut self.connection().await)
            .await
            .unwrap()
    }

    /// Every key that exists.
    pub async fn keys(&self) -> Vec<String> {
        let mut connection = self.connection().await;
        redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .unwrap()
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        environment(self.port)
    }
}

/// The variables that lead to a Redis on this loopback port.
pub fn environment(port: u16) -> Vec<(String, String)> {
    vec![
        ("REDIS_HOST".into(), "127.0.0.1".into()),
        ("REDIS_PORT".into(), port.to_string()),
    ]
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The entry that the public application pushes.
pub fn entry(voter: &str, vote: &str) -> String {
    serde_json::json!({ "voter_id": voter, "vote": vote }).to_string()
}

/// `count` votes for `a` by as many voters.
pub fn votes(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|voter| entry(&format!("{prefix}-{voter:05}"), "a"))
        .collect()
}

/// Nothing is left anywhere: no queue, no processing list, none registered.
pub async fn emptied(redis: &Redis) {
    eventually("the queue and all processing lists are gone", async || {
        redis
            .keys()
            .await
            .iter()
            .all(|key| !key.starts_with("votes") || key == "votes:rejected")
            .then_some(())
    })
    .await;
}
