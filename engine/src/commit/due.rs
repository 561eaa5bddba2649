//! When a checkpoint is due: after so much log, so much unsaved, or so much time.

use std::time::Duration;

use super::committer::{CheckpointSlot, CommitBounds};
use crate::ids::Lsn;
use crate::state::Committed;

/// Bytes that a checkpoint would write after which it begins.
const UNSAVED_BYTES: u64 = 64 << 20;
/// Time after which a checkpoint begins if anything is unsaved.
const TIME: Duration = Duration::from_secs(300);

/// What has come since the last checkpoint began.
pub(super) struct CheckpointDue {
    bounds: CommitBounds,
    log_bytes: u64,
    last: Duration,
    checkpointed: Option<Lsn>,
}

impl CheckpointDue {
    /// At the time `now`, with so much log that state does not have.
    pub(super) fn new(bounds: CommitBounds, now: Duration, log_bytes: u64) -> CheckpointDue {
        CheckpointDue { bounds, log_bytes, last: now, checkpointed: None }
    }

    /// A group was written.
    pub(super) fn written(&mut self, bytes: u64) {
        self.log_bytes += bytes;
    }

    /// Bytes of log that state does not have.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    /// Whether a checkpoint as of `lsn` should begin.
    pub(super) fn is_due(
        &self,
        (slot, committed): (&CheckpointSlot, &Committed),
        now: Duration,
        lsn: Lsn,
    ) -> bool {
        slot.wanted()
            || self.log_bytes >= self.bounds.checkpoint_log_bytes
            || committed.unsaved_bytes() >= UNSAVED_BYTES
            || (now.saturating_sub(self.last) >= TIME && self.checkpointed != Some(lsn))
    }

    /// Whether so much came meanwhile that whoever writes waits for the checkpoint before.
    pub(super) fn is_urgent(&self) -> bool {
        self.log_bytes >= self.bounds.checkpoint_wait_bytes
    }

    /// A checkpoint as of `lsn` began.
    pub(super) fn begun(&mut self, now: Duration, lsn: Lsn) {
        self.log_bytes = 0;
        self.last = now;
        self.checkpointed = Some(lsn);
    }
}
