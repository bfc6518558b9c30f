//! Playbooks on real hosts over real SSH.
//!
//! The hosts are those of `HAFAIL_TEST_INVENTORY` (a file with an inventory in
//! JSON), reached with the key in `HAFAIL_TEST_SSH_KEY`; without them, three
//! containers are started from the host image of the lab and removed at the
//! end. Everything happens below `/var/tmp/hafail-test` on the hosts.

mod hosts;
mod scenarios;

use std::time::Duration;

/// Bound of the whole.
const WITHIN: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs hosts: HAFAIL_TEST_INVENTORY and HAFAIL_TEST_SSH_KEY, or Docker and the image of the lab"]
async fn playbooks_on_real_hosts() {
    let hosts = hosts::Hosts::ready().await;
    let all = scenarios::all(&hosts);
    let failed = tokio::time::timeout(WITHIN, all).await;
    let failed = failed.expect("the scenarios end within their bound");
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
