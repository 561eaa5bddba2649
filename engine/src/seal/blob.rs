//! A blob: one stored body that several accounts may open, each with a key of its own.
//!
//! The header, stored once:
//!
//! ```text
//! offset  size      field
//!      0     4      magic          "PBXB"
//!      4     2      version        1
//!      6     2      account_count  1 to BLOB_ACCOUNTS_MAX
//!      8    16      tag            drawn by the caller, repeated in record and row
//!     24     4      chunk_count    plain_len / CHUNK_BYTES, rounded up; at least 1
//!     28     4      summary_len    plain bytes of the summary, sealed behind the last chunk
//!     32     8      plain_len      of the whole body
//!     40   116 × n  entries        account 8, key generation 4, content key as sealed object 104
//! 40+116n    16     proof          BLAKE3, derived from the content key over all bytes before
//! ```
//!
//! A chunk is `ciphertext ‖ tag 16`; its plain bytes are those of `compress.rs`. Every chunk but
//! the last holds CHUNK_BYTES plain bytes, so an offset in the body tells its chunk.
//!
//! Version 2, of a packed blob, from format level 4 on: what the log holds as item 0 is header,
//! sealed summary and first chunk, one behind the other; its further items are the other chunks.
//! (Of version 1, item 0 is the header, the chunks follow, and the summary is last.)
//!
//! ```text
//! offset  size      field
//!      0     8      magic, version 2, account_count as above
//!      8    16      tag
//!     24     4      summary_len    plain bytes of the summary
//!     28     4      sealed_len     of the summary
//!     32     8      plain_len      of the whole body; chunk_count follows from it
//!     40            entries and proof as above
//! ```
//!
//! # Invariants
//! 1. A content key is fresh for every blob, and its chunk keys derive from it and the chunk's
//!    number; a [`BlobSealer`] gives each number once. So a chunk costs 16 bytes and no key
//!    repeats.
//! 2. The proof commits to the content key and vouches for the header: nobody without a key of the
//!    blob can alter lengths, or move an entry to another header.
//! 3. Destroying one account's key takes nothing from the other entries.
//! 4. Chunks are never sealed anew: a retired key generation is replaced in the header alone.

use std::sync::Arc;

use super::aad::Aad;
use super::aead::{Aead, AwsLc, NONCE, TAG_BYTES};
use super::compress::{self, Compression, Content};
use super::derive::{COMMITMENT_BYTES, Purpose, Sealer};
use super::dictionary::{Dictionary, DictionaryHash};
use super::error::SealError;
use super::fields::Fields;
use super::key::{KEY_BYTES, Key};
use super::object::{self, OBJECT_OVERHEAD_BYTES};
use super::parts::{self, MessageParts, NoParts, PartSource};
use super::stream::Stream;
use crate::ids::{AccountNumber, BlobTag, KeyGeneration};
use crate::limits::{BLOB_ACCOUNTS_MAX, CHUNK_BYTES, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX};
use crate::width::{u32_of, u64_of, usize_of, usize_of_u32};

const MAGIC: [u8; 4] = *b"PBXB";
/// Version of a header that stands alone.
const APART: u16 = 1;
/// Version of a header that summary and first chunk follow.
pub(super) const VERSION: u16 = 2;
const HEAD_BYTES: usize = 40;
const WRAPPED_BYTES: usize = KEY_BYTES + OBJECT_OVERHEAD_BYTES;
const ENTRY_BYTES: usize = 8 + 4 + WRAPPED_BYTES;
const PROOF_BYTES: usize = COMMITMENT_BYTES;
/// What a summary may take more than its plain bytes when it begins a stream: name of a dictionary,
/// head of a frame, heads of its blocks.
const BEGIN_MAX: usize = 8 + 64;
const _: () = assert!(ENTRY_BYTES == 116 && HEAD_BYTES == 4 + 2 + 2 + 16 + 4 + 4 + 8);
const _: () = assert!(BLOB_ACCOUNTS_MAX <= 0xFFFF, "the count of accounts fits its field");

/// Bytes of the largest header.
pub const BLOB_HEADER_BYTES_MAX: usize = HEAD_BYTES + BLOB_ACCOUNTS_MAX * ENTRY_BYTES + PROOF_BYTES;

