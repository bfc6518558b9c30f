//! Loads against a small server that accepts, refuses and drops by plan, so
//! that each class of the account is met.

#[path = "adapters/port.rs"]
mod port;

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use hafail::{
    adapters::resolver::Resolver,
    load::{
        account::{Account, Answer, Found},
        ledger::{Ledger, LedgerError},
        raw::{Line, RawLog, read},
        send::{Settings, number, send, voter},
        settle::settle,
        target::Target,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(180);

/// What the server does with a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Accept,
    /// 200, and the vote is gone.
    AcceptAndLose,
    /// 200, and the vote stays in the queue.
    AcceptAndQueue,
    Refuse,
    /// 503, and the vote is stored.
    RefuseAndStore,
    /// 503 of a page that could not confirm what it queued.
    NotConfirmed,
    /// Stored, and the connection closed without an answer.
    StoreAndDrop,
    Drop,
    /// 504 of a gateway.
    GatewayTimeout,
    /// Never answered.
    Hang,
}

#[derive(Default)]
struct State {
    stored: BTreeSet<String>,
    queued: BTreeSet<String>,
    requests: u64,
    connections: u64,
}

struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `plan` says what to do by the number of the vote and of the request.
    async fn start(plan: impl Fn(u64, u64) -> Plan + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<Mutex<State>> = Arc::default();
        let (shared, plan) = (Arc::clone(&state), Arc::new(plan));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                connections.spawn(serve(stream, Arc::clone(&shared), Arc::clone(&plan)));
            }
        });
        Self { port, state, task }
    }

    fn target(&self) -> Target {
        format!("http://127.0.0.1:{}/", self.port).parse().unwrap()
    }

    fn settings(&self, votes: u64, concurrency: usize) -> Settings {
        Settings {
            run: "t1".into(),
            target: self.target(),
            votes: Some(votes),
            duration: None,
            concurrency,
            rate: None,
            timeout: Duration::from_millis(400),
            retries: 0,
        }
    }
}

#[async_trait]
impl Ledger for Server {
    async fn find(&self, run: &str) -> Result<Found, LedgerError> {
        let state = self.state.lock().unwrap();
        let numbers =
            |ids: &BTreeSet<String>| ids.iter().filter_map(|id| number(run, id)).collect();
        Ok(Found {
            persisted: numbers(&state.stored),
            queued: numbers(&state.queued),
            unseen: Vec::new(),
        })
    }
}

