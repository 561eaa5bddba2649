//! A split's bytes: one stream in blocks, of which its sections take turns.
//!
//! ```text
//! stream    block │ block │ … │ block │ tail
//!           16 KiB of one section each   ends of the sections, directory, footer
//! ```
//!
//! Sections grow side by side while a split is written in one go: whenever one of them has filled a
//! block, that is the stream's next. Which blocks are whose, the directory says. What does not fill
//! a block stands in the tail, one section behind the other, so a small split has no padding.
//! Where the stream lies, and how its blocks are sealed, is the affair of a [`BlockSink`] and a
//! [`BlockSource`].

use std::ops::Range;
use std::sync::Arc;

use super::{Group, broken};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::{DiskError, ReadError};
use crate::width::{u64_of, usize_of};

/// Bytes of every block of a split but its last.
pub(crate) const SPLIT_BLOCK_BYTES: usize = 16 << 10;

/// Takes the blocks of a split as they become full.
pub(crate) trait BlockSink {
    /// Takes the next one: [`SPLIT_BLOCK_BYTES`], but for the last, which has at least one byte.
    fn put(&mut self, block: &[u8]) -> Result<(), DiskError>;
}

/// Gives the blocks of a split.
pub(crate) trait BlockSource: Send + Sync {
    /// Bytes of all blocks together.
    fn len(&self) -> u64;

    /// One of them.
    fn block(&self, number: u32) -> Result<Arc<[u8]>, ReadError>;
}

/// The parts of a split that grow while it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    /// The leaves of a dictionary (`leaf.rs`).
    Terms(Group),
    /// Its postings (`lists.rs`).
    Lists(Group),
    /// Its places (`lists.rs`).
    Positions(Group),
    /// Its leaves by grams (`grams.rs`).
    Grams(Group),
    /// What messages there are (`directory.rs`).
    Messages,
    /// The texts of their documents (`documents.rs`).
    Documents,
}

/// How many there are.
const SECTION_COUNT: usize = 4 * Group::ALL.len() + 2;

impl Section {
    const fn index(self) -> usize {
        match self {
            Section::Terms(group) => group.index() * 4,
            Section::Lists(group) => group.index() * 4 + 1,
            Section::Positions(group) => group.index() * 4 + 2,
            Section::Grams(group) => group.index() * 4 + 3,
            Section::Messages => SECTION_COUNT - 2,
            Section::Documents => SECTION_COUNT - 1,
        }
    }
}

/// Writes sections side by side.
pub(crate) struct SectionsWriter<S> {
    sink: S,
    block_count: u32,
    open: [OpenSection; SECTION_COUNT],
}

#[derive(Default)]
struct OpenSection {
    /// What fills no block yet.
    rest: Vec<u8>,
    blocks: Vec<u32>,
}

impl<S: BlockSink> SectionsWriter<S> {
    pub(crate) fn new(sink: S) -> SectionsWriter<S> {
        SectionsWriter { sink, block_count: 0, open: Default::default() }
    }

    /// Bytes of a section so far: where what is written next will stand.
    pub(crate) fn written(&self, section: Section) -> u64 {
        self.open.get(section.index()).map_or(0, |open| {
            u64_of(open.blocks.len()) * u64_of(SPLIT_BLOCK_BYTES) + u64_of(open.rest.len())
        })
    }

    /// Appends to a section.
    pub(crate) fn put(&mut self, section: Section, mut bytes: &[u8]) -> Result<(), DiskError> {
        let Some(open) = self.open.get_mut(section.index()) else { return Ok(()) };
        while !bytes.is_empty() {
            let room = SPLIT_BLOCK_BYTES - open.rest.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            open.rest.extend_from_slice(now);
            bytes = later;
            if open.rest.len() == SPLIT_BLOCK_BYTES {
                self.sink.put(&open.rest)?;
                open.blocks.push(self.block_count);
                self.block_count += 1;
                open.rest.clear();
            }
        }
        Ok(())
    }