/// Chunks of a body: at least one, so that an empty body is a blob too.
pub const fn chunk_count(plain_len: u64) -> u64 {
    let count = plain_len.div_ceil(u64_of(CHUNK_BYTES));
    if count == 0 { 1 } else { count }
}

/// One account that may open a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobEntry {
    /// The account.
    pub account: AccountNumber,
    /// Which of its keys seals the content key.
    pub generation: KeyGeneration,
    /// The content key, sealed.
    sealed_key: [u8; WRAPPED_BYTES],
}

/// A blob's header, read without any key: what reclaim and check need. Its lengths are claims until
/// a [`BlobOpener`] has proved them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobHeader {
    version: u16,
    /// The blob's tag.
    pub tag: BlobTag,
    /// Chunks of the blob.
    pub chunk_count: u32,
    /// Plain bytes of the summary; 0 if there is none.
    pub summary_len: u32,
    /// Sealed bytes of the summary of a packed blob; else 0.
    sealed_summary_len: u32,
    /// Plain bytes of the body.
    pub plain_len: u64,
    /// Who may open it, in the order of the sealer.
    pub entries: Vec<BlobEntry>,
    proof: [u8; PROOF_BYTES],
}

impl BlobHeader {
    /// Reads a header. What follows that of a packed blob is not looked at.
    ///
    /// # Errors
    /// [`SealError::Truncated`] or [`SealError::Malformed`]; nothing here needs a key.
    pub fn parse(bytes: &[u8]) -> Result<BlobHeader, SealError> {
        let mut fields = Fields::new(bytes);
        let magic = fields.array()?;
        if magic != MAGIC {
            let found = u64::from(u32::from_le_bytes(magic));
            return Err(SealError::Malformed { field: "magic of a blob", found });
        }
        let version = fields.u16()?;
        if !(APART..=VERSION).contains(&version) {
            return Err(SealError::Malformed {
                field: "version of a blob",
                found: u64::from(version),
            });
        }
        let account_count = usize::from(fields.u16()?);
        if account_count == 0 || account_count > BLOB_ACCOUNTS_MAX {
            let found = u64_of(account_count);
            return Err(SealError::Malformed { field: "accounts of a blob", found });
        }
        let tag = BlobTag(fields.array()?);
        let claimed = if version == APART { Some(fields.u32()?) } else { None };
        let summary_len = fields.u32()?;
        let sealed_summary_len = if version == APART { 0 } else { fields.u32()? };
        let sealed_max = SUMMARY_BYTES_MAX + 1 + TAG_BYTES;
        if usize_of_u32(summary_len) > SUMMARY_BYTES_MAX
            || usize_of_u32(sealed_summary_len) > sealed_max
        {
            let found = u64::from(summary_len);
            return Err(SealError::Malformed { field: "summary length of a blob", found });
        }
        let plain_len = fields.u64()?;
        let expected = u32::try_from(chunk_count(plain_len)).ok();
        let fits = plain_len <= u64_of(MESSAGE_BYTES_MAX)
            && claimed.is_none_or(|claimed| Some(claimed) == expected);
        let Some(chunks) = expected.filter(|_| fits) else {
            return Err(SealError::Malformed { field: "length of a blob", found: plain_len });
        };
        let mut entries = Vec::with_capacity(account_count);
        for _ in 0..account_count {
            entries.push(BlobEntry {
                account: AccountNumber(fields.u64()?),
                generation: KeyGeneration(fields.u32()?),
                sealed_key: fields.array()?,
            });
        }
        let proof = fields.array()?;
        if version == APART {
            fields.end()?;
        }
        Ok(BlobHeader {
            version,
            tag,
            chunk_count: chunks,
            summary_len,
            sealed_summary_len,
            plain_len,
            entries,
            proof,
        })
    }

