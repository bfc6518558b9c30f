//! From YAML to a playbook, with the place of everything that is wrong.

mod shape;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    Absent, Action, Assert, Container, ContainersAbsent, Directory, File, ForEach, HostSet, Hosts,
    Item, Place, Play, Playbook, Position, Run, Seconds, Service, Sql, Step, Target, Text, Upload,
    Wait,
};
use crate::topology::Role;
pub use shape::nearest;
use shape::shape_error;

/// One thing wrong with a playbook.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{position}: {message}")]
pub struct ParseError {
    pub file: String,
    pub position: Position,
    pub message: String,
    /// What to do.
    pub remedy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlaybook {
    name: String,
    #[serde(default)]
    description: String,
    plays: Vec<Spanned<RawPlay>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlay {
    include: Option<Text>,
    name: Option<Text>,
    roles: Option<Vec<Spanned<String>>>,
    hosts: Option<Spanned<String>>,
    named: Option<Vec<Text>>,
    #[serde(rename = "where")]
    place: Option<Text>,
    #[serde(default)]
    serial: bool,
    #[serde(default)]
    once: bool,
    when: Option<Text>,
    #[serde(default)]
    steps: Vec<Spanned<RawStep>>,
    #[serde(default)]
    handlers: Vec<Spanned<RawStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    name: Text,
    when: Option<Text>,
    for_each: Option<Text>,
    #[serde(rename = "as")]
    variable: Option<String>,
    #[serde(default)]
    notify: Vec<Text>,
    deadline: Option<Seconds>,
    packages: Option<Vec<Text>>,
    file: Option<File>,
    directory: Option<Directory>,
    absent: Option<Absent>,
    upload: Option<Upload>,
    service: Option<Service>,
    container: Option<Container>,
    containers_absent: Option<ContainersAbsent>,
    run: Option<Run>,
    wait: Option<Wait>,
    sql: Option<Sql>,
    assert: Option<Assert>,
    hosts: Option<Hosts>,
    flush: Option<bool>,
}

/// Reads a playbook; `file` is its name in messages.
///
/// # Errors
/// Everything that is wrong: the first mistake of shape, or all of meaning.
pub fn parse(file: &str, text: &str) -> Result<Playbook, Vec<ParseError>> {
    let options = serde_saphyr::options! { with_snippet: false };
    let raw: RawPlaybook = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| vec![shape_error(file, &error)])?;
    let mut reader = Reader {
        file,
        errors: Vec::new(),
    };
    let plays = raw.plays.into_iter().filter_map(|play| reader.item(play));
    let plays = plays.collect();
    if reader.errors.is_empty() {
        Ok(Playbook {
            file: file.to_owned(),
            name: raw.name,
            description: raw.description,
            plays,
        })
    } else {
        Err(reader.errors)
    }
}

/// Turns raw shapes into the language and collects what is wrong.
struct Reader<'a> {
    file: &'a str,
    errors: Vec<ParseError>,
}

