//! Texts of documents: made by an [`Extractor`] from outside, kept in the split of their message.
//!
//! ```text
//! message ─► documents ─► extractor ─► texts ─┬─► tokens, as those of the body
//!                                             └─► documents section of the split, as they are
//! merge: from section to section             whoever asks a message's text: from the section
//! messages of the tail: made when they are asked, within the time of the search; kept in memory
//!
//! entry of a message   documents  count, then of each:
//!                        flaw       u8    0: none; else why its text is not there, or not all
//!                        text       UTF-8, as the extractor made it
//! ```
//!
//! # Invariants
//! 1. What a split says of a message's words, and what is told as its text, comes from the same
//!    entry: so an extractor that is changed, or gone, changes no answer of what was indexed.
//! 2. A document that fails is tried once, not at each start: its flaw is in the entry.
//! 3. [`Flaw::NotNow`] is in an entry only when too many messages would have to wait for it.
//!
//! # What can go wrong
//! The extractor: whatever it does, it costs the text of that document. It says so by account,
//! blob and offset, and tells no name and no text.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, BlobId};
use crate::limits::DOCUMENT_TEXT_BYTES_MAX;
use crate::message::documents::{Document, documents, has_document};
use crate::message::{Part, StoredSummary};
use crate::width::u64_of;

/// Settings of a split whose messages were indexed with several.
pub(crate) const MIXED: u64 = u64::MAX;
/// Memory for texts of messages that are in no split yet.
const CACHE_BYTES: u64 = 8 << 20;

/// Makes text of documents.
pub trait Extractor: Send + Sync {
    /// Whether it takes documents of that media type (in small letters) or file name.
    fn takes(&self, media_type: &str, name: &str) -> bool;

    /// What decides which texts come, in words: what was indexed with other ones is told apart.
    fn settings(&self) -> String;

    /// The text of a document; with `until` by then, or [`Flaw::NotNow`].
    fn extract(&self, document: &Document<'_>, until: Option<Instant>) -> Extracted;

    /// Ends what runs, and takes no more: the store closes.
    fn stop(&self);
}

/// What an extractor made of a document.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extracted {
    /// Its text, or as much as there is.
    pub text: String,
    /// What is wrong, and how it showed, for the log.
    pub flaw: Option<(Flaw, String)>,
}

/// Why a document's text is not there, or not all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// It is larger than its extractor may read.
    TooLarge,
    /// Its extractor took too long.
    TookTooLong,
    /// Its extractor failed, or ended on a limit.
    Failed,
    /// There is more text than is kept.
    Cut,
    /// Its extractor could not be had, or had no time; it may be asked again.
    NotNow,
}

impl Flaw {
    const ALL: [Flaw; 5] =
        [Flaw::TooLarge, Flaw::TookTooLong, Flaw::Failed, Flaw::Cut, Flaw::NotNow];

    const fn number(self) -> u8 {
        match self {
            Flaw::TooLarge => 1,
            Flaw::TookTooLong => 2,
            Flaw::Failed => 3,
            Flaw::Cut => 4,
            Flaw::NotNow => 5,
        }
    }
}

/// The text of one document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DocumentText {
    pub(crate) flaw: Option<Flaw>,
    pub(crate) text: String,
}

/// Documents of some messages, and how many of them have a flaw.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct DocumentCount {
    pub(crate) all: u32,
    pub(crate) flawed: u32,
}

impl DocumentCount {
    pub(crate) fn of(texts: &[DocumentText]) -> DocumentCount {
        let mut count = DocumentCount::default();
        for text in texts {
            count.all += 1;
            count.flawed += u32::from(text.flaw.is_some());
        }
        count
    }
}

/// The entry of a message.
pub(crate) fn encode(texts: &[DocumentText]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.count(texts.len());
    for DocumentText { flaw, text } in texts {
        out.u8(flaw.map_or(0, Flaw::number));
        out.text(text);
    }
    out.bytes
}

/// Reads an entry.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<DocumentText>, Broken> {
    let mut from = Decoder::new(bytes);
    let texts = from.list(|from| {
        let number = from.u8()?;
        let flaw = Flaw::ALL.into_iter().find(|flaw| flaw.number() == number);
        if number != 0 && flaw.is_none() {
            return Err("a flaw is not known");
        }
        Ok(DocumentText { flaw, text: from.text()?.to_owned() })
    })?;
    from.end()?;
    Ok(texts)
}

/// Texts of a message's documents as they are wanted.
pub(crate) type Texts = Arc<[DocumentText]>;

/// Whether a text is not there only for now.
pub(crate) fn wants_another_try(texts: &[DocumentText]) -> bool {
    texts.iter().any(|one| one.flaw == Some(Flaw::NotNow))
}

