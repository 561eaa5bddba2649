//! An account of an open store: its names, its mailboxes, its messages.

use std::sync::Arc;

use crate::commit::Change;
use crate::error::{CommitError, ReadError};
use crate::ids::{AccountNumber, MailboxId};
use crate::mailbox::Row;
use crate::message::StoredSummary;
use crate::ticket::Ticket;

use super::{Inner, Listing, Mailbox, MessageReader, SpecialUse};

/// Keeps a callback of [`Account::on_change`] alive; dropping it ends it.
pub struct AccountSubscription {
    inner: Arc<Inner>,
    account: AccountNumber,
    number: u64,
}

impl Drop for AccountSubscription {
    fn drop(&mut self) {
        self.inner.committed.unwatch_account(self.account, self.number);
    }
}

/// An account of an open store. Cheap to clone.
#[derive(Clone)]
pub struct Account {
    pub(super) inner: Arc<Inner>,
    pub(super) number: AccountNumber,
    pub(super) name: Arc<str>,
}

impl Account {
    /// Its number.
    pub fn number(&self) -> AccountNumber {
        self.number
    }

    /// Its login name.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// Its login name, lent.
    pub fn login_name(&self) -> &str {
        &self.name
    }

    /// Its mailboxes and subscriptions now; nothing if the account was deleted meanwhile.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn listing(&self) -> Result<Arc<Listing>, ReadError> {
        let account = self.inner.committed.account(self.number);
        Ok(Arc::new(account.map(|account| account.names.listing()).unwrap_or_default()))
    }

    /// The mailbox of that name (`inbox` in any case is INBOX).
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn mailbox(&self, name: &str) -> Result<Option<Mailbox>, ReadError> {
        let account = self.inner.committed.account(self.number);
        let Some(id) = account.and_then(|account| account.names.id_of(name)) else {
            return Ok(None);
        };
        self.mailbox_by_id(id)
    }

    /// The mailbox of that identity.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn mailbox_by_id(&self, id: MailboxId) -> Result<Option<Mailbox>, ReadError> {
        let cell = self.inner.committed.cell((self.number, id))?;
        Ok(cell.map(|cell| Mailbox::new(&self.inner, self.number, id, cell)))
    }

    /// Makes a mailbox. Levels above it are not made.
    pub fn create_mailbox(
        &self,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Ticket<Result<MailboxId, CommitError>> {
        let (account, name) = (self.number, name.to_owned());
        self.inner.submit(|promise| Change::CreateMailbox { account, name, special_use, promise })
    }

    /// Renames a mailbox with all below it. INBOX: its messages move to the new name (RFC 9051
    /// section 6.3.6).
    pub fn rename_mailbox(&self, from: &str, to: &str) -> Ticket<Result<(), CommitError>> {
        let (account, from, to) = (self.number, from.to_owned(), to.to_owned());
        self.inner.submit(|promise| Change::RenameMailbox { account, from, to, promise })
    }

    /// Deletes a mailbox and its messages; mailboxes below it stay. INBOX is refused.
    pub fn delete_mailbox(&self, name: &str) -> Ticket<Result<(), CommitError>> {
        let (account, name) = (self.number, name.to_owned());
        self.inner.submit(|promise| Change::DeleteMailbox { account, name, promise })
    }

    /// Adds to the subscriptions; the name need not exist.
    pub fn subscribe(&self, name: &str) -> Ticket<Result<(), CommitError>> {
        self.set_subscribed(name, true)
    }

    /// Takes from the subscriptions; a name that is not subscribed is no error.
    pub fn unsubscribe(&self, name: &str) -> Ticket<Result<(), CommitError>> {
        self.set_subscribed(name, false)
    }

    fn set_subscribed(&self, name: &str, subscribed: bool) -> Ticket<Result<(), CommitError>> {
        let (account, name) = (self.number, name.to_owned());
        self.inner.submit(|promise| Change::Subscribe { account, name, subscribed, promise })
    }

    /// Quota: `(bytes used, limit)`.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read.
    pub fn quota(&self) -> Result<(u64, Option<u64>), ReadError> {
        let account = self.inner.committed.account(self.number);
        Ok(account.map_or((0, None), |account| {
            (account.usage.message_bytes, account.profile.quota_bytes)
        }))
    }

    /// What was parsed of a message when it came in.
    ///
    /// # Errors
    /// [`ReadError`], if the message is damaged or cannot be read.
    pub fn summary(&self, row: &Row) -> Result<StoredSummary, ReadError> {
        self.inner.summary(self.number, row.blob)
    }

    /// Opens a message for reading; reads only its header yet.
    ///
    /// # Errors
    /// [`ReadError`], if the message is damaged or cannot be read.
    pub fn message(&self, row: &Row) -> Result<MessageReader, ReadError> {
        MessageReader::open(&self.inner, self.number, row)
    }

    /// Calls back after every committed change of names, subscriptions, metadata or rights, its own
    /// or those of an account that shares something with it; must return at once and not call the
    /// store.
    pub fn on_change(&self, callback: Arc<dyn Fn() + Send + Sync>) -> AccountSubscription {
        let number = self.inner.committed.watch_account(self.number, callback);
        AccountSubscription { inner: Arc::clone(&self.inner), account: self.number, number }
    }
}