    /// The bytes before the proof.
    fn encode_front(&self) -> Vec<u8> {
        let length = HEAD_BYTES + self.entries.len() * ENTRY_BYTES + PROOF_BYTES;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        let account_count = u16::try_from(self.entries.len());
        let account_count = account_count.expect("BLOB_ACCOUNTS_MAX fits, checked by who made it");
        bytes.extend_from_slice(&account_count.to_le_bytes());
        bytes.extend_from_slice(&self.tag.0);
        if self.version == APART {
            bytes.extend_from_slice(&self.chunk_count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.summary_len.to_le_bytes());
        if self.version != APART {
            bytes.extend_from_slice(&self.sealed_summary_len.to_le_bytes());
        }
        bytes.extend_from_slice(&self.plain_len.to_le_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.account.0.to_le_bytes());
            bytes.extend_from_slice(&entry.generation.0.to_le_bytes());
            bytes.extend_from_slice(&entry.sealed_key);
        }
        bytes
    }

    /// The header's bytes as they were read.
    pub(super) fn as_stored(&self) -> Vec<u8> {
        let mut bytes = self.encode_front();
        bytes.extend_from_slice(&self.proof);
        bytes
    }

    fn encode(&self, content_key: &Key) -> Vec<u8> {
        let mut bytes = self.encode_front();
        let proof = prove(content_key, &bytes);
        bytes.extend_from_slice(&proof);
        bytes
    }

    fn content_key(
        &self,
        account: AccountNumber,
        key_lookup: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>,
    ) -> Result<Key, SealError> {
        let entry = self.entries.iter().find(|entry| entry.account == account);
        let entry = entry.ok_or(SealError::NotForAccount(account))?;
        let generation = entry.generation;
        let key = key_lookup(account, generation);
        let key = key.ok_or(SealError::NoKey { account, generation })?;
        let aad = Aad::BlobKey { tag: self.tag, account, generation };
        let plain = zeroize::Zeroizing::new(object::open(&key, aad, &entry.sealed_key)?);
        let content_key = Key::from_slice(&plain)
            .ok_or(SealError::Truncated { expected: KEY_BYTES, found: plain.len() })?;
        let expected = prove(&content_key, &self.encode_front());
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.proof, &expected)
            .map_err(|_| SealError::Altered)?;
        Ok(content_key)
    }

    /// Bytes of the header as it is stored.
    fn stored_len(&self) -> usize {
        HEAD_BYTES + self.entries.len() * ENTRY_BYTES + PROOF_BYTES
    }

    /// Where a chunk lies in what the log holds of the blob; the summary is the chunk behind the
    /// last.
    pub fn piece(&self, number: u32) -> Piece {
        let summary_at = self.stored_len();
        let first_at = summary_at + usize_of_u32(self.sealed_summary_len);
        if self.version == APART {
            Piece { item: number.saturating_add(1), start: 0, end: None }
        } else if number == self.chunk_count {
            Piece { item: 0, start: summary_at, end: Some(first_at) }
        } else if number == 0 {
            Piece { item: 0, start: first_at, end: None }
        } else {
            Piece { item: number, start: 0, end: None }
        }
    }

    /// Plain bytes of a chunk; the summary is the one behind the last; `None` beyond.
    fn chunk_len(&self, number: u32) -> Option<usize> {
        if number == self.chunk_count && self.summary_len > 0 {
            return Some(usize_of_u32(self.summary_len));
        }
        if number >= self.chunk_count {
            return None;
        }
        let before = u64::from(number) * u64_of(CHUNK_BYTES);
        Some(usize_of(self.plain_len - before).min(CHUNK_BYTES))
    }

    /// This header with one account's content key sealed under another key of it: how reclaim
    /// retires a key generation. Chunks stay as they are. Returns header and BLAKE3 of it.
    ///
    /// # Errors
    /// As [`BlobOpener::open`], for the old key.
    pub fn rewrap(
        &self,
        sealer: &Sealer,
        account: AccountNumber,
        key_lookup: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>,
        (generation, key): (KeyGeneration, &Key),
    ) -> Result<(Vec<u8>, [u8; 32]), SealError> {
        let content_key = self.content_key(account, key_lookup)?;
        let mut header = self.clone();
        for entry in header.entries.iter_mut().filter(|entry| entry.account == account) {
            *entry = wrap(sealer, self.tag, account, (generation, key), &content_key);
        }
        let bytes = header.encode(&content_key);
        let hash = blake3::hash(&bytes).into();
        Ok((bytes, hash))
    }
}

