//! Room on the disk: asked for before anything is accepted, so that no commit meets a full disk.
//!
//! ```text
//! free bytes  ├──── a quarter of the reserve ────┼──────── the reserve ────────┼───────►
//!             no change is taken: what is left     nothing new is taken;         all is
//!             is for reclaim and checkpoints       changing and deleting go on   well
//! ```
//! Base images, by which reclaim lets records go, purges of what was kept and deletions of accounts
//! are taken down to an eighth of the reserve. The spool asks for each block that it writes.
//!
//! The disk is asked anew each time, so everything goes on by itself when space comes back.
//!
//! # Invariants
//! 1. Whoever holds a [`RoomTaken`] found its bytes free beside the reserve and beside those of all
//!    others that are on their way.
//! 2. A batch is written only while its bytes are free above the quarter, or the eighth if it gives
//!    space back.
//!
//! # What can go wrong
//! Another process takes the space between the question and the write: the write fails, and the
//! volume stops as after every failed write. Without a reserve nothing is asked for batches.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::Disk;
use crate::error::{CommitError, DiskError};
use crate::log::give_back;

/// Free space of the file system that holds a volume, and who has a claim to it.
pub(crate) struct Room {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    /// Of the log, whose spare segments are given back when space runs low.
    log: PathBuf,
    reserve_bytes: u64,
    /// Bytes of messages that were accepted and are not in the log yet.
    taken: AtomicU64,
    level: Mutex<Level>,
}

/// What was said last, so that every change is said once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Level {
    Enough,
    OnlyReserve,
    Exhausted,
}

/// Bytes that are kept for a message until it is dropped.
pub(crate) struct RoomTaken {
    room: Arc<Room>,
    bytes: u64,
}

impl Drop for RoomTaken {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Room {
    /// Of the file system that holds `directory`, and in it the log in `log`.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        log: PathBuf,
        reserve_bytes: u64,
    ) -> Arc<Room> {
        let (taken, level) = (AtomicU64::new(0), Mutex::new(Level::Enough));
        Arc::new(Room { disk, directory, log, reserve_bytes, taken, level })
    }

    /// Free bytes; where they are fewer than `wanted`, spare segments are given back first.
    fn free_bytes(&self, wanted: u64) -> Result<u64, DiskError> {
        let free = self.disk.free_bytes(&self.directory)?;
        if free >= wanted {
            return Ok(free);
        }
        match give_back(self.disk.as_ref(), &self.log) {
            Ok(0) => Ok(free),
            Ok(_) => self.disk.free_bytes(&self.directory),
            Err(error) => {
                tracing::warn!(%error, "a spare segment keeps its space");
                Ok(free)
            }
        }
    }

    /// Bytes that are kept free.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Keeps `bytes` for something new.
    ///
    /// # Errors
    /// [`CommitError::DiskFull`], if they are not free beside the reserve.
    pub(crate) fn take(self: &Arc<Room>, bytes: u64) -> Result<RoomTaken, CommitError> {
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        // Given back in any case.
        let taken = RoomTaken { room: Arc::clone(self), bytes };
        let wanted = self.reserve_bytes.saturating_add(before).saturating_add(bytes);
        match self.free_bytes(wanted) {
            Ok(free) if free >= wanted => {
                self.tell(Level::Enough, free);
                Ok(taken)
            }
            Ok(free) => {
                self.tell(Level::OnlyReserve, free);
                Err(CommitError::DiskFull)
            }
            Err(_) => Err(CommitError::DiskFull),
        }
    }

    /// Whether so many bytes are free beside the reserve, for what can be done without.
    pub(crate) fn has_beside_reserve(&self, bytes: usize) -> bool {
        self.free_beside(self.reserve_bytes, bytes).is_ok()
    }

    /// Whether a batch of so many bytes may be written.
    pub(crate) fn has_for_batch(&self, bytes: usize) -> bool {
        let free = self.free_beside(self.reserve_bytes / 4, bytes);
        if let Err(free) = free {
            self.tell(Level::Exhausted, free);
        }
        free.is_ok()
    }

    /// The same for what gives space back.
    pub(crate) fn has_for_reclaim(&self, bytes: usize) -> bool {
        self.free_beside(self.reserve_bytes / 8, bytes).is_ok()
    }

    /// Whether so many bytes are free beside those that stay; what is free, if not.
    fn free_beside(&self, stay: u64, bytes: usize) -> Result<(), u64> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        let wanted = stay.saturating_add(crate::width::u64_of(bytes));
        // A disk that does not answer is asked by the write itself.
        let free = self.free_bytes(wanted).unwrap_or(u64::MAX);
        if free < wanted { Err(free) } else { Ok(()) }
    }

    fn tell(&self, level: Level, free: u64) {
        let mut said = self.level.lock();
        // That a message is too large for what is left says nothing better of the disk.
        let better = free >= self.reserve_bytes;
        if *said == level || (level < *said && !better) {
            return;
        }
        *said = level;
        let (directory, reserve) = (self.directory.display(), self.reserve_bytes);
        match level {
            Level::Enough => tracing::info!("{directory} has {free} bytes free: mail is taken"),
            Level::OnlyReserve => tracing::warn!(
                "{directory} has {free} bytes free and {reserve} are kept in reserve: new mail is \
                 refused for now, deleting goes on; free some space"
            ),
            Level::Exhausted => tracing::error!(
                "{directory} has {free} bytes free, too few even to delete mail: no change is \
                 taken until other files of this file system are removed"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::simulated::SimulatedDisk;

    #[test]
    fn room_is_kept_for_what_is_on_its_way_and_found_again_when_space_comes_back() {
        let disk = SimulatedDisk::new(1);
        let folder = Path::new("/").to_path_buf();
        let room = Room::new(Arc::new(disk.clone()), folder.clone(), folder, 1000);
        disk.set_capacity_bytes(1500);
        let first = room.take(400).unwrap();
        assert!(matches!(room.take(200), Err(CommitError::DiskFull)), "400 are taken already");
        let second = room.take(100).unwrap();
        drop(first);
        let third = room.take(400).unwrap();
        drop((second, third));
        disk.set_capacity_bytes(999);
        assert!(room.take(0).is_err(), "the reserve is not for new mail");
        assert!(room.has_for_batch(749), "but for deleting");
        assert!(!room.has_for_batch(750), "until a quarter is left");
        assert!(room.has_for_reclaim(874), "what gives space back goes on");
        assert!(!room.has_for_reclaim(875), "until an eighth is left");
        disk.set_capacity_bytes(2000);
        room.take(1000).unwrap();
        assert_eq!(room.taken.load(Ordering::Relaxed), 0, "nothing is kept for ever");
    }
}
