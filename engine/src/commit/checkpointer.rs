//! The checkpointer: writes what the committer froze, flushes it, and reads its stamp back.
//!
//! A state machine with a `step`, so that a simulation can stop the power between any two of them;
//! production drives it from one thread a volume.

use std::sync::Arc;

use super::committer::{CheckpointSlot, CommitterStatus};
use crate::error::ReadError;
use crate::state::{
    CheckpointStamp, Committed, Saved, SpaceChange, SpaceUse, Unsaved, confirm_checkpoint,
    write_checkpoint,
};

/// Writes checkpoints of one volume.
pub(crate) struct Checkpointer {
    saved: Arc<Saved>,
    committed: Arc<Committed>,
    slot: Arc<CheckpointSlot>,
    status: Arc<CommitterStatus>,
    space: Arc<SpaceUse>,
    phase: Phase,
}

enum Phase {
    Waiting,
    Frozen(Unsaved, CheckpointStamp),
    Written(Unsaved, CheckpointStamp, SpaceChange),
    Flushed(Unsaved, CheckpointStamp, SpaceChange),
}

/// Whether the checkpointer goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CheckpointStep {
    Again,
    /// Nothing to write now.
    Idle,
    Closed,
}

impl Checkpointer {
    pub(crate) fn new(
        saved: Arc<Saved>,
        committed: Arc<Committed>,
        slot: Arc<CheckpointSlot>,
        status: Arc<CommitterStatus>,
        space: Arc<SpaceUse>,
    ) -> Checkpointer {
        Checkpointer { saved, committed, slot, status, space, phase: Phase::Waiting }
    }

    /// Waits until there is something to do, and does it.
    pub(crate) fn wait_and_step(&mut self) -> CheckpointStep {
        if matches!(self.phase, Phase::Waiting) {
            let Some((unsaved, stamp)) = self.slot.take() else { return CheckpointStep::Closed };
            self.phase = Phase::Frozen(unsaved, stamp);
        }
        self.step()
    }

    /// Does the next thing, if there is one.
    pub(crate) fn step(&mut self) -> CheckpointStep {
        let next = match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Waiting => match self.slot.try_take() {
                Some((unsaved, stamp)) => Ok(Phase::Frozen(unsaved, stamp)),
                None => return CheckpointStep::Idle,
            },
            Phase::Frozen(unsaved, stamp) => self.write(unsaved, stamp),
            Phase::Written(unsaved, stamp, space) => {
                self.saved.tables.flush().map(|()| Phase::Flushed(unsaved, stamp, space))
            }
            Phase::Flushed(unsaved, stamp, space) => {
                let confirmed = confirm_checkpoint(&self.saved, &self.committed, &unsaved, stamp);
                confirmed.map(|()| {
                    self.space.apply(&space);
                    self.slot.done();
                    Phase::Waiting
                })
            }
        };
        match next {
            Ok(phase) => self.phase = phase,
            Err(error) => self.give_up(&error),
        }
        CheckpointStep::Again
    }

    fn write(&self, unsaved: Unsaved, stamp: CheckpointStamp) -> Result<Phase, ReadError> {
        // Counted here because nobody else writes tables, so nothing changes meanwhile.
        self.space.count(&self.saved)?;
        let report = write_checkpoint(&self.saved, &unsaved, stamp)?;
        tracing::debug!(
            lsn = %stamp.lsn, values = report.value_count, bytes = report.bytes, "checkpoint"
        );
        Ok(Phase::Written(unsaved, stamp, report.space))
    }

    /// Without checkpoints the log would grow for ever, so the volume's writes stop.
    fn give_up(&self, error: &ReadError) {
        tracing::error!("a checkpoint failed: {error}; the volume takes no more writes");
        self.status.stop(&error.to_string());
        self.slot.give_up();
    }
}
