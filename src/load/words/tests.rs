use std::collections::BTreeSet;

use super::*;
use crate::load::account::Found;

fn sent() -> Vec<Sent> {
    let accepted = (0..40).map(|n| Sent {
        n,
        at_us: n * 10_000,
        took_us: 4_000 + n * 100,
        attempts: 1,
        answer: Answer::Accepted,
    });
    let refused = Sent {
        n: 40,
        at_us: 400_000,
        took_us: 1_000,
        attempts: 1,
        answer: Answer::Refused {
            why: "HTTP 503".into(),
        },
    };
    let unknown = Sent {
        n: 41,
        at_us: 410_000,
        took_us: 2_000_000,
        attempts: 1,
        answer: Answer::Unknown {
            why: "no answer in time".into(),
        },
    };
    accepted.chain([refused, unknown]).collect()
}

fn report(found: Option<&Found>) -> Report {
    Report {
        run: "3f2a91bc".into(),
        kind: Kind::Votes,
        target: "http://vote.example.org/".into(),
        started: "2026-01-02T03:04:05Z".into(),
        interrupted: false,
        unverified: None,
        account: Account::of(&sent(), found, 500),
    }
}

#[test]
fn a_clean_run_reads_well() {
    let persisted: BTreeSet<u64> = (0..40).chain([41]).collect();
    let found = Found {
        persisted,
        ..Found::default()
    };
    let report = report(Some(&found));
    assert!(report.good());
    insta::assert_snapshot!(report.text());
}

#[test]
fn a_loss_is_named() {
    let mut found = Found {
        persisted: (0..38).chain([40]).collect(),
        queued: [38].into(),
        unseen: vec!["Redis on site1-queue cannot be reached: no connection within 2s".into()],
    };
    let report_with_loss = report(Some(&found));
    assert!(!report_with_loss.good());
    insta::assert_snapshot!(report_with_loss.text());
    found.persisted = (0..38).collect();
    found.queued = [38, 39].into();
    assert!(
        report(Some(&found))
            .text()
            .contains("2 still wait in a queue")
    );
}

#[test]
fn what_could_not_be_read_back_is_no_success() {
    let mut report = report(None);
    assert!(
        report
            .text()
            .contains("Not verified: nothing was read back.")
    );
    report.unverified = Some("no database accepts writes".into());
    assert!(!report.good());
    insta::assert_snapshot!(report.text());
    assert_eq!(report.document()["persisted"], serde_json::Value::Null);
    assert_eq!(report.document()["accepted"], 40);
}
