//! Writes a split in one go: terms ascending, each with its lists; then the messages.

use super::Group;
use super::block::{BlockSink, Section, SectionsWriter};
use super::directory::{DocumentPlaces, LeavesWriter, MessagesWriter, StoredMessage};
use super::documents::DocumentCount;
use super::grams::GramsWriter;
use super::leaf::LeafWriter;
use super::lists::{ListsWriter, StoredLists};
use super::ranked::LANGUAGE_VERSION;
use super::token::TOKEN_VERSION;
use crate::encoding::Encoder;
use crate::error::DiskError;
use crate::message::text::FOLD_VERSION;
use crate::width::u64_of;

/// A split while it is written.
pub(crate) struct SplitWriter<S> {
    sections: SectionsWriter<S>,
    dictionaries: [DictionaryWriter; Group::ALL.len()],
    messages: MessagesWriter,
    documents: DocumentPlaces,
    stored: StoredLists,
}

/// One of its dictionaries.
#[derive(Default)]
struct DictionaryWriter {
    leaf: LeafWriter,
    /// Where the lists and positions of the leaf's first term are.
    leaf_at: (u64, u64),
    leaves: LeavesWriter,
    grams: GramsWriter,
}

impl<S: BlockSink> SplitWriter<S> {
    /// With what the extractor is set to.
    pub(crate) fn new(sink: S, settings: u64) -> SplitWriter<S> {
        SplitWriter {
            sections: SectionsWriter::new(sink),
            dictionaries: Default::default(),
            messages: MessagesWriter::default(),
            documents: DocumentPlaces::with(settings),
            stored: StoredLists::default(),
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
        let group = Group::of(head);
        let Some(dictionary) = self.dictionaries.get_mut(group.index()) else { return Ok(()) };
        let (lists, positions) = (&self.stored.lists.bytes, &self.stored.positions.bytes);
        dictionary.leaf.push(term, head, lists.len(), positions.len());
        dictionary.grams.push(term);
        self.sections.put(Section::Lists(group), lists)?;
        self.sections.put(Section::Positions(group), positions)?;
        if dictionary.leaf.is_full() {
            dictionary.end_leaf(group, &mut self.sections)?;
        }
        Ok(())
    }

    /// Adds a message.
    pub(crate) fn message(&mut self, message: StoredMessage) {
        self.messages.push(message);
    }

    /// Adds the entry of a message's documents; messages ascend.
    pub(crate) fn documents(
        &mut self,
        message: u32,
        count: DocumentCount,
        entry: &[u8],
    ) -> Result<(), DiskError> {
        self.documents.push(message, count, entry.len());
        self.sections.put(Section::Documents, entry)
    }

    /// Writes what is left.
    pub(crate) fn finish(self) -> Result<S, DiskError> {
        let SplitWriter { mut sections, dictionaries, messages, documents, .. } = self;
        let mut directory = Encoder::default();
        directory.u16(TOKEN_VERSION);
        directory.u16(FOLD_VERSION);
        directory.u16(LANGUAGE_VERSION);
        directory.varint(u64::from(messages.count));
        for (group, mut dictionary) in Group::ALL.into_iter().zip(dictionaries) {
            dictionary.end_leaf(group, &mut sections)?;
            let put = |leaves: &[u8]| sections.put(Section::Grams(group), leaves);
            let table = dictionary.grams.finish(put)?;
            dictionary.leaves.encode(&mut directory);
            directory.raw(&table.bytes);
        }
        documents.encode(&mut directory);
        sections.put(Section::Messages, &messages.bytes.bytes)?;
        sections.finish(&directory.bytes)
    }
}

impl DictionaryWriter {
    fn end_leaf<S: BlockSink>(
        &mut self,
        group: Group,
        sections: &mut SectionsWriter<S>,
    ) -> Result<(), DiskError> {
        let leaf = std::mem::take(&mut self.leaf);
        if leaf.count == 0 {
            return Ok(());
        }
        let lists = sections.written(Section::Lists(group));
        let positions = sections.written(Section::Positions(group));
        let grown = (lists - self.leaf_at.0, positions - self.leaf_at.1);
        self.leaf_at = (lists, positions);
        self.grams.end_leaf(self.leaves.count);
        self.leaves.push(&leaf.first, u64_of(leaf.bytes.bytes.len()), grown.0, grown.1);
        sections.put(Section::Terms(group), &leaf.bytes.bytes)
    }
}
