//! Health checks that really probe, and the answers that follow them.

use super::*;

fn check(probe: Probe, at: SocketAddr) -> HealthCheck {
    HealthCheck {
        probe,
        address: at.ip(),
        port: at.port(),
        interval: Duration::from_millis(20),
        failure_threshold: 2,
        inverted: false,
        disabled: false,
    }
}

/// A site's `GET /active`, which answers 200 or 503 by a switch.
async fn site(active: Arc<AtomicBool>) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let handler = move || async move {
        use axum::http::StatusCode;
        match active.load(Ordering::SeqCst) {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        }
    };
    let app = axum::Router::new().route("/active", axum::routing::get(handler));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (addr, task)
}

#[tokio::test]
async fn an_http_check_moves_the_answer_to_the_other_site_and_back() {
    let name = "vote.votes.example.com.";
    let active = Arc::new(AtomicBool::new(true));
    let (addr, _site) = site(active.clone()).await;
    let mut all = zones(vec![
        routed(name, "127.0.1.1", Routing::Primary, "hc-1"),
        routed(name, "127.0.2.1", Routing::Secondary, ""),
    ]);
    let probe = Probe::Http {
        path: "/active".into(),
        host: None,
    };
    all.health_checks.insert("hc-1".into(), check(probe, addr));
    let mut lab = Lab::start(all).await;
    lab.probe();
    lab.verdict("hc-1", true).await;
    assert_eq!(lab.addresses(name).await, ["127.0.1.1"]);
    active.store(false, Ordering::SeqCst);
    lab.verdict("hc-1", false).await;
    assert_eq!(lab.addresses(name).await, ["127.0.2.1"]);
    active.store(true, Ordering::SeqCst);
    lab.verdict("hc-1", true).await;
    assert_eq!(lab.addresses(name).await, ["127.0.1.1"]);
}

#[tokio::test]
async fn tcp_checks_follow_their_definitions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    let mut lab = Lab::start(zones(Vec::new())).await;
    lab.probe();
    lab.zones.send_modify(|zones| {
        zones
            .health_checks
            .insert("open".into(), check(Probe::Tcp, open));
        let inverted = HealthCheck {
            inverted: true,
            ..check(Probe::Tcp, open)
        };
        zones.health_checks.insert("inverted".into(), inverted);
        let elsewhere = SocketAddr::new(IpAddr::from([10, 1, 0, 1]), 80);
        zones
            .health_checks
            .insert("private".into(), check(Probe::Tcp, elsewhere));
    });
    lab.verdict("open", true).await;
    lab.verdict("inverted", false).await;
    lab.verdict("private", false).await;
    drop(listener);
    lab.verdict("open", false).await;
    lab.zones.send_modify(|zones| {
        zones.health_checks.get_mut("open").unwrap().disabled = true;
    });
    lab.verdict("open", true).await;
    lab.zones.send_modify(|zones| zones.health_checks.clear());
    let mut seen = lab.zones.subscribe();
    assert!(
        timeout(LIMIT, seen.wait_for(|zones| zones.health.is_empty()))
            .await
            .is_ok()
    );
}
