//! Leases: how long they last, and what goes with them.

use std::time::{Duration, Instant};

use hafail::ports::quorum::{Change, LeaseId, Quorum, QuorumError, Revision};

use crate::cluster::{Cluster, absent, with_cluster};

const TTL: Duration = Duration::from_secs(2);
/// A lease may last that much longer than it must.
const SLACK: Duration = Duration::from_secs(3);

async fn take(cluster: &Cluster, lease: LeaseId) -> Revision {
    let change = Change::Put {
        key: "/a/primary".to_owned(),
        text: "db1".to_owned(),
        lease: Some(lease),
    };
    let when = [absent("/a/primary")];
    let taken = cluster.store.commit(&when, &[change]).await;
    taken.unwrap().expect("the key was absent")
}

/// Waits until the key is gone; says how long after `since`.
async fn gone(cluster: &Cluster, mut seen: Revision, since: Instant) -> Duration {
    let watcher = cluster.client();
    loop {
        let changed = watcher.changed("/a/", seen, TTL + SLACK).await;
        assert_eq!(changed, Ok(true), "the lease goes on");
        let reading = watcher.read("/a/").await.unwrap();
        if reading.values.is_empty() {
            return since.elapsed();
        }
        seen = reading.revision;
    }
}

#[test]
fn a_lease_ends_no_sooner_than_its_time() {
    with_cluster(|cluster| async {
        let lease = cluster.store.lease(TTL).await.unwrap();
        let granted = Instant::now();
        let seen = take(&cluster, lease).await;
        let held = cluster.store.read("/a/").await.unwrap();
        assert_eq!(held.values["/a/primary"].lease, Some(lease));
        let lasted = gone(&cluster, seen, granted).await;
        assert!(lasted >= TTL && lasted < TTL + SLACK, "{lasted:?}");

        let ended = Err(QuorumError::NoSuchLease(lease));
        assert_eq!(cluster.store.renew(lease).await, ended);
        assert_eq!(cluster.store.revoke(lease).await, Ok(()));
        let change = Change::Put {
            key: "/a/primary".to_owned(),
            text: "db1".to_owned(),
            lease: Some(lease),
        };
        let late = cluster.store.commit(&[], &[change]).await;
        assert_eq!(late, Err(QuorumError::NoSuchLease(lease)));
        cluster
    });
}

#[test]
fn a_renewal_begins_the_time_anew() {
    with_cluster(|cluster| async {
        let lease = cluster.store.lease(TTL).await.unwrap();
        let seen = take(&cluster, lease).await;
        let start = Instant::now();
        let mut renewed = start;
        let mut tick = tokio::time::interval(TTL / 6);
        while start.elapsed() < 2 * TTL {
            tick.tick().await;
            cluster.store.renew(lease).await.unwrap();
            renewed = Instant::now();
        }
        let lasted = gone(&cluster, seen, renewed).await;
        assert!(lasted >= TTL.saturating_sub(TTL / 6), "{lasted:?}");
        assert!(lasted < TTL + SLACK, "{lasted:?}");
        let ended = Err(QuorumError::NoSuchLease(lease));
        assert_eq!(cluster.store.renew(lease).await, ended);
        cluster
    });
}

#[test]
fn a_lease_that_is_given_back_ends_at_once() {
    with_cluster(|cluster| async {
        let lease = cluster.store.lease(Duration::from_secs(30)).await.unwrap();
        let seen = take(&cluster, lease).await;
        cluster.store.renew(lease).await.unwrap();
        let start = Instant::now();
        cluster.store.revoke(lease).await.unwrap();
        let lasted = gone(&cluster, seen, start).await;
        // Long before its end.
        assert!(lasted < Duration::from_secs(10), "{lasted:?}");
        let ended = Err(QuorumError::NoSuchLease(lease));
        assert_eq!(cluster.store.renew(lease).await, ended);
        cluster
    });
}
