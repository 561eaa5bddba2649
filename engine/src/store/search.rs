//! Asking the full-text index of an account.

use super::Account;
use super::index_maker::IndexStatus;
use crate::error::ReadError;
use crate::ids::BlobId;
use crate::search::{Needle, TextAnswer};

impl Account {
    /// What the index says about a needle, of every message that is committed now.
    ///
    /// # Errors
    /// [`ReadError`] if state cannot be read.
    pub fn find_text(&self, needle: &Needle) -> Result<TextAnswer, ReadError> {
        let index = &self.inner.indexing.index;
        'again: loop {
            let Some(snapshot) = index.snapshot(self.number)? else {
                return Ok(TextAnswer::ask_all());
            };
            let (mut contains, mut ask): (Vec<BlobId>, Vec<BlobId>) = (Vec::new(), snapshot.tail);
            for split in &snapshot.splits {
                if let Err(error) = split.find(needle, &mut contains, &mut ask) {
                    tracing::warn!(%error, "a split of the index is made anew");
                    index.give_up(self.number, split)?;
                    continue 'again;
                }
            }
            return Ok(TextAnswer::of(contains, ask));
        }
    }

    /// Figures of this account's index.
    ///
    /// # Errors
    /// [`ReadError`] if state cannot be read.
    pub fn index_status(&self) -> Result<IndexStatus, ReadError> {
        let (figures, waiting_count) = self.inner.indexing.index.figures_of(self.number)?;
        Ok(IndexStatus { figures, waiting_count, ..IndexStatus::default() })
    }
}
