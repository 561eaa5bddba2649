//! The held checkpoint: state, log and index as of a position that the other node has.
//!
//! ```text
//! held/current   magic "PBheld", version u16, slot u8, zeros 7, LSN u64, hash of its group 32,
//!                last place of the log u64, BLAKE3 of all before
//! held/copy          a full copy, lent or on its way here (full_copy/), laid out like these:
//! held/a, held/b     log/     hard links to the segments that there were
//!                    index/   hard links to the files of the full-text index
//!                    state/   the tables (TableStore::keep)
//! ```
//! A segment that reclaim releases keeps its bytes as long as it has a name here. It is not made a
//! spare then, whose bytes are written over.
//!
//! # Invariants
//! 1. `current` names a slot that is complete and flushed; the other is garbage, or being made.
//! 2. It was stamped by the first group that ends at its position: where both nodes have the
//!    position, both have that group.
//! 3. The state is that of a checkpoint; the segments are those that it needs, and those behind it
//!    that there were.
//!
//! # What can go wrong
//! It cannot be made (no room, no hard links): the one before stays, and it is said. What has gone
//! since takes more room than it may: it is given up, and a way back needs a full copy.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::position::group_ending_at;
use super::steps::has_steps;
use crate::check::LogSource;
use crate::disk::{Disk, OpenMode, durable};
use crate::encoding::{Decoder, Encoder};
use crate::error::{DiskError, ReadError};
use crate::full_copy::Loan;
use crate::ids::{Lsn, VolumeId};
use crate::log::{GroupHash, SegmentNumber};
use crate::pair::{PairState, Position};
use crate::seal::Sealer;
use crate::state::{CheckpointStamp, KeptTables, TableStore};

const MAGIC: [u8; 8] = *b"PBheld\x01\0";
const FILE_BYTES: usize = 8 + 8 + 8 + 32 + 8 + 32;
const SLOTS: [&str; 2] = ["a", "b"];

/// Where things lie.
#[derive(Clone)]
pub(crate) struct HeldFolders {
    pub(crate) volume: VolumeId,
    pub(crate) log: PathBuf,
    pub(crate) index: PathBuf,
    pub(crate) held: PathBuf,
    pub(crate) way_back: PathBuf,
}

/// What is held, and what makes the next.
pub(crate) struct Held {
    disk: Arc<dyn Disk>,
    kept: Arc<dyn KeptTables>,
    pair: Arc<PairState>,
    folders: HeldFolders,
    current: Mutex<Option<Current>>,
    /// What the other node copies.
    pub(crate) loan: Loan,
    /// Bytes that may be on the disk for its sake alone; 0: no bound.
    bytes_max: u64,
    /// The other node was away for too long.
    is_given_up: AtomicBool,
}

/// The checkpoint that is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Current {
    slot: u8,
    /// What it holds.
    pub(crate) at: Position,
    /// The newest segment that there was.
    pub(crate) last_place: u64,
}

impl Current {
    fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.raw(&MAGIC);
        out.raw(&[self.slot, 0, 0, 0, 0, 0, 0, 0]);
        out.lsn(self.at.lsn);
        out.raw(&self.at.hash.0);
        out.u64(self.last_place);
        out.checked()
    }

    fn decode(bytes: &[u8]) -> Option<Current> {
        let mut from = Decoder::checked(bytes)?;
        let magic: [u8; 8] = from.array().ok()?;
        let slot: [u8; 8] = from.array().ok()?;
        let at = Position { lsn: from.lsn().ok()?, hash: GroupHash(from.array().ok()?) };
        let last_place = from.u64().ok()?;
        from.end().ok()?;
        (magic == MAGIC && slot[0] < 2).then_some(Current { slot: slot[0], at, last_place })
    }
}