fn prove(content_key: &Key, front: &[u8]) -> [u8; PROOF_BYTES] {
    let mut proof = [0; PROOF_BYTES];
    Purpose::BLOB_PROOF.derive(&[content_key.expose(), front], &mut proof);
    proof
}

fn wrap(
    sealer: &Sealer,
    tag: BlobTag,
    account: AccountNumber,
    (generation, key): (KeyGeneration, &Key),
    content_key: &Key,
) -> BlobEntry {
    let aad = Aad::BlobKey { tag, account, generation };
    let sealed = object::seal(sealer, key, aad, content_key.expose());
    let sealed_key = sealed.try_into().expect("a sealed key has a constant length");
    BlobEntry { account, generation, sealed_key }
}

fn chunk_key(content_key: &Key, number: u32) -> Key {
    Purpose::CHUNK.key(&[content_key.expose(), &number.to_le_bytes()])
}

/// Where a chunk lies in what the log holds of its blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Number of the item in the log.
    pub item: u32,
    /// Where in the item it begins.
    pub start: usize,
    /// Where in it it ends; `None`: where the item does.
    pub end: Option<usize>,
}

impl Piece {
    /// The chunk's sealed bytes, of those of its item.
    pub fn of<'a>(&self, item: &'a [u8]) -> Option<&'a [u8]> {
        item.get(self.start..self.end.unwrap_or(item.len()))
    }

    /// The same, to be opened where they lie.
    pub fn of_mut<'a>(&self, item: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let end = self.end.unwrap_or(item.len());
        item.get_mut(self.start..end)
    }
}

/// A chunk as it is stored.
#[derive(Debug)]
pub struct SealedChunk {
    /// Which chunk, from 0.
    pub number: u32,
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
    /// BLAKE3 of `bytes`.
    pub hash: [u8; 32],
}

/// Seals one blob, chunk after chunk.
pub struct BlobSealer {
    header: BlobHeader,
    header_bytes: Vec<u8>,
    content_key: Key,
    compression: Compression,
    next_number: u32,
}

impl BlobSealer {
    /// Begins a blob of `plain_len` bytes for the given accounts, each once.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] for no or more than BLOB_ACCOUNTS_MAX accounts, and for bodies above
    /// MESSAGE_BYTES_MAX.
    pub fn new(
        sealer: &Sealer,
        tag: BlobTag,
        accounts: &[(AccountNumber, KeyGeneration, &Key)],
        plain_len: u64,
        compression: Compression,
    ) -> Result<BlobSealer, SealError> {
        BlobSealer::with_summary(sealer, tag, accounts, (plain_len, 0), compression)
    }

    /// Begins a blob of a body and a summary of so many bytes; the summary is sealed behind the
    /// last chunk.
    ///
    /// # Errors
    /// As [`BlobSealer::new`], and for summaries above [`SUMMARY_BYTES_MAX`].
    pub fn with_summary(
        sealer: &Sealer,
        tag: BlobTag,
        accounts: &[(AccountNumber, KeyGeneration, &Key)],
        (plain_len, summary_len): (u64, u32),
        compression: Compression,
    ) -> Result<BlobSealer, SealError> {
        let summary_max = u64_of(SUMMARY_BYTES_MAX);
        if u64::from(summary_len) > summary_max {
            return Err(SealError::TooLarge {
                found: u64::from(summary_len),
                maximum: summary_max,
            });
        }
        let (count, count_max) = (u64_of(accounts.len()), u64_of(BLOB_ACCOUNTS_MAX));
        if count == 0 || count > count_max {
            return Err(SealError::TooLarge { found: count, maximum: count_max });
        }
        let maximum = u64_of(MESSAGE_BYTES_MAX);
        if plain_len > maximum {
            return Err(SealError::TooLarge { found: plain_len, maximum });
        }
        let content_key = sealer.fresh_key(Purpose::CONTENT_KEY);
        let entries = accounts
            .iter()
            .map(|(account, generation, key)| {
                wrap(sealer, tag, *account, (*generation, key), &content_key)
            })
            .collect();
        let chunk_count = u32_of(usize_of(chunk_count(plain_len)));
        let proof = [0; PROOF_BYTES];
        let header = BlobHeader {
            version: APART,
            tag,
            chunk_count,
            summary_len,
            sealed_summary_len: 0,
            plain_len,
            entries,
            proof,
        };
        let header_bytes = header.encode(&content_key);
        Ok(BlobSealer { header, header_bytes, content_key, compression, next_number: 0 })
    }

