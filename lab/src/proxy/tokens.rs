//! Client tokens: a repeated request is answered with the first answer. moto
//! makes a second instance instead.

use std::collections::BTreeMap;

use super::Whole;
use super::call::Call;

/// Answers by region, action and token. Kept as long as the daemon lives.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<(String, String, String), Remembered>);

#[derive(Debug)]
struct Remembered {
    parameters: Vec<(String, String)>,
    answer: Whole,
}

/// What is known of a request with a token.
pub(super) enum Known {
    /// Never seen.
    New,
    /// Seen with the same parameters; this was the answer.
    Repeated(Whole),
    /// Seen with other parameters, which AWS refuses.
    Mismatch,
}

fn key(call: &Call) -> Option<(String, String, String)> {
    let token = call.parameter("ClientToken").filter(|t| !t.is_empty())?;
    Some((call.region.clone(), call.action.clone(), token.to_owned()))
}

impl Tokens {
    pub(super) fn look_up(&self, call: &Call) -> Known {
        match key(call).and_then(|key| self.0.get(&key)) {
            None => Known::New,
            Some(seen) if seen.parameters == call.parameters => {
                Known::Repeated(seen.answer.clone())
            }
            Some(_) => Known::Mismatch,
        }
    }

    pub(super) fn remember(&mut self, call: &Call, answer: &Whole) {
        let Some(key) = key(call) else { return };
        if answer.status().is_success() {
            let remembered = Remembered {
                parameters: call.parameters.clone(),
                answer: answer.clone(),
            };
            self.0.insert(key, remembered);
        }
    }
}
