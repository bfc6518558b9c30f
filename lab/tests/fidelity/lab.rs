//! One lab, driven by its own command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Names and addresses that no other lab has.
pub const NAME: &str = "fidelity";
pub const BLOCK: &str = "127.62.17";

#[derive(Clone, Debug)]
pub struct Lab {
    pub root: PathBuf,
}

impl Lab {
    pub fn new() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("labs");
        Self { root }
    }

    pub fn state(&self) -> PathBuf {
        self.root.join(NAME)
    }

    pub fn command(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_hafail-lab"))
            .args(["--name", NAME])
            .env("HAFAIL_LAB_STATE", &self.root)
            .env("HAFAIL_LAB_ADDRESSES", BLOCK)
            .args(args)
            .output()
            .expect("the program was built for this test")
    }

    pub fn up(&self) {
        let output = self.command(&["up"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn down(&self) {
        let output = self.command(&["down"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    pub fn pid(&self, service: &str) -> String {
        let path = self.state().join(format!("{service}.pid"));
        let text = std::fs::read_to_string(path).expect("the service has a pid file");
        text.split_whitespace().next().expect("a pid").to_owned()
    }

    /// Runs a command on an instance: exit status and output.
    pub fn exec(&self, host: &str, command: &[&str]) -> (i32, String) {
        let mut args = vec!["exec", host, "--"];
        args.extend(command);
        let output = self.command(&args);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.code().unwrap_or(-1), text)
    }

    /// Runs a command on an instance that must succeed.
    pub fn must(&self, host: &str, command: &[&str]) -> String {
        let (code, text) = self.exec(host, command);
        assert_eq!(code, 0, "{host}: {command:?}: {text}");
        text
    }

    /// Waits until an instance is up.
    pub fn await_boot(&self, host: &str) {
        let up = || (self.exec(host, &["systemctl", "is-active", "ssh"]).0 == 0).then_some(());
        assert_eq!(poll(up), Some(()), "{host} is up");
    }

    /// What an instance sees when it dials.
    pub fn dial(&self, from: &str, address: &str, port: u16) -> Seen {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        match self.exec(from, &["timeout", "2", "bash", "-c", &script]).0 {
            0 => Seen::Open,
            124 => Seen::Silence,
            _ => Seen::Refused,
        }
    }

    /// Dials until the answer is the one that is awaited.
    pub fn await_dial(&self, from: &str, address: &str, port: u16, wanted: Seen) {
        let seen = poll(|| {
            let seen = self.dial(from, address, port);
            (seen == wanted).then_some(seen)
        });
        assert_eq!(seen, Some(wanted), "{from} to {address}:{port}");
    }

    /// Serves a page on a port of an instance; returns when it is served there.
    pub fn serve(&self, host: &str, port: u16) {
        let number = port.to_string();
        self.must(
            host,
            &[
                "systemd-run",
                "--quiet",
                "python3",
                "-m",
                "http.server",
                &number,
            ],
        );
        self.await_dial(host, "127.0.0.1", port, Seen::Open);
    }

    /// State of the container of an instance, as Docker says.
    pub fn container(&self, instance: &str) -> String {
        let name = format!("hafail-lab-{NAME}-{instance}");
        let format = "{{.State.Status}}";
        let output = Command::new("docker")
            .args(["inspect", "--format", format, &name])
            .output();
        String::from_utf8_lossy(&output.expect("docker runs").stdout)
            .trim()
            .to_owned()
    }

    pub fn down_and_what_is_left(&self) -> Vec<String> {
        let services = ["daemon", "registry", "moto"].map(|s| self.pid(s));
        let volumes = volumes_of(NAME);
        self.down();
        let mut left = Vec::new();
        let mut see = |what: &str, program: &str, args: &[&str], needle: &str| {
            let output = Command::new(program)
                .args(args)
                .output()
                .expect("a program of the system");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            left.extend(
                text.lines()
                    .filter(|l| l.contains(needle))
                    .map(|l| format!("{what}: {l}")),
            );
        };
        see(
            "container",
            "docker",
            &["ps", "-a", "--format", "{{.Names}}"],
            "hafail-lab-fidelity-",
        );
        see("namespace", "ip", &["netns"], "hafail-lab-fidelity.");
        let link = hafail_lab::fabric::host_link(NAME);
        see("link", "ip", &["link"], &link);
        see("route", "ip", &["route", "show", "table", "all"], &link);
        see("process", "pgrep", &["-af", "labs/fidelity"], "hafail-lab-");
        see(
            "process",
            "pgrep",
            &["-af", "hafail-lab=fidelity"],
            "docker",
        );
        for volume in volumes {
            see("volume", "docker", &["volume", "ls", "-q"], &volume);
        }
        // One that has ended may wait for init to take note of it.
        let ended = |pid: &String| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .is_none_or(|(_, rest)| rest.starts_with('Z'))
        };
        left.extend(services.into_iter().filter(|pid| !ended(pid)));
        if self.state().exists() {
            left.push(self.state().display().to_string());
        }
        left
    }
}

/// Volumes of all containers of a lab.
fn volumes_of(lab: &str) -> Vec<String> {
    let script = format!(
        "docker ps -aq --filter label=hafail-lab={lab} | xargs -r docker inspect --format \
         '{{{{range .Mounts}}}}{{{{.Name}}}} {{{{end}}}}'"
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .output()
        .expect("sh runs");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// What a client sees at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Open,
    Refused,
    Silence,
}

/// What the operator's machine sees when it dials.
pub fn dial(address: &str, port: u16) -> Seen {
    let address = format!("{address}:{port}").parse().expect("an address");
    match std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
        Ok(_) => Seen::Open,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Seen::Refused,
        Err(_) => Seen::Silence,
    }
}

/// Asks until there is an answer, for two minutes.
pub fn poll<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}
