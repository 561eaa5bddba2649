//! What a group changes: records applied to working copies that nobody else sees.
//!
//! The committer applies a record here as soon as it is assigned, so that the next one is judged
//! against it (the *assigned head*); [`Committed::publish`] makes the whole visible at once when
//! the group is durable. Replay does the same with what it reads. Nothing here does I/O except to
//! load a page that is cold.
//!
//! # Invariants
//! 1. Applying is a pure function of record and state, and applying a record twice gives the same
//!    state.
//! 2. Nothing is shared with readers before `publish`; a group that fails is dropped with this
//!    value.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::account::AccountState;
use super::annotations::ACCOUNT_ITSELF;
use super::answered::AnsweredRow;
use super::base::BaseImage;
use super::blob::{BlobRow, Places};
use super::committed::Committed;
use super::key_use::Named;
use super::part::{BlobRole, PartUse};
use super::policy::Policy;
use super::retain::References;
use super::retained::{RetainedChanges, VolumeRetention};
use crate::error::ReadError;
use crate::flags::Keyword;
use crate::ids::{
    AccountNumber, BlobId, EpochId, Lsn, MailboxId, NodeId, PartHash, RequestId, Stamp, Uid,
    UidValidity, UnixSeconds,
};
use crate::mailbox::{DirtyPages, FlagDelta, KeywordSet, MailboxState, Row, RowIds};
use crate::record::{
    Arrival, ArrivalBlob, BlobShape, Body, EpochBegin, FlagsChanged, NewRow, Record, SharingBody,
    Transfer,
};
use crate::uid_set::UidSet;

/// A mailbox across accounts.
pub(crate) type MailboxKey = (AccountNumber, MailboxId);

/// A reference to a blob: who names it.
pub(crate) type ReferenceKey = (BlobId, AccountNumber, MailboxId, Uid);

/// What the volume is: format level and history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct VolumeState {
    pub(crate) format_level: u32,
    pub(crate) members: Vec<(NodeId, u8)>,
    /// Each epoch, oldest first: number, id, parent with fork, node.
    pub(crate) history: Vec<EpochLink>,
}

/// One epoch of the history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EpochLink {
    pub(crate) number: u16,
    pub(crate) id: EpochId,
    pub(crate) parent: Option<(EpochId, Lsn)>,
    pub(crate) node: NodeId,
    /// Position of its first record.
    pub(crate) first: Lsn,
}

/// UIDs that went, with when.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    pub(crate) mailbox: MailboxKey,
    pub(crate) modseq: Lsn,
    pub(crate) uids: UidSet,
    pub(crate) at: UnixSeconds,
}

/// Everything that one group, or a run of groups in replay, changes.
#[derive(Default)]
pub(crate) struct Changes {
    /// `None`: deleted.
    pub(crate) accounts: HashMap<AccountNumber, Option<AccountState>>,
    /// `None`: deleted.
    pub(crate) mailboxes: HashMap<MailboxKey, Option<MailboxState>>,
    /// What a checkpoint has to write of mailboxes.
    pub(crate) pages: DirtyPages,
    /// The last content of mailboxes that were deleted: what is to be removed from the tables.
    pub(crate) dropped: Vec<(MailboxKey, MailboxState, References)>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) volume: Option<VolumeState>,
    pub(crate) blobs: HashMap<BlobId, BlobRow>,
    /// Of messages that arrived, as their blobs hold them.
    pub(crate) summaries: Vec<(BlobId, Arc<[u8]>)>,
    pub(crate) places: HashMap<Lsn, Places>,
    /// Parts that messages brought or named.
    pub(crate) parts: HashMap<(AccountNumber, PartHash), PartUse>,
    /// `true`: made, `false`: removed.
    pub(crate) references: BTreeMap<ReferenceKey, bool>,
    pub(crate) gone: Vec<Gone>,
    /// `None`: removed with its account.
    pub(crate) bases: HashMap<AccountNumber, Option<Arc<BaseImage>>>,
    /// Whose annotations changed; see [`super::ACCOUNT_ITSELF`].
    pub(crate) annotated: BTreeSet<MailboxKey>,
    pub(crate) retained: RetainedChanges,
    pub(crate) retention: Option<VolumeRetention>,
    /// Chunks that entered ahead of a record which never comes.
    pub(crate) dead_chunks: Vec<Lsn>,
    /// Accounts whose rows nobody can read any more; all that the tables have of them goes.
    pub(crate) destroyed: BTreeSet<AccountNumber>,
    /// Keys that the groups name.
    pub(crate) named: Vec<Named>,
    /// Requests of other nodes, and what they were answered.
    pub(crate) answered: HashMap<RequestId, AnsweredRow>,
    /// The highest stamp of any record applied.
    pub(crate) stamp: Stamp,
}