    /// Chunks that the blob will have.
    pub fn chunk_count(&self) -> u32 {
        self.header.chunk_count
    }

    /// The header and its BLAKE3.
    pub fn header(&self) -> (&[u8], [u8; 32]) {
        (&self.header_bytes, blake3::hash(&self.header_bytes).into())
    }

    /// Plain bytes that the next chunk takes; `None` when all are sealed.
    pub fn next_chunk_len(&self) -> Option<usize> {
        self.header.chunk_len(self.next_number)
    }

    /// Whether the next chunk is the summary.
    pub fn next_is_summary(&self) -> bool {
        self.next_number == self.header.chunk_count
    }

    /// Seals the next chunk, which must be as long as [`next_chunk_len`](Self::next_chunk_len)
    /// says.
    ///
    /// # Panics
    /// If there is no next chunk or its length differs: a caller that lost count would store a body
    /// that nobody can open.
    pub fn seal_chunk(&mut self, plain: &[u8]) -> SealedChunk {
        self.seal_next(plain, None)
    }

    /// The same for a message of which parts are stored as blobs of their own.
    ///
    /// # Panics
    /// As [`seal_chunk`](Self::seal_chunk).
    pub fn seal_chunk_without(&mut self, plain: &[u8], parts: &MessageParts) -> SealedChunk {
        self.seal_next(plain, Some(parts).filter(|_| !self.next_is_summary()))
    }

    fn seal_next(&mut self, plain: &[u8], parts: Option<&MessageParts>) -> SealedChunk {
        assert_eq!(self.next_chunk_len(), Some(plain.len()), "chunks come in order and whole");
        let number = self.next_number;
        let content = if self.next_is_summary() { Content::Summary } else { Content::Body };
        self.next_number += 1;
        let mut bytes = Vec::with_capacity(plain.len() + 1 + TAG_BYTES);
        let start = usize_of_u32(number).saturating_mul(CHUNK_BYTES);
        let names_parts =
            parts.and_then(|parts| parts::fold(plain, start, parts)).is_some_and(|folded| {
                compress::encode_parts(None, &folded, plain.len(), &self.compression, &mut bytes)
            });
        if !names_parts {
            compress::encode(plain, content, &self.compression, &mut bytes);
        }
        self.seal_text(number, &mut bytes);
        bytes.shrink_to_fit();
        let hash = blake3::hash(&bytes).into();
        SealedChunk { number, bytes, hash }
    }

    /// Seals what a chunk holds where it lies, and appends its tag.
    fn seal_text(&self, number: u32, bytes: &mut Vec<u8>) {
        let aad = self.header.chunk_aad(number).encode();
        let key = chunk_key(&self.content_key, number);
        let tag = AwsLc.seal_in_place(key.expose(), &NONCE, &aad, bytes);
        bytes.extend_from_slice(&tag);
    }

    /// Seals a whole message that is in memory as a packed blob: the items of the log, of which
    /// the first is header, summary and first chunk. Each item tells its BLAKE3.
    ///
    /// # Panics
    /// If a length is not the announced one, or a chunk was sealed before.
    pub fn seal_packed(self, body: &[u8], summary: &[u8]) -> Vec<SealedChunk> {
        self.seal_packed_without(body, &MessageParts::default(), summary)
    }

