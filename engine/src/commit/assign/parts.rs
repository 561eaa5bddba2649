//! Parts of arriving messages: which of them a record brings, and which it names.
//!
//! What a sender found before is judged again here, against the assigned head: a part is named only
//! if a row is there now whose blob names it. Which parts a row's blob names never changes, so that
//! the part has a reference at this place of the log.

use std::collections::HashMap;

use super::Assigner;
use crate::commit::change::{SealedMessage, SealedPart};
use crate::error::CommitError;
use crate::ids::{AccountNumber, BlobTag, Lsn, PartHash};
use crate::record::{Arrival, ArrivalBlob, ArrivalPart, PartBlob};
use crate::seal::SealedChunk;
use crate::state::PartUse;
use crate::uid_set::UidSet;

/// What a record brings beside its messages.
#[derive(Default)]
pub(super) struct Brought<'m> {
    /// Parts by hash, with the position that each has or will have.
    parts: HashMap<PartHash, Lsn>,
    /// Chunks of those that come inline, by their place among the record's positions.
    pub(super) chunks: Vec<(u64, BlobTag, &'m [SealedChunk])>,
}

impl Assigner<'_> {
    /// Where the parts of a message are to be found; `count`: messages of the record.
    pub(super) fn choose_parts<'m>(
        &mut self,
        account: AccountNumber,
        message: &'m SealedMessage,
        (count, brought): (u64, &mut Brought<'m>),
    ) -> Result<Vec<ArrivalPart>, CommitError> {
        let mut chosen = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            let known = match brought.parts.get(&part.hash) {
                Some(lsn) => Some(*lsn),
                None => self.living_part(account, part)?,
            };
            let blob = match (known, &part.ahead) {
                (Some(blob), _) => PartBlob::Known(blob),
                (None, Some(chunks)) => {
                    let first = chunks.first().copied().ok_or(CommitError::PartGone)?;
                    brought.parts.insert(part.hash, first);
                    PartBlob::Ahead(part.shape, chunks.clone())
                }
                (None, None) if part.chunks.is_empty() => return Err(CommitError::PartGone),
                (None, None) => {
                    let index = count + crate::width::u64_of(brought.chunks.len());
                    let lsn = self.next.advance(index).ok_or(CommitError::OutOfUids)?;
                    brought.parts.insert(part.hash, lsn);
                    brought.chunks.push((index, part.shape.tag, &part.chunks));
                    PartBlob::Inline(part.shape)
                }
            };
            chosen.push(ArrivalPart { hash: part.hash, blob });
        }
        Ok(chosen)
    }

    /// Whether every part of a message can be brought or named: of a large one that its sender
    /// found, the bytes were not kept.
    pub(super) fn check_parts(
        &mut self,
        account: AccountNumber,
        message: &SealedMessage,
    ) -> Result<(), CommitError> {
        for part in &message.parts {
            let has_bytes = part.ahead.is_some() || !part.chunks.is_empty();
            if !has_bytes && self.living_part(account, part)?.is_none() {
                return Err(CommitError::PartGone);
            }
        }
        Ok(())
    }

    /// The part with those bytes that a living message of the account names, if there is one.
    fn living_part(
        &mut self,
        account: AccountNumber,
        part: &SealedPart,
    ) -> Result<Option<Lsn>, CommitError> {
        let committed = self.context.committed;
        let candidates = [
            self.changes.parts.get(&(account, part.hash)).copied(),
            committed.recent_part(account, &part.hash),
            part.known,
        ];
        for used in candidates.into_iter().flatten() {
            if part.unreadable != Some(used.part) && self.is_used(account, &used)? {
                return Ok(Some(used.part.0));
            }
        }
        Ok(None)
    }

    fn is_used(&mut self, account: AccountNumber, used: &PartUse) -> Result<bool, CommitError> {
        let committed = self.context.committed;
        let mailbox = self.changes.mailbox_mut(committed, (account, used.mailbox))?;
        let Some((state, _)) = mailbox else { return Ok(false) };
        let uid: UidSet = [used.uid].into_iter().collect();
        Ok(state.rows_of(&uid)?.iter().any(|(row, _)| row.blob == used.blob))
    }

    /// Parts of a message that went ahead: those that no record names are dead.
    pub(super) fn end_parts(&mut self, message: &SealedMessage, chosen: &[ArrivalPart]) {
        for part in &message.parts {
            let Some(first) = part.ahead.as_ref().and_then(|chunks| chunks.first()) else {
                continue;
            };
            let is_named = |chosen: &ArrivalPart| {
                let blob = &chosen.blob;
                matches!(blob, PartBlob::Ahead(_, chunks) if chunks.first() == Some(first))
            };
            let chunks = self.entering.end(*first);
            if !chosen.iter().any(is_named) {
                self.changes.dead_chunks.extend(chunks);
            }
        }
    }
}

/// The blob of a message with its parts, if it has any.
pub(super) fn with_parts(blob: ArrivalBlob, parts: Vec<ArrivalPart>) -> ArrivalBlob {
    if parts.is_empty() { blob } else { ArrivalBlob::WithParts(Box::new(blob), parts) }
}

/// What the parts of arriving messages add to their record.
pub(super) fn part_bytes(messages: &[Arrival]) -> usize {
    const PART_BYTES: usize = 96;
    const POSITION_BYTES: usize = 8;
    let of_part = |part: &ArrivalPart| match &part.blob {
        PartBlob::Ahead(_, chunks) => PART_BYTES + chunks.len() * POSITION_BYTES,
        _ => PART_BYTES,
    };
    let of_message = |arrival: &Arrival| match &arrival.blob {
        ArrivalBlob::WithParts(_, parts) => parts.iter().map(of_part).sum(),
        _ => 0,
    };
    messages.iter().map(of_message).sum()
}
