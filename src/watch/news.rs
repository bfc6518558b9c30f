//! What is new since the last look, and worth saying.

use crate::decide::{Diagnosis, Reaction, Verdict};

/// So many looks in a row a finding lasts before it is said by itself: one late
/// answer is no news. A decision is said at once.
const LASTING: u32 = 3;

/// What was said, and what may be said next.
#[derive(Clone, Debug, Default)]
pub(super) struct News {
    said: Option<(Vec<Named>, Reaction)>,
    /// Findings that differ from what was said, and in how many looks.
    next: (Vec<Named>, u32),
}

/// A finding without its evidence, whose words change from look to look.
type Named = (Diagnosis, String);

impl News {
    /// Whether to say it now.
    pub(super) fn is_new(&mut self, verdict: &Verdict) -> bool {
        let findings: Vec<Named> = verdict
            .findings
            .iter()
            .map(|finding| (finding.diagnosis, finding.subject.clone()))
            .collect();
        if let Some((said, reaction)) = &self.said
            && same(reaction, &verdict.reaction)
            && !self.lasts(*said == findings, &findings)
        {
            return false;
        }
        self.next = (Vec::new(), 0);
        self.said = Some((findings, verdict.reaction.clone()));
        true
    }

    fn lasts(&mut self, is_said: bool, findings: &[Named]) -> bool {
        let looks = match &self.next {
            _ if is_said => 0,
            (next, looks) if next == findings => looks + 1,
            _ => 1,
        };
        self.next = (findings.to_vec(), looks);
        looks >= LASTING
    }
}

/// Waiting differs in its words from look to look.
fn same(last: &Reaction, now: &Reaction) -> bool {
    match (last, now) {
        (Reaction::Withheld { act: last, .. }, Reaction::Withheld { act: now, .. }) => last == now,
        (last, now) => last == now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Finding, Memory};

    fn verdict(diagnosis: Diagnosis, evidence: &str, reaction: Reaction) -> Verdict {
        Verdict {
            findings: vec![Finding {
                diagnosis,
                subject: "db".to_owned(),
                evidence: vec![evidence.to_owned()],
            }],
            reaction,
            memory: Memory::default(),
        }
    }

    #[test]
    fn a_finding_is_said_when_it_lasts_and_a_decision_at_once() {
        use Diagnosis::{Healthy, StandbyNotStreaming as Silent};
        let wait = Reaction::Wait { why: String::new() };
        let mut news = News::default();
        let mut looks = |diagnosis, evidence: &[&str], reaction: &Reaction| -> Vec<bool> {
            let looks = evidence.iter();
            looks
                .map(|it| news.is_new(&verdict(diagnosis, it, reaction.clone())))
                .collect()
        };
        let rest = Reaction::Rest;
        assert_eq!(looks(Healthy, &["1", "2"], &rest), [true, false]);
        assert_eq!(looks(Silent, &["1", "2"], &rest), [false, false]);
        assert_eq!(looks(Healthy, &["3"], &rest), [false], "it was nothing");
        let lasting = looks(Silent, &["1", "2", "3", "4"], &rest);
        assert_eq!(lasting, [false, false, true, false]);
        assert_eq!(looks(Silent, &["5"], &wait), [true]);
        assert_eq!(looks(Healthy, &["6"], &rest), [true]);
    }
}
