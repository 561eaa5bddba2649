//! Mail that brings its numbers along: a mailbox keeps the UIDVALIDITY and the UIDs that it had
//! elsewhere, so that nobody who has read it there need read it again.
//!
//! ```text
//! create_numbered(name, UIDVALIDITY)      in the place of one that was never used
//! append_numbered(7, [(9, m), (12, m)])   whoever brings mail says what the mailbox gives next (7)
//! leave_out(13, 20)                       13 to 19 were given elsewhere: the next message is 20
//! ```
//! Why whoever brings mail says what it takes to be the next UID: between two calls a message may
//! be delivered here, under a UID that means another one elsewhere. Then the numbers part, and
//! [`CommitError::OtherNumbers`] says so before any of them has two meanings.
//!
//! # Invariants
//! 1. A UID that a mailbox has given, or that was given elsewhere below one that was brought, is
//!    never given again.
//! 2. A mailbox's UIDVALIDITY never changes: another mailbox comes in its place, and whoever has it
//!    open sees that it is gone.
//! 3. The records say all of it, so that replay gives the same UIDs.

use crate::commit::Change;
use crate::commit::numbered::NumberedChange;
use crate::error::CommitError;
use crate::ids::{MailboxId, Uid, UidValidity};
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

use super::deliver::all_ahead;
use super::{Account, Appended, Mailbox, NewMessage, SpecialUse};

/// Which mailbox gives way to one of the same name that brings its numbers along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// One that never had a message.
    Unused,
    /// One that has no message now: its UIDs mean something to whoever has read it, so this is for
    /// an operator to say.
    Empty,
}

impl Account {
    /// Makes a mailbox with a UIDVALIDITY from elsewhere. One of that name gives way, INBOX too, if
    /// `standing` lets it; its special use, rights and metadata stay.
    pub fn create_numbered(
        &self,
        name: &str,
        uid_validity: UidValidity,
        special_use: Option<SpecialUse>,
        standing: Standing,
    ) -> Ticket<Result<MailboxId, CommitError>> {
        let (account, name) = (self.number, name.to_owned());
        self.inner.submit(|promise| {
            Change::Numbered(NumberedChange::Create {
                account,
                name,
                uid_validity,
                special_use,
                standing,
                promise,
            })
        })
    }
}

impl Mailbox {
    /// Appends messages under UIDs from elsewhere, ascending from `next` on, which must be what the
    /// mailbox gives next. Each is taken or refused for itself, but none after one that was
    /// refused; answers one ticket a message, in order. Otherwise as [`Mailbox::append_each`].
    pub fn append_numbered(
        &self,
        next: Uid,
        messages: Vec<(Uid, NewMessage)>,
    ) -> Vec<Ticket<Result<Appended, CommitError>>> {
        let count = messages.len();
        let (uids, messages): (Vec<Uid>, Vec<NewMessage>) = messages.into_iter().unzip();
        let messages = match self.inner.pending(messages) {
            Ok(messages) => messages,
            Err(error) => {
                let others = (1..count).map(|_| Err(self.inner.refusal()));
                let all = std::iter::once(Err(error)).chain(others);
                return all.map(Ticket::answered).collect();
            }
        };
        let ahead: Vec<_> =
            messages.iter().flat_map(|message| all_ahead(&message.sealed)).collect();
        let (account, mailbox) = (self.account, self.id);
        let (promises, answers) = messages.iter().map(|_| self.inner.ticket()).unzip();
        let messages = uids.into_iter().zip(messages).collect();
        let change = NumberedChange::Append { account, mailbox, next, messages, promises };
        self.inner.push(Change::Numbered(change), &ahead);
        answers
    }

    /// UIDs below `next` were given elsewhere: no message here will have them. `expected` must be
    /// what the mailbox gives next.
    pub fn leave_out(&self, expected: Uid, next: Uid) -> Ticket<Result<(), CommitError>> {
        let (account, mailbox) = (self.account, self.id);
        self.inner.submit(|promise| {
            Change::Numbered(NumberedChange::LeaveOut { account, mailbox, expected, next, promise })
        })
    }

    /// Removes messages, whether they have `\Deleted` or not; answers which there were. They are
    /// kept where the account has retention.
    pub fn remove(&self, uids: &UidSet) -> Ticket<Result<UidSet, CommitError>> {
        // Brings their pages into memory, so that the committer need not.
        let uids = match self.existing(uids) {
            Ok(uids) => uids,
            Err(error) => return Ticket::answered(Err(error)),
        };
        let (account, mailbox) = (self.account, self.id);
        self.inner.submit(|promise| {
            Change::Numbered(NumberedChange::Remove { account, mailbox, uids, promise })
        })
    }
}