impl Changes {
    /// The account as these changes leave it.
    pub(crate) fn account(
        &self,
        committed: &Committed,
        number: AccountNumber,
    ) -> Option<AccountState> {
        match self.accounts.get(&number) {
            Some(changed) => changed.clone(),
            None => committed.account(number),
        }
    }

    /// The account to change.
    pub(crate) fn account_mut(
        &mut self,
        committed: &Committed,
        number: AccountNumber,
    ) -> Option<&mut AccountState> {
        self.accounts.entry(number).or_insert_with(|| committed.account(number)).as_mut()
    }

    /// The mailbox to read or change; `None` if it does not exist.
    pub(crate) fn mailbox_mut(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
    ) -> Result<Option<(&mut MailboxState, &mut DirtyPages)>, ReadError> {
        let state = match self.mailboxes.entry(key) {
            Entry::Occupied(changed) => changed.into_mut(),
            Entry::Vacant(unchanged) => unchanged.insert(committed.mailbox_state(key)?),
        };
        Ok(state.as_mut().map(|state| (state, &mut self.pages)))
    }

    /// Policy as these changes leave it.
    pub(crate) fn policy(&self, committed: &Committed) -> Arc<Policy> {
        self.policy.clone().unwrap_or_else(|| committed.policy())
    }

    /// Applies a record whose first position is `lsn`.
    pub(crate) fn apply(
        &mut self,
        committed: &Committed,
        account: AccountNumber,
        lsn: Lsn,
        record: &Record,
    ) -> Result<(), ReadError> {
        self.stamp = self.stamp.max(record.stamp);
        match &record.body {
            Body::AccountUpdate(update) => {
                if let Some(state) = self.account_mut(committed, account) {
                    state.profile = Arc::new(update.clone());
                }
            }
            Body::Append { mailbox, messages } => {
                self.append(committed, (account, *mailbox), lsn, messages)?;
            }
            Body::Copy { mailbox, messages } => {
                self.arrive(committed, (account, *mailbox), lsn, messages)?;
            }
            Body::Move { source, mailbox, messages } => {
                self.arrive(committed, (account, *mailbox), lsn, messages)?;
                let uids = messages.iter().map(|transfer| transfer.source_uid).collect();
                self.expunge(committed, (account, *source), lsn, (&uids, record))?;
            }
            Body::Flags { mailbox, changes } => {
                self.set_flags(committed, (account, *mailbox), lsn, changes)?;
            }
            Body::Expunge { mailbox, uids } => {
                self.expunge(committed, (account, *mailbox), lsn, (uids, record))?;
            }
            Body::UidNext { mailbox, next } => {
                if let Some((state, dirty)) = self.mailbox_mut(committed, (account, *mailbox))? {
                    state.leave_out(*next, lsn, dirty);
                }
            }
            Body::MailboxCreate { mailbox, uid_validity, .. } => {
                let key = (account, *mailbox);
                if self.mailbox_mut(committed, key)?.is_none() {
                    self.create_mailbox(committed, key, lsn, *uid_validity);
                    self.name_mailbox(committed, account, &record.body);
                }
            }
            Body::MailboxRename(_) | Body::Subscribe { .. } => {
                self.name_mailbox(committed, account, &record.body);
            }
            Body::MailboxDelete { mailbox } => {
                self.delete_mailbox(committed, (account, *mailbox), References::Go)?;
            }
            Body::Sharing(body) => self.annotate(committed, account, body),
            Body::Retention(body) => {
                self.apply_retention(committed, account, lsn, (record, body))?;
            }
            body => self.apply_to_volume(committed, (account, lsn), body)?,
        }
        Ok(())
    }

