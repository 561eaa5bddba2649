//! The way back: what only this node has is put aside, and the volume goes back to what both have.

use std::path::PathBuf;

use super::Store;
use super::layout::Layout;
use super::merge::{StepsFile, StepsWriter, Suffix};
use crate::error::{DiskError, ReadError};
use crate::ids::{Lsn, VolumeId};

use crate::pair::Position;
use crate::way_back::{HeldFolders, RewindOrder, group_ending_at};

/// Why the way back was not begun. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum WayBackError {
    /// Nothing to go back from.
    #[error(
        "no checkpoint is held at or below {common}, so this node cannot go back to what both \
         nodes have; it needs a full copy"
    )]
    NothingHeld {
        /// Where both have the same.
        common: Lsn,
    },
    /// The position is not in the log.
    #[error("no group ends at {common} in the log here; the node needs a full copy")]
    NotHere {
        /// Where both should have the same.
        common: Lsn,
    },
    /// The log, state or a message cannot be read.
    #[error("the way back is not begun: {0}")]
    Read(#[from] ReadError),
}

impl From<DiskError> for WayBackError {
    fn from(error: DiskError) -> WayBackError {
        WayBackError::Read(error.into())
    }
}

impl HeldFolders {
    pub(super) fn of(layout: &Layout, volume: VolumeId) -> HeldFolders {
        HeldFolders {
            volume,
            log: layout.log(),
            index: layout.index(),
            held: layout.held(),
            way_back: layout.way_back(),
        }
    }
}

impl Store {
    pub(crate) fn way_back_folder(&self) -> PathBuf {
        Layout::of(&self.inner.directory).way_back()
    }

    /// Whether there is a checkpoint from which this node can go back.
    pub fn holds_checkpoint(&self) -> bool {
        self.inner.held.current().is_some()
    }

    /// The group of the log that ends at a position, if one does: what is behind it may be given
    /// up only by [`Store::go_back`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn group_ending_at(&self, lsn: Lsn) -> Result<Option<Position>, ReadError> {
        let switched = self.inner.committed.switched()?;
        group_ending_at(&self.log_source(), &switched, lsn)
    }

    /// Puts aside what lies behind `common`, for good: the volume takes no changes any more, and
    /// when it is opened next, it goes back to there, follows, and has something to merge. Answers
    /// how many steps that will be. It may be repeated until it has succeeded.
    ///
    /// # Errors
    /// [`WayBackError`]; the volume takes no changes all the same, unless nothing is held.
    pub fn go_back(&self, common: Lsn) -> Result<u64, WayBackError> {
        let inner = &self.inner;
        let held = inner.held.current().filter(|current| current.at.lsn <= common);
        if held.is_none() {
            return Err(WayBackError::NothingHeld { common });
        }
        let (common_group, count) = self.put_aside_behind(common)?;
        let order = RewindOrder { common: common_group, takes_copy: false };
        order.write(inner.disk.as_ref(), &self.way_back_folder())?;
        tracing::warn!(
            common = %common, steps = count,
            "this node goes back to what both nodes have; what it had alone is kept to be merged"
        );
        Ok(count)
    }

    /// The same where nothing is held: what lies behind `common` is put aside, and is merged when
    /// this node has become a full copy of the other one.
    ///
    /// # Errors
    /// [`WayBackError`]; the volume takes no changes all the same.
    pub fn put_aside(&self, common: Lsn) -> Result<u64, WayBackError> {
        let (_, count) = self.put_aside_behind(common)?;
        tracing::warn!(
            common = %common, steps = count,
            "this node needs a full copy of the other one; what it had alone is kept to be merged"
        );
        Ok(count)
    }

    fn put_aside_behind(&self, common: Lsn) -> Result<(Position, u64), WayBackError> {
        let inner = &self.inner;
        let common_group = self.group_ending_at(common)?.ok_or(WayBackError::NotHere { common })?;
        self.stand_down(
            "the other node of the pair was made primary; this one goes back to what both have, \
             and what it had alone is merged",
        );
        // Nothing is written behind the end that is read now.
        inner.queue.close();
        inner.driver.join("committer");
        *inner.follower.lock() = None;
        let suffix = Suffix::read(self, common_group)?;
        let history = inner.committed.volume().history;
        let epoch = history.last().map(|link| link.id).unwrap_or_default();
        let sealing = (&inner.sealer, inner.keys.snapshot());
        let (disk, folder) = (inner.disk.as_ref(), self.way_back_folder());
        StepsFile::keep(disk, &folder, epoch)?;
        let mut steps = StepsWriter::begin(disk, &folder, sealing, (epoch, common_group))?;
        suffix.write(self, &mut steps)?;
        Ok((common_group, steps.finish()?))
    }
}
