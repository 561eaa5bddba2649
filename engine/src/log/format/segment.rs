//! A segment: a file of groups on this node, its header and its footer.
//!
//! ```text
//! header, 4 KiB, twice: at 0 and at 4096      footer, after the last group's padding
//! offset  size  field                         offset  size  field
//!      0     8  magic "PBXsegmt"                   0     8  magic "PBXindex"
//!      8     2  version 1                          8     2  version 1 or 2
//!     10     1  role  1 primary wrote,            10     2  zero
//!               2 follower wrote, 3 reclaimed     12     4  group_count
//!     11     1  sources (*)                       16     4  chunk_count
//!     12     4  further (*)
//!     16    16  volume                            20     4  zero
//!     32     8  number  of the segment            24     8  durable_lsn  here, at closing
//!     40    16  incarnation  random               32    32  last  hash of the last group
//!     56     8  created_ms  since 1970            64        groups, 32 each: offset 8,
//!     64     8  first_lsn  expected                           first_lsn 8, last_lsn 8,
//!     72    32  previous  hash of the group before            stored_len 4, zero 4
//!    104     8  durable_lsn  here, when begun               chunks, 72 each: lsn 8, offset 8,
//!    112    32  checksum  BLAKE3 of bytes 0..112              length 4, number 2, zero 2,
//!    144        zeros                                         tag 16, hash 32
//!
//! trailer, the file's last 64 bytes
//! offset  size  field
//!      0     8  magic "PBXclose"
//!      8     8  footer_offset
//!     16     8  footer_len
//!     24     8  zero
//!     32    32  checksum  BLAKE3 of the footer and of bytes 0..32
//! ```
//!
//! Of a footer of version 2, from format level 5 on, groups begin at 72, after the bytes of all
//! chunks (8); no chunks follow, for their headers stand in the groups, and nobody needs one
//! without its group.
//!
//! (*) Of a segment that reclaim made of several, from format level 3 on: how many they were, and
//! how many places behind its own they took; else zero.
//!
//! Groups begin at 8192, each at a multiple of 4096, padded with zeros; in a reclaimed segment one
//! lies right behind the other. Closing writes footer and
//! trailer and cuts the file behind them, so the trailer is found from the file's end; nothing is
//! rewritten in place. A file without a valid trailer was not closed: its groups are found by
//! walking.
//!
//! Magics, versions and the whole trailer stay where they are in every version, so that a reader
//! knows a segment that is newer than itself.
//!
//! Why `durable_lsn` here although groups carry one: theirs is the *primary's* knowledge and proves
//! nothing about a follower's disk; these two are always about this disk.

use std::path::{Path, PathBuf};

use super::item::fill;
use super::{Fields, FormatError};
use crate::ids::{BlobTag, Lsn, VolumeId};
use crate::limits::GROUP_ALIGNMENT;
use crate::log::format::group::GroupHash;
use crate::width::{u32_of, u64_of, usize_of_u32};

/// Bytes of one copy of the header.
pub const HEADER_COPY_BYTES: usize = 4096;
/// Where the first group begins.
pub const GROUPS_AT: u64 = 8192;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 64;
/// Version of the header.
pub const SEGMENT_VERSION: u16 = 1;
/// Newest version of the footer.
pub const FOOTER_VERSION: u16 = FooterVersion::CountsChunks.number();

const PADDED_TO: u64 = 4096;
const HEADER_MAGIC: [u8; 8] = *b"PBXsegmt";
const FOOTER_MAGIC: [u8; 8] = *b"PBXindex";
const TRAILER_MAGIC: [u8; 8] = *b"PBXclose";
const CHECKSUM_AT: usize = 112;
const FOOTER_HEAD_BYTES: usize = 64;
const GROUP_ENTRY_BYTES: usize = 32;
const CHUNK_ENTRY_BYTES: usize = 72;
const CHUNK_BYTES_BYTES: usize = 8;

const _: () = assert!(8 + 2 + 1 + 5 + 16 + 8 + 16 + 8 + 8 + 32 + 8 == CHECKSUM_AT);
const _: () = assert!(8 + 2 + 2 + 4 + 4 + 4 + 8 + 32 == FOOTER_HEAD_BYTES);
const _: () = assert!(8 + 8 + 8 + 4 + 4 == GROUP_ENTRY_BYTES);
const _: () = assert!(8 + 8 + 4 + 2 + 2 + 16 + 32 == CHUNK_ENTRY_BYTES);
const _: () = assert!(FOOTER_HEAD_BYTES + CHUNK_BYTES_BYTES == 72, "groups of version 2");
const _: () = assert!(HEADER_COPY_BYTES == GROUP_ALIGNMENT);

