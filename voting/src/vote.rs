//! `voting vote`: takes votes into the queue.

mod ballot;
mod lanes;
mod page;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Form, State, rejection::FormRejection};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use serde_json::json;
use tracing::warn;

use self::lanes::{Lanes, Refusal, Server};
use self::page::{Notice, Page};
use crate::args::{Durability, VoteArgs};
use crate::queue::Queue;
use crate::web::{self, Check, Identity};

/// A form holds one letter; anything long is a mistake.
const BODY_LIMIT: usize = 4 * 1024;
/// Longest voter id that a cookie may bring (the public table's limit, too).
const VOTER_ID_LIMIT: usize = 255;
const READY_LIMIT: Duration = Duration::from_secs(1);

struct App {
    who: Identity,
    page: Page,
    lanes: Lanes,
    queue: Queue,
    durability: Durability,
}

/// Serves until SIGTERM.
///
/// # Errors
/// When the configuration cannot be used or the address cannot be bound.
pub async fn run(args: VoteArgs) -> anyhow::Result<()> {
    let who = Identity::new(&args.web);
    let queue = Queue::new(&args.redis)?;
    let app = Arc::new(App {
        page: Page::new(&args.options, &who)?,
        lanes: Lanes::start(&queue, args.durability, args.wait, args.timeout),
        who,
        queue,
        durability: args.durability,
    });
    let routes = Router::new()
        .route("/", get(show).post(cast))
        .route("/healthz", get(web::alive))
        .route("/readyz", get(ready))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app);
    let stop = web::on_signal()?;
    web::serve(
        args.web.address(80),
        routes,
        stop,
        args.web.shutdown_timeout,
    )
    .await
}

async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let (voter, choice) = (voter_id(&headers), cookie(&headers, "vote"));
    let body = app.page.render(choice.unwrap_or_default(), Notice::None);
    with_cookies(web::page(StatusCode::OK, body), &voter, None)
}

type Fields = Vec<(String, String)>;

async fn cast(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<Fields>, FormRejection>,
) -> Response {
    let voter = voter_id(&headers);
    let fields = form.map(|Form(fields)| fields).unwrap_or_default();
    // The first one counts, as in the public application.
    let vote = fields
        .into_iter()
        .find(|(name, _)| name == "vote")
        .map(|(_, value)| value);
    let outcome = match vote.as_deref() {
        Some(vote @ ("a" | "b")) => app.lanes.cast(payload(&voter, vote)).await.map(|()| vote),
        _ => Err(Refusal::Invalid),
    };
    if let Err(refusal @ (Refusal::Unconfirmed { .. } | Refusal::Unreachable { .. })) = &outcome {
        warn!(%refusal, "vote not accepted");
    }
    let code = outcome
        .as_ref()
        .map_or_else(|refusal| refusal.status(), |_| StatusCode::OK);
    let answer = if web::wants_json(&headers) {
        (code, Json(as_json(&app, &voter, &outcome))).into_response()
    } else {
        let before = cookie(&headers, "vote").unwrap_or_default();
        let body = match &outcome {
            Ok(vote) => app.page.render(vote, Notice::Accepted),
            Err(refusal) => app.page.render(before, Notice::Refused(refusal)),
        };
        web::page(code, body)
    };
    with_cookies(answer, &voter, outcome.ok())
}

fn as_json(app: &App, voter: &str, outcome: &Result<&str, Refusal>) -> serde_json::Value {
    match outcome {
        Ok(vote) => json!({
            "accepted": true, "voter_id": voter, "vote": vote,
            "durability": app.durability.name(), "site": app.who.site, "host": app.who.host,
        }),
        Err(refusal) => json!({
            "accepted": false, "voter_id": voter, "reason": refusal.id(),
            "error": refusal.to_string(), "hint": refusal.hint(),
            "site": app.who.site, "host": app.who.host,
        }),
    }
}

/// The entry of the queue, as the public application writes it.
fn payload(voter: &str, vote: &str) -> String {
    json!({ "voter_id": voter, "vote": vote }).to_string()
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let check = match tokio::time::timeout(READY_LIMIT, lanes::inspect(&app.queue)).await {
        Ok(Ok(server)) => judge(app.durability, &server),
        Ok(Err(error)) => Check::failed(format!("{}: {error}", app.queue.name())),
        Err(_) => Check::failed(format!("{}: no answer within 1 s", app.queue.name())),
    };
    web::readiness(&app.who, BTreeMap::from([("redis", check)]))
}

fn judge(durability: Durability, server: &Server) -> Check {
    let found = format!("role {}, {} replicas follow", server.role, server.replicas);
    if server.role != "master" {
        return Check::failed(format!("{found}: votes need the master"));
    }
    if durability == Durability::Replicated && server.replicas == 0 && !server.waived {
        return Check::failed(format!("{found}: durability `replicated` needs one"));
    }
    Check::ok(found)
}

/// The voter's id from the cookie, or a new one of the public form.
fn voter_id(headers: &HeaderMap) -> String {
    let given = cookie(headers, "voter_id");
    let usable = |id: &&str| !id.is_empty() && id.len() <= VOTER_ID_LIMIT;
    match given.filter(usable) {
        Some(id) => id.to_owned(),
        None => format!("{:016x}", rand::random::<u64>()),
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn with_cookies(mut answer: Response, voter: &str, vote: Option<&str>) -> Response {
    const YEAR: &str = "Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly";
    let cookies = [("voter_id", Some(voter)), ("vote", vote)];
    for (name, value) in cookies
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    {
        if let Ok(line) = HeaderValue::from_str(&format!("{name}={value}; {YEAR}")) {
            answer.headers_mut().append(header::SET_COOKIE, line);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookies).unwrap())])
    }

    #[test]
    fn the_voter_id_of_the_cookie_is_honoured_when_usable() {
        assert_eq!(voter_id(&headers("vote=a; voter_id=load-17")), "load-17");
        let made = voter_id(&headers("voter_id="));
        assert!(made.len() == 16 && made.chars().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(made, voter_id(&HeaderMap::new()));
        assert_eq!(
            voter_id(&headers(&format!("voter_id={}", "x".repeat(256)))).len(),
            16
        );
    }

    #[test]
    fn the_queue_entry_has_the_public_form() {
        let entry: serde_json::Value = serde_json::from_str(&payload("v\"1", "a")).unwrap();
        assert_eq!(entry, json!({ "voter_id": "v\"1", "vote": "a" }));
    }

    #[test]
    fn replicated_durability_is_ready_only_with_a_replica_or_a_waiver() {
        let server = |role: &str, replicas, waived| Server {
            role: role.to_owned(),
            replicas,
            waived,
        };
        assert!(judge(Durability::Replicated, &server("master", 0, true)).ok);
        assert!(judge(Durability::Local, &server("master", 0, false)).ok);
        assert!(!judge(Durability::Replicated, &server("master", 0, false)).ok);
        assert!(judge(Durability::Replicated, &server("master", 1, false)).ok);
        assert!(!judge(Durability::Local, &server("slave", 0, true)).ok);
    }
}
