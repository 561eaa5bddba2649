//! Healing: sealed bytes that are damaged here are fetched from the other node of a pair, compared
//! with their hash, and written to where they belong.
//!
//! ```text
//! a read, a check or the scrub finds a chunk without its hash ─► the other node is asked for it
//!   ─► its hash is right ─► the reader has it
//!                       └─► written over the damaged bytes, flushed, read back past the cache
//! ```
//! Why in its old place: a group and its chunks never move within a segment, so that both logs stay
//! the same, and a disk that lost a sector gives another when it is written. Where it does not, the
//! bytes read back are not right: then the copy is of no use, the log says so, and every reader is
//! still served by the other node until `check --repair` makes the file anew.
//!
//! # Invariants
//! 1. Nothing is written that does not have the hash which state and the log have for it.
//! 2. It is written only behind the header of just this chunk, into a segment that is closed, and
//!    while reclaim cannot take the file's name away.
//! 3. What is torn by a crash was damaged before.
//! 4. Whoever is asked answers from its own disk, and asks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::segment::Flaw;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::ids::{BlobTag, Lsn};
use crate::log::{ChunkPlace, LogReader, SegmentNumber};
use crate::state::Committed;

/// The other node, as one that has the same chunks.
pub trait Neighbour: Send + Sync {
    /// Asks for a chunk, and waits for it within a bound.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    fn chunk(&self, question: &[u8]) -> Result<Vec<u8>, String>;
}

/// Heals chunks.
pub(crate) struct Healer {
    reader: Arc<LogReader>,
    committed: Arc<Committed>,
    neighbour: RwLock<Option<Arc<dyn Neighbour>>>,
    healed: AtomicU64,
    lent: AtomicU64,
}

impl Healer {
    pub(crate) fn new(reader: Arc<LogReader>, committed: Arc<Committed>) -> Healer {
        let neighbour = RwLock::default();
        Healer { reader, committed, neighbour, healed: AtomicU64::new(0), lent: AtomicU64::new(0) }
    }

    pub(crate) fn set_neighbour(&self, neighbour: Option<Arc<dyn Neighbour>>) {
        *self.neighbour.write() = neighbour;
    }

    /// Chunks that were fetched since the start, and those that the other node was given.
    pub(crate) fn figures(&self) -> (u64, u64) {
        (self.healed.load(Ordering::Relaxed), self.lent.load(Ordering::Relaxed))
    }

    /// The bytes of a chunk that is damaged here, if the other node has them.
    pub(crate) fn fetch(&self, place: &ChunkPlace) -> Option<Vec<u8>> {
        let neighbour = self.neighbour.read().clone()?;
        let ChunkPlace { lsn, number, hash, offset, .. } = *place;
        let file = place.segment.path(self.reader.directory());
        let asked = ChunkQuestion { lsn, number: u32::from(number), hash };
        let bytes = match neighbour.chunk(&asked.encode()) {
            Ok(bytes) => bytes,
            Err(why) => {
                tracing::warn!(file = %file.display(), offset, %why, "damage was not healed");
                return None;
            }
        };
        if *blake3::hash(&bytes).as_bytes() != hash {
            tracing::warn!(file = %file.display(), offset, "the other node sent other bytes");
            return None;
        }
        match self.reader.write_back(place, &bytes) {
            Ok(true) => {
                self.healed.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    file = %file.display(), offset,
                    "a piece of a message was damaged, and was healed from the other node; look \
                     at the disk"
                );
            }
            Ok(false) => tracing::warn!(
                file = %file.display(), offset,
                "a piece of a message is damaged, and is read from the other node"
            ),
            Err(error) => tracing::error!(
                "a piece of a message is damaged and cannot be written anew: {error}; it is read \
                 from the other node. Look at the disk, then see docs/operate.md"
            ),
        }
        Some(bytes)
    }

    /// Heals what a scrub found, if it is a chunk that is alive; answers whether it is whole now.
    pub(crate) fn heal(&self, flaw: &Flaw) -> Result<bool, ReadError> {
        let Some(places) = self.committed.find_places(flaw.first)? else { return Ok(false) };
        let found = places.chunks.iter().find(|chunk| chunk.offset == flaw.from);
        let Some(chunk) = found.filter(|_| places.segment == flaw.segment.0) else {
            return Ok(false);
        };
        let place = ChunkPlace {
            lsn: flaw.first,
            number: u16::try_from(chunk.number).unwrap_or(u16::MAX),
            // Read where it lies.
            tag: BlobTag([0; 16]),
            segment: flaw.segment,
            offset: chunk.offset,
            length: chunk.length,
            hash: chunk.hash,
        };
        Ok(self.fetch(&place).is_some() && self.reader.read_chunk(&place).is_ok())
    }

    /// The other node asks for a chunk.
    ///
    /// # Errors
    /// A sentence for it.
    pub(crate) fn answer(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        let ChunkQuestion { lsn, number, hash } = ChunkQuestion::decode(question)?;
        let places = self.committed.find_places(lsn).map_err(|error| error.to_string())?;
        let places = places.ok_or("nothing is known of it")?;
        let chunk = places.find(number).ok_or("there is no such chunk")?;
        if chunk.hash != hash {
            return Err("it is of another hash here".to_owned());
        }
        let bytes = self.reader.read_chunk(&ChunkPlace {
            lsn,
            number: u16::try_from(number).unwrap_or(u16::MAX),
            tag: BlobTag([0; 16]),
            segment: SegmentNumber(places.segment),
            offset: chunk.offset,
            length: chunk.length,
            hash,
        });
        let bytes = bytes.map_err(|error| error.to_string())?;
        self.lent.fetch_add(1, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Which chunk: its position, its number, its hash: 8 bytes, 4, 32.
pub(crate) struct ChunkQuestion {
    lsn: Lsn,
    number: u32,
    hash: [u8; 32],
}

impl ChunkQuestion {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.lsn(self.lsn);
        out.raw(&self.number.to_le_bytes());
        out.raw(&self.hash);
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<ChunkQuestion, Broken> {
        let mut from = Decoder::new(bytes);
        let lsn = from.lsn()?;
        let number = u32::from_le_bytes(from.array()?);
        let hash = from.array()?;
        from.end()?;
        Ok(ChunkQuestion { lsn, number, hash })
    }
}
