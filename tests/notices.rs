//! Messages to people, against a receiver on loopback and a topic in moto.

#[path = "provision/moto.rs"]
mod moto;
#[path = "adapters/port.rs"]
mod port;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
    time::Duration,
};

/// Runs `hafail watch --test-notification` with that webhook and topic.
fn test_notification(webhook: Option<&str>, topic: Option<&str>) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let shipped = include_str!("../topologies/automatic.yaml");
    let stated = "  # webhook: https://alerts.example.org/hook";
    assert!(shipped.contains(stated), "the file has changed");
    let line = webhook.map_or_else(String::new, |url| format!("  webhook: {url}"));
    let no_topic = "  # sns_topic: arn:aws:sns:eu-central-1:123456789012:alerts";
    assert!(shipped.contains(no_topic), "the file has changed");
    let topic_line = topic.map_or_else(String::new, |arn| format!("  sns_topic: {arn}"));
    let topology = shipped
        .replace(stated, &line)
        .replace(no_topic, &topic_line);
    std::fs::write(path("topology.yaml"), topology).unwrap();
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_hafail"));
    if topic.is_some() {
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", moto::address()))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
    }
    command
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
        let output = test_notification(Some(&url), None);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(!said.contains("secret-path"), "{said}");
        let message = receiver.join().unwrap();
        assert_eq!(message["event"], "test");
        assert_eq!(message["topology"], "automatic");
        assert_eq!(message["by"], "site1-lb");
    }
    let output = test_notification(None, None);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no receiver"));
}

/// A call to SNS as its query interface has it; what is between these tags of
/// the answer.
fn sns(form: &[(&str, &str)], tag: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let text = runtime.block_on(async {
        let body: Vec<_> = form.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let credential = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/sns/aws4_request, SignedHeaders=host, Signature=0";
        let sent = reqwest::Client::new()
            .post(format!("http://{}/", moto::address()))
            .header("authorization", credential)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.join("&"))
            .send()
            .await;
        sent.unwrap().text().await.unwrap()
    });
    let (_, rest) = text
        .split_once(&format!("<{tag}>"))
        .unwrap_or_else(|| panic!("{text}"));
    rest.split_once('<').unwrap().0.to_owned()
}

#[test]
fn a_topic_takes_what_the_webhook_takes() {
    let arn = sns(&[("Action", "CreateTopic"), ("Name", "alerts")], "TopicArn");
    let subscriber = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", subscriber.local_addr().unwrap());
    let subscribe = [
        ("Action", "Subscribe"),
        ("TopicArn", arn.as_str()),
        ("Protocol", "http"),
        ("Endpoint", endpoint.as_str()),
    ];
    sns(&subscribe, "SubscriptionArn");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let by_topic = std::thread::spawn(move || receive(&subscriber, "200 OK"));
    let by_webhook = std::thread::spawn(move || receive(&listener, "200 OK"));
    let output = test_notification(Some(&url), Some(&arn));
    let said = format!("{output:?}");
    assert_eq!(output.status.code(), Some(0), "{said}");
    let line = "`watch.sns_topic` and `watch.webhook` took the message";
    assert!(said.contains(line), "{said}");
    let delivered = by_topic.join().unwrap();
    assert_eq!(delivered["Subject"], "hafail automatic: test");
    let text = delivered["Message"].as_str().unwrap();
    let message: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(message, by_webhook.join().unwrap(), "the same message");

    // One that is not there is named, and keeps the other from nothing.
    let gone = arn.replace("alerts", "nowhere");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let by_webhook = std::thread::spawn(move || receive(&listener, "200 OK"));
    let output = test_notification(Some(&url), Some(&gone));
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("`watch.sns_topic` did not take the message"),
        "{said}"
    );
    assert!(said.contains("`watch.webhook` took the message"), "{said}");
    assert_eq!(by_webhook.join().unwrap()["event"], "test");
}
