//! Two or three guards with their PostgreSQL on loopback, each with ports and
//! directories of its own. All of it vanishes at the end of a test.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hafail::{
    adapters::guard_client::GuardClient,
    coordination::Shared,
    ids::{Epoch, HostName, Lsn},
    order::{GuardStatus, Order, OrderAnswer, OrderRequest, PostgresState},
};
use tokio::net::TcpStream;

use crate::{
    cluster::{Cluster, Member},
    local::BOUND,
    pki::{Authority, Identity},
    port::free_port,
};

/// With the patience of a switchover.
pub const DEMOTE: Order = Order::Demote {
    deadline_ms: 10_000,
};

/// Whatever the host has.
pub const PROMOTE: Order = Order::Promote {
    at_least: None,
    in_sync: false,
};

/// To stream from that host.
pub fn follow(hosts: &Hosts, n: usize) -> Order {
    Order::Follow {
        upstream: hosts.nodes[n].name.clone(),
    }
}

const BIN: &str = "/usr/lib/postgresql/15/bin";
/// Below which the keys of the test are.
const PREFIX: &str = "/hafail/test/";

/// PostgreSQL is heavy on small machines: few clusters at a time.
static ROOM: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(2);

/// Runs a test with so many hosts (`db1`, `db2`, …), at most ten minutes.
pub fn with_hosts<F>(count: usize, test: impl FnOnce(Hosts) -> F)
where
    F: Future<Output = Hosts>,
{
    assert!(
        Path::new(BIN).join("postgres").exists(),
        "PostgreSQL 15 is missing: apt-get install postgresql-15"
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let _room = ROOM.acquire().await.unwrap();
        let hosts = Hosts::new(count);
        let limit = Duration::from_secs(600);
        let hosts = tokio::time::timeout(limit, test(hosts)).await;
        drop(hosts.expect("the test did not end within ten minutes"));
    });
}

/// Some hosts.
pub struct Hosts {
    pub nodes: Vec<Node>,
    pub authority: Authority,
    /// The shared store of automatic mode.
    pub store: Option<Cluster>,
    pub operator: GuardClient,
    epoch: AtomicU64,
    _directory: tempfile::TempDir,
}

/// One host: a guard and its PostgreSQL.
pub struct Node {
    pub name: HostName,
    pub directory: PathBuf,
    pub port: u16,
    pub guard_port: u16,
    pub order_port: u16,
    guard: Option<Child>,
}