/// A segment's number: its place in the log, counted from 1 (48 bits; gaps are possible), and above
/// it how often it was rewritten by reclaim (16 bits). Ordered by place, then by generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentNumber(pub u64);

const PLACE_BITS: u32 = 48;

impl PartialOrd for SegmentNumber {
    fn partial_cmp(&self, other: &SegmentNumber) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SegmentNumber {
    fn cmp(&self, other: &SegmentNumber) -> std::cmp::Ordering {
        (self.place(), self.generation()).cmp(&(other.place(), other.generation()))
    }
}

impl SegmentNumber {
    /// Its place in the log.
    pub const fn place(self) -> u64 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }

    /// How often it was rewritten.
    pub const fn generation(self) -> u64 {
        self.0 >> PLACE_BITS
    }

    /// The same place, rewritten once more; `None` when generations are used up.
    pub const fn rewritten(self) -> Option<SegmentNumber> {
        match self.0.checked_add(1 << PLACE_BITS) {
            Some(number) => Some(SegmentNumber(number)),
            None => None,
        }
    }

    /// The next place; `None` when they are used up.
    pub const fn next_place(self) -> Option<SegmentNumber> {
        let next = self.place() + 1;
        if next >> PLACE_BITS == 0 { Some(SegmentNumber(next)) } else { None }
    }

    /// The segment's file in the log's folder.
    pub fn path(self, directory: &Path) -> PathBuf {
        let place = self.place();
        directory.join(match self.generation() {
            0 => format!("{place:012}.segment"),
            generation => format!("{place:012}.{generation}.segment"),
        })
    }

    /// The number that a file's name gives; `None` if it is not a segment's.
    pub fn of(path: &Path) -> Option<SegmentNumber> {
        let name = path.file_name()?.to_str()?.strip_suffix(".segment")?;
        let (digits, generation) = name.split_once('.').unwrap_or((name, "0"));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if digits.len() < 12 || !is_number(digits) || !is_number(generation) {
            return None;
        }
        let place: u64 = digits.parse().ok()?;
        let generation: u64 = generation.parse().ok().filter(|number| *number < 1 << 16)?;
        (place >> PLACE_BITS == 0).then_some(SegmentNumber(place | generation << PLACE_BITS))
    }
}

/// Who wrote a segment's groups to this disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// This node as primary: the groups' `durable_lsn` is about this disk.
    Primary,
    /// This node as follower: the groups' `durable_lsn` is about another disk.
    Follower,
    /// Reclaim, which left out dead chunks.
    Reclaimed,
}

impl Role {
    /// Groups begin at multiples of this.
    pub(crate) const fn alignment(self) -> u64 {
        match self {
            Role::Primary | Role::Follower => PADDED_TO,
            Role::Reclaimed => 1,
        }
    }
}

impl Role {
    fn code(self) -> u8 {
        match self {
            Role::Primary => 1,
            Role::Follower => 2,
            Role::Reclaimed => 3,
        }
    }

    fn of(code: u8) -> Option<Role> {
        [Role::Primary, Role::Follower, Role::Reclaimed].into_iter().find(|r| r.code() == code)
    }
}

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Who wrote it.
    pub role: Role,
    /// The volume whose log it is.
    pub volume: VolumeId,
    /// Its number.
    pub number: SegmentNumber,
    /// Random, another one for every use of the file.
    pub incarnation: [u8; 16],
    /// When it was begun, milliseconds since 1970.
    pub created_ms: u64,
    /// The position that its first group will begin with, unless an epoch begins.
    pub first_lsn: Lsn,
    /// Hash of the group before its first.
    pub previous: GroupHash,
    /// Highest position known durable on this disk when it was begun.
    pub durable_lsn: Lsn,
    /// What reclaim made it of.
    pub joined: Joined,
}

/// The segments that reclaim made one of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Joined {
    /// How many they were; 0 says 1, or that it was not made by reclaim.
    pub sources: u8,
    /// How many places behind the segment's own they took.
    pub further: u32,
}

impl SegmentHeader {
    /// The last place in the log that the segment stands for.
    pub fn last_place(&self) -> u64 {
        self.number.place().saturating_add(u64::from(self.joined.further))
    }

