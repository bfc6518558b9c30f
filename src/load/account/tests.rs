use proptest::prelude::*;

use super::*;

fn vote(n: u64, at_ms: u64, took_ms: u64, answer: Answer) -> Sent {
    Sent {
        n,
        at_us: at_ms * 1000,
        took_us: took_ms * 1000,
        attempts: 1,
        answer,
    }
}

fn refused() -> Answer {
    Answer::Refused {
        why: "HTTP 503".into(),
    }
}

fn unknown() -> Answer {
    Answer::Unknown {
        why: "no answer".into(),
    }
}

fn found(persisted: &[u64], queued: &[u64]) -> Found {
    Found {
        persisted: persisted.iter().copied().collect(),
        queued: queued.iter().copied().collect(),
        unseen: Vec::new(),
    }
}

#[test]
fn each_level_and_each_difference_is_counted() {
    let sent = [
        vote(0, 0, 10, Answer::Accepted),
        vote(1, 10, 10, Answer::Accepted),
        vote(2, 20, 10, Answer::Accepted),
        vote(3, 30, 10, refused()),
        vote(4, 40, 10, refused()),
        vote(5, 50, 10, unknown()),
        vote(6, 60, 40, unknown()),
    ];
    // 0 stored, 1 waiting, 2 nowhere, 4 stored though refused, 5 stored.
    let account = Account::of(&sent, Some(&found(&[0, 4, 5], &[1, 0])), 50);
    assert_eq!(
        (
            account.sent,
            account.accepted,
            account.refused,
            account.unknown
        ),
        (7, 3, 2, 2)
    );
    assert_eq!(account.persisted, Some(3));
    assert_eq!(account.queued, Some(1), "0 is in the database already");
    assert_eq!(
        (account.lost, account.lost_ids.as_slice()),
        (Some(1), &[2][..])
    );
    assert_eq!(
        (account.phantom, account.phantom_ids.as_slice()),
        (Some(1), &[4][..])
    );
    assert_eq!(account.unknown_persisted, Some(1));
    assert_eq!(account.why["HTTP 503"], 2);
    assert_eq!(account.why["no answer"], 2);
    assert!(!account.clean());
}

#[test]
fn what_was_not_read_back_is_not_claimed() {
    let sent = [vote(0, 0, 10, Answer::Accepted)];
    let account = Account::of(&sent, None, 50);
    assert_eq!(account.accepted, 1);
    assert_eq!(
        (
            account.persisted,
            account.queued,
            account.lost,
            account.phantom
        ),
        (None, None, None, None)
    );
    assert!(account.clean());
}

#[test]
fn nothing_sent_counts_nothing() {
    let account = Account::of(&[], Some(&found(&[], &[])), 1);
    assert_eq!(
        (account.sent, account.lost, account.longest_gap_ms),
        (0, Some(0), 0)
    );
    assert!(account.gaps.is_empty());
}

#[test]
fn gaps_run_between_acceptances_and_reach_the_edges() {
    // Accepted at 10 and 20 ms, then refusals until 400 ms, then at 410 and
    // 500 ms, then silence until 700 ms.
    let sent = [
        vote(0, 0, 10, Answer::Accepted),
        vote(1, 5, 15, Answer::Accepted),
        vote(2, 30, 370, refused()),
        vote(3, 400, 10, Answer::Accepted),
        vote(4, 420, 80, Answer::Accepted),
        vote(5, 510, 190, unknown()),
    ];
    let account = Account::of(&sent, None, 100);
    assert_eq!(account.longest_gap_ms, 390);
    assert_eq!(
        account.gaps,
        [
            Gap {
                start_ms: 20,
                length_ms: 390
            },
            Gap {
                start_ms: 500,
                length_ms: 200
            },
        ]
    );
    assert_eq!(account.duration_ms, 700);
    assert!(
        (account.throughput_per_s - 5.7).abs() < 0.01,
        "{}",
        account.throughput_per_s
    );
}

