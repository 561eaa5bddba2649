//! Proposals: changes that another node asks the primary for.
//!
//! ```text
//! a node that follows                                  the primary
//! Change ─► into_proposal ─► bytes ───────────────────► from_proposal ─► queue ─► committer
//!             └─► Reply ◄─── outcome, position ◄──────────────── its records, and "answered",
//!          answers the caller                                    in one group
//! ```
//! Preparing stays with the node that was asked: it parses, compresses and seals. What travels is
//! the change without its promise (`command.rs`, `message.rs`); sealed chunks travel as they are.
//! The primary judges it against its assigned head like any other, and what comes back is the
//! answer with its kind and its sentence (`outcome.rs`, `refusal.rs`).
//!
//! # What is no proposal
//! | change | why |
//! |--|--|
//! | base images | made of the primary's own tables, which the follower has no part in |
//! | purge | judged by each primary at its time; a follower would only repeat it |
//! | keys begun and destroyed | the key table is written by the primary alone |
//! | accounts made, deleted, destroyed | they come with keys, and commit on both nodes first |
//! | numbers that an import brings | it runs on the primary, which knows what a mailbox gives; but
//! |  | a merge removes messages, and leaves numbers out |
//! | the format level | the lowest of the pair, which the primary knows |
//!
//! # Exactly once
//! A proposal has a random id. The records that it becomes carry it, and a record *answered* with
//! the outcome stands behind them in the same group (behind a run of records: in the same run). So
//! whoever has the log knows either nothing of the request, or all of it: a request whose id is
//! known is answered from state (`state/answered.rs`) and not executed. A proposal that changes
//! nothing (it was refused, or there was nothing to do) logs nothing; executing it again is
//! harmless, and judged anew.
//!
//! # Invariants
//! 1. Nothing that a proposal says is believed where a wrong answer could break the log: chunks
//!    have their hashes and numbers, and chunks that went ahead are those of a message that is
//!    still entering.
//! 2. Decoding is total and allocates no more than its bytes are worth.
//!
//! # What can go wrong
//! A message above 1 MiB goes ahead of its record, chunk by chunk. A primary that was started anew
//! knows nothing of such a message: its record is refused, to be tried again (invariant 1 of
//! `commit/entering.rs`). A rename of INBOX with more than 4096 messages makes the mailbox in a
//! group of its own, as without proposals; cut in between, a repetition finds it there.

mod collected;
mod command;
mod message;
mod outcome;
mod refusal;
mod reply;

pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::collected::Collected;
pub(crate) use self::outcome::refusal;
pub(crate) use self::reply::Reply;

use super::change::{Change, RetentionChange};
use super::numbered::NumberedChange;
use super::room::RoomTaken;
use crate::encoding::Broken;
use crate::error::CommitError;
use crate::ids::{AccountNumber, Lsn, RequestId};
use crate::limits::{OUTCOME_BYTES_MAX, PROPOSAL_BYTES_MAX};
use crate::width::u64_of;

/// What a proposal was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProposalOutcome {
    /// A node that has applied the log up to here sees all that the answer speaks of.
    pub at: Lsn,
    /// For the reply of the node that proposed.
    pub bytes: Vec<u8>,
}

/// Takes the outcome, in the committer's thread: it should only pass it on.
pub(crate) type Done = Box<dyn FnOnce(ProposalOutcome) + Send>;

/// A change that another node proposed.
pub(crate) struct Proposed {
    pub(crate) request: RequestId,
    pub(crate) change: Change,
    /// Where the promises of the change leave their answers.
    pub(crate) collected: Arc<Collected>,
    pub(crate) done: Done,
    /// Kept on the disk for what it brings.
    pub(crate) room: Option<RoomTaken>,
}

/// A change that cannot be proposed.
pub(crate) struct NotProposed {
    change: Box<Change>,
    why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Why {
    OnlyPrimary,
    TooLarge,
}

impl NotProposed {
    /// Answers whoever waits for the change.
    pub(crate) fn refuse(self) {
        let why = self.why;
        self.change.refuse(&|| match why {
            Why::OnlyPrimary => CommitError::NotPermitted { what: ONLY_PRIMARY },
            Why::TooLarge => {
                let limit = u64_of(PROPOSAL_BYTES_MAX);
                CommitError::TooLarge { what: "the command for the primary, in bytes,", limit }
            }
        });
    }
}

/// What is said of a change of the first table above.
const ONLY_PRIMARY: &str = "this can only be done on the node that is primary; do it there";

/// An answer without UIDs has no more bytes than this: a list of errors with a name each.
const RESULT_BYTES_MAX: usize = 2048;

impl Change {
    /// The change as bytes for the primary, and who waits for the outcome.
    ///
    /// # Errors
    /// The change, if only a primary makes it, or if it is too large.
    pub(crate) fn into_proposal(self) -> Result<(Vec<u8>, Reply), NotProposed> {
        let why = match command::encode(&self) {
            Some(bytes) if bytes.len() <= PROPOSAL_BYTES_MAX => match Reply::to(self) {
                Ok(reply) => return Ok((bytes, reply)),
                Err(change) => return Err(NotProposed { change, why: Why::OnlyPrimary }),
            },
            Some(_) => Why::TooLarge,
            None => Why::OnlyPrimary,
        };
        Err(NotProposed { change: Box::new(self), why })
    }

