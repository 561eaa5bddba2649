//! A message while it arrives: in memory up to 1 MiB, beyond that in the sealed spool where there
//! is one.
//!
//! # Invariants
//! 1. Every byte of capacity is claimed from one budget of the process before it is allocated, and
//!    given back when the message is gone.
//! 2. A message that failed (too large, no memory left) holds no memory, while its rest is read
//!    past.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::width::{u64_of, usize_of};

/// Bytes of a message kept in memory before the spool is asked for.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Bytes that a small message is expected to have.
const FIRST_BYTES: usize = 32 << 10;
/// Bytes of one block of the spool; the last of a message may be shorter.
pub const SPOOL_BLOCK_BYTES: usize = engine::SpoolFile::BLOCK_BYTES;

/// A place, outside of memory, for one arriving message; dropped with it. Whoever implements it
/// seals: nothing readable may lie on a disk.
pub trait Spool: Send {
    /// Keeps the next block, of [`SPOOL_BLOCK_BYTES`] unless it is the last.
    fn write_block(&mut self, block: &[u8]) -> io::Result<()>;

    /// Appends the block of that index, counted from 0, to `into`.
    fn read_block(&mut self, index: usize, into: &mut Vec<u8>) -> io::Result<()>;
}

/// How many bytes all arriving messages of the process may hold in memory.
#[derive(Debug)]
pub struct ByteBudget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl ByteBudget {
    /// A budget of that many bytes.
    pub fn new(limit_bytes: usize) -> ByteBudget {
        ByteBudget { limit_bytes, used_bytes: AtomicUsize::new(0) }
    }

    /// Bytes held now.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        self.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit_bytes)
            })
            .is_ok()
    }
}

/// A part of the budget; gives itself back.
#[derive(Debug)]
struct Claim {
    budget: Arc<ByteBudget>,
    bytes: usize,
}

