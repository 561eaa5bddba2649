//! The clock that leases are counted by: it never goes back, and it goes on while the machine
//! sleeps.
//!
//! [`std::time::Instant`] is `CLOCK_MONOTONIC` on Linux, which stands still while a machine is
//! suspended: one that wakes after an hour would believe in a lease that ran out long ago. So this
//! is `CLOCK_BOOTTIME`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment of this machine, in nanoseconds since it was started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment(u64);

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
        Moment(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
    }

    /// From its nanoseconds: a test's own time.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Moment {
        Moment(nanoseconds)
    }

    /// Its nanoseconds.
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// This much later.
    pub fn after(self, time: Duration) -> Moment {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Moment(self.0.saturating_add(time))
    }

    /// How long after `earlier` this is; nothing if it is before.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let before = Moment::now();
        std::thread::sleep(Duration::from_millis(2));
        let passed = Moment::now().since(before);
        assert!(passed >= Duration::from_millis(2), "{passed:?}");
        assert_eq!(before.since(before.after(passed)), Duration::ZERO);
        assert_eq!(before.after(passed).since(before), passed);
    }
}