    /// One copy's bytes.
    pub fn encode(&self) -> [u8; HEADER_COPY_BYTES] {
        let mut bytes = [0; HEADER_COPY_BYTES];
        let (fields, rest) = bytes.split_at_mut(CHECKSUM_AT);
        fill(
            fields,
            &[
                &HEADER_MAGIC,
                &SEGMENT_VERSION.to_le_bytes(),
                &[self.role.code(), self.joined.sources],
                &self.joined.further.to_le_bytes(),
                &self.volume.0,
                &self.number.0.to_le_bytes(),
                &self.incarnation,
                &self.created_ms.to_le_bytes(),
                &self.first_lsn.bits().to_le_bytes(),
                &self.previous.0,
                &self.durable_lsn.bits().to_le_bytes(),
            ],
        );
        let checksum = blake3::hash(fields);
        if let Some(target) = rest.first_chunk_mut() {
            *target = *checksum.as_bytes();
        }
        bytes
    }

    /// Both copies, as they stand at the start of the file.
    pub fn encode_twice(&self) -> Vec<u8> {
        self.encode().repeat(2)
    }

    /// Reads one copy.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        const WHAT: &str = "a segment header";
        let mut fields = Fields::new(WHAT, bytes);
        if fields.array()? != HEADER_MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        let covered = bytes.get(..CHECKSUM_AT).ok_or(FormatError::Short { what: WHAT })?;
        fields.version(SEGMENT_VERSION).map_err(|newer| {
            let is_ours = is_ours_but_for_its_version(covered, bytes);
            if is_ours { FormatError::Hash { what: WHAT } } else { newer }
        })?;
        let role = Role::of(fields.u8()?);
        let joined = Joined { sources: fields.u8()?, further: fields.u32()? };
        let header = SegmentHeader {
            role: role.ok_or(FormatError::Field { what: WHAT, field: "role" })?,
            volume: VolumeId(fields.array()?),
            number: SegmentNumber(fields.u64()?),
            incarnation: fields.array()?,
            created_ms: fields.u64()?,
            first_lsn: fields.lsn("first_lsn")?,
            previous: GroupHash(fields.array()?),
            durable_lsn: fields.lsn("durable_lsn")?,
            joined,
        };
        if *blake3::hash(covered).as_bytes() != fields.array()? {
            return Err(FormatError::Hash { what: WHAT });
        }
        Ok(header)
    }

    /// Reads the first copy that is whole.
    ///
    /// # Errors
    /// When neither is whole: that it is newer, if either copy says so, else what is wrong with the
    /// first.
    pub fn decode_either(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        SegmentHeader::decode(bytes).or_else(|error| {
            let second = bytes.get(HEADER_COPY_BYTES..).unwrap_or_default();
            SegmentHeader::decode(second).map_err(|second| match second {
                FormatError::Version { .. } => second,
                _ => error,
            })
        })
    }
}

/// Whether a header whose version is above ours is one of ours after all, whose version was
/// damaged: its checksum is right as soon as the version is.
fn is_ours_but_for_its_version(covered: &[u8], bytes: &[u8]) -> bool {
    let mut ours = covered.to_vec();
    let version = ours.iter_mut().skip(HEADER_MAGIC.len());
    version.zip(SEGMENT_VERSION.to_le_bytes()).for_each(|(at, byte)| *at = byte);
    let checksum = bytes.get(CHECKSUM_AT..).unwrap_or_default();
    checksum.starts_with(blake3::hash(&ours).as_bytes())
}

/// A group in a segment's footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupEntry {
    /// Where its header begins.
    pub offset: u64,
    /// Its first position.
    pub first_lsn: Lsn,
    /// Its last position.
    pub last_lsn: Lsn,
    /// Its bytes without padding.
    pub stored_len: u32,
}

/// A chunk in a segment's footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkEntry {
    /// Of its blob, or its own.
    pub lsn: Lsn,
    /// Where its sealed bytes begin.
    pub offset: u64,
    /// How many they are.
    pub length: u32,
    /// Within its blob.
    pub number: u16,
    /// The blob's tag.
    pub tag: BlobTag,
    /// BLAKE3 of the sealed bytes.
    pub hash: [u8; 32],
}

/// Versions of a footer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FooterVersion {
    /// It lists the chunks of its segment.
    #[default]
    ListsChunks,
    /// It says how many they are.
    CountsChunks,
}

impl FooterVersion {
    const fn number(self) -> u16 {
        match self {
            FooterVersion::ListsChunks => 1,
            FooterVersion::CountsChunks => 2,
        }
    }
}

