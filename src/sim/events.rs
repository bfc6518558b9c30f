//! What happens when: events in the order of their moments.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

use super::Core;

/// Something that happens at a moment.
pub(super) type Action = Box<dyn FnOnce(&mut Core) + Send>;

/// What an event may do, so that the world is looked over only where it can
/// have changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes the world.
    Change,
    /// Looks at the world as it is then.
    Look,
    /// Only wakes somebody.
    Wake,
}

/// An event.
pub(super) struct Event {
    /// Moment in nanoseconds, then the number of the event: two of one moment
    /// happen in the order in which they were planned.
    key: u128,
    pub kind: Kind,
    pub action: Action,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        other.key.cmp(&self.key)
    }
}

/// All events to come.
#[derive(Default)]
pub(super) struct Events {
    planned: u64,
    heap: BinaryHeap<Event>,
}

impl Events {
    pub fn add(&mut self, at: Duration, kind: Kind, action: Action) {
        self.planned += 1;
        let key = at.as_nanos() << 64 | u128::from(self.planned);
        self.heap.push(Event { key, kind, action });
    }

    /// The next event and its moment.
    pub fn next(&mut self) -> Option<(Duration, Event)> {
        let event = self.heap.pop()?;
        let nanos = u64::try_from(event.key >> 64).expect("hours fit");
        Some((Duration::from_nanos(nanos), event))
    }
}
