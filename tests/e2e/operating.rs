//! Failovers that are interrupted, doubled or refused. All begin and end with
//! site1 as primary, or say otherwise.

use super::{
    account::Faults,
    lab::{Ended, Hafail, chapter, on_host},
};

const EAST: [&str; 4] = ["failover", "--region", "us-east-1", "--yes"];
const WEST: [&str; 4] = ["failover", "--region", "eu-west-1", "--yes"];

#[track_caller]
fn outcome(ended: &Ended, outcome: &str) {
    assert_eq!(ended.json()["outcome"], outcome, "{ended}");
}

/// Before it everything goes back; after it only forward, by `resume`. Leaves
/// site2 as primary.
pub fn interrupted_before_and_after_the_promotion() {
    let hafail = Hafail::new();
    {
        let _chapter = chapter("Ctrl-C before the promotion");
        let mut early = hafail.start(&EAST);
        early.until(|line| line.contains('✓'));
        early.interrupt();
        let early = early.end().with(1);
        outcome(&early, "unwound");
        early.says("interrupted");
        hafail.healthy();
        hafail.fails(&WEST, 4, "already-active");
        hafail.run(&["resume"]).with(0).says("nothing to resume");
    }
    let _chapter = chapter("Ctrl-C after the promotion");
    let mut late = hafail.start(&EAST);
    late.until(|line| line.contains('✓') && line.contains("accepts writes"));
    late.interrupt();
    let late = late.end().with(130);
    outcome(&late, "interrupted");
    let left = late.json()["left"].as_array().unwrap().len();
    assert!(left > 0, "something is left: {late}");
    hafail
        .fails(&WEST, 5, "run-in-progress")
        .says("hafail resume");
    hafail.run(&["status"]).with(8).says("run-unfinished");
    let resumed = hafail.run(&["resume"]).with(0);
    outcome(&resumed, "succeeded");
    assert_eq!(resumed.json()["kind"], "switchover");
    assert_eq!(resumed.json()["lost_bytes"], 0);
    hafail.run(&["resume"]).with(0).says("nothing to resume");
    hafail.healthy();
    hafail.fails(&EAST, 4, "already-active");
}

/// Two at once: the second is refused with the holder's name, and the first is
/// not disturbed. From site2 to site1.
pub fn one_at_a_time() {
    let _chapter = chapter("two failovers at once");
    let hafail = Hafail::new();
    let mut first = hafail.start(&WEST);
    first.until(|line| line.starts_with("run "));
    first.pause();
    let second = hafail.run(&WEST);
    first.go_on();
    let first = first.end().with(0);
    outcome(&first, "succeeded");
    let second = second.with(5);
    second.error("run-in-progress");
    hafail.healthy();
}

/// Nothing is known of the primary's region, neither its hosts nor its cloud.
pub fn no_promotion_without_a_proof() {
    let _chapter = chapter("no proof");
    let hafail = Hafail::new();
    let refused = {
        let _faults = Faults::all("InternalError", Some("eu-west-1"));
        hafail.fails(&EAST, 4, "no-proof")
    };
    let error = refused.error("no-proof");
    let evidence = error["details"]["evidence"].as_array().unwrap();
    assert_eq!(evidence.len(), 2, "guard and cloud: {refused}");
    refused.says("--fenced-by-operator");
    hafail.healthy();
    hafail.fails(&WEST, 4, "already-active");
}

/// The standby's receiver stands still while the primary writes on.
pub fn no_switchover_to_a_standby_that_lags() {
    let _chapter = chapter("a standby that lags");
    let hafail = Hafail::new();
    // Goes on by itself after a while, whatever becomes of this test.
    let freeze = "pid=$(pgrep -f 'postgres: .*walreceiver' | head -1); kill -STOP $pid; \
        setsid sh -c \"sleep 60; kill -CONT $pid\" </dev/null >/dev/null 2>&1 & echo $pid";
    let write = "cd / && runuser -u postgres -- psql -qX -h /var/run/postgresql -d postgres -c \
        \"SET synchronous_commit = local\" -c \"CREATE TABLE e2e_lag AS \
        SELECT repeat(md5(i::text), 30) AS text FROM generate_series(1, 8000) i\" -c 'DROP TABLE e2e_lag'";
    let frozen = on_host("two-regions", "site2-db", freeze);
    on_host("two-regions", "site1-db", write);
    let refused = hafail.run(&EAST);
    on_host(
        "two-regions",
        "site2-db",
        &format!("kill -CONT {}", frozen.trim()),
    );
    let refused = refused.with(4);
    let error = refused.error("standby-behind");
    assert!(
        !error["details"]["evidence"].as_array().unwrap().is_empty(),
        "{refused}"
    );
    hafail.healthy();
    hafail.fails(&WEST, 4, "already-active");
}
