//! The mailroom: whom we take mail for, and where it goes. In production it is the store.

use std::io;

use engine::error::{CommitError, ReadError};
use engine::ids::{AccountNumber, UnixSeconds};
use engine::{Announcement, Appended, DeliverTo, Resolution, SpoolFile, Store, Ticket};

use crate::receive::Spool;

/// Where mail goes unless something says otherwise.
pub(crate) const INBOX: &str = "INBOX";

/// How full an account is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuotaUse {
    /// Bytes used.
    pub used_bytes: u64,
    /// Its limit; `None`: no limit.
    pub limit_bytes: Option<u64>,
}

impl QuotaUse {
    /// Whether a message of that size would exceed it.
    pub(crate) fn exceeded_by(&self, message_bytes: u64) -> bool {
        self.limit_bytes.is_some_and(|limit| self.used_bytes.saturating_add(message_bytes) > limit)
    }
}

/// What sessions need of a store. Implemented by [`Store`], and by tests.
pub trait Mailroom: Clone + Send + Sync + 'static {
    /// Who takes mail for an address, written `local@domain` without quotes (split it at the last
    /// `@`), or `postmaster` alone (RFC 5321 section 4.1.1.3). The domain is in lower case.
    fn resolve(&self, address: &str) -> Result<Resolution, ReadError>;

    /// How full an account is.
    fn quota(&self, account: AccountNumber) -> Result<QuotaUse, ReadError>;

    /// Whether an account has a mailbox of that name.
    fn has_mailbox(&self, account: AccountNumber, name: &str) -> Result<bool, ReadError>;

    /// Parses, compresses, seals and submits a message. Takes the caller's CPU. The ticket answers
    /// one result for each of `recipients`, in order, once it is committed.
    fn deliver(
        &self,
        message: &[u8],
        received: UnixSeconds,
        recipients: Vec<DeliverTo>,
    ) -> Result<Ticket<Vec<Result<Appended, CommitError>>>, CommitError>;

    /// Says that a message will be delivered soon, for as long as the answer is held.
    fn announce(&self) -> Option<Announcement> {
        None
    }

    /// A place for the part of a large message that is not kept in memory while it arrives. `None`:
    /// there is none, and the whole message stays in memory, within its budget.
    fn open_spool(&self) -> io::Result<Option<Box<dyn Spool>>> {
        Ok(None)
    }
}

/// Where mail for `user+detail` goes, if details name mailboxes at all: to the one of that name
/// where it exists, else to INBOX. None is made, or everybody could fill an account with them.
///
/// # Errors
/// [`ReadError`], if the store cannot be asked.
pub fn mailbox_of_detail(
    mailroom: &impl Mailroom,
    account: AccountNumber,
    detail: &str,
) -> Result<String, ReadError> {
    let found = !detail.is_empty() && mailroom.has_mailbox(account, detail)?;
    Ok(if found { detail } else { INBOX }.to_owned())
}

impl Mailroom for Store {
    fn resolve(&self, address: &str) -> Result<Resolution, ReadError> {
        Store::resolve(self, address)
    }

    fn quota(&self, account: AccountNumber) -> Result<QuotaUse, ReadError> {
        // An account that is gone is the commit's to refuse, not the quota's.
        let Some(account) = self.account_by_number(account)? else {
            return Ok(QuotaUse::default());
        };
        let (used_bytes, limit_bytes) = account.quota()?;
        Ok(QuotaUse { used_bytes, limit_bytes })
    }

    fn has_mailbox(&self, account: AccountNumber, name: &str) -> Result<bool, ReadError> {
        let Some(account) = self.account_by_number(account)? else { return Ok(false) };
        Ok(account.mailbox(name)?.is_some())
    }

    fn deliver(
        &self,
        message: &[u8],
        received: UnixSeconds,
        recipients: Vec<DeliverTo>,
    ) -> Result<Ticket<Vec<Result<Appended, CommitError>>>, CommitError> {
        let accounts: Vec<AccountNumber> = recipients.iter().map(|to| to.account).collect();
        let prepared = self.prepare(message, &accounts)?;
        Ok(Store::deliver(self, prepared, received, recipients))
    }

    fn announce(&self) -> Option<Announcement> {
        Some(Store::announce(self))
    }

    fn open_spool(&self) -> io::Result<Option<Box<dyn Spool>>> {
        let file = self.spool().map_err(unspooled)?;
        Ok(Some(Box::new(StoreSpool(file))))
    }
}

/// A full disk is told from one that fails: the sender hears of it.
fn unspooled(error: CommitError) -> io::Error {
    match error {
        CommitError::DiskFull => io::Error::new(io::ErrorKind::StorageFull, error),
        other => io::Error::other(other),
    }
}

/// The store's own spool file.
struct StoreSpool(SpoolFile);

impl Spool for StoreSpool {
    fn write_block(&mut self, block: &[u8]) -> io::Result<()> {
        self.0.write_block(block).map_err(unspooled)
    }

    fn read_block(&mut self, index: usize, into: &mut Vec<u8>) -> io::Result<()> {
        self.0.read_block(index, into).map_err(io::Error::other)
    }
}
