//! Plans and refusals as users read them, held in `tests/golden`. Write them
//! anew with `INSTA_UPDATE=always`, then read the difference.

#[path = "simulation/scenario.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod scenario;

use hafail::{
    decide::{Allowance, Intent, Past, Reason, Refusal},
    ground::Ground,
    ids::Lsn,
    journal::{Entry, Event, past},
    observation::{Knowledge, WriteAnswer},
    order::{PostgresState, Trace, WantedRole},
    plan::Plan,
    ports::store::RunId,
    report::report,
    sim::{Answer, Operator, Settings, Sim, fault::Fault, recover::plain},
    step::Step,
    topology::{Cutover, Replication, Role, Topology},
};
use scenario::{Scenario, host, seconds, site};

fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

/// What is seen in a healthy world, to be changed as a test needs it.
fn healthy(replication: Replication) -> (Topology, Ground) {
    let sim = Sim::new(Settings::new(replication), 1);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    let ground = sim.run(operator.look()).unwrap();
    let topology = sim.lock().state.topology().clone();
    (topology, ground)
}

/// The site of the primary has lost power.
fn dark(replication: Replication) -> (Topology, Ground) {
    let sim = Sim::new(Settings::new(replication), 1);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    Fault::SiteDown(site("site1")).set(&mut sim.lock(), true);
    let ground = sim.run(operator.look()).unwrap();
    let topology = sim.lock().state.topology().clone();
    (topology, ground)
}

#[test]
fn plans_read_well() {
    let (topology, ground) = healthy(Replication::Synchronous);
    let switchover = ground
        .failover(&topology, &plain("us-east-1", None))
        .unwrap();
    golden("plan-switchover", &switchover.to_string());
    let mut checked = topology.clone();
    checked.dns.as_mut().unwrap().cutover = Cutover::HealthCheck;
    let switchover = ground
        .failover(&checked, &plain("us-east-1", None))
        .unwrap();
    golden("plan-switchover-health-checks", &switchover.to_string());
    let (topology, mut ground) = dark(Replication::Synchronous);
    let failover = ground
        .failover(&topology, &plain("us-east-1", None))
        .unwrap();
    golden("plan-failover-site-dark", &failover.to_string());
    for (name, machine) in &mut ground.snapshot.machines {
        if *name != host("site2-db") {
            *machine = Knowledge::unknown("the cloud does not answer");
        }
    }
    let mut vouched = plain("us-east-1", None);
    vouched.fenced_by_operator = Some("the data centre confirmed the power is off".to_owned());
    vouched.database_only = true;
    let plan = ground.failover(&topology, &vouched).unwrap();
    golden("plan-failover-vouched-database-only", &plan.to_string());
    let (asynchronous, mut ground) = healthy(Replication::Asynchronous);
    for answer in ground.snapshot.writes.values_mut() {
        *answer = Knowledge::Known(WriteAnswer::NotAcknowledged {
            why: "no answer within 5 s".to_owned(),
        });
    }
    let plan = ground
        .failover(
            &asynchronous,
            &plain("us-east-1", Some(Allowance::Bytes(10_000))),
        )
        .unwrap();
    golden("plan-failover-asynchronous", &plan.to_string());
    let (sim, operator) = Scenario::Rejoin(Replication::Synchronous).prepare();
    let ground = sim.run(operator.look()).unwrap();
    let rejoin = ground.rejoin(&topology, "site1-db").unwrap();
    golden("plan-rejoin", &rejoin.to_string());
}

#[test]
fn a_plan_survives_its_own_document() {
    let (topology, ground) = healthy(Replication::Synchronous);
    let plan = ground
        .failover(&topology, &plain("us-east-1", None))
        .unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plan);
    assert_eq!(read.digest(), plan.digest());
}