impl Hosts {
    fn new(count: usize) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("hg")
            .tempdir_in(room())
            .unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let authority = Authority::new("test");
        let operator = client(&authority.certificate, &authority.issue(&["operator"]));
        let nodes = (1..=count)
            .map(|n| Node::new(directory.path(), n))
            .collect();
        let hosts = Self {
            nodes,
            authority,
            store: None,
            operator,
            epoch: AtomicU64::new(1),
            _directory: directory,
        };
        for node in &hosts.nodes {
            let names = [node.name.as_str(), "localhost"];
            node.write_files(&hosts, &hosts.authority.issue(&names));
        }
        hosts
    }

    /// Starts the shared store and lets all guards go by it.
    pub async fn coordinate(&mut self) {
        let store = Cluster::start(&self.authority).await;
        let endpoints: Vec<_> = store.members.iter().map(Member::url).collect();
        for node in &self.nodes {
            let coordination = serde_json::json!({
                "endpoints": endpoints,
                "prefix": PREFIX,
                "runtime_dir": node.directory.join("run"),
                "terms": {"ttl_ms": 3000, "renew_every_ms": 500, "rpc_timeout_ms": 750,
                    "kill_time_ms": 300, "drift_margin_ms": 100},
                // On a machine of any speed.
                "restart_within_ms": 60_000,
            });
            node.reconfigure("/coordination", coordination);
        }
        self.store = Some(store);
    }

    /// Guards go by no store any more.
    pub fn coordinate_no_more(&mut self) {
        for node in &self.nodes {
            node.reconfigure("/coordination", serde_json::Value::Null);
        }
    }

    /// The keys of the shared store.
    pub fn shared(&self) -> Shared {
        let store = self.store.as_ref().expect("coordinated");
        Shared::with_prefix(Arc::new(store.client()), PREFIX)
    }

    /// Starts all guards, makes the first host primary and the others its
    /// standbys.
    pub async fn replicate(&mut self) {
        for node in &mut self.nodes {
            node.start_guard(&[]).await;
        }
        self.done(0, Order::Initialise).await;
        for n in 1..self.nodes.len() {
            let upstream = self.nodes[0].name.clone();
            self.done(n, Order::Clone { upstream }).await;
        }
        self.run(0, "CREATE TABLE commits (n int PRIMARY KEY)")
            .await;
    }

    /// Gives an order in the current epoch.
    pub async fn order(&self, n: usize, order: Order) -> OrderAnswer {
        self.order_at(n, self.epoch.load(Ordering::Relaxed), order)
            .await
    }

    /// Gives an order in an epoch.
    pub async fn order_at(&self, n: usize, epoch: u64, order: Order) -> OrderAnswer {
        self.try_order(n, epoch, order)
            .await
            .expect("the guard answers")
    }

    /// Gives an order that the guard may not survive.
    pub async fn try_order(
        &self,
        n: usize,
        epoch: u64,
        order: Order,
    ) -> Result<OrderAnswer, String> {
        let node = &self.nodes[n];
        let request = OrderRequest {
            run: "test".to_owned(),
            epoch: Epoch(epoch),
            order,
        };
        let stream = node.dial().await.map_err(|error| error.to_string())?;
        let answer = self
            .operator
            .order(stream, &node.name, &request, BOUND)
            .await;
        answer.map_err(|error| error.to_string())
    }

    /// Gives an order that must be carried out; whether it changed anything.
    pub async fn done(&self, n: usize, order: Order) -> (bool, GuardStatus) {
        match self.order(n, order.clone()).await {
            OrderAnswer::Done {
                changed,
                status,
                what,
            } => {
                eprintln!("{}: {what}", self.nodes[n].name);
                (changed, *status)
            }
            other => panic!("{}: {order:?}: {other:?}", self.nodes[n].name),
        }
    }

    /// Gives an order that must be refused; the id.
    pub async fn refused(&self, n: usize, order: Order) -> String {
        match self.order(n, order.clone()).await {
            OrderAnswer::Refused { id, .. } => id,
            other => panic!("{}: {order:?}: {other:?}", self.nodes[n].name),
        }
    }

    /// Begins a new epoch.
    pub fn next_epoch(&self) -> u64 {
        self.epoch.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub async fn status(&self, n: usize) -> GuardStatus {
        let node = &self.nodes[n];
        let stream = node.dial().await.unwrap();
        let status = self.operator.status(stream, &node.name, BOUND).await;
        status.unwrap()
    }

    /// Waits until the status is so.
    pub async fn wait(
        &self,
        n: usize,
        what: &str,
        wanted: impl Fn(&GuardStatus) -> bool,
    ) -> GuardStatus {
        let begin = Instant::now();
        loop {
            let status = self.status(n).await;
            if wanted(&status) {
                return status;
            }
            assert!(begin.elapsed() < BOUND, "not {what}: {status:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_state(&self, n: usize, state: PostgresState) -> GuardStatus {
        let what = format!("{state:?}");
        self.wait(n, &what, |status| status.postgres.state == state)
            .await
    }

    /// Waits until a standby has replayed all that its primary wrote.
    pub async fn wait_replayed(&self, standby: usize, primary: usize) {
        let written: Lsn = self
            .text(primary, "SELECT pg_current_wal_lsn()")
            .await
            .parse()
            .unwrap();
        self.wait(standby, "caught up", |status| {
            status.postgres.replayed >= Some(written)
        })
        .await;
    }

    /// A connection as superuser, over verified TLS.
    pub async fn sql(&self, n: usize) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut roots = rustls::RootCertStore::empty();
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        roots
            .add(CertificateDer::from_pem_slice(self.authority.certificate.as_bytes()).unwrap())
            .unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut config = tokio_postgres::Config::new();
        config
            .host("localhost")
            .port(self.nodes[n].port)
            .user("postgres")
            .password("secret-of-superuser")
            .dbname("postgres")
            .connect_timeout(Duration::from_secs(5))
            .ssl_mode(tokio_postgres::config::SslMode::Require);
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub async fn run(&self, n: usize, statements: &str) {
        let client = self.sql(n).await.unwrap();
        client.batch_execute(statements).await.unwrap();
    }

    /// The one value of a query.
    pub async fn text(&self, n: usize, query: &str) -> String {
        let client = self.sql(n).await.unwrap();
        let row = client
            .query_one(&format!("SELECT ({query})::text"), &[])
            .await
            .unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub async fn insert(&self, n: usize, from: i32, to: i32) {
        let statement = format!("INSERT INTO commits SELECT generate_series({from}, {to})");
        self.run(n, &statement).await;
    }

    pub async fn count(&self, n: usize) -> String {
        self.text(n, "SELECT count(*) FROM commits").await
    }

    /// Status code of a role question.
    pub async fn ask(&self, n: usize, method: &str, path: &str) -> u16 {
        self.try_ask(n, method, path).await.unwrap().0
    }

    pub async fn try_ask(
        &self,
        n: usize,
        method: &str,
        path: &str,
    ) -> std::io::Result<(u16, String)> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.nodes[n].guard_port)).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((code.unwrap_or(0), body.to_owned()))
    }
}

