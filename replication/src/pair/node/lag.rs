//! How far the other node is behind: for how long, by how many records, and how many of them were
//! acknowledged here.
//!
//! # Invariants
//! 1. How long the other node has been behind is never told as less than it is by more than the
//!    time between two looks; a connection that is lost or made anew does not begin it afresh.
//! 2. At most [`SAMPLES_MAX`] positions are remembered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use engine::Epoch;
use engine::ids::Lsn;
use engine::pair::Acknowledgement;

/// Positions that are remembered. Beyond, the newest stands for those behind it as well.
const SAMPLES_MAX: usize = 1024;

/// Positions at which the log ended, and since when.
#[derive(Default)]
pub(super) struct Lag {
    samples: VecDeque<(Lsn, Instant)>,
}

impl Lag {
    /// The log ends at `last`, and the other node has it up to `noted`.
    pub(super) fn observe(&mut self, last: Lsn, noted: Lsn, now: Instant) {
        while self.samples.front().is_some_and(|(lsn, _)| *lsn <= noted) {
            self.samples.pop_front();
        }
        if last <= noted || self.samples.back().is_some_and(|(lsn, _)| *lsn >= last) {
            return;
        }
        let since = match self.samples.len() {
            SAMPLES_MAX.. => self.samples.pop_back().map_or(now, |(_, since)| since),
            _ => now,
        };
        self.samples.push_back((last, since));
    }

    /// There is no second node, or this one follows.
    pub(super) fn clear(&mut self) {
        self.samples.clear();
    }

    /// For how long the other node, which has the log up to `noted`, has been behind.
    pub(super) fn since(&self, noted: Lsn, now: Instant) -> Duration {
        let oldest = self.samples.iter().find(|(lsn, _)| *lsn > noted);
        oldest.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }
}

/// Records between two positions of a history, if it says how many those are.
pub(super) fn records_between(history: &[Epoch], noted: Lsn, last: Lsn) -> Option<u64> {
    if noted.epoch() == last.epoch() {
        return Some(last.sequence().saturating_sub(noted.sequence()));
    }
    // Only over one change of epochs: of more, the end of the one in between is not looked for.
    let newest = history.iter().find(|epoch| epoch.number == last.epoch())?;
    let (_, fork) = newest.parent.filter(|(_, fork)| fork.epoch() == noted.epoch())?;
    Some(fork.sequence().saturating_sub(noted.sequence()) + last.sequence())
}

/// At most so many records are acknowledged here and not at the other node; `None`: not known.
pub(super) fn exposed(
    mode: Acknowledgement,
    (is_there, is_degraded): (bool, bool),
    lag_records: Option<u64>,
) -> Option<u64> {
    match mode {
        Acknowledgement::Durable(_) if is_there && !is_degraded => Some(0),
        // While the other node is away, what waits for it is counted with what was acknowledged
        // before: a restart forgets which of both it is.
        Acknowledgement::Durable(_) | Acknowledgement::Local => lag_records,
    }
}

#[cfg(test)]
mod tests {
    use engine::ids::{EpochId, NodeId};
    use engine::pair::Away;

    use super::*;

    fn at(sequence: u64) -> Lsn {
        Lsn::new(1, sequence).expect("a position")
    }

    #[test]
    fn the_time_behind_is_that_of_the_oldest_position_that_is_not_noted() {
        let (mut lag, begun) = (Lag::default(), Instant::now());
        let second = |count| begun + Duration::from_secs(count);
        lag.observe(at(1), at(1), second(0));
        assert_eq!(lag.since(at(1), second(9)), Duration::ZERO, "nothing is missing");
        lag.observe(at(5), at(1), second(10));
        lag.observe(at(5), at(1), second(11));
        lag.observe(at(9), at(1), second(20));
        assert_eq!(lag.since(at(1), second(30)), Duration::from_secs(20), "since 5 was written");
        assert_eq!(lag.since(at(5), second(30)), Duration::from_secs(10), "5 was noted meanwhile");
        lag.observe(at(9), at(9), second(31));
        assert_eq!(lag.since(at(9), second(31)), Duration::ZERO, "all was noted");
    }

    #[test]
    fn a_node_that_is_away_for_long_is_remembered_in_bounded_memory() {
        let (mut lag, begun) = (Lag::default(), Instant::now());
        let count = u64::try_from(SAMPLES_MAX).unwrap() * 3;
        for number in 0..count {
            lag.observe(at(number + 2), at(1), begun + Duration::from_secs(number));
        }
        assert_eq!(lag.samples.len(), SAMPLES_MAX);
        let now = begun + Duration::from_secs(count);
        assert_eq!(lag.since(at(1), now), Duration::from_secs(count), "from the first on");
        let newest = lag.since(at(count), now);
        assert!(newest >= Duration::from_secs(1), "too long rather than too short: {newest:?}");
    }

    #[test]
    fn records_are_counted_over_a_change_of_epochs() {
        let epoch = |number, parent| Epoch {
            number,
            id: EpochId([0; 16]),
            parent,
            node: NodeId([0; 16]),
            first: Lsn::new(number, 1).expect("a position"),
        };
        let history = [epoch(1, None), epoch(2, Some((EpochId([0; 16]), at(100))))];
        let second = Lsn::new(2, 7).expect("a position");
        assert_eq!(records_between(&history, at(90), at(97)), Some(7));
        assert_eq!(records_between(&history, at(90), second), Some(17), "10 before the fork");
        assert_eq!(records_between(&history, Lsn::ZERO, second), None, "nothing is known of it");
    }

    #[test]
    fn what_is_acknowledged_on_one_node_alone_is_said() {
        let durable = Acknowledgement::Durable(Away::Degrade);
        let table = [
            (durable, (true, false), Some(3), Some(0), "these three are not acknowledged yet"),
            (durable, (true, true), Some(3), Some(3), "degraded, and not yet told otherwise"),
            (durable, (false, true), Some(3), Some(3), "degraded"),
            (durable, (false, false), Some(3), Some(3), "it may have been degraded before"),
            (Acknowledgement::Local, (true, false), Some(3), Some(3), "acknowledged here alone"),
            (Acknowledgement::Local, (false, false), None, None, "nobody knows"),
        ];
        for (mode, presence, records, expected, reason) in table {
            assert_eq!(exposed(mode, presence, records), expected, "{reason}");
        }
    }
}
