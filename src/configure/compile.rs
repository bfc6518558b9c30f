//! From a play and a host to tasks: conditions, loops and strings are filled
//! in here, before anything is connected to.

mod containers;
mod files;
mod fill;
mod scripts;
mod waits;

use std::{collections::BTreeMap, time::Duration};

use minijinja::Value;

use super::task::{Act, Looks, Task, call};
use crate::playbook::{Action, ParseError, Play, Renderer, Scope, Service, ServiceState, Step};
pub(super) use fill::{Fill, LocalFiles};

/// Time for a step that states none.
const STEP_TIME: Duration = Duration::from_secs(120);
/// Time for installing packages.
const PACKAGES_TIME: Duration = Duration::from_secs(900);
/// Time for a look that runs no script of the user.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// Time for fetching an image.
const PULL_TIME: Duration = Duration::from_secs(300);

/// The tasks of one play on one host.
pub struct Compiled {
    /// Empty when the play is not for this host.
    pub tasks: Vec<Task>,
    pub handlers: Vec<Task>,
}

/// What compiling needs besides the play.
pub struct Inputs<'a> {
    pub renderer: &'a Renderer,
    pub scope: &'a Scope,
    pub files: &'a LocalFiles,
    /// File of the playbook, for messages.
    pub file: &'a str,
}

/// Fills in a play for a host.
///
/// # Errors
/// All that cannot be filled in.
pub fn compile(play: &Play, inputs: &Inputs<'_>) -> Result<Compiled, Vec<ParseError>> {
    let mut fill = Fill::new(inputs);
    let mut compiled = Compiled {
        tasks: Vec::new(),
        handlers: Vec::new(),
    };
    if play.when.as_ref().is_some_and(|when| !fill.holds(when)) {
        return fill.finish(compiled);
    }
    for handler in &play.handlers {
        // A handler is one task, so that notifications can name it.
        let task = fill.step(handler).into_iter().next();
        compiled.handlers.extend(task);
    }
    let names: Vec<String> = compiled.handlers.iter().map(|h| h.name.clone()).collect();
    for handler in &play.handlers {
        let notify = fill.notified(handler, &names);
        let position = names.iter().position(|name| *name == handler.name.source);
        if let Some(task) = position.and_then(|at| compiled.handlers.get_mut(at)) {
            task.notify = notify;
        }
    }
    for step in &play.steps {
        let notify = fill.notified(step, &names);
        let mut tasks = fill.step(step);
        for task in &mut tasks {
            task.notify.clone_from(&notify);
        }
        compiled.tasks.extend(tasks);
    }
    compiled
        .tasks
        .push(flush("handlers", &step_place(inputs.file, play.position)));
    fill.finish(compiled)
}

fn step_place(file: &str, position: crate::playbook::Position) -> String {
    format!("{file}:{position}")
}

/// Whether handlers wait is known to the host; see `Script::text`.
fn flush(name: &str, place: &str) -> Task {
    Task {
        check: "none_pending $HANDLERS".to_owned(),
        act: Act::Flush,
        hidden: true,
        ..bare(name, place)
    }
}

/// A task that has nothing to do.
fn bare(name: &str, place: &str) -> Task {
    Task {
        name: name.to_owned(),
        place: place.to_owned(),
        check: "return $OK".to_owned(),
        act: Act::None,
        looks: Looks::default(),
        check_time: LOOK_TIME,
        act_time: STEP_TIME,
        notify: Vec::new(),
        hidden: false,
        show: false,
        waits: false,
        wanted: None,
        remedy: String::new(),
    }
}

impl Fill<'_> {
    /// The tasks of a step: one, or one for each element of its loop.
    fn step(&mut self, step: &Step) -> Vec<Task> {
        let Some(each) = &step.for_each else {
            let mut tasks = self.one(step);
            self.await_boxes(step, &mut tasks);
            return tasks;
        };
        let elements = self.elements(each);
        let outer = self.scope().clone();
        let mut tasks = Vec::new();
        for (index, element) in elements.into_iter().enumerate() {
            let scope = outer.with(&each.variable, element);
            self.enter(scope.with("index", Value::from(index)));
            tasks.extend(self.one(step));
        }
        self.enter(outer);
        self.await_boxes(step, &mut tasks);
        tasks
    }

    /// The task of a step without its loop.
    fn one(&mut self, step: &Step) -> Vec<Task> {
        let place = step_place(self.file(), step.position);
        let name = self.text(&step.name);
        let base = bare(&name, &place);
        if let Some(when) = &step.when
            && !self.holds(when)
        {
            let why = format!("`{}` does not hold here", when.source);
            return vec![Task {
                check: super::task::set(&[("WHY", &why)]) + "return $SKIPPED",
                act: Act::Skip(why),
                ..base
            }];
        }
        let mut base = base;
        let deadline = step.deadline.map(|deadline| deadline.0);
        base.act_time = deadline.unwrap_or(STEP_TIME);
        let mut task = self.action(&step.action, base, !step.notify.is_empty());
        task.act_time = deadline.unwrap_or(task.act_time);
        vec![task]
    }

    fn action(&mut self, action: &Action, base: Task, notifies: bool) -> Task {
        match action {
            Action::Packages(names) => self.packages(names, base),
            Action::File(file) => self.put_file(file, base),
            Action::Directory(directory) => self.directory(directory, base),
            Action::Absent(absent) => self.absent(absent, base),
            Action::Upload(upload) => self.upload(upload, base),
            Action::Service(service) => self.service(service, base),
            Action::Container(container) => self.container(container, base),
            Action::ContainersAbsent(absent) => self.containers_absent(absent, base),
            Action::Run(run) => self.run(run, base, notifies),
            Action::Wait(wait) => self.wait(wait, base),
            Action::Sql(sql) => self.sql(sql, base),
            Action::Assert(assert) => self.assert(assert, base),
            Action::Hosts(hosts) => self.hosts(hosts, base),
            Action::Flush => flush(&base.name, &base.place),
        }
    }

    fn packages(&mut self, names: &[crate::playbook::Text], base: Task) -> Task {
        let names: Vec<String> = names.iter().map(|name| self.text(name)).collect();
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        Task {
            check: call("packages_are", &words),
            act: Act::Script(call("install_packages", &words)),
            looks: Looks {
                packages: names.iter().cloned().collect(),
                ..Looks::default()
            },
            act_time: PACKAGES_TIME,
            remedy: "see whether the host reaches its package mirror (`sudo apt-get update`) and \
                     has room (`df -h`)"
                .to_owned(),
            ..base
        }
    }

    fn service(&mut self, service: &Service, base: Task) -> Task {
        let mut name = self.text(&service.name);
        if !name.contains('.') {
            name.push_str(".service");
        }
        let state = match service.state {
            None => "-",
            Some(ServiceState::Started) => "started",
            Some(ServiceState::Stopped) => "stopped",
            Some(ServiceState::Restarted) => "restarted",
            Some(ServiceState::Reloaded) => "reloaded",
        };
        let enabled = match service.enabled {
            None => "-",
            Some(true) => "yes",
            Some(false) => "no",
        };
        Task {
            check: call("unit_is", &[&name, state, enabled]),
            act: Act::Script(call("make_unit", &[&name, state, enabled])),
            looks: Looks {
                units: [name.clone()].into(),
                ..Looks::default()
            },
            remedy: format!("see `journalctl -u {name}` on the host"),
            ..base
        }
    }
}

/// Environment variables as shell lines.
fn exports(variables: &BTreeMap<String, String>) -> String {
    let lines = variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", super::task::quoted(value)));
    lines.collect()
}
