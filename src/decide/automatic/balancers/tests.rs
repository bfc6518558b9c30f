use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::super::scene::{Scene, guard, host};
use crate::{
    decide::{Act, Reaction},
    observation::{Knowledge, QueueRole, QueueStatus},
    plan::Kind,
};

fn queue(role: QueueRole) -> Knowledge<QueueStatus> {
    Knowledge::Known(QueueStatus {
        role,
        offset: 0,
        votes: 0,
    })
}

fn copy_of(of: &str) -> Knowledge<QueueStatus> {
    queue(QueueRole::Replica {
        of: of.to_owned(),
        linked: true,
    })
}

/// site1-db is primary, and site2-db still wants to be.
fn old_primary_is_back(queues: [(&str, Knowledge<QueueStatus>); 2]) -> Scene {
    let mut scene = Scene::new();
    let old = guard("site2-db", &json!("primary"), &json!({"state": "stopped"}));
    let guards = &mut scene.snapshot.guards;
    guards.insert(host("site2-db"), Knowledge::Known(old));
    let queues = queues.map(|(name, status)| (host(name), status));
    scene.snapshot.queues = BTreeMap::from(queues);
    scene
}

#[track_caller]
fn run(reaction: &Reaction) -> Kind {
    match reaction {
        Reaction::Act(Act::Run(plan)) => plan.kind,
        other => panic!("it does not act: {other:?}"),
    }
}

/// The rejoin lets the other queue copy the active one, which must be active
/// for that; and votes are refused meanwhile.
#[test]
fn an_active_queue_that_takes_no_votes_goes_before_a_rejoin() {
    let mut scene = old_primary_is_back([
        ("site1-queue", copy_of("site2-queue")),
        ("site2-queue", queue(QueueRole::Master { replicas: 1 })),
    ]);
    scene.look(1000);
    let reaction = scene.look(1003);
    assert_eq!(run(&reaction), Kind::Redirect);

    let Reaction::Act(act) = reaction else {
        unreachable!("it acts")
    };
    scene.memory.failed(&act, Duration::from_secs(1004));
    assert_eq!(
        run(&scene.look(1100)),
        Kind::Rejoin,
        "it waits for no redirection that fails"
    );
}

/// The rejoin mends it as well.
#[test]
fn a_queue_that_copies_nothing_does_not() {
    let mut scene = old_primary_is_back([
        ("site1-queue", queue(QueueRole::Master { replicas: 0 })),
        ("site2-queue", queue(QueueRole::Master { replicas: 0 })),
    ]);
    scene.look(1000);
    assert_eq!(run(&scene.look(1003)), Kind::Rejoin);
}
