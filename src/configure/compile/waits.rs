//! `wait`: asked once when looking, and again and again when doing.

use std::time::Duration;

use super::{super::task, Act, Fill, Task, call};
use crate::playbook::{Redis, SqlCheck, Wait};

/// Time to become ready when none is stated.
const WITHIN: Duration = Duration::from_secs(60);
/// Longest time of one question.
const ONCE: Duration = Duration::from_secs(30);

impl Fill<'_> {
    pub(super) fn wait(&mut self, wait: &Wait, base: Task) -> Task {
        let within = wait.within.map_or(WITHIN, |within| within.0);
        let host = self.scope().facts.get("host").cloned();
        let here = host.and_then(|host| host.get_attr("name").ok());
        let here = here.map_or_else(String::new, |name| name.to_string());
        let (variables, question) = self.question(wait, &here);
        let seconds = within.as_secs().max(1).to_string();
        Task {
            check: format!("{variables}holds {question}"),
            act: Act::Script(format!(
                "{variables}{} {question}",
                call("wait_until", &[&seconds])
            )),
            check_time: ONCE,
            act_time: within + ONCE,
            waits: true,
            remedy: self.text_or(
                wait.remedy.as_ref(),
                "see whether the service runs and the ports are open between the hosts",
            ),
            ..base
        }
    }

    /// Variables, and the function that asks once.
    fn question(&mut self, wait: &Wait, here: &str) -> (String, String) {
        if let Some(tcp) = &wait.tcp {
            let function = if tcp.closed {
                "port_closed"
            } else {
                "port_open"
            };
            let host = self.text_or(tcp.host.as_ref(), here);
            let port = self.text(&tcp.port);
            return (String::new(), call(function, &[&host, &port]));
        }
        if let Some(http) = &wait.http {
            let url = self.text(&http.url);
            let status = http.status.unwrap_or(200).to_string();
            let body = self.text_or(http.body.as_ref(), "");
            return (String::new(), call("http_answers", &[&url, &status, &body]));
        }
        if let Some(sql) = &wait.sql {
            return self.sql_question(sql);
        }
        if let Some(redis) = &wait.redis {
            return self.redis_question(redis, here);
        }
        let script = self.text_or(wait.script.as_ref(), "true");
        (task::set(&[("SCRIPT", &script)]), "script_holds".to_owned())
    }

    fn sql_question(&mut self, sql: &SqlCheck) -> (String, String) {
        let query = self.text(&sql.query);
        let password = sql.password.as_ref().map(|password| self.secret(password));
        let variables = [
            ("QUERY", query.as_str()),
            ("PASSWORD", password.as_deref().unwrap_or_default()),
        ];
        let database = self.text_or(sql.database.as_ref(), "postgres");
        let host = self.text_or(sql.host.as_ref(), "-");
        let port = self.text_or(sql.port.as_ref(), "5432");
        let user = self.text_or(sql.user.as_ref(), "postgres");
        let words = [&*database, &host, &port, &user];
        (task::set(&variables), call("sql_answers", &words))
    }

    fn redis_question(&mut self, redis: &Redis, here: &str) -> (String, String) {
        let host = self.text_or(redis.host.as_ref(), here);
        let port = self.text(&redis.port);
        let command = self.text_or(redis.command.as_ref(), "PING");
        let expected = if redis.command.is_some() { "" } else { "PONG" };
        let answer = self.text_or(redis.answer.as_ref(), expected);
        let mut request = String::new();
        if let Some(password) = &redis.password {
            let password = self.secret(password);
            request.push_str(&redis_words(&["AUTH", &password]));
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        request.push_str(&redis_words(&words));
        request.push_str(&redis_words(&["QUIT"]));
        let variables = task::set(&[("REQUEST", &request), ("ANSWER", &answer)]);
        (variables, call("redis_answers", &[&host, &port]))
    }
}

/// A request of the Redis protocol, with escapes for `printf %b`.
fn redis_words(words: &[&str]) -> String {
    let mut request = format!(r"*{}\r\n", words.len());
    for word in words {
        let escaped = word.replace('\\', r"\\");
        request.push_str(&format!(r"${}\r\n{escaped}\r\n", word.len()));
    }
    request
}