/// Makes texts of documents, if there is an extractor.
pub(crate) struct Documents {
    extractor: Option<Arc<dyn Extractor>>,
    settings: u64,
    cache: Cache<BlobId, Texts, Weight>,
    /// Whether the last one could not be had: that is said once.
    is_away: AtomicBool,
}

#[derive(Clone)]
struct Weight;

impl Weighter<BlobId, Texts> for Weight {
    fn weight(&self, _key: &BlobId, texts: &Texts) -> u64 {
        128 + texts.iter().map(|one| 32 + u64_of(one.text.len())).sum::<u64>()
    }
}

impl Documents {
    pub(crate) fn new(extractor: Option<Arc<dyn Extractor>>) -> Documents {
        let settings = extractor.as_ref().map_or(0, |extractor| {
            let hash = blake3::hash(extractor.settings().as_bytes());
            let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
            // 0 is nobody's, and the other end is of splits that were merged of several.
            u64::from_le_bytes([a, b, c, d, e, f, g, h]).clamp(1, MIXED - 1)
        });
        let cache = Cache::with_weighter(1000, CACHE_BYTES, Weight);
        Documents { extractor, settings, cache, is_away: AtomicBool::new(false) }
    }

    /// Whether there is an extractor.
    pub(crate) fn is_on(&self) -> bool {
        self.extractor.is_some()
    }

    /// What the extractor is set to, as a number; 0 for none.
    pub(crate) fn settings(&self) -> u64 {
        self.settings
    }

    /// Whether a message has documents that it takes.
    pub(crate) fn has_some(&self, summary: &StoredSummary) -> bool {
        let Some(extractor) = &self.extractor else { return false };
        has_document(&summary.structure_tree(), &|kind, name| extractor.takes(kind, name))
    }

    /// The texts of a message's documents.
    pub(crate) fn of(
        &self,
        (account, blob): (AccountNumber, BlobId),
        (message, structure): (&[u8], &Part),
        until: Option<Instant>,
    ) -> Texts {
        let Some(extractor) = &self.extractor else { return Arc::new([]) };
        let found = documents(message, structure, &|kind, name| extractor.takes(kind, name));
        if found.is_empty() {
            return Arc::new([]);
        }
        if let Some(texts) = self.cache.get(&blob) {
            return texts;
        }
        let mut bytes_left = DOCUMENT_TEXT_BYTES_MAX;
        let mut texts = Vec::with_capacity(found.len());
        for document in found {
            let Extracted { text, mut flaw } = extractor.extract(&document, until);
            let kept = text.get(..text.floor_char_boundary(bytes_left)).unwrap_or_default();
            if kept.len() < text.len() {
                flaw = Some((Flaw::Cut, "the documents of its message have too much".to_owned()));
            }
            bytes_left -= kept.len();
            self.say((account, blob), &document, flaw.as_ref());
            let flaw = flaw.map(|(flaw, _)| flaw);
            texts.push(DocumentText { flaw, text: kept.to_owned() });
        }
        let texts: Texts = texts.into();
        if !wants_another_try(&texts) {
            self.cache.insert(blob, Arc::clone(&texts));
        }
        texts
    }

    fn say(
        &self,
        (account, blob): (AccountNumber, BlobId),
        document: &Document<'_>,
        flaw: Option<&(Flaw, String)>,
    ) {
        let Some((flaw, reason)) = flaw else {
            self.is_away.store(false, Ordering::Relaxed);
            return;
        };
        let at = document.offset;
        if *flaw != Flaw::NotNow {
            tracing::warn!(%account, %blob, at, reason, "a document gave no text, or not all");
        } else if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(%account, %blob, at, reason, "a document's text is not to be had now");
        } else {
            tracing::debug!(%account, %blob, at, reason, "nor is this one's");
        }
    }

    /// Ends what runs.
    pub(crate) fn stop(&self) {
        if let Some(extractor) = &self.extractor {
            extractor.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_entry_is_read_as_it_was_written(
            texts in proptest::collection::vec((0usize..6, "\\PC{0,20}"), 0..5),
        ) {
            let text = |(flaw, text): (usize, String)| {
                DocumentText { flaw: Flaw::ALL.get(flaw).copied(), text }
            };
            let texts: Vec<DocumentText> = texts.into_iter().map(text).collect();
            let bytes = encode(&texts);
            prop_assert_eq!(decode(&bytes).unwrap(), texts);
            if let Some(cut) = bytes.get(..bytes.len() - 1) {
                prop_assert!(decode(cut).is_err());
            }
        }
    }
}
