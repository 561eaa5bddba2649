//! Asking the full-text index of an account, and what it does not decide: the texts of messages.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::Account;
use super::index_maker::IndexStatus;
use super::text_cache::TextCache;
use crate::error::ReadError;
use crate::ids::{BlobId, Lsn};
use crate::mailbox::Row;
use crate::message::Part;
use crate::message::text::SearchText;
use crate::search::{
    DocumentText, Needle, OpenSplit, RankedAnswer, Statistics, TextAnswer, Words, wants_another_try,
};

/// A split of so many messages is worth a thread.
const LARGE_SPLIT_MESSAGES: u32 = if cfg!(test) { 4 } else { 32 << 10 };
/// From the lowest to the highest.
const ALL_BLOBS: (BlobId, BlobId) = (BlobId(Lsn::ZERO), BlobId(Lsn::MAX));
/// Threads of one search.
const SEARCH_THREADS_MAX: usize = 4;

impl Account {
    /// What the index says about a needle, of every message that is committed now.
    ///
    /// # Errors
    /// [`ReadError`] if state cannot be read.
    pub fn find_text(&self, needle: &Needle) -> Result<TextAnswer, ReadError> {
        self.find_text_within(needle, ALL_BLOBS)
    }

    /// The same of the messages from one blob to another: of others the answer says nothing.
    ///
    /// # Errors
    /// [`ReadError`] if state cannot be read.
    pub fn find_text_within(
        &self,
        needle: &Needle,
        within: (BlobId, BlobId),
    ) -> Result<TextAnswer, ReadError> {
        let index = &self.inner.indexing.index;
        'again: loop {
            let Some(snapshot) = index.snapshot(self.number)? else {
                return Ok(TextAnswer::ask_all());
            };
            let (mut contains, mut ask): (Vec<BlobId>, Vec<BlobId>) = (Vec::new(), snapshot.tail);
            ask.retain(|blob| (within.0..=within.1).contains(blob));
            let found = find_in_all(&snapshot.splits, needle, within);
            for (split, found) in snapshot.splits.iter().zip(found) {
                match found {
                    Ok(mut found) => {
                        contains.append(&mut found.0);
                        ask.append(&mut found.1);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a split of the index is made anew");
                        index.give_up(self.number, split)?;
                        continue 'again;
                    }
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

/// Messages that contain a needle, and such that have to be asked.
type Found = Result<(Vec<BlobId>, Vec<BlobId>), ReadError>;

/// What each split says. Large ones are asked side by side, on as many threads as there are
/// processors, [`SEARCH_THREADS_MAX`] at most.
fn find_in_all(splits: &[Arc<OpenSplit>], needle: &Needle, within: (BlobId, BlobId)) -> Vec<Found> {
    let find = |split: &Arc<OpenSplit>| {
        let (mut contains, mut ask) = (Vec::new(), Vec::new());
        split.find(needle, within, (&mut contains, &mut ask)).map(|()| (contains, ask))
    };
    let large = splits.iter().filter(|split| split.message_count() >= LARGE_SPLIT_MESSAGES).count();
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = large.min(processors).min(SEARCH_THREADS_MAX);
    if threads < 2 {
        return splits.iter().map(find).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(split) = splits.get(index) else { return found };
            found.push((index, find(split)));
        }
    };
    let mut found = std::thread::scope(|scope| {
        // With fewer of them it takes longer.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut found = work();
        for other in others {
            found.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    found.sort_unstable_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
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
    pub fn of(&mut self, row: &Row, structure: &Part) -> Result<Arc<SearchText>, ReadError> {
        let message = self.account.message(row)?.read_all()?;
        let mut text = SearchText::new(&message, structure);
        let documents = match self.kept(row.blob)? {
            Some(kept) => kept,
            None => self.made(row.blob, (&message, structure)),
        };
        documents.iter().for_each(|document| text.add_document(&document.text));
        let text = Arc::new(text);
        if !wants_another_try(&documents) {
            self.cache().keep((self.account.number, row.blob), &text);
        }
        Ok(text)
    }

    /// The same, if it was made not long ago.
    pub fn known(&self, row: &Row) -> Option<Arc<SearchText>> {
        self.cache().find((self.account.number, row.blob))
    }

    fn cache(&self) -> &TextCache {
        &self.account.inner.indexing.texts
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
