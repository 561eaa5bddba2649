//! Sealing a spool file: its key is in memory only, so after a crash the file is noise.
//!
//! A block is `ciphertext ‖ tag 16`; every block but the last holds 64 KiB of plain bytes. There is
//! no header: what a reader must know, it knows because it is the same process.

use super::aad::Aad;
use super::aead::{Aead, AwsLc, NONCE, TAG_BYTES};
use super::derive::{Purpose, Sealer};
use super::error::SealError;
use super::key::Key;

/// Plain bytes of a block.
pub const SPOOL_BLOCK_BYTES: usize = 64 << 10;
/// Bytes that sealing adds to a block.
pub const SPOOL_BLOCK_OVERHEAD_BYTES: usize = TAG_BYTES;

/// One spool file: seals its blocks in order, and opens them in any.
pub struct SpoolSealer {
    key: Key,
    file: [u8; 16],
    next_block: u64,
}

impl SpoolSealer {
    /// A fresh key for a new file.
    pub fn new(sealer: &Sealer) -> SpoolSealer {
        let key = sealer.fresh_key(Purpose::SPOOL_FILE);
        SpoolSealer { key, file: sealer.random_id(), next_block: 0 }
    }

    /// Blocks sealed so far.
    pub fn block_count(&self) -> u64 {
        self.next_block
    }

    /// Seals the next block, in place: `block` grows by its tag.
    ///
    /// # Panics
    /// If it is longer than 64 KiB: its reader would not find the next one.
    pub fn seal_block(&mut self, block: &mut Vec<u8>) {
        assert!(block.len() <= SPOOL_BLOCK_BYTES, "a block of the spool has at most 64 KiB");
        let number = self.next_block;
        self.next_block += 1;
        let key = self.block_key(number);
        let aad = Aad::Spool { file: self.file, block: number }.encode();
        let tag = AwsLc.seal_in_place(key.expose(), &NONCE, &aad, block);
        block.extend_from_slice(&tag);
    }

    /// The plain bytes of a block.
    ///
    /// # Errors
    /// [`SealError::Altered`] if it is not that block of this file, [`SealError::Truncated`].
    pub fn open_block(&self, number: u64, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (ciphertext, tag) = sealed
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(SealError::Truncated { expected: TAG_BYTES, found: sealed.len() })?;
        let key = self.block_key(number);
        let aad = Aad::Spool { file: self.file, block: number }.encode();
        let mut plain = ciphertext.to_vec();
        AwsLc.open_in_place(key.expose(), &NONCE, &aad, &mut plain, tag)?;
        Ok(plain)
    }

    fn block_key(&self, number: u64) -> Key {
        Purpose::SPOOL_BLOCK.key(&[self.key.expose(), &number.to_le_bytes()])
    }
}
