//! One browser: a kept connection, the name looked up again when its answer
//! has died, all addresses tried when the connection is gone.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use super::{account::Answer, target::Target};
use crate::adapters::resolver::Resolver;

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// How much of a page is looked at.
const PAGE: usize = 16 * 1024;

/// The voting page's word for a vote that it queued, and that the replica did
/// not confirm in time.
const NOT_CONFIRMED: &str = "not-confirmed";

/// Votes like a browser, one vote at a time.
pub struct Browser {
    target: Arc<Target>,
    resolver: Arc<Resolver>,
    timeout: Duration,
    connection: Option<Connection>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: Ipv4Addr,
}

impl Browser {
    /// A browser without a connection; a vote takes at most `timeout`.
    #[must_use]
    pub fn new(target: Arc<Target>, resolver: Arc<Resolver>, timeout: Duration) -> Self {
        Self {
            target,
            resolver,
            timeout,
            connection: None,
        }
    }

    /// Votes once as that voter and says what is known of it.
    pub async fn vote(&mut self, voter: &str, option: char) -> Answer {
        let deadline = Instant::now() + self.timeout;
        let mut request = self.request(voter, option);
        loop {
            let mut connection = match timeout_at(deadline, self.connect()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(why)) => return Answer::Refused { why },
                Err(_) => return refused("no connection in time"),
            };
            let sent = connection.sender.try_send_request(request);
            match timeout_at(deadline, sent).await {
                Err(_) => return unknown("no answer in time"),
                Ok(Ok(response)) => return self.answer(connection, response, deadline).await,
                // A kept connection that was closed before anything was sent.
                Ok(Err(mut error)) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return unknown(&broken(error.error())),
                },
            }
        }
    }

    fn request(&self, voter: &str, option: char) -> Request<Full<Bytes>> {
        Request::post(&self.target.path)
            .header(header::HOST, self.target.authority())
            .header(
                header::USER_AGENT,
                concat!("hafail/", env!("CARGO_PKG_VERSION")),
            )
            // The voting page then says in a word why it refused.
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::COOKIE, format!("voter_id={voter}"))
            .body(Full::from(format!("vote={option}")))
            .expect("a checked target, a generated voter id and fixed headers are valid")
    }

    /// Judges the status and keeps the connection where its answer was whole.
    async fn answer(
        &mut self,
        connection: Connection,
        response: Response<Incoming>,
        deadline: Instant,
    ) -> Answer {
        let status = response.status();
        let page = timeout_at(deadline, drain(response)).await;
        let page = page.ok().flatten();
        if page.is_some() {
            self.connection = Some(connection);
        }
        judge(status, &page.unwrap_or_default())
    }

    /// The kept connection, as long as it is open and its address is still
    /// what the name says; else a new one.
    async fn connect(&mut self) -> Result<Connection, String> {
        let addresses = self.resolver.addresses(&self.target.host).await;
        if let Some(mut kept) = self.connection.take() {
            let moved = addresses
                .as_ref()
                .is_ok_and(|now| !now.contains(&kept.address));
            if !moved && kept.sender.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let addresses = addresses.map_err(|error| format!("no address: {error}"))?;
        let mut addresses: Vec<_> = addresses.into_iter().collect();
        addresses.shuffle(&mut rand::rng());
        let mut failure = "the name has no address".to_owned();
        for address in addresses {
            match timeout(CONNECT, open(address, self.target.port)).await {
                Ok(Ok(sender)) => return Ok(Connection { sender, address }),
                Ok(Err(why)) => failure = format!("no connection to {address}: {why}"),
                Err(_) => failure = format!("no connection to {address} in time"),
            }
        }
        Err(failure)
    }
}

async fn open(address: Ipv4Addr, port: u16) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect((address, port)).await;
    let stream = stream.map_err(|error| error.kind().to_string())?;
    // A vote is one small packet: waiting to fill it only adds delay.
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ends with its sender. Its error reaches the sender too.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Reads the page to its end, as a browser would; none: it broke off.
async fn drain(response: Response<Incoming>) -> Option<Vec<u8>> {
    let mut body = response.into_body();
    let mut page = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        let room = PAGE.saturating_sub(page.len());
        page.extend_from_slice(&data[..data.len().min(room)]);
    }
    Some(page)
}

/// What the voting page says beside the status.
#[derive(serde::Deserialize)]
struct Said {
    reason: String,
}

/// What an answer means. A gateway that had no answer from behind (502, 504)
/// and a page that could not confirm what it had queued do not know what
/// became of the vote; neither do we.
fn judge(status: StatusCode, page: &[u8]) -> Answer {
    let code = format!("HTTP {}", status.as_u16());
    let said = serde_json::from_slice::<Said>(page).ok();
    match (status, said) {
        (StatusCode::OK, _) => Answer::Accepted,
        (StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT, _) => unknown(&code),
        (_, Some(said)) if said.reason == NOT_CONFIRMED => {
            unknown(&format!("{code} {NOT_CONFIRMED}"))
        }
        (_, Some(said)) => refused(&format!("{code} {}", said.reason)),
        (_, None) => refused(&code),
    }
}

/// A short class of the error: the texts are counted.
fn broken(error: &hyper::Error) -> String {
    let class = match error {
        error if error.is_incomplete_message() => "closed without an answer",
        error if error.is_parse() => "an answer that is not HTTP",
        error if error.is_canceled() => "closed before the request",
        _ => "connection broke",
    };
    class.to_owned()
}

fn refused(why: &str) -> Answer {
    Answer::Refused {
        why: why.to_owned(),
    }
}

fn unknown(why: &str) -> Answer {
    Answer::Unknown {
        why: why.to_owned(),
    }
}
