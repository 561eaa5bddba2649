//! Spares: files of released segments, kept to become the next segments.
//!
//! ```text
//! 000000000005.segment ─► (released) 000000000005.spare ─► 000000000031.segment.unfinished
//!                                                       ─► (header, flushed) 000000000031.segment
//! ```
//! A spare's blocks were written before, so zeros need not be written ahead of the groups that
//! come, and no flush of them changes metadata of the file system. Decision 0021 has the figures.
//!
//! What was in the file lies behind the new groups until they have written over it. It is never
//! taken for groups of the new segment: it does not continue the chain (`previous`), and all of it
//! has positions below the segment's `first_lsn`, because only what lies wholly below flushed state
//! is released. Its footer is cut off before the file gets a name.
//!
//! # Invariants
//! 1. Only reclaim keeps spares, of segments that were closed and that nothing refers to any more.
//!    What recovery, repair or a rewind cut is removed.
//! 2. The old name is gone durably before the first byte is written over: whoever still reads by it
//!    and finds other bytes can tell that the segment was released.
//! 3. There are at most [`SPARES_MAX`], and they take at most as many bytes as reclaim says, a
//!    small part of the log's; they are given back where free space runs low.
//!
//! # What can go wrong
//! A crash leaves a spare, or an unfinished file that the next start removes. Where a spare cannot
//! be taken, a new file is made as ever.

use std::path::{Path, PathBuf};

use super::format::segment::{Footer, GROUPS_AT, SegmentNumber, TRAILER_BYTES};
use super::setup::{LogSetup, ZerosAhead};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::DiskError;
use crate::width::u64_of;

/// Spares of a log.
const SPARES_MAX: usize = 2;
/// A file of less than this part of a segment is not worth keeping.
const PART_OF_SEGMENT: u64 = 2;
const ENDING: &str = "spare";

/// What became of a released segment's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Released {
    /// It is a spare of so many bytes.
    Kept(u64),
    /// It is gone.
    Removed,
}

/// Takes the name of a segment away to which nothing refers any more; its file becomes a spare if
/// it is worth it and all spares then take at most `spare_bytes_max`. Durable only after the folder
/// was flushed.
///
/// # Errors
/// The call that failed; the segment may be there still.
pub(crate) fn release(
    setup: &LogSetup,
    number: SegmentNumber,
    spare_bytes_max: u64,
) -> Result<Released, DiskError> {
    let disk = setup.disk.as_ref();
    let path = number.path(&setup.directory);
    let byte_count = disk.open(&path, OpenMode::Read)?.byte_count()?;
    let is_large = byte_count >= setup.segment_bytes / PART_OF_SEGMENT;
    if setup.zeros == ZerosAhead::Off || !is_large {
        disk.remove(&path)?;
        return Ok(Released::Removed);
    }
    let mut total = byte_count;
    let spares = spares(disk, &setup.directory)?;
    for spare in &spares {
        // Taken meanwhile, if it is not there.
        total += disk.open(spare, OpenMode::Read).and_then(|file| file.byte_count()).unwrap_or(0);
    }
    if spares.len() >= SPARES_MAX || total > spare_bytes_max {
        disk.remove(&path)?;
        return Ok(Released::Removed);
    }
    disk.rename(&path, &path.with_extension(ENDING))?;
    Ok(Released::Kept(byte_count))
}

/// Removes all spares, because their space is needed; answers how many there were.
///
/// # Errors
/// The call that failed.
pub(crate) fn give_back(disk: &dyn Disk, directory: &Path) -> Result<usize, DiskError> {
    let spares = spares(disk, directory)?;
    for spare in &spares {
        // The log may have taken it just now.
        if let Err(error) = disk.remove(spare)
            && disk.exists(spare)?
        {
            return Err(error);
        }
    }
    Ok(spares.len())
}

/// Gives a spare the name `unfinished`, to be written over, if there is one: the file, and up to
/// where its blocks were written before.
pub(super) fn take(setup: &LogSetup, unfinished: &Path) -> Option<(Box<dyn DiskFile>, u64)> {
    if setup.zeros == ZerosAhead::Off {
        return None;
    }
    let disk = setup.disk.as_ref();
    let spare = spares(disk, &setup.directory).ok()?.into_iter().next()?;
    let taken = disk.rename(&spare, unfinished).and_then(|()| {
        disk.sync_dir(&setup.directory)?;
        let file = disk.open_log(unfinished)?;
        let end = contents_end(file.as_ref())?.min(setup.segment_bytes);
        file.set_byte_count(end)?;
        Ok((file, end))
    });
    match taken {
        Ok(taken) => Some(taken),
        Err(error) => {
            tracing::warn!(%error, "a spare segment cannot be used; a new file is made instead");
            None
        }
    }
}

/// Where a closed segment's footer begins; nothing of it may stay, or it would be found at the end
/// of the file once more.
fn contents_end(file: &dyn DiskFile) -> Result<u64, DiskError> {
    let byte_count = file.byte_count()?;
    let mut trailer = [0; TRAILER_BYTES];
    let trailer_at = byte_count.saturating_sub(u64_of(TRAILER_BYTES));
    let found = file.read_at(trailer_at, &mut trailer)?;
    let trailer = trailer.get(..found).unwrap_or_default();
    Ok(Footer::locate(trailer, byte_count).map_or(GROUPS_AT, |(footer_at, _)| footer_at))
}

fn spares(disk: &dyn Disk, directory: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let mut files = disk.list(directory)?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == ENDING));
    Ok(files)
}
