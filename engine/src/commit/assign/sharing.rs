//! Metadata, rights and limits: judged against what there is, within the bounds.

use std::collections::BTreeSet;

use crate::error::CommitError;
use crate::format_level;
use crate::ids::{AccountNumber, MailboxId};
use crate::limits::{
    ACCOUNT_ANNOTATION_BYTES_MAX, ACL_ENTRIES_MAX, MAILBOX_ANNOTATION_BYTES_MAX,
    METADATA_ENTRIES_MAX, METADATA_GUEST_PART, METADATA_NAME_BYTES_MAX, METADATA_VALUE_BYTES_MAX,
};
use crate::record::{Body, EntryChange, SharingBody};
use crate::rights::{Grantee, Identifier, Rights};
use crate::state::{ACCOUNT_ITSELF, AccountState, Annotations};
use crate::width::u64_of;

use super::Assigner;

impl Assigner<'_> {
    /// Takes a change whose bounds hold afterwards.
    pub(super) fn share(
        &mut self,
        account: AccountNumber,
        mut body: SharingBody,
        guest_entries_max: usize,
    ) -> Result<(), CommitError> {
        if self.context.format_level < format_level::SHARING {
            return Err(CommitError::NotPermitted { what: BELOW_LEVEL });
        }
        let state = self.existing_account(account)?;
        match &mut body {
            SharingBody::Metadata { mailbox, entries } => {
                let mut changed = existing(&state, *mailbox)?;
                check_entries(entries)?;
                changed.set_entries(entries);
                check_guests(&state, *mailbox, &changed, guest_entries_max)?;
                check_bounds(&state, *mailbox, &changed)?;
            }
            SharingBody::Rights { mailbox, entries } => {
                if *mailbox == ACCOUNT_ITSELF {
                    return Err(CommitError::NoSuchMailbox);
                }
                let mut changed = existing(&state, *mailbox)?;
                entries.extend(self.gone(&changed));
                changed.set_rights(entries);
                check_bounds(&state, *mailbox, &changed)?;
            }
            SharingBody::Limits { .. } => {}
        }
        self.emit(account, Body::Sharing(body))?;
        Ok(())
    }

    /// Entries of accounts that there are no more: they go with the next change of the list.
    fn gone(&self, list: &Annotations) -> Vec<(Identifier, Option<Rights>)> {
        let is_gone = |identifier: &&Identifier| match identifier.grantee {
            Grantee::Anyone => false,
            Grantee::Account(account) => self.existing_account(account).is_err(),
        };
        list.rights.keys().filter(is_gone).map(|identifier| (*identifier, None)).collect()
    }

    /// A new mailbox is shared as the one above it is, so that whoever may make it may use it.
    pub(super) fn inherit_rights(
        &mut self,
        account: AccountNumber,
        mailbox: MailboxId,
        name: &str,
    ) -> Result<(), CommitError> {
        let state = self.existing_account(account)?;
        let mut levels = name.rmatch_indices('/');
        let above = levels.find_map(|(at, _)| state.names.id_of(name.get(..at)?));
        let Some(list) = above.and_then(|above| state.annotations.of(above)) else { return Ok(()) };
        let rights = list.rights.iter();
        let entries: Vec<_> = rights.map(|(who, rights)| (*who, Some(*rights))).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let mut changed = Annotations::default();
        changed.set_rights(&entries);
        // Where there is no room for the list, the mailbox is its owner's alone.
        if check_bounds(&state, mailbox, &changed).is_ok() {
            self.emit(account, Body::Sharing(SharingBody::Rights { mailbox, entries }))?;
        }
        Ok(())
    }
}

fn existing(state: &AccountState, mailbox: MailboxId) -> Result<Annotations, CommitError> {
    if mailbox != ACCOUNT_ITSELF && state.names.name_of(mailbox).is_none() {
        return Err(CommitError::NoSuchMailbox);
    }
    Ok(state.annotations.of(mailbox).cloned().unwrap_or_default())
}

