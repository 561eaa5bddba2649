//! The folder of an index: which files there are, making, opening, re-wrapping and removing them.
//!
//! ```text
//! ACCOUNT-FILE.split       whole; account and file in hexadecimal digits
//! ACCOUNT-FILE.new         being written; removed at opening
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block_cache::BlockCache;
use super::file::{SplitFile, SplitFileWriter};
use crate::disk::{Disk, OpenMode};
use crate::error::{DiskError, ReadError};
use crate::ids::AccountNumber;
use crate::seal::{IndexFile, IndexFileId, KeyTable, Sealer};

const WHOLE: &str = "split";
const UNFINISHED: &str = "new";

/// The folder of an index.
pub(crate) struct IndexFolder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    sealer: Sealer,
    keys: Arc<KeyTable>,
    cache: Arc<BlockCache>,
}

impl IndexFolder {
    pub(crate) fn new(
        path: PathBuf,
        disk: Arc<dyn Disk>,
        (sealer, keys): (Sealer, Arc<KeyTable>),
        cache_bytes: u64,
    ) -> IndexFolder {
        IndexFolder { path, disk, sealer, keys, cache: BlockCache::new(cache_bytes) }
    }

    /// The whole files; others of ours are removed where `mode` allows it.
    pub(crate) fn list(
        &self,
        mode: OpenMode,
    ) -> Result<Vec<(AccountNumber, IndexFileId)>, DiskError> {
        if !self.disk.exists(&self.path)? {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for path in self.disk.list(&self.path)? {
            match read_name(&path) {
                Some((name, true)) => found.push(name),
                Some((_, false)) if mode == OpenMode::ReadWrite => self.disk.remove(&path)?,
                // What is not ours stays.
                _ => {}
            }
        }
        Ok(found)
    }

    fn path_of(&self, account: AccountNumber, id: IndexFileId, ending: &str) -> PathBuf {
        let id = u128::from_be_bytes(id);
        self.path.join(format!("{:016x}-{id:032x}.{ending}", account.0))
    }

    /// The name of a file, for messages.
    pub(crate) fn path(&self, account: AccountNumber, id: IndexFileId) -> PathBuf {
        self.path_of(account, id, WHOLE)
    }

    /// Begins a file of an account; `None` if the account's key is gone.
    pub(crate) fn create(
        &self,
        account: AccountNumber,
    ) -> Result<Option<SplitFileWriter>, DiskError> {
        let keys = self.keys.snapshot();
        let Some((generation, key)) = keys.current(account) else { return Ok(None) };
        let sealed = IndexFile::new(&self.sealer, account, generation);
        let header = sealed.header(&self.sealer, (generation, key));
        if !self.disk.exists(&self.path)? {
            self.disk.create_dir_all(&self.path)?;
        }
        let file = self.disk.create(&self.path_of(account, sealed.id(), UNFINISHED))?;
        Ok(Some(SplitFileWriter::new(file, sealed, &header)))
    }

    /// Finishes a file, and gives it its name.
    pub(crate) fn publish(
        &self,
        writer: SplitFileWriter,
        (message_count, highest_blob): (u32, u64),
        replaces: &[IndexFileId],
    ) -> Result<(), DiskError> {
        let (account, id) = (writer.account(), writer.id());
        writer.finish(message_count, highest_blob, replaces)?;
        let unfinished = self.path_of(account, id, UNFINISHED);
        self.disk.rename(&unfinished, &self.path(account, id))
    }

    /// Removes what was begun and is not wanted; what cannot be removed goes at the next opening.
    pub(crate) fn abandon(&self, account: AccountNumber, id: IndexFileId) {
        if let Err(error) = self.disk.remove(&self.path_of(account, id, UNFINISHED)) {
            tracing::debug!(%error, "an unfinished index file stays until the store is opened");
        }
    }

    /// Opens a file.
    pub(crate) fn open(
        &self,
        account: AccountNumber,
        id: IndexFileId,
    ) -> Result<Arc<SplitFile>, ReadError> {
        let path = self.path(account, id);
        let file = self.disk.open(&path, OpenMode::Read)?;
        let keys = self.keys.snapshot();
        // Only the account's own keys: a file has the name of its account.
        let lookup = |of, generation| match of == account {
            true => keys.key(of, generation).cloned(),
            false => None,
        };
        SplitFile::open(&path, file, &lookup, Arc::clone(&self.cache)).map(Arc::new)
    }

    /// Seals a file's key under the newest key of its account, if another sealed it.
    pub(crate) fn rewrap(&self, account: AccountNumber, id: IndexFileId) -> Result<(), ReadError> {
        let keys = self.keys.snapshot();
        let Some((generation, key)) = keys.current(account) else { return Ok(()) };
        let opened = self.open(account, id)?;
        if opened.generation() == generation {
            return Ok(());
        }
        let header = opened.sealed().header(&self.sealer, (generation, key));
        let file = self.disk.open(&self.path(account, id), OpenMode::ReadWrite)?;
        // Torn, it costs the file; it fits into one sector.
        Ok(file.write_at(0, &header)?)
    }

    /// Whether a file's header names an older key than its account's newest.
    pub(crate) fn is_outdated(&self, account: AccountNumber, file: &SplitFile) -> bool {
        let newest = self.keys.snapshot().current(account).map(|(generation, _)| generation);
        newest.is_some_and(|newest| newest != file.generation())
    }

    /// All that lies in it.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> Vec<PathBuf> {
        let mut found = match self.disk.exists(&self.path).unwrap() {
            true => self.disk.list(&self.path).unwrap(),
            false => Vec::new(),
        };
        found.sort();
        found
    }

    /// Removes a file; one that cannot be removed is reported.
    pub(crate) fn remove(&self, account: AccountNumber, id: IndexFileId) {
        let path = self.path(account, id);
        match self.disk.remove(&path) {
            Err(error) if error.cause.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "an index file that is not needed any more stays");
            }
            _ => {}
        }
    }
}

/// Account and file, and whether it is whole; `None` for what is not ours.
fn read_name(path: &Path) -> Option<((AccountNumber, IndexFileId), bool)> {
    let (name, ending) = path.file_name()?.to_str()?.split_once('.')?;
    let (account, id) = name.split_once('-')?;
    if account.len() != 16 || id.len() != 32 {
        return None;
    }
    let account = AccountNumber(u64::from_str_radix(account, 16).ok()?);
    let id = u128::from_str_radix(id, 16).ok()?.to_be_bytes();
    match ending {
        WHOLE => Some(((account, id), true)),
        UNFINISHED => Some(((account, id), false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_read() {
        let name = "00000000000000ff-000102030405060708090a0b0c0d0e0f";
        let id = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let table = [
            (format!("{name}.split"), Some(((AccountNumber(255), id), true)), "whole"),
            (format!("{name}.new"), Some(((AccountNumber(255), id), false)), "being written"),
            (format!("{name}.old"), None, "another ending"),
            ("notes.split".to_owned(), None, "somebody else's"),
            (format!("{}0.split", &name[..40]), None, "too short"),
        ];
        for (name, expected, reason) in table {
            assert_eq!(read_name(&Path::new("index").join(name)), expected, "{reason}");
        }
    }
}
