//! Reading, writing under conditions, waiting for changes.

use std::time::{Duration, Instant};

use hafail::ports::quorum::{Change, Condition, MemberHealth, Quorum, QuorumError, Revision};

use crate::cluster::{GRACE, absent, put, with_cluster, write};

#[test]
fn a_change_is_made_only_where_all_conditions_hold() {
    with_cluster(|cluster| async {
        let store = &cluster.store;
        let free = [absent("/a/primary")];
        let taken = store.commit(&free, &[put("/a/primary", "db1")]).await;
        let created = taken.unwrap().expect("the key was absent");
        let again = store.commit(&free, &[put("/a/primary", "db2")]).await;
        assert_eq!(again, Ok(None));

        let by = |modified| Condition::ModifiedAt {
            key: "/a/primary".to_owned(),
            modified,
        };
        let both = [put("/a/primary", "db2"), put("/a/epoch", "2")];
        assert_eq!(store.commit(&[by(Revision(1))], &both).await, Ok(None));
        let second = store.commit(&[by(created)], &both).await.unwrap().unwrap();
        let reading = store.read("/a/").await.unwrap();
        let primary = &reading.values["/a/primary"];
        assert_eq!(primary.text, "db2");
        assert_eq!((primary.created, primary.modified), (created, second));
        assert_eq!(reading.values["/a/epoch"].text, "2");
        assert_eq!(reading.revision, second);

        let delete = Change::Delete {
            key: "/a/primary".to_owned(),
        };
        store.commit(&[], &[delete]).await.unwrap().unwrap();
        write(store, "/a/primary", "db2").await.unwrap();
        let since = Condition::CreatedAt {
            key: "/a/primary".to_owned(),
            created,
        };
        let stale = store.commit(&[since], &[put("/a/epoch", "3")]).await;
        assert_eq!(stale, Ok(None), "a key that went and came is another");
        cluster
    });
}

#[test]
fn a_prefix_holds_only_what_is_below_it() {
    with_cluster(|cluster| async {
        for key in ["/a/x", "/ab/x", "/b/x"] {
            write(&cluster.store, key, "text").await.unwrap();
        }
        let reading = cluster.client().read("/a/").await.unwrap();
        assert_eq!(reading.values.keys().collect::<Vec<_>>(), ["/a/x"]);
        cluster
    });
}

#[test]
fn a_change_wakes_at_once() {
    with_cluster(|cluster| async {
        let long = Duration::from_secs(30);
        let before = write(&cluster.store, "/a/x", "1").await.unwrap();
        let waiter = cluster.client();
        let waiting = waiter.changed("/a/", before, long);
        let writing = async {
            write(&cluster.store, "/b/x", "unheard").await.unwrap();
            let start = Instant::now();
            write(&cluster.store, "/a/x", "2").await.unwrap();
            start
        };
        let (changed, start) = tokio::join!(waiting, writing);
        assert_eq!(changed, Ok(true));
        assert!(start.elapsed() < GRACE, "it took {:?}", start.elapsed());

        let missed = waiter.changed("/a/", before, long).await;
        assert_eq!(missed, Ok(true), "it was before the question");
        let after = waiter.read("/a/").await.unwrap().revision;
        let quiet = waiter.changed("/a/", after, GRACE).await;
        assert_eq!(quiet, Ok(false));
        cluster
    });
}

#[test]
fn changes_that_are_forgotten_count_as_changes() {
    with_cluster(|cluster| async {
        let before = write(&cluster.store, "/a/x", "1").await.unwrap();
        write(&cluster.store, "/b/x", "2").await.unwrap();
        let last = write(&cluster.store, "/b/x", "3").await.unwrap();
        let status = std::process::Command::new("/usr/bin/etcdctl")
            .env("ETCDCTL_API", "3")
            .args(cluster.etcdctl())
            .args(["compact", &last.0.to_string()])
            .status();
        assert!(status.unwrap().success());
        let long = Duration::from_secs(30);
        let changed = cluster.store.changed("/a/", before, long).await;
        assert_eq!(changed, Ok(true));
        cluster
    });
}

#[test]
fn members_are_told_apart() {
    with_cluster(|cluster| async {
        let leader = cluster.ready().await;
        let members = cluster.store.members().await;
        for (index, member) in cluster.members.iter().enumerate() {
            let expected = if index == leader {
                MemberHealth::Leader
            } else {
                MemberHealth::Follower
            };
            assert_eq!(members[&member.address], expected);
        }
        cluster
    });
}

#[test]
fn hosts_are_a_way_to_the_store() {
    with_cluster(|cluster| async {
        let through = cluster.client_through_hosts();
        let written = write(&through, "/a/x", "1").await.unwrap();
        let reading = cluster.store.read("/a/").await.unwrap();
        assert_eq!(reading.values["/a/x"].modified, written);
        assert!(through.members().await.contains_key("place2"));
        cluster
    });
}

#[test]
fn strangers_are_refused() {
    with_cluster(|cluster| async {
        let mut tls = cluster.tls.clone();
        let stranger = crate::pki::Authority::new("other").issue(&["client"]);
        (tls.certificate, tls.key) = (stranger.certificate, stranger.key);
        let urls: Vec<_> = cluster.members.iter().map(|it| it.url()).collect();
        let store = hafail::adapters::etcd::Etcd::new(&urls, &tls, GRACE).unwrap();
        let error = write(&store, "/a/x", "1").await.unwrap_err();
        assert!(matches!(error, QuorumError::Unreachable { .. }), "{error}");
        let reading = cluster.store.read("/a/").await.unwrap();
        assert!(reading.values.is_empty());
        cluster
    });
}
