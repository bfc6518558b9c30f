//! Questions asked over real sockets on ephemeral loopback ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_server::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;

mod health;

const LIMIT: Duration = Duration::from_secs(60);

/// A running server; everything ends with it.
struct Lab {
    zones: Arc<watch::Sender<Zones>>,
    udp: SocketAddr,
    tcp: SocketAddr,
    tasks: tokio::task::JoinSet<()>,
}

impl Lab {
    async fn start(zones: Zones) -> Self {
        let (sender, receiver) = watch::channel(zones);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = server::bind(&[any], receiver).await.unwrap();
        let (udp, tcp) = (bound.udp[0], bound.tcp[0]);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { bound.run().await.unwrap() });
        Self {
            zones: Arc::new(sender),
            udp,
            tcp,
            tasks,
        }
    }

    fn probe(&mut self) {
        self.tasks.spawn(probe_health(self.zones.clone()));
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let asked = question(name, kind, OpCode::Query);
        socket
            .send_to(&asked.to_vec().unwrap(), self.udp)
            .await
            .unwrap();
        let mut buffer = [0; 4096];
        let length = timeout(LIMIT, socket.recv(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        assert_eq!(answer.metadata.id, asked.metadata.id);
        answer
    }

    async fn ask_tcp(&self, asked: &Message) -> Message {
        let exchange = async {
            let mut stream = TcpStream::connect(self.tcp).await.unwrap();
            let bytes = asked.to_vec().unwrap();
            stream.write_u16(bytes.len() as u16).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            let mut answer = vec![0; stream.read_u16().await.unwrap() as usize];
            stream.read_exact(&mut answer).await.unwrap();
            Message::from_vec(&answer).unwrap()
        };
        timeout(LIMIT, exchange).await.unwrap()
    }

    async fn addresses(&self, name: &str) -> Vec<String> {
        addresses(&self.ask(name, RecordType::A).await)
    }

    async fn verdict(&self, id: &str, wanted: bool) {
        let mut seen = self.zones.subscribe();
        let reached = seen.wait_for(|zones| zones.health.get(id) == Some(&wanted));
        assert!(
            timeout(LIMIT, reached).await.is_ok(),
            "verdict of {id} never was {wanted}"
        );
    }
}

fn question(name: &str, kind: RecordType, op: OpCode) -> Message {
    let mut message = Message::new(4711, MessageType::Query, op);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message.set_edns(Edns::new());
    message
}

fn addresses(message: &Message) -> Vec<String> {
    let data = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.to_string()),
            _ => None,
        });
    data.collect()
}

fn set(name: &str, kind: RecordKind, ttl: u32, values: &[&str]) -> RecordSet {
    RecordSet {
        name: name.into(),
        kind,
        ttl,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        ..RecordSet::default()
    }
}

fn routed(name: &str, value: &str, routing: Routing, check: &str) -> RecordSet {
    RecordSet {
        set_identifier: Some(value.into()),
        routing,
        health_check_id: (!check.is_empty()).then(|| check.into()),
        ..set(name, RecordKind::A, 30, &[value])
    }
}

fn zones(records: Vec<RecordSet>) -> Zones {
    let mut zones = Zones {
        server_address: Some(Ipv4Addr::new(127, 0, 0, 53)),
        ..Zones::default()
    };
    let zone = Zone {
        name: "votes.example.com.".into(),
        name_servers: vec!["ns-512.awsdns-00.net".into(), "ns-9.awsdns-01.org.".into()],
        records,
    };
    zones.zones.insert("/hostedzone/Z1".into(), zone);
    zones
        .extra
        .insert("registry.lab.internal".into(), Ipv4Addr::new(127, 9, 9, 9));
    zones
}

