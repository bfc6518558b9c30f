//! `run`, `sql`, `assert`.

use std::{collections::BTreeMap, time::Duration};

use super::{super::task, Act, Fill, STEP_TIME, Task, call, exports};
use crate::playbook::{Assert, ChangedWhen, Run, Sql};

/// Time for `unless` and `only_if`, each.
const CONDITION_TIME: Duration = Duration::from_secs(60);

impl Fill<'_> {
    pub(super) fn run(&mut self, run: &Run, base: Task, notifies: bool) -> Task {
        let user = self.text_or(run.user.as_ref(), "-");
        let creates = self.text_or(run.creates.as_ref(), "");
        let unless = self.text_or(run.unless.as_ref(), "");
        let only_if = self.text_or(run.only_if.as_ref(), "");
        let script = self.text(&run.script);
        let input = run.stdin.as_ref().map(|text| self.secret(text));
        let (how, what) = self.changes(run.changed_when.as_ref());
        let environment: BTreeMap<String, String> = run
            .env
            .iter()
            .map(|(name, value)| (name.clone(), self.secret(value)))
            .collect();
        for (name, value) in &run.env {
            if !is_variable(name) {
                let message = format!("`{name}` is not the name of an environment variable");
                self.wrong(value, message, "use letters, digits and underscores");
            }
        }
        let seconds = base.act_time.as_secs().to_string();
        let environment_of = format!("environment() {{ :\n{}}}\n", exports(&environment));
        let variables = [
            ("SCRIPT", script.as_str()),
            ("INPUT", input.as_deref().unwrap_or("")),
        ];
        let act = environment_of
            + &task::set(&variables)
            + &call("run_script", &[&user, &seconds, how, &what, "environment"]);
        let conditions = [
            ("CREATES", creates.as_str()),
            ("UNLESS", &unless),
            ("ONLY_IF", &only_if),
        ];
        let check = task::set(&conditions) + &call("run_is", &[&user]);
        Task {
            check,
            act: Act::Script(act),
            check_time: CONDITION_TIME,
            show: run.show,
            remedy: "see what the script said; it can be run by hand with `hafail ssh`".to_owned(),
            ..base
        }
        .inlined(match how {
            "never" if run.show => Inline::OnlyLooks,
            "never" => Inline::ChangesNothing,
            "always" => Inline::No,
            // Handlers must be remembered before the script begins.
            _ if notifies => Inline::No,
            _ => Inline::TellsChanges,
        })
    }

    fn changes(&mut self, when: Option<&ChangedWhen>) -> (&'static str, String) {
        match when {
            None => ("always", String::new()),
            Some(when) => match (&when.output, when.status) {
                (Some(output), _) => ("output", self.text(output)),
                (None, Some(status)) => ("status", status.to_string()),
                (None, None) if when.never => ("never", String::new()),
                (None, None) => ("always", String::new()),
            },
        }
    }

    pub(super) fn sql(&mut self, sql: &Sql, base: Task) -> Task {
        let database = self.text_or(sql.database.as_ref(), "postgres");
        let port = self.text_or(sql.port.as_ref(), "5432");
        let socket = self.text_or(sql.socket.as_ref(), "-");
        let statement = self.secret(&sql.statement);
        let unless = sql.unless.as_ref().map(|query| self.secret(query));
        let words = [&*database, &port, &socket];
        let check = match &unless {
            Some(query) => task::set(&[("UNLESS", query)]) + &call("sql_is", &words),
            None => "WHY='is to be run'; return $TODO".to_owned(),
        };
        Task {
            check,
            act: Act::Script(task::set(&[("STATEMENT", &statement)]) + &call("run_sql", &words)),
            check_time: STEP_TIME,
            remedy: "see whether PostgreSQL runs there and is the primary".to_owned(),
            ..base
        }
    }

    pub(super) fn assert(&mut self, assert: &Assert, base: Task) -> Task {
        let message = self.text(&assert.message);
        let remedy = self.text_or(assert.remedy.as_ref(), "");
        let check = match (&assert.that, &assert.script) {
            (Some(that), _) if self.holds(that) => "return $OK".to_owned(),
            (_, Some(script)) => {
                let script = self.text(script);
                let variables = [("SCRIPT", script.as_str()), ("MESSAGE", &message)];
                task::set(&variables) + "assert_holds"
            }
            _ => task::set(&[("WHY", &message)]) + "return 1",
        };
        Task {
            check,
            check_time: CONDITION_TIME,
            remedy,
            ..base
        }
    }
}

/// How a script joins the looking instead of costing a question of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inline {
    No,
    /// What it prints is what it is for: it runs in a dry run too.
    OnlyLooks,
    /// It leaves nothing changed, but may do something meanwhile, such as
    /// cast a vote.
    ChangesNothing,
    /// It says itself whether it changed something.
    TellsChanges,
}

impl Task {
    fn inlined(mut self, inline: Inline) -> Self {
        let guard = match inline {
            Inline::No => return self,
            Inline::OnlyLooks => {
                "if after_changes; then WHY='can be told only after the changes before it'; return $UNTOLD; fi"
            }
            Inline::ChangesNothing => {
                "if [ -n \"$DRY\" ]; then WHY='a dry run leaves it out'; return $UNTOLD; fi"
            }
            Inline::TellsChanges => {
                "if [ -n \"$DRY\" ]; then WHY='says only when it runs whether it changes anything'; return $UNTOLD; fi"
            }
        };
        if let Act::Script(act) = &self.act {
            let check = &self.check;
            self.check = format!(
                "{check}\nlocal code=$?\n[ $code = $TODO ] || return $code\n{guard}\n{act}"
            );
            self.check_time += self.act_time;
        }
        if inline != Inline::TellsChanges {
            self.act = Act::None;
        }
        self
    }
}

fn is_variable(name: &str) -> bool {
    let mut letters = name.chars();
    letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
