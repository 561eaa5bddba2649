//! Makes a split of messages: gathers where every token stands, sorts, and writes.
//!
//! What is gathered takes memory; whoever adds messages ends a split when [`SplitBuilder::bytes`]
//! says that it is enough.

use std::collections::HashMap;

use super::Class;
use super::block::BlockSink;
use super::directory::{StoredMessage, length_code};
use super::documents::{DocumentCount, DocumentText, encode};
use super::lists::{ListsWriter, Occurrence};
use super::ranked::Language;
use super::texts::{SEPARATOR, Texts};
use super::token::{Separator, Tokens, cut};
use super::writer::SplitWriter;
use crate::error::DiskError;
use crate::width::{u32_of, usize_of_u32};

/// Messages of a split at most: a message and a class fit 32 bits.
pub(crate) const SPLIT_MESSAGES_MAX: u32 = 1 << 24;
/// Places that a class of a message has at most: what stands behind has no place, and is asked.
const PLACES_MAX: u32 = 1 << 30;

/// One token at one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    term: u32,
    /// Class × [`SPLIT_MESSAGES_MAX`] + message.
    at: u32,
    occurrence: Occurrence,
}

/// Messages on their way into a split.
#[derive(Default)]
pub(crate) struct SplitBuilder {
    numbers: HashMap<Box<str>, u32>,
    term_bytes: usize,
    entries: Vec<Entry>,
    messages: Vec<StoredMessage>,
    /// Room for one more term.
    separator: String,
    /// Entries of messages with documents, by the messages' numbers.
    documents: Vec<(u32, DocumentCount, Vec<u8>)>,
    document_bytes: usize,
    /// What the extractor is set to.
    settings: u64,
}

impl SplitBuilder {
    /// With what the extractor is set to.
    pub(crate) fn with(settings: u64) -> SplitBuilder {
        SplitBuilder { settings, ..SplitBuilder::default() }
    }

    /// Messages so far.
    pub(crate) fn message_count(&self) -> u32 {
        u32_of(self.messages.len())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.term_bytes
            + self.numbers.capacity() * 24
            + self.document_bytes
    }

    /// Keeps the texts of documents of the message that is added next; they are among its texts.
    pub(crate) fn keep_documents(&mut self, texts: &[DocumentText]) {
        if !texts.is_empty() {
            let entry = encode(texts);
            self.document_bytes += entry.len();
            self.documents.push((u32_of(self.messages.len()), DocumentCount::of(texts), entry));
        }
    }

    /// Adds a message, by its blob.
    pub(crate) fn add(&mut self, blob: u64, texts: &Texts<'_>) {
        let message = u32_of(self.messages.len());
        let mut places = [0u32; Class::ALL.len()];
        let mut token_count = 0u64;
        texts.each(|class, text| {
            let Some(place) = places.get_mut(usize::from(class.number())) else { return };
            let mut tokens = Tokens::of(text);
            for (number, token) in tokens.by_ref().enumerate() {
                if let Separator::Other(separator) = token.before
                    && (number > 0 || !separator.is_empty())
                {
                    self.put_separator(separator, class, message, *place);
                }
                let (term, _) = cut(token.text);
                let is_usual = token.before == Separator::Usual;
                self.put(term, class, message, Occurrence::new(*place, is_usual));
                *place = (*place + 1).min(PLACES_MAX);
                token_count += 1;
            }
            if !tokens.rest().is_empty() {
                self.put_separator(tokens.rest(), class, message, *place);
            }
            *place = (*place + 1).min(PLACES_MAX);
        });
        texts.each_mark(|mark| self.put(mark, Class::Header, message, Occurrence::NONE));
        let (length, language) = (length_code(token_count), Language::of(texts.text).0);
        self.messages.push(StoredMessage { blob, length, language });
    }

    fn put_separator(&mut self, separator: &str, class: Class, message: u32, place: u32) {
        let mut term = std::mem::take(&mut self.separator);
        term.clear();
        term.push(SEPARATOR);
        term += cut(separator).0;
        self.put(&term, class, message, Occurrence::new(place, false));
        self.separator = term;
    }

    fn put(&mut self, term: &str, class: Class, message: u32, occurrence: Occurrence) {
        let number = match self.numbers.get(term) {
            Some(number) => *number,
            None => {
                let number = u32_of(self.numbers.len());
                self.numbers.insert(term.into(), number);
                self.term_bytes += term.len();
                number
            }
        };
        let at = u32::from(class.number()) * SPLIT_MESSAGES_MAX + message;
        self.entries.push(Entry { term: number, at, occurrence });
    }

    /// Writes the split.
    pub(crate) fn write<S: BlockSink>(self, sink: S) -> Result<S, DiskError> {
        let SplitBuilder { numbers, mut entries, messages, documents, settings, .. } = self;
        let mut terms: Vec<(Box<str>, u32)> = numbers.into_iter().collect();
        terms.sort_unstable();
        let mut ranks = vec![0u32; terms.len()];
        for (rank, (_, number)) in (0..).zip(&terms) {
            if let Some(place) = ranks.get_mut(usize_of_u32(*number)) {
                *place = rank;
            }
        }
        for entry in &mut entries {
            entry.term = ranks.get(usize_of_u32(entry.term)).copied().unwrap_or(entry.term);
        }
        entries.sort_unstable();
        // A mark that a message has twice is one.
        entries.dedup();
        let mut writer = SplitWriter::new(sink, settings);
        let mut lists = ListsWriter::default();
        let mut occurrences = Vec::new();
        for of_term in entries.chunk_by(|a, b| a.term == b.term) {
            for posting in of_term.chunk_by(|a, b| a.at == b.at) {
                let Some(first) = posting.first() else { continue };
                let class = u8::try_from(first.at / SPLIT_MESSAGES_MAX).ok();
                let Some(class) = class.and_then(|class| Class::of(class).ok()) else { continue };
                occurrences.clear();
                let places = posting.iter().map(|entry| entry.occurrence);
                occurrences.extend(places.filter(|occurrence| *occurrence != Occurrence::NONE));
                lists.push(class, first.at % SPLIT_MESSAGES_MAX, &occurrences);
            }
            let number = of_term.first().map_or(0, |entry| entry.term);
            if let Some((term, _)) = terms.get(usize_of_u32(number)) {
                writer.term(term.as_bytes(), &mut lists)?;
            }
        }
        for message in messages {
            writer.message(message);
        }
        for (message, count, entry) in documents {
            writer.documents(message, count, &entry)?;
        }
        writer.finish()
    }
}
