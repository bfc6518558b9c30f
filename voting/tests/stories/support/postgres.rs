//! A PostgreSQL cluster of its own.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::{LIMIT, eventually, signal};
use crate::port::free_port;

const BIN: &str = "/usr/lib/postgresql/15/bin";
pub const PASSWORD: &str = "story-password";

/// Stopped and removed when dropped.
pub struct Postgres {
    pub port: u16,
    dir: TempDir,
    child: Option<Child>,
    settings: Vec<String>,
}

impl Postgres {
    pub async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// `settings` may put files into the directory that it is given.
    pub async fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Self {
        assert!(
            Path::new(BIN).join("postgres").exists(),
            "{BIN}/postgres is missing (hint: apt-get install postgresql-15)"
        );
        let dir = tempfile::Builder::new()
            .prefix("voting-pg-")
            .tempdir()
            .unwrap();
        std::fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let settings = settings(dir.path());
        own_everything(dir.path());
        let data = dir.path().join("data");
        let made = as_postgres("initdb", dir.path())
            .args([
                "--username=postgres",
                "--auth=scram-sha-256",
                "--pwfile=password",
            ])
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let mut postgres = Self {
            port: free_port(),
            dir,
            child: None,
            settings,
        };
        postgres.up().await;
        postgres
    }

    /// A streaming standby of this server.
    pub async fn standby(&self) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("voting-pg-")
            .tempdir()
            .unwrap();
        own_everything(dir.path());
        let copied = as_postgres("pg_basebackup", dir.path())
            .args(["--host=127.0.0.1", "--username=postgres", "--no-password"])
            .arg(format!("--port={}", self.port))
            .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf"])
            .arg("--pgdata")
            .arg(dir.path().join("data"))
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&copied.stderr);
        assert!(copied.status.success(), "pg_basebackup: {said}");
        let mut standby = Self {
            port: free_port(),
            dir,
            child: None,
            settings: Vec::new(),
        };
        standby.up().await;
        standby
    }

    /// Starts the server and waits until it answers.
    pub async fn up(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).unwrap();
        let mut server = as_postgres("postgres", self.dir.path());
        server
            .arg("-D")
            .arg(self.dir.path().join("data"))
            .stderr(log)
            .stdout(Stdio::null());
        let port = format!("port={}", self.port);
        let fixed = [
            port.as_str(),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "max_connections=40",
            "shared_buffers=16MB",
        ];
        for setting in fixed
            .into_iter()
            .chain(self.settings.iter().map(String::as_str))
        {
            server.args(["-c", setting]);
        }
        self.child = Some(server.spawn().unwrap());
        eventually("PostgreSQL answers", async || self.try_client().await).await;
    }

    /// Immediate shutdown: every session ends without a word, as in a crash.
    pub fn crash(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal("QUIT", child.id());
            child.wait().unwrap();
        }
    }

    async fn try_client(&self) -> Option<Client> {
        let address = format!(
            "host=127.0.0.1 port={} user=postgres password={PASSWORD} dbname=postgres \
             connect_timeout=2 sslmode=disable",
            self.port
        );
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.ok()?;
        tokio::spawn(connection);
        Some(client)
    }

    pub async fn client(&self) -> Client {
        self.try_client()
            .await
            .expect("PostgreSQL takes connections")
    }

    pub fn environment(&self) -> Vec<(String, String)> {
        let port = self.port.to_string();
        let pairs = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGPASSWORD", PASSWORD),
        ];
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    /// All rows, once `wanted` holds for them.
    pub async fn rows_when(
        &self,
        what: &str,
        wanted: impl Fn(&[(String, String)]) -> bool,
    ) -> Vec<(String, String)> {
        let client = self.client().await;
        eventually(what, async || {
            let rows = rows(&client).await?;
            wanted(&rows).then_some(rows)
        })
        .await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.crash();
    }
}

/// All rows of the table, by id; `None` while it does not exist.
pub async fn rows(client: &Client) -> Option<Vec<(String, String)>> {
    let query = client.query("SELECT id, vote FROM votes ORDER BY id", &[]);
    let rows = tokio::time::timeout(LIMIT, query).await.ok()?.ok()?;
    Some(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// A program of PostgreSQL, which refuses to run as root.
fn as_postgres(program: &str, dir: &Path) -> Command {
    let program = PathBuf::from(BIN).join(program);
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL");
    if id(&["-u"]) == 0 {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.arg(program).current_dir(dir);
    command
}

fn own_everything(dir: &Path) {
    if id(&["-u"]) != 0 {
        return;
    }
    let (user, group) = (Some(id(&["-u", "postgres"])), Some(id(&["-g", "postgres"])));
    chown(dir, user, group).unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        chown(entry.unwrap().path(), user, group).unwrap();
    }
}

fn id(arguments: &[&str]) -> u32 {
    let output = Command::new("id").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .unwrap_or_else(|_| panic!("id {arguments:?} printed {text:?}"))
}

/// The table, for stories that need it before the worker made it.
pub async fn create_table(client: &Client) {
    let table = "CREATE TABLE votes (id text PRIMARY KEY, vote text NOT NULL)";
    client.batch_execute(table).await.unwrap();
}
