use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use hafail::{
    adapters::{queues::RedisQueues, redis_link},
    ids::HostName,
    observation::QueueRole,
    ports::{
        PortError,
        queues::Queues,
        remote::{self, Endpoint, Output, Remote, RemoteError, Stream},
    },
};
use redis::aio::MultiplexedConnection;
use rustix::process::Signal;
use secrecy::SecretString;

use crate::{
    local::{BOUND, Loopback, Program, host, listens, until},
    port::free_port,
};

const PASSWORD: &str = "secret-of-the-queue";

pub struct Redis {
    pub program: Program,
    _folder: tempfile::TempDir,
    pub port: u16,
}

impl Redis {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {PASSWORD}\nmasterauth {PASSWORD}\n\
             dir {}\nsave \"\"\nrepl-diskless-sync-delay 0\nlogfile \"\"\n",
            folder.path().display()
        );
        let file = folder.path().join("redis.conf");
        std::fs::write(&file, config).unwrap();
        let program = Program::start(Command::new("redis-server").arg(&file));
        listens(port).await;
        Self {
            program,
            _folder: folder,
            port,
        }
    }
}

pub fn password() -> SecretString {
    SecretString::from(PASSWORD)
}

async fn client(remote: &Loopback, name: &str) -> MultiplexedConnection {
    redis_link::open(remote, &host(name), 0, &password(), BOUND)
        .await
        .unwrap()
}

fn queues(remote: &Arc<Loopback>, password: SecretString, port: u16) -> RedisQueues {
    let names = BTreeMap::from([(Ipv4Addr::LOCALHOST, host("localhost"))]);
    RedisQueues::new(remote.clone(), port, password, names)
}

#[tokio::test]
async fn roles_lengths_and_pauses() {
    let (one, two) = (Redis::start().await, Redis::start().await);
    let remote = Arc::new(Loopback::new(&[
        ("localhost", one.port),
        ("site2-queue", two.port),
    ]));
    // Redis follows `localhost` at the port of the queue: that of the first.
    let queues = queues(&remote, password(), one.port);
    let (active, other) = (host("localhost"), host("site2-queue"));

    let status = queues.status(&active).await.unwrap();
    assert_eq!(
        (status.role, status.votes),
        (QueueRole::Master { replicas: 0 }, 0)
    );

    queues.follow(&other, &active).await.unwrap();
    let linked = QueueRole::Replica {
        of: "localhost".into(),
        linked: true,
    };
    until("the replica is linked", || async {
        queues.status(&other).await.unwrap().role == linked
    })
    .await;

    let mut writer = client(&remote, "localhost").await;
    let push = |value: &'static str| {
        let mut command = redis::cmd("RPUSH");
        command.arg("votes").arg(value);
        command
    };
    let length: u64 = push("a").query_async(&mut writer).await.unwrap();
    assert_eq!(length, 1);
    until("the replica has it", || async {
        let (ours, theirs) = (
            queues.status(&active).await.unwrap(),
            queues.status(&other).await.unwrap(),
        );
        theirs.votes == 1 && theirs.offset >= ours.offset && ours.offset > 0
    })
    .await;
    let master = queues.status(&active).await.unwrap();
    assert_eq!(master.role, QueueRole::Master { replicas: 1 });

    // A paused queue holds writers, answers readers, and lets go on order.
    queues.pause_writes(&active, BOUND).await.unwrap();
    let mut held =
        tokio::spawn(async move { push("b").query_async::<u64>(&mut writer).await.unwrap() });
    let waiting = tokio::time::timeout(Duration::from_millis(200), &mut held).await;
    assert!(waiting.is_err(), "the writer waits");
    assert_eq!(queues.status(&active).await.unwrap().votes, 1);
    queues.pause_writes(&active, Duration::ZERO).await.unwrap();
    assert_eq!(held.await.unwrap(), 2);

    // Twice is harmless.
    for _ in 0..2 {
        queues.promote(&other).await.unwrap();
        let status = queues.status(&other).await.unwrap();
        assert_eq!(status.role, QueueRole::Master { replicas: 0 });
    }
}

/// One host, which is where the number says.
struct Moved(AtomicU16);

#[async_trait::async_trait]
impl Remote for Moved {
    async fn run(&self, _: &HostName, _: remote::Command) -> Result<Output, RemoteError> {
        unreachable!("a queue is only dialled")
    }

    async fn dial(&self, host: &HostName, _: Endpoint) -> Result<Box<dyn Stream>, RemoteError> {
        let port = self.0.load(Ordering::Relaxed);
        let there = Loopback::new(&[(host.as_str(), port)]);
        there.dial(host, Endpoint::Tcp(port)).await
    }
}

/// A glance waits for less than an answer may take.
#[tokio::test]
async fn a_connection_that_went_silent_is_not_used_again() {
    let (before, after) = (Redis::start().await, Redis::start().await);
    let remote = Arc::new(Moved(before.port.into()));
    let queues = RedisQueues::new(remote.clone(), 0, password(), BTreeMap::new());
    let queue = host("q");
    queues.status(&queue).await.unwrap();

    before.program.signal(Signal::STOP);
    remote.0.store(after.port, Ordering::Relaxed);
    let glance = tokio::time::timeout(Duration::from_secs(1), queues.status(&queue));
    assert!(
        glance.await.is_err(),
        "nobody answers on the old connection"
    );
    queues.status(&queue).await.expect("a new connection");
}

#[tokio::test]
async fn a_dead_or_locked_queue_is_told_apart() {
    let mut redis = Redis::start().await;
    let remote = Arc::new(Loopback::new(&[("q", redis.port)]));
    let wrong = queues(&remote, SecretString::from("wrong"), redis.port);
    let error = wrong.status(&host("q")).await.unwrap_err();
    assert!(matches!(error, PortError::Denied { .. }), "{error}");
    assert!(!error.to_string().contains("wrong\""), "{error}");

    let right = queues(&remote, password(), redis.port);
    right.status(&host("q")).await.unwrap();
    redis.program.kill();
    let error = right.status(&host("q")).await.unwrap_err();
    assert!(matches!(error, PortError::Unreachable { .. }), "{error}");
}
