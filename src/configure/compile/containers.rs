//! `container`, `containers_absent`.

use std::{collections::BTreeMap, time::Duration};

use super::{super::task, Act, Fill, Looks, PULL_TIME, Task, bare, call, step_place};
use crate::playbook::{Action, Container, ContainerHealth, ContainersAbsent, Pull, Step, sha256};

/// Time to get ready when none is stated.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Time to stop an earlier container and start the new one.
const EXCHANGE_TIME: Duration = Duration::from_secs(60);
const REMEDY: &str = "see `docker ps -a` and `docker logs` on the host";

impl Fill<'_> {
    pub(super) fn container(&mut self, container: &Container, base: Task) -> Task {
        let name = self.text(&container.name);
        let image = self.text(&container.image);
        let options = self.options(container);
        let mut command = self.texts(&container.command);
        command.extend(self.strings(container.command_from.as_ref()));
        command.retain(|word| !word.is_empty());
        let environment = self.environment(container);
        let pull = match container.pull {
            Pull::Always => "always",
            Pull::Missing => "missing",
            Pull::Never => "never",
        };
        let specification = [
            options.join("\n"),
            command.join("\n"),
            environment.clone(),
            image.clone(),
        ];
        let hash = sha256(specification.join("\n\n").as_bytes());
        let hash = &hash[..32];
        let seconds = ready_within(container).as_secs().to_string();
        let restart = self.restart(container);
        let set = task::set_array("OPTIONS", &options)
            + &task::set_array("COMMAND", &command)
            + &task::set(&[("ENVIRONMENT", &environment)]);
        Task {
            check: call("box_is", &[&name, &image, pull, hash, &restart]),
            act: Act::Script(
                set + &call("make_box", &[&name, &image, pull, hash, &seconds, &restart]),
            ),
            looks: Looks {
                boxes: [name.clone()].into(),
                ..Looks::default()
            },
            check_time: PULL_TIME,
            act_time: PULL_TIME + EXCHANGE_TIME + ready_within(container),
            remedy: REMEDY.to_owned(),
            ..base
        }
    }

    fn restart(&mut self, container: &Container) -> String {
        self.text_or(container.restart.as_ref(), "always")
    }

    /// Options of `docker run`.
    fn options(&mut self, container: &Container) -> Vec<String> {
        let mut options = vec!["--restart".to_owned(), self.restart(container)];
        let mut ports = self.texts(&container.ports);
        ports.extend(self.strings(container.ports_from.as_ref()));
        for port in ports.into_iter().filter(|port| !port.is_empty()) {
            options.extend(["-p".to_owned(), port]);
        }
        for volume in self.texts(&container.volumes) {
            options.extend(["-v".to_owned(), volume]);
        }
        if let Some(network) = self.optional(container.network.as_ref()) {
            options.extend(["--network".to_owned(), network]);
        }
        if let Some(health) = &container.health {
            options.extend(self.health(health));
        }
        options
    }

    fn health(&mut self, health: &ContainerHealth) -> Vec<String> {
        let command = self.text(&health.command);
        if command.is_empty() || command == "none" {
            return Vec::new();
        }
        let mut interval = self.text_or(health.interval.as_ref(), "2s");
        if interval.ends_with(|c: char| c.is_ascii_digit()) {
            interval.push('s');
        }
        let timeout = health.timeout.map_or(Duration::from_secs(2), |time| time.0);
        let retries = health.retries.unwrap_or(3);
        vec![
            "--health-cmd".to_owned(),
            command,
            "--health-interval".to_owned(),
            interval,
            "--health-timeout".to_owned(),
            format!("{}ms", timeout.as_millis()),
            "--health-retries".to_owned(),
            retries.to_string(),
        ]
    }

    /// The lines of the environment file.
    fn environment(&mut self, container: &Container) -> String {
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        if let Some(expression) = &container.env_from {
            let map = self.value(expression, true);
            let names = map.try_iter().into_iter().flatten();
            for name in names {
                let value = map.get_item(&name).unwrap_or_default().to_string();
                let text = crate::playbook::Text {
                    source: value,
                    position: expression.position,
                };
                variables.insert(name.to_string(), self.secret(&text));
            }
        }
        for (name, value) in &container.env {
            variables.insert(name.clone(), self.secret(value));
        }
        let mut lines = String::new();
        for (name, value) in &variables {
            if value.contains('\n') || name.contains(['=', '\n']) {
                let message = format!("the environment variable `{name}` has a line break");
                self.wrong(&container.name, message, "mount a file instead");
            }
            lines.push_str(&format!("{name}={value}\n"));
        }
        lines
    }

    /// After containers, a task that waits until all of them are ready.
    pub(super) fn await_boxes(&mut self, step: &Step, tasks: &mut Vec<Task>) {
        let Action::Container(container) = &step.action else {
            return;
        };
        let made = tasks
            .iter()
            .filter(|task| !matches!(task.act, Act::Skip(_)));
        let names: Vec<String> = made
            .flat_map(|task| task.looks.boxes.iter().cloned())
            .collect();
        if names.is_empty() {
            return;
        }
        let within = ready_within(container);
        let seconds = within.as_secs().to_string();
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let waited = [&[seconds.as_str()], &*words].concat();
        let name = format!("{} ready within {seconds} s", names.join(", "));
        let place = step_place(self.file(), step.position);
        tasks.push(Task {
            check: call("boxes_are_ready", &words),
            act: Act::Script(call("boxes_ready", &waited)),
            looks: Looks {
                boxes: names.iter().cloned().collect(),
                ..Looks::default()
            },
            act_time: within * u32::try_from(names.len()).unwrap_or(u32::MAX),
            hidden: true,
            remedy: REMEDY.to_owned(),
            ..bare(&name, &place)
        });
    }

    pub(super) fn containers_absent(&mut self, absent: &ContainersAbsent, base: Task) -> Task {
        let unwanted = self.texts(&absent.names);
        let mut wanted = self.texts(&absent.except);
        wanted.extend(self.strings(absent.except_from.as_ref()));
        let set = task::set_array("UNWANTED", &unwanted) + &task::set_array("WANTED", &wanted);
        Task {
            check: set.clone() + "boxes_are_absent",
            act: Act::Script(set + "remove_boxes"),
            remedy: REMEDY.to_owned(),
            ..base
        }
    }
}

fn ready_within(container: &Container) -> Duration {
    container.ready_within.map_or(READY_WITHIN, |time| time.0)
}