#[test]
fn reports_read_well() {
    let cases = [
        (
            "report-switchover",
            Scenario::Switchover(Replication::Synchronous),
        ),
        (
            "report-failover",
            Scenario::SiteLost(Replication::Synchronous),
        ),
        (
            "report-failover-loss-unknown",
            Scenario::SiteLost(Replication::Asynchronous),
        ),
        ("report-rejoin", Scenario::Rejoin(Replication::Synchronous)),
    ];
    for (name, scenario) in cases {
        let (entries, _) = scenario.unbroken();
        let Event::RunStarted(started) = &entries[0].event else {
            panic!("a run begins with its start");
        };
        let report = report(&started.run, &entries).unwrap();
        assert_eq!(report.outcome, "succeeded");
        assert!(report.steps.iter().all(|step| step.duration_ms.is_some()));
        golden(name, &report.to_string());
    }
}

/// Every refusal with its id, its evidence and the next command.
#[test]
fn refusals_read_well() {
    let mut texts = Vec::new();
    for refusal in refusals() {
        assert!(!refusal.next.is_empty(), "{refusal:?} has no way on");
        assert!(!refusal.evidence.is_empty(), "{refusal:?} has no evidence");
        texts.push((refusal.reason, describe(&refusal)));
    }
    texts.sort();
    let seen: std::collections::BTreeSet<_> = texts.iter().map(|(reason, _)| *reason).collect();
    let missing: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| !seen.contains(reason))
        .collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
    let texts: Vec<_> = texts.into_iter().map(|(_, text)| text).collect();
    golden("refusals", &texts.join("\n"));
}

fn describe(refusal: &Refusal) -> String {
    let mut text = format!("{}: {}\n", refusal.reason.id(), refusal.message);
    for line in &refusal.evidence {
        text += &format!("  saw   {line}\n");
    }
    for line in &refusal.next {
        text += &format!("  next  {line}\n");
    }
    text
}

fn refusals() -> Vec<Refusal> {
    let mut all = switchover_refusals();
    all.extend(failover_refusals());
    all.extend(rejoin_refusals());
    all
}

fn switchover_refusals() -> Vec<Refusal> {
    let (topology, ground) = healthy(Replication::Synchronous);
    let refused = |change: &dyn Fn(&mut Ground)| {
        let mut ground = ground.clone();
        change(&mut ground);
        ground
            .failover(&topology, &plain("us-east-1", None))
            .unwrap_err()
    };
    let mut single = topology.clone();
    single.sites.remove(&site("site2"));
    vec![
        ground
            .failover(&topology, &plain("mars-1", None))
            .unwrap_err(),
        ground
            .failover(&single, &plain("eu-west-1", None))
            .unwrap_err(),
        ground
            .failover(&topology, &plain("eu-west-1", None))
            .unwrap_err(),
        refused(&|ground| ground.past.unfinished = Some(RunId("20260101000000-abcdef".to_owned()))),
        refused(&|ground| postgres(ground, "site2-db").state = PostgresState::Primary),
        refused(&|ground| unseen(ground, "site2-db")),
        refused(&|ground| postgres(ground, "site2-db").state = PostgresState::Stopped),
        refused(&|ground| postgres(ground, "site1-db").standbys.clear()),
        refused(&|ground| postgres(ground, "site1-db").written = Some(Lsn(0x400_0000))),
        refused(&|ground| postgres(ground, "site1-db").timeline = Some(hafail::ids::Timeline(3))),
        refused(&|ground| {
            let why = "no answer within 2 s";
            ground
                .snapshot
                .proxies
                .insert(host("site1-lb"), Knowledge::unknown(why));
        }),
        refused(&|ground| {
            for record in ground.snapshot.records.values_mut() {
                *record = Knowledge::unknown("the zone's API cannot be reached");
            }
        }),
    ]
}