    /// Writes the tail: what is left of the sections, their map and the directory, the footer.
    pub(crate) fn finish(mut self, directory: &[u8]) -> Result<S, DiskError> {
        let mut tail = Vec::new();
        let mut map = SectionMap::default();
        let tail_at = u64::from(self.block_count) * u64_of(SPLIT_BLOCK_BYTES);
        for (open, mapped) in self.open.iter_mut().zip(&mut map.sections) {
            mapped.blocks = std::mem::take(&mut open.blocks);
            mapped.tail_at = tail_at + u64_of(tail.len());
            mapped.tail_len = u64_of(open.rest.len());
            tail.append(&mut open.rest);
        }
        let mut head = Encoder::default();
        map.encode(&mut head);
        let head_at = tail_at + u64_of(tail.len());
        tail.append(&mut head.bytes);
        tail.extend_from_slice(directory);
        let length = tail_at + u64_of(tail.len()) - head_at;
        tail.extend_from_slice(&FOOTER_MAGIC);
        tail.extend_from_slice(&FORMAT.to_le_bytes());
        tail.extend_from_slice(&head_at.to_le_bytes());
        tail.extend_from_slice(&length.to_le_bytes());
        for block in tail.chunks(SPLIT_BLOCK_BYTES) {
            self.sink.put(block)?;
        }
        Ok(self.sink)
    }
}

/// ```text
/// offset  size  field
///      0     4  magic      "PBXS"
///      4     4  format     2
///      8     8  at         where the directory begins in the stream
///     16     8  length     its bytes
/// ```
const FOOTER_BYTES: usize = 24;
const FOOTER_MAGIC: [u8; 4] = *b"PBXS";
/// Format of splits.
pub(crate) const FORMAT: u32 = 2;

/// Where the sections of a split lie.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SectionMap {
    sections: [MappedSection; SECTION_COUNT],
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct MappedSection {
    /// Its full blocks, by their numbers in the stream.
    blocks: Vec<u32>,
    /// Where the rest lies in the stream, and how long it is.
    tail_at: u64,
    tail_len: u64,
}

impl SectionMap {
    fn encode(&self, out: &mut Encoder) {
        for section in &self.sections {
            out.count(section.blocks.len());
            let mut before = 0;
            for block in &section.blocks {
                out.varint(u64::from(block - before));
                before = *block;
            }
            out.varint(section.tail_at);
            out.varint(section.tail_len);
        }
    }

    fn decode(bytes: &mut Decoder<'_>) -> Result<SectionMap, Broken> {
        let mut map = SectionMap::default();
        for section in &mut map.sections {
            let mut before = 0u32;
            section.blocks = bytes.list(|bytes| {
                before = before.checked_add(bytes.u32()?).ok_or("a block exceeds 32 bits")?;
                Ok(before)
            })?;
            section.tail_at = bytes.varint()?;
            section.tail_len = bytes.varint()?;
        }
        Ok(map)
    }

    /// Bytes of a section.
    pub(crate) fn length(&self, section: Section) -> u64 {
        self.sections.get(section.index()).map_or(0, |mapped| {
            (u64_of(mapped.blocks.len()) * u64_of(SPLIT_BLOCK_BYTES))
                .saturating_add(mapped.tail_len)
        })
    }
}

/// Reads the sections of a split.
pub(crate) struct Sections {
    source: Box<dyn BlockSource>,
    map: SectionMap,
}

impl Sections {
    /// Opens a split; answers the directory behind the map, too.
    pub(crate) fn open(source: Box<dyn BlockSource>) -> Result<(Sections, Vec<u8>), ReadError> {
        let length = source.len();
        let footer_at = length.checked_sub(u64_of(FOOTER_BYTES));
        let footer_at = footer_at.ok_or_else(|| broken("it ends early"))?;
        let footer = read_stream(&*source, footer_at, FOOTER_BYTES)?;
        let mut footer = Decoder::new(&footer);
        let magic: [u8; 4] = footer.array().map_err(broken)?;
        let format = u32::from_le_bytes(footer.array().map_err(broken)?);
        if magic != FOOTER_MAGIC {
            return Err(broken("its footer is none"));
        }
        if format != FORMAT {
            let what = "a split of the index".to_owned();
            return Err(ReadError::NewerFormat { what, found: format, known: FORMAT });
        }
        let at = footer.u64().map_err(broken)?;
        let directory_len = footer.u64().map_err(broken)?;
        if at.checked_add(directory_len) != Some(footer_at) {
            return Err(broken("its directory ends elsewhere"));
        }
        let directory = read_stream(&*source, at, usize_of(directory_len))?;
        let mut left = Decoder::new(&directory);
        let map = SectionMap::decode(&mut left).map_err(broken)?;
        let rest = left.rest().to_vec();
        Ok((Sections { source, map }, rest))
    }

    pub(crate) fn map(&self) -> &SectionMap {
        &self.map
    }

