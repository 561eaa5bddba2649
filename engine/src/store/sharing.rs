//! Metadata of mailboxes and accounts, rights that accounts give each other, and limits.
//!
//! A handle of an account reads and changes everything of it: whoever serves somebody else asks
//! [`Account::rights_of`] before.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::commit::Change;
use crate::error::CommitError;
use crate::ids::{AccountNumber, MailboxId};
use crate::limits::METADATA_GUEST_ENTRIES;
use crate::record::{EntryChange, SharingBody};
use crate::rights::{Grantee, Identifier, Rights};
use crate::state::{ACCOUNT_ITSELF, AccountAnnotations, AccountState, Annotations};
use crate::ticket::Ticket;

use super::{Account, Store};

/// Who sees an entry of metadata.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetadataScope {
    /// Whoever may read the mailbox.
    Shared,
    /// That account alone.
    Private(AccountNumber),
}

/// An entry of metadata (RFC 5464).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetadataEntry {
    /// Who sees it.
    pub scope: MetadataScope,
    /// Such as `/comment`, in lower case, without `/private` or `/shared`.
    pub name: String,
    /// Any bytes.
    pub value: Vec<u8>,
}

/// A change of an entry of metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetadataChange {
    /// Who sees it.
    pub scope: MetadataScope,
    /// As in [`MetadataEntry`].
    pub name: String,
    /// `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// All metadata of an account as it was: cheap to take and to keep.
#[derive(Clone)]
pub struct MetadataState(Arc<AccountAnnotations>);

impl MetadataState {
    /// Entries that `reader` sees and that have come, changed or gone since `older`, by mailbox
    /// (`None` is the account itself).
    pub fn changed_since(
        &self,
        older: &MetadataState,
        reader: AccountNumber,
    ) -> Vec<(Option<MailboxId>, MetadataScope, String)> {
        let mut found = Vec::new();
        for mailbox in self.0.changed_since(&older.0) {
            let (now, before) = (self.0.of(mailbox), older.0.of(mailbox));
            let both = now.into_iter().chain(before).flat_map(|one| one.entries.keys());
            let keys: BTreeSet<&(AccountNumber, String)> = both.collect();
            for key in keys {
                let scope = match key.0 {
                    AccountNumber::VOLUME => MetadataScope::Shared,
                    of if of == reader => MetadataScope::Private(reader),
                    _ => continue,
                };
                let value = |state: Option<&Annotations>| {
                    state.and_then(|state| state.entries.get(key)).cloned()
                };
                if value(now) != value(before) {
                    let of = Some(mailbox).filter(|mailbox| *mailbox != ACCOUNT_ITSELF);
                    found.push((of, scope, key.1.clone()));
                }
            }
        }
        found
    }
}

/// An entry of an access control list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessEntry {
    /// Whom it names, and whether it gives or takes.
    pub identifier: Identifier,
    /// The account's name; `None` for everybody.
    pub name: Option<String>,
    /// What it gives or takes.
    pub rights: Rights,
}

/// What an account's mail takes, and what it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Messages.
    pub message_count: u64,
    /// How many it may have.
    pub message_limit: Option<u64>,
    /// Bytes as received.
    pub byte_count: u64,
    /// How many it may have.
    pub byte_limit: Option<u64>,
}

impl MetadataScope {
    fn of(self) -> AccountNumber {
        match self {
            MetadataScope::Shared => AccountNumber::VOLUME,
            MetadataScope::Private(account) => account,
        }
    }
}

impl Account {
    fn state(&self) -> Option<AccountState> {
        self.inner.committed.account(self.number)
    }

    /// Entries of metadata of a mailbox, or, without one, of the account itself, as `reader` sees
    /// them: the shared ones and its own, in order of their names.
    pub fn metadata(
        &self,
        mailbox: Option<MailboxId>,
        reader: AccountNumber,
    ) -> Vec<MetadataEntry> {
        let Some(state) = self.state() else { return Vec::new() };
        let Some(own) = state.annotations.of(mailbox.unwrap_or(ACCOUNT_ITSELF)) else {
            return Vec::new();
        };
        let seen = own.entries.iter().filter_map(|((of, name), value)| {
            let scope = match *of {
                AccountNumber::VOLUME => MetadataScope::Shared,
                of if of == reader => MetadataScope::Private(reader),
                _ => return None,
            };
            Some(MetadataEntry { scope, name: name.clone(), value: value.clone() })
        });
        seen.collect()
    }

    /// All its metadata now, to find out later what changed.
    pub fn metadata_state(&self) -> MetadataState {
        MetadataState(self.state().map(|state| state.annotations).unwrap_or_default())
    }

