//! A mailbox of an account: views to read, tickets for changes, callbacks for news.

use std::sync::Arc;

use crate::commit::{Change, CopyKind};
use crate::error::{CommitError, ReadError};
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{AccountNumber, Lsn, MailboxId, Uid};
use crate::mailbox::{Condition, View};
use crate::state::{History, MailboxCell};
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

use super::deliver::all_ahead;
use super::{Appended, Copied, FlagsStored, Inner, NewMessage};

/// A mailbox of an account. Cheap to clone; stays usable after a rename, and answers
/// [`CommitError::NoSuchMailbox`] after a deletion.
#[derive(Clone)]
pub struct Mailbox {
    pub(super) inner: Arc<Inner>,
    pub(super) account: AccountNumber,
    pub(super) id: MailboxId,
    cell: Arc<MailboxCell>,
}

/// Keeps a callback alive; dropping it ends it.
pub struct Subscription {
    cell: Arc<MailboxCell>,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.cell.unwatch(self.number);
    }
}

impl Mailbox {
    pub(super) fn new(
        inner: &Arc<Inner>,
        account: AccountNumber,
        id: MailboxId,
        cell: Arc<MailboxCell>,
    ) -> Mailbox {
        Mailbox { inner: Arc::clone(inner), account, id, cell }
    }

    /// Its identity.
    pub fn id(&self) -> MailboxId {
        self.id
    }

