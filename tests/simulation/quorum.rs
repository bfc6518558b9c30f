//! What the simulated store promises, as etcd does.

use std::time::Duration;

use hafail::{
    ports::quorum::{Change, Condition, LeaseId, Quorum, QuorumError, Revision},
    sim::{Settings, Sim, fault::Fault, quorum::SimQuorum},
    topology::Replication,
};

use crate::scenario::{host, seconds, site};

fn world() -> (Sim, SimQuorum) {
    let sim = Sim::new(Settings::automatic(Replication::Synchronous), 3);
    let client = SimQuorum::new(&sim, &host("site2-queue"), Duration::from_millis(700));
    (sim, client)
}

fn set(sim: &Sim, fault: &Fault, on: bool) {
    fault.set(&mut sim.lock(), on);
}

fn put(key: &str, lease: Option<LeaseId>) -> Change {
    Change::Put {
        key: key.to_owned(),
        text: "x".to_owned(),
        lease,
    }
}

fn commit(
    sim: &Sim,
    client: &SimQuorum,
    when: &[Condition],
    then: &[Change],
) -> Result<Option<Revision>, QuorumError> {
    sim.run(client.commit(when, then)).unwrap()
}

fn is_there(sim: &Sim, key: &str) -> bool {
    let core = sim.lock();
    core.state.quorum.as_ref().unwrap().text(key).is_some()
}

#[test]
fn a_change_is_made_only_where_its_conditions_hold() {
    let (sim, client) = world();
    let absent = [Condition::Absent {
        key: "/a".to_owned(),
    }];
    let made = commit(&sim, &client, &absent, &[put("/a", None)]).unwrap();
    assert!(made.is_some());
    assert_eq!(commit(&sim, &client, &absent, &[put("/a", None)]), Ok(None));
    let as_read = [Condition::ModifiedAt {
        key: "/a".to_owned(),
        modified: made.unwrap(),
    }];
    assert!(matches!(
        commit(&sim, &client, &as_read, &[put("/a", None)]),
        Ok(Some(_))
    ));
    assert_eq!(
        commit(&sim, &client, &as_read, &[put("/a", None)]),
        Ok(None)
    );
}

#[test]
fn a_lease_ends_after_its_time_and_an_election_begins_it_anew() {
    let (sim, client) = world();
    let lease = |sim: &Sim| sim.run(client.lease(seconds(3))).unwrap().unwrap();
    let first = lease(&sim);
    commit(&sim, &client, &[], &[put("/first", Some(first))]).unwrap();
    sim.pass(Duration::from_millis(2_500));
    assert!(is_there(&sim, "/first"));
    sim.pass(seconds(2));
    assert!(!is_there(&sim, "/first"));
    let ended = sim.run(client.renew(first)).unwrap();
    assert_eq!(ended, Err(QuorumError::NoSuchLease(first)));
    // The leader dies with its knowledge of renewals.
    let second = lease(&sim);
    commit(&sim, &client, &[], &[put("/second", Some(second))]).unwrap();
    set(&sim, &Fault::HostDown(host("site1-lb")), true);
    sim.pass(seconds(4));
    assert!(is_there(&sim, "/second"), "{}", sim.lock().story());
    sim.pass(seconds(4));
    assert!(!is_there(&sim, "/second"), "{}", sim.lock().story());
}

#[test]
fn without_a_majority_nothing_ends_and_nothing_is_made() {
    let (sim, client) = world();
    let lease = sim.run(client.lease(seconds(3))).unwrap().unwrap();
    commit(&sim, &client, &[], &[put("/kept", Some(lease))]).unwrap();
    let lost = Fault::QuorumLost(host("site2-lb"));
    set(&sim, &lost, true);
    let unanswered = commit(&sim, &client, &[], &[put("/a", None)]);
    assert!(
        matches!(unanswered, Err(QuorumError::Unanswered { .. })),
        "{unanswered:?}"
    );
    let read = sim.run(client.read("/")).unwrap();
    assert!(
        matches!(read, Err(QuorumError::Unanswered { .. })),
        "{read:?}"
    );
    sim.pass(seconds(20));
    assert!(is_there(&sim, "/kept"));
    set(&sim, &lost, false);
    sim.pass(seconds(3));
    assert_eq!(sim.run(client.renew(lease)), Some(Ok(())));
}

#[test]
fn a_client_behind_a_one_way_cut_changes_without_hearing_of_it() {
    let (sim, client) = world();
    for place in ["site1", "witness"] {
        // Nothing comes back from where the majority is.
        set(&sim, &Fault::Cut(site(place), site("site2")), true);
    }
    // Its own member hears no majority, the others cannot answer.
    let unanswered = commit(&sim, &client, &[], &[put("/a", None)]);
    assert!(matches!(unanswered, Err(QuorumError::Unanswered { .. })));
    let again = commit(&sim, &client, &[], &[put("/b", None)]);
    assert!(matches!(again, Err(QuorumError::Unanswered { .. })));
    assert!(is_there(&sim, "/a") || is_there(&sim, "/b"));
}

#[test]
fn whoever_waits_for_a_change_is_told() {
    let (sim, client) = world();
    let now = sim.run(client.read("/watched")).unwrap().unwrap().revision;
    let wait = client.changed("/watched", now, seconds(5));
    let change = async {
        sim.sleep(seconds(1)).await;
        client.commit(&[], &[put("/watched/a", None)]).await
    };
    let before = sim.lock().now();
    let (told, _) = sim.run(async { futures::join!(wait, change) }).unwrap();
    assert_eq!(told, Ok(true));
    assert!(sim.lock().now() - before < seconds(2));
    let quiet = client.changed("/other", now, seconds(1));
    assert_eq!(sim.run(quiet), Some(Ok(false)));
}
