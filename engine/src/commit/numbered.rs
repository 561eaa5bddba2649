//! Mail that brings its numbers along: see `store/numbered.rs`.

use super::change::{Answer, PendingMessage};
use crate::error::CommitError;
use crate::ids::{AccountNumber, MailboxId, Uid, UidValidity};
use crate::store::{Appended, SpecialUse, Standing};
use crate::uid_set::UidSet;

/// What changes numbers that are not ours to choose.
pub(crate) enum NumberedChange {
    /// A mailbox with a UIDVALIDITY from elsewhere.
    Create {
        account: AccountNumber,
        name: String,
        uid_validity: UidValidity,
        special_use: Option<SpecialUse>,
        standing: Standing,
        promise: Answer<MailboxId>,
    },
    /// Messages with UIDs from elsewhere, ascending; each taken or refused for itself, but none
    /// after one that was refused.
    Append {
        account: AccountNumber,
        mailbox: MailboxId,
        /// What the mailbox gives next, as the sender knows it.
        next: Uid,
        messages: Vec<(Uid, PendingMessage)>,
        /// One for each message, in order.
        promises: Vec<Answer<Appended>>,
    },
    /// UIDs below `next` were given elsewhere.
    LeaveOut {
        account: AccountNumber,
        mailbox: MailboxId,
        /// What the mailbox gives next, as the sender knows it.
        expected: Uid,
        next: Uid,
        promise: Answer<()>,
    },
    /// Messages go, whether they have `\Deleted` or not; answers which.
    Remove { account: AccountNumber, mailbox: MailboxId, uids: UidSet, promise: Answer<UidSet> },
}

impl NumberedChange {
    /// Answers with an error: the committer will not see it.
    pub(super) fn refuse(self, why: &dyn Fn() -> CommitError) {
        match self {
            NumberedChange::Create { promise, .. } => promise.answer(Err(why())),
            NumberedChange::Append { promises, .. } => {
                promises.into_iter().for_each(|promise| promise.answer(Err(why())));
            }
            NumberedChange::LeaveOut { promise, .. } => promise.answer(Err(why())),
            NumberedChange::Remove { promise, .. } => promise.answer(Err(why())),
        }
    }

    /// Bytes that it may add to a group.
    pub(super) fn group_bytes(&self) -> usize {
        match self {
            NumberedChange::Append { messages, .. } => {
                messages.iter().map(|(_, message)| message.sealed.group_bytes() + 512).sum()
            }
            _ => 1024,
        }
    }
}