    /// Answers whoever waits for the change with what an earlier proposal of it was answered.
    pub(crate) fn answer_from(self, outcome: &[u8]) {
        match Reply::to(self) {
            Ok(reply) => reply.answer(outcome),
            Err(change) => NotProposed { change, why: Why::OnlyPrimary }.refuse(),
        }
    }

    /// A proposal as a change for the queue; `done` takes its outcome.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub(crate) fn from_proposal(
        request: RequestId,
        bytes: &[u8],
        done: Done,
    ) -> Result<Change, Broken> {
        if bytes.len() > PROPOSAL_BYTES_MAX {
            return Err("a proposal is too long");
        }
        if request == RequestId([0; 16]) {
            return Err("a proposal has no id");
        }
        let collected = Arc::new(Collected::default());
        let change = command::decode(bytes, &collected)?;
        Ok(Change::Proposed(Box::new(Proposed { request, change, collected, done, room: None })))
    }

    /// Whose change it is, for the record of what it was answered.
    pub(crate) fn account(&self) -> AccountNumber {
        match self {
            Change::Deliver { recipients, .. } => match recipients.as_slice() {
                [only] => only.account,
                _ => AccountNumber::VOLUME,
            },
            Change::Append { account, .. }
            | Change::AppendEach { account, .. }
            | Change::Transfer { account, .. }
            | Change::Flags { account, .. }
            | Change::Expunge { account, .. }
            | Change::Replace { account, .. }
            | Change::CreateMailbox { account, .. }
            | Change::Stage { account, .. }
            | Change::RenameMailbox { account, .. }
            | Change::DeleteMailbox { account, .. }
            | Change::Subscribe { account, .. }
            | Change::UpdateAccount { account, .. }
            | Change::Sharing { account, .. }
            | Change::GiveUp { account, .. }
            | Change::Retention(
                RetentionChange::Account { account, .. }
                | RetentionChange::Undelete { account, .. },
            )
            | Change::Numbered(
                NumberedChange::Remove { account, .. } | NumberedChange::LeaveOut { account, .. },
            ) => *account,
            Change::Merged(merged) => merged.change.account(),
            _ => AccountNumber::VOLUME,
        }
    }

    /// Bytes that the answer may have.
    pub(crate) fn outcome_bytes_max(&self) -> usize {
        let results = match self {
            Change::Deliver { recipients, .. } => recipients.len(),
            Change::AppendEach { messages, .. } => messages.len(),
            Change::Transfer { .. }
            | Change::Flags { .. }
            | Change::Expunge { .. }
            | Change::Numbered(NumberedChange::Remove { .. })
            | Change::Retention(RetentionChange::Undelete { .. }) => usize::MAX,
            Change::Merged(merged) => return merged.change.outcome_bytes_max(),
            // One UID a message, but they follow each other.
            _ => 1,
        };
        results.saturating_add(1).saturating_mul(RESULT_BYTES_MAX).min(OUTCOME_BYTES_MAX)
    }

    /// Bytes of the messages that it brings.
    pub(crate) fn message_bytes(&self) -> u64 {
        match self {
            Change::Deliver { message, .. } => u64::from(message.size),
            Change::Append { messages, .. }
            | Change::AppendEach { messages, .. }
            | Change::GiveUp { messages, .. } => {
                messages.iter().map(|message| u64::from(message.sealed.size)).sum()
            }
            Change::Replace { message, .. } => u64::from(message.sealed.size),
            Change::Merged(merged) => merged.change.message_bytes(),
            _ => 0,
        }
    }

    /// Positions of chunks that went ahead, of each message and part that it brings.
    pub(crate) fn all_ahead(&self) -> Vec<&[Lsn]> {
        let messages: Vec<_> = match self {
            Change::Deliver { message, .. } => vec![message],
            Change::Append { messages, .. }
            | Change::AppendEach { messages, .. }
            | Change::GiveUp { messages, .. } => {
                messages.iter().map(|message| &message.sealed).collect()
            }
            Change::Replace { message, .. } => vec![&message.sealed],
            Change::Merged(merged) => return merged.change.all_ahead(),
            _ => Vec::new(),
        };
        let parts = messages.iter().flat_map(|message| &message.parts);
        let parts = parts.filter_map(|part| part.ahead.as_deref());
        messages.iter().filter_map(|message| message.ahead.as_deref()).chain(parts).collect()
    }
}

impl Proposed {
    /// Answers what nobody waits for.
    pub(crate) fn answer_nothing(self) {
        (self.done)(ProposalOutcome { at: Lsn::ZERO, bytes: outcome::nothing() });
    }

    /// Answers without execution.
    pub(crate) fn refuse(self, error: &CommitError) {
        let outcome = ProposalOutcome { at: Lsn::ZERO, bytes: refusal(error) };
        (self.done)(outcome);
    }
}
