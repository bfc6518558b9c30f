//! What every command does over HTTP: health, identity, graceful end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use axum::Json;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::args::WebArgs;

/// Who answers.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    pub site: String,
    pub host: String,
}

impl Identity {
    pub fn new(args: &WebArgs) -> Self {
        let host = match args.hostname.as_str() {
            "" => std::fs::read_to_string("/etc/hostname").unwrap_or_default(),
            name => name.to_owned(),
        };
        Self {
            site: args.site.clone(),
            host: host.trim().to_owned(),
        }
    }
}

/// The state of one dependency.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Check {
    pub ok: bool,
    /// What was found, or why the dependency cannot be used.
    pub detail: String,
}

impl Check {
    pub fn ok(detail: impl Into<String>) -> Self {
        Self {
            ok: true,
            detail: detail.into(),
        }
    }

    pub fn failed(detail: impl Into<String>) -> Self {
        Self {
            ok: false,
            detail: detail.into(),
        }
    }
}

/// The body of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness<'a> {
    ready: bool,
    checks: BTreeMap<&'static str, Check>,
    #[serde(rename = "site")]
    site: &'a str,
    host: &'a str,
}

/// 200 when every dependency can be used, else 503; the body says why.
pub fn readiness(who: &Identity, checks: BTreeMap<&'static str, Check>) -> Response {
    let ready = checks.values().all(|check| check.ok);
    let code = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Readiness {
        ready,
        checks,
        site: &who.site,
        host: &who.host,
    };
    (code, Json(body)).into_response()
}

/// `/healthz`: the process runs and answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// True when a program asks rather than a browser.
pub fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/json"))
}

/// Headers of a page: never cached, nothing loaded from elsewhere.
pub fn page(code: StatusCode, body: String) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
        script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
        form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (code, headers, body).into_response()
}

/// A token that SIGTERM or SIGINT cancels.
///
/// # Errors
/// When the process may not install signal handlers.
pub fn on_signal() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => info!("SIGTERM: finishing open requests"),
            _ = int.recv() => info!("SIGINT: finishing open requests"),
        }
        stop.cancel();
    });
    Ok(token)
}

/// Serves until `stop`, then lets open requests finish within `limit`.
///
/// # Errors
/// When the address cannot be bound or the listener fails.
pub async fn serve(
    address: std::net::SocketAddr,
    app: Router,
    stop: CancellationToken,
    limit: Duration,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (hint: give another address with --listen or PORT)")
    })?;
    info!(address = %listener.local_addr()?, "listening");
    let ended = stop.clone();
    let server =
        axum::serve(listener, app).with_graceful_shutdown(async move { ended.cancelled().await });
    tokio::select! {
        result = server.into_future() => result.context("the HTTP server failed"),
        () = async { stop.cancelled().await; tokio::time::sleep(limit).await } => {
            warn!(limit_ms = limit.as_millis() as u64, "requests did not finish in time");
            Ok(())
        }
    }
}
