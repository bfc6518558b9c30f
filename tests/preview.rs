//! What `plan` says of hosts: golden texts, and dry runs on this machine.
//! `INSTA_UPDATE=always` writes the texts anew; read the difference.

#[path = "preview/local.rs"]
mod local;

use hafail::{
    configure::{
        Entry, Failure, Untold,
        outlook::{Findings, Outlook, Outlooks},
    },
    ids::HostName,
};
use local::{Machine, dry_run};

fn golden(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

fn change(name: &str, step: &str, what: &str, diff: Option<&str>) -> Entry {
    Entry {
        host: host(name),
        play: "HAProxy".to_owned(),
        step: step.to_owned(),
        what: what.to_owned(),
        diff: diff.map(str::to_owned),
        milliseconds: 0,
    }
}

fn failure(name: &str) -> Failure {
    Failure {
        host: host(name),
        play: "guard".to_owned(),
        step: "this host can run the guard".to_owned(),
        place: "playbooks/deploy-guard.yaml:7:3".to_owned(),
        why: "the hafail program given runs on x86_64\nand this host is not that".to_owned(),
        remedy: "name one with --agent-binary FILE".to_owned(),
        unreachable: false,
        unusable: false,
    }
}

/// One host of each kind, and two that have the same to be said of them.
fn one_of_each() -> Outlooks {
    let unknown = Outlook::Unknown {
        why: "cannot connect to site2-lb at 192.0.2.7:22: Connection refused".to_owned(),
        remedy: "see whether site2-lb runs".to_owned(),
    };
    let balancer = Findings {
        changes: vec![
            change(
                "site1-lb",
                "configuration",
                "the content differs",
                Some("@@ line 3 @@\n     a\n-b\n+c"),
            ),
            change("site1-lb", "reload HAProxy", "would run", None),
        ],
        untold: vec![Untold {
            host: host("site1-lb"),
            play: "a vote goes through".to_owned(),
            step: "canary vote is accepted".to_owned(),
            why: "a dry run leaves it out".to_owned(),
        }],
        ..Findings::default()
    };
    let database = Findings {
        changes: vec![change("site1-db", "home of data", "does not exist", None)],
        failures: vec![failure("site1-db")],
        ..Findings::default()
    };
    let why = "its instance does not exist yet".to_owned();
    let hosts = [
        ("site1-app", Outlook::Seen(Findings::default())),
        ("site1-db", Outlook::Seen(database)),
        ("site1-lb", Outlook::Seen(balancer)),
        ("site1-queue", Outlook::FromNothing { why }),
        ("site2-app", unknown.clone()),
        ("site2-lb", unknown),
    ];
    Outlooks {
        hosts: hosts
            .into_iter()
            .map(|(name, it)| (host(name), it))
            .collect(),
        notes: vec!["no address is known yet of site1-queue".to_owned()],
    }
}

#[test]
fn hosts_of_a_plan_as_people_read_them() {
    golden("plan-hosts", &one_of_each().text());
}

#[test]
fn hosts_of_a_plan_for_programs() {
    let document = serde_json::to_string_pretty(&one_of_each().document()).unwrap();
    golden("plan-hosts-json", &document);
}

#[test]
fn only_what_was_seen_as_it_should_be_is_settled() {
    let of = |outlook| Outlooks {
        hosts: [(host("site1-app"), outlook)].into(),
        notes: Vec::new(),
    };
    let seen = |findings| of(Outlook::Seen(findings)).is_settled();
    let each = one_of_each();
    for name in ["site1-db", "site1-lb", "site1-queue", "site2-app"] {
        let outlook = each.hosts[name].clone();
        assert!(!of(outlook).is_settled(), "{name}");
    }
    assert!(seen(Findings::default()));
    let Outlook::Seen(Findings { untold, .. }) = each.hosts["site1-lb"].clone() else {
        panic!("it was seen");
    };
    // A deployment that was just made must be able to show no difference.
    assert!(seen(Findings {
        untold,
        ..Findings::default()
    }));
}

const BEFORE: &str = r#"
- name: something is missing
  hosts: all
  steps:
  - name: a file that is not there
    file: { dest: /nonexistent-hafail-test/file, content: "new\n" }
"#;

const AFTER: &str = r#"
- name: what stands on it
  hosts: all
  steps:
  - name: a look
    assert: { script: "false", message: it is not so }
  - name: a wait
    wait: { script: "false", within: 2s }
  - name: a script that fails where it looks
    directory: { path: /etc/hostname/below }
  - name: a script that tells
    run: { script: "echo ran >> $HAFAIL_TEST_TRACE; exit 3", changed_when: { status: 3 } }
  - name: a script that only acts
    run: { script: "echo ran >> $HAFAIL_TEST_TRACE", changed_when: { never: true } }
  - name: a script that looks
    run: { script: echo seen, changed_when: { never: true }, show: true }
"#;

#[tokio::test]
async fn what_stands_on_changes_does_not_fail_a_dry_run() {
    let machine = Machine::default();
    let report = dry_run(&machine, &format!("{BEFORE}{AFTER}")).await;
    assert!(report.succeeded(), "{report:?}");
    let changed: Vec<&str> = report.changed.iter().map(|it| it.step.as_str()).collect();
    assert!(changed.contains(&"a file that is not there"), "{changed:?}");
    let untold: Vec<&str> = report.untold.iter().map(|it| it.step.as_str()).collect();
    for step in ["a look", "a wait", "a script that tells"] {
        assert!(untold.contains(&step), "{step}: {untold:?}");
        assert!(!changed.contains(&step), "{step}: {changed:?}");
    }
    assert!(!machine.trace.exists(), "no script ran");
}

#[tokio::test]
async fn what_fails_by_itself_fails_a_dry_run() {
    let machine = Machine::default();
    let report = dry_run(&machine, AFTER).await;
    let failed: Vec<&str> = report.failed.iter().map(|it| it.step.as_str()).collect();
    assert_eq!(failed.first(), Some(&"a look"), "{report:?}");
    assert!(!report.failed[0].unreachable);
    assert!(!machine.trace.exists(), "no script ran");
}

#[tokio::test]
async fn a_host_that_is_lost_on_the_way_is_unknown() {
    let lost = host("site1-db");
    let machine = Machine::losing(lost.clone());
    let report = dry_run(&machine, &format!("{BEFORE}{AFTER}")).await;
    let asked = machine.asked.lock().unwrap();
    assert_eq!(
        asked.iter().filter(|host| **host == lost).count(),
        1,
        "a lost host is not asked again: {asked:?}"
    );
    drop(asked);
    let mut outlooks = Outlooks::default();
    outlooks.add(&report);
    let tally = outlooks.tally();
    assert_eq!((tally.unknown, tally.failing), (1, 0), "{tally:?}");
    assert!(matches!(
        &outlooks.hosts[&lost],
        Outlook::Unknown { why, .. } if why.contains("the connection to site1-db broke")
    ));
    assert!(tally.change > 0, "the others were seen: {tally:?}");
}
