//! The lab, and hafail on it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub use super::program::{Ended, Started};

/// What is to come about does so within that time, on the slowest machine. How
/// fast it is, `scripts/bench` measures.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// From one look to the next: who looks without a pause takes the machine's
/// time from what is waited for.
const PAUSE: Duration = Duration::from_millis(300);

/// Looks until something is there; errors say what is there instead.
#[track_caller]
pub fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(said) => assert!(Instant::now() < deadline, "{said}"),
        }
        std::thread::sleep(PAUSE);
    }
}

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
        self.until_status("not healthy", |status| {
            (status.code == Some(0)).then_some(())
        });
    }

    /// Waits until `status` finds nothing but this.
    #[track_caller]
    pub fn healthy_but(&self, permitted: &[&str]) {
        self.until_status("not healthy", |status| {
            let page = status.json();
            let findings = page["findings"].as_array().cloned().unwrap_or_default();
            let mut others = findings.iter().filter(|finding| {
                finding["severity"] != "good" && !permitted.iter().any(|id| finding["id"] == **id)
            });
            (page["primary"].is_string() && others.next().is_none()).then_some(())
        });
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
        self.until_status("no primary", |status| {
            status.json()["primary"].as_str().map(str::to_owned)
        })
    }

    /// Asks `status` until it says what is looked for.
    #[track_caller]
    pub fn until_status<T>(&self, lacks: &str, look: impl Fn(&Ended) -> Option<T>) -> T {
        until(|| {
            let status = self.run(&["status"]);
            look(&status).ok_or_else(|| format!("{lacks}: {status}"))
        })
    }

    /// Asks for the last decision until it says that.
    #[track_caller]
    pub fn until_why_says(&self, text: &str) -> String {
        until(|| {
            let why = self.run(&["why", "--last", "1"]).with(0);
            if why.stdout.contains(text) {
                return Ok(why.stdout);
            }
            Err(format!("does not say `{text}`: {why}"))
        })
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

/// Runs `check`; where it fails, what it deployed goes, so that the next test
/// begins with an empty account.
pub fn cleared(deployed: &Hafail, check: impl FnOnce() + std::panic::UnwindSafe) {
    if let Err(panic) = std::panic::catch_unwind(check) {
        if !keeps() {
            let destroyed = deployed.run(&["destroy", "--yes"]);
            eprintln!("after the failure: {destroyed}");
        }
        std::panic::resume_unwind(panic);
    }
}

/// Whether the system that an earlier run left is taken, and left again.
pub fn keeps() -> bool {
    std::env::var_os("HAFAIL_E2E_KEEP").is_some()
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
