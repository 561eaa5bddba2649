//! The directory of a split: what there is to find in its sections.
//!
//! ```text
//! directory   token_version     u16   rules by which its texts were cut (`token.rs`),
//!             fold_version      u16   folded (`message/text.rs`)
//!             language_version  u16   and their languages told (`ranked/language.rs`): what
//!                                     follows is read only where all are those of today
//!             message_count  varint
//!             of each dictionary, in the order of groups (`mod.rs`):
//!               leaf_count     varint, then of each leaf:
//!                 shared, rest            its first term, as terms of a leaf (`leaf.rs`)
//!                 terms, lists, positions varints: its bytes in the three sections
//!               grams          the table of `grams.rs`
//!             settings       u64      those of the extractor (`documents.rs`); 0: there was none
//!             documents      count, of each message that has some:
//!                              message              its number − that of the one before
//!                              documents, flawed    how many, and of how many text is missing
//!                              bytes                of its entry in the documents section
//!
//! messages section   of each message: its blob − that of the one before, zigzag varint;
//!                    its tokens, by the power of √2 that they reach, u8
//!                    its language, u8 (`ranked/language.rs`)
//! ```

use super::Group;
use super::documents::DocumentCount;
use super::grams::GramTable;
use super::leaf::Place;
use super::ranked::LANGUAGE_VERSION;
use super::token::TOKEN_VERSION;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::message::text::FOLD_VERSION;
use crate::width::{u64_of, usize_of_u32};

/// What is written of leaves.
#[derive(Default)]
pub(crate) struct LeavesWriter {
    pub(crate) count: u32,
    bytes: Encoder,
    last_first: Vec<u8>,
}

impl LeavesWriter {
    /// Adds a leaf: its first term, and its bytes in the three sections.
    pub(crate) fn push(&mut self, first: &[u8], terms: u64, lists: u64, positions: u64) {
        let shared = first.iter().zip(&self.last_first).take_while(|(a, b)| a == b).count();
        self.bytes.count(shared);
        self.bytes.blob(first.get(shared..).unwrap_or_default());
        for length in [terms, lists, positions] {
            self.bytes.varint(length);
        }
        self.last_first.clear();
        self.last_first.extend_from_slice(first);
        self.count += 1;
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.varint(u64::from(self.count));
        out.raw(&self.bytes.bytes);
    }
}

/// Leaves, opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Leaves {
    /// First terms, end to end, and where each ends.
    firsts: Vec<u8>,
    first_ends: Vec<usize>,
    /// Where each begins in the three sections; one more, where the last ends.
    starts: Vec<[u64; 3]>,
}

/// Where a leaf is, and its lists and positions begin.
pub(crate) struct LeafPlace {
    pub(crate) terms: Place,
    pub(crate) lists: u64,
    pub(crate) positions: u64,
}

impl Leaves {
    fn decode(bytes: &mut Decoder<'_>) -> Result<Leaves, Broken> {
        let mut leaves = Leaves::default();
        let mut first: Vec<u8> = Vec::new();
        let mut start = [0u64; 3];
        for _ in 0..bytes.count()? {
            let shared = usize_of_u32(bytes.u32()?);
            if shared > first.len() {
                return Err("a term shares more than there is");
            }
            first.truncate(shared);
            first.extend_from_slice(bytes.blob()?);
            leaves.firsts.extend_from_slice(&first);
            leaves.first_ends.push(leaves.firsts.len());
            leaves.starts.push(start);
            for start in &mut start {
                *start = start.checked_add(bytes.varint()?).ok_or("a length overflows")?;
            }
        }
        leaves.starts.push(start);
        Ok(leaves)
    }

    pub(crate) fn count(&self) -> usize {
        self.first_ends.len()
    }

    fn first(&self, leaf: usize) -> &[u8] {
        let begin = leaf.checked_sub(1).and_then(|before| self.first_ends.get(before));
        let end = self.first_ends.get(leaf).copied().unwrap_or(0);
        self.firsts.get(begin.copied().unwrap_or(0)..end).unwrap_or_default()
    }

    /// The leaf in which a term is, if it is anywhere; the first one for what precedes all.
    pub(crate) fn of_term(&self, term: &[u8]) -> usize {
        let (mut from, mut to) = (0, self.count());
        while from < to {
            let middle = from.midpoint(to);
            if self.first(middle) <= term { from = middle + 1 } else { to = middle }
        }
        from.saturating_sub(1)
    }

    pub(crate) fn place(&self, leaf: usize) -> Option<LeafPlace> {
        let [terms, lists, positions] = *self.starts.get(leaf)?;
        let [end, ..] = *self.starts.get(leaf.checked_add(1)?)?;
        Some(LeafPlace { terms: terms..end, lists, positions })
    }

    fn bytes(&self) -> usize {
        self.firsts.len() + self.first_ends.len() * 8 + self.starts.len() * 24
    }
}

/// A split's directory, opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Directory {
    /// Of tokens, folding and languages.
    versions: [u16; 3],
    pub(crate) message_count: u32,
    /// By group.
    dictionaries: [Dictionary; Group::ALL.len()],
    pub(crate) documents: DocumentPlaces,
}

/// One of the dictionaries of a split.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dictionary {
    pub(crate) leaves: Leaves,
    pub(crate) grams: GramTable,
}

