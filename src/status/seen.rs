//! Remembers when things were last seen, so that "unknown" can say since when.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::view::View;
use crate::observation::Knowledge;

/// Wall time as text, by the kind and name of what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seen(BTreeMap<String, String>);

impl Seen {
    /// Takes over what this view saw, and tells the view when the rest was
    /// seen last.
    pub fn exchange(&mut self, view: &mut View) {
        let now = view.snapshot.taken.clone();
        self.each("host", &mut view.hosts, &now);
        self.each("guard", &mut view.snapshot.guards, &now);
        self.each("machine", &mut view.snapshot.machines, &now);
        self.each("proxy", &mut view.snapshot.proxies, &now);
        self.each("queue", &mut view.snapshot.queues, &now);
        self.each("record", &mut view.snapshot.records, &now);
        self.each("write", &mut view.snapshot.writes, &now);
        for (site, services) in &mut view.snapshot.doors {
            self.each(&format!("door {site}"), services, &now);
        }
    }

    fn each<K: ToString, T>(
        &mut self,
        kind: &str,
        known: &mut BTreeMap<K, Knowledge<T>>,
        now: &str,
    ) {
        for (name, knowledge) in known {
            let key = format!("{kind} {}", name.to_string());
            match knowledge {
                Knowledge::Known(_) => {
                    self.0.insert(key, now.to_owned());
                }
                Knowledge::Unknown { since, .. } => {
                    if since.is_none() {
                        *since = self.0.get(&key).cloned();
                    }
                }
                Knowledge::Absent => {}
            }
        }
    }
}