impl Claim {
    fn grow_to(&mut self, bytes: usize) -> Result<(), ReceiveError> {
        let more = bytes.saturating_sub(self.bytes);
        if !self.budget.take(more) {
            return Err(ReceiveError::NoMemory);
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a message was not received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// More bytes than the limit.
    #[error("the message exceeds the size limit")]
    TooLarge,
    /// All arriving messages together have used up the budget.
    #[error("the memory for arriving messages is used up")]
    NoMemory,
    /// The spool said no.
    #[error("the spool failed: {0}")]
    Spool(#[from] io::Error),
}

/// Takes a message piece by piece.
pub(crate) struct Receiver {
    head: Vec<u8>,
    claim: Claim,
    limit_bytes: usize,
    spool: Storage,
}

enum Storage {
    /// Everything is in memory so far.
    NotAsked,
    /// There is no spool, so everything stays in memory.
    Absent,
    Blocks {
        spool: Box<dyn Spool>,
        block_count: usize,
        /// The block that is being filled.
        block: Vec<u8>,
    },
}

/// A message received whole.
pub(crate) struct Received {
    bytes: Vec<u8>,
    /// Held as long as the bytes are.
    _claim: Claim,
}

impl Received {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Receiver {
    /// For a message that begins with `trace` and may have `limit_bytes` more.
    pub(crate) fn new(
        budget: &Arc<ByteBudget>,
        trace: &[u8],
        declared_bytes: Option<u64>,
        limit_bytes: u64,
    ) -> Result<Receiver, ReceiveError> {
        // A declaration is not proof: beyond the head, memory is taken as bytes come.
        let expected = declared_bytes.map_or(FIRST_BYTES, usize_of).min(HEAD_BYTES_MAX);
        let mut receiver = Receiver {
            head: Vec::new(),
            claim: Claim { budget: Arc::clone(budget), bytes: 0 },
            limit_bytes: usize_of(limit_bytes).saturating_add(trace.len()),
            spool: Storage::NotAsked,
        };
        receiver.make_room(expected.saturating_add(trace.len()))?;
        receiver.head.extend_from_slice(trace);
        Ok(receiver)
    }

    /// Takes the next piece.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        open_spool: impl FnOnce() -> io::Result<Option<Box<dyn Spool>>>,
    ) -> Result<(), ReceiveError> {
        if self.byte_count().saturating_add(bytes.len()) > self.limit_bytes {
            return Err(ReceiveError::TooLarge);
        }
        let over_head = self.head.len().saturating_add(bytes.len()) > HEAD_BYTES_MAX;
        if over_head && matches!(self.spool, Storage::NotAsked) {
            self.spool = match open_spool()? {
                None => Storage::Absent,
                Some(spool) => {
                    self.claim.grow_to(self.head.capacity() + SPOOL_BLOCK_BYTES)?;
                    let block = Vec::with_capacity(SPOOL_BLOCK_BYTES);
                    Storage::Blocks { spool, block_count: 0, block }
                }
            };
        }
        match &mut self.spool {
            Storage::NotAsked | Storage::Absent => {
                self.make_room(bytes.len())?;
                self.head.extend_from_slice(bytes);
                Ok(())
            }
            Storage::Blocks { spool, block_count, block } => {
                fill_blocks(spool.as_mut(), block_count, block, bytes)
            }
        }
    }

    /// The message in one piece. Takes memory for all of it where it was spooled.
    pub(crate) fn finish(mut self) -> Result<Received, ReceiveError> {
        let spooled = self.byte_count() - self.head.len();
        if let Storage::Blocks { mut spool, block_count, block } =
            std::mem::replace(&mut self.spool, Storage::Absent)
        {
            self.claim.grow_to(self.head.len() + spooled + SPOOL_BLOCK_BYTES)?;
            self.head.reserve_exact(spooled);
            for index in 0..block_count {
                spool.read_block(index, &mut self.head)?;
            }
            self.head.extend_from_slice(&block);
        }
        Ok(Received { bytes: self.head, _claim: self.claim })
    }

    /// Bytes so far, with the trace.
    fn byte_count(&self) -> usize {
        let spooled = match &self.spool {
            Storage::NotAsked | Storage::Absent => 0,
            Storage::Blocks { block_count, block, .. } => {
                block_count * SPOOL_BLOCK_BYTES + block.len()
            }
        };
        self.head.len() + spooled
    }

    /// Grows by doubling, but not beyond what the message may have.
    fn make_room(&mut self, more: usize) -> Result<(), ReceiveError> {
        let needed = self.head.len().saturating_add(more);
        if needed > self.head.capacity() {
            let doubled = self.head.capacity().saturating_mul(2).min(self.limit_bytes);
            let target = needed.max(doubled);
            self.claim.grow_to(target)?;
            self.head.reserve_exact(target - self.head.len());
        }
        Ok(())
    }
}

fn fill_blocks(
    spool: &mut dyn Spool,
    block_count: &mut usize,
    block: &mut Vec<u8>,
    mut bytes: &[u8],
) -> Result<(), ReceiveError> {
    while !bytes.is_empty() {
        let room = SPOOL_BLOCK_BYTES.saturating_sub(block.len());
        let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, b""));
        block.extend_from_slice(now);
        bytes = later;
        if block.len() == SPOOL_BLOCK_BYTES {
            spool.write_block(block)?;
            *block_count += 1;
            block.clear();
        }
    }
    Ok(())
}

/// For the log: bytes of a message.
impl Received {
    pub(crate) fn byte_count(&self) -> u64 {
        u64_of(self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Keeps blocks in memory, where a test can count them.
    struct MemorySpool(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Spool for MemorySpool {
        fn write_block(&mut self, block: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().push(block.to_vec());
            Ok(())
        }

        fn read_block(&mut self, index: usize, into: &mut Vec<u8>) -> io::Result<()> {
            into.extend_from_slice(&self.0.lock().unwrap()[index]);
            Ok(())
        }
    }

    fn no_spool() -> io::Result<Option<Box<dyn Spool>>> {
        Ok(None)
    }

    #[test]
    fn a_large_message_goes_through_the_spool_and_comes_back_whole() {
        let budget = Arc::new(ByteBudget::new(16 << 20));
        let blocks = Arc::new(Mutex::new(Vec::new()));
        let mut receiver = Receiver::new(&budget, b"trace", None, 8 << 20).unwrap();
        let message: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        for piece in message.chunks(65_521) {
            let spool: Box<dyn Spool> = Box::new(MemorySpool(Arc::clone(&blocks)));
            receiver.push(piece, || Ok(Some(spool))).unwrap();
        }
        assert!(budget.used_bytes() < 3 << 20, "memory holds the head and one block");
        let in_blocks = blocks.lock().unwrap().len() * SPOOL_BLOCK_BYTES;
        assert!(in_blocks > message.len() - (2 << 20), "the rest is in the spool: {in_blocks}");
        let received = receiver.finish().unwrap();
        assert!(received.bytes() == [b"trace".as_slice(), &message].concat());
        drop(received);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn without_a_spool_memory_serves_and_is_given_back() {
        let budget = Arc::new(ByteBudget::new(16 << 20));
        let mut receiver = Receiver::new(&budget, b"", None, 8 << 20).unwrap();
        for _ in 0..40 {
            receiver.push(&[b'x'; 100_000], no_spool).unwrap();
        }
        let received = receiver.finish().unwrap();
        assert_eq!(received.byte_count(), 4_000_000);
        assert!(budget.used_bytes() >= 4_000_000);
        drop(received);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn size_and_memory_have_their_bounds() {
        let budget = Arc::new(ByteBudget::new(100_000));
        let mut receiver = Receiver::new(&budget, b"trace", Some(10), 10).unwrap();
        receiver.push(b"0123456789", no_spool).unwrap();
        assert!(matches!(receiver.push(b"x", no_spool), Err(ReceiveError::TooLarge)));
        drop(receiver);

        let mut receiver = Receiver::new(&budget, b"", None, 1 << 20).unwrap();
        let full = receiver.push(&[b'x'; 100_001], no_spool);
        assert!(matches!(full, Err(ReceiveError::NoMemory)));
        drop(receiver);
        assert_eq!(budget.used_bytes(), 0);
        let declared = Receiver::new(&budget, b"", Some(u64::MAX), 1 << 30);
        assert!(matches!(declared, Err(ReceiveError::NoMemory)));
    }
}
