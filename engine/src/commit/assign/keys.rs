//! Keys of accounts that begin and end.

use crate::error::CommitError;
use crate::format_level;
use crate::ids::{AccountNumber, KeyGeneration};
use crate::record::Body;
use crate::seal::{BlobHeader, SealedChunk};

use super::Assigner;

/// Keys that one record names.
const RECORD_KEYS_MAX: usize = 4096;

impl Assigner<'_> {
    pub(super) fn begin_keys(
        &mut self,
        keys: &[(AccountNumber, KeyGeneration)],
    ) -> Result<(), CommitError> {
        self.check_level()?;
        for keys in keys.chunks(RECORD_KEYS_MAX) {
            self.emit(AccountNumber::VOLUME, Body::KeysBegun(keys.to_vec()))?;
        }
        self.another_segment = true;
        Ok(())
    }

    pub(super) fn destroyed_key(
        &mut self,
        account: AccountNumber,
        generation: KeyGeneration,
    ) -> Result<(), CommitError> {
        self.check_level()?;
        self.emit(AccountNumber::VOLUME, Body::KeyDestroyed { account, generation })?;
        Ok(())
    }

    fn check_level(&self) -> Result<(), CommitError> {
        if self.context.format_level < format_level::KEY_GENERATIONS {
            return Err(CommitError::NotPermitted { what: BELOW_LEVEL });
        }
        Ok(())
    }

    /// Refuses a message that was sealed before a key was retired and comes now, when that key is
    /// about to be destroyed. Its sender tries again.
    pub(super) fn refuse_ending(&self, chunk: &SealedChunk) -> Result<(), CommitError> {
        if chunk.number != 0 || !self.context.keys.has_ending() {
            return Ok(());
        }
        let header = BlobHeader::parse(&chunk.bytes);
        let mut entries = header.iter().flat_map(|header| &header.entries);
        let is_ending =
            entries.any(|entry| self.context.keys.is_ending(entry.account, entry.generation));
        if is_ending { Err(CommitError::QueueFull) } else { Ok(()) }
    }
}

/// Why keys do not change in a volume of an older level.
pub(crate) const BELOW_LEVEL: &str = "the store is at a format level that has no changing keys; \
    raise it with 'pillarbox upgrade finish'";
