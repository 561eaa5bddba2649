//! What a log is given when it is opened, and how its contents are addressed.

use std::path::PathBuf;
use std::sync::Arc;

use super::format::group::GroupHash;
use super::format::segment::{FooterVersion, GROUPS_AT, Role, SegmentNumber};
use crate::disk::{Clock, Disk};
use crate::ids::{BlobTag, Lsn, VolumeId};

/// Whether a segment is filled with zeros ahead of need, so that a flush changes no metadata of the
/// file system: merely allocated blocks are "unwritten", and each flush would commit its journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZerosAhead {
    /// Never: file systems that copy on write, where it gains nothing.
    Off,
    /// With the flush of the group that comes near the end of the zeros. For the simulated disk.
    Inline {
        /// Bytes per step.
        step_bytes: u64,
    },
    /// On a thread of its own, so that a commit rarely waits for it.
    Background {
        /// Bytes per step.
        step_bytes: u64,
    },
}

impl ZerosAhead {
    /// Bytes per step unless a test says otherwise: 4 MiB.
    pub const STEP_BYTES: u64 = 4 << 20;

    /// What suits the file system below `setup_directory`.
    ///
    /// # Errors
    /// The call that failed.
    pub fn for_directory(
        disk: &dyn Disk,
        setup_directory: &std::path::Path,
    ) -> Result<ZerosAhead, crate::error::DiskError> {
        if disk.copies_on_write(setup_directory)? {
            return Ok(ZerosAhead::Off);
        }
        Ok(ZerosAhead::Background { step_bytes: ZerosAhead::STEP_BYTES })
    }

    pub(crate) fn step_bytes(self) -> u64 {
        match self {
            ZerosAhead::Off => 0,
            ZerosAhead::Inline { step_bytes } | ZerosAhead::Background { step_bytes } => step_bytes,
        }
    }
}

/// What a log needs from outside.
#[derive(Clone)]
pub struct LogSetup {
    /// Where its files are.
    pub disk: Arc<dyn Disk>,
    /// For the time stamped on new segments.
    pub clock: Arc<dyn Clock>,
    /// Draws the random incarnation of a new segment.
    pub incarnation: Arc<dyn Fn() -> [u8; 16] + Send + Sync>,
    /// The folder that holds its segments and nothing else. Must exist.
    pub directory: PathBuf,
    /// The volume whose log it is.
    pub volume: VolumeId,
    /// A segment is closed before its groups exceed this; see [`crate::limits::SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// How the next segment to be closed says what it holds: as the volume's format level allows
    /// then.
    pub footer: Arc<dyn Fn() -> FooterVersion + Send + Sync>,
    /// Whether zeros are written ahead.
    pub zeros: ZerosAhead,
    /// Whose groups this node writes from now on.
    pub role: Role,
    /// Rewritten segments that flushed state refers to; what they were made from may still be
    /// there.
    pub switched: Vec<SegmentNumber>,
}

/// Where a group lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupPlace {
    /// In which segment.
    pub segment: SegmentNumber,
    /// Where its header begins in the file.
    pub offset: u64,
    /// Its bytes without padding.
    pub stored_len: u32,
    /// Its hash.
    pub hash: GroupHash,
}

impl GroupPlace {
    /// Whether it is the first of its segment.
    pub(crate) fn is_first(&self) -> bool {
        self.offset == GROUPS_AT
    }
}

/// Where a chunk's sealed bytes lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkPlace {
    /// Position of its blob, or its own when it entered ahead.
    pub lsn: Lsn,
    /// Within its blob.
    pub number: u16,
    /// The blob's tag.
    pub tag: BlobTag,
    /// In which segment.
    pub segment: SegmentNumber,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many they are.
    pub length: u32,
    /// BLAKE3 of them.
    pub hash: [u8; 32],
}
