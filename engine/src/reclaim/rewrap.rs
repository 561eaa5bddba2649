//! Headers of blobs whose content keys are sealed under retired keys are sealed under the newest
//! ones when they are moved. Chunks stay as they are.

use std::sync::Arc;

use crate::format_level;
use crate::ids::{AccountNumber, KeyGeneration};
use crate::seal::{BlobHeader, Key, KeyTable, KeyTableSnapshot, Sealer};
use crate::state::Committed;

/// What re-wrapping needs.
#[derive(Clone)]
pub(crate) struct Rewrapper {
    pub(crate) keys: Arc<KeyTable>,
    pub(crate) sealer: Sealer,
    pub(crate) committed: Arc<Committed>,
}

impl Rewrapper {
    /// The header as it should be, if it is not, with what follows that of a packed blob; `None`
    /// also for one that does not open, which is moved as it is: `check` names it.
    pub(super) fn rewrap(&self, header: &[u8]) -> Option<Vec<u8>> {
        if self.committed.format_level() < format_level::KEY_GENERATIONS {
            return None;
        }
        let keys = self.keys.snapshot();
        let mut new = None;
        let parsed = BlobHeader::parse(header).ok()?;
        for entry in &parsed.entries {
            let Some((generation, key)) = keys.current(entry.account) else { continue };
            if entry.generation == generation {
                continue;
            }
            let before = new.as_deref().unwrap_or(header);
            let rewrapped = self.entry(&keys, before, entry.account, (generation, key));
            new = rewrapped.or(new);
        }
        new
    }

    fn entry(
        &self,
        keys: &KeyTableSnapshot,
        header: &[u8],
        account: AccountNumber,
        newest: (KeyGeneration, &Key),
    ) -> Option<Vec<u8>> {
        let lookup = |account, generation| keys.key(account, generation).cloned();
        let parsed = BlobHeader::parse(header).ok()?;
        match parsed.rewrap(&self.sealer, account, &lookup, newest) {
            Ok((mut bytes, _)) => {
                // As long as it was, whoever its key is sealed for.
                bytes.extend_from_slice(header.get(bytes.len()..).unwrap_or_default());
                Some(bytes)
            }
            Err(error) => {
                tracing::warn!(%account, "a blob's header keeps its retired key: {error}");
                None
            }
        }
    }
}
