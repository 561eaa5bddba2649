//! Assembling a group: sealed items in, the bytes that go to disk and to the follower out.
//!
//! Chunk bytes are copied once, into the buffer that is written. Hashes of chunks come from those
//! who
//! sealed them, so the committer hashes headers and records only.

use std::ops::Range;

use super::format::FormatError;
use super::format::group::{GROUP_HEADER_BYTES, Group, GroupHash, GroupHeader, GroupStamp};
use super::format::item::{self, ChunkHeader, Item, RecordHeader};
use super::format::segment::ChunkEntry;
use super::key_names::KeyNames;
use super::setup::{ChunkPlace, GroupPlace};
use crate::limits::{GROUP_ALIGNMENT, GROUP_BYTES_MAX, RECORD_BYTES_MAX};
use crate::width::u32_of;

/// A group that is being assembled.
#[derive(Debug)]
pub struct GroupBuilder {
    /// Room for the header, then the items.
    bytes: Vec<u8>,
    /// What the content hash covers, in order.
    hashed: Vec<Range<usize>>,
    chunks: Vec<BuiltChunk>,
    names: KeyNames,
}

/// A chunk in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuiltChunk {
    /// Its header.
    pub header: ChunkHeader,
    /// Where its bytes begin, counted from the group's header.
    pub offset: u32,
    /// How many they are.
    pub length: u32,
}

/// A group ready to be written and shipped.
#[derive(Clone, Debug)]
pub struct BuiltGroup {
    /// Header and items, then zeros up to a multiple of 4 KiB.
    padded: Vec<u8>,
    stored_len: usize,
    header: GroupHeader,
    hash: GroupHash,
    chunks: Vec<BuiltChunk>,
    /// Keys that it names.
    names: KeyNames,
}

impl Default for GroupBuilder {
    fn default() -> GroupBuilder {
        GroupBuilder::new()
    }
}

impl GroupBuilder {
    /// A group without items.
    pub fn new() -> GroupBuilder {
        GroupBuilder {
            bytes: vec![0; GROUP_HEADER_BYTES],
            hashed: Vec::new(),
            chunks: Vec::new(),
            names: KeyNames::default(),
        }
    }

    /// Bytes of the items so far; bounded by [`GROUP_BYTES_MAX`].
    pub fn body_bytes(&self) -> usize {
        self.bytes.len() - GROUP_HEADER_BYTES
    }

    /// Number of items so far.
    pub fn item_count(&self) -> usize {
        self.hashed.len()
    }

    /// Whether a record of `payload_len` bytes and chunks of together `chunk_bytes` still fit.
    pub fn fits(&self, payload_len: usize, chunk_count: usize, chunk_bytes: usize) -> bool {
        let more = item::RECORD_HEADER_BYTES
            .saturating_add(payload_len)
            .saturating_add(chunk_count.saturating_mul(item::CHUNK_HEADER_BYTES))
            .saturating_add(chunk_bytes);
        self.body_bytes().saturating_add(more) <= GROUP_BYTES_MAX
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If it does not fit; ask [`GroupBuilder::fits`] before.
    pub fn push_record(&mut self, header: &RecordHeader, payload: &[u8]) {
        assert!(payload.len() <= RECORD_BYTES_MAX, "a record's size is bounded");
        assert!(header.lsn_count > 0, "a record takes a position");
        assert!(self.fits(payload.len(), 0, 0), "a group's size is bounded");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header.encode(u32_of(payload.len())));
        self.bytes.extend_from_slice(payload);
        self.names.note_record(header.account, payload);
        self.hashed.push(start..self.bytes.len());
    }

    /// Adds a chunk; `header.hash` must be the BLAKE3 of `bytes`.
    ///
    /// # Panics
    /// If it does not fit; ask [`GroupBuilder::fits`] before.
    pub fn push_chunk(&mut self, header: &ChunkHeader, bytes: &[u8]) {
        assert!(self.fits(0, 1, bytes.len()), "a group's size is bounded");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header.encode(u32_of(bytes.len())));
        self.hashed.push(start..self.bytes.len());
        let offset = u32_of(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.names.note_chunk(header.number, bytes);
        self.chunks.push(BuiltChunk { header: *header, offset, length: u32_of(bytes.len()) });
    }

    /// The finished group.
    ///
    /// # Panics
    /// If the stamp breaks an invariant of [`super::format::group`]: a bug of the committer.
    pub fn finish(mut self, stamp: GroupStamp) -> BuiltGroup {
        let mut header = GroupHeader {
            stamp,
            body_len: u32_of(self.body_bytes()),
            item_count: u32_of(self.item_count()),
            content: [0; 32],
            stands_for: None,
        };
        let mut hasher = header.content_hasher();
        for range in &self.hashed {
            item::hash_item(&mut hasher, self.bytes.get(range.clone()).unwrap_or_default());
        }
        header.content = *hasher.finalize().as_bytes();
        let encoded = header.encode();
        let read_back = GroupHeader::decode(&encoded);
        assert!(read_back == Ok(header), "the stamp of a group breaks its rules: {read_back:?}");
        if let Some(target) = self.bytes.first_chunk_mut() {
            *target = encoded;
        }
        let hash = header.hash();
        BuiltGroup::padded(self.bytes, header, hash, (self.chunks, self.names))
    }
}

