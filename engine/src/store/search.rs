//! Asking the full-text index of an account.

use super::Account;
use super::index_maker::IndexStatus;
use crate::error::ReadError;
use crate::ids::BlobId;
use crate::search::{Needle, RankedAnswer, Statistics, TextAnswer, Words};

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

    /// What the index says about the words of a query, of every message that is committed now.
    ///
    /// # Errors
    /// [`ReadError`] if state cannot be read.
    pub fn find_ranked(&self, words: &Words) -> Result<RankedAnswer, ReadError> {
        let index = &self.inner.indexing.index;
        if !words.has_classes() {
            return Ok(RankedAnswer::ask_all());
        }
        'again: loop {
            let Some(snapshot) = index.snapshot(self.number)? else {
                return Ok(RankedAnswer::ask_all());
            };
            let (mut ranks, mut statistics) = (Vec::new(), Statistics::default());
            for split in &snapshot.splits {
                match split.rank(words, &mut statistics) {
                    Ok(of_split) => ranks.push(of_split),
                    Err(error) => {
                        tracing::warn!(%error, "a split of the index is made anew");
                        index.give_up(self.number, split)?;
                        continue 'again;
                    }
                }
            }
            return Ok(RankedAnswer::of(ranks, snapshot.tail, statistics));
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
