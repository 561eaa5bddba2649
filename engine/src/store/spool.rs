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

use crate::commit::Room;
use crate::disk::{Disk, DiskFile};
use crate::error::{CommitError, DiskError, ReadError};
use crate::ids::AccountNumber;
use crate::seal::{SPOOL_BLOCK_BYTES, SPOOL_BLOCK_OVERHEAD_BYTES, SpoolSealer};
use crate::width::u64_of;

use super::Store;
use super::layout::Layout;

/// One message on its way in. Dropped with everything in it.
pub struct SpoolFile {
    file: Box<dyn DiskFile>,
    sealer: SpoolSealer,
    room: Arc<Room>,
    /// Sealed bytes of each block.
    lengths: Vec<usize>,
}

impl Store {
    /// A new, empty spool file.
    ///
    /// # Errors
    /// [`CommitError::DiskFull`], if the reserve is all that is free; else why the file cannot be
    /// made.
    pub fn spool(&self) -> Result<SpoolFile, CommitError> {
        let inner = &self.inner;
        drop(inner.room.take(0)?);
        let name: String =
            inner.sealer.random_id().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = Layout::of(&inner.directory).spool().join(name);
        let disk: &Arc<dyn Disk> = &inner.disk;
        let file = disk.create(&path).map_err(said_no)?;
        // The open file stays usable; its space is free again when it is closed, in any way.
        disk.remove(&path).map_err(said_no)?;
        let (sealer, room) = (SpoolSealer::new(&inner.sealer), Arc::clone(&inner.room));
        Ok(SpoolFile { file, sealer, room, lengths: Vec::new() })
    }
}

impl SpoolFile {
    /// Plain bytes of every block but the last.
    pub const BLOCK_BYTES: usize = SPOOL_BLOCK_BYTES;

    /// Keeps the next block, of at most [`SpoolFile::BLOCK_BYTES`].
    ///
    /// # Errors
    /// [`CommitError::DiskFull`], if it would take from the reserve, with which deleting works; or
    /// why the disk does not take it.
    ///
    /// # Panics
    /// If the block is longer.
    pub fn write_block(&mut self, plain: &[u8]) -> Result<(), CommitError> {
        let _room = self.room.take(u64_of(plain.len() + SPOOL_BLOCK_OVERHEAD_BYTES))?;
        let mut block = Vec::with_capacity(plain.len() + SPOOL_BLOCK_OVERHEAD_BYTES);
        block.extend_from_slice(plain);
        self.sealer.seal_block(&mut block);
        self.file.write_at(place(self.lengths.len()), &block).map_err(said_no)?;
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

/// Another process may have been quicker than the question.
fn said_no(error: DiskError) -> CommitError {
    match error.cause.kind() {
        std::io::ErrorKind::StorageFull => CommitError::DiskFull,
        _ => CommitError::Read(ReadError::Disk(error)),
    }
}

fn place(index: usize) -> u64 {
    u64_of(index) * u64_of(SPOOL_BLOCK_BYTES + SPOOL_BLOCK_OVERHEAD_BYTES)
}
