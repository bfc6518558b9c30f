//! A running command of the binary under test.

use std::process::{Child, Command, ExitStatus};

use reqwest::Response;
use tempfile::NamedTempFile;

use super::{eventually, signal};
use crate::port::free_port;

/// Killed when dropped.
pub struct Voting {
    pub url: String,
    child: Child,
    log: NamedTempFile,
}

impl Voting {
    /// Starts a command and waits until it answers `/healthz`.
    pub async fn start(command: &str, environment: &[Vec<(String, String)>]) -> Self {
        Self::start_at(
            command,
            &format!("http://127.0.0.1:{}", free_port()),
            environment,
        )
        .await
    }

    /// The same at a given address.
    pub async fn start_at(command: &str, url: &str, environment: &[Vec<(String, String)>]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_voting"))
            .args([command, "--listen", address])
            .env_clear()
            .envs([
                ("SITE", "site1"),
                ("HOSTNAME", command),
                ("RUST_LOG", "debug,h2=info"),
            ])
            .envs(environment.iter().flatten().cloned())
            .stderr(log.reopen().unwrap())
            .spawn()
            .unwrap();
        let voting = Self {
            url: url.to_owned(),
            child,
            log,
        };
        eventually("the command answers", async || {
            voting.try_get("/healthz").await
        })
        .await;
        voting
    }

    /// The same, once it is ready.
    pub async fn start_ready(command: &str, environment: &[Vec<(String, String)>]) -> Self {
        let voting = Self::start(command, environment).await;
        voting.readiness(200).await;
        voting
    }

    /// The body of `/readyz` once it answers with this code.
    pub async fn readiness(&self, code: u16) -> serde_json::Value {
        let what = format!(
            "/readyz of {} answers {code}; its log:\n{}",
            self.url,
            self.log()
        );
        let answer = eventually(&what, async || {
            self.try_get("/readyz")
                .await
                .filter(|answer| answer.status() == code)
        });
        answer.await.json().await.unwrap()
    }

    async fn try_get(&self, path: &str) -> Option<Response> {
        super::http()
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .ok()
    }

    pub async fn get(&self, path: &str) -> Response {
        self.try_get(path).await.expect("the command answers")
    }

    /// Votes as a program does.
    pub async fn vote(&self, voter: &str, vote: &str) -> (u16, serde_json::Value) {
        let request = super::http()
            .post(&self.url)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", format!("voter_id={voter}"))
            .body(format!("vote={vote}"));
        let answer = request.send().await.expect("the command answers");
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, then the exit status.
    pub async fn terminate(mut self) -> ExitStatus {
        signal("TERM", self.child.id());
        eventually("the command ends", async || self.child.try_wait().unwrap()).await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }
}

impl Drop for Voting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("--- end of the log of {}", self.url);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
