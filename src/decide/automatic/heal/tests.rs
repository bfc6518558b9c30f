use std::time::Duration;

use super::super::scene::{AFTER, Scene, host, replicas};
use crate::{
    decide::{Act, Diagnosis, Memory, Reaction},
    ids::Epoch,
    observation::{Knowledge, MachineState},
    order::Trace,
    plan::Kind,
    ports::store::RunId,
    topology::HealMode,
};

/// A host of each role, none of them the primary's.
const ONE_OF_EACH: [&str; 5] = [
    "site1-app",
    "site1-lb",
    "site2-queue",
    "site2-db",
    "witness",
];

impl Scene {
    /// What is decided when all has stayed as it is for long enough.
    fn at_last(&mut self) -> Reaction {
        let first = self.look(1000);
        assert!(!matches!(first, Reaction::Act(_)), "at once: {first:?}");
        let soon = self.look(1000 + AFTER - 1);
        assert!(!matches!(soon, Reaction::Act(_)), "too soon: {soon:?}");
        self.look(1000 + AFTER)
    }
}

/// The steps of a healing, which it must be.
#[track_caller]
fn steps(reaction: &Reaction) -> Vec<String> {
    let Reaction::Act(Act::Run(plan)) = reaction else {
        panic!("it does not act: {reaction:?}");
    };
    assert_eq!(plan.kind, Kind::Heal);
    assert!(plan.commit().is_none());
    let steps = plan
        .steps
        .iter()
        .map(|planned| planned.step.kind().to_owned());
    let host = plan.heals().expect("it heals").to_string();
    std::iter::once(host).chain(steps).collect()
}

#[track_caller]
fn waits(reaction: &Reaction, word: &str) {
    match reaction {
        Reaction::Wait { why } => assert!(why.contains(word), "{why}"),
        other => panic!("does not wait: {other:?}"),
    }
}

#[test]
fn a_stopped_machine_is_started_once_it_has_been_so_for_long_enough() {
    for name in ONE_OF_EACH {
        let mut scene = Scene::new().state(name, MachineState::Stopped);
        assert_eq!(
            steps(&scene.at_last()),
            [name, "start-machine", "await-host"]
        );
    }
}

#[test]
fn time_counts_anew_after_a_life_in_between() {
    let mut scene = Scene::new().state("site1-app", MachineState::Stopped);
    waits(&scene.look(1000), "stopped");
    let mut scene = scene.state("site1-app", MachineState::Running);
    assert_eq!(scene.look(1060), Reaction::Rest);
    let mut scene = scene.state("site1-app", MachineState::Stopped);
    waits(&scene.look(1000 + AFTER), "stopped");
}

#[test]
fn a_change_of_state_that_is_under_way_is_left_alone() {
    for state in [
        MachineState::Pending,
        MachineState::Stopping,
        MachineState::ShuttingDown,
    ] {
        let mut scene = Scene::new().state("site1-app", state);
        assert_eq!(scene.at_last(), Reaction::Rest, "{state:?}");
    }
}

#[test]
fn unknown_is_no_evidence() {
    let mut scene = Scene::new();
    for seen in scene.snapshot.machines.values_mut() {
        *seen = Knowledge::unknown("the cloud does not answer");
    }
    for seen in scene.snapshot.proxies.values_mut() {
        *seen = Knowledge::unknown("no answer");
    }
    assert_eq!(scene.at_last(), Reaction::Rest);
}

#[test]
fn an_impaired_machine_is_restarted_only_where_all_places_agree() {
    for name in ["site1-lb", "site2-db"] {
        let mut scene = Scene::new().impaired(name);
        assert_eq!(
            steps(&scene.at_last()),
            [name, "stop-machine", "start-machine", "await-host"]
        );
        let mut scene = Scene::new().impaired(name);
        let (_, unreached) = scene.store().unreached.iter_mut().next().unwrap();
        unreached.clear();
        assert_eq!(scene.at_last(), Reaction::Rest, "one place reaches {name}");
        let mut scene = Scene::new().impaired(name);
        scene.store().unreached.pop_first();
        assert_eq!(scene.at_last(), Reaction::Rest, "one place is silent");
    }
    // An application host that serves works, whatever the cloud thinks.
    let mut scene = Scene::new().impaired("site1-app");
    assert_eq!(scene.at_last(), Reaction::Rest);
    for seen in scene.snapshot.proxies.values_mut() {
        *seen = Knowledge::Known(replicas(false));
    }
    let mut scene = Scene {
        memory: Memory::default(),
        ..scene
    };
    let told = scene.at_last();
    assert_eq!(steps(&told)[..2], ["site1-app", "stop-machine"]);
}