    /// Applies a record that is of no mailbox.
    fn apply_to_volume(
        &mut self,
        committed: &Committed,
        (account, lsn): (AccountNumber, Lsn),
        body: &Body,
    ) -> Result<(), ReadError> {
        match body {
            Body::Epoch(epoch) => self.begin_epoch(committed, lsn, epoch),
            Body::Members(members) => self.volume_mut(committed).members.clone_from(members),
            Body::FormatLevel(level) => self.volume_mut(committed).format_level = *level,
            Body::AccountCreate { account, .. } if self.account(committed, *account).is_none() => {
                self.accounts.insert(*account, Some(AccountState::new(*account)));
            }
            Body::AccountDelete { account } => self.delete_account(committed, *account)?,
            Body::AccountDestroyed { account } => self.forget_unreadable(committed, *account),
            // Keys are not state: their table tells of them.
            Body::KeysBegun(_) | Body::KeyDestroyed { .. } => {}
            Body::Policy(changes) => {
                let mut policy = self.policy(committed);
                let changed = Arc::make_mut(&mut policy);
                changes.iter().for_each(|change| changed.apply(change));
                self.policy = Some(policy);
            }
            Body::Answered { request, outcome } => {
                let row = AnsweredRow { account, lsn, outcome: outcome.as_slice().into() };
                self.answered.insert(*request, row);
            }
            // They say nothing new; a node that follows notes what it has then.
            Body::BaseBegin { .. } | Body::BaseDump { .. } => {}
            Body::BaseImage(part) => {
                let before = match self.bases.get(&account) {
                    Some(changed) => changed.clone(),
                    None => committed.base(account),
                };
                let image = BaseImage::with_part(before.as_deref(), part, lsn);
                self.bases.insert(account, Some(Arc::new(image)));
            }
            _ => {}
        }
        Ok(())
    }

    /// What a record changes in the account's tree of names.
    fn name_mailbox(&mut self, committed: &Committed, account: AccountNumber, body: &Body) {
        let Some(state) = self.account_mut(committed, account) else { return };
        let names = Arc::make_mut(&mut state.names);
        match body {
            Body::MailboxCreate { mailbox, name, uid_validity, special_use } => {
                names.insert(*mailbox, name.clone(), *special_use);
                state.last_uid_validity = state.last_uid_validity.max(*uid_validity);
            }
            Body::MailboxRename(renames) => names.rename(renames),
            Body::Subscribe { name, subscribed } => names.subscribe(name, *subscribed),
            _ => {}
        }
    }

    /// Format level and history as these changes leave them.
    pub(crate) fn volume_of(&self, committed: &Committed) -> VolumeState {
        self.volume.clone().unwrap_or_else(|| committed.volume())
    }

    fn volume_mut(&mut self, committed: &Committed) -> &mut VolumeState {
        self.volume.get_or_insert_with(|| committed.volume())
    }

    fn begin_epoch(&mut self, committed: &Committed, lsn: Lsn, epoch: &EpochBegin) {
        let history = &mut self.volume_mut(committed).history;
        if history.iter().all(|link| link.id != epoch.id) {
            history.push(EpochLink {
                number: epoch.number,
                id: epoch.id,
                parent: epoch.parent,
                node: epoch.node,
                first: lsn,
            });
        }
    }

    fn annotate(&mut self, committed: &Committed, account: AccountNumber, body: &SharingBody) {
        let Some(state) = self.account_mut(committed, account) else { return };
        // A mailbox that was deleted since (replay) has nothing beside it.
        let is_there = match body {
            SharingBody::Metadata { mailbox, .. } | SharingBody::Rights { mailbox, .. } => {
                *mailbox == ACCOUNT_ITSELF || state.names.name_of(*mailbox).is_some()
            }
            SharingBody::Limits { .. } => true,
        };
        if is_there {
            let mailbox = Arc::make_mut(&mut state.annotations).apply(body);
            self.annotated.insert((account, mailbox));
        }
    }

