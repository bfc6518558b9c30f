//! The API as clients see it: moto behind a reverse proxy that knows which
//! calls change something, and returns only when the lab has followed.
//!
//! Under `/_lab/` it answers itself: `GET /_lab/report`, `GET` and `DELETE
//! /_lab/calls` (the log of calls), `POST` and `DELETE /_lab/faults`.

mod answer;
mod call;
mod faults;
mod forward;
mod tokens;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, Request, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::Mutex;

use crate::reconcile::{Handle, Report};
pub use call::{Call, Service};
use faults::{CallLog, Faults};
pub use faults::{Fault, When};
use forward::Upstream;
use tokens::Tokens;

/// Everything that a request needs.
pub struct Proxy {
    upstream: Upstream,
    handle: Handle,
    machines: crate::machines::Machines,
    faults: Faults,
    calls: CallLog,
    tokens: Mutex<Tokens>,
}

impl Proxy {
    /// A proxy in front of `endpoint`.
    #[must_use]
    pub fn new(endpoint: &str, handle: Handle, machines: crate::machines::Machines) -> Arc<Self> {
        Arc::new(Self {
            upstream: Upstream::new(endpoint),
            handle,
            machines,
            faults: Faults::default(),
            calls: CallLog::default(),
            tokens: Mutex::default(),
        })
    }

    /// The HTTP service.
    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/_lab/report", get(report))
            .route("/_lab/calls", get(calls).delete(forget_calls))
            .route("/_lab/faults", post(arm).delete(disarm))
            .fallback(serve)
            .with_state(self.clone())
    }
}

async fn report(State(proxy): State<Arc<Proxy>>) -> Json<Report> {
    Json(proxy.handle.report().await)
}

async fn calls(State(proxy): State<Arc<Proxy>>) -> Json<Vec<faults::Logged>> {
    Json(proxy.calls.all())
}

async fn forget_calls(State(proxy): State<Arc<Proxy>>) {
    proxy.calls.clear();
}

async fn arm(State(proxy): State<Arc<Proxy>>, Json(fault): Json<Fault>) {
    proxy.faults.arm(fault);
}

async fn disarm(State(proxy): State<Arc<Proxy>>) {
    proxy.faults.clear();
}

async fn serve(State(proxy): State<Arc<Proxy>>, request: Request<axum::body::Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, forward::LONGEST_BODY).await else {
        return answer::bad_request("the request is too long");
    };
    let call = Call::parse(&parts.method, &parts.uri, &parts.headers, &body);
    let fault = proxy.faults.take(&call.action, &call.region);
    if let Some(fault) = fault.as_ref().filter(|f| f.when == When::Before) {
        let response = answer::fault(&call, fault);
        proxy.calls.add(&call, response.status());
        return response;
    }
    let request = forward::Message {
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body,
    };
    // A client that goes away half-way must not leave the lab half-way.
    let work = tokio::spawn({
        let (proxy, call) = (proxy.clone(), call.clone());
        async move { proxy.perform(&call, request).await }
    });
    let response = work
        .await
        .unwrap_or_else(|_| answer::internal("the call panicked"));
    let response = match fault {
        Some(fault) => answer::fault(&call, &fault),
        None => response,
    };
    proxy.calls.add(&call, response.status());
    response
}

/// Parts of a URI that decide where a request goes.
fn path_and_query(uri: &Uri) -> &str {
    uri.path_and_query().map_or("/", |p| p.as_str())
}

/// Whether a method of a REST API only reads.
fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Body of an answer together with what comes before it.
type Whole = Response<Bytes>;