    /// The same for a message of which parts are stored as blobs of their own.
    ///
    /// # Panics
    /// As [`seal_packed`](Self::seal_packed).
    pub fn seal_packed_without(
        mut self,
        body: &[u8],
        parts: &MessageParts,
        summary: &[u8],
    ) -> Vec<SealedChunk> {
        assert_eq!(u64_of(body.len()), self.header.plain_len, "the body has the announced length");
        let announced = usize_of_u32(self.header.summary_len);
        assert_eq!(summary.len(), announced, "the summary has the announced length");
        assert_eq!(self.next_number, 0, "a blob is packed as a whole");
        self.header.version = VERSION;
        let mut chunks = body.chunks(CHUNK_BYTES);
        let first = chunks.next().unwrap_or_default();
        let mut stream = Stream::new(summary);
        let mut first_text = Vec::with_capacity(first.len() + 1 + TAG_BYTES);
        let names_parts = parts::fold(first, 0, parts).is_some_and(|folded| {
            let (stream, compression) = (Some(&mut stream), &self.compression);
            compress::encode_parts(stream, &folded, first.len(), compression, &mut first_text)
        });
        if !names_parts {
            compress::encode_first(&mut stream, first, &self.compression, &mut first_text);
        }
        let mut summary_text = Vec::with_capacity(summary.len() + 1 + TAG_BYTES);
        compress::encode_summary(stream, summary, &self.compression, &mut summary_text);
        self.seal_text(0, &mut first_text);
        self.seal_text(self.header.chunk_count, &mut summary_text);
        self.next_number = 1;
        self.header.sealed_summary_len = u32_of(summary_text.len());
        let mut bytes = self.header.encode(&self.content_key);
        bytes.reserve_exact(summary_text.len() + first_text.len());
        bytes.append(&mut summary_text);
        bytes.append(&mut first_text);
        let hash = blake3::hash(&bytes).into();
        let mut items = vec![SealedChunk { number: 0, bytes, hash }];
        items.extend(chunks.map(|chunk| self.seal_chunk_without(chunk, parts)));
        items
    }

    /// Seals a whole body that is in memory.
    ///
    /// # Panics
    /// If its length is not the announced one, or a chunk was sealed before.
    pub fn seal_body(mut self, body: &[u8]) -> Vec<SealedChunk> {
        assert_eq!(u64_of(body.len()), self.header.plain_len, "the body has the announced length");
        if body.is_empty() {
            return vec![self.seal_chunk(body)];
        }
        body.chunks(CHUNK_BYTES).map(|chunk| self.seal_chunk(chunk)).collect()
    }
}

impl BlobHeader {
    fn chunk_aad(&self, number: u32) -> Aad<'static> {
        Aad::Chunk { tag: self.tag, number, count: self.chunk_count, version: self.version }
    }
}

/// Opens the chunks of one blob.
pub struct BlobOpener {
    header: BlobHeader,
    content_key: Key,
    /// What the summary of a packed blob holds, compressed as it is: its first chunk may go on from
    /// it. `None` also if it is damaged.
    summary: Option<Vec<u8>>,
}

impl BlobOpener {
    /// Opens a header for one account. `tag` is the one of the record or row that led here. Of a
    /// packed blob, the summary must be there too.
    ///
    /// # Errors
    /// [`SealError::NotForAccount`], [`SealError::NoKey`] if the key was destroyed,
    /// [`SealError::WrongKey`], [`SealError::Altered`] (also for another blob's header), or those
    /// of [`BlobHeader::parse`].
    pub fn open(
        header: &[u8],
        tag: BlobTag,
        account: AccountNumber,
        key_lookup: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>,
    ) -> Result<BlobOpener, SealError> {
        let item = header;
        let header = BlobHeader::parse(item)?;
        if header.tag != tag {
            return Err(SealError::Altered);
        }
        let content_key = header.content_key(account, key_lookup)?;
        let mut opener = BlobOpener { header, content_key, summary: None };
        if opener.header.version != APART {
            let number = opener.header.chunk_count;
            let piece = opener.header.piece(number);
            let found = item.len();
            let expected = piece.end.unwrap_or(found);
            let sealed = piece.of(item).ok_or(SealError::Truncated { expected, found })?;
            let mut text = sealed.to_vec();
            opener.summary = match opener.open_text(number, &mut text) {
                Ok(length) => {
                    text.truncate(length);
                    Some(text)
                }
                // Whoever asks for the summary or for what needs it is told.
                Err(_) => None,
            };
        }
        Ok(opener)
    }

    /// Where a chunk lies in what the log holds of the blob.
    pub fn piece(&self, number: u32) -> Piece {
        self.header.piece(number)
    }

