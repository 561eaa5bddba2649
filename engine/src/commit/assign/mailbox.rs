//! Mailboxes: create, rename with all below, delete, subscribe.

use crate::error::CommitError;
use crate::ids::{AccountNumber, MailboxId, UidValidity};
use crate::limits::ACCOUNT_MAILBOXES_MAX;
use crate::record::{Body, RetentionBody};
use crate::state::{AccountState, INBOX, canonical, is_staging, staging_name};
use crate::store::SpecialUse;
use crate::uid_set::UidSet;

use super::Assigner;
use super::name;
use crate::commit::change::CopyKind;

impl Assigner<'_> {
    pub(super) fn create_mailbox(
        &mut self,
        account: AccountNumber,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<MailboxId, CommitError> {
        // RFC 9051 section 6.3.4: a trailing separator only says that names below will be made.
        let name = canonical(name.strip_suffix('/').unwrap_or(name));
        name::check(name)?;
        let state = self.existing_account(account)?;
        if state.names.id_of(name).is_some() {
            return Err(CommitError::AlreadyExists { what: format!("the mailbox {name}") });
        }
        if special_use.is_some_and(|office| state.names.with_special_use(office).is_some()) {
            return Err(CommitError::AlreadyExists { what: "a mailbox for this use".into() });
        }
        check_count(&state)?;
        let mailbox = self.new_mailbox_id();
        let uid_validity = self.next_uid_validity(&state);
        let name = name.to_owned();
        let create = Body::MailboxCreate { mailbox, name: name.clone(), uid_validity, special_use };
        self.emit(account, create)?;
        self.inherit_rights(account, mailbox, &name)?;
        Ok(mailbox)
    }

    /// A mailbox that nobody sees: messages wait in it to be moved together.
    pub(super) fn stage(&mut self, account: AccountNumber) -> Result<MailboxId, CommitError> {
        let state = self.existing_account(account)?;
        check_count(&state)?;
        let mailbox = self.new_mailbox_id();
        let (name, uid_validity) = (staging_name(mailbox), self.next_uid_validity(&state));
        self.emit(account, Body::MailboxCreate { mailbox, name, uid_validity, special_use: None })?;
        Ok(mailbox)
    }

    /// Above all that the account ever had, and above the seconds since 1970, so that a name that
    /// is made again after its deletion has a higher one; odd or even as the node is.
    fn next_uid_validity(&self, state: &AccountState) -> UidValidity {
        let now = u32::try_from(self.now().0).unwrap_or(u32::MAX - 2);
        let next = state.last_uid_validity.0.saturating_add(1).max(now).max(1);
        let parity = u32::from(self.context.parity & 1);
        UidValidity(if next & 1 == parity { next } else { next.saturating_add(1) })
    }

    pub(super) fn rename_mailbox(
        &mut self,
        account: AccountNumber,
        from: &str,
        to: &str,
    ) -> Result<(), CommitError> {
        let from = canonical(from);
        let to = canonical(to.strip_suffix('/').unwrap_or(to));
        name::check(to)?;
        let state = self.existing_account(account)?;
        if state.names.id_of(to).is_some() {
            return Err(CommitError::AlreadyExists { what: format!("the mailbox {to}") });
        }
        if from == INBOX {
            return self.rename_inbox(account, to);
        }
        if to.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(CommitError::NotPermitted {
                what: "a mailbox cannot be moved below itself",
            });
        }
        let mut renames: Vec<(MailboxId, String)> = Vec::new();
        renames.extend(state.names.id_of(from).map(|mailbox| (mailbox, to.to_owned())));
        for (name, mailbox) in state.names.below(from) {
            let rest = name.get(from.len()..).unwrap_or_default();
            let new = format!("{to}{rest}");
            name::check(&new)?;
            if state.names.id_of(&new).is_some() {
                return Err(CommitError::AlreadyExists { what: format!("the mailbox {new}") });
            }
            renames.push((mailbox, new));
        }
        if renames.is_empty() {
            return Err(CommitError::NoSuchMailbox);
        }
        self.emit(account, Body::MailboxRename(renames))?;
        Ok(())
    }

    /// INBOX stays and is empty; its messages go to the new name (RFC 9051 section 6.3.6).
    fn rename_inbox(&mut self, account: AccountNumber, to: &str) -> Result<(), CommitError> {
        let state = self.existing_account(account)?;
        let inbox = state.names.id_of(INBOX).ok_or(CommitError::NoSuchMailbox)?;
        let destination = self.create_mailbox(account, to, None)?;
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        self.transfer(CopyKind::Move, account, inbox, destination, &all)?;
        Ok(())
    }

    pub(super) fn delete_mailbox(
        &mut self,
        account: AccountNumber,
        name: &str,
    ) -> Result<(), CommitError> {
        let name = canonical(name);
        if name == INBOX {
            return Err(CommitError::NotPermitted { what: "INBOX cannot be deleted" });
        }
        let state = self.existing_account(account)?;
        let mailbox = state.names.id_of(name).ok_or(CommitError::NoSuchMailbox)?;
        // What nobody has seen is not kept for anybody.
        let body = match self.kept_until(account)?.filter(|_| !is_staging(name)) {
            None => Body::MailboxDelete { mailbox },
            Some(until) => Body::Retention(RetentionBody::Retain { mailbox, until, uids: None }),
        };
        self.emit(account, body)?;
        Ok(())
    }

    pub(super) fn subscribe(
        &mut self,
        account: AccountNumber,
        name: &str,
        subscribed: bool,
    ) -> Result<(), CommitError> {
        let name = canonical(name.strip_suffix('/').unwrap_or(name));
        if subscribed {
            name::check(name)?;
        }
        self.existing_account(account)?;
        self.emit(account, Body::Subscribe { name: name.to_owned(), subscribed })?;
        Ok(())
    }

    pub(super) fn existing_account(
        &self,
        account: AccountNumber,
    ) -> Result<AccountState, CommitError> {
        self.changes.account(self.context.committed, account).ok_or(CommitError::NoSuchAccount)
    }
}

pub(super) fn check_count(state: &AccountState) -> Result<(), CommitError> {
    if state.names.count() < ACCOUNT_MAILBOXES_MAX {
        return Ok(());
    }
    Err(CommitError::TooLarge {
        what: "the number of mailboxes",
        limit: crate::width::u64_of(ACCOUNT_MAILBOXES_MAX),
    })
}