    /// Its content as last committed: immutable, cheap to take and to keep. `None` after its
    /// deletion.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn view(&self) -> Result<Option<Arc<View>>, ReadError> {
        Ok(self.cell.view())
    }

    /// Which MODSEQs count, for rows of a view taken before.
    pub fn history(&self) -> History {
        self.inner.committed.history()
    }

    /// The messages of a view of this mailbox that came or changed after `modseq` (RFC 7162); one
    /// of no history counts as zero.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn changed_after(&self, view: &View, modseq: Lsn) -> Result<UidSet, ReadError> {
        view.changed_after(self.inner.committed.history().known(modseq))
    }

    /// The UIDs that went after `modseq`, and maybe some that went before; `None`: every UID that
    /// is not there.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn vanished_after(&self, view: &View, modseq: Lsn) -> Result<Option<UidSet>, ReadError> {
        let since = self.inner.committed.history().known(modseq);
        // An epoch passes over UIDs, of which a client may have seen some that were given up.
        if since < self.inner.committed.epoch_begin() {
            return Ok(None);
        }
        let key = (self.account, self.id);
        self.inner.committed.vanished(key, since, view.highest_modseq()).map(Some)
    }

    /// Appends messages, all or none (RFC 3502). Messages above 1 MiB block the caller while they
    /// enter the log.
    pub fn append(&self, messages: Vec<NewMessage>) -> Ticket<Result<Appended, CommitError>> {
        let messages = match self.inner.pending(messages) {
            Ok(messages) => messages,
            Err(error) => return Ticket::answered(Err(error)),
        };
        let ahead: Vec<Lsn> =
            messages.iter().flat_map(|message| all_ahead(&message.sealed)).collect();
        let (account, mailbox) = (self.account, self.id);
        let (promise, answer) = self.inner.ticket();
        self.inner.push(Change::Append { account, mailbox, messages, promise }, &ahead);
        answer
    }

    /// Appends messages, each taken or refused for itself, as if by that many calls of
    /// [`Mailbox::append`]; answers one ticket a message, in order. Taken together they share a
    /// record of the log and its seal; at most 4096 may come at once. Those that together are above
    /// 1 MiB ([`PreparedMessage::group_bytes`](crate::PreparedMessage::group_bytes)) block the
    /// caller while they enter the log.
    pub fn append_each(
        &self,
        messages: Vec<NewMessage>,
    ) -> Vec<Ticket<Result<Appended, CommitError>>> {
        let count = messages.len();
        let messages = match self.inner.pending(messages) {
            Ok(messages) => messages,
            Err(error) => {
                let others = (1..count).map(|_| Err(self.inner.refusal()));
                let all = std::iter::once(Err(error)).chain(others);
                return all.map(Ticket::answered).collect();
            }
        };
        let ahead: Vec<Lsn> =
            messages.iter().flat_map(|message| all_ahead(&message.sealed)).collect();
        let (account, mailbox) = (self.account, self.id);
        let (promises, answers) = messages.iter().map(|_| self.inner.ticket()).unzip();
        self.inner.push(Change::AppendEach { account, mailbox, messages, promises }, &ahead);
        answers
    }

    /// Copies messages of this mailbox to another of the same account, all or none; ignores UIDs
    /// that do not exist.
    pub fn copy(
        &self,
        uids: &UidSet,
        destination: &Mailbox,
    ) -> Ticket<Result<Copied, CommitError>> {
        self.transfer(CopyKind::Copy, uids, destination)
    }

    /// Moves messages, each of them wholly (RFC 6851); ignores UIDs that do not exist.
    pub fn move_to(
        &self,
        uids: &UidSet,
        destination: &Mailbox,
    ) -> Ticket<Result<Copied, CommitError>> {
        self.transfer(CopyKind::Move, uids, destination)
    }

    fn transfer(
        &self,
        kind: CopyKind,
        uids: &UidSet,
        destination: &Mailbox,
    ) -> Ticket<Result<Copied, CommitError>> {
        if destination.account != self.account {
            return Ticket::answered(Err(CommitError::NotPermitted {
                what: "messages are copied inside an account only",
            }));
        }
        if let Err(error) = self.inner.room.take(0)
            && kind == CopyKind::Copy
        {
            return Ticket::answered(Err(error));
        }
        let uids = match self.existing(uids) {
            Ok(uids) => uids,
            Err(error) => return Ticket::answered(Err(error)),
        };
        let (account, source, destination) = (self.account, self.id, destination.id);
        self.inner.submit(|promise| Change::Transfer {
            kind,
            account,
            source,
            destination,
            uids,
            promise,
        })
    }

    /// Those of `uids` that exist now. Also brings their pages into memory, so that the committer
    /// need not.
    pub(super) fn existing(&self, uids: &UidSet) -> Result<UidSet, CommitError> {
        let view = self.cell.view().ok_or(CommitError::NoSuchMailbox)?;
        Ok(view.existing(uids)?)
    }

    /// Changes flags; with `unchanged_since`, only of messages whose MODSEQ is not above it (RFC
    /// 7162).
    pub fn store_flags(
        &self,
        uids: &UidSet,
        change: FlagChange,
        flags: &FlagList,
        unchanged_since: Option<Lsn>,
    ) -> Ticket<Result<FlagsStored, CommitError>> {
        if let Err(error) = self.existing(uids) {
            return Ticket::answered(Err(error));
        }
        let (account, mailbox) = (self.account, self.id);
        let (uids, flags) = (uids.clone(), flags.clone());
        self.inner.submit(|promise| Change::Flags {
            account,
            mailbox,
            uids,
            change,
            flags,
            unchanged_since,
            promise,
        })
    }

    /// Removes the messages among `uids` that have `\Deleted`; answers which.
    pub fn expunge(&self, uids: &UidSet) -> Ticket<Result<UidSet, CommitError>> {
        // Brings the pages of those into memory, so that the committer need not.
        let deleted = Condition::Flags(SystemFlags::DELETED);
        let going = Condition::All(vec![deleted, Condition::Uids(uids.clone())]);
        let view = self.cell.view().ok_or(CommitError::NoSuchMailbox);
        if let Err(error) = view.and_then(|view| Ok(view.matching(&going)?)) {
            return Ticket::answered(Err(error));
        }
        let (account, mailbox, uids) = (self.account, self.id, uids.clone());
        self.inner.submit(|promise| Change::Expunge { account, mailbox, uids, promise })
    }

    /// Puts a message into `destination` and removes `uid` from this mailbox, both or neither (RFC
    /// 8508). [`CommitError::MessagesGone`], if there is no such message any more. A message above
    /// 1 MiB blocks the caller while it enters the log.
    pub fn replace(
        &self,
        uid: Uid,
        destination: &Mailbox,
        message: NewMessage,
    ) -> Ticket<Result<Appended, CommitError>> {
        if destination.account != self.account {
            return Ticket::answered(Err(CommitError::NotPermitted {
                what: "messages are replaced inside an account only",
            }));
        }
        if let Err(error) = self.existing(&std::iter::once(uid).collect()) {
            return Ticket::answered(Err(error));
        }
        let message = match self.inner.pending(vec![message]).map(|mut pending| pending.pop()) {
            Ok(Some(message)) => Box::new(message),
            Ok(None) => return Ticket::answered(Err(CommitError::MessagesGone)),
            Err(error) => return Ticket::answered(Err(error)),
        };
        let ahead = all_ahead(&message.sealed);
        let (account, source, destination) = (self.account, self.id, destination.id);
        let (promise, answer) = self.inner.ticket();
        let change = Change::Replace { account, source, uid, destination, message, promise };
        self.inner.push(change, &ahead);
        answer
    }

    /// Calls back after every committed change of this mailbox; must return at once and not call
    /// the store.
    pub fn on_change(&self, callback: Arc<dyn Fn() + Send + Sync>) -> Subscription {
        let number = self.inner.committed.watch(&self.cell, callback);
        Subscription { cell: Arc::clone(&self.cell), number }
    }
}
