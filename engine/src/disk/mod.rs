//! The disk as the engine sees it: few calls, each with a promise, and three implementations.
//!
//! | call | promise |
//! |--|--|
//! | `write_at` | all bytes are in the cache, or an error; durable only after `sync_data` |
//! | `sync_data` | every earlier `write_at` and `set_len` of this file survives a power cut |
//! | `write_and_sync` | both in one call, which io_uring makes of one submission; for the log |
//! | `create`, `rename`, `link`, `remove` | visible at once; durable after `sync_dir` |
//!
//! [`PlainDisk`] is the system's, [`UringDisk`] is the same with io_uring under the log, and
//! [`system_disk`] chooses between them; [`SimulatedDisk`](simulated::SimulatedDisk) lives in
//! memory, forgets what was not flushed, and fails on request.
//!
//! # What can go wrong
//! A failed `sync_data` is final for that file: Linux marks the pages clean, so that a second call
//! may
//! succeed for bytes that are gone. Nothing here tries again.

pub mod choice;
pub mod clock;
mod dice;
pub mod durable;
mod faults;
pub mod plain;
pub mod simulated;
pub mod uring;

use std::path::{Path, PathBuf};

use crate::error::DiskError;
use crate::width::{u64_of, usize_of};

pub use choice::{IoChoice, IoReport, PlainReason, system_disk};
pub use clock::{Clock, SystemClock};
pub use plain::PlainDisk;
pub use uring::{Caching, Registration, UringDisk, UringFound, UringWish};

/// What an opened file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// What became of an attempt to lock a file.
pub enum Lock {
    /// It is ours until this is dropped or the process ends in any way.
    Taken(Box<dyn Send + Sync>),
    /// Another process has it.
    Held {
        /// What that process wrote into the file: its number.
        by: String,
    },
}

/// A disk with folders and files, which are readable by their owner alone. Paths are given as the
/// disk knows them.
pub trait Disk: Send + Sync {
    /// Makes a new file, open for reading and writing; fails if the name is taken.
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Makes a new file as `create` does, one that `write_and_sync` is meant for.
    fn create_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.create(path)
    }

    /// Opens a file that exists for writing, as `create_log` makes a new one.
    fn open_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.open(path, OpenMode::ReadWrite)
    }

    /// Opens a file that exists.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Gives a file another name in one step, replacing what bore it.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Gives a file a second name, under which it stays when the first is taken away; fails if that
    /// name is taken.
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Takes a file's name away.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// The full paths of a folder's files (not of its folders), sorted.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, DiskError>;

    /// Makes a folder and those above it; good if they exist.
    fn create_dir_all(&self, directory: &Path) -> Result<(), DiskError>;

    /// Makes names of files and folders directly in `directory` durable.
    fn sync_dir(&self, directory: &Path) -> Result<(), DiskError>;

    /// Whether a file or folder of that name exists.
    fn exists(&self, path: &Path) -> Result<bool, DiskError>;

    /// Takes a lock file, making it if it is missing, and writes the number of this process into it
    /// where the file system takes writes.
    fn lock(&self, path: &Path) -> Result<Lock, DiskError>;

    /// Bytes that may still be written to the file system that holds `path`.
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError>;

    /// Whether the file system that holds `path` writes every change to a new place, so that
    /// writing
    /// zeros ahead gains nothing (btrfs, ZFS, bcachefs).
    fn copies_on_write(&self, path: &Path) -> Result<bool, DiskError>;
}

/// An open file. All calls name their offset; there is no position.
pub trait DiskFile: Send + Sync {
    /// Reads until `buffer` is full or the file ends; returns the bytes read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes`, or fails; a short write of the system is an error and leaves any
    /// part.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes everything written so far durable, with the file's length. Never call it again after
    /// it failed.
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Writes all of `bytes`, then makes everything written so far durable. Any part may be there
    /// after it failed, and neither call may follow.
    fn write_and_sync(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_at(offset, bytes)?;
        self.sync_data()
    }

    /// The file's length in bytes.
    fn byte_count(&self) -> Result<u64, DiskError>;

    /// Cuts or extends (with a hole) to `byte_count`.
    fn set_byte_count(&self, byte_count: u64) -> Result<(), DiskError>;

    /// Asks the system to drop clean cached pages, so that the next read comes from the device.
    fn forget_cached(&self) -> Result<(), DiskError>;

    /// Writes zeros over `byte_count` bytes from `offset`, so that later writes there change no
    /// metadata of the file system once this was flushed.
    fn write_zeros(&self, offset: u64, byte_count: u64) -> Result<(), DiskError> {
        let mut at = offset;
        let mut left = byte_count;
        while left > 0 {
            let step = left.min(u64_of(ZEROS.len()));
            let zeros = ZEROS.get(..usize_of(step)).unwrap_or(&ZEROS);
            self.write_at(at, zeros)?;
            at = at.saturating_add(step);
            left -= step;
        }
        Ok(())
    }
}

static ZEROS: [u8; 1 << 18] = [0; 1 << 18];

/// The error of a call on a file.
pub(crate) fn failed(
    call: &'static str,
    path: &Path,
    offset: Option<u64>,
    cause: std::io::Error,
) -> DiskError {
    DiskError { call, path: path.to_path_buf(), offset, cause }
}
