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
//! Version 3, from format level 5 on, is version 2 with shorter entries of 68 bytes: account 8, key
//! generation 4, salt 24 (incarnation and serial of `derive.rs`), content key 32, xor a mask that
//! is derived from the account's key, the salt, tag, account and generation. What a sealed object
//! says more the header says already: the tag is 128 fresh random bits, the proof commits to the
//! content key and tells whether anything was altered.
//!
//! # Invariants
//! 1. A content key is fresh for every blob, and its chunk keys derive from it and the chunk's
//!    number; a [`BlobSealer`] gives each number once. So a chunk costs 16 bytes and no key
//!    repeats. A mask hides one content key: its salt is another for every entry, and its tag for
//!    every blob.
//! 2. The proof commits to the content key and vouches for the header: nobody without a key of the
//!    blob can alter lengths, or move an entry to another header.
//! 3. Destroying one account's key takes nothing from the other entries.
//! 4. Chunks are never sealed anew: a retired key generation is replaced in the header alone.

mod opener;
mod sealer;

pub use opener::BlobOpener;
pub use sealer::{BlobSealer, SealedChunk};

use zeroize::Zeroizing;

use super::aad::Aad;
use super::aead::TAG_BYTES;
use super::derive::{COMMITMENT_BYTES, Purpose, SHORT_SALT_BYTES, Sealer};
use super::error::SealError;
use super::fields::Fields;
use super::key::{KEY_BYTES, Key};
use super::object::{self, OBJECT_OVERHEAD_BYTES};
use crate::ids::{AccountNumber, BlobTag, KeyGeneration};
use crate::limits::{BLOB_ACCOUNTS_MAX, CHUNK_BYTES, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX};
use crate::width::{u64_of, usize_of, usize_of_u32};

const MAGIC: [u8; 4] = *b"PBXB";
/// Version of a header that stands alone.
const APART: u16 = 1;
/// Version of a header that summary and first chunk follow.
const PACKED: u16 = 2;
/// The same, with masked content keys.
pub(super) const VERSION: u16 = 3;
const HEAD_BYTES: usize = 40;
const SEALED_BYTES: usize = KEY_BYTES + OBJECT_OVERHEAD_BYTES;
const MASKED_BYTES: usize = SHORT_SALT_BYTES + KEY_BYTES;
const ENTRY_BYTES_MAX: usize = 8 + 4 + SEALED_BYTES;
const PROOF_BYTES: usize = COMMITMENT_BYTES;
/// What a summary may take more than its plain bytes when it begins a stream: name of a dictionary,
/// head of a frame, heads of its blocks.
const BEGIN_MAX: usize = 8 + 64;
const _: () = assert!(8 + 4 + MASKED_BYTES == 68, "an entry of version 3");
const _: () = assert!(ENTRY_BYTES_MAX == 116 && HEAD_BYTES == 4 + 2 + 2 + 16 + 4 + 4 + 8);
const _: () = assert!(BLOB_ACCOUNTS_MAX <= 0xFFFF, "the count of accounts fits its field");

/// Bytes of the largest header.
pub const BLOB_HEADER_BYTES_MAX: usize =
    HEAD_BYTES + BLOB_ACCOUNTS_MAX * ENTRY_BYTES_MAX + PROOF_BYTES;

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
    wrapped: Wrapped,
}

/// A content key under an account's key.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Wrapped {
    /// A sealed object: versions 1 and 2.
    Sealed(Box<[u8; SEALED_BYTES]>),
    /// Salt, and the key with its mask: version 3.
    Masked([u8; SHORT_SALT_BYTES], [u8; KEY_BYTES]),
}

impl Wrapped {
    const fn byte_count(version: u16) -> usize {
        if version < VERSION { SEALED_BYTES } else { MASKED_BYTES }
    }

    fn read(version: u16, fields: &mut Fields<'_>) -> Result<Wrapped, SealError> {
        Ok(match version {
            VERSION => Wrapped::Masked(fields.array()?, fields.array()?),
            _ => Wrapped::Sealed(Box::new(fields.array()?)),
        })
    }
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
                wrapped: Wrapped::read(version, &mut fields)?,
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
        let mut bytes = Vec::with_capacity(self.stored_len());
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
            match &entry.wrapped {
                Wrapped::Sealed(sealed) => bytes.extend_from_slice(sealed.as_slice()),
                Wrapped::Masked(salt, masked) => {
                    bytes.extend_from_slice(salt);
                    bytes.extend_from_slice(masked);
                }
            }
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
        let content_key = match &entry.wrapped {
            Wrapped::Sealed(sealed) => {
                let aad = Aad::BlobKey { tag: self.tag, account, generation };
                let plain = Zeroizing::new(object::open(&key, aad, sealed.as_slice())?);
                Key::from_slice(&plain)
                    .ok_or(SealError::Truncated { expected: KEY_BYTES, found: plain.len() })?
            }
            Wrapped::Masked(salt, masked) => {
                Key::take(&mut masked_key(self.tag, (account, generation, &key), salt, masked))
            }
        };
        let expected = prove(&content_key, &self.encode_front());
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.proof, &expected)
            .map_err(|_| SealError::Altered)?;
        Ok(content_key)
    }

    /// Bytes of the header as it is stored.
    fn stored_len(&self) -> usize {
        let entry_bytes = 8 + 4 + Wrapped::byte_count(self.version);
        HEAD_BYTES + self.entries.len() * entry_bytes + PROOF_BYTES
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
            let opener = (account, generation, key);
            *entry = wrap(sealer, self.version, self.tag, opener, &content_key);
        }
        let bytes = header.encode(&content_key);
        let hash = blake3::hash(&bytes).into();
        Ok((bytes, hash))
    }

    fn chunk_aad(&self, number: u32) -> Aad<'static> {
        Aad::Chunk { tag: self.tag, number, count: self.chunk_count, version: self.version }
    }
}

fn prove(content_key: &Key, front: &[u8]) -> [u8; PROOF_BYTES] {
    let mut proof = [0; PROOF_BYTES];
    Purpose::BLOB_PROOF.derive(&[content_key.expose(), front], &mut proof);
    proof
}

fn wrap(
    sealer: &Sealer,
    version: u16,
    tag: BlobTag,
    (account, generation, key): (AccountNumber, KeyGeneration, &Key),
    content_key: &Key,
) -> BlobEntry {
    let wrapped = if version == VERSION {
        let salt = sealer.short_salt();
        let opener = (account, generation, key);
        Wrapped::Masked(salt, *masked_key(tag, opener, &salt, content_key.expose()))
    } else {
        let aad = Aad::BlobKey { tag, account, generation };
        let sealed = object::seal(sealer, key, aad, content_key.expose());
        Wrapped::Sealed(Box::new(sealed.try_into().expect("a sealed key has a constant length")))
    };
    BlobEntry { account, generation, wrapped }
}

/// A content key with its mask; of one with its mask, the key.
fn masked_key(
    tag: BlobTag,
    (account, generation, key): (AccountNumber, KeyGeneration, &Key),
    salt: &[u8; SHORT_SALT_BYTES],
    content_key: &[u8; KEY_BYTES],
) -> Zeroizing<[u8; KEY_BYTES]> {
    let mut mask = Zeroizing::new([0; KEY_BYTES]);
    let (account, generation) = (account.0.to_le_bytes(), generation.0.to_le_bytes());
    let material = [key.expose().as_slice(), salt, &tag.0, &account, &generation];
    Purpose::CONTENT_KEY_MASK.derive(&material, mask.as_mut_slice());
    mask.iter_mut().zip(content_key).for_each(|(byte, with)| *byte ^= with);
    mask
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