#[test]
fn silence_alone_is_no_evidence() {
    let mut scene = Scene::new().impaired("site2-db");
    if let Some(Knowledge::Known(machine)) = scene.snapshot.machines.get_mut(&host("site2-db")) {
        machine.impaired = false;
    }
    assert!(!matches!(scene.at_last(), Reaction::Act(_)));
}

#[test]
fn the_holder_of_the_right_to_write_is_never_touched() {
    for state in [MachineState::Stopped, MachineState::Terminated] {
        let mut scene = Scene::new().state("site1-db", state);
        waits(&scene.at_last(), "site1-db holds the right to write");
    }
}

#[test]
fn nothing_is_healed_while_nobody_holds_the_right() {
    let mut scene = Scene::new().state("site1-app", MachineState::Stopped);
    scene.store().primary = None;
    for at in [1000, 1000 + 2 * AFTER] {
        if let Reaction::Act(Act::Run(plan)) = scene.look(at) {
            assert_ne!(plan.kind, Kind::Heal);
        }
    }
}

#[test]
fn a_database_waits_until_the_cooldown_of_the_failover_has_ended() {
    let mut scene = Scene::new().state("site2-db", MachineState::Stopped);
    if let Some(Knowledge::Known(machine)) = scene.snapshot.machines.get_mut(&host("site2-db")) {
        machine.deposed = Some(Trace {
            epoch: Epoch(2),
            run: "20260101".to_owned(),
        });
    }
    scene.store().cooling = Some("20260101".to_owned());
    waits(&scene.at_last(), "cooldown after run 20260101");
    scene.store().cooling = None;
    let healed = scene.look(1000 + AFTER);
    assert_eq!(steps(&healed), ["site2-db", "start-machine", "await-host"]);
}

#[test]
fn what_is_gone_is_told() {
    let mut scene = Scene::new().state("site1-app", MachineState::Terminated);
    waits(&scene.at_last(), "hafail deploy makes it anew");
}

#[test]
fn a_machine_that_is_gone_is_made_anew_where_that_is_stated() {
    for name in ONE_OF_EACH {
        let mut scene = Scene::new().state(name, MachineState::Terminated);
        scene.policy.heal.mode = HealMode::Replace;
        assert_eq!(
            steps(&scene.at_last()),
            [name, "make-machine", "configure", "await-host"]
        );
    }
    let mut scene = Scene::new().state("site1-db", MachineState::Terminated);
    scene.policy.heal.mode = HealMode::Replace;
    waits(&scene.at_last(), "site1-db holds the right to write");
    let mut scene = Scene::new().state("site1-app", MachineState::Stopped);
    scene.policy.heal.mode = HealMode::Replace;
    assert_eq!(
        steps(&scene.at_last())[1],
        "start-machine",
        "what is there is kept"
    );
}

#[test]
fn nothing_is_healed_where_that_is_off_or_held_back() {
    let stopped = || Scene::new().state("site1-app", MachineState::Stopped);
    let mut scene = stopped();
    scene.policy.heal.mode = HealMode::Off;
    assert_eq!(scene.at_last(), Reaction::Rest);
    let mut scene = stopped();
    scene.store().locked = true;
    waits(&scene.at_last(), "a run is under way");
    let mut scene = stopped();
    scene.policy.observe = true;
    assert!(matches!(scene.at_last(), Reaction::Withheld { .. }));
    let mut scene = stopped();
    scene.store().paused = Some("new disks".to_owned());
    assert!(matches!(scene.at_last(), Reaction::Withheld { .. }));
}

