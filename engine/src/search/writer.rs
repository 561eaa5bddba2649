//! Writes a split in one go: terms ascending, each with its lists; then the messages.

use super::block::{BlockSink, Section, SectionsWriter};
use super::directory::{LeavesWriter, MessagesWriter};
use super::grams::GramsWriter;
use super::leaf::LeafWriter;
use super::lists::{ListsWriter, StoredLists};
use super::token::TOKEN_VERSION;
use crate::encoding::Encoder;
use crate::error::DiskError;
use crate::message::text::FOLD_VERSION;
use crate::width::u64_of;

/// A split while it is written.
pub(crate) struct SplitWriter<S> {
    sections: SectionsWriter<S>,
    leaf: LeafWriter,
    /// Where the lists and positions of the leaf's first term are.
    leaf_at: (u64, u64),
    leaves: LeavesWriter,
    grams: GramsWriter,
    messages: MessagesWriter,
    stored: StoredLists,
    term_count: u64,
}

impl<S: BlockSink> SplitWriter<S> {
    pub(crate) fn new(sink: S) -> SplitWriter<S> {
        SplitWriter {
            sections: SectionsWriter::new(sink),
            leaf: LeafWriter::default(),
            leaf_at: (0, 0),
            leaves: LeavesWriter::default(),
            grams: GramsWriter::default(),
            messages: MessagesWriter::default(),
            stored: StoredLists::default(),
            term_count: 0,
        }
    }

    /// Adds a term, which is greater than those before, with what was pushed of it.
    pub(crate) fn term(&mut self, term: &[u8], lists: &mut ListsWriter) -> Result<(), DiskError> {
        if lists.is_empty() {
            return Ok(());
        }
        self.stored.lists.bytes.clear();
        self.stored.positions.bytes.clear();
        let head = lists.finish(&mut self.stored);
        let (lists, positions) = (&self.stored.lists.bytes, &self.stored.positions.bytes);
        self.leaf.push(term, head, lists.len(), positions.len());
        self.grams.push(term);
        self.sections.put(Section::Lists, lists)?;
        self.sections.put(Section::Positions, positions)?;
        self.term_count += 1;
        if self.leaf.is_full() { self.end_leaf() } else { Ok(()) }
    }

    /// Adds a message: its blob, and the code of its length.
    pub(crate) fn message(&mut self, blob: u64, length: u8) {
        self.messages.push(blob, length);
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> Result<S, DiskError> {
        self.end_leaf()?;
        let SplitWriter { mut sections, leaves, grams, messages, term_count, .. } = self;
        let table = grams.finish(|leaves| sections.put(Section::Grams, leaves))?;
        sections.put(Section::Messages, &messages.bytes.bytes)?;
        sections.finish(|_| {
            let mut directory = Encoder::default();
            directory.u16(TOKEN_VERSION);
            directory.u16(FOLD_VERSION);
            directory.varint(u64::from(messages.count));
            directory.varint(term_count);
            leaves.encode(&mut directory);
            directory.raw(&table.bytes);
            directory.bytes
        })
    }

    fn end_leaf(&mut self) -> Result<(), DiskError> {
        let leaf = std::mem::take(&mut self.leaf);
        if leaf.count == 0 {
            return Ok(());
        }
        let now =
            (self.sections.written(Section::Lists), self.sections.written(Section::Positions));
        let (lists, positions) = (now.0 - self.leaf_at.0, now.1 - self.leaf_at.1);
        self.leaf_at = now;
        self.grams.end_leaf(self.leaves.count);
        self.leaves.push(&leaf.first, u64_of(leaf.bytes.bytes.len()), lists, positions);
        self.sections.put(Section::Terms, &leaf.bytes.bytes)
    }
}
