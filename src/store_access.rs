//! The one place where the binary opens, checks and closes a store.
//!
//! Everything else in `src/` speaks to an open [`Store`]; what an operator is told about a store's
//! opening, state and condition is put into words here.

use std::path::{Path, PathBuf};

use engine::Store;
use engine::seal::Secret;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What opens the root key.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// A passphrase, through Argon2id.
    Passphrase(Secret),
    /// A file with 32 random bytes in hexadecimal.
    KeyFile(PathBuf),
    /// The name of a systemd credential.
    Credential(String),
}

/// Whether a store may be changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Reads and writes.
    Full,
    /// Reads alone; nothing on disk is touched.
    ReadOnly,
}

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoreStatus {
    /// Name and value, in the order in which they are shown.
    pub(crate) lines: Vec<(String, String)>,
    /// Whether the store takes changes.
    pub(crate) writable: bool,
}

/// What `check` found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckOutcome {
    /// What was looked at, in one line.
    pub(crate) summary: String,
    /// One sentence for each thing that is not as it should be.
    pub(crate) damage: Vec<String>,
}

/// Makes a store in a new or empty directory; gives the recovery key, which is stored nowhere.
pub(crate) fn init(_directory: &Path, _key: KeySource) -> Result<Secret, Failure> {
    todo!()
}

/// Opens a store; the sentence says what opening found and did.
pub(crate) fn open(
    _directory: &Path,
    _key: KeySource,
    _access: Access,
) -> Result<(Store, String), Failure> {
    todo!()
}

/// Flushes and closes a store.
pub(crate) fn close(_store: Store) {
    todo!()
}

/// How a store is.
pub(crate) fn status(_store: &Store) -> StoreStatus {
    todo!()
}

/// Verifies every hash and reference; `progress` is told bytes done and bytes in all.
pub(crate) fn check(
    _store: &Store,
    _progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckOutcome, Failure> {
    todo!()
}

/// Makes a new recovery key in place of the old one.
pub(crate) fn key_backup(_store: &Store) -> Result<Secret, Failure> {
    todo!()
}

/// Whether a recovery key opens a store's root key. Needs no other key, and not the store to be stopped.
pub(crate) fn verify_backup(_directory: &Path, _recovery_key: &Secret) -> Result<(), Failure> {
    todo!()
}