#[test]
fn machines_are_healed_one_after_another_within_the_limit() {
    let mut scene = Scene::new()
        .state("site1-app", MachineState::Stopped)
        .state("site2-lb", MachineState::Stopped);
    // The load balancer first: many depend on it.
    assert_eq!(steps(&scene.at_last())[0], "site2-lb");
    let healed = |scene: &mut Scene, run: &str, name: &str| {
        scene.store().healed.insert(run.to_owned(), host(name));
    };
    let mut scene = scene.state("site2-lb", MachineState::Running);
    for (run, name) in [("1", "site2-lb"), ("2", "site2-app")] {
        healed(&mut scene, run, name);
        assert_eq!(steps(&scene.look(2000))[0], "site1-app");
    }
    healed(&mut scene, "3", "witness");
    let Reaction::Withheld { why, .. } = scene.look(2000) else {
        panic!("the limit is reached");
    };
    assert!(why.contains("at_most is 3 within 30 minutes"), "{why}");
}

#[test]
fn the_same_machine_is_not_healed_again_and_again() {
    let mut scene = Scene::new().state("site1-app", MachineState::Stopped);
    for run in ["1", "2"] {
        assert_eq!(steps(&scene.at_last())[0], "site1-app");
        scene.memory = Memory::default();
        scene
            .store()
            .healed
            .insert(run.to_owned(), host("site1-app"));
    }
    assert!(matches!(scene.at_last(), Reaction::Withheld { .. }));
}

#[test]
fn a_healing_or_rejoin_that_was_broken_off_never_keeps_a_failover_back() {
    let run = RunId("20260101".to_owned());
    let mut scene = Scene::new();
    scene.past.unfinished = Some(run.clone());
    scene.past.gives_way = true;
    assert_eq!(scene.look(1000), Reaction::Act(Act::Resume(run.clone())));
    // Tried once in vain, or nobody holds the right to write.
    let resume = Act::Resume(run.clone());
    scene.memory.failed(&resume, Duration::from_secs(1001));
    let given_up = Reaction::Act(Act::Abandon(run));
    assert_eq!(scene.look(1001), given_up, "at once");
    scene.memory = Memory::default();
    scene.store().primary = None;
    assert_eq!(scene.look(1011), given_up);
}

#[test]
fn a_run_that_cannot_end_keeps_nothing_back_for_ever() {
    let run = RunId("20260101".to_owned());
    let resume = Act::Resume(run.clone());
    let mut scene = Scene::new();
    scene.past.unfinished = Some(run.clone());
    let again = Reaction::Act(resume.clone());
    for time in [1000, 2000, 3000] {
        assert_eq!(scene.look(time), again);
        scene.memory.failed(&resume, Duration::from_secs(time));
    }
    // Something is left of it that nobody else would do.
    assert_eq!(scene.look(4000), again);
    scene.past.can_be_left = true;
    assert_eq!(scene.look(4000), Reaction::Act(Act::Abandon(run)));
}

#[test]
fn a_service_that_answers_nobody_is_said() {
    let mut scene = Scene::new();
    let mut balancer = replicas(false);
    let said = |scene: &mut Scene| {
        let findings = scene.verdict(1000).findings.into_iter();
        findings
            .filter(|finding| finding.diagnosis == Diagnosis::ServiceDown)
            .map(|finding| (finding.subject, finding.evidence))
            .collect::<Vec<_>>()
    };
    scene
        .snapshot
        .proxies
        .insert(host("site2-lb"), Knowledge::Known(balancer.clone()));
    assert_eq!(said(&mut scene), [], "one of two is up");
    for server in balancer
        .values_mut()
        .flat_map(|servers| servers.values_mut())
    {
        server.up = false;
    }
    scene
        .snapshot
        .proxies
        .insert(host("site2-lb"), Knowledge::Known(balancer));
    let evidence = "site2-lb has 0 of 2 servers up for vote".to_owned();
    assert_eq!(said(&mut scene), [("vote".to_owned(), vec![evidence])]);
    assert_eq!(scene.look(1000), Reaction::Rest);
}

#[test]
fn a_silent_member_of_the_store_is_said_and_no_reason_to_act() {
    let mut scene = Scene::new();
    let why = "cannot be seen (no answer)".to_owned();
    scene.store().silent.insert("witness".to_owned(), why);
    let verdict = scene.verdict(1000);
    assert_eq!(verdict.reaction, Reaction::Rest);
    let finding = verdict.findings.last().unwrap();
    assert_eq!(finding.diagnosis, Diagnosis::StoreDegraded);
    assert_eq!(
        finding.evidence,
        ["the member on witness cannot be seen (no answer)"]
    );
}
