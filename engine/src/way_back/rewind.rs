//! Going back to a common position: files alone, before anything of the volume is open.
//!
//! 1. Segments that reclaim has made since the checkpoint was held go; those that it released come
//!    back by their second names.
//! 2. The log ends behind the common group: its segment is copied up to there, what lies behind it
//!    is removed. Nothing of it becomes a spare.
//! 3. The tables and the index are those that are held.
//!
//! With a full copy the same is done from its files, of which nothing that is here is part, and
//! what was held goes.
//!
//! Opening then replays from the held position to the common one, in the role of a follower. Every
//! step may be repeated.

use std::path::{Path, PathBuf};

use super::held::{Current, Held, HeldFolders, remove_files};
use super::order::RewindOrder;
use crate::disk::{Disk, OpenMode, durable};
use crate::error::{Damage, DiskError, OpenError, ReadError};
use crate::log::format::segment::{GROUPS_AT, SegmentHeader};
use crate::log::{SegmentFile, SegmentNumber};
use crate::pair::{Position, offset_behind};
use crate::state::KeptTables;
use crate::width::{u64_of, usize_of};

const COPY_BYTES: u64 = 1 << 20;

/// Does what the order says; the tables are in `state`.
///
/// # Errors
/// [`OpenError`]: nothing is held that reaches, or a call failed; it can be repeated.
pub(crate) fn rewind(
    (disk, kept): (&dyn Disk, &dyn KeptTables),
    folders: &HeldFolders,
    state: &Path,
    held: &Held,
    order: &RewindOrder,
) -> Result<(), OpenError> {
    let common = order.common;
    let source = match order.takes_copy {
        true => {
            held.give_up()?;
            remove_files(disk, &folders.log)?;
            let source = folders.held.join("copy");
            link_missing(disk, &source.join("log"), &folders.log)?;
            source
        }
        false => {
            let current = held.current().filter(|current| current.at.lsn <= common.lsn);
            let current = current.ok_or_else(|| nothing_held(common))?;
            // It may have what goes now.
            held.loan.end()?;
            bring_back(disk, &folders.log, &held.folder(&current, "log"), &current)?;
            held.folder(&current, "")
        }
    };
    cut(disk, &folders.log, common)?;
    kept.restore(&source.join("state"), state)?;
    if disk.exists(&folders.index)? {
        remove_files(disk, &folders.index)?;
    }
    let index = source.join("index");
    if disk.exists(&index)? {
        durable::create_dir_durable(disk, &folders.index)?;
        link_missing(disk, &index, &folders.index)?;
    }
    Ok(())
}

fn nothing_held(common: Position) -> OpenError {
    OpenError::Invalid(format!(
        "the way back to {} has begun, and no checkpoint is held from which to go there; this node \
         needs a full copy",
        common.lsn
    ))
}

/// The segments as they were when the checkpoint was held, and those that came since.
fn bring_back(
    disk: &dyn Disk,
    log: &Path,
    held: &Path,
    current: &Current,
) -> Result<(), DiskError> {
    for path in disk.list(log)? {
        let stays = match (SegmentNumber::of(&path), path.file_name()) {
            (Some(number), Some(_)) if number.place() > current.last_place => true,
            (Some(_), Some(name)) => disk.exists(&held.join(name))?,
            // Spares, and what was not finished.
            _ => false,
        };
        if !stays {
            disk.remove(&path)?;
        }
    }
    link_missing(disk, held, log)
}

fn link_missing(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), DiskError> {
    for path in disk.list(from)? {
        let Some(name) = path.file_name() else { continue };
        let own = to.join(name);
        if !disk.exists(&own)? {
            disk.link(&path, &own)?;
        }
    }
    disk.sync_dir(to)
}

