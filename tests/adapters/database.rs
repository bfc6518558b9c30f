use std::{collections::BTreeMap, path::Path, process::Command, sync::Arc, time::Duration};

use hafail::{
    adapters::{
        database::{BalancedSessions, Login},
        end_to_end::SiteWriters,
        ledger::HostLedger,
        secrets::Vault,
    },
    load::{
        account::{Account, Answer, Found},
        ledger::Ledger,
        writer::{Sessions, Settings, write},
    },
    ports::{PortError, end_to_end::EndToEnd},
    topology::Topology,
};
use redis::AsyncTypedCommands;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use secrecy::SecretString;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    local::{BOUND, Loopback, Program, host, until},
    port::free_port,
    redis::Redis,
};

/// A PostgreSQL server with TLS, on a port and a data directory of its own.
struct Database {
    program: Program,
    folder: tempfile::TempDir,
    port: u16,
    /// In PEM.
    authority: String,
}

const BINARIES: &str = "/usr/lib/postgresql/15/bin";

fn topology() -> Topology {
    let text = include_str!("../../topologies/two-regions.yaml");
    Topology::parse(text, "two-regions.yaml").unwrap()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--", program]);
    command
}

fn server(data: &Path, port: u16) -> Program {
    let mut command = as_postgres(&format!("{BINARIES}/postgres"));
    command
        .arg("-D")
        .arg(data)
        .args(["-p", &port.to_string(), "-c", "ssl=on"]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
    command.args(["-c", "unix_socket_directories=/var/run/postgresql"]);
    Program::start(&mut command)
}

impl Database {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        run(Command::new("chown").arg("postgres").arg(folder.path()));
        run(Command::new("install").args(["-d", "-o", "postgres", "/var/run/postgresql"]));
        let mut initdb = as_postgres(&format!("{BINARIES}/initdb"));
        initdb.args([
            "--no-sync",
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
            "-D",
        ]);
        run(initdb.arg(&data));
        let vault = Vault::open(&folder.path().join("home"), &topology()).unwrap();
        let issued = vault.certificate("site1-db", &[], &[]).unwrap();
        std::fs::write(data.join("server.crt"), &issued.cert_pem).unwrap();
        std::fs::write(data.join("server.key"), &issued.key_pem).unwrap();
        run(Command::new("chown").arg("-R").arg("postgres").arg(&data));
        run(Command::new("chmod")
            .arg("600")
            .arg(data.join("server.key")));
        let port = free_port();
        let database = Self {
            program: server(&data, port),
            folder,
            port,
            authority: issued.ca_pem.clone(),
        };
        database.sql("create role vote login password 'secret-of-vote'; grant all on schema public to vote").await;
        database
    }

    /// Runs as superuser, as soon as the server is up.
    async fn sql(&self, sql: &str) {
        until(&format!("this runs: {sql}"), || async {
            let mut psql = as_postgres("psql");
            psql.args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-p",
                &self.port.to_string(),
                "-c",
                sql,
            ]);
            psql.output().unwrap().status.success()
        })
        .await;
    }

    fn topology(&self) -> Topology {
        let mut topology = topology();
        topology.database.port = self.port;
        topology
    }

    fn login(&self, names: &[&str], password: &str) -> Login {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let names: Vec<_> = names.iter().map(|name| host(name)).collect();
        let password = SecretString::from(password);
        Login::new(&self.topology().database, &password, roots, &names).unwrap()
    }

    fn writers(&self, login: Login) -> SiteWriters {
        let remote = Arc::new(Loopback::new(&[("site1-lb", self.port)]));
        let balancers = BTreeMap::from([("site1".parse().unwrap(), vec![host("site1-lb")])]);
        SiteWriters::new(remote, login, 5000, balancers)
    }

    /// Ends the server without any shutdown, and waits until all of it is
    /// gone: no other starts beside what is left.
    fn power_cut(&mut self) {
        let pid = self.postmaster().expect("it runs");
        run(Command::new("kill").args(["-QUIT", &pid]));
        self.program.wait();
    }

    fn postmaster(&self) -> Option<String> {
        let file = self.folder.path().join("data/postmaster.pid");
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().next().map(ToOwned::to_owned)
    }

    fn start_again(&mut self) {
        self.program = server(&self.folder.path().join("data"), self.port);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(pid) = self.postmaster() {
            let _ = Command::new("kill").args(["-QUIT", &pid]).output();
        }
    }
}

