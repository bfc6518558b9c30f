//! `voting result`: live totals.

mod poll;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing::get};
use futures::stream::{self, Stream};
use minijinja::{Environment, context};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::poll::{Poller, Reading};
use crate::args::ResultArgs;
use crate::database::Database;
use crate::web::{self, Check, Identity};

/// A browser hears at least this often how old the totals are.
const HEARTBEAT: Duration = Duration::from_secs(1);

struct App {
    who: Identity,
    stale: Duration,
    reading: watch::Receiver<Reading>,
    stop: CancellationToken,
    page: String,
}

/// What `/api/totals` and every event hold. The numbers are null until the
/// database was read for the first time.
#[derive(Debug, Serialize)]
struct Totals<'a> {
    a: Option<i64>,
    b: Option<i64>,
    total: Option<i64>,
    /// Time since the last successful read, in milliseconds.
    age_ms: Option<u64>,
    stale: bool,
    site: &'a str,
    host: &'a str,
    /// The server that was read last, and its role.
    database: Option<&'a str>,
    /// Why the last read failed; null when it did not.
    error: Option<&'a str>,
}

/// Serves until SIGTERM.
///
/// # Errors
/// When the configuration cannot be used or the address cannot be bound.
pub async fn run(args: ResultArgs) -> anyhow::Result<()> {
    let who = Identity::new(&args.web);
    let database = Database::new(&args.postgres, "voting-result")?;
    let stop = web::on_signal()?;
    let (sender, reading) = watch::channel(Reading::default());
    tokio::spawn(
        Poller {
            database,
            every: args.poll,
            sender,
        }
        .run(stop.clone()),
    );
    let page = render(&args, &who)?;
    let app = App {
        who,
        stale: args.stale,
        reading,
        stop: stop.clone(),
        page,
    };
    let routes = Router::new()
        .route("/", get(show))
        .route("/events", get(events))
        .route("/api/totals", get(totals))
        .route("/healthz", get(web::alive))
        .route("/readyz", get(ready))
        .with_state(Arc::new(app));
    web::serve(
        args.web.address(80),
        routes,
        stop,
        args.web.shutdown_timeout,
    )
    .await
}

fn render(args: &ResultArgs, who: &Identity) -> anyhow::Result<String> {
    let options = &args.options;
    let mut templates = Environment::new();
    templates.add_template("result.html", include_str!("result/page.html"))?;
    let values = context! {
        option_a => &options.option_a, option_b => &options.option_b,
        site => &who.site, host => &who.host, stale_ms => args.stale.as_millis() as u64,
    };
    Ok(templates.get_template("result.html")?.render(values)?)
}

impl App {
    fn totals<'a>(&'a self, reading: &'a Reading) -> Totals<'a> {
        let last = reading.last.as_ref();
        let age = last.map(|last| last.at.elapsed());
        Totals {
            a: last.map(|last| last.a),
            b: last.map(|last| last.b),
            total: last.map(|last| last.total),
            age_ms: age.map(|age| age.as_millis().try_into().unwrap_or(u64::MAX)),
            stale: age.is_none_or(|age| age >= self.stale),
            site: &self.who.site,
            host: &self.who.host,
            database: last.map(|last| last.database.as_str()),
            error: reading.error.as_deref(),
        }
    }

    fn event(&self, reading: &Reading) -> Event {
        let data = serde_json::to_string(&self.totals(reading)).unwrap_or_default();
        Event::default().event("totals").data(data)
    }
}

/// Where the page has its first totals.
const FIRST_TOTALS: &str = "\"first totals\"";

/// The page begins with what is known now; events go on from there.
async fn show(State(app): State<Arc<App>>) -> Response {
    let reading = app.reading.borrow().clone();
    let totals = serde_json::to_string(&app.totals(&reading)).unwrap_or_default();
    // No value may end the script that it stands in.
    let totals = totals.replace('<', "\\u003c");
    web::page(StatusCode::OK, app.page.replace(FIRST_TOTALS, &totals))
}

/// 503 only while there is nothing to show; `stale` tells old totals apart.
async fn totals(State(app): State<Arc<App>>) -> Response {
    let reading = app.reading.borrow().clone();
    let code = match reading.last {
        Some(_) => StatusCode::OK,
        None => StatusCode::SERVICE_UNAVAILABLE,
    };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (code, no_store, Json(app.totals(&reading))).into_response()
}

/// Server-sent events `totals`: at once, on every change, and as a heartbeat.
async fn events(State(app): State<Arc<App>>) -> impl IntoResponse {
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    (headers, Sse::new(follow(app)))
}

fn follow(app: Arc<App>) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut changes = app.reading.clone();
    changes.mark_changed();
    stream::unfold((app, changes), |(app, mut changes)| async move {
        tokio::select! {
            changed = changes.changed() => changed.ok()?,
            () = tokio::time::sleep(HEARTBEAT) => {}
            () = app.stop.cancelled() => return None,
        }
        let event = app.event(&changes.borrow_and_update());
        Some((Ok(event), (app, changes)))
    })
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    let reading = app.reading.borrow().clone();
    let totals = app.totals(&reading);
    let reason = totals.error.unwrap_or("not read yet");
    let check = match (totals.age_ms, totals.stale) {
        (Some(age), false) => Check::ok(format!(
            "{} read {age} ms ago",
            totals.database.unwrap_or_default()
        )),
        (Some(age), true) => Check::failed(format!("last read {age} ms ago: {reason}")),
        (None, _) => Check::failed(reason),
    };
    web::readiness(&app.who, BTreeMap::from([("postgres", check)]))
}
