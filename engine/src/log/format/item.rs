//! The items of a group: records, and chunks of blobs.
//!
//! ```text
//! record header
//! offset  size  field         meaning
//!      0     1  kind          1
//!      1     1  record_type   opaque here
//!      2     2  zero
//!      4     4  payload_len   sealed bytes that follow, at most RECORD_BYTES_MAX
//!      8     8  account       0 is the volume
//!     16     8  lsn           its first position
//!     24     4  lsn_count     positions that the record takes, at least 1
//!
//! chunk header
//! offset  size  field         meaning
//!      0     1  kind          2
//!      1     1  flags         not covered by any hash. Bit 0: the bytes were left out by reclaim;
//!                            bit 1: they were re-wrapped by it (format level 3)
//!      2     2  number        within its blob: 0 begins with the blob's header; what is in it and
//!                            in the others depends on its version (`seal/blob.rs`)
//!      4     4  chunk_len     sealed bytes that follow, unless they were left out
//!      8     8  lsn           of the blob that it belongs to, or its own when it enters ahead
//!     16    16  tag           the blob's
//!     32    32  hash          BLAKE3 of the sealed bytes, as they entered the log
//!     64    32  now           only with bit 1: BLAKE3 of the bytes that follow
//! ```
//!
//! Reclaim re-wraps the content key in a blob's header (`seal/blob.rs`) when the generation of the
//! account's key that seals it is retired. The header's bytes are then others than those that the
//! chain vouches for, and as many; their own hash stands beside them. What vouches for them is the
//! proof in the header, which needs a key of the blob; and a reader without any key still tells
//! damage.
//!
//! Why a chunk's hash stands in its header: a group's content hash covers headers, so the chain
//! still
//! verifies after reclaim left the bytes of a dead chunk out.

use super::{Fields, FormatError};
use crate::ids::{AccountNumber, BlobTag, Lsn};
use crate::limits::{GROUP_BYTES_MAX, RECORD_BYTES_MAX};
use crate::log::setup::ChunkPlace;
use crate::width::{u32_of, usize_of_u32};

/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 28;
/// Bytes of a chunk's header.
pub const CHUNK_HEADER_BYTES: usize = 64;
/// Where a chunk header's flags stand.
pub(crate) const CHUNK_FLAGS_AT: usize = 1;

const KIND_RECORD: u8 = 1;
const KIND_CHUNK: u8 = 2;
const LEFT_OUT: u8 = 1;
const REWRAPPED: u8 = 2;
/// Bytes that follow the header of a chunk that was re-wrapped: the hash of its bytes now.
pub(crate) const NOW_BYTES: usize = 32;

const _: () = assert!(1 + 1 + 2 + 4 + 8 + 8 + 4 == RECORD_HEADER_BYTES);
const _: () = assert!(1 + 1 + 2 + 4 + 8 + 16 + 32 == CHUNK_HEADER_BYTES);

/// What stands before a record's sealed payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHeader {
    /// Which kind of change; opaque to the log.
    pub record_type: u8,
    /// Whose; [`AccountNumber::VOLUME`] for the volume's own.
    pub account: AccountNumber,
    /// Its first position.
    pub lsn: Lsn,
    /// How many positions it takes, at least 1.
    pub lsn_count: u32,
}

impl RecordHeader {
    /// The bytes that precede a payload of `payload_len` bytes.
    pub fn encode(&self, payload_len: u32) -> [u8; RECORD_HEADER_BYTES] {
        let mut bytes = [0; RECORD_HEADER_BYTES];
        let [kind, record_type, _, _, rest @ ..] = &mut bytes;
        *kind = KIND_RECORD;
        *record_type = self.record_type;
        fill(
            rest,
            &[
                &payload_len.to_le_bytes(),
                &self.account.0.to_le_bytes(),
                &self.lsn.bits().to_le_bytes(),
                &self.lsn_count.to_le_bytes(),
            ],
        );
        bytes
    }
}