    /// Changes entries of metadata, all or none.
    pub fn set_metadata(
        &self,
        mailbox: Option<MailboxId>,
        changes: Vec<MetadataChange>,
    ) -> Ticket<Result<(), CommitError>> {
        self.set_metadata_within(mailbox, changes, METADATA_GUEST_ENTRIES)
    }

    /// The same, with a bound to how many private entries an account that does not own the mailbox
    /// may have in it.
    pub fn set_metadata_within(
        &self,
        mailbox: Option<MailboxId>,
        changes: Vec<MetadataChange>,
        guest_entries_max: usize,
    ) -> Ticket<Result<(), CommitError>> {
        let entries = changes.into_iter().map(|MetadataChange { scope, name, value }| {
            EntryChange { of: scope.of(), name, value }
        });
        let (mailbox, entries) = (mailbox.unwrap_or(ACCOUNT_ITSELF), entries.collect());
        self.share(SharingBody::Metadata { mailbox, entries }, guest_entries_max)
    }

    /// What `account` may do with a mailbox of this one: everything, if it is its own.
    pub fn rights_of(&self, mailbox: MailboxId, account: AccountNumber) -> Rights {
        let Some(state) = self.state() else { return Rights::NONE };
        if state.names.name_of(mailbox).is_none() {
            return Rights::NONE;
        }
        if account == self.number {
            return Rights::ALL;
        }
        let list = state.annotations.of(mailbox);
        list.map_or(Rights::NONE, |list| list.rights_of(account))
    }

    /// A mailbox's access control list, without accounts that there are no more.
    pub fn access_list(&self, mailbox: MailboxId) -> Vec<AccessEntry> {
        let Some(state) = self.state() else { return Vec::new() };
        let Some(own) = state.annotations.of(mailbox) else { return Vec::new() };
        let entry = |(identifier, rights): (&Identifier, &Rights)| {
            let name = match identifier.grantee {
                Grantee::Anyone => None,
                Grantee::Account(account) => {
                    Some(self.inner.committed.account(account)?.profile.name.clone())
                }
            };
            Some(AccessEntry { identifier: *identifier, name, rights: *rights })
        };
        own.rights.iter().filter_map(entry).collect()
    }

    /// Sets what an entry of a mailbox's access control list gives or takes; `None` removes it.
    pub fn set_rights(
        &self,
        mailbox: MailboxId,
        identifier: Identifier,
        rights: Option<Rights>,
    ) -> Ticket<Result<(), CommitError>> {
        let entries = vec![(identifier, rights)];
        self.share(SharingBody::Rights { mailbox, entries }, METADATA_GUEST_ENTRIES)
    }

    /// Accounts with a mailbox that may be shared with this one, by name: of each mailbox
    /// [`Account::rights_of`] knows.
    pub fn sharing_with(&self) -> Vec<Account> {
        let owners = self.inner.committed.sharing_with(self.number);
        let account = |number| {
            let state = self.inner.committed.account(number)?;
            let name = state.profile.name.as_str().into();
            Some(Account { inner: Arc::clone(&self.inner), number, name })
        };
        let mut accounts: Vec<Account> = owners.into_iter().filter_map(account).collect();
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        accounts
    }

    /// What its mail takes, and what it may.
    pub fn usage(&self) -> Usage {
        let Some(state) = self.state() else { return Usage::default() };
        Usage {
            message_count: state.usage.message_count,
            message_limit: state.annotations.message_limit(),
            byte_count: state.usage.message_bytes,
            byte_limit: state.profile.quota_bytes,
        }
    }

    fn share(
        &self,
        body: SharingBody,
        guest_entries_max: usize,
    ) -> Ticket<Result<(), CommitError>> {
        if let Err(error) = self.inner.room.take(0) {
            return Ticket::answered(Err(error));
        }
        let account = self.number;
        self.inner.submit(|promise| Change::Sharing { account, body, guest_entries_max, promise })
    }
}

impl Store {
    /// Sets or lifts the limit of how many messages an account has.
    ///
    /// # Errors
    /// An account that does not exist, a volume below format level 6.
    pub fn set_message_limit(
        &self,
        account: AccountNumber,
        messages: Option<u64>,
    ) -> Result<(), CommitError> {
        let body = SharingBody::Limits { messages };
        let guest_entries_max = METADATA_GUEST_ENTRIES;
        let change = |promise| Change::Sharing { account, body, guest_entries_max, promise };
        self.inner.submit(change).wait()
    }
}
