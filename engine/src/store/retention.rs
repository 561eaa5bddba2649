//! Retention: for how long expunged mail is kept, what is kept, and bringing it back.
//!
//! Clients never see kept mail: for them an expunged message is gone at once. Quota does not count
//! it.

use crate::commit::{Change, RetentionChange, Undeleted};
use crate::error::{CommitError, ReadError};
use crate::flags::FlagList;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, Uid, UnixSeconds};
use crate::mailbox::{KeywordSet, Row};
use crate::message::StoredSummary;
use crate::state::{RetainedKey, RetainedMessage, RetentionSetting, Until, VolumeRetention};
use crate::ticket::Ticket;

use super::{Account, MessageReader, Store};

/// A message that is kept after it was expunged.
#[derive(Clone, Debug)]
pub struct RetainedEntry {
    /// Its name among the kept messages of its account.
    pub key: RetainedKey,
    /// Where it was.
    pub mailbox_id: MailboxId,
    /// What that mailbox was called when the message was expunged.
    pub mailbox: String,
    /// Its number there.
    pub uid: Uid,
    /// When it was expunged.
    pub expunged_at: UnixSeconds,
    /// Until when it is kept; `None`: until a hold is lifted.
    pub until: Option<UnixSeconds>,
    /// INTERNALDATE.
    pub received: UnixSeconds,
    /// RFC822.SIZE.
    pub size: u32,
    /// Its flags when it was expunged.
    pub flags: FlagList,
    blob: BlobId,
}

impl RetainedEntry {
    pub(crate) fn new(key: RetainedKey, message: &RetainedMessage) -> RetainedEntry {
        let until = i64::try_from(key.until.0).ok().filter(|_| key.until != Until::HOLD);
        let row = &message.row;
        RetainedEntry {
            key,
            mailbox_id: key.mailbox,
            mailbox: message.mailbox_name.clone(),
            uid: key.uid,
            expunged_at: message.expunged_at,
            until: until.map(UnixSeconds),
            received: row.received,
            size: row.size,
            flags: FlagList { system: row.flags, keywords: row.keywords.clone() },
            blob: message.blob,
        }
    }

    /// As far as reading its bytes needs it.
    pub(crate) fn row(&self) -> Row {
        Row {
            uid: self.uid,
            flags: self.flags.system,
            keywords: KeywordSet::new(),
            modseq: Lsn::ZERO,
            received: self.received,
            saved: self.received,
            size: self.size,
            thread: crate::ids::ThreadId(0),
            blob: self.blob,
        }
    }
}

impl Store {
    /// For how long accounts without a setting of their own keep expunged mail.
    pub fn retention(&self) -> VolumeRetention {
        self.inner.committed.retention()
    }

    /// Sets it, for what is expunged from now on.
    ///
    /// # Errors
    /// A store of an older format level; a hold, which is an account's.
    pub fn set_retention(&self, retention: VolumeRetention) -> Result<(), CommitError> {
        if !matches!(retention.setting, RetentionSetting::Off | RetentionSetting::Seconds(_)) {
            return Err(CommitError::NotPermitted { what: "a hold is set for single accounts" });
        }
        self.change_retention(|promise| RetentionChange::Volume { retention, promise }).wait()
    }

    /// An account's setting, and what holds for it with the store's.
    ///
    /// # Errors
    /// An account that does not exist.
    pub fn account_retention(
        &self,
        account: AccountNumber,
    ) -> Result<(RetentionSetting, RetentionSetting), CommitError> {
        let state = self.inner.committed.account(account).ok_or(CommitError::NoSuchAccount)?;
        let own = state.retention.setting;
        Ok((own, own.or(self.retention())))
    }

    /// Sets for how long an account's mail is kept, for what is expunged from now on. A hold keeps
    /// also what is kept already, whatever its time.
    ///
    /// # Errors
    /// An account that does not exist, or a store of an older format level.
    pub fn set_account_retention(
        &self,
        account: AccountNumber,
        setting: RetentionSetting,
    ) -> Result<(), CommitError> {
        self.change_retention(|promise| RetentionChange::Account { account, setting, promise })
            .wait()
    }

    fn change_retention<T: Send + 'static>(
        &self,
        change: impl FnOnce(crate::ticket::Promise<Result<T, CommitError>>) -> RetentionChange,
    ) -> Ticket<Result<T, CommitError>> {
        self.inner.submit(|promise| Change::Retention(change(promise)))
    }
}

impl Account {
    /// Kept messages from `from` on, at most `limit`; those that go first come first.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn retained(
        &self,
        from: RetainedKey,
        limit: usize,
    ) -> Result<Vec<RetainedEntry>, ReadError> {
        let mut entries = Vec::new();
        self.inner.committed.visit_retained(self.number, from, &mut |key, met| {
            if entries.len() >= limit {
                return Ok(false);
            }
            entries.push(RetainedEntry::new(key, &*met.open()?));
            Ok(true)
        })?;
        Ok(entries)
    }

    /// How many messages are kept, and bytes of them.
    pub fn retained_usage(&self) -> (u64, u64) {
        let state = self.inner.committed.account(self.number);
        state.map_or((0, 0), |state| (state.retention.message_count, state.retention.message_bytes))
    }

    /// What was parsed of a kept message when it came in.
    ///
    /// # Errors
    /// [`ReadError`], if the message is damaged or cannot be read.
    pub fn retained_summary(&self, entry: &RetainedEntry) -> Result<StoredSummary, ReadError> {
        self.inner.summary(self.number, entry.blob)
    }

    /// Opens a kept message for reading.
    ///
    /// # Errors
    /// [`ReadError`], if the message is damaged or cannot be read.
    pub fn retained_message(&self, entry: &RetainedEntry) -> Result<MessageReader, ReadError> {
        MessageReader::open(&self.inner, self.number, &entry.row())
    }

    /// Brings back kept messages of one mailbox, at most
    /// [`RECORD_MESSAGES_MAX`](crate::limits::RECORD_MESSAGES_MAX), all or none but for those that
    /// are kept no more: under new UIDs, with their flags but for `\Deleted`. They go to the
    /// mailbox that they were in, or to the one that has its name now, or to a new one of that
    /// name.
    pub fn undelete(&self, keys: Vec<RetainedKey>) -> Ticket<Result<Undeleted, CommitError>> {
        if let Err(error) = self.inner.room.take(0) {
            return Ticket::answered(Err(error));
        }
        let account = self.number;
        self.inner.submit(|promise| {
            Change::Retention(RetentionChange::Undelete { account, keys, promise })
        })
    }

    /// Gives up kept messages that are over time; answers how many. The store does so by itself.
    pub fn purge_retained(&self, keys: Vec<RetainedKey>) -> Ticket<Result<u64, CommitError>> {
        let (account, low_space) = (self.number, false);
        self.inner.submit(|promise| {
            Change::Retention(RetentionChange::Purge { account, keys, low_space, promise })
        })
    }
}
