//! What a follower last knew of its primary: how much may be missing when it takes over.
//!
//! # Invariants
//! 1. The time errs to the long side: silence before an end counts.
//! 2. What the primary took after it was last heard of is not known here, and nobody claims it.

use std::time::{Duration, Instant};

use engine::ids::Lsn;
use parking_lot::Mutex;

use super::protocol::Ending;

/// What may be missing at a follower, by what it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missing {
    /// How long ago the primary was heard of.
    pub silence: Duration,
    /// Positions that it had told of, and that are not here; `None` if they are of another epoch.
    pub positions: Option<u64>,
}

/// What is known of the primary of a volume.
#[derive(Default)]
pub(super) struct Heard {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Where its log ended when it came.
    announced: Option<Lsn>,
    /// When it was last heard of, if it is gone.
    gone_since: Option<Instant>,
}

impl Heard {
    /// The primary has come, with a log that ends there.
    pub(super) fn came(&self, end: Lsn) {
        *self.inner.lock() = Inner { announced: Some(end), gone_since: None };
    }

    /// The connection to it has ended.
    pub(super) fn went(&self, ending: &Ending) {
        let mut inner = self.inner.lock();
        if inner.announced.is_none() || inner.gone_since.is_some() {
            return;
        }
        let silence = match ending {
            Ending::Silent { silent_ms } => Duration::from_millis(*silent_ms),
            _ => Duration::ZERO,
        };
        let now = Instant::now();
        inner.gone_since = Some(now.checked_sub(silence).unwrap_or(now));
    }

    /// What may be missing in a log that ends there; `None` if no primary was heard of since this
    /// node started.
    pub(super) fn missing(&self, end: Lsn) -> Option<Missing> {
        let inner = self.inner.lock();
        let announced = inner.announced?;
        let silence = inner.gone_since.map_or(Duration::ZERO, |since| since.elapsed());
        let positions = (announced.epoch() == end.epoch())
            .then(|| announced.sequence().saturating_sub(end.sequence()));
        Some(Missing { silence, positions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u16, sequence: u64) -> Lsn {
        Lsn::new(epoch, sequence).unwrap()
    }

    #[test]
    fn what_was_announced_and_not_taken_is_missing_and_silence_counts() {
        let heard = Heard::default();
        heard.went(&Ending::Closed);
        assert_eq!(heard.missing(at(1, 7)), None, "no primary was ever heard of");
        heard.came(at(1, 9));
        let missing = heard.missing(at(1, 7)).unwrap();
        assert_eq!((missing.silence, missing.positions), (Duration::ZERO, Some(2)));
        heard.went(&Ending::Silent { silent_ms: 1500 });
        let missing = heard.missing(at(1, 12)).unwrap();
        assert!(missing.silence >= Duration::from_millis(1500), "{missing:?}");
        assert_eq!(missing.positions, Some(0), "it was sent more since");
        // A later end of a connection that never was one does not make it younger.
        heard.went(&Ending::Closed);
        assert!(heard.missing(at(1, 12)).unwrap().silence >= Duration::from_millis(1500));
        assert_eq!(heard.missing(at(2, 1)).unwrap().positions, None);
        heard.came(at(1, 20));
        assert_eq!(heard.missing(at(1, 20)).unwrap().silence, Duration::ZERO);
    }
}
