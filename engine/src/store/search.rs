//! Asking the full-text index of an account, and what it does not decide: the texts of messages.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Account;
use super::index_maker::IndexStatus;
use crate::error::ReadError;
use crate::ids::BlobId;
use crate::mailbox::Row;
use crate::message::Part;
use crate::message::text::SearchText;
use crate::search::{DocumentText, Needle, OpenSplit, TextAnswer, wants_another_try};

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

    /// The texts of messages as SEARCH sees them, for one search.
    pub fn search_texts(&self) -> SearchTexts {
        let time_left = self.inner.indexing.search_time;
        SearchTexts { account: self.clone(), splits: None, time_left, is_said: false }
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

/// Makes texts of messages, with those of their documents: as the index has them, so that it and
/// whoever reads a message say the same; or made now, within the time that a search may take.
pub struct SearchTexts {
    account: Account,
    /// As of when it was asked first.
    splits: Option<Vec<Arc<OpenSplit>>>,
    time_left: Duration,
    /// Whether it was said that something is not found.
    is_said: bool,
}

impl SearchTexts {
    /// All text of a message, which has that structure.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read.
    pub fn of(&mut self, row: &Row, structure: &Part) -> Result<SearchText, ReadError> {
        let message = self.account.message(row)?.read_all()?;
        let mut text = SearchText::new(&message, structure);
        let documents = match self.kept(row.blob)? {
            Some(kept) => kept,
            None => self.made(row.blob, (&message, structure)),
        };
        documents.iter().for_each(|document| text.add_document(&document.text));
        Ok(text)
    }

    /// What a split has of a message's documents; `None` if it is in no split.
    fn kept(&mut self, blob: BlobId) -> Result<Option<Arc<[DocumentText]>>, ReadError> {
        let index = &self.account.inner.indexing.index;
        let has = |splits: &[Arc<OpenSplit>]| splits.iter().any(|split| split.has(blob));
        // What they do not have may have been indexed since.
        let is_known = |splits: &Vec<_>| !index.documents().is_on() || has(splits);
        loop {
            let splits = match self.splits.take().filter(is_known) {
                Some(splits) => splits,
                None => {
                    let snapshot = index.snapshot(self.account.number)?;
                    snapshot.map(|snapshot| snapshot.splits).unwrap_or_default()
                }
            };
            let Some(split) = splits.iter().find(|split| split.has(blob)).map(Arc::clone) else {
                self.splits = Some(splits);
                return Ok(None);
            };
            match split.documents(blob) {
                Ok(texts) => {
                    self.splits = Some(splits);
                    return Ok(Some(texts.into()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a split of the index is made anew");
                    index.give_up(self.account.number, &split)?;
                }
            }
        }
    }

    fn made(&mut self, blob: BlobId, of: (&[u8], &Part)) -> Arc<[DocumentText]> {
        let documents = self.account.inner.indexing.index.documents();
        let begun = Instant::now();
        let texts = documents.of((self.account.number, blob), of, Some(begun + self.time_left));
        self.time_left = self.time_left.saturating_sub(begun.elapsed());
        if wants_another_try(&texts) && !self.is_said {
            self.is_said = true;
            let account = self.account.number;
            tracing::warn!(%account, %blob, "a search does not find what a document holds");
        }
        texts
    }
}
