//! The lock of commands in the shared store.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hafail::{
    adapters::{
        clock::SystemClock,
        kept_lock::{Change, KeptLock},
    },
    coordination::Shared,
    ports::store::{Holder, RunId, StoreError},
};

use crate::{
    cluster::{Cluster, with_cluster},
    local::BOUND,
};

const TTL: Duration = Duration::from_secs(2);

fn holder(what: &str, machine: &str) -> Holder {
    Holder {
        what: what.to_owned(),
        run: RunId(what.to_owned()),
        operator: "ann".to_owned(),
        machine: machine.to_owned(),
        process: 1,
        since: "2026-01-01T00:00:00Z".to_owned(),
    }
}

fn shared(cluster: &Cluster) -> Shared {
    Shared::new(Arc::new(cluster.client()), "two")
}

async fn take(cluster: &Cluster, holder: Holder) -> Result<KeptLock, StoreError> {
    let clock = Arc::new(SystemClock::default());
    KeptLock::take(shared(cluster), TTL, clock, holder, |_| {}).await
}

#[test]
fn commands_on_two_machines_exclude_each_other_as_long_as_one_works() {
    with_cluster(|cluster| async {
        let deploy = take(&cluster, holder("deploy", "desk")).await.unwrap();
        let begun = Instant::now();
        // Well past the lease's own time.
        while begun.elapsed() < 2 * TTL {
            let other = take(&cluster, holder("run deploy-redis", "laptop")).await;
            match other.map(drop).unwrap_err() {
                StoreError::Held(found) => assert_eq!(*found, holder("deploy", "desk")),
                error => panic!("{error}"),
            }
        }
        // What the watchers read, and why they wait.
        let state = shared(&cluster).state().await.unwrap();
        assert_eq!(state.lock.unwrap().value.what, "deploy");
        deploy.release().await.unwrap();
        let next = take(&cluster, holder("destroy", "laptop")).await;
        next.unwrap().release().await.unwrap();
        cluster
    });
}

#[test]
fn a_lock_whose_command_died_ends_by_itself() {
    with_cluster(|cluster| async {
        let died = take(&cluster, holder("deploy", "desk")).await.unwrap();
        drop(died);
        let begun = Instant::now();
        loop {
            match take(&cluster, holder("deploy", "laptop")).await {
                Ok(lock) => break lock.release().await.unwrap(),
                Err(StoreError::Held(_)) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(begun.elapsed() < 5 * TTL, "it never ended");
        }
        cluster
    });
}

#[test]
fn a_command_learns_that_its_lock_is_lost_and_regained() {
    with_cluster(|mut cluster| async {
        let heard: Arc<Mutex<Vec<Change>>> = Arc::default();
        let telling = Arc::clone(&heard);
        let told = move |change| telling.lock().unwrap().push(change);
        let (clock, desk) = (Arc::new(SystemClock::default()), holder("deploy", "desk"));
        let lock = KeptLock::take(shared(&cluster), TTL, clock, desk, told).await;
        let lock = lock.unwrap();
        let wait_for = async |wanted: fn(&Change) -> bool| {
            let begun = Instant::now();
            while !heard.lock().unwrap().iter().any(wanted) {
                assert!(begun.elapsed() < BOUND, "{heard:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Without a majority it cannot be kept.
        for member in &cluster.members[..2] {
            member.stop();
        }
        wait_for(|change| matches!(change, Change::Lost(_))).await;
        for member in &mut cluster.members[..2] {
            member.resume();
        }
        wait_for(|change| matches!(change, Change::Regained)).await;
        lock.release().await.unwrap();
        cluster
    });
}