fn check_entries(entries: &[EntryChange]) -> Result<(), CommitError> {
    for EntryChange { name, value, .. } in entries {
        if name.len() > METADATA_NAME_BYTES_MAX {
            let limit = u64_of(METADATA_NAME_BYTES_MAX);
            return Err(CommitError::TooLarge { what: "the name of an entry, in bytes,", limit });
        }
        if value.as_ref().is_some_and(|value| value.len() > METADATA_VALUE_BYTES_MAX) {
            let limit = u64_of(METADATA_VALUE_BYTES_MAX);
            return Err(CommitError::TooLarge { what: "the value of an entry, in bytes,", limit });
        }
    }
    Ok(())
}

/// What guests keep for themselves beside a mailbox leaves each other, and its owner, room.
fn check_guests(
    state: &AccountState,
    mailbox: MailboxId,
    changed: &Annotations,
    entries_max: usize,
) -> Result<(), CommitError> {
    let owner = state.number;
    let before = state.annotations.of(mailbox);
    let guests: BTreeSet<AccountNumber> =
        changed.guest_entries(owner).map(|((of, _), _)| *of).collect();
    let all = |annotations: &Annotations| annotations.guest_entries(owner).count();
    let mut counts = vec![(all(changed), before.map_or(0, all), METADATA_ENTRIES_MAX)];
    counts.extend(guests.into_iter().map(|guest| {
        let of = |annotations: &Annotations| {
            annotations.guest_entries(owner).filter(|((of, _), _)| *of == guest).count()
        };
        (of(changed), before.map_or(0, of), entries_max)
    }));
    for (now, before, limit) in counts {
        if now > limit && now > before {
            return Err(CommitError::TooManyEntries { limit: u64_of(limit) });
        }
    }
    let (now, before) =
        (changed.guest_bytes(owner), before.map_or(0, |before| before.guest_bytes(owner)));
    let whole = (state.annotations.guest_bytes(owner) + now).saturating_sub(before);
    let bounds = [(now, MAILBOX_ANNOTATION_BYTES_MAX), (whole, ACCOUNT_ANNOTATION_BYTES_MAX)];
    for (bytes, limit) in bounds.map(|(bytes, limit)| (bytes, limit / METADATA_GUEST_PART)) {
        if bytes > limit && now > before {
            let what = "what others keep beside the mailbox, in bytes,";
            return Err(CommitError::TooLarge { what, limit: u64_of(limit) });
        }
    }
    Ok(())
}

/// What lies above a bound may still become less.
fn check_bounds(
    state: &AccountState,
    mailbox: MailboxId,
    changed: &Annotations,
) -> Result<(), CommitError> {
    let before = state.annotations.of(mailbox);
    let own = |all: &Annotations| all.entries.len() - all.guest_entries(state.number).count();
    let counts = [
        (own(changed), before.map_or(0, own), METADATA_ENTRIES_MAX),
        (changed.rights.len(), before.map_or(0, |own| own.rights.len()), ACL_ENTRIES_MAX),
    ];
    for (now, before, limit) in counts {
        if now > limit && now > before {
            return Err(CommitError::TooManyEntries { limit: u64_of(limit) });
        }
    }
    let (now, before) = (changed.bytes(), before.map_or(0, Annotations::bytes));
    let whole = (state.annotations.bytes() + now).saturating_sub(before);
    let bounds = [(now, MAILBOX_ANNOTATION_BYTES_MAX), (whole, ACCOUNT_ANNOTATION_BYTES_MAX)];
    for (bytes, limit) in bounds {
        if bytes > limit && now > before {
            let what = "what stands beside the mailbox, in bytes,";
            return Err(CommitError::TooLarge { what, limit: u64_of(limit) });
        }
    }
    Ok(())
}

/// Why a volume of an older level takes none of it.
const BELOW_LEVEL: &str = "the store is at a format level that has neither metadata nor rights; \
    raise it with 'pillarbox upgrade finish'";
