//! Names, subscriptions, metadata, rights, limits, accounts, policy: the later stamp wins.

use super::{MergeError, Run, free_name};
use crate::commit::{Change, RetentionChange};
use crate::error::CommitError;
use crate::ids::{AccountNumber, MailboxId};
use crate::record::{Body, Record, RetentionBody, SharingBody};
use crate::state::ACCOUNT_ITSELF;
use crate::store::merge::subject::subjects;

impl Run<'_> {
    /// Sets something, unless the others did later.
    pub(super) fn set(
        &mut self,
        number: u64,
        account: AccountNumber,
        record: Record,
    ) -> Result<(), MergeError> {
        let subject =
            subjects(account, &record.body).into_iter().next().map(|(subject, _)| subject);
        let is_late = subject.is_none_or(|subject| self.since.is_later(&subject, record.stamp));
        let taken = match is_late {
            true => false,
            false => self.set_body(number, account, record.body)?,
        };
        match taken {
            true => self.tally.settings_taken += 1,
            false => self.tally.settings_dropped += 1,
        }
        Ok(())
    }

    /// Answers whether it was taken over.
    fn set_body(
        &mut self,
        number: u64,
        account: AccountNumber,
        body: Body,
    ) -> Result<bool, MergeError> {
        let id = self.ids.of_step(number, 0);
        let done: Result<(), CommitError> = match body {
            Body::Policy(changes) => {
                self.asked(id, None, |promise| Change::Policy { changes, promise })?
            }
            Body::AccountUpdate(update) => {
                self.asked(id, None, |promise| Change::UpdateAccount { account, update, promise })?
            }
            Body::Subscribe { name, subscribed } => self.asked(id, None, |promise| {
                Change::Subscribe { account, name, subscribed, promise }
            })?,
            Body::MailboxRename(renames) => {
                let Some((mailbox, name)) = renames.into_iter().next() else { return Ok(false) };
                return self.rename(number, (account, mailbox), &name);
            }
            Body::Sharing(body) => {
                let Some(body) = self.translated(account, body) else { return Ok(false) };
                // Whoever set it was within bounds there.
                let guest_entries_max = usize::MAX;
                self.asked(id, None, |promise| Change::Sharing {
                    account,
                    body,
                    guest_entries_max,
                    promise,
                })?
            }
            Body::Retention(RetentionBody::Account(setting)) => {
                self.asked(id, None, |promise| {
                    Change::Retention(RetentionChange::Account { account, setting, promise })
                })?
            }
            Body::Retention(RetentionBody::Volume(retention)) => {
                self.asked(id, None, |promise| {
                    Change::Retention(RetentionChange::Volume { retention, promise })
                })?
            }
            _ => return Ok(false),
        };
        Ok(done.is_ok())
    }

    /// Gives a mailbox the name that it had in the end; or one like it, if that is taken.
    fn rename(
        &mut self,
        number: u64,
        (account, mailbox): (AccountNumber, MailboxId),
        name: &str,
    ) -> Result<bool, MergeError> {
        let Some(state) = self.state(account) else { return Ok(false) };
        let mailbox = self.mailboxes.get(&(account, mailbox)).copied().unwrap_or(mailbox);
        let Some(from) = state.names.name_of(mailbox).map(ToOwned::to_owned) else {
            return Ok(false);
        };
        // It came with the one above it.
        if from == name {
            return Ok(true);
        }
        let to = match state.names.id_of(name) {
            None => name.to_owned(),
            Some(_) => free_name(&state, name),
        };
        let id = self.ids.of_step(number, 0);
        let rename = |promise| Change::RenameMailbox { account, from, to, promise };
        Ok(self.asked(id, None, rename)?.is_ok())
    }

    /// What stands beside a mailbox, for the mailbox that it is here; `None`: it is gone.
    fn translated(&self, account: AccountNumber, body: SharingBody) -> Option<SharingBody> {
        let own = |mailbox: MailboxId| {
            if mailbox == ACCOUNT_ITSELF {
                return Some(mailbox);
            }
            let own = self.mailboxes.get(&(account, mailbox)).copied().unwrap_or(mailbox);
            self.state(account)?.names.name_of(own).map(|_| own)
        };
        Some(match body {
            SharingBody::Metadata { mailbox, entries } => {
                SharingBody::Metadata { mailbox: own(mailbox)?, entries }
            }
            SharingBody::Rights { mailbox, entries } => {
                SharingBody::Rights { mailbox: own(mailbox)?, entries }
            }
            limits @ SharingBody::Limits { .. } => limits,
        })
    }
}