impl Held {
    /// What an opening found. A file that cannot be read counts as none.
    pub(crate) fn load(
        disk: &Arc<dyn Disk>,
        kept: &Arc<dyn KeptTables>,
        pair: &Arc<PairState>,
        folders: HeldFolders,
        (bytes_max, sealer): (u64, &Sealer),
    ) -> Result<Held, DiskError> {
        let path = folders.held.join("current");
        let current = match disk.exists(&path)? {
            true => durable::read_file(disk.as_ref(), &path, FILE_BYTES)?
                .and_then(|bytes| Current::decode(&bytes)),
            false => None,
        };
        Ok(Held {
            loan: Loan::load((disk, kept), folders.clone(), sealer)?,
            disk: Arc::clone(disk),
            kept: Arc::clone(kept),
            pair: Arc::clone(pair),
            folders,
            current: Mutex::new(current),
            bytes_max,
            is_given_up: AtomicBool::new(false),
        })
    }

    /// What it holds, if anything.
    pub(crate) fn current(&self) -> Option<Current> {
        *self.current.lock()
    }

    /// A folder of what is held.
    pub(crate) fn folder(&self, current: &Current, name: &str) -> PathBuf {
        let slot = SLOTS.get(usize::from(current.slot)).copied().unwrap_or_default();
        self.folders.held.join(slot).join(name)
    }

    /// Everything above that stays as it was written; [`Lsn::MAX`]: nothing must.
    pub(crate) fn floor(&self) -> Lsn {
        let held = self.current.lock().map_or(Lsn::MAX, |current| current.at.lsn);
        held.min(self.loan.floor())
    }

    /// Whether a segment keeps its bytes for the sake of what is held.
    pub(crate) fn has_segment(&self, number: SegmentNumber) -> Result<bool, DiskError> {
        if self.loan.has_segment(number)? {
            return Ok(true);
        }
        let Some(current) = self.current() else { return Ok(false) };
        self.disk.exists(&number.path(&self.folder(&current, "log")))
    }

    /// A checkpoint was flushed: it is held from now on, if the other node has all of it.
    pub(crate) fn renew(&self, stamp: CheckpointStamp, tables: &dyn TableStore) {
        self.loan.renew(stamp, tables);
        if let Err(error) = self.try_renew(stamp, tables) {
            tracing::warn!(
                lsn = %stamp.lsn,
                "no checkpoint is held for the other node's sake, the one before stays: {error}"
            );
        }
    }

    fn try_renew(&self, stamp: CheckpointStamp, tables: &dyn TableStore) -> Result<(), ReadError> {
        if !self.is_due(stamp.lsn)? {
            return Ok(());
        }
        let at = Position { lsn: stamp.lsn, hash: GroupHash(stamp.group_hash) };
        // Stamped by a watermark, which the other node may lack: the next one will do.
        if group_ending_at(&self.source(), &[], at.lsn)? != Some(at) {
            return Ok(());
        }
        let before = self.current();
        let slot = before.map_or(0, |current| 1 - current.slot);
        let mut current = Current { slot, at, last_place: 0 };
        self.empty(&current)?;
        let (log, index) = (self.folder(&current, "log"), self.folder(&current, "index"));
        let disk = self.disk.as_ref();
        let linked = link_all(disk, &self.folders.log, &log)?;
        for number in linked.iter().filter_map(|path| SegmentNumber::of(path)) {
            current.last_place = current.last_place.max(number.place());
        }
        if self.disk.exists(&self.folders.index)? {
            link_all(disk, &self.folders.index, &index)?;
        }
        tables.keep(&self.folder(&current, "state"))?;
        let path = self.folders.held.join("current");
        durable::replace_file(self.disk.as_ref(), &path, &current.encode())?;
        *self.current.lock() = Some(current);
        self.is_given_up.store(false, Ordering::Relaxed);
        if let Some(before) = before {
            self.empty(&before)?;
        }
        Ok(())
    }

    fn source(&self) -> LogSource {
        LogSource {
            disk: Arc::clone(&self.disk),
            directory: self.folders.log.clone(),
            volume: self.folders.volume,
        }
    }

    /// Whether a checkpoint there is worth holding, and may be.
    fn is_due(&self, lsn: Lsn) -> Result<bool, DiskError> {
        let pair = &self.pair;
        let is_there = match pair.gate.noted() {
            None => return Ok(false),
            Some(noted) => pair.follows() || noted >= lsn,
        };
        let is_later = self.current().is_none_or(|current| current.at.lsn < lsn);
        // What is merged yet is judged from what both did since.
        Ok(is_there && is_later && !has_steps(self.disk.as_ref(), &self.folders.way_back)?)
    }