/// What a footer says of the chunks whose bytes are in its segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FooterChunks {
    /// Each of them, in order.
    Listed(Vec<ChunkEntry>),
    /// How many they are, and the sealed bytes of all.
    Counted {
        /// How many.
        count: u32,
        /// Sealed bytes.
        byte_count: u64,
    },
}

impl FooterChunks {
    /// How many they are.
    pub fn count(&self) -> u32 {
        match self {
            FooterChunks::Listed(chunks) => u32_of(chunks.len()),
            FooterChunks::Counted { count, .. } => *count,
        }
    }

    /// Sealed bytes of all.
    pub fn byte_count(&self) -> u64 {
        match self {
            FooterChunks::Listed(chunks) => {
                chunks.iter().map(|chunk| u64::from(chunk.length)).fold(0, u64::saturating_add)
            }
            FooterChunks::Counted { byte_count, .. } => *byte_count,
        }
    }

    fn version(&self) -> FooterVersion {
        match self {
            FooterChunks::Listed(_) => FooterVersion::ListsChunks,
            FooterChunks::Counted { .. } => FooterVersion::CountsChunks,
        }
    }
}

impl Default for FooterChunks {
    fn default() -> FooterChunks {
        FooterChunks::Listed(Vec::new())
    }
}

/// What a closed segment holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footer {
    /// Highest position known durable on this disk when it was closed.
    pub durable_lsn: Lsn,
    /// Hash of the last group; that before the segment when it holds none.
    pub last: GroupHash,
    /// Its groups in order.
    pub groups: Vec<GroupEntry>,
    /// Its chunks whose bytes are here.
    pub chunks: FooterChunks,
}

impl Footer {
    /// That of a segment without groups.
    pub fn new(version: FooterVersion) -> Footer {
        let chunks = match version {
            FooterVersion::ListsChunks => FooterChunks::Listed(Vec::new()),
            FooterVersion::CountsChunks => FooterChunks::Counted { count: 0, byte_count: 0 },
        };
        Footer { chunks, ..Footer::default() }
    }

    /// Takes the next chunk of the segment in.
    pub fn add_chunk(&mut self, chunk: ChunkEntry) {
        match &mut self.chunks {
            FooterChunks::Listed(chunks) => chunks.push(chunk),
            FooterChunks::Counted { count, byte_count } => {
                *count += 1;
                *byte_count += u64::from(chunk.length);
            }
        }
    }

    /// Lists chunks no longer, if that version says so; what is not listed cannot be listed again.
    pub(crate) fn shorten(&mut self, version: FooterVersion) {
        if version == FooterVersion::CountsChunks {
            let (count, byte_count) = (self.chunks.count(), self.chunks.byte_count());
            self.chunks = FooterChunks::Counted { count, byte_count };
        }
    }

    /// Its bytes, without zeros and trailer.
    pub fn byte_count(&self) -> usize {
        let of_chunks = match &self.chunks {
            FooterChunks::Listed(chunks) => chunks.len() * CHUNK_ENTRY_BYTES,
            FooterChunks::Counted { .. } => CHUNK_BYTES_BYTES,
        };
        FOOTER_HEAD_BYTES + self.groups.len() * GROUP_ENTRY_BYTES + of_chunks
    }

    /// Footer, zeros and trailer as they stand at `offset` to the file's end; a multiple of 4 KiB.
    pub fn encode(&self, offset: u64) -> Vec<u8> {
        let footer_len = self.byte_count();
        let total = (footer_len + TRAILER_BYTES).next_multiple_of(GROUP_ALIGNMENT);
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(FOOTER_MAGIC);
        bytes.extend(self.chunks.version().number().to_le_bytes());
        bytes.extend([0; 2]);
        bytes.extend(u32_of(self.groups.len()).to_le_bytes());
        bytes.extend(self.chunks.count().to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.durable_lsn.bits().to_le_bytes());
        bytes.extend(self.last.0);
        if let FooterChunks::Counted { byte_count, .. } = &self.chunks {
            bytes.extend(byte_count.to_le_bytes());
        }
        for group in &self.groups {
            bytes.extend(group.offset.to_le_bytes());
            bytes.extend(group.first_lsn.bits().to_le_bytes());
            bytes.extend(group.last_lsn.bits().to_le_bytes());
            bytes.extend(group.stored_len.to_le_bytes());
            bytes.extend([0; 4]);
        }
        if let FooterChunks::Listed(chunks) = &self.chunks {
            chunks.iter().for_each(|chunk| encode_chunk(chunk, &mut bytes));
        }
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend(TRAILER_MAGIC);
        trailer.extend(offset.to_le_bytes());
        trailer.extend(u64_of(footer_len).to_le_bytes());
        trailer.extend([0; 8]);
        let checksum = blake3::Hasher::new().update(&bytes).update(&trailer).finalize();
        trailer.extend(checksum.as_bytes());
        bytes.resize(total - TRAILER_BYTES, 0);
        bytes.extend(trailer);
        bytes
    }