    fn create_mailbox(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        lsn: Lsn,
        uid_validity: UidValidity,
    ) {
        let state = MailboxState::new(key, uid_validity, lsn, committed.pages());
        self.pages.mailboxes.insert(key);
        self.mailboxes.insert(key, Some(state));
    }

    fn append(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        first: Lsn,
        messages: &[Arrival],
    ) -> Result<(), ReadError> {
        let mut arriving = Vec::with_capacity(messages.len());
        let mut parts = positions(first).skip(messages.len());
        let whole = |shape: &BlobShape, ahead: Option<&Vec<Lsn>>| BlobRow {
            shape: *shape,
            ahead: ahead.cloned(),
            role: BlobRole::Whole,
        };
        for (lsn, arrival) in positions(first).zip(messages) {
            let blob = match &arrival.blob {
                ArrivalBlob::Inline(shape) => {
                    self.blobs.insert(BlobId(lsn), whole(shape, None));
                    lsn
                }
                ArrivalBlob::Ahead(shape, chunks) => {
                    let id = chunks.first().copied().unwrap_or(lsn);
                    self.blobs.insert(BlobId(id), whole(shape, Some(chunks)));
                    id
                }
                ArrivalBlob::Shared { blob, shape, ahead } => {
                    self.blobs.insert(BlobId(*blob), whole(shape, ahead.as_ref()));
                    *blob
                }
                ArrivalBlob::SharedBare(blob) => *blob,
                ArrivalBlob::WithParts(blob, brought) => {
                    let mailbox = self.mailbox_mut(committed, key)?;
                    let is_new = mailbox.is_some_and(|(state, _)| !state.is_given(arrival.row.uid));
                    let message = (lsn, &arrival.row, is_new);
                    self.arrive_with_parts(key, message, (blob, brought), &mut parts)
                }
            };
            arriving.push((lsn, BlobId(blob), &arrival.row));
        }
        self.add_rows(committed, key, &arriving)
    }

    pub(super) fn arrive(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        first: Lsn,
        messages: &[Transfer],
    ) -> Result<(), ReadError> {
        let arriving: Vec<_> = positions(first)
            .zip(messages)
            .map(|(lsn, transfer)| (lsn, BlobId(transfer.blob), &transfer.row))
            .collect();
        self.add_rows(committed, key, &arriving)
    }

    /// Adds the rows that are not there yet; a UID below UIDNEXT was added before (replay) or
    /// expunged since.
    fn add_rows(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        arriving: &[(Lsn, BlobId, &NewRow)],
    ) -> Result<(), ReadError> {
        let level = self.volume.as_ref().map(|volume| volume.format_level);
        let level = level.unwrap_or_else(|| committed.format_level());
        let Some((state, pages)) = self.mailbox_mut(committed, key)? else { return Ok(()) };
        let mut rows = Vec::with_capacity(arriving.len());
        for (lsn, blob, new) in arriving {
            if state.is_given(new.uid) {
                continue;
            }
            rows.push(row_of(state, pages, *lsn, *blob, new));
        }
        let added: Vec<_> = rows.iter().map(|(row, _)| (row.uid, row.blob, row.size)).collect();
        if !added.is_empty() {
            state.begin_digest(level);
        }
        state.append(rows, pages)?;
        let bytes = added.iter().map(|(_, _, size)| u64::from(*size)).sum();
        for (uid, blob, _) in &added {
            self.references.insert((*blob, key.0, key.1, *uid), true);
        }
        if let Some(account) = self.account_mut(committed, key.0) {
            account.usage = account.usage.plus(crate::width::u64_of(added.len()), bytes);
        }
        Ok(())
    }

    fn set_flags(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        lsn: Lsn,
        changes: &[FlagsChanged],
    ) -> Result<(), ReadError> {
        let Some((state, pages)) = self.mailbox_mut(committed, key)? else { return Ok(()) };
        let mut deltas = Vec::with_capacity(changes.len());
        for change in changes {
            let delta = FlagDelta {
                add: change.add,
                remove: change.remove,
                add_keywords: intern(state, pages, &change.add_keywords),
                remove_keywords: intern(state, pages, &change.remove_keywords),
            };
            deltas.push((change.uids.clone(), delta));
        }
        state.set_flags(&deltas, lsn, pages)?;
        Ok(())
    }

