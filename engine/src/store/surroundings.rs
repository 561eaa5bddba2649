//! What a store stands on: disk, time, randomness, tables, and who makes its machines go on.
//!
//! In production the system's; in a simulation all of it follows from a seed, and one thread steps
//! committer and checkpointer in the order that it chooses.

use std::path::Path;
use std::sync::Arc;

use crate::commit::CommitBounds;
use crate::disk::{Clock, Disk, OpenMode, SystemClock};
use crate::error::ReadError;
use crate::log::ZerosAhead;
use crate::seal::Sealer;
use crate::state::{KeptTables, RocksKept, RocksTables, TableStore};

/// Records worth a base image: 16 MiB.
const IMAGE_BYTES_MIN: u64 = 16 << 20;
/// A sixteenth: what spares take shows in the disk that a store uses.
const SPARE_PART: u64 = 16;

/// Opens the tables in a folder.
pub(crate) type OpenTables =
    dyn Fn(&Path, OpenMode) -> Result<Arc<dyn TableStore>, ReadError> + Send + Sync;

/// Who makes committer and checkpointer go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Drive {
    /// A thread each.
    Threads,
    /// Whoever waits for an answer, and [`Steps`](super::drive::Steps) one by one.
    #[cfg(test)]
    Stepped,
}

/// What a store stands on.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) sealer: Sealer,
    pub(crate) tables: Arc<OpenTables>,
    /// Tables that were put aside.
    pub(crate) kept: Arc<dyn KeptTables>,
    pub(crate) drive: Drive,
    /// Of the log; `None`: what suits the file system.
    pub(crate) zeros: Option<ZerosAhead>,
    /// A segment of the log is closed before it exceeds this.
    pub(crate) segment_bytes: u64,
    /// A message whose chunks exceed this enters ahead of its record.
    pub(crate) inline_message_bytes_max: usize,
    /// Base images are not worth making for fewer bytes of records.
    pub(crate) image_bytes_min: u64,
    /// Spare segments take at most this part of the log's bytes.
    pub(crate) spare_part: u64,
    /// UIDs whose summaries lie together in a page.
    pub(crate) summary_run_uids: u32,
    /// When the committer begins another group, and a checkpoint.
    pub(crate) commit_bounds: CommitBounds,
}

impl Surroundings {
    /// This machine with one of its disks; a new incarnation of randomness.
    pub(crate) fn system(disk: Arc<dyn Disk>, segment_bytes: u64) -> Surroundings {
        Surroundings {
            disk,
            clock: Arc::new(SystemClock::new()),
            sealer: Sealer::system(),
            tables: Arc::new(RocksTables::open_in),
            kept: Arc::new(RocksKept),
            drive: Drive::Threads,
            zeros: None,
            segment_bytes,
            inline_message_bytes_max: crate::limits::INLINE_MESSAGE_BYTES_MAX,
            image_bytes_min: IMAGE_BYTES_MIN,
            spare_part: SPARE_PART,
            summary_run_uids: crate::limits::SUMMARY_RUN_UIDS,
            commit_bounds: CommitBounds::of_segments(segment_bytes),
        }
    }
}