#[tokio::test]
async fn answers_with_authority_the_right_ttl_and_any_letter_case() {
    let lab = Lab::start(zones(vec![
        set(
            "vote.votes.example.com.",
            RecordKind::A,
            42,
            &["127.0.1.1", "127.0.1.2"],
        ),
        set("vote.votes.example.com.", RecordKind::Aaaa, 43, &["::1"]),
        set(
            "note.votes.example.com",
            RecordKind::Txt,
            44,
            &[r#""one \"1\"" "two""#],
        ),
    ]))
    .await;
    let answer = lab.ask("VOTE.votes.Example.com.", RecordType::A).await;
    assert!(answer.metadata.authoritative);
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(addresses(&answer), ["127.0.1.1", "127.0.1.2"]);
    assert!(answer.answers.iter().all(|record| record.ttl == 42));
    let answer = lab.ask("vote.votes.example.com.", RecordType::AAAA).await;
    assert_eq!(
        answer.answers[0].data.ip_addr(),
        Some("::1".parse().unwrap())
    );
    let answer = lab.ask("note.votes.example.com.", RecordType::TXT).await;
    let RData::TXT(text) = &answer.answers[0].data else {
        panic!("{answer:?}")
    };
    let parts: Vec<&[u8]> = text.txt_data.iter().map(|part| &part[..]).collect();
    assert_eq!(parts, [&b"one \"1\""[..], b"two"]);
}

#[tokio::test]
async fn a_missing_name_and_a_missing_type_are_told_apart_with_the_soa() {
    let soa = "ns-1.awsdns-00.net. hostmaster.example.com. 7 7200 900 1209600 60";
    let lab = Lab::start(zones(vec![
        set("votes.example.com.", RecordKind::Soa, 900, &[soa]),
        set(
            "a.deep.votes.example.com.",
            RecordKind::A,
            60,
            &["127.0.1.1"],
        ),
    ]))
    .await;
    for (name, code) in [
        ("none.votes.example.com.", ResponseCode::NXDomain),
        ("deep.votes.example.com.", ResponseCode::NoError),
        ("votes.example.com.", ResponseCode::NoError),
    ] {
        let answer = lab.ask(name, RecordType::A).await;
        assert_eq!(answer.metadata.response_code, code, "{name}");
        assert!(answer.metadata.authoritative && answer.answers.is_empty());
        let authority = &answer.authorities[0];
        assert_eq!(authority.name.to_ascii(), "votes.example.com.");
        assert_eq!(
            authority.ttl, 60,
            "the lesser of the TTL and the last field"
        );
        assert!(matches!(&authority.data, RData::SOA(soa) if soa.serial == 7));
    }
}

#[tokio::test]
async fn the_apex_has_ns_and_soa_even_when_the_api_lists_none() {
    let lab = Lab::start(zones(Vec::new())).await;
    let answer = lab.ask("votes.example.com.", RecordType::NS).await;
    let servers: Vec<_> = answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect();
    assert_eq!(servers, ["ns-512.awsdns-00.net.", "ns-9.awsdns-01.org."]);
    let answer = lab.ask("votes.example.com.", RecordType::SOA).await;
    assert_eq!(answer.answers.len(), 1);
}

#[tokio::test]
async fn name_servers_and_extra_names_resolve_and_all_else_is_refused() {
    let lab = Lab::start(zones(Vec::new())).await;
    assert_eq!(lab.addresses("ns-9.awsdns-01.org.").await, ["127.0.0.53"]);
    assert_eq!(lab.addresses("registry.lab.internal.").await, ["127.9.9.9"]);
    let answer = lab.ask("registry.lab.internal.", RecordType::AAAA).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
    for name in ["example.com.", "ns-1.awsdns-01.org.", "other.net."] {
        let answer = lab.ask(name, RecordType::A).await;
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::Refused,
            "{name}"
        );
        assert!(!answer.metadata.authoritative);
    }
}