/// Ends the log behind that group.
fn cut(disk: &dyn Disk, log: &Path, common: Position) -> Result<(), OpenError> {
    let mut numbers: Vec<(SegmentNumber, PathBuf)> = disk
        .list(log)?
        .into_iter()
        .filter_map(|path| SegmentNumber::of(&path).map(|number| (number, path)))
        .collect();
    numbers.sort_unstable_by_key(|(number, _)| (number.place(), number.generation()));
    let mut going: Vec<PathBuf> = Vec::new();
    let mut found: Option<(PathBuf, u64, bool)> = None;
    let mut header = None;
    let mut older: Vec<(PathBuf, u64, SegmentHeader)> = Vec::new();
    while let Some((_, path)) = numbers.pop() {
        let file = SegmentFile::open_cached(disk, &path)?;
        match offset_behind(&file, common)? {
            Some(end) => {
                // A footer may know of more that is durable than its segment has.
                let ends_there = file.footer()?.is_some_and(|footer| {
                    footer.last == common.hash && footer.durable_lsn <= common.lsn
                });
                // So may a header, of a segment that an opening began with groups carried over.
                let knows_more = file.header.durable_lsn > common.lsn;
                let is_cut = knows_more || (!ends_there && end < file.byte_count);
                header = Some(known_up_to(&file, common));
                // An opening that was cut short may have carried the group into another segment;
                // the oldest that has it counts.
                let newer = found.replace((path, end, is_cut));
                going.extend(newer.map(|(path, ..)| path));
            }
            // Closed when what came behind it was durable: then so do those before it.
            None if found.is_some() => match file.footer()? {
                Some(footer) if footer.durable_lsn > common.lsn => {
                    let last = footer.groups.last().map(|group| group.last_lsn);
                    let last = last.map(|lsn| Position { lsn, hash: footer.last });
                    let end = last.map(|last| offset_behind(&file, last)).transpose()?.flatten();
                    older.push((path, end.unwrap_or(GROUPS_AT), known_up_to(&file, common)));
                }
                _ => break,
            },
            None => going.push(path),
        }
    }
    if let (Some((path, end, is_cut)), Some(header)) = (found, header) {
        for (path, end, header) in older {
            copy_up_to(disk, &path, end, &header)?;
        }
        // What comes first must be whole when what comes last is gone already.
        if is_cut {
            copy_up_to(disk, &path, end, &header)?;
        }
        for path in going {
            disk.remove(&path)?;
        }
        disk.sync_dir(log)?;
        return Ok(());
    }
    Err(ReadError::Damage(Damage {
        file: log.to_path_buf(),
        offset: 0,
        what: format!(
            "the group at {}, to which this node is to go back, is not in its log; the node needs \
             a full copy",
            common.lsn
        ),
    })
    .into())
}

/// What a segment says of itself, but nothing of what is durable behind the common group.
fn known_up_to(file: &SegmentFile, common: Position) -> SegmentHeader {
    let durable_lsn = file.header.durable_lsn.min(common.lsn);
    SegmentHeader { durable_lsn, ..file.header }
}

/// The file gets a content of its own, with that header, which ends there: its bytes may have
/// another name.
fn copy_up_to(
    disk: &dyn Disk,
    path: &Path,
    end: u64,
    header: &SegmentHeader,
) -> Result<(), DiskError> {
    let unfinished = durable::unfinished(path);
    if disk.exists(&unfinished)? {
        disk.remove(&unfinished)?;
    }
    let from = disk.open(path, OpenMode::Read)?;
    let to = disk.create_log(&unfinished)?;
    let mut buffer = vec![0; usize_of(COPY_BYTES)];
    let mut at = 0;
    while at < end {
        let wanted = usize_of(COPY_BYTES.min(end - at));
        let piece = buffer.get_mut(..wanted).unwrap_or_default();
        let found = from.read_at(at, piece)?;
        let bytes = piece.get(..found).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        to.write_at(at, bytes)?;
        at += u64_of(found);
    }
    to.write_at(0, &header.encode_twice())?;
    to.sync_data()?;
    disk.rename(&unfinished, path)
}