#[tokio::test]
async fn an_application_writes_through_tls_and_a_stranger_is_refused() {
    let database = Database::start().await;
    let site = "site1".parse().unwrap();
    // The certificate is that of any of the databases.
    let writers = database.writers(database.login(&["site2-db", "site1-db"], "secret-of-vote"));
    for _ in 0..3 {
        writers.write(&site, BOUND).await.unwrap();
    }
    let other = database.writers(database.login(&["site2-db"], "secret-of-vote"));
    let error = other.write(&site, BOUND).await.unwrap_err();
    assert!(
        matches!(&error, PortError::Failed { why, .. } if why.contains("certificate")),
        "{error}"
    );

    let wrong = database.writers(database.login(&["site1-db"], "guessed"));
    let error = wrong.write(&site, BOUND).await.unwrap_err().to_string();
    assert!(
        error.contains("28P01") && !error.contains("guessed"),
        "{error}"
    );
}

#[tokio::test]
async fn commits_survive_a_crash_and_the_gap_is_measured() {
    let mut database = Database::start().await;
    let login = database.login(&["site1-db"], "secret-of-vote");
    let remote = Arc::new(Loopback::new(&[("site1-lb", database.port)]));
    let sessions = BalancedSessions::new(remote, login, vec![host("site1-lb")], 5000);
    sessions.open().await.unwrap().prepare().await.unwrap();

    let stop = CancellationToken::new();
    let settings = Settings {
        run: "r1".into(),
        every: Duration::from_millis(5),
        attempt: Duration::from_secs(1),
        commits: None,
        duration: Some(BOUND),
    };
    let (mut accepted, mut up_again) = (0, false);
    let sent = write(&settings, &sessions, &stop, |sent| {
        if sent.answer != Answer::Accepted {
            if accepted >= 50 && !up_again {
                database.start_again();
                up_again = true;
            }
            return;
        }
        accepted += 1;
        match accepted {
            50 => database.power_cut(),
            100 => stop.cancel(),
            _ => {}
        }
    })
    .await;
    let mut session = sessions.open().await.unwrap();
    let found = Found {
        persisted: session.numbers("r1").await.unwrap(),
        ..Found::default()
    };
    let account = Account::of(&sent, Some(&found), 20);
    assert!(
        account.accepted >= 100 && account.accepted < account.sent,
        "{account:#?}"
    );
    assert_eq!(
        (account.lost, account.phantom),
        (Some(0), Some(0)),
        "{account:#?}"
    );
    assert!(account.longest_gap_ms > 20, "{account:#?}");
    session.forget("r1").await.unwrap();
    assert_eq!(session.numbers("r1").await.unwrap().len(), 0);
}

#[tokio::test]
async fn votes_are_found_in_queue_processing_list_and_database() {
    let (database, redis) = (Database::start().await, Redis::start().await);
    database
        .sql(
            "create table if not exists votes (id text primary key, vote text not null);
             insert into votes values ('load-r1-1', 'a'), ('load-r1-2', 'b'), ('load-r2-3', 'a'),
                 ('visitor', 'b') on conflict do nothing",
        )
        .await;
    let remote = Arc::new(Loopback::new(&[
        ("site1-queue", redis.port),
        ("site2-queue", redis.port),
    ]));
    let mut queue = hafail::adapters::redis_link::open(
        &*remote,
        &host("site1-queue"),
        0,
        &crate::redis::password(),
        BOUND,
    )
    .await
    .unwrap();
    let entry = |n| format!(r#"{{"voter_id":"load-r1-{n}","vote":"a"}}"#);
    queue
        .rpush("votes", vec![entry(4), "garbage".into()])
        .await
        .unwrap();
    queue
        .rpush("votes:processing:worker-0", entry(5))
        .await
        .unwrap();
    // A set, as the workers keep of their lists.
    queue
        .sadd("votes:processing", "votes:processing:worker-0")
        .await
        .unwrap();

    let mut topology = database.topology();
    // One database: the other host would be this machine again.
    topology.sites.retain(|name, _| name.as_str() == "site1");
    let ledger = HostLedger::new(remote, &topology, crate::redis::password());
    let found = ledger.find("r1").await.unwrap();
    assert_eq!(found.persisted, [1, 2].into());
    assert_eq!(found.queued, [4, 5].into());
    assert_eq!(found.unseen, Vec::<String>::new());

    let two = database.topology();
    let nobody = Arc::new(Loopback::default());
    let ledger = HostLedger::new(nobody, &two, crate::redis::password());
    let error = ledger.find("r1").await.unwrap_err();
    assert!(error.to_string().contains("both accept writes"), "{error}");
    assert!(TcpStream::connect(("127.0.0.1", redis.port)).await.is_ok());
}
