//! Committing messages: deliveries and appends. Large ones enter the log ahead of their record.
//!
//! Up to [`INLINE_MESSAGE_BYTES_MAX`](crate::limits::INLINE_MESSAGE_BYTES_MAX) a message's chunks
//! travel in the group of its record. A larger one's go first, a few at a time, so that they delay
//! nobody; then the record names them. Until then the log knows the message as entering
//! (`open_lsn`), and a caller that gives up leaves dead chunks, no half mail.

use crate::commit::{Change, PendingMessage, RecipientCopy, SealedMessage};
use crate::error::CommitError;
use crate::ids::{BlobTag, Lsn, UnixSeconds};
use crate::seal::SealedChunk;
use crate::ticket::Ticket;

use super::{Announcement, Appended, DeliverTo, Inner, PreparedMessage, Store};

/// Chunks of one message that wait for the committer at a time.
const CHUNKS_IN_FLIGHT: usize = 8;

impl Store {
    /// Says that a message will come soon, for as long as the answer is held: from when its sender
    /// was told to send it until its delivery or append is answered. With many announced, the
    /// committer waits some milliseconds for several of them and flushes once.
    pub fn announce(&self) -> Announcement {
        Announcement::new(&self.inner.queue)
    }

    /// Commits one message to several recipients, in one commit. Answers one result a recipient, in
    /// order. A message above 1 MiB blocks the caller while its chunks enter the log.
    pub fn deliver(
        &self,
        prepared: PreparedMessage,
        received: UnixSeconds,
        recipients: Vec<DeliverTo>,
    ) -> Ticket<Vec<Result<Appended, CommitError>>> {
        let count = recipients.len();
        let mut message = prepared.sealed;
        if let Err(error) = self.inner.enter_ahead_if_large(&mut message, 0) {
            let mut answers = vec![Err(error)];
            answers.extend((1..count).map(|_| Err(self.inner.refusal())));
            return Ticket::answered(answers);
        }
        let recipients = recipients
            .into_iter()
            .map(|to| RecipientCopy { account: to.account, mailbox: to.mailbox, flags: to.flags })
            .collect();
        let ahead = all_ahead(&message);
        let (promise, answer) = self.inner.ticket();
        let change = Change::Deliver { message, received, recipients, promise };
        self.inner.push(change, &ahead);
        answer
    }
}

impl Inner {
    /// Sends a large message's chunks ahead. `beside`: bytes that other messages of the same
    /// command already put into its group.
    pub(super) fn enter_ahead_if_large(
        &self,
        message: &mut SealedMessage,
        beside: usize,
    ) -> Result<(), CommitError> {
        let max = self.inline_message_bytes_max;
        if message.group_bytes() + beside <= max {
            return Ok(());
        }
        // What is known already need not enter. If it is gone when the record comes, the message is
        // refused and its sender sends it anew.
        let known = message.parts.iter_mut().filter(|part| part.known.is_some());
        known.for_each(|part| part.chunks.clear());
        if message.group_bytes() + beside <= max {
            return Ok(());
        }
        let entered = self.enter_all_ahead(message);
        if entered.is_err() {
            self.end_ahead(&all_ahead(message));
        }
        entered
    }

    fn enter_all_ahead(&self, message: &mut SealedMessage) -> Result<(), CommitError> {
        let (tag, chunks) = (message.shape.tag, std::mem::take(&mut message.chunks));
        self.enter_ahead(tag, chunks, message.ahead.insert(Vec::new()))?;
        for part in message.parts.iter_mut().filter(|part| part.known.is_none()) {
            let chunks = std::mem::take(&mut part.chunks);
            self.enter_ahead(part.shape.tag, chunks, part.ahead.insert(Vec::new()))?;
        }
        Ok(())
    }

    fn enter_ahead(
        &self,
        tag: BlobTag,
        chunks: Vec<SealedChunk>,
        positions: &mut Vec<Lsn>,
    ) -> Result<(), CommitError> {
        let mut in_flight: std::collections::VecDeque<Ticket<Result<Lsn, CommitError>>> =
            std::collections::VecDeque::new();
        for chunk in chunks {
            let first = positions.first().copied();
            in_flight.push_back(self.submit(|promise| Change::ChunkAhead {
                first,
                tag,
                chunk,
                promise,
            }));
            // The first one's position names the message for all that follow.
            let must_wait = positions.is_empty() || in_flight.len() >= CHUNKS_IN_FLIGHT;
            if must_wait && let Some(oldest) = in_flight.pop_front() {
                positions.push(oldest.wait()?);
            }
        }
        for chunk in in_flight {
            positions.push(chunk.wait()?);
        }
        Ok(())
    }

    /// Readies messages of one command for one group.
    pub(super) fn pending(
        &self,
        messages: Vec<super::NewMessage>,
    ) -> Result<Vec<PendingMessage>, CommitError> {
        let mut beside = 0;
        let mut pending = Vec::with_capacity(messages.len());
        for message in messages {
            let mut sealed = message.prepared.sealed;
            if let Err(error) = self.enter_ahead_if_large(&mut sealed, beside) {
                // Those before it are not committed either, so no record will name their chunks.
                let ahead = |other: &PendingMessage| all_ahead(&other.sealed);
                self.end_ahead(&pending.iter().flat_map(ahead).collect::<Vec<_>>());
                return Err(error);
            }
            beside += sealed.group_bytes();
            pending.push(PendingMessage {
                sealed,
                flags: message.flags,
                received: message.received,
            });
        }
        Ok(pending)
    }
}

/// Positions of the first chunks of a message, and of its parts, that entered ahead.
pub(super) fn all_ahead(message: &SealedMessage) -> Vec<Lsn> {
    let parts = message.parts.iter().flat_map(|part| &part.ahead);
    message.ahead.iter().chain(parts).filter_map(|chunks| chunks.first().copied()).collect()
}

/// Position of the first chunk of a message that entered ahead.
#[cfg(test)]
pub(super) fn first_ahead(message: &SealedMessage) -> Option<Lsn> {
    message.ahead.as_ref().and_then(|chunks| chunks.first().copied())
}