    /// Where a trailer says that the footer lies: offset and length. Not yet verified.
    ///
    /// # Errors
    /// What is wrong with the trailer, or with its place in a file of `file_len` bytes.
    pub fn locate(trailer: &[u8], file_len: u64) -> Result<(u64, u64), FormatError> {
        const WHAT: &str = "a segment trailer";
        let mut fields = Fields::new(WHAT, trailer);
        if fields.array()? != TRAILER_MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        let offset = fields.u64()?;
        let length = fields.u64()?;
        let end = offset.checked_add(length).and_then(|end| end.checked_add(u64_of(TRAILER_BYTES)));
        if offset < GROUPS_AT || end.is_none_or(|end| end > file_len) {
            return Err(FormatError::Field { what: WHAT, field: "footer_offset" });
        }
        Ok((offset, length))
    }

    /// Reads a footer, given with the trailer that located it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(footer: &[u8], trailer: &[u8]) -> Result<Footer, FormatError> {
        const WHAT: &str = "a segment footer";
        let (covered, checksum) =
            trailer.split_at_checked(32).ok_or(FormatError::Short { what: WHAT })?;
        let found = blake3::Hasher::new().update(footer).update(covered).finalize();
        if found.as_bytes().as_slice() != checksum {
            return Err(FormatError::Hash { what: WHAT });
        }
        let mut fields = Fields::new(WHAT, footer);
        if fields.array()? != FOOTER_MAGIC {
            return Err(FormatError::Magic { what: WHAT });
        }
        let version = fields.version(FOOTER_VERSION)?;
        fields.bytes(2)?;
        let group_count = usize_of_u32(fields.u32()?);
        let chunk_count = fields.u32()?;
        fields.bytes(4)?;
        let durable_lsn = fields.lsn("durable_lsn")?;
        let last = GroupHash(fields.array()?);
        let lists_chunks = version == FooterVersion::ListsChunks.number();
        let byte_count = if lists_chunks { 0 } else { fields.u64()? };
        // The counts are believed only as far as bytes are there, so they bound no allocation.
        let mut groups = Vec::with_capacity(group_count.min(footer.len() / GROUP_ENTRY_BYTES));
        for _ in 0..group_count {
            groups.push(GroupEntry {
                offset: fields.u64()?,
                first_lsn: fields.lsn("first_lsn")?,
                last_lsn: fields.lsn("last_lsn")?,
                stored_len: fields.u32()?,
            });
            fields.bytes(4)?;
        }
        if !lists_chunks {
            let chunks = FooterChunks::Counted { count: chunk_count, byte_count };
            return Ok(Footer { durable_lsn, last, groups, chunks });
        }
        let chunk_count = usize_of_u32(chunk_count);
        let mut chunks = Vec::with_capacity(chunk_count.min(footer.len() / CHUNK_ENTRY_BYTES));
        for _ in 0..chunk_count {
            chunks.push(decode_chunk(&mut fields)?);
        }
        Ok(Footer { durable_lsn, last, groups, chunks: FooterChunks::Listed(chunks) })
    }
}

fn encode_chunk(chunk: &ChunkEntry, bytes: &mut Vec<u8>) {
    bytes.extend(chunk.lsn.bits().to_le_bytes());
    bytes.extend(chunk.offset.to_le_bytes());
    bytes.extend(chunk.length.to_le_bytes());
    bytes.extend(chunk.number.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend(chunk.tag.0);
    bytes.extend(chunk.hash);
}

fn decode_chunk(fields: &mut Fields<'_>) -> Result<ChunkEntry, FormatError> {
    let lsn = fields.lsn("lsn")?;
    let offset = fields.u64()?;
    let length = fields.u32()?;
    let number = fields.u16()?;
    fields.bytes(2)?;
    let tag = BlobTag(fields.array()?);
    let hash = fields.array()?;
    Ok(ChunkEntry { lsn, offset, length, number, tag, hash })
}

/// The next offset at which a group may begin.
pub fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(u64_of(GROUP_ALIGNMENT))
}
