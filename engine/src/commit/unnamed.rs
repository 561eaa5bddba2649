//! Chunks that replay or a follower meets and that no record names.
//!
//! A message that was entering when the process ended is lost with its sender's patience: the
//! sender was not answered and sends it anew, under new positions. So at the end of a primary's
//! replay whatever no record has named is dead; so are the chunks of accounts whose key is
//! destroyed, since their records cannot be read. Without this their places would stay, and they
//! would count as alive for ever. A follower goes by `open_lsn`: what began below it and has no
//! name has ended without one.
//!
//! # Invariants
//! 1. Only a blob whose first chunk was met is judged: one that began before replay does was not
//!    entering when state was written, so it was judged then.
//! 2. A blob that anything names, a row of the tables, a record or a reference, is left alone.

use std::collections::HashMap;

use crate::error::ReadError;
use crate::ids::{BlobId, BlobTag, Lsn};
use crate::log::ChunkPlace;
use crate::state::Committed;

/// Chunks by the tag of their blob.
#[derive(Default)]
pub(crate) struct Unnamed {
    blobs: HashMap<BlobTag, Chunks>,
}

#[derive(Default)]
struct Chunks {
    /// Position of its first chunk, which names the blob.
    first: Option<Lsn>,
    /// Positions of all that were met.
    positions: Vec<Lsn>,
}

impl Unnamed {
    /// A chunk was met.
    pub(crate) fn note(&mut self, chunk: &ChunkPlace) {
        let chunks = self.blobs.entry(chunk.tag).or_default();
        if chunk.number == 0 {
            chunks.first = Some(chunk.lsn);
        }
        if chunks.positions.last() != Some(&chunk.lsn) {
            chunks.positions.push(chunk.lsn);
        }
    }

    /// A record has named the blob of that tag.
    pub(crate) fn is_named(&mut self, tag: BlobTag) {
        self.blobs.remove(&tag);
    }

    /// Positions of chunks that nothing names, of messages that began below `open_lsn`: no more of
    /// them comes.
    pub(crate) fn dead_below(
        &mut self,
        open_lsn: Lsn,
        committed: &Committed,
    ) -> Result<Vec<Lsn>, ReadError> {
        let mut dead = Vec::new();
        let ended = |_: &BlobTag, chunks: &mut Chunks| {
            chunks.first.or(chunks.positions.first().copied()).is_none_or(|first| first < open_lsn)
        };
        let over: Vec<Chunks> = self.blobs.extract_if(ended).map(|(_, chunks)| chunks).collect();
        for chunks in over {
            let Some(first) = chunks.first else { continue };
            if !committed.knows_blob(BlobId(first))? {
                dead.extend(chunks.positions);
            }
        }
        dead.sort_unstable();
        Ok(dead)
    }
}
