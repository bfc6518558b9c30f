//! Role questions over plain HTTP, read-only, as Patroni answers them, so
//! that load balancers need to know nothing else. All answers come from
//! memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;

use super::{Guard, lag, secure};

/// How long a client may take to ask, or to ask again.
const HEAD: Duration = Duration::from_secs(30);

type Parameters = Query<BTreeMap<String, String>>;

/// Serves for ever. Every check of a load balancer is a connection of its own,
/// so one costs no more than it must: no negotiation, no upgrade.
pub async fn serve(guard: Arc<Guard>, listener: TcpListener) {
    let router = router(guard);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    loop {
        let (stream, _) = secure::accept(&listener).await;
        let service = TowerToHyperService::new(router.clone());
        let serving = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a role question was broken off");
            }
        });
    }
}

/// All questions. Load balancers ask with HEAD and OPTIONS as well: they get
/// the status code, and no text that nobody reads.
pub fn router(guard: Arc<Guard>) -> Router {
    let mut router = Router::new();
    for path in ["/", "/primary", "/master", "/leader", "/read-write"] {
        router = router.route(path, both(get(primary), primary));
    }
    for path in ["/status", "/patroni"] {
        router = router.route(path, get(status));
    }
    router
        .route("/replica", both(get(replica), replica))
        .route("/read-only", both(get(read_only), read_only))
        .route("/health", both(get(health), health))
        .route("/liveness", both(get(liveness), liveness))
        .route("/readiness", both(get(readiness), readiness))
        .route("/metrics", get(metrics))
        .with_state(guard)
}

fn both<H, T>(method: MethodRouter<Arc<Guard>>, handler: H) -> MethodRouter<Arc<Guard>>
where
    H: axum::handler::Handler<T, Arc<Guard>>,
    T: 'static,
{
    method.options(handler)
}

type Shared = State<Arc<Guard>>;

fn answer(guard: &Guard, method: &Method, yes: bool) -> Response {
    let code = if yes {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if method == Method::GET {
        (code, Json(guard.status())).into_response()
    } else {
        code.into_response()
    }
}

async fn primary(State(guard): Shared, method: Method) -> Response {
    answer(&guard, &method, guard.is_primary())
}

async fn replica(State(guard): Shared, method: Method, Query(parameters): Parameters) -> Response {
    match maximum_lag(&parameters) {
        Ok(maximum) => answer(&guard, &method, guard.is_replica(maximum)),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn read_only(
    State(guard): Shared,
    method: Method,
    Query(parameters): Parameters,
) -> Response {
    match maximum_lag(&parameters) {
        Ok(maximum) => answer(
            &guard,
            &method,
            guard.is_primary() || guard.is_replica(maximum),
        ),
        Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
    }
}

async fn health(State(guard): Shared, method: Method) -> Response {
    let runs = guard.view.borrow().runs();
    answer(&guard, &method, runs)
}

async fn liveness(State(guard): Shared, method: Method) -> Response {
    answer(&guard, &method, guard.counters.is_alive())
}

async fn readiness(State(guard): Shared, method: Method) -> Response {
    answer(
        &guard,
        &method,
        guard.is_primary() || guard.is_replica(None),
    )
}

async fn status(State(guard): Shared) -> Response {
    Json(guard.status()).into_response()
}

async fn metrics(State(guard): Shared) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, guard.metrics()).into_response()
}

impl Guard {
    fn is_replica(&self, maximum_lag: Option<u64>) -> bool {
        self.view.borrow().is_replica(maximum_lag)
    }
}

/// The `lag` that a question allows. One that can't be read is an error, for
/// no limit at all would be the wrong guess.
fn maximum_lag(parameters: &BTreeMap<String, String>) -> Result<Option<u64>, String> {
    let Some(text) = parameters.get("lag") else {
        return Ok(None);
    };
    let lag = lag::parse(text).map(Some);
    lag.ok_or_else(|| format!("lag: `{text}` is not an amount such as 10MB\n"))
}