#[test]
fn a_run_without_any_acceptance_is_one_gap() {
    let sent = [vote(0, 100, 50, refused()), vote(1, 200, 50, unknown())];
    let account = Account::of(&sent, None, 10);
    assert_eq!(
        account.gaps,
        [Gap {
            start_ms: 100,
            length_ms: 150
        }]
    );
    assert!(account.throughput_per_s.abs() < f64::EPSILON);
}

#[test]
fn latency_is_that_of_accepted_votes() {
    let mut sent: Vec<Sent> = (0..100)
        .map(|n| vote(n, n, n + 1, Answer::Accepted))
        .collect();
    sent.push(vote(100, 0, 60_000, unknown()));
    let latency = Account::of(&sent, None, 10).latency_ms;
    assert!((latency.p50 - 50.0).abs() < 0.5, "{latency:?}");
    assert!((latency.p90 - 90.0).abs() < 0.5, "{latency:?}");
    assert!((latency.p99 - 99.0).abs() < 0.5, "{latency:?}");
    assert!((latency.max - 100.0).abs() < 0.5, "{latency:?}");
}

#[test]
fn a_second_attempt_adds_knowledge_and_removes_none() {
    let table = [
        (refused(), Answer::Accepted, Answer::Accepted),
        (unknown(), Answer::Accepted, Answer::Accepted),
        (unknown(), refused(), unknown()),
        (refused(), unknown(), unknown()),
        (refused(), refused(), refused()),
    ];
    for (before, next, after) in table {
        assert_eq!(
            before.clone().and_then(next.clone()),
            after,
            "{before:?} then {next:?}"
        );
    }
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![Just(Answer::Accepted), Just(refused()), Just(unknown())]
}

proptest! {
    #[test]
    fn the_account_adds_up(
        votes in prop::collection::vec(
            (any_answer(), 0u64..5000, 0u64..900, any::<bool>(), any::<bool>()), 0..80),
        threshold in 1u64..500,
    ) {
        let sent: Vec<Sent> = votes.iter().enumerate()
            .map(|(n, (answer, at, took, ..))| vote(n as u64, *at, *took, answer.clone()))
            .collect();
        let pick = |level: fn(&(Answer, u64, u64, bool, bool)) -> bool| {
            votes.iter().enumerate().filter(|(_, v)| level(v)).map(|(n, _)| n as u64).collect()
        };
        let found = Found {
            persisted: pick(|v| v.3),
            queued: pick(|v| v.4),
            unseen: Vec::new(),
        };
        let account = Account::of(&sent, Some(&found), threshold);
        let (persisted, lost) = (account.persisted.unwrap(), account.lost.unwrap());

        prop_assert_eq!(account.sent, account.accepted + account.refused + account.unknown);
        prop_assert_eq!(account.why.values().sum::<u64>(), account.refused + account.unknown);
        // Each row belongs to a vote that was accepted, refused or unanswered.
        let accepted_persisted =
            persisted - account.phantom.unwrap() - account.unknown_persisted.unwrap();
        // Each accepted vote is in exactly one place, or lost.
        let accepted_queued = sent.iter().filter(|v| v.answer == Answer::Accepted
            && found.queued.contains(&v.n) && !found.persisted.contains(&v.n)).count() as u64;
        prop_assert_eq!(account.accepted, accepted_persisted + accepted_queued + lost);
        prop_assert!(account.queued.unwrap() >= accepted_queued);
        prop_assert!(account.gaps.iter().all(|gap| gap.length_ms >= threshold
            && gap.length_ms <= account.longest_gap_ms));
        prop_assert!(account.longest_gap_ms <= account.duration_ms + 1);
        prop_assert!(account.latency_ms.p50 <= account.latency_ms.max);
    }

    #[test]
    fn the_order_of_answers_does_not_matter(
        votes in prop::collection::vec((any_answer(), 0u64..5000, 0u64..900), 1..40)
    ) {
        let sent: Vec<Sent> = votes.iter().enumerate()
            .map(|(n, (answer, at, took))| vote(n as u64, *at, *took, answer.clone()))
            .collect();
        let mut reversed = sent.clone();
        reversed.reverse();
        let nothing = Found::default();
        prop_assert_eq!(
            Account::of(&sent, Some(&nothing), 50),
            Account::of(&reversed, Some(&nothing), 50)
        );
    }
}
