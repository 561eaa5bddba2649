//! What a checkpoint has to write: the pages, head blocks and mailbox rows that changed since the
//! last.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{AccountNumber, MailboxId};
use crate::mailbox::source::{BlockKey, PageKey};

/// Names of what changed; the content is taken from the frozen [`MailboxState`] when it is written.
///
/// [`MailboxState`]: crate::mailbox::MailboxState
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct DirtyPages {
    /// Mailboxes whose row changed; any change changes it.
    pub(crate) mailboxes: BTreeSet<(AccountNumber, MailboxId)>,
    /// Pages whose rows are to be written, with their number of rows.
    pub(crate) rows: BTreeMap<PageKey, u32>,
    /// Pages whose ids are to be written, with their number of rows.
    pub(crate) ids: BTreeMap<PageKey, u32>,
    /// Pages that are gone: both columns are to be deleted, though the store may never have had
    /// them.
    pub(crate) gone_pages: BTreeSet<PageKey>,
    /// Head blocks to be written.
    pub(crate) blocks: BTreeSet<BlockKey>,
    /// Head blocks to be deleted, though the store may never have had them.
    pub(crate) gone_blocks: BTreeSet<BlockKey>,
}

impl DirtyPages {
    /// Adds what changed later.
    pub(crate) fn merge(&mut self, later: DirtyPages) {
        self.mailboxes.extend(later.mailboxes);
        self.rows.extend(later.rows);
        self.ids.extend(later.ids);
        self.blocks.extend(later.blocks);
        for key in later.gone_pages {
            self.page_gone(key);
        }
        for key in later.gone_blocks {
            self.block_gone(key);
        }
    }

    /// About how many bytes a checkpoint would write: what decides when it begins.
    pub(crate) fn bytes(&self) -> u64 {
        const ROW_BYTES: u64 = 24;
        const ID_BYTES: u64 = 48;
        const VALUE_BYTES: u64 = 128;
        const BLOCK_BYTES: u64 = 4096;
        let rows: u64 = self.rows.values().map(|&count| u64::from(count) * ROW_BYTES).sum();
        let ids: u64 = self.ids.values().map(|&count| u64::from(count) * ID_BYTES).sum();
        let count = |length: usize| crate::width::u64_of(length);
        let values = count(self.mailboxes.len() + self.rows.len() + self.ids.len());
        rows + ids + values * VALUE_BYTES + count(self.blocks.len()) * BLOCK_BYTES
    }

    /// A page's key is never used again, so what was to be written of it is not.
    pub(crate) fn page_gone(&mut self, key: PageKey) {
        self.rows.remove(&key);
        self.ids.remove(&key);
        self.gone_pages.insert(key);
    }

    /// A head block's key is never used again.
    pub(crate) fn block_gone(&mut self, key: BlockKey) {
        self.blocks.remove(&key);
        self.gone_blocks.insert(key);
    }
}
