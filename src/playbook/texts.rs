//! All strings of a step, with what each may be.

use super::{Action, File, Play, Run, Sql, SqlCheck, Step, Text, Wait};

/// A string and what it may use.
pub struct Use<'a> {
    pub text: &'a Text,
    /// An expression instead of a template.
    pub expression: bool,
    /// It may name secrets.
    pub secrets: bool,
}

/// Collects strings by kind.
#[derive(Default)]
struct Texts<'a>(Vec<Use<'a>>);

impl<'a> Texts<'a> {
    fn plain(&mut self, texts: impl IntoIterator<Item = &'a Text>) {
        self.add(texts, false, false);
    }

    fn secret(&mut self, texts: impl IntoIterator<Item = &'a Text>) {
        self.add(texts, false, true);
    }

    fn expression(&mut self, texts: impl IntoIterator<Item = &'a Text>) {
        self.add(texts, true, false);
    }

    fn add(&mut self, texts: impl IntoIterator<Item = &'a Text>, expression: bool, secrets: bool) {
        self.0.extend(texts.into_iter().map(|text| Use {
            text,
            expression,
            secrets,
        }));
    }
}

/// The strings of a play outside its steps.
#[must_use]
pub fn of_play(play: &Play) -> Vec<Use<'_>> {
    let mut texts = Texts::default();
    texts.plain([&play.name]);
    texts.expression(&play.when);
    texts.0
}

/// The strings of a step.
#[must_use]
pub fn of_step(step: &Step) -> Vec<Use<'_>> {
    let mut texts = Texts::default();
    texts.plain([&step.name]);
    texts.plain(&step.notify);
    texts.expression(&step.when);
    texts.expression(step.for_each.as_ref().map(|each| &each.list));
    of_action(&step.action, &mut texts);
    texts.0
}

fn of_action<'a>(action: &'a Action, texts: &mut Texts<'a>) {
    match action {
        Action::Packages(names) => texts.plain(names),
        Action::File(file) => of_file(file, texts),
        Action::Directory(it) => {
            texts.plain([&it.path]);
            texts.plain(it.mode.iter().chain(&it.owner).chain(&it.group));
        }
        Action::Absent(it) => texts.plain([&it.path]),
        Action::Upload(it) => {
            texts.plain([&it.from, &it.dest]);
            texts.plain(it.mode.iter().chain(&it.owner).chain(&it.group));
        }
        Action::Service(it) => texts.plain([&it.name]),
        Action::Container(it) => {
            texts.plain([&it.name, &it.image]);
            texts.plain(it.command.iter().chain(&it.ports).chain(&it.volumes));
            texts.plain(it.network.iter().chain(&it.restart));
            texts.expression(it.command_from.iter().chain(&it.ports_from));
            texts.secret(it.env.values());
            texts.add(&it.env_from, true, true);
            let health = it.health.iter();
            texts.plain(health.flat_map(|h| [&h.command].into_iter().chain(&h.interval)));
        }
        Action::ContainersAbsent(it) => {
            texts.plain(it.names.iter().chain(&it.except));
            texts.expression(&it.except_from);
        }
        Action::Run(run) => of_run(run, texts),
        Action::Wait(wait) => of_wait(wait, texts),
        Action::Sql(sql) => of_sql(sql, texts),
        Action::Assert(it) => {
            texts.expression(&it.that);
            texts.plain(it.script.iter().chain([&it.message]).chain(&it.remedy));
        }
        Action::Hosts(it) => {
            texts.plain(&it.path);
            let extra = it.extra.iter();
            texts.plain(extra.flat_map(|line| [&line.address].into_iter().chain(&line.names)));
        }
        Action::Flush => {}
    }
}

fn of_file<'a>(file: &'a File, texts: &mut Texts<'a>) {
    texts.plain([&file.dest]);
    texts.plain(file.mode.iter().chain(&file.owner).chain(&file.group));
    texts.plain(file.template.iter().chain(&file.check));
    texts.secret(&file.content);
}

fn of_run<'a>(run: &'a Run, texts: &mut Texts<'a>) {
    texts.plain([&run.script]);
    texts.plain(run.user.iter().chain(&run.creates));
    texts.plain(run.unless.iter().chain(&run.only_if));
    texts.plain(run.changed_when.iter().flat_map(|when| &when.output));
    texts.secret(run.stdin.iter().chain(run.env.values()));
}

fn of_wait<'a>(wait: &'a Wait, texts: &mut Texts<'a>) {
    texts.plain(wait.script.iter().chain(&wait.remedy));
    if let Some(tcp) = &wait.tcp {
        texts.plain(tcp.host.iter().chain([&tcp.port]));
    }
    if let Some(http) = &wait.http {
        texts.plain([&http.url].into_iter().chain(&http.body));
    }
    if let Some(redis) = &wait.redis {
        texts.plain(redis.host.iter().chain([&redis.port]));
        texts.plain(redis.command.iter().chain(&redis.answer));
        texts.secret(&redis.password);
    }
    if let Some(SqlCheck {
        query,
        database,
        host,
        port,
        user,
        password,
    }) = &wait.sql
    {
        texts.plain([query].into_iter().chain(database).chain(host));
        texts.plain(port.iter().chain(user));
        texts.secret(password);
    }
}

fn of_sql<'a>(sql: &'a Sql, texts: &mut Texts<'a>) {
    texts.secret([&sql.statement].into_iter().chain(&sql.unless));
    texts.plain(sql.database.iter().chain(&sql.port).chain(&sql.socket));
}
