//! Programs on the lab: run, watched, interrupted, and always bounded in time.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

/// No command of these stories takes longer.
const LONGEST: Duration = Duration::from_secs(240);

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The variables that `hafail-lab env` prints.
pub fn variables() -> Vec<(String, String)> {
    let output = Command::new("hafail-lab")
        .arg("env")
        .output()
        .expect("hafail-lab is on PATH");
    assert!(output.status.success(), "no lab is up: run scripts/test");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

pub fn variable(name: &str) -> String {
    let found = variables().into_iter().find(|(known, _)| known == name);
    found
        .unwrap_or_else(|| panic!("hafail-lab env does not print {name}"))
        .1
}

pub fn home() -> PathBuf {
    std::env::var_os("HAFAIL_HOME")
        .expect("scripts/test sets HAFAIL_HOME")
        .into()
}

/// What a program left behind.
pub struct Ended {
    pub what: String,
    /// None: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {self}"))
    }

    /// Ends the test where the exit code is another one.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The error of the document, which must have this id and a next command.
    #[track_caller]
    pub fn error(&self, id: &str) -> Value {
        let error = self.json()["error"].clone();
        assert_eq!(error["id"], id, "{self}");
        assert!(
            !error["hints"].as_array().unwrap().is_empty(),
            "says what to do next: {self}"
        );
        error
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "does not say `{text}`: {self}");
        self
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            what,
            code,
            stdout,
            stderr,
        } = self;
        write!(f, "{what} ended with {code:?}\n{stdout}\n{stderr}")
    }
}

/// How hafail is called.
#[derive(Clone, Default)]
pub struct Hafail {
    topology: Option<PathBuf>,
    environment: Vec<(String, Option<String>)>,
}

impl Hafail {
    /// With the topology `two-regions.yaml` and the lab's account.
    pub fn new() -> Self {
        Self::default()
    }

    pub fn topology(path: impl Into<PathBuf>) -> Self {
        Self {
            topology: Some(path.into()),
            environment: Vec::new(),
        }
    }

    /// With a variable of its own; none: without that variable.
    pub fn variable(mut self, name: &str, value: Option<&str>) -> Self {
        self.environment
            .push((name.to_owned(), value.map(str::to_owned)));
        self
    }

    pub fn start(&self, arguments: &[&str]) -> Started {
        let mut command = Command::new("hafail");
        command
            .args(arguments)
            .args(["--output", "json"])
            .current_dir(root())
            .envs(variables());
        if let Some(topology) = &self.topology {
            command.env("HAFAIL_TOPOLOGY", topology);
        }
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Started::new(format!("hafail {}", arguments.join(" ")), command)
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end()
    }

    /// A refusal or failure: exit code, id, what to do next.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], code: i32, id: &str) -> Ended {
        let ended = self.run(arguments).with(code);
        ended.error(id);
        ended
    }

    /// Waits until `status` finds nothing to say.
    #[track_caller]
    pub fn healthy(&self) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let status = self.run(&["status"]);
            if status.code == Some(0) {
                return;
            }
            assert!(Instant::now() < deadline, "not healthy: {status}");
        }
    }

    /// Waits until `status` finds nothing but this.
    #[track_caller]
    pub fn healthy_but(&self, permitted: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let status = self.run(&["status"]);
            let page = status.json();
            let findings = page["findings"].as_array().cloned().unwrap_or_default();
            let mut others = findings.iter().filter(|finding| {
                finding["severity"] != "good" && !permitted.iter().any(|id| finding["id"] == **id)
            });
            if page["primary"].is_string() && others.next().is_none() {
                return;
            }
            assert!(Instant::now() < deadline, "not healthy: {status}");
        }
    }

    /// 100 votes, each accepted and persisted, and no other.
    #[track_caller]
    pub fn counts_every_vote(&self) {
        let load = self
            .run(&["load", "--votes", "100", "--concurrency", "10"])
            .with(0)
            .json();
        assert_eq!(load["accepted"], 100, "{load}");
        assert_eq!(load["persisted"], 100, "{load}");
        assert_eq!(
            (&load["lost"], &load["phantom"]),
            (&0.into(), &0.into()),
            "{load}"
        );
    }

    /// Waits until a database is seen to be primary.
    #[track_caller]
    pub fn primary(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let status = self.run(&["status"]);
            if let Some(host) = status.json()["primary"].as_str() {
                return host.to_owned();
            }
            assert!(Instant::now() < deadline, "no primary: {status}");
        }
    }

    /// A deploy that succeeds; answers its number of changes.
    #[track_caller]
    pub fn deploys(&self) -> u64 {
        let deployed = self.run(&["deploy", "--yes"]).with(0);
        deployed.json()["changes"].as_u64().unwrap()
    }

    /// A deploy that finds everything as it is to be; else tells what it
    /// changed.
    #[track_caller]
    pub fn deploys_nothing(&self) {
        let deployed = self.run(&["deploy", "--yes"]).with(0);
        assert_eq!(deployed.json()["changes"], 0, "{deployed}");
    }
}

