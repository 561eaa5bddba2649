//! The spool: where an arriving large message waits, sealed, until it is accepted or refused.
//!
//! A file has a key of its own that exists in memory only, so what a crash leaves behind is noise,
//! and is removed at the next start. The file's name is taken away as soon as it is made where the
//! system allows that, so nothing is left behind at all.
//!
//! ```text
//! block n at n × (64 KiB + 16): ciphertext ‖ tag 16; the last one may be shorter
//! ```

use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{DiskError, ReadError};
use crate::ids::AccountNumber;
use crate::seal::{SPOOL_BLOCK_BYTES, SPOOL_BLOCK_OVERHEAD_BYTES, SpoolSealer};
use crate::width::u64_of;

use super::Store;
use super::layout::Layout;

/// One message on its way in. Dropped with everything in it.
pub struct SpoolFile {
    file: Box<dyn DiskFile>,
    sealer: SpoolSealer,
    /// Sealed bytes of each block.
    lengths: Vec<usize>,
}

impl Store {
    /// A new, empty spool file.
    ///
    /// # Errors
    /// [`DiskError`], if the file cannot be made.
    pub fn spool(&self) -> Result<SpoolFile, DiskError> {
        let inner = &self.inner;
        let name: String =
            inner.sealer.random_id().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = Layout::of(&inner.directory).spool().join(name);
        let disk: &Arc<dyn Disk> = &inner.disk;
        let file = disk.create(&path)?;
        // The open file stays usable; its space is free again when it is closed, in any way.
        disk.remove(&path)?;
        Ok(SpoolFile { file, sealer: SpoolSealer::new(&inner.sealer), lengths: Vec::new() })
    }
}

impl SpoolFile {
    /// Plain bytes of every block but the last.
    pub const BLOCK_BYTES: usize = SPOOL_BLOCK_BYTES;

    /// Keeps the next block, of at most [`SpoolFile::BLOCK_BYTES`].
    ///
    /// # Errors
    /// [`DiskError`], if the disk is full or fails.
    ///
    /// # Panics
    /// If the block is longer.
    pub fn write_block(&mut self, plain: &[u8]) -> Result<(), DiskError> {
        let mut block = Vec::with_capacity(plain.len() + SPOOL_BLOCK_OVERHEAD_BYTES);
        block.extend_from_slice(plain);
        self.sealer.seal_block(&mut block);
        self.file.write_at(place(self.lengths.len()), &block)?;
        self.lengths.push(block.len());
        Ok(())
    }

    /// Appends the block of that index, counted from 0, to `into`; nothing if there is no such
    /// block.
    ///
    /// # Errors
    /// [`ReadError`], if the disk fails or gives back something else than was written.
    pub fn read_block(&self, index: usize, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let Some(&length) = self.lengths.get(index) else { return Ok(()) };
        let mut block = vec![0; length];
        let found = self.file.read_at(place(index), &mut block)?;
        block.truncate(found);
        let opened = self.sealer.open_block(u64_of(index), &block);
        into.extend_from_slice(&opened.map_err(|error| ReadError::Sealed {
            what: "a block of the spool",
            account: AccountNumber::VOLUME,
            why: error.to_string(),
        })?);
        Ok(())
    }
}

fn place(index: usize) -> u64 {
    u64_of(index) * u64_of(SPOOL_BLOCK_BYTES + SPOOL_BLOCK_OVERHEAD_BYTES)
}
