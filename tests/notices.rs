//! Messages to people, against a receiver on loopback.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::Duration,
};

/// Runs `hafail watch --test-notification` with that webhook.
fn test_notification(webhook: Option<&str>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let shipped = include_str!("../topologies/automatic.yaml");
    let stated = "  # webhook: https://alerts.example.org/hook";
    assert!(shipped.contains(stated), "the file has changed");
    let line = webhook.map_or_else(String::new, |url| format!("  webhook: {url}"));
    std::fs::write(path("topology.yaml"), shipped.replace(stated, &line)).unwrap();
    let config = serde_json::json!({
        "host": "site1-lb",
        "topology": path("topology.yaml"),
        "inventory": { "hosts": {} },
        "endpoints": ["https://site1-lb:2379"],
        "admin_port": 8406,
        "tls": { "ca": path("ca"), "cert": path("cert"), "key": path("key") },
        "database_password": path("database"),
        "queue_password": path("queue"),
    });
    std::fs::write(path("watch.json"), config.to_string()).unwrap();
    Command::new(env!("CARGO_BIN_EXE_hafail"))
        .args([
            "watch",
            "--test-notification",
            "--config",
            &path("watch.json"),
        ])
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Takes one request, answers with that status, and gives its body.
fn receive(listener: &TcpListener, status: &str) -> serde_json::Value {
    let (mut stream, _) = listener.accept().unwrap();
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[test]
fn a_test_message_reaches_the_webhook_or_says_why_not() {
    for (status, code) in [("204 No Content", 0), ("500 Broken", 6)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/secret-path", listener.local_addr().unwrap());
        let receiver = std::thread::spawn(move || receive(&listener, status));
        let output = test_notification(Some(&url));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!said.contains("secret-path"), "{said}");
        let message = receiver.join().unwrap();
        assert_eq!(message["event"], "test");
        assert_eq!(message["topology"], "automatic");
        assert_eq!(message["by"], "site1-lb");
    }
    let output = test_notification(None);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no receiver"));
}