async fn serve(
    mut stream: TcpStream,
    state: Arc<Mutex<State>>,
    plan: Arc<impl Fn(u64, u64) -> Plan>,
) {
    while let Some(request) = request(&mut stream).await {
        assert!(request.starts_with("POST / HTTP/1.1\r\n"), "{request}");
        assert!(
            request.ends_with("vote=a") || request.ends_with("vote=b"),
            "{request}"
        );
        let cookie = request
            .lines()
            .find_map(|line| line.strip_prefix("cookie: voter_id="));
        let id = cookie.expect("a voter id").to_owned();
        let plan = {
            let mut state = state.lock().unwrap();
            state.requests += 1;
            let plan = plan(number("t1", &id).unwrap(), state.requests);
            match plan {
                Plan::Accept | Plan::RefuseAndStore | Plan::NotConfirmed | Plan::StoreAndDrop => {
                    state.stored.insert(id);
                }
                Plan::AcceptAndQueue => {
                    state.queued.insert(id);
                }
                _ => {}
            }
            plan
        };
        let (status, body) = match plan {
            Plan::Accept | Plan::AcceptAndLose | Plan::AcceptAndQueue => ("200 OK", "<p>thanks"),
            Plan::Refuse | Plan::RefuseAndStore => ("503 Service Unavailable", "<p>sorry"),
            Plan::NotConfirmed => (
                "503 Service Unavailable",
                r#"{"accepted":false,"reason":"not-confirmed","error":"…"}"#,
            ),
            Plan::GatewayTimeout => ("504 Gateway Timeout", ""),
            Plan::Drop | Plan::StoreAndDrop => return,
            Plan::Hang => std::future::pending().await,
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lengths = head
                .lines()
                .filter_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= lengths.next()?.parse().ok()? {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

fn resolver() -> Arc<Resolver> {
    Arc::new(Resolver::new(Vec::new()))
}

async fn run(server: &Server, settings: Settings) -> Account {
    let stop = CancellationToken::new();
    let sent = timeout(BOUND, send(settings, resolver(), stop.clone(), |_| {}))
        .await
        .unwrap();
    let found = settle(server, "t1", Duration::from_millis(300), &stop)
        .await
        .unwrap();
    Account::of(&sent, Some(&found), 100)
}

#[tokio::test]
async fn every_accepted_vote_is_accounted_for() {
    let server = Server::start(|_, _| Plan::Accept).await;
    let account = run(&server, server.settings(500, 20)).await;
    assert_eq!((account.sent, account.accepted), (500, 500), "{account:#?}");
    assert_eq!(
        (account.persisted, account.lost, account.phantom),
        (Some(500), Some(0), Some(0))
    );
    assert!(account.throughput_per_s > 0.0 && account.latency_ms.p50 > 0.0);
    let connections = server.state.lock().unwrap().connections;
    assert!(connections <= 20, "connections are kept: {connections}");
}

#[tokio::test]
async fn each_class_of_the_account_is_told_apart() {
    let server = Server::start(|n, _| match n {
        3 => Plan::AcceptAndLose,
        5 => Plan::AcceptAndQueue,
        7 => Plan::Refuse,
        9 => Plan::RefuseAndStore,
        11 => Plan::StoreAndDrop,
        13 => Plan::Drop,
        15 => Plan::GatewayTimeout,
        17 => Plan::Hang,
        19 => Plan::NotConfirmed,
        _ => Plan::Accept,
    })
    .await;
    let account = run(&server, server.settings(40, 4)).await;
    assert_eq!(
        (
            account.sent,
            account.accepted,
            account.refused,
            account.unknown
        ),
        (40, 33, 2, 5),
        "{account:#?}"
    );
    assert_eq!(account.persisted, Some(31 + 3), "31 accepted; 9, 11 and 19");
    assert_eq!(account.queued, Some(1));
    assert_eq!(account.lost_ids, [3]);
    assert_eq!(account.phantom_ids, [9]);
    assert_eq!(account.unknown_persisted, Some(2), "11 and 19");
    for why in [
        "HTTP 503",
        "HTTP 504",
        "HTTP 503 not-confirmed",
        "closed without an answer",
        "no answer in time",
    ] {
        assert!(account.why.contains_key(why), "{why}: {:?}", account.why);
    }
    assert!(!account.clean());
}

#[tokio::test]
async fn a_vote_is_sent_once_unless_told_otherwise() {
    let plan = |_, request: u64| match request {
        request if request.is_multiple_of(3) => Plan::Drop,
        request if request.is_multiple_of(5) => Plan::Refuse,
        _ => Plan::Accept,
    };
    let server = Server::start(plan).await;
    let account = run(&server, server.settings(30, 1)).await;
    assert_eq!(server.state.lock().unwrap().requests, 30);
    assert_eq!((account.unknown, account.refused), (10, 4), "{account:#?}");

    let server = Server::start(plan).await;
    let settings = Settings {
        retries: 5,
        ..server.settings(30, 1)
    };
    let account = run(&server, settings).await;
    assert!(server.state.lock().unwrap().requests > 30);
    assert_eq!((account.sent, account.accepted), (30, 30), "{account:#?}");
    assert_eq!(account.persisted, Some(30), "one voter each");
}

#[tokio::test]
async fn an_outage_is_a_gap_and_nothing_else_is_lost() {
    let start = std::time::Instant::now();
    let server = Server::start(move |_, _| {
        let now = start.elapsed();
        let out = now > Duration::from_millis(300) && now < Duration::from_millis(800);
        if out { Plan::Refuse } else { Plan::Accept }
    })
    .await;
    let settings = Settings {
        votes: None,
        duration: Some(Duration::from_millis(1200)),
        rate: Some(200.0),
        ..server.settings(0, 4)
    };
    let account = run(&server, settings).await;
    assert!((450..700).contains(&account.longest_gap_ms), "{account:#?}");
    assert!(
        account.refused > 10 && account.accepted > 100,
        "{account:#?}"
    );
    assert_eq!((account.lost, account.phantom), (Some(0), Some(0)));
    assert_eq!(account.gaps.len(), 1, "{account:#?}");
}

#[tokio::test]
async fn the_rate_is_kept() {
    let server = Server::start(|_, _| Plan::Accept).await;
    let settings = Settings {
        rate: Some(100.0),
        ..server.settings(50, 8)
    };
    let account = run(&server, settings).await;
    assert_eq!(account.accepted, 50);
    assert!(
        (450..1500).contains(&account.duration_ms),
        "{}",
        account.duration_ms
    );
}

#[tokio::test]
async fn nobody_there_is_a_clear_refusal() {
    let port = port::free_port();
    let server = Server::start(|_, _| Plan::Accept).await;
    let settings = Settings {
        target: format!("http://127.0.0.1:{port}/").parse().unwrap(),
        ..server.settings(4, 2)
    };
    let account = run(&server, settings).await;
    assert_eq!((account.refused, account.unknown), (4, 0));
    assert_eq!(
        account.why.keys().next().unwrap(),
        "no connection to 127.0.0.1: connection refused"
    );
}

#[tokio::test]
async fn a_signal_ends_the_run_and_the_account_stands() {
    let server = Server::start(|_, _| Plan::Accept).await;
    let stop = CancellationToken::new();
    let settings = Settings {
        votes: None,
        rate: Some(500.0),
        ..server.settings(0, 4)
    };
    let mut seen = 0;
    let stopping = stop.clone();
    let sending = send(settings, resolver(), stop.clone(), move |_| {
        seen += 1;
        if seen == 50 {
            stopping.cancel();
        }
    });
    let sent = timeout(BOUND, sending).await.unwrap();
    let found = settle(&server, "t1", Duration::from_secs(5), &stop)
        .await
        .unwrap();
    let account = Account::of(&sent, Some(&found), 100);
    assert!((50..60).contains(&account.accepted), "{account:#?}");
    assert_eq!(
        (account.persisted, account.lost),
        (Some(account.accepted), Some(0))
    );
}

/// Entries leave the queue for the database at the third reading.
struct Draining(Mutex<u32>);

#[async_trait]
impl Ledger for Draining {
    async fn find(&self, _run: &str) -> Result<Found, LedgerError> {
        let mut readings = self.0.lock().unwrap();
        *readings += 1;
        let votes: BTreeSet<u64> = [1, 2].into();
        Ok(match *readings {
            1 => return Err(LedgerError::NoPrimary("both are standbys".into())),
            2 => Found {
                queued: votes,
                ..Found::default()
            },
            _ => Found {
                persisted: votes,
                ..Found::default()
            },
        })
    }
}

#[tokio::test]
async fn settling_waits_for_the_queues_and_outlasts_a_failover() {
    let stop = CancellationToken::new();
    let found = settle(&Draining(Mutex::new(0)), "t1", BOUND, &stop)
        .await
        .unwrap();
    assert_eq!((found.persisted.len(), found.queued.len()), (2, 0));
    let never = settle(&Draining(Mutex::new(0)), "t1", Duration::ZERO, &stop).await;
    assert_eq!(
        never,
        Err(LedgerError::NoPrimary("both are standbys".into()))
    );
}

#[tokio::test]
async fn the_account_can_be_counted_again_from_the_raw_log() {
    let server = Server::start(|n, _| {
        if n == 4 {
            Plan::AcceptAndLose
        } else {
            Plan::Accept
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("votes.jsonl");
    let first = Line::Run {
        run: "t1".into(),
        target: server.target().to_string(),
        started: "2026-01-02T03:04:05Z".into(),
        gap_threshold_ms: 100,
    };
    let mut log = RawLog::create(&path, "t1", &first).unwrap();
    let stop = CancellationToken::new();
    let settings = server.settings(20, 3);
    let sent = send(settings, resolver(), stop.clone(), |sent| {
        log.vote(sent).unwrap()
    })
    .await;
    let found = settle(&server, "t1", Duration::ZERO, &stop).await.unwrap();
    log.finish(Some(&found)).unwrap();

    let (mut again, mut found_again) = (Vec::new(), None);
    for line in read(&path).unwrap() {
        match line {
            Line::Run { run, .. } => assert_eq!(run, "t1"),
            Line::Vote { id, sent } => {
                assert_eq!(id, voter("t1", sent.n));
                again.push(sent);
            }
            Line::Found(found) => found_again = Some(found),
        }
    }
    let account = Account::of(&again, found_again.as_ref(), 100);
    assert_eq!(account, Account::of(&sent, Some(&found), 100));
    assert_eq!(account.lost_ids, [4]);
    assert!(again.iter().all(|sent| sent.answer == Answer::Accepted));
}
