//! Servers and helpers of the stories.

pub mod postgres;
pub mod redis;
pub mod relay;
pub mod voting;

use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// Everything that is awaited comes within this time, or the story fails.
pub const LIMIT: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            LIMIT.as_secs()
        );
        tokio::time::sleep(STEP).await;
    }
}

pub fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -s {name} {process}");
}

/// An HTTP client without connection reuse across runtimes.
pub fn http() -> reqwest::Client {
    static PROVIDER: LazyLock<()> = LazyLock::new(|| {
        // Another test of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    LazyLock::force(&PROVIDER);
    reqwest::Client::builder()
        .no_proxy()
        .timeout(LIMIT)
        .build()
        .unwrap()
}
