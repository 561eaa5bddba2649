//! The checkpointer: writes what the committer froze, flushes it, and reads its stamp back.
//!
//! A state machine with a `step`, so that a simulation can stop the power between any two of them;
//! production drives it from one thread a volume.

use std::sync::Arc;

use super::committer::{CheckpointSlot, CommitterStatus, Frozen};
use crate::error::ReadError;
use crate::state::{Committed, Saved, SpaceChange, SpaceUse, confirm_checkpoint, write_checkpoint};
use crate::way_back::Held;

/// Writes checkpoints of one volume.
pub(crate) struct Checkpointer {
    saved: Arc<Saved>,
    committed: Arc<Committed>,
    slot: Arc<CheckpointSlot>,
    status: Arc<CommitterStatus>,
    space: Arc<SpaceUse>,
    held: Arc<Held>,
    phase: Phase,
}

enum Phase {
    Waiting,
    Frozen(Frozen),
    Written(Frozen, SpaceChange),
    Flushed(Frozen, SpaceChange),
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
        (space, held): (Arc<SpaceUse>, Arc<Held>),
    ) -> Checkpointer {
        Checkpointer { saved, committed, slot, status, space, held, phase: Phase::Waiting }
    }

    /// Waits until there is something to do, and does it.
    pub(crate) fn wait_and_step(&mut self) -> CheckpointStep {
        if matches!(self.phase, Phase::Waiting) {
            let Some(frozen) = self.slot.take() else { return CheckpointStep::Closed };
            self.phase = Phase::Frozen(frozen);
        }
        self.step()
    }

    /// Does the next thing, if there is one.
    pub(crate) fn step(&mut self) -> CheckpointStep {
        let next = match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Waiting => match self.slot.try_take() {
                Some(frozen) => Ok(Phase::Frozen(frozen)),
                None => return CheckpointStep::Idle,
            },
            Phase::Frozen(frozen) => self.write(frozen),
            Phase::Written(frozen, space) => {
                self.saved.tables.flush().map(|()| Phase::Flushed(frozen, space))
            }
            Phase::Flushed(frozen, space) => self.confirm(&frozen).map(|()| {
                self.space.apply(&space);
                self.held.renew(frozen.stamp, self.saved.tables.as_ref());
                self.slot.done();
                Phase::Waiting
            }),
        };
        match next {
            Ok(phase) => self.phase = phase,
            Err(error) => self.give_up(&error),
        }
        CheckpointStep::Again
    }

    fn confirm(&self, frozen: &Frozen) -> Result<(), ReadError> {
        let Frozen { unsaved, stamp, snapshot } = frozen;
        confirm_checkpoint(&self.saved, &self.committed, unsaved, *stamp)?;
        if *snapshot {
            match self.saved.tables.snapshot() {
                Ok(tables) => self.slot.keep_snapshot(stamp.lsn, tables),
                Err(error) => tracing::error!("no base images are made: {error}"),
            }
        }
        Ok(())
    }

    fn write(&self, mut frozen: Frozen) -> Result<Phase, ReadError> {
        // Now and not when it was frozen: what goes meanwhile is in the next checkpoint.
        frozen.unsaved.summary_pages = self.committed.take_summary_pages();
        // Counted here because nobody else writes tables, so nothing changes meanwhile.
        self.space.count(&self.saved)?;
        let Frozen { unsaved, stamp, .. } = &frozen;
        let report = write_checkpoint(&self.saved, unsaved, *stamp)?;
        tracing::debug!(
            lsn = %stamp.lsn, values = report.value_count, bytes = report.bytes, "checkpoint"
        );
        Ok(Phase::Written(frozen, report.space))
    }

    /// Without checkpoints the log would grow for ever, so the volume's writes stop.
    fn give_up(&self, error: &ReadError) {
        tracing::error!("a checkpoint failed: {error}; the volume takes no more writes");
        self.status.fail(&error.to_string());
        self.slot.give_up();
    }
}
