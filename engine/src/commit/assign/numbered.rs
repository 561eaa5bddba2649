//! Mail that brings its numbers along, judged so that no UID changes its meaning.

use crate::commit::change::PendingMessage;
use crate::commit::numbered::NumberedChange;
use crate::error::CommitError;
use crate::format_level;
use crate::ids::{AccountNumber, MailboxId, Uid, UidValidity};
use crate::record::{ArrivalPart, Body, EntryChange, SharingBody};
use crate::state::{Annotations, canonical};
use crate::store::{Appended, SpecialUse, Standing};
use crate::uid_set::UidSet;

use super::Assigner;
use super::name;

/// A mailbox across accounts.
type Key = (AccountNumber, MailboxId);

impl Assigner<'_> {
    pub(super) fn change_numbered(&mut self, change: NumberedChange) {
        match change {
            NumberedChange::Create {
                account,
                name,
                uid_validity,
                special_use,
                standing,
                promise,
            } => {
                let wanted = (uid_validity, special_use);
                let result = self.create_numbered(account, &name, wanted, standing);
                self.reply(promise, result);
            }
            NumberedChange::Append { account, mailbox, next, messages, promises } => {
                let results = self.append_numbered((account, mailbox), next, messages);
                for (promise, result) in promises.into_iter().zip(results) {
                    self.reply(promise, result);
                }
            }
            NumberedChange::LeaveOut { account, mailbox, expected, next, promise } => {
                let result = self.leave_out((account, mailbox), expected, next);
                self.reply(promise, result);
            }
            NumberedChange::Remove { account, mailbox, uids, promise } => {
                let result = self.remove_existing((account, mailbox), &uids);
                self.reply(promise, result);
            }
        }
    }

    /// A mailbox with that UIDVALIDITY. One of the name that is there already goes, as far as
    /// `standing` lets it; what stands beside it stays.
    fn create_numbered(
        &mut self,
        account: AccountNumber,
        name: &str,
        (uid_validity, special_use): (UidValidity, Option<SpecialUse>),
        standing: Standing,
    ) -> Result<MailboxId, CommitError> {
        self.check_numbered_level()?;
        let name = canonical(name.strip_suffix('/').unwrap_or(name)).to_owned();
        name::check(&name)?;
        if uid_validity.0 == 0 {
            return Err(CommitError::NotPermitted { what: "a UIDVALIDITY is not 0" });
        }
        let state = self.existing_account(account)?;
        let old = state.names.id_of(&name);
        let mut office = special_use;
        let mut beside = Annotations::default();
        if let Some(old) = old {
            self.check_gives_way((account, old), standing)?;
            let listing = state.names.listing();
            let entry = listing.mailboxes.iter().find(|entry| entry.id == old);
            office = entry.and_then(|entry| entry.special_use).or(special_use);
            beside = state.annotations.of(old).cloned().unwrap_or_default();
        }
        let holder = office.and_then(|office| state.names.with_special_use(office));
        if holder.is_some_and(|holder| Some(holder) != old) {
            return Err(CommitError::AlreadyExists { what: "a mailbox for this use".into() });
        }
        if old.is_none() {
            super::mailbox::check_count(&state)?;
        }
        if let Some(mailbox) = old {
            self.emit(account, Body::MailboxDelete { mailbox })?;
        }
        let mailbox = self.new_mailbox_id();
        let create =
            Body::MailboxCreate { mailbox, name: name.clone(), uid_validity, special_use: office };
        self.emit(account, create)?;
        match old {
            None => self.inherit_rights(account, mailbox, &name)?,
            Some(_) => self.keep_beside(account, mailbox, &beside)?,
        }
        Ok(mailbox)
    }

    /// Whether a mailbox may go for another of its name.
    fn check_gives_way(&mut self, key: Key, standing: Standing) -> Result<(), CommitError> {
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let is_unused = state.given_below() == 1;
        let is_empty = state.counts().messages == 0;
        match standing {
            Standing::Unused if !is_unused => Err(CommitError::NotPermitted {
                what: "a mailbox of this name is there that has numbered messages already",
            }),
            Standing::Empty if !is_empty => Err(CommitError::NotPermitted {
                what: "a mailbox of this name is there that is not empty",
            }),
            _ => Ok(()),
        }
    }

    /// What stood beside the mailbox that gave way stands beside the new one.
    fn keep_beside(
        &mut self,
        account: AccountNumber,
        mailbox: MailboxId,
        beside: &Annotations,
    ) -> Result<(), CommitError> {
        let rights: Vec<_> = beside.rights.iter().map(|(who, what)| (*who, Some(*what))).collect();
        if !rights.is_empty() {
            let body = SharingBody::Rights { mailbox, entries: rights };
            self.emit(account, Body::Sharing(body))?;
        }
        let entries: Vec<EntryChange> = beside
            .entries
            .iter()
            .map(|((of, name), value)| EntryChange {
                of: *of,
                name: name.clone(),
                value: Some(value.clone()),
            })
            .collect();
        if !entries.is_empty() {
            self.emit(account, Body::Sharing(SharingBody::Metadata { mailbox, entries }))?;
        }
        Ok(())
    }

    /// All in one record if all are taken; else one after the other, until one is refused.
    fn append_numbered(
        &mut self,
        key: Key,
        next: Uid,
        messages: Vec<(Uid, PendingMessage)>,
    ) -> Vec<Result<Appended, CommitError>> {
        let count = messages.len();
        let (uids, messages): (Vec<Uid>, Vec<PendingMessage>) = messages.into_iter().unzip();
        if let Ok(appended) = self.append_run(key, next, &uids, &messages) {
            let Appended { uid_validity, uids, modseq } = appended;
            let one = |uid| Ok(Appended { uid_validity, uids: vec![uid], modseq });
            return uids.into_iter().map(one).collect();
        }
        let mut expected = next;
        let mut is_refused = false;
        let mut results = Vec::with_capacity(count);
        for (uid, message) in uids.into_iter().zip(messages) {
            let one = std::slice::from_ref(&message);
            let result = match is_refused {
                false => self.append_run(key, expected, &[uid], one),
                // Its UID may be the next one all the same: a delivery may have taken the other's.
                true => Err(CommitError::NotPermitted { what: "a message before it was refused" }),
            };
            if result.is_err() {
                is_refused = true;
                self.end_ahead(&message.sealed, false);
                self.end_parts(&message.sealed, &[]);
            }
            expected = Uid(uid.0.saturating_add(1));
            results.push(result);
        }
        results
    }

    /// All or none. What entered ahead ends only if all are taken.
    fn append_run(
        &mut self,
        key: Key,
        next: Uid,
        uids: &[Uid],
        messages: &[PendingMessage],
    ) -> Result<Appended, CommitError> {
        let mut chosen: Vec<ArrivalPart> = Vec::new();
        self.check_next(key, next)?;
        let ascending = uids.is_sorted_by(|a, b| a < b);
        let is_free = uids.first().is_none_or(|first| *first >= next);
        if !ascending || !is_free || uids.last().is_some_and(|last| last.0 == u32::MAX) {
            return Err(CommitError::NotPermitted {
                what: "UIDs that are brought ascend from the mailbox's next one on",
            });
        }
        self.append_at(key, uids, messages, &mut chosen)?;
        for message in messages {
            self.end_ahead(&message.sealed, true);
            self.end_parts(&message.sealed, &chosen);
        }
        let mut appended = self.appended(key, Uid(0), 0)?;
        appended.uids = uids.to_vec();
        Ok(appended)
    }

    /// Refuses whoever does not know what the mailbox gives next.
    fn check_next(&mut self, key: Key, expected: Uid) -> Result<(), CommitError> {
        let found = self.next_uids(key, 0)?;
        if found != expected {
            return Err(CommitError::OtherNumbers { expected, found });
        }
        Ok(())
    }

    fn leave_out(&mut self, key: Key, expected: Uid, next: Uid) -> Result<(), CommitError> {
        self.check_numbered_level()?;
        self.check_next(key, expected)?;
        if next > expected {
            let next = u64::from(next.0);
            self.emit(key.0, Body::UidNext { mailbox: key.1, next })?;
        }
        Ok(())
    }

    fn remove_existing(&mut self, key: Key, uids: &UidSet) -> Result<UidSet, CommitError> {
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let going: UidSet = state.rows_of(uids)?.iter().map(|(row, _)| row.uid).collect();
        if !going.is_empty() {
            self.remove(key, going.clone())?;
        }
        Ok(going)
    }

    fn check_numbered_level(&self) -> Result<(), CommitError> {
        if self.context.format_level < format_level::NUMBERED {
            return Err(CommitError::NotPermitted { what: BELOW_LEVEL });
        }
        Ok(())
    }
}

/// Why numbers are not brought to a volume of an older level.
const BELOW_LEVEL: &str = "the store is at a format level that takes no numbers from elsewhere; \
    raise it with 'pillarbox upgrade finish'";