    fn expunge(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        lsn: Lsn,
        what: (&UidSet, &Record),
    ) -> Result<(), ReadError> {
        for (row, _) in self.take_rows(committed, key, lsn, what)? {
            self.references.insert((row.blob, key.0, key.1, row.uid), false);
        }
        Ok(())
    }

    /// Takes rows out of a mailbox, and leaves their references to the caller.
    pub(super) fn take_rows(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        lsn: Lsn,
        (uids, record): (&UidSet, &Record),
    ) -> Result<Vec<(Row, RowIds)>, ReadError> {
        let Some((state, pages)) = self.mailbox_mut(committed, key)? else { return Ok(Vec::new()) };
        let removed = state.expunge(uids, lsn, pages)?;
        if removed.is_empty() {
            return Ok(removed);
        }
        let mut bytes = 0;
        let mut gone = UidSet::new();
        for (row, _) in &removed {
            bytes += u64::from(row.size);
            gone.push(row.uid);
        }
        let at = record.time();
        self.gone.push(Gone { mailbox: key, modseq: lsn, uids: gone, at });
        if let Some(account) = self.account_mut(committed, key.0) {
            account.usage = account.usage.minus(crate::width::u64_of(removed.len()), bytes);
        }
        Ok(removed)
    }

    pub(super) fn delete_mailbox(
        &mut self,
        committed: &Committed,
        key: MailboxKey,
        references: References,
    ) -> Result<(), ReadError> {
        let Some((state, _)) = self.mailbox_mut(committed, key)? else { return Ok(()) };
        let (count, bytes) = (u64::from(state.counts().messages), state.counts().bytes);
        let last = state.clone();
        self.mailboxes.insert(key, None);
        self.dropped.push((key, last, references));
        if let Some(account) = self.account_mut(committed, key.0) {
            Arc::make_mut(&mut account.names).remove(key.1);
            account.usage = account.usage.minus(count, bytes);
            if Arc::make_mut(&mut account.annotations).remove(key.1) {
                self.annotated.insert(key);
            }
        }
        Ok(())
    }

    /// What the tables have of a deleted account whose key was gone before they were opened: which
    /// blobs its rows name, only the references tell.
    fn forget_unreadable(&mut self, committed: &Committed, account: AccountNumber) {
        if committed.is_unreadable(account) {
            self.destroyed.insert(account);
        }
    }

    fn delete_account(
        &mut self,
        committed: &Committed,
        account: AccountNumber,
    ) -> Result<(), ReadError> {
        let Some(state) = self.account(committed, account) else {
            self.forget_unreadable(committed, account);
            return Ok(());
        };
        for mailbox in state.names.ids() {
            self.delete_mailbox(committed, (account, mailbox), References::Go)?;
        }
        if state.retention.message_count > 0 {
            self.destroyed.insert(account);
        }
        self.accounts.insert(account, None);
        self.bases.insert(account, None);
        Ok(())
    }
}

/// A record's positions: one a message.
pub(crate) fn positions(first: Lsn) -> impl Iterator<Item = Lsn> {
    (0..).map_while(move |count| first.advance(count))
}

fn row_of(
    state: &mut MailboxState,
    pages: &mut DirtyPages,
    lsn: Lsn,
    blob: BlobId,
    new: &NewRow,
) -> (Row, RowIds) {
    let row = Row {
        uid: new.uid,
        flags: new.flags,
        keywords: KeywordSet::from_vec(intern(state, pages, &new.keywords)),
        modseq: lsn,
        received: new.received,
        saved: new.saved,
        size: new.size,
        thread: new.thread,
        blob,
    };
    let ids = RowIds { instance: new.instance, email: new.email, content_hash: new.content_hash };
    (row, ids)
}

/// Indexes of keywords, ascending. The committer refused what exceeds the mailbox's bound, so none
/// is lost here.
fn intern(state: &mut MailboxState, pages: &mut DirtyPages, keywords: &[Keyword]) -> Vec<u16> {
    let mut indexes: Vec<u16> =
        keywords.iter().filter_map(|keyword| state.intern_keyword(keyword, pages)).collect();
    indexes.sort_unstable();
    indexes.dedup();
    indexes
}
