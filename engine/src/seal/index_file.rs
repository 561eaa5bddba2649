//! Sealing a file of the full-text index: blocks under a key of the file's own, in any order.
//!
//! The header, of 140 bytes:
//!
//! ```text
//! offset  size  field
//!      0     4  magic       "PBXF"
//!      4     2  version     1
//!      6     2  reserved    zero
//!      8     8  account
//!     16     4  generation  of the account's key that seals the file's
//!     20    16  file        random: its name, too
//!     36   104  key         the file's key, a sealed object (object.rs)
//! ```
//!
//! A block is `ciphertext ‖ tag 16`; its plain bytes are codec and payload of `compress.rs`, zstd
//! of level 1 where that shrinks them. What follows the header, and where blocks are,
//! `search/file.rs` says.
//!
//! # Invariants
//! 1. A file's key is fresh, and a block's derives from it and the block's number, which a writer
//!    gives once. So no key repeats.
//! 2. A block opens as that block of that file and of no other.
//! 3. Blocks are never sealed anew: a retired generation of the account's key is replaced in the
//!    header alone.

use zeroize::Zeroizing;

use super::aad::Aad;
use super::aead::{Aead, AwsLc, NONCE, TAG_BYTES};
use super::compress::{self, Compression, Content};
use super::derive::{Purpose, Sealer};
use super::error::SealError;
use super::fields::Fields;
use super::key::{KEY_BYTES, Key};
use super::object::{self, OBJECT_OVERHEAD_BYTES};
use super::parts::NoParts;
use crate::ids::{AccountNumber, KeyGeneration};

const MAGIC: [u8; 4] = *b"PBXF";
/// Version of index files.
pub(super) const VERSION: u16 = 1;
/// Bytes of a header.
pub const INDEX_HEADER_BYTES: usize = 140;
/// Bytes that sealing adds to a block at most: it is plain where it does not shrink.
pub const INDEX_BLOCK_OVERHEAD_BYTES: usize = 1 + TAG_BYTES;
const _: () = assert!(36 + KEY_BYTES + OBJECT_OVERHEAD_BYTES == INDEX_HEADER_BYTES);

/// Number among those of [`Aad::Named`].
const KEY_OF_FILE: u8 = 1;
/// Number among those of [`Aad::Named`].
const BLOCK_OF_FILE: u8 = 2;

/// Which index file: random.
pub type IndexFileId = [u8; 16];

/// Seals and opens the blocks of one file.
pub struct IndexFile {
    key: Key,
    account: AccountNumber,
    generation: KeyGeneration,
    id: IndexFileId,
}

impl IndexFile {
    /// A new file of an account, under a fresh key.
    pub fn new(sealer: &Sealer, account: AccountNumber, generation: KeyGeneration) -> IndexFile {
        let key = sealer.fresh_key(Purpose::INDEX_FILE);
        IndexFile { key, account, generation, id: sealer.random_id() }
    }

    /// Opens what [`IndexFile::header`] made.
    ///
    /// # Errors
    /// [`SealError`] if it is no header, or of a key that is not at hand, or altered.
    pub fn open(
        header: &[u8],
        key_lookup: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>,
    ) -> Result<IndexFile, SealError> {
        let mut fields = Fields::new(header);
        let magic = fields.array()?;
        if magic != MAGIC {
            let found = u64::from(u32::from_le_bytes(magic));
            return Err(SealError::Malformed { field: "magic of an index file", found });
        }
        let version = fields.u16()?;
        if version != VERSION {
            let found = u64::from(version);
            return Err(SealError::Malformed { field: "version of an index file", found });
        }
        fields.zero::<2>("reserved field of an index file")?;
        let account = AccountNumber(fields.u64()?);
        let generation = KeyGeneration(fields.u32()?);
        let id = fields.array()?;
        let sealed = fields.bytes(KEY_BYTES + OBJECT_OVERHEAD_BYTES)?;
        let parent = key_lookup(account, generation);
        let parent = parent.ok_or(SealError::NoKey { account, generation })?;
        let name = key_name(account, generation, &id);
        let aad = Aad::Named { purpose: KEY_OF_FILE, name: &name };
        let plain = Zeroizing::new(object::open(&parent, aad, sealed)?);
        let key = Key::from_slice(&plain)
            .ok_or(SealError::Truncated { expected: KEY_BYTES, found: plain.len() })?;
        Ok(IndexFile { key, account, generation, id })
    }

    /// Whose it is.
    pub fn account(&self) -> AccountNumber {
        self.account
    }

    /// Which of the account's keys its header was sealed under when it was opened.
    pub fn generation(&self) -> KeyGeneration {
        self.generation
    }

    /// Which one it is.
    pub fn id(&self) -> IndexFileId {
        self.id
    }

