//! The alarm for a second node that stays behind.
//!
//! # Invariants
//! 1. One error when it begins and one line when it is over, however long it lasts.

use std::collections::BTreeSet;
use std::time::Duration;

use replication::pair::node::VolumeReport;

/// Volumes that the log said to be late.
#[derive(Default)]
pub(super) struct LagAlarm {
    late: BTreeSet<String>,
}

/// What a look has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    Begins,
    Ends,
}

/// Whether that is longer than it may be.
pub(super) fn is_late(lag: Duration, lag_alarm: Option<Duration>) -> bool {
    lag_alarm.is_some_and(|bound| lag >= bound)
}

impl LagAlarm {
    /// Looks at the volumes, and says what has changed.
    pub(super) fn look(&mut self, reports: &[VolumeReport], lag_alarm: Option<Duration>) {
        for report in reports {
            let volume = &report.name;
            match self.turn(volume, is_late(report.lag, lag_alarm)) {
                Some(Turn::Begins) => tracing::error!(
                    %volume,
                    seconds = report.lag.as_secs(),
                    records = report.lag_records,
                    exposed = report.exposed_records,
                    "the other node is LATE: it lacks changes that are on this one; see \
                     'pillarbox replica status'"
                ),
                Some(Turn::Ends) => tracing::warn!(%volume, "the other node is late no more"),
                None => {}
            }
        }
    }

    fn turn(&mut self, volume: &str, is_late: bool) -> Option<Turn> {
        if is_late {
            return self.late.insert(volume.to_owned()).then_some(Turn::Begins);
        }
        self.late.remove(volume).then_some(Turn::Ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_told_when_it_begins_and_when_it_ends() {
        let mut alarm = LagAlarm::default();
        let bound = Some(Duration::from_secs(5));
        let table = [
            (4, None, "not yet"),
            (5, Some(Turn::Begins), "as long as it may be"),
            (6, None, "it was told"),
            (0, Some(Turn::Ends), "over"),
            (0, None, "that was told"),
        ];
        for (seconds, expected, reason) in table {
            let late = is_late(Duration::from_secs(seconds), bound);
            assert_eq!(alarm.turn("main", late), expected, "{reason}");
        }
        assert!(!is_late(Duration::MAX, None), "never, where that is set");
    }
}
