//! STORE and EXPUNGE: conditions are judged against the assigned head, message by message.

use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use crate::ids::{AccountNumber, Lsn, MailboxId};
use crate::limits::{MAILBOX_KEYWORD_BYTES_MAX, MAILBOX_KEYWORDS_MAX, MESSAGE_KEYWORDS_MAX};
use crate::mailbox::{Condition, KeywordTable, RowRef};
use crate::record::{Body, FlagsChanged, RetentionBody};
use crate::store::FlagsStored;
use crate::uid_set::UidSet;

use super::Assigner;

/// A change of flags with its keywords split: indexes where the mailbox knows them, ascending, and
/// whether it knows all.
struct Wanted<'a> {
    change: FlagChange,
    flags: &'a FlagList,
    known: Vec<u16>,
    all_known: bool,
}

impl Assigner<'_> {
    pub(super) fn store_flags(
        &mut self,
        key: (AccountNumber, MailboxId),
        uids: &UidSet,
        change: FlagChange,
        flags: &FlagList,
        unchanged_since: Option<Lsn>,
    ) -> Result<FlagsStored, CommitError> {
        let committed = self.context.committed;
        if change != FlagChange::Remove {
            self.check_keywords(key, &flags.keywords)?;
            if flags.keywords.len() > MESSAGE_KEYWORDS_MAX {
                return Err(too_many_keywords());
            }
        }
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let known = state.keyword_table();
        let history = unchanged_since.map(|_| committed.volume());
        let is_modified = |modseq: Lsn| match (&history, unchanged_since) {
            (Some(history), Some(since)) => history.is_modified(modseq, since),
            _ => false,
        };
        let wanted = Wanted::new(change, flags, &known);
        let mut stored = FlagsStored {
            changed: UidSet::new(),
            modified: UidSet::new(),
            gone: UidSet::new(),
            modseq: None,
        };
        let mut existing = UidSet::new();
        let mut removed: Vec<u16> = Vec::new();
        state.look_at(uids, |row| {
            existing.push(row.uid());
            if is_modified(row.modseq()) {
                stored.modified.push(row.uid());
            } else if wanted.changes(row) {
                if change == FlagChange::Add
                    && row.keywords().len() + flags.keywords.len() > MESSAGE_KEYWORDS_MAX
                {
                    return Err(too_many_keywords());
                }
                stored.changed.push(row.uid());
                removed.extend(row.keywords().iter().filter(|index| wanted.removes(**index)));
            }
            Ok(())
        })?;
        stored.gone = uids_without(uids, &existing);
        if stored.changed.is_empty() {
            return Ok(stored);
        }
        removed.sort_unstable();
        removed.dedup();
        let names = known.names();
        let named = removed.iter().filter_map(|&index| names.get(usize::from(index)).cloned());
        let body = Body::Flags {
            mailbox: key.1,
            changes: vec![wanted.record(stored.changed.clone(), named.collect())],
        };
        stored.modseq = Some(self.emit(key.0, body)?);
        Ok(stored)
    }

    pub(super) fn expunge(
        &mut self,
        key: (AccountNumber, MailboxId),
        uids: &UidSet,
    ) -> Result<UidSet, CommitError> {
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let mut going = UidSet::new();
        let deleted = Condition::Flags(SystemFlags::DELETED);
        state.look_at_passing(uids, &deleted, |row| going.push(row.uid()))?;
        if !going.is_empty() {
            self.remove(key, going.clone())?;
        }
        Ok(going)
    }

    /// Takes messages that exist out of a mailbox; they are kept where the account has retention.
    pub(super) fn remove(
        &mut self,
        (account, mailbox): (AccountNumber, MailboxId),
        uids: UidSet,
    ) -> Result<(), CommitError> {
        let body = match self.kept_until(account)? {
            None => Body::Expunge { mailbox, uids },
            Some(until) => {
                let uids = Some(uids);
                Body::Retention(RetentionBody::Retain { mailbox, until, uids })
            }
        };
        self.emit(account, body)?;
        Ok(())
    }

    /// Refuses what would exceed the mailbox's number of keywords.
    pub(super) fn check_keywords(
        &mut self,
        key: (AccountNumber, MailboxId),
        keywords: &[Keyword],
    ) -> Result<(), CommitError> {
        if keywords.is_empty() {
            return Ok(());
        }
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let table = state.keyword_table();
        let new = keywords.iter().filter(|keyword| table.index_of(keyword).is_none());
        let (new_count, new_bytes) =
            new.fold((0, 0), |(count, bytes), keyword| (count + 1, bytes + keyword.as_str().len()));
        if new_count == 0 {
            return Ok(());
        }
        let too_large =
            |what, limit| Err(CommitError::TooLarge { what, limit: crate::width::u64_of(limit) });
        if table.names().len() + new_count > MAILBOX_KEYWORDS_MAX {
            return too_large("the number of the mailbox's keywords", MAILBOX_KEYWORDS_MAX);
        }
        if table.name_bytes() + new_bytes > MAILBOX_KEYWORD_BYTES_MAX {
            return too_large("the length of the mailbox's keywords", MAILBOX_KEYWORD_BYTES_MAX);
        }
        Ok(())
    }
}

