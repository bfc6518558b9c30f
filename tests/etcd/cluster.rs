//! Three members in a directory of their own, gone at the end of a test.

use std::{
    collections::BTreeSet,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use hafail::{
    adapters::etcd::{Etcd, Tls},
    ports::{
        quorum::{Change, Condition, MemberHealth, Quorum, QuorumError, Revision},
        remote::Remote,
    },
};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    local::{BOUND, Loopback, Program, host},
    pki::Authority,
    port::free_port,
};

/// How long a call may take.
pub const DEADLINE: Duration = Duration::from_millis(1500);
/// What a busy machine may add to a bound.
pub const GRACE: Duration = Duration::from_secs(2);
/// Machines are small: few members at a time.
static ROOM: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// Runs a test with three members.
pub fn with_cluster<F>(test: impl FnOnce(Cluster) -> F)
where
    F: Future<Output = Cluster>,
{
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let _room = ROOM.acquire().await.unwrap();
        let cluster = Cluster::start(&Authority::new("test")).await;
        let cluster = tokio::time::timeout(BOUND, test(cluster)).await;
        drop(cluster.expect("the test did not end in time"));
    });
}

pub struct Cluster {
    pub members: Vec<Member>,
    pub store: Etcd,
    pub tls: Tls,
    directory: TempDir,
}

pub struct Member {
    /// Where it listens, which is also its name for the store.
    pub address: String,
    pub name: String,
    pub port: u16,
    program: Program,
}

impl Member {
    pub fn kill(&mut self) {
        self.program.kill();
    }

    pub fn stop(&self) {
        self.program.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.program.signal(Signal::CONT);
    }

    pub fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }
}

impl Cluster {
    /// Three members whose certificates are of that authority.
    pub async fn start(authority: &Authority) -> Self {
        assert!(
            Path::new("/usr/bin/etcd").exists(),
            "etcd is missing: apt-get install etcd-server"
        );
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(path, text).unwrap();
        };
        write("ca.pem", &authority.certificate);
        let places: Vec<_> = (1..=3).map(Place::new).collect();
        let initial: Vec<_> = places
            .iter()
            .map(|place| format!("{}={}", place.name, place.peer()))
            .collect();
        let members = places.into_iter().map(|place| {
            let identity = authority.issue(&[&place.name, &place.address, "127.0.0.1"]);
            write(&format!("{}.pem", place.name), &identity.certificate);
            write(&format!("{}.key", place.name), &identity.key);
            place.start(directory.path(), &initial.join(","))
        });
        let members: Vec<_> = members.collect();
        let client = authority.issue(&["client"]);
        let tls = Tls {
            ca: authority.certificate.clone(),
            certificate: client.certificate,
            key: client.key,
        };
        let cluster = Self {
            store: connect(&members, &tls),
            members,
            tls,
            directory,
        };
        cluster.ready().await;
        cluster
    }

    /// Another client with connections of its own.
    pub fn client(&self) -> Etcd {
        connect(&self.members, &self.tls)
    }

    /// A client that has only streams to hosts.
    pub fn client_through_hosts(&self) -> Etcd {
        let ports: Vec<_> = self
            .members
            .iter()
            .map(|member| (member.name.as_str(), member.port))
            .collect();
        let remote: Arc<dyn Remote> = Arc::new(Loopback::new(&ports));
        let hosts = self.members.iter().map(|member| host(&member.name));
        Etcd::through(&remote, hosts, 2379, &self.tls, DEADLINE).unwrap()
    }

    /// Waits until every member that runs knows a leader, and answers which.
    pub async fn ready(&self) -> usize {
        let start = Instant::now();
        loop {
            let members = self.store.members().await;
            let leader = self
                .members
                .iter()
                .position(|member| members[&member.address] == MemberHealth::Leader);
            let settled = !members.values().any(|it| *it == MemberHealth::Leaderless);
            if let (Some(leader), true) = (leader, settled) {
                return leader;
            }
            assert!(start.elapsed() < BOUND, "no leader: {members:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What etcdctl needs to reach all members.
    pub fn etcdctl(&self) -> Vec<String> {
        let urls: Vec<_> = self.members.iter().map(Member::url).collect();
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        vec![
            format!("--endpoints={}", urls.join(",")),
            format!("--cacert={}", file("ca.pem")),
            format!("--cert={}", file("place1.pem")),
            format!("--key={}", file("place1.key")),
        ]
    }

    /// Two members other than this one.
    pub fn others(&self, one: usize) -> BTreeSet<usize> {
        (0..3).filter(|other| *other != one).collect()
    }
}

fn connect(members: &[Member], tls: &Tls) -> Etcd {
    let urls: Vec<_> = members.iter().map(Member::url).collect();
    Etcd::new(&urls, tls, DEADLINE).unwrap()
}

struct Place {
    name: String,
    address: String,
    port: u16,
    peer_port: u16,
}

impl Place {
    fn new(n: usize) -> Self {
        let address = format!("127.0.0.{}", 10 + n);
        Self {
            name: format!("place{n}"),
            address,
            port: free_port(),
            peer_port: free_port(),
        }
    }

    fn peer(&self) -> String {
        format!("https://{}:{}", self.address, self.peer_port)
    }

    fn start(self, directory: &Path, initial: &str) -> Member {
        let client = format!("https://{}:{}", self.address, self.port);
        let loopback = format!("https://127.0.0.1:{}", self.port);
        let file = |ending: &str| directory.join(format!("{}.{ending}", self.name));
        let ca = directory.join("ca.pem");
        let mut etcd = Command::new("/usr/bin/etcd");
        etcd.args(["--name", &self.name, "--initial-cluster", initial])
            .args(["--initial-advertise-peer-urls", &self.peer()])
            .args(["--listen-peer-urls", &self.peer()])
            .args(["--listen-client-urls", &format!("{client},{loopback}")])
            .args(["--advertise-client-urls", &client])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args([
                "--pre-vote",
                "--client-cert-auth",
                "--peer-client-cert-auth",
            ])
            .args(["--grpc-keepalive-min-time", "300ms"])
            .arg("--data-dir")
            .arg(file("data"));
        for (option, path) in [
            ("trusted-ca-file", &ca),
            ("cert-file", &file("pem")),
            ("key-file", &file("key")),
        ] {
            etcd.arg(format!("--{option}")).arg(path);
            etcd.arg(format!("--peer-{option}")).arg(path);
        }
        Member {
            address: self.address,
            name: self.name,
            port: self.port,
            program: Program::start(&mut etcd),
        }
    }
}

/// Writes one key.
pub fn put(key: &str, text: &str) -> Change {
    Change::Put {
        key: key.to_owned(),
        text: text.to_owned(),
        lease: None,
    }
}

pub fn absent(key: &str) -> Condition {
    Condition::Absent {
        key: key.to_owned(),
    }
}

/// Writes one key without conditions.
pub async fn write(store: &Etcd, key: &str, text: &str) -> Result<Revision, QuorumError> {
    let written = store.commit(&[], &[put(key, text)]).await?;
    Ok(written.expect("there is no condition"))
}

/// Asks, and holds that the answer came within the deadline.
pub async fn in_time<T>(asked: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let answer = asked.await;
    let took = start.elapsed();
    assert!(took < DEADLINE + GRACE, "it took {took:?}");
    answer
}