    /// Gives it up where it keeps more on the disk than it may; answers whether it did.
    pub(crate) fn give_up_if_large(&self) -> Result<bool, DiskError> {
        let Some(current) = self.current() else { return Ok(false) };
        if self.bytes_max == 0 || self.pinned_bytes(&current)? <= self.bytes_max {
            return Ok(false);
        }
        tracing::warn!(
            lsn = %current.at.lsn,
            "the other node has been away for so long that the way back is given up: if this node \
             is deposed, it needs a full copy"
        );
        self.is_given_up.store(true, Ordering::Relaxed);
        self.give_up()?;
        Ok(true)
    }

    /// Whether nothing is kept for the other node any more, until it is back.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Relaxed)
    }

    /// Nothing is held any more.
    pub(crate) fn give_up(&self) -> Result<(), DiskError> {
        let Some(current) = self.current.lock().take() else { return Ok(()) };
        let path = self.folders.held.join("current");
        self.disk.remove(&path)?;
        self.disk.sync_dir(&self.folders.held)?;
        self.empty(&current).map_err(|error| match error {
            ReadError::Disk(error) => error,
            other => DiskError {
                call: "remove",
                path,
                offset: None,
                cause: std::io::Error::other(other.to_string()),
            },
        })
    }

    /// Bytes of segments that would be gone, or could be made smaller, without it.
    fn pinned_bytes(&self, current: &Current) -> Result<u64, DiskError> {
        let disk = self.disk.as_ref();
        let size = |path: &Path| disk.open(path, OpenMode::Read).and_then(|file| file.byte_count());
        let mut bytes = 0;
        for path in disk.list(&self.folder(current, "log"))? {
            let name = path.file_name().unwrap_or_default();
            if !disk.exists(&self.folders.log.join(name))? {
                bytes += size(&path)?;
            }
        }
        for path in disk.list(&self.folders.log)? {
            if SegmentNumber::of(&path).is_some_and(|number| number.place() > current.last_place) {
                bytes += size(&path).unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    fn empty(&self, current: &Current) -> Result<(), ReadError> {
        for name in ["log", "index"] {
            let folder = self.folder(current, name);
            if self.disk.exists(&folder)? {
                remove_files(self.disk.as_ref(), &folder)?;
            }
        }
        self.kept.remove(&self.folder(current, "state"))
    }
}

/// Gives every file of a folder a second name, of the log's the segments; answers those that got
/// one. What goes meanwhile is not needed.
pub(crate) fn link_all(disk: &dyn Disk, from: &Path, to: &Path) -> Result<Vec<PathBuf>, DiskError> {
    durable::create_dir_durable(disk, to)?;
    let is_log = to.file_name().is_some_and(|name| name == "log");
    let mut linked = Vec::new();
    for path in disk.list(from)? {
        if is_log && SegmentNumber::of(&path).is_none() {
            continue;
        }
        let Some(name) = path.file_name() else { continue };
        match disk.link(&path, &to.join(name)) {
            Ok(()) => linked.push(path),
            Err(error) if disk.exists(&path)? => return Err(error),
            Err(_) => {}
        }
    }
    disk.sync_dir(to)?;
    Ok(linked)
}

/// Removes the files of a folder.
pub(crate) fn remove_files(disk: &dyn Disk, folder: &Path) -> Result<(), DiskError> {
    for path in disk.list(folder)? {
        disk.remove(&path)?;
    }
    disk.sync_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_and_a_damaged_one_counts_as_none() {
        let at = Position { lsn: Lsn::new(3, 77).unwrap(), hash: GroupHash([5; 32]) };
        let current = Current { slot: 1, at, last_place: 9 };
        let bytes = current.encode();
        assert_eq!(bytes.len(), FILE_BYTES);
        assert_eq!(Current::decode(&bytes), Some(current));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(Current::decode(&bytes), None, "byte {at}");
        }
        crate::golden::compare("held_1.bin", &bytes);
    }
}