impl BuiltGroup {
    /// A group that came as bytes, from the other node or from another place of this log.
    ///
    /// # Errors
    /// What is wrong with it; bytes behind it are an error too.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<BuiltGroup, FormatError> {
        let group = Group::decode(&bytes)?;
        group.verify_chunks()?;
        if group.stored_len() != bytes.len() {
            return Err(FormatError::Field { what: "a group", field: "body_len" });
        }
        let contents = (chunks_of(&group), KeyNames::of_group(&group));
        let (header, hash) = (group.header, group.hash);
        Ok(BuiltGroup::padded(bytes, header, hash, contents))
    }

    /// The group that was just decoded from the start of `bytes`, which may go on behind it. Its
    /// bytes are copied once, into a buffer that has room for the padding.
    ///
    /// # Errors
    /// A chunk differs from its hash.
    pub(crate) fn of(group: &Group<'_>, bytes: &[u8]) -> Result<BuiltGroup, FormatError> {
        group.verify_chunks()?;
        let own = bytes.get(..group.stored_len());
        let own = own.ok_or(FormatError::Short { what: "a group" })?;
        let mut copy = Vec::with_capacity(own.len().next_multiple_of(GROUP_ALIGNMENT));
        copy.extend_from_slice(own);
        let contents = (chunks_of(group), KeyNames::of_group(group));
        Ok(BuiltGroup::padded(copy, group.header, group.hash, contents))
    }

    fn padded(
        mut bytes: Vec<u8>,
        header: GroupHeader,
        hash: GroupHash,
        (chunks, names): (Vec<BuiltChunk>, KeyNames),
    ) -> BuiltGroup {
        let stored_len = bytes.len();
        bytes.resize(stored_len.next_multiple_of(GROUP_ALIGNMENT), 0);
        BuiltGroup { padded: bytes, stored_len, header, hash, chunks, names }
    }

    /// What is shipped: header and items, without padding.
    pub fn bytes(&self) -> &[u8] {
        self.padded.get(..self.stored_len).unwrap_or_default()
    }

    /// What is written: with zeros up to a multiple of 4 KiB.
    pub(crate) fn padded_bytes(&self) -> &[u8] {
        &self.padded
    }

    /// The header.
    pub fn header(&self) -> &GroupHeader {
        &self.header
    }

    /// The hash that the next group names as its previous one.
    pub fn hash(&self) -> GroupHash {
        self.hash
    }

    /// Its chunks in order.
    pub fn chunks(&self) -> &[BuiltChunk] {
        &self.chunks
    }

    /// Keys that its records and headers of blobs name.
    pub(crate) fn names(&self) -> &KeyNames {
        &self.names
    }

    /// Where its chunks lie once it lies at `place`, in the order of [`BuiltGroup::chunks`].
    pub fn chunk_places(&self, place: GroupPlace) -> impl Iterator<Item = ChunkPlace> + '_ {
        self.chunks.iter().map(move |chunk| chunk.at(place))
    }
}

impl BuiltChunk {
    /// Where it lies when its group lies at `place`.
    pub fn at(&self, place: GroupPlace) -> ChunkPlace {
        ChunkPlace {
            lsn: self.header.lsn,
            number: self.header.number,
            tag: self.header.tag,
            segment: place.segment,
            offset: place.offset + u64::from(self.offset),
            length: self.length,
            hash: self.header.hash,
        }
    }
}

impl ChunkPlace {
    pub(crate) fn entry(&self) -> ChunkEntry {
        ChunkEntry {
            lsn: self.lsn,
            offset: self.offset,
            length: self.length,
            number: self.number,
            tag: self.tag,
            hash: self.hash,
        }
    }
}

/// The chunks of a group whose bytes are there.
pub(crate) fn chunks_of(group: &Group<'_>) -> Vec<BuiltChunk> {
    let mut chunks = Vec::new();
    for placed in group.items() {
        if let Item::Chunk { header, chunk_len, bytes: Some(_), rewrapped } = placed.item {
            // Whoever reads the bytes compares them with their hash of now.
            let header = ChunkHeader { hash: rewrapped.unwrap_or(header.hash), ..header };
            chunks.push(BuiltChunk { header, offset: placed.offset, length: chunk_len });
        }
    }
    chunks
}
