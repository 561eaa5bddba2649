//! What goes wrong on a simulated disk, and when.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// Which call a fault meets; each counts from 1 over the disk's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The n-th `write_at` fails and writes nothing.
    Write(u64),
    /// The n-th `write_at` writes the first half and fails.
    ShortWrite(u64),
    /// The n-th `sync_data` fails; what it should have flushed is lost.
    Flush(u64),
    /// The n-th `sync_data` succeeds, but one of the writes that it flushes lands at another page
    /// of this file or of another one.
    Misdirect(u64),
    /// The n-th `remove` fails; whether the name is there after a cut is open.
    Remove(u64),
    /// The n-th `rename` fails; whether it happened is seen after a cut.
    Rename(u64),
    /// The n-th `sync_dir` fails and makes nothing durable.
    SyncDir(u64),
    /// The n-th `read_at` fails, and no later one.
    Read(u64),
}

/// Calls so far, by kind, and those that are to fail.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) faults: BTreeSet<Fault>,
    /// All that change something.
    pub(super) changing: u64,
    pub(super) writes: u64,
    pub(super) written_bytes: u64,
    pub(super) flushes: u64,
    pub(super) removes: u64,
    pub(super) renames: u64,
    pub(super) syncs_of_folders: u64,
    pub(super) reads: u64,
}

/// Where a misdirected write went, and where it was meant to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Misdirection {
    /// Where its bytes are missing: file, offset.
    pub meant: (PathBuf, u64),
    /// Where they lie: file, offset.
    pub landed: (PathBuf, u64),
    /// How many they are.
    pub byte_count: u64,
}
