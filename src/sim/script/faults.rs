//! Faults at random.

use std::time::Duration;

use super::{Draw, Names};
use crate::sim::{
    fault::Fault,
    watcher::{Ambush, Mischief},
};

impl Draw {
    pub(super) fn fault(&mut self, names: &Names) -> Fault {
        match self.mode {
            mode if mode.has_watchers() && self.rng.permille(350) => self.of_watchers(names),
            mode if mode.is_automatic() && self.rng.permille(700) => self.automatic(names),
            _ => self.plain(names),
        }
    }

    fn plain(&mut self, names: &Names) -> Fault {
        let rng = &mut self.rng;
        let host = rng.pick(&names.hosts).clone();
        let database = rng.pick(&names.databases).clone();
        match rng.between(0, 14) {
            0 | 1 => Fault::SiteDown(rng.pick(&names.sites).clone()),
            2 => Fault::HostDown(host),
            3 => Fault::HostDown(database),
            4 => Fault::PostgresBroken(database),
            5 => Fault::Unheard(host),
            6 => Fault::Unanswering(database),
            7 => Fault::Slow(host, Duration::from_millis(rng.between(20, 3_000))),
            8 => Fault::LinkCut,
            9 => Fault::SiteIsolated(rng.pick(&names.sites).clone()),
            10 => Fault::CloudDenied,
            11 => {
                if rng.permille(500) {
                    Fault::ZoneDark
                } else {
                    Fault::RewindFails(database)
                }
            }
            12 => Fault::StreamStalled(database),
            13 => Fault::Doubling(rng.between(20, 300)),
            _ => Fault::Unreliable(rng.between(5, 120)),
        }
    }

    /// Faults of the watchers themselves.
    fn of_watchers(&mut self, names: &Names) -> Fault {
        let member = self.rng.pick(&names.members).clone();
        let records = self.number(1, 40);
        let what = match self.rng.between(0, 5) {
            0 => return Fault::WatcherKilled(member),
            1 => return Fault::WatcherStopped(member),
            2 | 3 => Mischief::Sleeps(self.millis(100, 20_000)),
            durable => Mischief::Dies {
                durable: durable == 4,
            },
        };
        Fault::Ambush(Ambush { records, what })
    }

    /// Faults that only clocks, leases and the store know.
    fn automatic(&mut self, names: &Names) -> Fault {
        let rng = &mut self.rng;
        let host = rng.pick(&names.hosts).clone();
        let database = rng.pick(&names.databases).clone();
        let (one, other) = (rng.pick(&names.sites), rng.pick(&names.sites));
        let (one, other) = (one.clone(), other.clone());
        match rng.between(0, 18) {
            0 | 1 => Fault::Frozen(database),
            2 => Fault::Frozen(host),
            3 => Fault::GuardStopped(database),
            4 => Fault::GuardKilled(database),
            5 | 6 => Fault::Cut(one, other),
            7 => Fault::CutBoth(one, other),
            8 | 9 => Fault::PlaceIsolated(one),
            10 => Fault::MemberDown(rng.pick(&names.members).clone()),
            11 => Fault::QuorumLost(rng.pick(&names.members).clone()),
            12 => Fault::DiskHangs(database),
            13 => {
                let hour = 3_600_000;
                let by = i64::try_from(rng.between(0, 2 * hour)).expect("small");
                Fault::WallStep(database, by - hour as i64)
            }
            14 => Fault::StoreUnreached(database),
            15 => Fault::DiskFull(database),
            16 => Fault::StreamStalled(database),
            17 => Fault::Doubling(rng.between(20, 300)),
            _ => Fault::PostgresKilled(database),
        }
    }
}