fn failover_refusals() -> Vec<Refusal> {
    let (topology, ground) = dark(Replication::Synchronous);
    let mut unproved = ground.clone();
    for machine in unproved.snapshot.machines.values_mut() {
        *machine = Knowledge::unknown("the cloud does not answer");
    }
    let mut elsewhere = ground.clone();
    let theirs = status(&mut elsewhere, "site2-db");
    theirs.epoch = hafail::ids::Epoch(9);
    theirs.run = Some("20260101000000-abcdef".to_owned());
    let vouched = Intent {
        fenced_by_operator: Some("the power is off".to_owned()),
        ..plain("us-east-1", None)
    };
    let (asynchronous, lost) = dark(Replication::Asynchronous);
    let wanted = Intent {
        allow_data_loss: Some(Allowance::Bytes(4096)),
        ..plain("us-east-1", None)
    };
    vec![
        unproved
            .failover(&topology, &plain("us-east-1", None))
            .unwrap_err(),
        elsewhere
            .failover(&topology, &plain("us-east-1", None))
            .unwrap_err(),
        unproved.failover(&topology, &vouched).unwrap_err(),
        lost.failover(&asynchronous, &wanted).unwrap_err(),
    ]
}

fn rejoin_refusals() -> Vec<Refusal> {
    let (topology, ground) = healthy(Replication::Synchronous);
    let (_, darkness) = dark(Replication::Synchronous);
    let mut unseen_standby = ground.clone();
    unseen(&mut unseen_standby, "site2-db");
    vec![
        ground.rejoin(&topology, "site9-db").unwrap_err(),
        ground.rejoin(&topology, "site1-db").unwrap_err(),
        ground.rejoin(&topology, "site2-db").unwrap_err(),
        darkness.rejoin(&topology, "site1-db").unwrap_err(),
        unseen_standby.rejoin(&topology, "site2-db").unwrap_err(),
    ]
}

#[test]
fn a_primary_that_rebooted_can_be_promoted_in_place() {
    let (topology, mut ground) = healthy(Replication::Synchronous);
    let rebooted = status(&mut ground, "site1-db");
    rebooted.wanted = WantedRole::Standby { upstream: None };
    rebooted.postgres.state = PostgresState::Standby;
    rebooted.postgres.received = rebooted.postgres.written.take();
    let plan = ground
        .failover(&topology, &plain("eu-west-1", None))
        .unwrap();
    assert_eq!((plan.new, plan.old), (host("site1-db"), host("site2-db")));
    assert_eq!(topology.hosts_with(Role::Db).count(), 2);
}

fn status<'a>(ground: &'a mut Ground, name: &str) -> &'a mut hafail::order::GuardStatus {
    match ground.snapshot.guards.get_mut(&host(name)) {
        Some(Knowledge::Known(status)) => status,
        other => panic!("{name} is {other:?}"),
    }
}

fn postgres<'a>(ground: &'a mut Ground, name: &str) -> &'a mut hafail::order::Postgres {
    &mut status(ground, name).postgres
}

fn unseen(ground: &mut Ground, name: &str) {
    ground
        .snapshot
        .guards
        .insert(host(name), Knowledge::unknown("no answer within 2 s"));
}

#[test]
fn a_refused_command_gives_no_orders() {
    let sim = Sim::new(Settings::new(Replication::Synchronous), 1);
    let operator = Operator::new(&sim, "ann");
    sim.pass(seconds(1));
    let answer = sim
        .run(operator.failover(&plain("eu-west-1", None)))
        .unwrap();
    assert!(matches!(answer, Answer::Refused(_)));
    assert!(sim.lock().state.ledger.orders.is_empty());
}

/// Both databases rebooted and are standbys; the one that was promoted last
/// has all that was acknowledged since, whatever the topology says.
#[test]
fn a_newer_timeline_elsewhere_refuses_the_first_primary() {
    let (topology, mut ground) = healthy(Replication::Synchronous);
    for name in ["site1-db", "site2-db"] {
        let rebooted = status(&mut ground, name);
        rebooted.wanted = WantedRole::Standby { upstream: None };
        rebooted.postgres.state = PostgresState::Standby;
        rebooted.postgres.received = Some(Lsn(0x300_1000));
        rebooted.postgres.written = None;
    }
    postgres(&mut ground, "site2-db").timeline = Some(hafail::ids::Timeline(2));
    let refusal = ground
        .failover(&topology, &plain("eu-west-1", None))
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::WrongTimeline);
    let plan = ground
        .failover(&topology, &plain("us-east-1", None))
        .unwrap();
    assert_eq!(plan.new, host("site2-db"));
}