    /// Its header, under that key of its account.
    pub fn header(
        &self,
        sealer: &Sealer,
        (generation, parent): (KeyGeneration, &Key),
    ) -> [u8; INDEX_HEADER_BYTES] {
        let name = key_name(self.account, generation, &self.id);
        let aad = Aad::Named { purpose: KEY_OF_FILE, name: &name };
        let sealed = object::seal(sealer, parent, aad, self.key.expose());
        let mut bytes = Vec::with_capacity(INDEX_HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.account.0.to_le_bytes());
        bytes.extend_from_slice(&generation.0.to_le_bytes());
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&sealed);
        bytes.try_into().expect("a sealed key has a constant length")
    }

    /// Appends a block, sealed, to `out`. Its number must not have been given before.
    pub fn seal_block(&self, number: u32, plain: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        compress::encode(plain, Content::Body, &Compression::Zstd(1), out);
        let key = self.block_key(number);
        let (_, text) = out.split_at_mut(start);
        let name = self.block_name(number);
        let aad = Aad::Named { purpose: BLOCK_OF_FILE, name: &name }.encode();
        let tag = AwsLc.seal_in_place(key.expose(), &NONCE, &aad, text);
        out.extend_from_slice(&tag);
    }

    /// The plain bytes of a block, which are exactly `plain_len`.
    ///
    /// # Errors
    /// [`SealError`] if it is not that block of this file.
    pub fn open_block(
        &self,
        number: u32,
        sealed: &[u8],
        plain_len: usize,
    ) -> Result<Vec<u8>, SealError> {
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(SealError::Truncated { expected: TAG_BYTES, found: sealed.len() })?;
        let key = self.block_key(number);
        let name = self.block_name(number);
        let aad = Aad::Named { purpose: BLOCK_OF_FILE, name: &name }.encode();
        let mut text = ciphertext.to_vec();
        AwsLc.open_in_place(key.expose(), &NONCE, &aad, &mut text, tag)?;
        let mut plain = Vec::new();
        compress::decode_onto(&text, plain_len, None, &|_| None, &mut NoParts, &mut plain)?;
        Ok(plain)
    }

    fn block_key(&self, number: u32) -> Key {
        Purpose::INDEX_BLOCK.key(&[self.key.expose(), &number.to_le_bytes()])
    }

    fn block_name(&self, number: u32) -> [u8; 20] {
        let mut name = [0; 20];
        let parts = self.id.into_iter().chain(number.to_le_bytes());
        name.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        name
    }
}

fn key_name(account: AccountNumber, generation: KeyGeneration, id: &IndexFileId) -> [u8; 28] {
    let mut name = [0; 28];
    let numbers = account.0.to_le_bytes().into_iter().chain(generation.0.to_le_bytes());
    let parts = numbers.chain(*id);
    name.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_opens_as_itself_and_as_no_other() {
        let sealer = Sealer::system();
        let parent = Key::take(&mut [7; KEY_BYTES]);
        let (account, generation) = (AccountNumber(9), KeyGeneration(2));
        let lookup = |of, which| ((of, which) == (account, generation)).then(|| parent.clone());
        let file = IndexFile::new(&sealer, account, generation);
        let header = file.header(&sealer, (generation, &parent));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        let plain = b"the quick brown fox ".repeat(400);
        file.seal_block(0, &plain, &mut one);
        file.seal_block(1, b"short", &mut other);
        assert!(one.len() < plain.len() / 10, "it shrinks");
        let opened = IndexFile::open(&header, &lookup).unwrap();
        assert_eq!(opened.open_block(0, &one, plain.len()).unwrap(), plain);
        assert_eq!(opened.open_block(1, &other, 5).unwrap(), b"short");
        assert!(opened.open_block(1, &one, plain.len()).is_err(), "another number");
        assert!(opened.open_block(0, &one, plain.len() - 1).is_err(), "another length");
        let strange = IndexFile::new(&sealer, account, generation);
        assert!(strange.open_block(0, &one, plain.len()).is_err(), "another file");
        for at in 0..INDEX_HEADER_BYTES {
            let mut altered = header;
            altered[at] ^= 1;
            assert!(IndexFile::open(&altered, &lookup).is_err(), "byte {at} of the header");
        }
    }

    #[test]
    fn a_header_is_sealed_anew_and_the_blocks_stay() {
        let sealer = Sealer::system();
        let (old, new) = (Key::take(&mut [1; KEY_BYTES]), Key::take(&mut [2; KEY_BYTES]));
        let account = AccountNumber(9);
        let file = IndexFile::new(&sealer, account, KeyGeneration(1));
        let mut block = Vec::new();
        file.seal_block(3, b"text", &mut block);
        let header = file.header(&sealer, (KeyGeneration(2), &new));
        let only_new = |_, generation| (generation == KeyGeneration(2)).then(|| new.clone());
        let opened = IndexFile::open(&header, &only_new).unwrap();
        assert_eq!(opened.generation(), KeyGeneration(2));
        assert_eq!(opened.open_block(3, &block, 4).unwrap(), b"text");
        let only_old = |_, generation| (generation == KeyGeneration(1)).then(|| old.clone());
        assert!(IndexFile::open(&header, &only_old).is_err(), "the retired key opens nothing");
    }
}
