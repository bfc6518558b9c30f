use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use hafail::adapters::resolver::{DnsError, Resolver, ask};
use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use tokio::net::UdpSocket;

/// A DNS server for one name, whose answer the test changes.
pub struct Server {
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: tokio::task::JoinHandle<()>,
}

struct Zone {
    addresses: Vec<Ipv4Addr>,
    ttl: u32,
    code: ResponseCode,
    silent: bool,
    questions: u32,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(addresses: &[Ipv4Addr], ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone {
            addresses: addresses.to_vec(),
            ttl,
            code: ResponseCode::NoError,
            silent: false,
            questions: 0,
        }));
        let task = tokio::spawn(serve(socket, Arc::clone(&zone)));
        Self {
            address,
            zone,
            task,
        }
    }

    pub fn point(&self, addresses: &[Ipv4Addr]) {
        self.zone.lock().unwrap().addresses = addresses.to_vec();
    }

    fn questions(&self) -> u32 {
        self.zone.lock().unwrap().questions
    }
}

async fn serve(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut bytes = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
        let question = Message::from_vec(&bytes[..length]).unwrap();
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.authoritative = !question.metadata.recursion_desired;
        answer.add_queries(question.queries.clone());
        {
            let mut zone = zone.lock().unwrap();
            zone.questions += 1;
            if zone.silent {
                continue;
            }
            answer.metadata.response_code = zone.code;
            let query = &question.queries[0];
            if query.query_type() == RecordType::A && zone.code == ResponseCode::NoError {
                for address in &zone.addresses {
                    let data = RData::A(A(*address));
                    answer.add_answer(Record::from_rdata(query.name().clone(), zone.ttl, data));
                }
            }
        }
        socket
            .send_to(&answer.to_vec().unwrap(), from)
            .await
            .unwrap();
    }
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

#[tokio::test]
async fn a_server_is_asked_by_itself() {
    let server = Server::start(&[ONE, TWO], 60).await;
    let answer = ask(server.address, "vote.example.org", false)
        .await
        .unwrap();
    assert_eq!(answer.addresses, [ONE, TWO].into());
    assert_eq!(
        (answer.ttl, answer.authoritative),
        (Duration::from_secs(60), true)
    );
    assert!(
        !ask(server.address, "vote.example.org", true)
            .await
            .unwrap()
            .authoritative
    );

    server.point(&[]);
    let error = ask(server.address, "vote.example.org", false)
        .await
        .unwrap_err();
    assert!(matches!(error, DnsError::NoAddress { .. }), "{error}");
    server.zone.lock().unwrap().code = ResponseCode::NXDomain;
    let error = ask(server.address, "vote.example.org", false)
        .await
        .unwrap_err();
    assert!(matches!(error, DnsError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_is_kept_as_long_as_it_lives() {
    let server = Server::start(&[ONE], 1).await;
    let resolver = Resolver::new(vec![server.address]);
    for _ in 0..5 {
        assert_eq!(
            resolver.addresses("vote.example.org").await.unwrap(),
            [ONE].into()
        );
    }
    assert_eq!(server.questions(), 1, "asked once");
    server.point(&[TWO]);
    assert_eq!(
        resolver.addresses("vote.example.org").await.unwrap(),
        [ONE].into()
    );
    crate::local::until("the new answer is seen once the old has died", || async {
        resolver.addresses("vote.example.org").await.unwrap() == [TWO].into()
    })
    .await;
    assert_eq!(server.questions(), 2);
}

#[tokio::test]
async fn a_silent_server_does_not_stop_the_next() {
    let (silent, server) = (
        Server::start(&[ONE], 5).await,
        Server::start(&[TWO], 5).await,
    );
    silent.zone.lock().unwrap().silent = true;
    let resolver = Resolver::new(vec![silent.address, server.address]);
    assert_eq!(
        resolver.addresses("vote.example.org").await.unwrap(),
        [TWO].into()
    );

    let alone = Resolver::new(vec![silent.address]);
    let error = alone.addresses("vote.example.org").await.unwrap_err();
    assert!(matches!(error, DnsError::NoAnswer { .. }), "{error}");
}
