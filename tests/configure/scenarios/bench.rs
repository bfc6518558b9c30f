//! Runs playbooks for the scenarios.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use hafail::{
    adapters::ssh::Ssh,
    configure::{
        ConfigureError, Event, Library, Options, Outcome, Report, Request, Secrets, Source,
        StepEnded, prepare,
    },
    ids::HostName,
    ports::remote::{Command, Output, Remote},
};
use serde_json::Value;

use crate::hosts::Hosts;

/// Everything below this is the tests' own.
pub const HOME: &str = "/var/tmp/hafail-test";

/// Hosts with connections, and what playbooks are run with.
pub struct Bench<'a> {
    pub hosts: &'a Hosts,
    pub ssh: Ssh,
}

/// What a run left.
pub struct Ran {
    pub report: Report,
    pub steps: Vec<StepEnded>,
    pub took: Duration,
}

/// What differs between runs.
#[derive(Default)]
pub struct With {
    pub options: Options,
    pub secrets: Secrets,
    pub vars: BTreeMap<String, Value>,
    pub templates: BTreeMap<String, String>,
}

impl<'a> Bench<'a> {
    /// With an empty home on all hosts.
    pub async fn new(hosts: &'a Hosts) -> Self {
        let bench = Self {
            hosts,
            ssh: hosts.ssh(),
        };
        let clean = format!(
            "for m in $(awk '$5 ~ \"^{HOME}\" {{ print $5 }}' /proc/self/mountinfo); do umount \"$m\"; done; \
             rm -rf {HOME} /var/lib/hafail-configure && mkdir -p {HOME}"
        );
        for host in bench.names() {
            bench.on(&host, &clean).await;
        }
        bench
    }

    pub fn names(&self) -> Vec<HostName> {
        self.hosts.inventory.hosts.keys().cloned().collect()
    }

    /// A script on a host, as root, which must succeed; its output.
    pub async fn on(&self, host: &HostName, script: &str) -> String {
        let output = self.status(host, script).await;
        assert_eq!(output.status, 0, "{host}: {script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub async fn status(&self, host: &HostName, script: &str) -> Output {
        let command = Command {
            script: script.to_owned(),
            stdin: Vec::new(),
            root: true,
            deadline: Duration::from_secs(60),
        };
        self.ssh
            .run(host, command)
            .await
            .expect("the host is reached")
    }

    /// Runs a playbook: `plays` in YAML.
    pub async fn run(&self, plays: &str, with: &With) -> Ran {
        self.try_run(plays, with)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub async fn try_run(&self, plays: &str, with: &With) -> Result<Ran, ConfigureError> {
        let directory = tempfile::tempdir().expect("a directory");
        let text = format!("name: test\nplays:\n{plays}");
        std::fs::write(directory.path().join("test.yaml"), text).expect("a file");
        let templates = directory.path().join("templates");
        std::fs::create_dir(&templates).expect("a directory");
        for (name, text) in &with.templates {
            std::fs::write(templates.join(name), text).expect("a file");
        }
        let library = Library::open(&Source::Directory(directory.path().to_owned()))?;
        let started = Instant::now();
        let prepared = prepare(&Request {
            library: &library,
            playbook: "test",
            topology: &self.hosts.topology,
            inventory: &self.hosts.inventory,
            secrets: &with.secrets,
            vars: with.vars.clone(),
            options: with.options.clone(),
        })?;
        let steps = Mutex::new(Vec::new());
        let keep = |event: &Event| {
            if let Event::StepEnded(ended) = event {
                steps
                    .lock()
                    .expect("no panic while held")
                    .push(ended.clone());
            }
        };
        let report = prepared.run(&self.ssh, &keep).await;
        Ok(Ran {
            report,
            steps: steps.into_inner().expect("no panic while held"),
            took: started.elapsed(),
        })
    }
}

impl Ran {
    /// Steps by outcome: ok, changed, skipped, failed, over all hosts.
    pub fn counts(&self) -> [u32; 4] {
        self.report.hosts.values().fold([0; 4], |sum, host| {
            [
                sum[0] + host.ok,
                sum[1] + host.changed,
                sum[2] + host.skipped,
                sum[3] + host.failed,
            ]
        })
    }

    /// Names of the steps that changed something on a host, in order.
    pub fn changed_on(&self, host: &HostName) -> Vec<&str> {
        let steps = self.steps.iter().filter(|step| step.host == *host);
        let changed = steps.filter(|step| matches!(step.outcome, Outcome::Changed { .. }));
        changed.map(|step| step.step.as_str()).collect()
    }

    /// Everything that could be shown of it.
    pub fn everything(&self) -> String {
        format!("{:#?} {:#?}", self.report, self.steps)
    }

    #[track_caller]
    pub fn succeeded(&self) {
        assert!(self.report.succeeded(), "{:#?}", self.report.failed);
    }
}

/// A dry run.
pub fn dry() -> With {
    With {
        options: Options {
            dry_run: true,
            ..Options::default()
        },
        ..With::default()
    }
}
