//! Both pages in a real browser, driven over WebDriver.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::port::free_port;
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::voting::Voting;
use crate::support::{eventually, http};

const CHROMIUM: &str = "/usr/bin/chromium";
const DRIVER: &str = "/usr/bin/chromedriver";
/// The key under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window; it ends with the story.
struct Browser {
    session: String,
    driver: Child,
    _profile: TempDir,
}

impl Browser {
    async fn start(dark: bool) -> Self {
        for (program, package) in [(CHROMIUM, "chromium"), (DRIVER, "chromium-driver")] {
            assert!(
                Path::new(program).exists(),
                "{program} is missing (hint: apt-get install {package})"
            );
        }
        let port = free_port();
        let driver = Command::new("setpriv")
            .args(["--pdeathsig=KILL", DRIVER, &format!("--port={port}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let profile = TempDir::new().unwrap();
        let mut browser = Self {
            session: format!("http://127.0.0.1:{port}"),
            driver,
            _profile: profile,
        };
        eventually("the driver answers", async || {
            let status = http()
                .get(format!("{}/status", browser.session))
                .send()
                .await
                .ok()?;
            status.status().is_success().then_some(())
        })
        .await;
        let made = browser
            .post("/session", capabilities(browser._profile.path(), dark))
            .await;
        let id = made["sessionId"].as_str().unwrap().to_owned();
        browser.session = format!("{}/session/{id}", browser.session);
        browser
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = http().post(format!("{}{path}", self.session)).json(&body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    async fn click(&self, selector: &str) {
        let query = json!({ "using": "css selector", "value": selector });
        let found = self.post("/element", query).await;
        let element = found[ELEMENT].as_str().unwrap();
        self.post(&format!("/element/{element}/click"), json!({}))
            .await;
    }

    /// The value of a JavaScript expression.
    async fn value(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.post("/execute/sync", json!({ "script": script, "args": [] }))
            .await
    }

    /// What a person reads there; nothing of what is hidden.
    async fn text(&self, selector: &str) -> String {
        let element = format!("document.querySelector('{selector}')");
        let visible = format!("{element}?.checkVisibility() ? {element}.innerText : ''");
        self.value(&visible).await.as_str().unwrap().to_owned()
    }

    async fn shows(&self, selector: &str, text: &str) {
        let what = format!("{selector} shows {text:?}");
        eventually(&what, async || {
            (self.text(selector).await == text).then_some(())
        })
        .await;
    }

    async fn resize(&self, width: u32, height: u32) {
        self.post("/window/rect", json!({ "width": width, "height": height }))
            .await;
    }

    /// Keeps a picture of the page under the target directory.
    async fn picture(&self, name: &str) {
        let answer: Value = http()
            .get(format!("{}/screenshot", self.session))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let encoded = answer["value"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("voting-pages");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    /// Ends the session, which ends Chromium, also when the story fails.
    fn drop(&mut self) {
        let rest = self.session.strip_prefix("http://").unwrap_or_default();
        if let Some((host, path)) = rest.split_once('/')
            && let Ok(mut stream) = std::net::TcpStream::connect(host)
        {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = write!(stream, "DELETE /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn capabilities(profile: &Path, dark: bool) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    let mut arguments = vec![
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
        "--window-size=1000,760",
        profile.as_str(),
    ];
    if dark {
        arguments.push("--force-dark-mode");
    }
    let chrome = json!({ "binary": CHROMIUM, "args": arguments });
    json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": chrome } } })
}

#[tokio::test]
async fn a_vote_in_one_page_changes_the_total_in_the_other() {
    let (mut postgres, redis) = tokio::join!(Postgres::start(), Redis::start());
    let both = [redis.environment(), postgres.environment()];
    let vote = Voting::start_ready("vote", &both).await;
    let _worker = Voting::start_ready("worker", &both).await;
    let result = Voting::start_ready("result", &both).await;
    let (voter, viewer) = tokio::join!(Browser::start(false), Browser::start(false));

    viewer.open(&result.url).await;
    viewer.shows("#total", "0 votes").await;
    voter.open(&vote.url).await;
    assert_eq!(voter.text("h1").await, "Cats or Dogs?");
    assert_eq!(
        voter
            .value("document.querySelectorAll('[aria-pressed=true]').length")
            .await,
        0
    );
    voter.picture("vote-before").await;
    voter.click("#a").await;
    voter.shows("#notice strong", "Your vote is in.").await;
    assert_eq!(
        voter
            .value("document.querySelector('#a').ariaPressed")
            .await,
        "true"
    );
    voter.picture("vote-after").await;
    viewer.shows("#total", "1 vote").await;
    viewer.shows("#share-a", "100.0 %").await;

    // The same voter changes the vote, others add theirs: no reload anywhere.
    voter.click("#b").await;
    viewer.shows("#count-b", "1 vote").await;
    viewer.shows("#count-a", "0 votes").await;
    for other in 0..12 {
        assert_eq!(vote.vote(&format!("other-{other}"), "a").await.0, 200);
    }
    viewer.shows("#total", "13 votes").await;
    viewer.shows("#share-a", "92.3 %").await;
    viewer.shows("#age", "Live").await;
    viewer.picture("result").await;
    voter.open(&vote.url).await;
    assert_eq!(
        voter
            .value("document.querySelector('#b').ariaPressed")
            .await,
        "true",
        "remembered"
    );

    viewer.resize(420, 800).await;
    viewer.picture("result-narrow").await;
    voter.resize(420, 800).await;
    voter.picture("vote-narrow").await;
    let width = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(
        (voter.value(width).await, viewer.value(width).await),
        (true.into(), true.into())
    );

    // A queue that dies under an open connection may have taken the vote or
    // not, and the page says what that means.
    drop(redis);
    voter.click("#a").await;
    voter
        .shows("#notice strong", "Your vote was not confirmed.")
        .await;
    voter.picture("vote-unconfirmed").await;

    // Without the database the totals are marked, and come back by themselves.
    postgres.crash();
    viewer
        .shows("#warning strong", "These totals are out of date.")
        .await;
    viewer.picture("result-stale").await;
    postgres.up().await;
    viewer.shows("#age", "Live").await;
}

#[tokio::test]
async fn the_result_page_reconnects_for_ever() {
    let postgres = Postgres::start().await;
    let result = Voting::start_ready("result", &[postgres.environment()]).await;
    let viewer = Browser::start(true).await;
    viewer.open(&result.url).await;
    viewer.shows("#age", "Live").await;
    viewer.picture("result-dark").await;
    let url = result.url.clone();
    result.kill();
    eventually("the page notices", async || {
        (viewer.value("document.body.dataset.state").await == "stale").then_some(())
    })
    .await;
    viewer
        .shows(
            "#why",
            "This page cannot reach the server. It keeps trying.",
        )
        .await;
    let _again = Voting::start_at("result", &url, &[postgres.environment()]).await;
    viewer.shows("#age", "Live").await;
}