/// The first primary is back, the other database is dark: without a complete
/// journal nothing says that nobody was promoted meanwhile.
#[test]
fn a_first_primary_is_not_the_last_one_by_default() {
    let (topology, mut ground) = healthy(Replication::Synchronous);
    let rebooted = status(&mut ground, "site1-db");
    rebooted.wanted = WantedRole::Standby { upstream: None };
    rebooted.epoch = hafail::ids::Epoch(5);
    rebooted.postgres.state = PostgresState::Standby;
    rebooted.postgres.received = rebooted.postgres.written.take();
    unseen(&mut ground, "site2-db");
    let refusal = ground
        .failover(&topology, &plain("eu-west-1", None))
        .unwrap_err();
    assert_eq!(refusal.reason, Reason::NotKnownInSync);
}

/// It was stopped from outside and another database promoted, says its
/// machine; its own guard and the journal here know nothing of that.
#[test]
fn a_deposed_primary_is_not_promoted_by_those_who_did_not_depose_it() {
    let (topology, mut ground) = healthy(Replication::Synchronous);
    let rebooted = status(&mut ground, "site1-db");
    rebooted.wanted = WantedRole::Standby { upstream: None };
    rebooted.postgres.state = PostgresState::Standby;
    rebooted.postgres.received = rebooted.postgres.written.take();
    unseen(&mut ground, "site2-db");
    let here = plain("eu-west-1", None);
    assert_eq!(
        ground.failover(&topology, &here).unwrap().new,
        host("site1-db")
    );
    let Some(Knowledge::Known(machine)) = ground.snapshot.machines.get_mut(&host("site1-db"))
    else {
        panic!("the machine is seen");
    };
    machine.deposed = Some(Trace {
        epoch: hafail::ids::Epoch(3),
        run: "20260101000000-abcdef".to_owned(),
    });
    let refusal = ground.failover(&topology, &here).unwrap_err();
    assert_eq!(refusal.reason, Reason::NotKnownInSync);
    ground
        .past
        .runs
        .insert(RunId("20260101000000-abcdef".to_owned()));
    assert!(
        ground.failover(&topology, &here).is_ok(),
        "it is our own run"
    );
}

/// A deployment that was destroyed and made anew begins with an empty past.
#[test]
fn runs_of_destroyed_databases_are_no_past() {
    let (entries, _) = Scenario::SiteLost(Replication::Synchronous).unbroken();
    let all = [entries[..entries.len() - 1].to_vec()];
    let (_, ground) = healthy(Replication::Synchronous);
    let same = past(&all, &ground.snapshot.clusters()).unwrap();
    assert_eq!(same.primary, Some(host("site2-db")));
    assert!(same.unfinished.is_some());
    let unseen = past(&all, &Default::default()).unwrap();
    assert!(unseen.unfinished.is_some(), "nothing says that it is gone");
    let other = past(&all, &["7400000000000000002".to_owned()].into()).unwrap();
    assert_eq!(other, Past::default());
}

/// The promotion and the names are what nobody else would see to.
#[test]
fn a_run_can_be_left_once_it_has_promoted_and_moved_the_names() {
    let (entries, _) = Scenario::SiteLost(Replication::Synchronous).unbroken();
    let Event::RunStarted(started) = &entries[0].event else {
        panic!("a run begins with its start");
    };
    let done = |wanted: fn(&Step) -> bool| {
        let is_done = |entry: &Entry| match &entry.event {
            Event::StepDone { step, .. } => wanted(&started.plan.step(*step).unwrap().step),
            _ => false,
        };
        entries.iter().position(is_done).unwrap()
    };
    let promoted = done(|step| matches!(step, Step::Promote { .. }));
    let moved = done(|step| matches!(step, Step::MoveRecords { .. }));
    for length in 2..entries.len() {
        let past = past(&[entries[..length].to_vec()], &Default::default()).unwrap();
        let last = length - 1;
        assert_eq!(past.can_be_left, last >= promoted.max(moved), "{length}");
    }
    let ended = past(&[entries], &Default::default()).unwrap();
    assert!(!ended.can_be_left, "nothing is open");
}