impl Reader<'_> {
    fn wrong(&mut self, position: Position, message: impl Into<String>, remedy: impl Into<String>) {
        self.errors.push(ParseError {
            file: self.file.to_owned(),
            position,
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    fn item(&mut self, raw: Spanned<RawPlay>) -> Option<Item> {
        let position = Position::of(&raw);
        let raw = raw.value;
        if let Some(playbook) = raw.include {
            if raw.steps.is_empty() && raw.roles.is_none() && raw.hosts.is_none() {
                let when = raw.when;
                return Some(Item::Include { playbook, when });
            }
            self.wrong(
                position,
                "an include has hosts or steps of its own",
                "keep only `include` and `when`, or make two entries of it",
            );
            return None;
        }
        let hosts = self.host_set(position, raw.roles, raw.hosts, raw.named)?;
        let Some(name) = raw.name else {
            self.wrong(position, "the play has no name", "add `name: …`");
            return None;
        };
        let steps = self.steps(raw.steps);
        let handlers = self.steps(raw.handlers);
        self.check_handlers(&steps, &handlers);
        Some(Item::Play(Box::new(Play {
            name,
            position,
            target: Target {
                hosts,
                place: raw.place.map(place),
            },
            serial: raw.serial,
            once: raw.once,
            when: raw.when,
            steps,
            handlers,
        })))
    }

    fn host_set(
        &mut self,
        position: Position,
        roles: Option<Vec<Spanned<String>>>,
        hosts: Option<Spanned<String>>,
        named: Option<Vec<Text>>,
    ) -> Option<HostSet> {
        match (roles, hosts, named) {
            (Some(roles), None, None) => {
                let roles = roles.iter().filter_map(|role| self.role(role));
                Some(HostSet::Roles(roles.collect()))
            }
            (None, Some(hosts), None) if hosts.value == "all" => Some(HostSet::All),
            (None, None, Some(named)) => Some(HostSet::Named(named)),
            (None, Some(hosts), None) => {
                self.wrong(
                    Position::of(&hosts),
                    format!("`hosts: {}` is not known", hosts.value),
                    "write `hosts: all`, `roles: [db]` or `named: [site1-db]`",
                );
                None
            }
            _ => {
                self.wrong(
                    position,
                    "a play is for `hosts: all`, for `roles` or for `named` hosts: one of the three",
                    "keep exactly one of them; `where` narrows it to sites",
                );
                None
            }
        }
    }

    fn role(&mut self, text: &Spanned<String>) -> Option<Role> {
        let role = Role::ALL.into_iter().find(|role| role.word() == text.value);
        if role.is_none() {
            let names: Vec<&str> = Role::ALL.map(Role::word).to_vec();
            self.wrong(
                Position::of(text),
                format!("there is no role `{}`", text.value),
                nearest(&text.value, &names),
            );
        }
        role
    }

    fn steps(&mut self, raw: Vec<Spanned<RawStep>>) -> Vec<Step> {
        raw.into_iter().filter_map(|step| self.step(step)).collect()
    }

    fn step(&mut self, raw: Spanned<RawStep>) -> Option<Step> {
        let position = Position::of(&raw);
        let mut raw = raw.value;
        let mut actions = actions_of(&mut raw);
        let (Some((_, action)), true) = (actions.pop(), actions.is_empty()) else {
            self.wrong(
                position,
                format!("step `{}` must have exactly one action", raw.name.source),
                format!("keep exactly one of: {}", ACTIONS.join(", ")),
            );
            return None;
        };
        self.check_choices(position, &action);
        if raw.variable.is_some() && raw.for_each.is_none() {
            self.wrong(
                position,
                "`as` names the element of `for_each`, which is missing",
                "add `for_each: …` or remove `as`",
            );
        }
        let variable = raw.variable.unwrap_or_else(|| "item".to_owned());
        Some(Step {
            name: raw.name,
            position,
            when: raw.when,
            for_each: raw.for_each.map(|list| ForEach { list, variable }),
            notify: raw.notify,
            deadline: raw.deadline,
            action,
        })
    }

    /// Actions with alternatives: exactly one is given.
    fn check_choices(&mut self, position: Position, action: &Action) {
        let (given, names): (usize, &str) = match action {
            Action::File(file) => (
                count(&[file.content.is_some(), file.template.is_some()]),
                "`content` and `template`",
            ),
            Action::Assert(assert) => (
                count(&[assert.that.is_some(), assert.script.is_some()]),
                "`that` and `script`",
            ),
            Action::Wait(wait) => (
                count(&[
                    wait.tcp.is_some(),
                    wait.http.is_some(),
                    wait.sql.is_some(),
                    wait.redis.is_some(),
                    wait.script.is_some(),
                ]),
                "`tcp`, `http`, `sql`, `redis` and `script`",
            ),
            _ => return,
        };
        if given != 1 {
            self.wrong(
                position,
                format!("{given} of {names} are given"),
                format!("give exactly one of {names}"),
            );
        }
    }

    /// Constant names in `notify` must exist; names from templates are
    /// checked when they are known.
    fn check_handlers(&mut self, steps: &[Step], handlers: &[Step]) {
        let names: Vec<&str> = handlers.iter().map(|h| h.name.source.as_str()).collect();
        for notified in steps.iter().chain(handlers).flat_map(|step| &step.notify) {
            if !notified.source.contains("{{") && !names.contains(&notified.source.as_str()) {
                self.wrong(
                    notified.position,
                    format!("the play has no handler `{}`", notified.source),
                    nearest(&notified.source, &names),
                );
            }
        }
    }
}

const ACTIONS: [&str; 14] = [
    "packages",
    "file",
    "directory",
    "absent",
    "upload",
    "service",
    "container",
    "containers_absent",
    "run",
    "wait",
    "sql",
    "assert",
    "hosts",
    "flush",
];

fn actions_of(raw: &mut RawStep) -> Vec<(&'static str, Action)> {
    let given = [
        raw.packages.take().map(Action::Packages),
        raw.file.take().map(|file| Action::File(Box::new(file))),
        raw.directory.take().map(Action::Directory),
        raw.absent.take().map(Action::Absent),
        raw.upload.take().map(Action::Upload),
        raw.service.take().map(Action::Service),
        raw.container.take().map(|c| Action::Container(Box::new(c))),
        raw.containers_absent.take().map(Action::ContainersAbsent),
        raw.run.take().map(|run| Action::Run(Box::new(run))),
        raw.wait.take().map(|wait| Action::Wait(Box::new(wait))),
        raw.sql.take().map(|sql| Action::Sql(Box::new(sql))),
        raw.assert.take().map(Action::Assert),
        raw.hosts.take().map(Action::Hosts),
        raw.flush.take().filter(|on| *on).map(|_| Action::Flush),
    ];
    let named = ACTIONS.into_iter().zip(given);
    named
        .filter_map(|(name, action)| Some((name, action?)))
        .collect()
}

fn place(text: Text) -> Place {
    match text.source.as_str() {
        "primary_site" => Place::PrimarySite,
        "standby_sites" => Place::StandbySites,
        _ => Place::Site(text),
    }
}

fn count(given: &[bool]) -> usize {
    given.iter().filter(|given| **given).count()
}

#[cfg(test)]
mod tests;
