//! Messages that come in several commits and are to be seen all at once, or never.
//!
//! ```text
//! stage() ─► append, append, …  ─►  hand_over(): one move, in one run of records ─► a mailbox
//!   a mailbox that no list shows       │
//!                                      └ dropped before, or the process ends: they go again
//! ```
//! Why a mailbox: its messages count in the quota, their bytes are known to be alive, and a move
//! within an account is all or nothing already.
//!
//! # Invariants
//! 1. Nobody can name or list it: its name has a control character.
//! 2. A store that was opened for writing has none that an earlier process made.

use super::{Account, Copied, Mailbox, NewMessage, Store};
use crate::commit::Change;
use crate::error::{CommitError, OpenError};
use crate::ids::{AccountNumber, MailboxId};
use crate::state::staging_name;
use crate::ticket::Ticket;
use crate::uid_set::UidSet;

/// Messages of an account that nobody sees yet. Dropping it removes what was not handed over.
pub struct Staging {
    account: Account,
    mailbox: Mailbox,
}

impl Account {
    /// A place for messages that are to be seen together.
    pub fn stage(&self) -> Ticket<Result<MailboxId, CommitError>> {
        let account = self.number;
        self.inner.submit(|promise| Change::Stage { account, promise })
    }

    /// What [`Account::stage`] made.
    ///
    /// # Errors
    /// It is gone with its account, or state cannot be read.
    pub fn staged(&self, mailbox: MailboxId) -> Result<Staging, CommitError> {
        let found = self.mailbox_by_id(mailbox)?.ok_or(CommitError::NoSuchMailbox)?;
        Ok(Staging { account: self.clone(), mailbox: found })
    }
}

impl Staging {
    /// Adds messages, as [`Mailbox::append`] does.
    pub fn append(
        &self,
        messages: Vec<NewMessage>,
    ) -> Ticket<Result<super::Appended, CommitError>> {
        self.mailbox.append(messages)
    }

    /// Moves all of them into a mailbox of the account, all or none.
    pub fn hand_over(&self, to: &Mailbox) -> Ticket<Result<Copied, CommitError>> {
        self.mailbox.move_to(&UidSet::from_ranges([(1, u32::MAX)]), to)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nobody waits: if it is not done before the process ends, the next one does it.
        drop(self.account.delete_mailbox(&staging_name(self.mailbox.id())));
    }
}

impl Store {
    /// Removes what was staged when the store was closed, or ended without that.
    pub(super) fn remove_staged(&self) -> Result<(), OpenError> {
        let mut found: Vec<(AccountNumber, String)> = Vec::new();
        for account in self.inner.committed.accounts() {
            let staged = account.names.staging();
            found.extend(staged.map(|(name, _)| (account.number, name.to_owned())));
        }
        for (account, name) in found {
            tracing::info!(%account, "removing messages of a copy that was cut short");
            let delete = |promise| Change::DeleteMailbox { account, name, promise };
            if let Err(error) = self.inner.submit(delete).wait() {
                return Err(OpenError::Invalid(error.to_string()));
            }
        }
        Ok(())
    }
}