#[tokio::test]
async fn aliases_are_followed_inside_the_zones_and_never_in_a_circle() {
    let lab = Lab::start(zones(vec![
        set(
            "www.votes.example.com.",
            RecordKind::Cname,
            10,
            &["vote.votes.example.com"],
        ),
        set("vote.votes.example.com.", RecordKind::A, 20, &["127.0.1.1"]),
        set(
            "gone.votes.example.com.",
            RecordKind::Cname,
            10,
            &["none.votes.example.com"],
        ),
        set(
            "away.votes.example.com.",
            RecordKind::Cname,
            10,
            &["elsewhere.net."],
        ),
        set(
            "loop.votes.example.com.",
            RecordKind::Cname,
            10,
            &["loop.votes.example.com."],
        ),
        set(
            "\\052.wild.votes.example.com.",
            RecordKind::A,
            5,
            &["127.0.1.7"],
        ),
    ]))
    .await;
    let answer = lab.ask("www.votes.example.com.", RecordType::A).await;
    let ttls: Vec<_> = answer.answers.iter().map(|record| record.ttl).collect();
    assert_eq!(ttls, [10, 20]);
    assert_eq!(addresses(&answer), ["127.0.1.1"]);
    let answer = lab.ask("www.votes.example.com.", RecordType::CNAME).await;
    assert_eq!(answer.answers.len(), 1);
    let answer = lab.ask("gone.votes.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(answer.answers.len(), 1);
    let answer = lab.ask("away.votes.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.answers.len(), 1);
    let answer = lab.ask("loop.votes.example.com.", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(
        lab.addresses("any.wild.votes.example.com.").await,
        ["127.0.1.7"]
    );
}

#[tokio::test]
async fn failover_records_follow_the_verdicts() {
    let name = "vote.votes.example.com.";
    let lab = Lab::start(zones(vec![
        routed(name, "127.0.1.1", Routing::Primary, "hc-1"),
        routed(name, "127.0.2.1", Routing::Secondary, "hc-2"),
    ]))
    .await;
    for (first, second, expected) in [
        (None, None, "127.0.1.1"),
        (Some(true), Some(true), "127.0.1.1"),
        (Some(false), Some(true), "127.0.2.1"),
        (Some(false), None, "127.0.2.1"),
        (Some(false), Some(false), "127.0.1.1"),
        (Some(true), Some(false), "127.0.1.1"),
    ] {
        lab.zones.send_modify(|zones| {
            let verdicts = [("hc-1", first), ("hc-2", second)];
            zones.health = verdicts
                .iter()
                .filter_map(|(id, up)| Some(((*id).into(), (*up)?)))
                .collect();
        });
        assert_eq!(
            lab.addresses(name).await,
            [expected],
            "{first:?} {second:?}"
        );
    }
}

#[test]
fn weighted_records_share_by_weight_among_the_healthy() {
    let name = Name::from_str("vote.votes.example.com.").unwrap();
    let text = "vote.votes.example.com.";
    let mut zones = zones(vec![
        routed(text, "127.0.1.1", Routing::Weighted(3), "hc-1"),
        routed(text, "127.0.2.1", Routing::Weighted(1), "hc-2"),
        routed(text, "127.0.3.1", Routing::Weighted(0), ""),
    ]);
    let ask = |zones: &Zones, ticket: u64| {
        let mut draw = |bound| {
            assert!(ticket < bound, "ticket {ticket} of {bound}");
            ticket
        };
        let answer = answer::answer(zones, &name, RecordType::A, &mut draw);
        answer.answers[0].data.to_string()
    };
    let all: Vec<_> = (0..4).map(|ticket| ask(&zones, ticket)).collect();
    assert_eq!(all, ["127.0.1.1", "127.0.1.1", "127.0.1.1", "127.0.2.1"]);
    zones.health.insert("hc-1".into(), false);
    assert_eq!(ask(&zones, 0), "127.0.2.1");
    zones.health.insert("hc-2".into(), false);
    assert_eq!(
        ask(&zones, 0),
        "127.0.3.1",
        "weight 0 serves when no other is healthy"
    );
}

#[tokio::test]
async fn long_answers_are_truncated_over_udp_and_whole_over_tcp() {
    let values: Vec<_> = (0..250).map(|host| format!("127.0.7.{host}")).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let name = "many.votes.example.com.";
    let lab = Lab::start(zones(vec![set(name, RecordKind::A, 60, &values)])).await;
    let answer = lab.ask(name, RecordType::A).await;
    assert!(answer.metadata.truncation);
    assert!(answer.answers.len() < 250);
    let answer = lab
        .ask_tcp(&question(name, RecordType::A, OpCode::Query))
        .await;
    assert!(!answer.metadata.truncation);
    assert_eq!(answer.answers.len(), 250);
}

#[tokio::test]
async fn updates_are_not_implemented() {
    let lab = Lab::start(zones(Vec::new())).await;
    let asked = question("votes.example.com.", RecordType::SOA, OpCode::Notify);
    let answer = lab.ask_tcp(&asked).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NotImp);
}

#[tokio::test]
async fn a_changed_record_is_the_next_answer() {
    let name = "vote.votes.example.com.";
    let lab = Lab::start(zones(vec![set(name, RecordKind::A, 60, &["127.0.1.1"])])).await;
    assert_eq!(lab.addresses(name).await, ["127.0.1.1"]);
    lab.zones.send_modify(|zones| {
        let zone = zones.zones.values_mut().next().unwrap();
        zone.records[0].values = vec!["127.0.2.1".into()];
    });
    assert_eq!(lab.addresses(name).await, ["127.0.2.1"]);
}
