//! INBOX as a POP3 session sees it: an immutable view, numbers from 1, and what is marked to go.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::error::{CommitError, ReadError};
use engine::flags::{FlagChange, FlagList, SystemFlags};
use engine::ids::Uid;
use engine::mailbox::{Row, View};
use engine::uid_set::UidSet;
use engine::width::u64_of;
use engine::{Account, Mailbox, MessageReader};

/// Rows that are listed at a time.
pub(super) const LISTED_AT_ONCE: usize = 500;

/// An opened INBOX.
pub(super) struct Maildrop {
    account: Account,
    inbox: Mailbox,
    view: Arc<View>,
    /// UIDs with DELE; bounded by what the view holds.
    deleted: BTreeSet<Uid>,
    deleted_bytes: u64,
    /// UIDs with RETR, which are seen after QUIT.
    retrieved: BTreeSet<Uid>,
}

/// A line of LIST or UIDL.
pub(super) struct Listed {
    pub(super) number: u32,
    pub(super) uid: Uid,
    pub(super) size: u32,
}

impl Maildrop {
    /// Opens the INBOX of an account; `None` if it was deleted just now.
    pub(super) fn open(account: Account) -> Result<Option<Maildrop>, ReadError> {
        let Some(inbox) = account.mailbox("INBOX")? else { return Ok(None) };
        let Some(view) = inbox.view()? else { return Ok(None) };
        Ok(Some(Maildrop {
            account,
            inbox,
            view,
            deleted: BTreeSet::new(),
            deleted_bytes: 0,
            retrieved: BTreeSet::new(),
        }))
    }

    /// Messages that are not marked, and their bytes.
    pub(super) fn totals(&self) -> (u64, u64) {
        let count = u64::from(self.view.message_count()).saturating_sub(u64_of(self.deleted.len()));
        (count, self.view.message_bytes().saturating_sub(self.deleted_bytes))
    }

    /// The message of a number; `None` if there is none, or it is marked.
    pub(super) fn row(&self, number: u32) -> Result<Option<Row>, ReadError> {
        let Some(rank) = number.checked_sub(1) else { return Ok(None) };
        let Some(uid) = self.view.uid_at(rank)? else { return Ok(None) };
        if self.deleted.contains(&uid) {
            return Ok(None);
        }
        self.view.row(uid)
    }

    /// The unique id of a message.
    pub(super) fn unique_id(&self, uid: Uid) -> String {
        format!("{}.{}", self.view.uid_validity().0, uid.0)
    }

    /// The next messages from a UID on; `number` is that of the first one with at least that UID.
    /// Answers where to go on, if there is more.
    pub(super) fn list(
        &self,
        (from, mut number): (Uid, u32),
        listed: &mut Vec<Listed>,
    ) -> Result<Option<(Uid, u32)>, ReadError> {
        let rows = self.view.rows_from(from, LISTED_AT_ONCE)?;
        let full = rows.len() >= LISTED_AT_ONCE;
        let mut next = from;
        for row in rows {
            if !self.deleted.contains(&row.uid) {
                listed.push(Listed { number, uid: row.uid, size: row.size });
            }
            number = number.saturating_add(1);
            next = Uid(row.uid.0.saturating_add(1));
        }
        Ok(full.then_some((next, number)))
    }

    /// Marks a message to go at QUIT.
    pub(super) fn delete(&mut self, row: &Row) {
        self.deleted.insert(row.uid);
        self.deleted_bytes = self.deleted_bytes.saturating_add(u64::from(row.size));
    }

    /// Takes all marks back.
    pub(super) fn reset(&mut self) {
        self.deleted = BTreeSet::new();
        self.deleted_bytes = 0;
    }

    /// Opens a message.
    pub(super) fn message(&self, row: &Row) -> Result<MessageReader, ReadError> {
        self.account.message(row)
    }

    /// Notes that a message was sent whole.
    pub(super) fn retrieved(&mut self, uid: Uid) {
        self.retrieved.insert(uid);
    }

    /// Whether a message is still there; one that is gone cannot be read, and that is no damage.
    pub(super) fn is_there(&self, uid: Uid) -> bool {
        matches!(self.inbox.view(), Ok(Some(now)) if matches!(now.row(uid), Ok(Some(_))))
    }

    /// Removes what is marked, and marks as seen what was retrieved and stays. One expunge, so that
    /// either all of the marked messages are gone or none.
    pub(super) async fn update(self) -> Result<(), CommitError> {
        let flag = |flag: SystemFlags| FlagList { system: flag, ..FlagList::default() };
        let add = FlagChange::Add;
        if !self.deleted.is_empty() {
            let (marked, uids) = (flag(SystemFlags::DELETED), uid_set(&self.deleted));
            self.inbox.store_flags(&uids, add, &marked, None).await?;
            self.inbox.expunge(&uids).await?;
        }
        let mut unseen = BTreeSet::new();
        for uid in self.retrieved.difference(&self.deleted) {
            if self.view.row(*uid)?.is_some_and(|row| !row.flags.contains(SystemFlags::SEEN)) {
                unseen.insert(*uid);
            }
        }
        if !unseen.is_empty() {
            let seen = flag(SystemFlags::SEEN);
            self.inbox.store_flags(&uid_set(&unseen), add, &seen, None).await?;
        }
        Ok(())
    }
}

fn uid_set(uids: &BTreeSet<Uid>) -> UidSet {
    UidSet::from_ranges(uids.iter().map(|uid| (uid.0, uid.0)))
}
