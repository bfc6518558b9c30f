//! The clocks of hosts. Each runs a little fast or slow; none agrees with
//! another; the wall clock can be set while it runs.

use std::time::Duration;

use async_trait::async_trait;

use crate::{ids::HostName, ports::clock::Clock, right::Moment};

use super::Sim;

/// Parts of a whole, for rates.
const MILLION: u64 = 1_000_000;

/// The clocks of a host: one that counts since its boot, suspend included,
/// and one on the wall.
#[derive(Clone, Debug)]
pub struct HostClock {
    /// True time of the boot.
    booted: Duration,
    /// What it showed then.
    at_boot: Moment,
    /// It shows so many microseconds in a second.
    rate: u64,
    /// The wall clock is so many milliseconds ahead.
    pub wall_ahead: i64,
}

impl HostClock {
    /// A clock that is right.
    pub(super) fn exact() -> Self {
        Self {
            booted: Duration::ZERO,
            at_boot: Duration::from_secs(1000),
            rate: MILLION,
            wall_ahead: 0,
        }
    }

    /// A clock that is so many millionths fast (or slow).
    pub(super) fn drifting(&mut self, ppm: i64) {
        self.rate = MILLION.saturating_add_signed(ppm);
    }

    pub(super) fn boot(&mut self, now: Duration) {
        self.booted = now;
        self.at_boot = Duration::from_secs(2);
    }

    /// What it shows.
    #[must_use]
    pub fn moment(&self, now: Duration) -> Moment {
        self.at_boot + scale(now.saturating_sub(self.booted), self.rate, MILLION)
    }

    /// How long it truly takes until that moment.
    #[must_use]
    pub fn until(&self, moment: Moment, now: Duration) -> Duration {
        let left = moment.saturating_sub(self.moment(now));
        // Never too early, by rounding.
        scale(left, MILLION, self.rate) + Duration::from_nanos(u64::from(!left.is_zero()) * 2)
    }

    /// How long that many seconds of this clock truly take.
    #[must_use]
    pub fn truly(&self, time: Duration) -> Duration {
        scale(time, MILLION, self.rate)
    }
}

fn scale(time: Duration, by: u64, of: u64) -> Duration {
    let nanos = time.as_nanos() * u128::from(by) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The clock of a host, as its programs see it.
pub struct ClockOf {
    pub sim: Sim,
    pub host: HostName,
}

#[async_trait]
impl Clock for ClockOf {
    fn now(&self) -> Duration {
        self.sim.lock().moment(&self.host)
    }

    fn wall(&self) -> String {
        let core = self.sim.lock();
        let ahead = core.state.machines[&self.host].clock.wall_ahead;
        // Noon, so that it can be set back.
        text_of(wall(core.now(), ahead).saturating_add(12 * 3_600_000))
    }

    async fn sleep(&self, time: Duration) {
        let sleep = {
            let truly = self.sim.lock().state.machines[&self.host].clock.truly(time);
            self.sim.sleep(truly)
        };
        sleep.await;
    }
}

/// Milliseconds of a day as wall time.
pub(super) fn text_of(milliseconds: i64) -> String {
    let time = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    let seconds = time.as_secs();
    format!(
        "2026-01-01T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis()
    )
}

fn wall(now: Duration, ahead: i64) -> i64 {
    i64::try_from(now.as_millis())
        .unwrap_or(i64::MAX)
        .saturating_add(ahead)
}

impl super::Core {
    /// What the clock of a host shows.
    #[must_use]
    pub fn moment(&self, host: &HostName) -> Moment {
        self.state.machines[host].clock.moment(self.now())
    }

    /// Lets the clock of a host run so many millionths fast.
    pub fn drift(&mut self, host: &HostName, ppm: i64) {
        let machine = self.state.machines.get_mut(host).expect("a known host");
        machine.clock.drifting(ppm);
    }

    /// What the wall clock of a host shows, as time since some beginning.
    #[must_use]
    pub fn wall_of(&self, host: &HostName) -> Duration {
        let ahead = self.state.machines[host].clock.wall_ahead;
        let wall = wall(self.now(), ahead).saturating_add(1_000_000_000);
        Duration::from_millis(u64::try_from(wall).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_is_ahead_and_its_seconds_are_short() {
        let mut clock = HostClock::exact();
        let at = Duration::from_secs;
        clock.boot(at(10));
        clock.drifting(10_000);
        assert_eq!(clock.moment(at(110)), at(2 + 101));
        let left = clock.until(at(2 + 202), at(110));
        assert!(left >= at(100) && left < at(100) + Duration::from_micros(1));
        clock.wall_ahead = -3_600_000;
        assert_eq!(
            clock.moment(at(110)),
            at(103),
            "the wall clock changes nothing"
        );
    }
}