/// A program that runs.
pub struct Started {
    what: String,
    child: Child,
    deadline: Instant,
    lines: Receiver<String>,
    /// Lines of standard error that were read.
    seen: String,
    stdout: JoinHandle<String>,
}

impl Started {
    pub fn new(what: String, mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    break;
                }
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let (deadline, seen) = (Instant::now() + LONGEST, String::new());
        Self {
            what,
            child,
            deadline,
            lines,
            seen,
            stdout,
        }
    }

    /// Waits until it has told a line that pleases.
    #[track_caller]
    pub fn until(&mut self, pleases: impl Fn(&str) -> bool) {
        loop {
            match self.next() {
                Ok(line) if pleases(&line) => return,
                Ok(_) => {}
                Err(_) => panic!("{} did not say it:\n{}", self.what, self.seen),
            }
        }
    }

    fn next(&mut self) -> Result<String, RecvTimeoutError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left)?;
        self.seen.push_str(&line);
        self.seen.push('\n');
        Ok(line)
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        self.signal("-INT");
    }

    /// It stands still until [`Self::go_on`].
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success(), "{} had ended already", self.what);
    }

    /// Whether standard output is closed: it prints last.
    pub fn has_ended(&self) -> bool {
        self.stdout.is_finished()
    }

    #[track_caller]
    pub fn end(mut self) -> Ended {
        let late = loop {
            match self.next() {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => break true,
            }
        };
        if late {
            let _ = self.child.kill();
        }
        let status = self.child.wait().unwrap();
        assert!(!late, "{} did not end in time:\n{}", self.what, self.seen);
        Ended {
            code: status.code(),
            stdout: self.stdout.join().unwrap(),
            stderr: self.seen,
            what: self.what,
        }
    }
}

/// A script as root on a host, by the lab and not by hafail.
#[track_caller]
pub fn on_host(deployment: &str, host: &str, script: &str) -> String {
    try_on_host(deployment, host, script).with(0).stdout
}

/// The same, where the host may be off.
#[track_caller]
pub fn try_on_host(deployment: &str, host: &str, script: &str) -> Ended {
    let site = match host.split_once('-') {
        Some((site, _)) => site,
        None if host == "witness" => host,
        None => "site1",
    };
    let name = format!("{deployment}/{site}/instance/{host}");
    let mut command = Command::new("hafail-lab");
    command.args(["exec", &name, "--", "bash", "-euc", script]);
    Started::new(format!("on {host}: {script}"), command).end()
}

/// `hafail-lab` with these arguments.
#[track_caller]
pub fn lab(arguments: &[&str]) -> String {
    let mut command = Command::new("hafail-lab");
    command.args(arguments);
    let what = format!("hafail-lab {}", arguments.join(" "));
    Started::new(what, command).end().with(0).stdout
}

/// Runs `check` and explains a failure before it is passed on.
pub fn explained(topology: Option<&Path>, check: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(check) {
        for arguments in [vec!["status"], vec!["history"], vec!["run", "check-logs"]] {
            let mut command = Command::new("hafail");
            command
                .args(&arguments)
                .current_dir(root())
                .envs(variables());
            if let Some(topology) = topology {
                command.env("HAFAIL_TOPOLOGY", topology);
            }
            if let Ok(output) = command.output() {
                let said = String::from_utf8_lossy(&output.stdout);
                eprintln!("$ hafail {}\n{said}", arguments.join(" "));
            }
        }
        std::panic::resume_unwind(panic);
    }
}

/// A topology of the repository with some text replaced, in a file of its own.
pub fn variant(name: &str, replace: &[(&str, &str)], file: &Path) -> PathBuf {
    let mut text = std::fs::read_to_string(root().join("topologies").join(name)).unwrap();
    for (old, new) in replace {
        assert!(text.contains(old), "{name} has no `{old}`");
        text = text.replace(old, new);
    }
    std::fs::write(file, text).unwrap();
    file.to_owned()
}

/// Says what is tried now, and how long the last one took.
pub fn chapter(title: &str) -> Chapter<'_> {
    Chapter {
        title,
        begun: Instant::now(),
    }
}

pub struct Chapter<'a> {
    title: &'a str,
    begun: Instant,
}

impl Drop for Chapter<'_> {
    fn drop(&mut self) {
        eprintln!(
            "    {} ({:.1} s)",
            self.title,
            self.begun.elapsed().as_secs_f64()
        );
    }
}