/// What stands before a chunk's sealed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkHeader {
    /// Within its blob: 0 begins with the blob's header.
    pub number: u16,
    /// Of the blob that it belongs to, or its own when it enters ahead.
    pub lsn: Lsn,
    /// The blob's.
    pub tag: BlobTag,
    /// BLAKE3 of the sealed bytes.
    pub hash: [u8; 32],
}

impl ChunkHeader {
    /// The bytes that precede `chunk_len` sealed bytes.
    pub fn encode(&self, chunk_len: u32) -> [u8; CHUNK_HEADER_BYTES] {
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        let [kind, _, rest @ ..] = &mut bytes;
        *kind = KIND_CHUNK;
        fill(
            rest,
            &[
                &self.number.to_le_bytes(),
                &chunk_len.to_le_bytes(),
                &self.lsn.bits().to_le_bytes(),
                &self.tag.0,
                &self.hash,
            ],
        );
        bytes
    }

    /// Whether these bytes are the header of that chunk, whatever its blob's tag.
    pub(crate) fn is_of(bytes: &[u8; CHUNK_HEADER_BYTES], place: &ChunkPlace) -> bool {
        let [kind, _, number @ ..] = bytes;
        let (number, tag_and_hash) = number.split_at(2 + 4 + 8);
        let expected = ChunkHeader {
            number: place.number,
            lsn: place.lsn,
            tag: BlobTag(tag_and_hash.first_chunk().copied().unwrap_or_default()),
            hash: place.hash,
        };
        let expected = expected.encode(place.length);
        let rest = expected.get(2..).unwrap_or_default();
        *kind == KIND_CHUNK && *rest == *[number, tag_and_hash].concat()
    }
}

/// Copies `fields` one after the other; their widths add up to `target` by the asserts above.
pub(crate) fn fill(target: &mut [u8], fields: &[&[u8]]) {
    let mut rest = target;
    for field in fields {
        let (head, tail) =
            rest.split_at_mut_checked(field.len()).expect("fields fit into their header");
        head.copy_from_slice(field);
        rest = tail;
    }
    assert!(rest.is_empty(), "fields fill their header");
}

/// One item as it lies in a group's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Item<'a> {
    /// A record.
    Record {
        /// Its header.
        header: RecordHeader,
        /// Its sealed payload.
        payload: &'a [u8],
    },
    /// A chunk.
    Chunk {
        /// Its header.
        header: ChunkHeader,
        /// Length of its sealed bytes, also when they were left out.
        chunk_len: u32,
        /// Its sealed bytes, not yet compared with their hash; `None` when reclaim left them out.
        bytes: Option<&'a [u8]>,
        /// BLAKE3 of these bytes, if they were re-wrapped.
        rewrapped: Option<[u8; 32]>,
    },
}

impl Item<'_> {
    /// Bytes before its payload or sealed bytes.
    pub(crate) fn header_len(&self) -> usize {
        match self {
            Item::Record { .. } => RECORD_HEADER_BYTES,
            Item::Chunk { rewrapped: None, .. } => CHUNK_HEADER_BYTES,
            Item::Chunk { rewrapped: Some(_), .. } => CHUNK_HEADER_BYTES + NOW_BYTES,
        }
    }
}

/// An item with its place in the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) item: Item<'a>,
    /// Header and, for a record, payload: what the content hash covers (with flags zeroed).
    pub(crate) hashed: &'a [u8],
    /// Bytes that it takes here.
    pub(crate) stored_len: usize,
    /// Bytes that it takes when nothing is left out.
    pub(crate) whole_len: usize,
}

/// Takes the item at the start of `bytes` apart.
pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed<'_>, FormatError> {
    match bytes.first() {
        Some(&KIND_RECORD) => parse_record(bytes),
        Some(&KIND_CHUNK) => parse_chunk(bytes),
        Some(_) => Err(FormatError::Field { what: "an item", field: "kind" }),
        None => Err(FormatError::Short { what: "an item" }),
    }
}