    /// Decrypts a chunk where it lies; answers how many bytes it holds.
    fn open_text(&self, number: u32, sealed: &mut [u8]) -> Result<usize, SealError> {
        let found = sealed.len();
        let (text, tag) = sealed
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(SealError::Truncated { expected: TAG_BYTES, found })?;
        let aad = self.header.chunk_aad(number).encode();
        let key = chunk_key(&self.content_key, number);
        AwsLc.open_in_place(key.expose(), &NONCE, &aad, text, tag)?;
        Ok(text.len())
    }

    /// Plain bytes of the body.
    pub fn plain_len(&self) -> u64 {
        self.header.plain_len
    }

    /// Chunks of the body.
    pub fn chunk_count(&self) -> u32 {
        self.header.chunk_count
    }

    /// The plain bytes of a chunk.
    ///
    /// # Errors
    /// [`SealError::Altered`] if it is not that chunk of this blob, unaltered; others if it was
    /// sealed wrongly.
    pub fn open_chunk(&self, number: u32, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_chunk_with(number, sealed, &|_| None)
    }

    /// Like [`open_chunk`](Self::open_chunk), for blobs that may need dictionaries.
    ///
    /// # Errors
    /// Also [`SealError::NoDictionary`].
    pub fn open_chunk_with(
        &self,
        number: u32,
        sealed: &[u8],
        dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
    ) -> Result<Vec<u8>, SealError> {
        let mut plain = Vec::new();
        self.open_chunk_onto(number, &mut sealed.to_vec(), dictionaries, &mut plain)?;
        Ok(plain)
    }

    /// Appends the plain bytes of a chunk to `out`, and leaves nothing of use in `sealed`. The way
    /// without copies, for readers of many chunks; after an error `out` is as it was.
    ///
    /// # Errors
    /// As for [`open_chunk_with`](Self::open_chunk_with).
    pub fn open_chunk_onto(
        &self,
        number: u32,
        sealed: &mut [u8],
        dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.open_next(number, sealed, (dictionaries, &mut NoParts), out)
    }

    /// Like [`open_chunk_onto`](Self::open_chunk_onto), for a message of which parts are kept in
    /// other blobs.
    ///
    /// # Errors
    /// Also those of `parts`.
    pub fn open_chunk_and_parts(
        &self,
        number: u32,
        sealed: &mut [u8],
        parts: &mut dyn PartSource,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.open_next(number, sealed, (&|_| None, parts), out)
    }

    fn open_next(
        &self,
        number: u32,
        sealed: &mut [u8],
        (dictionaries, parts): (
            &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
            &mut dyn PartSource,
        ),
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let plain_len = self.header.chunk_len(number).ok_or(SealError::TooLarge {
            found: u64::from(number),
            maximum: u64::from(self.header.chunk_count) - 1,
        })?;
        // A codec byte is the most that sealing adds to incompressible bytes, and the name of a
        // dictionary more to a summary that begins a stream.
        let text_max =
            plain_len + 1 + if number == self.header.chunk_count { BEGIN_MAX } else { 0 };
        if sealed.len() > text_max + TAG_BYTES {
            let found = sealed.len();
            return Err(SealError::Truncated { expected: text_max + TAG_BYTES, found });
        }
        let length = self.open_text(number, sealed)?;
        let text = sealed.get(..length).unwrap_or_default();
        let summary = self.summary.as_ref().filter(|_| number == 0);
        let begin = summary
            .and_then(|text| compress::begin_of(text, usize_of_u32(self.header.summary_len)));
        compress::decode_onto(text, plain_len, begin, dictionaries, parts, out)
    }

    /// The chunk that holds the byte at `offset` of the body, and where in it.
    pub fn locate(&self, offset: u64) -> Option<(u32, usize)> {
        if offset >= self.header.plain_len {
            return None;
        }
        let chunk = u64_of(CHUNK_BYTES);
        Some((u32::try_from(offset / chunk).ok()?, usize_of(offset % chunk)))
    }

    /// Bytes of the largest possible sealed chunk with this number.
    pub fn sealed_chunk_len_max(&self, number: u32) -> usize {
        let before = usize_of_u32(number).saturating_mul(CHUNK_BYTES);
        let rest = usize_of(self.header.plain_len).saturating_sub(before);
        rest.min(CHUNK_BYTES) + 1 + TAG_BYTES
    }
}
