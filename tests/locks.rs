//! Commands that change things exclude each other, across processes: by the
//! lock of the deployment, and by a run that waits to be resumed. Needs no
//! cloud: what gets past the lock finds a closed port.

#[path = "adapters/port.rs"]
mod port;

use std::{
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use hafail::{
    adapters::journal_file::JournalDirectory,
    decide::Intent,
    ids::Epoch,
    journal::{Entry, Event, RunStarted},
    ports::store::{Holder, RunId, Store},
    sim::{Operator, Settings, Sim},
    topology::Replication,
};

const LOCKED: Option<i32> = Some(5);
const ACCESS: Option<i32> = Some(6);

/// A home of secrets and journals, and the cloud's address.
struct Desk {
    home: tempfile::TempDir,
    endpoint: String,
}

impl Desk {
    /// With an endpoint at which nobody listens.
    fn new() -> Self {
        let endpoint = format!("http://127.0.0.1:{}", port::free_port());
        Self {
            home: tempfile::tempdir().unwrap(),
            endpoint,
        }
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("two-regions")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hafail"));
        command
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("HAFAIL_TOPOLOGY")
            .env("NO_COLOR", "1")
            .env("HAFAIL_HOME", self.home.path())
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_MAX_ATTEMPTS", "1")
            .stdin(Stdio::null());
        command
    }

    fn hafail(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CHANGING: [&[&str]; 3] = [
    &["deploy", "--yes"],
    &["destroy", "--yes"],
    &["run", "deploy-redis"],
];

#[tokio::test]
async fn nothing_changes_under_the_hands_of_a_failover() {
    let desk = Desk::new();
    let store = JournalDirectory::open(&desk.directory()).unwrap();
    let run = RunId("20260101000000-abcdef".to_owned());
    let holder = Holder {
        what: "failover".to_owned(),
        run: run.clone(),
        operator: "ann".to_owned(),
        machine: "desk".to_owned(),
        process: std::process::id(),
        since: "2026-01-01T00:00:00Z".to_owned(),
    };
    store.register(&holder).await.unwrap();
    for args in CHANGING {
        let output = desk.hafail(args);
        let text = said(&output);
        assert_eq!(output.status.code(), LOCKED, "{args:?}: {text}");
        let names = format!(
            "failover {run} by ann@desk (process {}) holds the lock since 2026-01-01T00:00:00Z",
            std::process::id()
        );
        assert!(text.contains(&names), "{args:?}: {text}");
        assert!(text.contains("hint: wait until it has ended"), "{text}");
    }
    // Looking is free.
    for args in [
        &["plan"][..],
        &["deploy", "--dry-run"],
        &["destroy", "--dry-run"],
        &["run", "check-logs"],
        &["run", "deploy-redis", "--dry-run"],
    ] {
        let output = desk.hafail(args);
        assert_eq!(output.status.code(), ACCESS, "{args:?}: {}", said(&output));
    }
    store.release(&run).await.unwrap();
    for args in CHANGING {
        let output = desk.hafail(args);
        assert_eq!(output.status.code(), ACCESS, "{args:?}: {}", said(&output));
    }
}

/// Kills it with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_deploy_keeps_others_out_until_its_process_ends() {
    let mut desk = Desk::new();
    let closed = desk.endpoint.clone();
    // A cloud that listens and never answers: the deploy hangs with the lock.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    desk.endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut deploy = desk.command(&["deploy", "--yes"]);
    let deploy = deploy.stdout(Stdio::null()).stderr(Stdio::null());
    let mut deploy = Process(deploy.spawn().unwrap());
    // It has asked the cloud, so it has taken the lock.
    let (mut asked, _) = silent.accept().unwrap();
    asked.read_exact(&mut [0]).unwrap();

    desk.endpoint = closed;
    let output = desk.hafail(&["destroy", "--yes"]);
    let text = said(&output);
    assert_eq!(output.status.code(), LOCKED, "{text}");
    let process = format!("(process {}) holds the lock", deploy.0.id());
    assert!(
        text.contains("deploy by ") && text.contains(&process),
        "{text}"
    );

    deploy.0.kill().unwrap();
    deploy.0.wait().unwrap();
    let output = desk.hafail(&["destroy", "--yes"]);
    assert_eq!(output.status.code(), ACCESS, "{}", said(&output));
}

/// Writes the journal of a failover that was broken off at its beginning.
async fn broken_off(directory: &Path) -> RunId {
    let sim = Sim::new(Settings::new(Replication::Synchronous), 1);
    let operator = Operator::new(&sim, "ann");
    sim.pass(Duration::from_secs(1));
    let ground = sim.run(operator.look()).unwrap();
    let topology = sim.lock().state.topology().clone();
    let standby = topology.sites.values().nth(1).unwrap();
    let intent = Intent {
        region: standby.region.to_string(),
        database_only: false,
        allow_data_loss: None,
        fenced_by_operator: None,
    };
    let plan = ground.failover(&topology, &intent).unwrap();
    let run = RunId("20260101000000-abcdef".to_owned());
    let entry = Entry {
        sequence: 0,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
        event: Event::RunStarted(Box::new(RunStarted {
            run: run.clone(),
            shown: plan.digest(),
            plan,
            epoch: Epoch(2),
            operator: "ann".to_owned(),
            machine: "desk".to_owned(),
        })),
    };
    let line = serde_json::to_string(&entry).unwrap();
    let store = JournalDirectory::open(directory).unwrap();
    store.append(&run, &[line]).await.unwrap();
    run
}

#[tokio::test]
async fn a_question_is_not_asked_where_nobody_can_answer_and_holds_nothing() {
    let desk = Desk::new();
    let output = desk.hafail(&["deploy"]);
    assert_eq!(output.status.code(), ACCESS, "{}", said(&output));
    let store = JournalDirectory::open(&desk.directory()).unwrap();
    let run = RunId("deploy".to_owned());
    let holder = Holder {
        what: run.0.clone(),
        run,
        operator: "ann".to_owned(),
        machine: "desk".to_owned(),
        process: 1,
        since: String::new(),
    };
    assert!(!holder.has_journal());
    assert_eq!(holder.to_string(), "deploy by ann@desk (process 1)");
    store.register(&holder).await.unwrap();
}

#[tokio::test]
async fn nothing_is_deployed_over_a_half_done_failover() {
    let desk = Desk::new();
    let run = broken_off(&desk.directory()).await;
    let since = Instant::now();
    for args in [&["deploy", "--yes"][..], &["run", "deploy-haproxy"]] {
        let output = desk.hafail(args);
        let text = said(&output);
        assert_eq!(output.status.code(), LOCKED, "{args:?}: {text}");
        assert!(text.contains("refused (run-in-progress)"), "{text}");
        assert!(text.contains(&run.0), "{text}");
        assert!(text.contains("hint: hafail resume\n"), "{text}");
    }
    assert!(
        since.elapsed() < Duration::from_secs(20),
        "nobody was asked"
    );
    let json = desk.hafail(&["deploy", "--yes", "--output", "json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["error"]["id"], "run-in-progress");
    // Looking is free, and who removes everything needs no settled primary.
    for args in [&["run", "test-connectivity"][..], &["destroy", "--yes"]] {
        let output = desk.hafail(args);
        assert_eq!(output.status.code(), ACCESS, "{args:?}: {}", said(&output));
    }
}

#[tokio::test]
async fn a_first_automatic_deploy_has_no_store_to_lock() {
    let desk = Desk::new();
    let automatic = ["-t", "topologies/automatic.yaml"];
    for args in [&["deploy", "--yes"][..], &["run", "deploy-redis"]] {
        let output = desk.hafail(&[args, &automatic].concat());
        let text = said(&output);
        assert_eq!(output.status.code(), ACCESS, "{args:?}: {text}");
        assert!(!text.contains("shared store"), "there is none: {text}");
    }
    // Two on one machine exclude each other all the same.
    let directory = desk.home.path().join("automatic");
    let store = JournalDirectory::open(&directory).unwrap();
    let run = RunId("destroy".to_owned());
    let holder = Holder {
        what: run.0.clone(),
        run,
        operator: "ann".to_owned(),
        machine: "desk".to_owned(),
        process: 1,
        since: String::new(),
    };
    store.register(&holder).await.unwrap();
    let output = desk.hafail(&[&["deploy", "--yes"][..], &automatic].concat());
    assert_eq!(output.status.code(), LOCKED, "{}", said(&output));
}
