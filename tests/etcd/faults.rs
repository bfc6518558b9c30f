//! Members that die, freeze, or are too few.

use std::time::Duration;

use hafail::ports::quorum::{MemberHealth, Quorum, QuorumError};

use crate::{
    cluster::{Cluster, DEADLINE, in_time, with_cluster, write},
    local::BOUND,
};

/// Every kind of call, each within its deadline.
async fn all_calls_work(cluster: &Cluster) {
    let store = &cluster.store;
    let lease = in_time(store.lease(Duration::from_secs(30))).await.unwrap();
    for round in 0..4 {
        in_time(store.renew(lease)).await.unwrap();
        let text = round.to_string();
        let at = in_time(write(store, "/a/x", &text)).await.unwrap();
        let reading = in_time(store.read("/a/")).await.unwrap();
        assert_eq!(reading.values["/a/x"].text, text);
        assert_eq!(reading.values["/a/x"].modified, at);
        let long = Duration::from_secs(30);
        let (changed, written) = tokio::join!(
            store.changed("/a/", at, long),
            in_time(write(store, "/a/x", "again"))
        );
        written.unwrap();
        assert_eq!(changed, Ok(true));
    }
    in_time(store.revoke(lease)).await.unwrap();
}

#[test]
fn a_frozen_member_costs_little() {
    with_cluster(|cluster| async {
        all_calls_work(&cluster).await;
        let leader = cluster.ready().await;
        for follower in cluster.others(leader) {
            cluster.members[follower].stop();
            all_calls_work(&cluster).await;
            cluster.members[follower].resume();
        }
        cluster
    });
}

#[test]
fn a_frozen_leader_costs_an_election() {
    with_cluster(|cluster| async {
        all_calls_work(&cluster).await;
        let leader = cluster.ready().await;
        cluster.members[leader].stop();
        let next = cluster.ready().await;
        assert_ne!(next, leader);
        all_calls_work(&cluster).await;
        cluster.members[leader].resume();
        all_calls_work(&cluster).await;
        cluster
    });
}

#[test]
fn a_dead_member_costs_little() {
    with_cluster(|mut cluster| async {
        all_calls_work(&cluster).await;
        let leader = cluster.ready().await;
        let follower = *cluster.others(leader).first().unwrap();
        cluster.members[follower].kill();
        all_calls_work(&cluster).await;
        let members = in_time(cluster.store.members()).await;
        let dead = &members[&cluster.members[follower].address];
        assert!(matches!(dead, MemberHealth::Unknown { .. }), "{dead:?}");
        cluster
    });
}

#[test]
fn without_a_majority_calls_fail_in_time() {
    with_cluster(|cluster| async {
        all_calls_work(&cluster).await;
        let lease = cluster.store.lease(Duration::from_secs(30)).await.unwrap();
        let leader = cluster.ready().await;
        for other in cluster.others(leader) {
            cluster.members[other].stop();
        }
        let store = &cluster.store;
        let unanswered = |error: QuorumError| {
            assert!(matches!(error, QuorumError::Unanswered { .. }), "{error}");
        };
        unanswered(in_time(store.read("/a/")).await.unwrap_err());
        unanswered(in_time(store.lease(DEADLINE)).await.unwrap_err());
        let written = in_time(write(store, "/a/x", "lost")).await.unwrap_err();
        assert!(
            matches!(written, QuorumError::Unreachable { .. }),
            "{written}"
        );
        // Once the leader has noticed that nobody follows, it renews nothing.
        let only = &cluster.members[leader].address;
        let start = std::time::Instant::now();
        while store.members().await[only] != MemberHealth::Leaderless {
            assert!(start.elapsed() < BOUND, "it leads on");
        }
        unanswered(in_time(store.renew(lease)).await.unwrap_err());
        for other in cluster.others(leader) {
            cluster.members[other].resume();
        }
        cluster.ready().await;
        all_calls_work(&cluster).await;
        cluster
    });
}

/// Counts the changes of the whole store: one for each commit that was
/// answered, at most one for each that was not.
#[test]
fn nothing_is_sent_twice() {
    with_cluster(|cluster| async {
        let before = write(&cluster.store, "/a/count", "0").await.unwrap().0;
        let (mut made, mut unknown) = (0, 0);
        for round in 0..3 {
            let leader = cluster.ready().await;
            cluster.members[leader].stop();
            // Fresh answers make the client send without asking first.
            for _ in 0..4 {
                match in_time(write(&cluster.store, "/a/count", "again")).await {
                    Ok(_) => made += 1,
                    Err(QuorumError::Unanswered { .. }) => unknown += 1,
                    Err(QuorumError::Unreachable { .. }) => {}
                    Err(other) => panic!("round {round}: {other}"),
                }
            }
            cluster.members[leader].resume();
            cluster.ready().await;
            write(&cluster.store, "/a/count", "after").await.unwrap();
            made += 1;
        }
        let changes = cluster.store.read("/a/").await.unwrap().revision.0 - before;
        assert!(changes >= made, "{changes} of {made} answered commits");
        assert!(
            changes <= made + unknown,
            "{changes} changes by {made} answered and {unknown} unanswered commits"
        );
        assert!(made > 3, "no commit got through while a member was frozen");
        cluster
    });
}