impl Directory {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Directory, Broken> {
        let mut left = Decoder::new(bytes);
        let mut directory =
            Directory { versions: [left.u16()?, left.u16()?, left.u16()?], ..Directory::default() };
        if !directory.is_current() {
            return Ok(directory);
        }
        directory.message_count = left.u32()?;
        for dictionary in &mut directory.dictionaries {
            *dictionary = Dictionary {
                leaves: Leaves::decode(&mut left)?,
                grams: GramTable::decode(&mut left)?,
            };
        }
        directory.documents = DocumentPlaces::decode(&mut left)?;
        left.end()?;
        Ok(directory)
    }

    /// Whether it was made by the rules of today.
    pub(crate) fn is_current(&self) -> bool {
        self.versions == [TOKEN_VERSION, FOLD_VERSION, LANGUAGE_VERSION]
    }

    /// The dictionary of a group.
    pub(crate) fn of(&self, group: Group) -> Option<&Dictionary> {
        self.dictionaries.get(group.index())
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |one: &Dictionary| one.leaves.bytes() + one.grams.bytes();
        self.dictionaries.iter().map(bytes).sum::<usize>() + self.documents.bytes()
    }
}

/// Where the entries of messages with documents are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct DocumentPlaces {
    /// What the extractor was set to.
    pub(crate) settings: u64,
    /// By number of the message, ascending: its documents, and where its entry ends.
    places: Vec<(u32, DocumentCount, u64)>,
}

impl DocumentPlaces {
    /// None, with what the extractor is set to.
    pub(crate) fn with(settings: u64) -> DocumentPlaces {
        DocumentPlaces { settings, places: Vec::new() }
    }

    /// Adds the entry of a message behind those before.
    pub(crate) fn push(&mut self, message: u32, count: DocumentCount, bytes: usize) {
        let begin = self.places.last().map_or(0, |(.., end)| *end);
        self.places.push((message, count, begin + u64_of(bytes)));
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u64(self.settings);
        out.count(self.places.len());
        let mut before = (0, 0);
        for (message, count, end) in &self.places {
            out.varint(u64::from(message - before.0));
            out.varint(u64::from(count.all));
            out.varint(u64::from(count.flawed));
            out.varint(end - before.1);
            before = (*message, *end);
        }
    }

    fn decode(bytes: &mut Decoder<'_>) -> Result<DocumentPlaces, Broken> {
        let settings = bytes.u64()?;
        let mut before = (0u32, 0u64);
        let places = bytes.list(|bytes| {
            let message = before.0.checked_add(bytes.u32()?).ok_or("a message is too far")?;
            let count = DocumentCount { all: bytes.u32()?, flawed: bytes.u32()? };
            let end = before.1.checked_add(bytes.varint()?).ok_or("a length overflows")?;
            before = (message, end);
            Ok((message, count, end))
        })?;
        Ok(DocumentPlaces { settings, places })
    }

    /// Documents of a message, and where its entry is in the section.
    pub(crate) fn of(&self, message: u32) -> Option<(DocumentCount, Place)> {
        let at = self.places.binary_search_by_key(&message, |(message, ..)| *message).ok()?;
        let before = at.checked_sub(1).and_then(|before| self.places.get(before));
        let begin = before.map_or(0, |(.., end)| *end);
        self.places.get(at).map(|(_, count, end)| (*count, begin..*end))
    }

    /// Messages that have some.
    pub(crate) fn messages(&self) -> impl Iterator<Item = u32> + '_ {
        self.places.iter().map(|(message, ..)| *message)
    }

    /// All documents.
    pub(crate) fn count(&self) -> (u64, u64) {
        self.places.iter().fold((0, 0), |sum, (_, count, _)| {
            (sum.0 + u64::from(count.all), sum.1 + u64::from(count.flawed))
        })
    }

    fn bytes(&self) -> usize {
        self.places.len() * size_of::<(u32, DocumentCount, u64)>()
    }
}

/// What a split knows of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StoredMessage {
    pub(crate) blob: u64,
    /// The code of its length.
    pub(crate) length: u8,
    /// The number of its language.
    pub(crate) language: u8,
}

/// The messages of a split while they are written.
#[derive(Default)]
pub(crate) struct MessagesWriter {
    pub(crate) count: u32,
    pub(crate) bytes: Encoder,
    last: u64,
}

impl MessagesWriter {
    /// Adds one.
    pub(crate) fn push(&mut self, StoredMessage { blob, length, language }: StoredMessage) {
        self.bytes.signed(blob.wrapping_sub(self.last).cast_signed());
        self.bytes.u8(length);
        self.bytes.u8(language);
        self.last = blob;
        self.count += 1;
    }
}

/// The messages of a split: their blobs, the codes of their lengths, and their languages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Messages {
    pub(crate) blobs: Vec<u64>,
    pub(crate) lengths: Vec<u8>,
    pub(crate) languages: Vec<u8>,
}

impl Messages {
    pub(crate) fn decode(bytes: &[u8], count: u32) -> Result<Messages, Broken> {
        let mut left = Decoder::new(bytes);
        let mut messages = Messages::default();
        let mut blob = 0u64;
        for _ in 0..count {
            blob = blob.wrapping_add(left.signed()?.cast_unsigned());
            messages.blobs.push(blob);
            messages.lengths.push(left.u8()?);
            messages.languages.push(left.u8()?);
        }
        left.end()?;
        Ok(messages)
    }
}

/// The code of a length in tokens: twice its binary logarithm, rounded down.
pub(crate) fn length_code(tokens: u64) -> u8 {
    let squared = u128::from(tokens) * u128::from(tokens);
    u8::try_from(squared.checked_ilog2().unwrap_or(0)).unwrap_or(u8::MAX)
}
