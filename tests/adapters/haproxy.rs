use std::{process::Command, sync::Arc};

use hafail::{
    adapters::proxies::RuntimeApi,
    observation::{ProxyOrder, ProxyStatus, ProxyVerb, ServerAdmin},
    ports::{PortError, proxies::Proxies},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    local::{Loopback, Program, host, until},
    port::free_port,
};

/// HAProxy with a backend as deployments have it: checked by HTTP, while the
/// traffic is plain TCP.
struct Balancer {
    _program: Program,
    _folder: tempfile::TempDir,
    api: RuntimeApi,
    port: u16,
}

/// Answers checks with that status, and echoes anything else.
async fn backend(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    if bytes.starts_with(b"GET ") {
                        let head = format!("HTTP/1.0 {status}\r\n\r\n");
                        let _ = stream.write_all(head.as_bytes()).await;
                        return;
                    }
                    let _ = stream.write_all(&bytes[..length]).await;
                }
            });
        }
    });
    port
}

impl Balancer {
    async fn start(up: u16, down: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let port = free_port();
        let config = format!(
            "global\n  stats socket {} level admin\n\
             defaults\n  timeout connect 1s\n  timeout client 10s\n  timeout server 10s\n\
             listen pg_primary\n  mode tcp\n  bind 127.0.0.1:{port}\n\
             \x20 option httpchk\n  http-check send meth GET uri /primary\n\
             \x20 default-server inter 100ms fastinter 50ms downinter 100ms fall 2 rise 1\n\
             \x20 server site1-db 127.0.0.1:{up} check\n\
             \x20 server site2-db 127.0.0.1:{down} check\n",
            socket.display()
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let program = Program::start(Command::new("haproxy").arg("-db").arg("-f").arg(&file));
        let api = RuntimeApi::new(Arc::new(Loopback::default()), socket.display().to_string());
        until("HAProxy answers", || async {
            api.status(&host("lb")).await.is_ok()
        })
        .await;
        Self {
            _program: program,
            _folder: folder,
            api,
            port,
        }
    }

    async fn servers(&self) -> (bool, bool) {
        let status = self.api.status(&host("lb")).await.unwrap();
        let up = |name: &str| status["pg_primary"][name].up;
        (up("site1-db"), up("site2-db"))
    }

    async fn tell(&self, server: &str, verbs: &[ProxyVerb]) -> Result<(), PortError> {
        let orders: Vec<_> = verbs
            .iter()
            .map(|&what| ProxyOrder {
                backend: "pg_primary".into(),
                server: server.into(),
                what,
            })
            .collect();
        self.api.tell(&host("lb"), &orders).await
    }

    async fn until(&self, wanted: (bool, bool)) {
        until(&format!("servers are {wanted:?}"), || async {
            self.servers().await == wanted
        })
        .await;
    }
}

fn admin(status: &ProxyStatus, server: &str) -> ServerAdmin {
    status["pg_primary"][server].admin
}

#[tokio::test]
async fn checks_orders_and_sessions_are_seen() {
    let balancer = Balancer::start(backend("200 OK").await, backend("503 No").await).await;
    balancer.until((true, false)).await;

    // A session counts, and is shut on order.
    let mut session = TcpStream::connect(("127.0.0.1", balancer.port))
        .await
        .unwrap();
    session.write_all(b"x").await.unwrap();
    let mut byte = [0; 1];
    session.read_exact(&mut byte).await.unwrap();
    let status = balancer.api.status(&host("lb")).await.unwrap();
    assert_eq!(status["pg_primary"]["site1-db"].sessions, 1);
    balancer
        .tell("site1-db", &[ProxyVerb::ShutSessions])
        .await
        .unwrap();
    assert_eq!(
        session.read(&mut byte).await.unwrap_or(0),
        0,
        "the session is over"
    );

    // Draining keeps what the checks say.
    balancer
        .tell("site1-db", &[ProxyVerb::Drain])
        .await
        .unwrap();
    let status = balancer.api.status(&host("lb")).await.unwrap();
    assert_eq!(admin(&status, "site1-db"), ServerAdmin::Drain);
    balancer
        .tell("site1-db", &[ProxyVerb::Ready])
        .await
        .unwrap();

    // Several orders in one exchange.
    balancer
        .tell("site1-db", &[ProxyVerb::Maintenance])
        .await
        .unwrap();
    balancer
        .tell("site2-db", &[ProxyVerb::Ready, ProxyVerb::HealthUp])
        .await
        .unwrap();
    let status = balancer.api.status(&host("lb")).await.unwrap();
    assert_eq!(admin(&status, "site1-db"), ServerAdmin::Maintenance);
    assert!(!status["pg_primary"]["site1-db"].up);
    // Its checks fail, so being told that it is up does not last.
    balancer.until((false, false)).await;

    balancer
        .tell("site1-db", &[ProxyVerb::Ready, ProxyVerb::HealthDown])
        .await
        .unwrap();
    balancer.until((true, false)).await;
}

#[tokio::test]
async fn what_haproxy_rejects_is_an_error() {
    let balancer = Balancer::start(backend("200 OK").await, backend("200 OK").await).await;
    let error = balancer
        .tell("site3-db", &[ProxyVerb::Drain])
        .await
        .unwrap_err();
    assert!(
        matches!(&error, PortError::Failed { why, .. } if why.contains("No such server")),
        "{error}"
    );

    let nowhere = RuntimeApi::new(Arc::new(Loopback::default()), "/nowhere/admin.sock");
    let error = nowhere.status(&host("lb")).await.unwrap_err();
    assert!(matches!(error, PortError::Unreachable { .. }), "{error}");
}