impl<'a> Wanted<'a> {
    fn new(change: FlagChange, flags: &'a FlagList, known: &KeywordTable) -> Wanted<'a> {
        let indexes = flags.keywords.iter().filter_map(|keyword| known.index_of(keyword));
        let mut indexes: Vec<u16> = indexes.collect();
        let all_known = indexes.len() == flags.keywords.len();
        indexes.sort_unstable();
        indexes.dedup();
        Wanted { change, flags, known: indexes, all_known }
    }

    /// Whether it makes a difference to that message.
    fn changes(&self, row: RowRef<'_>) -> bool {
        let (flags, keywords) = (row.flags(), row.keywords());
        let has = |index: &u16| keywords.binary_search(index).is_ok();
        match self.change {
            FlagChange::Add => {
                !flags.contains(self.flags.system) || !self.all_known || !self.known.iter().all(has)
            }
            FlagChange::Remove => {
                flags.without(self.flags.system) != flags || self.known.iter().any(has)
            }
            FlagChange::Replace => {
                flags != self.flags.system
                    || !self.all_known
                    || !self.known.iter().all(has)
                    || keywords.len() != self.known.len()
            }
        }
    }

    /// Whether it takes that keyword from a message that has it.
    fn removes(&self, index: u16) -> bool {
        match self.change {
            FlagChange::Add => false,
            FlagChange::Remove => self.known.binary_search(&index).is_ok(),
            FlagChange::Replace => self.known.binary_search(&index).is_err(),
        }
    }

    fn record(&self, uids: UidSet, remove_keywords: Vec<Keyword>) -> FlagsChanged {
        const ALL: SystemFlags = SystemFlags(0x1f);
        let none = SystemFlags::default();
        let (add, remove) = match self.change {
            FlagChange::Add => (self.flags.system, none),
            FlagChange::Remove => (none, self.flags.system),
            FlagChange::Replace => (self.flags.system, ALL.without(self.flags.system)),
        };
        let add_keywords = match self.change {
            FlagChange::Remove => Vec::new(),
            FlagChange::Add | FlagChange::Replace => self.flags.keywords.clone(),
        };
        FlagsChanged { uids, add, remove, add_keywords, remove_keywords }
    }
}

pub(super) fn too_many_keywords() -> CommitError {
    CommitError::TooLarge {
        what: "the number of a message's keywords",
        limit: crate::width::u64_of(MESSAGE_KEYWORDS_MAX),
    }
}

/// `all` without `some`; ranges of `all` that reach far beyond what exists are cut at its end.
fn uids_without(all: &UidSet, some: &UidSet) -> UidSet {
    let end = some.last().map_or(0, |uid| uid.0);
    let is_near = |&(first, last): &(u32, u32)| last - first <= 65_536 || last <= end;
    UidSet::from_ranges(all.ranges().iter().copied().filter(is_near)).without(some)
}
