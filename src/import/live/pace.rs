//! How fast mail is fetched: bounds that keep the server there and the way to it free for others.

use std::time::{Duration, Instant};

/// Bounds on the average since the begin.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    begun: Instant,
    messages: u64,
    bytes: u64,
    messages_per_second: Option<u64>,
    bytes_per_second: Option<u64>,
}

impl Pace {
    /// Nothing fetched yet; `None`: no bound.
    pub(super) fn new(messages_per_second: Option<u64>, bytes_per_second: Option<u64>) -> Pace {
        let begun = Instant::now();
        Pace { begun, messages: 0, bytes: 0, messages_per_second, bytes_per_second }
    }

    /// Counts what was fetched, and waits until it is due.
    pub(super) fn fetched(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
        let wait = self.due().saturating_sub(self.begun.elapsed());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    /// When all that was fetched may have been, from the begin on.
    fn due(&self) -> Duration {
        let millis = |count: u64, per_second: Option<u64>| {
            let per_second = per_second.map_or(u64::MAX, |rate| rate.max(1));
            Duration::from_millis(count.saturating_mul(1000) / per_second)
        };
        millis(self.messages, self.messages_per_second)
            .max(millis(self.bytes, self.bytes_per_second))
    }

    /// Bytes to ask for at a time, of at most `most`: about a second's worth.
    pub(super) fn batch_bytes(&self, most: u64) -> u64 {
        self.bytes_per_second.map_or(most, |rate| rate.clamp(1, most))
    }

    /// Messages to ask for at a time, of at most `most`.
    pub(super) fn batch_messages(&self, most: u64) -> u64 {
        self.messages_per_second.map_or(most, |rate| rate.clamp(1, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_both_bounds_holds() {
        let mut pace = Pace::new(Some(10), Some(1000));
        (pace.messages, pace.bytes) = (20, 500);
        assert_eq!(pace.due(), Duration::from_secs(2));
        pace.bytes = 5000;
        assert_eq!(pace.due(), Duration::from_secs(5));
        assert_eq!((pace.batch_bytes(9_000), pace.batch_messages(4)), (1000, 4));
        let free = Pace::new(None, None);
        assert_eq!((free.due(), free.batch_bytes(7)), (Duration::ZERO, 7));
    }
}