/// Where the clusters live: in memory where there is enough, for the disks of
/// test machines make `initdb` take seconds.
fn room() -> &'static str {
    let shared = rustix::fs::statvfs("/dev/shm");
    let free = shared.map_or(0, |room| room.f_bavail * room.f_frsize);
    if free > 4 << 30 { "/dev/shm" } else { "/tmp" }
}

/// A client for guards with that identity.
pub fn client(ca: &str, identity: &Identity) -> GuardClient {
    GuardClient::new(ca, &identity.certificate, &identity.key).unwrap()
}

impl Node {
    fn new(root: &Path, n: usize) -> Self {
        let name = format!("db{n}");
        let directory = root.join(&name);
        for part in ["", "tls", "secrets", "run"] {
            fs::create_dir(directory.join(part)).unwrap();
            give(&directory.join(part), 0o700);
        }
        Self {
            name: name.parse().unwrap(),
            directory,
            port: free_port(),
            guard_port: free_port(),
            order_port: free_port(),
            guard: None,
        }
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.directory.join(path);
        fs::write(&path, text).unwrap();
        give(&path, 0o600);
    }

    pub fn write_files(&self, hosts: &Hosts, identity: &Identity) {
        self.put("tls/ca.pem", &hosts.authority.certificate);
        self.put("tls/cert.pem", &identity.certificate);
        self.put("tls/key.pem", &identity.key);
        for secret in ["superuser", "replication", "rewind", "application"] {
            self.put(
                &format!("secrets/{secret}"),
                &format!("secret-of-{secret}\n"),
            );
        }
        self.put("boot_id", "first boot\n");
        let config = self.config(&hosts.nodes);
        self.put(
            "guard.json",
            &serde_json::to_string_pretty(&config).unwrap(),
        );
    }

    fn config(&self, nodes: &[Node]) -> serde_json::Value {
        let file = |name: &str| self.directory.join(name);
        let peers: serde_json::Map<_, _> = nodes
            .iter()
            .filter(|node| node.name != self.name)
            .map(|node| {
                let peer = serde_json::json!({"address": "localhost", "port": node.port,
                    "order_port": node.order_port});
                (node.name.to_string(), peer)
            })
            .collect();
        serde_json::json!({
            "host": self.name,
            "data_root": file("data"), "state_dir": file("state"), "bin_dir": BIN,
            "version": 15, "port": self.port, "listen_addresses": ["localhost"],
            "socket_dir": file("run"), "guard_listen": "127.0.0.1",
            "guard_port": self.guard_port, "order_port": self.order_port,
            "tls": {"ca": file("tls/ca.pem"), "cert": file("tls/cert.pem"), "key": file("tls/key.pem")},
            "peers": peers,
            "superuser": {"user": "postgres", "password_file": file("secrets/superuser")},
            "replication": {"user": "replicator", "password_file": file("secrets/replication")},
            "rewind": {"user": "rewinder", "password_file": file("secrets/rewind")},
            "application": {"user": "vote", "password_file": file("secrets/application"),
                "database": "postgres"},
            "access": {"peers": ["127.0.0.1/32", "::1/128"], "applications": ["127.0.0.1/32"]},
            "synchronous": true,
            "parameters": {"shared_buffers": "16MB", "wal_keep_size": "64MB"},
            "timing": {"hung_after_ms": 1500, "probe_every_ms": 300, "start_ms": 30_000},
            "boot_id_file": file("boot_id"), "coordination": null,
            "former_runtime_dir": file("run"),
        })
    }

    /// Changes one value of the configuration, for the next start.
    pub fn reconfigure(&self, pointer: &str, value: serde_json::Value) {
        let path = self.directory.join("guard.json");
        let text = fs::read(&path).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        *config.pointer_mut(pointer).unwrap() = value;
        fs::write(&path, config.to_string()).unwrap();
    }

