//! The network side: UDP and TCP listeners over [`answer`].

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Edns, Metadata, OpCode, ResponseCode};
use hickory_server::proto::rr::{DNSClass, Name};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tracing::warn;

use super::Zones;
use super::answer::{Answer, answer};

/// An idle TCP connection is closed after this time.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Responses that may wait on one TCP connection.
const TCP_BUFFER: usize = 32;
/// Largest UDP response, small enough never to be fragmented.
const MAX_PAYLOAD: u16 = 1_232;

/// Sockets that are bound but not yet served.
pub(super) struct Bound {
    server: Server<Handler>,
    pub(super) udp: Vec<SocketAddr>,
    pub(super) tcp: Vec<SocketAddr>,
}

/// Binds UDP and TCP on every address.
pub(super) async fn bind(
    addrs: &[SocketAddr],
    zones: watch::Receiver<Zones>,
) -> anyhow::Result<Bound> {
    let mut bound = Bound {
        server: Server::new(Handler { zones }),
        udp: Vec::new(),
        tcp: Vec::new(),
    };
    for addr in addrs {
        let failed = || {
            format!(
                "cannot bind the DNS server to {addr} (hint: `ss -lunp` shows who holds the port)"
            )
        };
        let socket = UdpSocket::bind(addr).await.with_context(failed)?;
        let listener = TcpListener::bind(addr).await.with_context(failed)?;
        bound.udp.push(socket.local_addr()?);
        bound.tcp.push(listener.local_addr()?);
        bound.server.register_socket(socket);
        bound
            .server
            .register_listener(listener, TCP_IDLE, TCP_BUFFER);
    }
    Ok(bound)
}

impl Bound {
    /// Serves until a listener fails for good.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        self.server
            .block_until_done()
            .await
            .context("the DNS server stopped")
    }
}

struct Handler {
    zones: watch::Receiver<Zones>,
}

impl Handler {
    /// `None` for what is not a plain question for Internet records.
    fn decide(&self, request: &Request) -> Option<(Name, Answer)> {
        let query = request.request_info().ok()?.query.original().clone();
        if !matches!(query.query_class, DNSClass::IN | DNSClass::ANY) {
            return None;
        }
        let zones = self.zones.borrow();
        let answer = answer(&zones, &query.name, query.query_type, &mut draw);
        Some((query.name, answer))
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let decided = match request.metadata.op_code {
            OpCode::Query => self.decide(request),
            _ => {
                metadata.response_code = ResponseCode::NotImp;
                None
            }
        };
        let (answers, soa) = match decided {
            Some((_, answer)) => {
                metadata.response_code = answer.code;
                metadata.authoritative = answer.authoritative;
                (answer.answers, answer.soa)
            }
            None => {
                if metadata.response_code == ResponseCode::NoError {
                    metadata.response_code = ResponseCode::Refused;
                }
                (Vec::new(), None)
            }
        };
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, MAX_PAYLOAD));
            edns
        });
        let builder = MessageResponseBuilder::new(&request.queries, edns.as_ref());
        let message = builder.build(metadata, &answers, [], &soa, []);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                warn!(%error, client = %request.src(), "DNS response not sent");
                ResponseInfo::from(hickory_server::proto::op::Header {
                    metadata,
                    counts: Default::default(),
                })
            }
        }
    }
}

/// A random number below `bound`: every hasher state is seeded by the system.
fn draw(bound: u64) -> u64 {
    RandomState::new().hash_one(0_u8) % bound.max(1)
}
