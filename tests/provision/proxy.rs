//! Stands between the program and moto: an account of its own for each test,
//! and failures at chosen calls.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::moto;

/// A call on its way to the cloud.
#[derive(Clone, Debug)]
pub struct Call {
    /// `CreateVpc`; for Route 53 method and path.
    pub action: String,
    pub region: String,
    /// How many calls that change something there were, this one included.
    pub number: usize,
    pub changes: bool,
    /// Equal for calls that ask for the same.
    pub content: u64,
}

/// What becomes of a call.
#[derive(Clone, Debug)]
pub enum Verdict {
    Pass,
    /// The connection ends before the call had an effect.
    Cut,
    /// The connection ends after the call had its effect.
    LoseAnswer,
    /// The cloud answers with this status and error code.
    Refuse(u16, &'static str),
}

type Judge = Box<dyn FnMut(&Call) -> Verdict + Send>;

/// A proxy with its own account.
#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    account: String,
    count: AtomicUsize,
    judge: Mutex<Judge>,
    client: reqwest::Client,
}

impl Proxy {
    /// Starts with an empty account.
    pub async fn start() -> Self {
        static ACCOUNTS: AtomicU64 = AtomicU64::new(200_000_000_000);
        let account = ACCOUNTS.fetch_add(1, Ordering::Relaxed).to_string();
        tokio::task::spawn_blocking(moto::address).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = Arc::new(State {
            account,
            count: AtomicUsize::new(0),
            judge: Mutex::new(Box::new(|_| Verdict::Pass)),
            client: reqwest::Client::new(),
        });
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            state,
        };
        tokio::spawn(proxy.clone().serve(listener));
        proxy
    }

    /// Judges calls from now on, counted from one.
    pub fn judge(&self, judge: impl FnMut(&Call) -> Verdict + Send + 'static) {
        self.state.count.store(0, Ordering::SeqCst);
        *self.state.judge.lock().unwrap() = Box::new(judge);
    }

    /// Lets everything pass from now on.
    pub fn calm(&self) {
        self.judge(|_| Verdict::Pass);
    }

    /// Calls that changed something since the judge was set.
    pub fn changes(&self) -> usize {
        self.state.count.load(Ordering::SeqCst)
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            let proxy = self.clone();
            let service = service_fn(move |request| proxy.clone().pass(request));
            // A verdict may be to cut: the connection's error is the point.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn pass(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let call = self.read(&head, &body);
        let verdict = (self.state.judge.lock().unwrap())(&call);
        match verdict {
            Verdict::Cut => return Err(io::Error::other("cut")),
            Verdict::Refuse(status, code) => return Ok(refusal(&head, status, code)),
            Verdict::Pass | Verdict::LoseAnswer => {}
        }
        let url = format!("http://{}{}", moto::address(), head.uri);
        let answer = (self.state.client.request(head.method, url))
            .headers(head.headers)
            .header("x-moto-account-id", &self.state.account)
            .body(body)
            .send()
            .await
            .map_err(io::Error::other)?;
        let status = answer.status();
        let content = answer.bytes().await.map_err(io::Error::other)?;
        if matches!(verdict, Verdict::LoseAnswer) {
            return Err(io::Error::other("answer lost"));
        }
        let response = Response::builder().status(status).body(Full::new(content));
        Ok(response.unwrap())
    }

    fn read(&self, head: &hyper::http::request::Parts, body: &Bytes) -> Call {
        let text = String::from_utf8_lossy(body);
        let mut fields = text.split('&');
        let action = fields.find_map(|field| field.strip_prefix("Action="));
        let (action, changes) = match action {
            Some(action) => (action.to_owned(), !action.starts_with("Describe")),
            None => {
                let action = format!("{} {}", head.method, head.uri.path());
                (action, head.method != hyper::Method::GET)
            }
        };
        let scope = head.headers.get("authorization");
        let scope = scope
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let mut content = DefaultHasher::new();
        (head.uri.path(), body).hash(&mut content);
        let number = if changes {
            self.state.count.fetch_add(1, Ordering::SeqCst) + 1
        } else {
            self.state.count.load(Ordering::SeqCst)
        };
        Call {
            action,
            region: scope.split('/').nth(2).unwrap_or_default().to_owned(),
            number,
            changes,
            content: content.finish(),
        }
    }
}

fn refusal(head: &hyper::http::request::Parts, status: u16, code: &str) -> Response<Full<Bytes>> {
    let text = if head.uri.path().starts_with("/2013-04-01") {
        format!(
            r#"<ErrorResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><Error><Type>Sender</Type><Code>{code}</Code><Message>as the test says</Message></Error><RequestId>1</RequestId></ErrorResponse>"#
        )
    } else {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>as the test says</Message></Error></Errors><RequestID>1</RequestID></Response>"
        )
    };
    let body = Full::new(Bytes::from(text));
    Response::builder().status(status).body(body).unwrap()
}