    /// Reads a range of a section.
    pub(crate) fn read(&self, section: Section, range: Range<u64>) -> Result<Bytes, ReadError> {
        if range.start > range.end || range.end > self.map.length(section) {
            return Err(broken("a range lies beyond its section"));
        }
        let Some(mapped) = self.map.sections.get(section.index()) else {
            return Ok(Bytes::Copied(Vec::new()));
        };
        let length = usize_of(range.end - range.start);
        let block_bytes = u64_of(SPLIT_BLOCK_BYTES);
        let in_blocks = u64_of(mapped.blocks.len()) * block_bytes;
        if range.start >= in_blocks {
            return self.stream(mapped.tail_at + range.start - in_blocks, length);
        }
        if range.start / block_bytes == range.end.saturating_sub(1) / block_bytes {
            let number = mapped.blocks.get(usize_of(range.start / block_bytes)).copied();
            let block = self.source.block(number.unwrap_or(u32::MAX))?;
            return Bytes::part(block, usize_of(range.start % block_bytes), length);
        }
        // The map is not believed before its blocks were read.
        let mut bytes = Vec::with_capacity(length.min(SPLIT_BLOCK_BYTES));
        let mut at = range.start;
        while at < range.end.min(in_blocks) {
            let number = mapped.blocks.get(usize_of(at / block_bytes)).copied();
            let block = self.source.block(number.unwrap_or(u32::MAX))?;
            let from = usize_of(at % block_bytes);
            let to = SPLIT_BLOCK_BYTES.min(from + usize_of(range.end - at));
            let part = block.get(from..to).ok_or_else(|| broken("a block is too short"))?;
            bytes.extend_from_slice(part);
            at += u64_of(part.len());
        }
        if at < range.end {
            let rest = usize_of(range.end - at);
            bytes.extend_from_slice(&read_stream(&*self.source, mapped.tail_at, rest)?);
        }
        Ok(Bytes::Copied(bytes))
    }

    /// Reads the stream where sections have their ends.
    fn stream(&self, at: u64, length: usize) -> Result<Bytes, ReadError> {
        let block_bytes = u64_of(SPLIT_BLOCK_BYTES);
        let end = at.saturating_add(u64_of(length));
        if length > 0 && end <= self.source.len() && at / block_bytes == (end - 1) / block_bytes {
            let number = u32::try_from(at / block_bytes).unwrap_or(u32::MAX);
            return Bytes::part(self.source.block(number)?, usize_of(at % block_bytes), length);
        }
        read_stream(&*self.source, at, length).map(Bytes::Copied)
    }
}

/// Bytes of a section: of a block that others read too, or, where they span blocks, copied.
pub(crate) enum Bytes {
    Shared(Arc<[u8]>, Range<usize>),
    Copied(Vec<u8>),
}

impl Bytes {
    fn part(block: Arc<[u8]>, from: usize, length: usize) -> Result<Bytes, ReadError> {
        let range = from..from.saturating_add(length);
        if range.end > block.len() {
            return Err(broken("a block is too short"));
        }
        Ok(Bytes::Shared(block, range))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Shared(block, range) => block.get(range.clone()).unwrap_or_default(),
            Bytes::Copied(bytes) => bytes,
        }
    }
}

/// Reads the stream.
fn read_stream(source: &dyn BlockSource, mut at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
    let end = at.checked_add(u64_of(length)).filter(|end| *end <= source.len());
    let end = end.ok_or_else(|| broken("a range lies beyond its end"))?;
    let mut bytes = Vec::with_capacity(length);
    while at < end {
        let number = u32::try_from(at / u64_of(SPLIT_BLOCK_BYTES));
        let block = source.block(number.map_err(|_| broken("a block exceeds 32 bits"))?)?;
        let from = usize_of(at % u64_of(SPLIT_BLOCK_BYTES));
        let to = block.len().min(from + usize_of(end - at));
        let part = block.get(from..to).filter(|part| !part.is_empty());
        let part = part.ok_or_else(|| broken("a block is too short"))?;
        bytes.extend_from_slice(part);
        at += u64_of(part.len());
    }
    Ok(bytes)
}

/// Blocks in memory: what was written, to be read.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct MemoryBlocks {
    pub(crate) blocks: Vec<Arc<[u8]>>,
}

#[cfg(test)]
impl BlockSink for MemoryBlocks {
    fn put(&mut self, block: &[u8]) -> Result<(), DiskError> {
        self.blocks.push(block.into());
        Ok(())
    }
}

#[cfg(test)]
impl BlockSource for MemoryBlocks {
    fn len(&self) -> u64 {
        self.blocks.iter().map(|block| u64_of(block.len())).sum()
    }

    fn block(&self, number: u32) -> Result<Arc<[u8]>, ReadError> {
        let block = self.blocks.get(crate::width::usize_of_u32(number)).cloned();
        block.ok_or_else(|| broken("a block is missing"))
    }
}