fn parse_record(bytes: &[u8]) -> Result<Parsed<'_>, FormatError> {
    const WHAT: &str = "a record";
    let mut fields = Fields::new(WHAT, bytes);
    fields.u8()?;
    let record_type = fields.u8()?;
    if fields.u16()? != 0 {
        return Err(FormatError::Field { what: WHAT, field: "zero" });
    }
    let payload_len = fields.u32()?;
    if payload_len > u32_of(RECORD_BYTES_MAX) {
        return Err(FormatError::Field { what: WHAT, field: "payload_len" });
    }
    let account = AccountNumber(fields.u64()?);
    let lsn = fields.lsn("lsn")?;
    let lsn_count = fields.u32()?;
    if lsn_count == 0 || lsn.advance(u64::from(lsn_count) - 1).is_none() {
        return Err(FormatError::Field { what: WHAT, field: "lsn_count" });
    }
    let payload = fields.bytes(usize_of_u32(payload_len))?;
    let whole_len = RECORD_HEADER_BYTES + payload.len();
    let hashed = bytes.get(..whole_len).ok_or(FormatError::Short { what: WHAT })?;
    let header = RecordHeader { record_type, account, lsn, lsn_count };
    Ok(Parsed { item: Item::Record { header, payload }, hashed, stored_len: whole_len, whole_len })
}

fn parse_chunk(bytes: &[u8]) -> Result<Parsed<'_>, FormatError> {
    const WHAT: &str = "a chunk";
    let mut fields = Fields::new(WHAT, bytes);
    fields.u8()?;
    let flags = fields.u8()?;
    if flags & !(LEFT_OUT | REWRAPPED) != 0 || flags == LEFT_OUT | REWRAPPED {
        return Err(FormatError::Field { what: WHAT, field: "flags" });
    }
    let number = fields.u16()?;
    if flags & REWRAPPED != 0 && number != 0 {
        return Err(FormatError::Field { what: WHAT, field: "flags" });
    }
    let chunk_len = fields.u32()?;
    if chunk_len > u32_of(GROUP_BYTES_MAX) {
        return Err(FormatError::Field { what: WHAT, field: "chunk_len" });
    }
    let lsn = fields.lsn("lsn")?;
    let tag = BlobTag(fields.array()?);
    let hash = fields.array()?;
    let rewrapped = if flags & REWRAPPED == 0 { None } else { Some(fields.array()?) };
    let kept = if flags & LEFT_OUT == 0 { usize_of_u32(chunk_len) } else { 0 };
    let sealed = fields.bytes(kept)?;
    let hashed = bytes.get(..CHUNK_HEADER_BYTES).ok_or(FormatError::Short { what: WHAT })?;
    let header = ChunkHeader { number, lsn, tag, hash };
    let bytes = (flags & LEFT_OUT == 0).then_some(sealed);
    Ok(Parsed {
        item: Item::Chunk { header, chunk_len, bytes, rewrapped },
        hashed,
        stored_len: CHUNK_HEADER_BYTES + rewrapped.map_or(0, |_| NOW_BYTES) + kept,
        whole_len: CHUNK_HEADER_BYTES + usize_of_u32(chunk_len),
    })
}

/// Feeds what the content hash covers: the slice of an item with a chunk's flags read as zero.
pub(crate) fn hash_item(hasher: &mut blake3::Hasher, hashed: &[u8]) {
    if let [KIND_CHUNK, _, rest @ ..] = hashed {
        hasher.update(&[KIND_CHUNK, 0]);
        hasher.update(rest);
    } else {
        hasher.update(hashed);
    }
}

/// Marks the chunk whose header is given as one whose bytes follow elsewhere or nowhere.
pub fn leave_bytes_out(header: &mut [u8; CHUNK_HEADER_BYTES]) {
    if let Some(flags) = header.get_mut(CHUNK_FLAGS_AT) {
        *flags |= LEFT_OUT;
    }
}

/// Marks the chunk whose header is given as one whose bytes were re-wrapped: their hash of now
/// follows the header.
pub(crate) fn mark_rewrapped(header: &mut [u8; CHUNK_HEADER_BYTES]) {
    if let Some(flags) = header.get_mut(CHUNK_FLAGS_AT) {
        *flags |= REWRAPPED;
    }
}