    /// Starts the guard and waits until it answers.
    pub async fn start_guard(&mut self, environment: &[(&str, &str)]) {
        let log = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.join("guard.log"))
            .unwrap();
        let mut command = if rustix::process::getuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            // May stay in memory, as by the unit's limit.
            command.args(["--inh-caps=+ipc_lock", "--ambient-caps=+ipc_lock"]);
            command.arg(env!("CARGO_BIN_EXE_hafail"));
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_hafail"))
        };
        command
            .args(["guard", "-v", "--config"])
            .arg(self.directory.join("guard.json"))
            .current_dir("/")
            .env("NO_COLOR", "1")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut child = command.spawn().expect("setpriv comes with util-linux");
        let begin = Instant::now();
        while self.dial().await.is_err() {
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && begin.elapsed() < BOUND,
                "the guard did not come up: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.guard = Some(child);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("guard.log")).unwrap_or_default()
    }

    pub async fn dial(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.order_port)).await
    }

    pub fn signal_guard(&self, what: rustix::process::Signal) {
        signal(self.guard_pid(), what);
    }

    /// Kills the guard as a crash does.
    pub fn kill_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            guard.kill().unwrap();
            guard.wait().unwrap();
        }
    }

    /// Asks the guard to end, and waits.
    pub fn stop_guard(&mut self) {
        let mut guard = self.guard.take().unwrap();
        signal(guard.id(), rustix::process::Signal::TERM);
        assert!(guard.wait().unwrap().success(), "{}", self.log());
    }

    /// Waits for a guard that ends by itself; whether it has.
    pub fn guard_ended(&mut self) -> bool {
        let ended = self
            .guard
            .as_mut()
            .is_none_or(|guard| guard.try_wait().unwrap().is_some());
        if ended {
            self.guard = None;
        }
        ended
    }

    pub fn data_dirs(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.directory.join("data/15")) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("data-")
            })
            .collect();
        paths.sort();
        paths
    }

    /// The postmaster's process.
    pub fn postmaster(&self) -> Option<u32> {
        self.data_dirs().iter().find_map(|data| {
            let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
            let pid = text.lines().next()?.parse().ok()?;
            works_in(pid, data).then_some(pid)
        })
    }

    /// Kills all of this host at once, as a power cut does.
    pub fn power_off(&mut self) {
        self.kill_guard();
        if let Some(dead_man) = self.dead_man() {
            signal(dead_man, rustix::process::Signal::KILL);
        }
        for data in self.data_dirs() {
            for pid in processes_in(&data) {
                signal(pid, rustix::process::Signal::KILL);
            }
            let begin = Instant::now();
            while !processes_in(&data).is_empty() && begin.elapsed() < BOUND {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- guard of {}:\n{}", self.name, self.log());
            for file in fs::read_dir(self.directory.join("state/log"))
                .into_iter()
                .flatten()
            {
                let text = fs::read_to_string(file.unwrap().path()).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(60)..].join("\n");
                eprintln!("--- PostgreSQL of {}:\n{tail}", self.name);
            }
        }
        if let Some(pid) = self.postmaster() {
            // A stopped process takes no notice of a kill in a container.
            signal(pid, rustix::process::Signal::CONT);
            // An immediate shutdown gives shared memory back, a kill does not.
            self.kill_guard();
            signal(pid, rustix::process::Signal::QUIT);
            let begin = Instant::now();
            while self.postmaster().is_some() && begin.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        self.power_off();
    }
}

impl Node {
    pub fn signal_guard_if_any(&self, what: rustix::process::Signal) {
        if let Some(guard) = &self.guard {
            signal(guard.id(), what);
        }
    }

    pub fn has_guard(&self) -> bool {
        self.guard.is_some()
    }

    pub fn guard_pid(&self) -> u32 {
        self.guard.as_ref().expect("it runs").id()
    }

    /// All processes of PostgreSQL.
    pub fn processes(&self) -> Vec<u32> {
        let directories = self.data_dirs();
        directories
            .iter()
            .flat_map(|data| processes_in(data))
            .collect()
    }

    /// The process that kills PostgreSQL when its guard does not.
    pub fn dead_man(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.directory.join("run/dead-man.pid")).ok()?;
        let pid = pid.trim().parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.contains("dead-man").then_some(pid)
    }
}

fn works_in(pid: u32, data: &Path) -> bool {
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/{name}"));
    link("cwd").is_ok_and(|cwd| cwd == data)
        && link("exe").is_ok_and(|exe| exe == Path::new(BIN).join("postgres"))
}

fn processes_in(data: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| works_in(*pid, data)).collect()
}

/// Signals a process that the test started, directly or by its guard.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended just now.
    let _ = rustix::process::kill_process(pid, signal);
}

fn give(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if rustix::process::getuid().is_root() {
        let (user, group) = postgres_user();
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn postgres_user() -> (u32, u32) {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line
        .expect("the package postgresql-15 makes the user postgres")
        .split(':');
    let user = fields.nth(2).unwrap().parse().unwrap();
    (user, fields.next().unwrap().parse().unwrap())
}
