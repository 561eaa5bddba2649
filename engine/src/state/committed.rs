//! What readers see: accounts, mailboxes, policy and blobs as of the last committed group.
//!
//! Everything here is replaced, never changed: a reader takes an immutable part and keeps it for as
//! long as it likes. Mailboxes are opened when first asked for; accounts and policy are all in
//! memory.
//!
//! ```text
//!  publish(changes) ──► accounts, mailboxes, policy, blobs  (readers see it, watchers are called)
//!                  └──► unsaved                             (what the next checkpoint writes)
//!  freeze() ──► the unsaved part, with the states that go with it ──► checkpoint ──► saved()
//! ```
//!
//! # Invariants
//! 1. Only committed groups are published, in order.
//! 2. A mailbox that has unsaved changes stays in memory; so what is read from the tables is never
//!    stale.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::account::AccountState;
use super::annotations::SharingIndex;
use super::answered::{Answered, AnsweredRow, UnsavedAnswers};
use super::base::BaseImage;
use super::blob::{BlobRow, Places, blob_of_reference, mailbox_of_reference};
use super::changes::{Changes, MailboxKey, ReferenceKey, VolumeState};
use super::history::History;
use super::index_feed::IndexFeed;
use super::key_use::{KeyUse, KeyUses, Named, Reseal};
use super::part::PartUse;
use super::policy::Policy;
use super::retain::References;
use super::retained::{
    RetainedChanges, RetainedKey, RetainedMaps, RetainedMessage, RetainedVisitor, VolumeRetention,
};
use super::saved::Saved;
use super::summaries::{MadePages, SummaryPages};
use super::table::Table;
use super::vanished::{self, GoneMap, RecentlyGone};
use super::watchers::AccountWatchers;
use crate::error::ReadError;
use crate::format_level;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, PartHash, RequestId, Stamp, Uid};
use crate::log::KeyNames;
use crate::mailbox::{DirtyPages, MailboxState, PageReader, View};
use crate::rights::Grantee;
use crate::uid_set::UidSet;

/// A callback of someone who watches a mailbox.
pub(crate) type Watcher = Arc<dyn Fn() + Send + Sync>;

/// One mailbox in memory.
pub(crate) struct MailboxCell {
    /// `None` once deleted.
    current: Mutex<Option<Current>>,
    watchers: Mutex<Vec<(u64, Watcher)>>,
}

struct Current {
    state: MailboxState,
    view: Arc<View>,
}

/// What the next checkpoint has to write.
#[derive(Default)]
pub(crate) struct Unsaved {
    pub(crate) accounts: HashMap<AccountNumber, Option<AccountState>>,
    pub(crate) mailboxes: HashMap<MailboxKey, MailboxState>,
    pub(crate) pages: DirtyPages,
    pub(crate) dropped: Vec<(MailboxKey, MailboxState, References)>,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) volume: Option<VolumeState>,
    pub(crate) blobs: Arc<HashMap<BlobId, BlobRow>>,
    pub(crate) places: Arc<HashMap<Lsn, Places>>,
    pub(crate) parts: Arc<HashMap<(AccountNumber, PartHash), PartUse>>,
    pub(crate) references: BTreeMap<ReferenceKey, bool>,
    pub(crate) gone: Arc<GoneMap>,
    /// Whose annotations changed.
    pub(crate) annotated: BTreeSet<MailboxKey>,
    pub(crate) retained: Arc<RetainedChanges>,
    pub(crate) retention: Option<VolumeRetention>,
    pub(crate) switched: BTreeSet<u64>,
    pub(crate) bases: HashMap<AccountNumber, Option<Arc<BaseImage>>>,
    /// Chunks whose places go.
    pub(crate) dead_chunks: Vec<Lsn>,
    /// Accounts of which everything goes, whatever can be read of them.
    pub(crate) destroyed: BTreeSet<AccountNumber>,
    /// Keys that segments name; `None`: the segment goes.
    pub(crate) key_uses: BTreeMap<u64, Option<KeyUse>>,
    /// Whose values are to be sealed anew.
    pub(crate) reseal: Arc<Reseal>,
    /// Pages of summaries that were made since.
    pub(crate) summary_pages: MadePages,
    pub(crate) summary_run_uids: u32,
    pub(crate) answered: UnsavedAnswers,
}

#[derive(Default)]
struct BlobMaps {
    blobs: HashMap<BlobId, BlobRow>,
    places: HashMap<Lsn, Places>,
    parts: HashMap<(AccountNumber, PartHash), PartUse>,
    /// Being written by a checkpoint, and still to be found here until it has flushed.
    frozen_blobs: Arc<HashMap<BlobId, BlobRow>>,
    frozen_places: Arc<HashMap<Lsn, Places>>,
    frozen_parts: Arc<HashMap<(AccountNumber, PartHash), PartUse>>,
}

/// The committed state of a volume.
pub(crate) struct Committed {
    saved: Arc<Saved>,
    pages: PageReader,
    accounts: RwLock<HashMap<AccountNumber, AccountState>>,
    names: RwLock<HashMap<String, AccountNumber>>,
    /// Who gives something to whom.
    sharing: RwLock<SharingIndex>,
    policy: RwLock<Arc<Policy>>,
    volume: RwLock<VolumeState>,
    mailboxes: RwLock<HashMap<MailboxKey, Arc<MailboxCell>>>,
    blobs: RwLock<BlobMaps>,
    retained: RetainedMaps,
    gone: RecentlyGone,
    retention: RwLock<VolumeRetention>,
    unsaved: Mutex<Unsaved>,
    /// Segments that were rewritten and whose older generation may still be there.
    switched: Mutex<BTreeSet<u64>>,
    bases: RwLock<HashMap<AccountNumber, Arc<BaseImage>>>,
    /// Accounts that the tables know and the key table does not.
    unreadable: HashSet<AccountNumber>,
    /// Keys that segments name.
    pub(crate) key_uses: KeyUses,
    /// Whose values are to be sealed anew.
    pub(crate) reseal: Arc<Reseal>,
    /// Which runs want a page of summaries.
    pub(crate) summary_pages: SummaryPages,
    /// What the full-text index hears.
    pub(crate) index_feed: IndexFeed,
    /// What requests of other nodes were answered.
    answered: Answered,
    next_watcher: AtomicU64,
    pub(super) account_watchers: AccountWatchers,
    stamp: AtomicU64,
}

impl Committed {
    /// As the tables have it.
    pub(crate) fn load(saved: Arc<Saved>, pages: PageReader) -> Result<Committed, ReadError> {
        // First of all, because rows of a newer volume may be anything.
        let volume = saved.volume()?;
        let accounts = saved.accounts()?;
        let names =
            accounts.iter().map(|(number, state)| (state.profile.name.clone(), *number)).collect();
        let sharing = index_of(&accounts);
        Ok(Committed {
            policy: RwLock::new(Arc::new(saved.policy()?)),
            volume: RwLock::new(volume),
            accounts: RwLock::new(accounts),
            names: RwLock::new(names),
            sharing: RwLock::new(sharing),
            mailboxes: RwLock::default(),
            blobs: RwLock::default(),
            retained: RetainedMaps::default(),
            gone: RecentlyGone::default(),
            retention: RwLock::new(saved.volume_retention()?),
            unsaved: Mutex::default(),
            switched: Mutex::default(),
            bases: RwLock::new(saved.bases()?),
            unreadable: saved.unreadable_accounts()?,
            key_uses: KeyUses::default(),
            reseal: Arc::default(),
            summary_pages: SummaryPages::default(),
            index_feed: IndexFeed::default(),
            answered: Answered::of(saved.answered()?),
            next_watcher: AtomicU64::new(1),
            account_watchers: AccountWatchers::default(),
            stamp: AtomicU64::new(saved.stamp()?.map_or(0, |stamp| stamp.stamp.0)),
            saved,
            pages,
        })
    }

    /// With other runs of summary pages.
    pub(crate) fn with_summary_pages(self, summary_pages: SummaryPages) -> Committed {
        Committed { summary_pages, ..self }
    }

    /// With other bounds of the full-text index.
    pub(crate) fn with_index_feed(self, index_feed: IndexFeed) -> Committed {
        Committed { index_feed, ..self }
    }

    /// Takes over what the tables have, into which base images were written: nothing was published
    /// before.
    pub(crate) fn reload(&self) -> Result<(), ReadError> {
        let accounts = self.saved.accounts()?;
        let names = accounts.iter();
        let names = names.map(|(number, state)| (state.profile.name.clone(), *number)).collect();
        *self.volume.write() = self.saved.volume()?;
        *self.policy.write() = Arc::new(self.saved.policy()?);
        *self.retention.write() = self.saved.volume_retention()?;
        self.answered.reload(self.saved.answered()?);
        *self.sharing.write() = index_of(&accounts);
        *self.accounts.write() = accounts;
        *self.names.write() = names;
        Ok(())
    }

    /// The account's newest base image.
    pub(crate) fn base(&self, account: AccountNumber) -> Option<Arc<BaseImage>> {
        self.bases.read().get(&account).cloned()
    }

    /// The newest base image of every account.
    pub(crate) fn bases(&self) -> HashMap<AccountNumber, Arc<BaseImage>> {
        self.bases.read().clone()
    }

    /// Forgets where chunks below `open_lsn` lie that no blob names: the log still has them, and
    /// nothing else.
    /// For a state that was made from the log alone, before anything new is taken. Answers those
    /// that a checkpoint on the way has written.
    pub(crate) fn forget_unnamed_places(&self, open_lsn: Lsn) -> Result<Vec<Lsn>, ReadError> {
        let mut named: HashSet<Lsn> = HashSet::new();
        self.saved.scan_blobs(&mut |id, row| named.extend(row.positions(id)))?;
        let mut maps = self.blobs.write();
        named.extend(maps.blobs.iter().flat_map(|(id, row)| row.positions(*id)));
        maps.places.retain(|lsn, _| *lsn >= open_lsn || named.contains(lsn));
        let mut written = Vec::new();
        self.saved.tables.scan_prefix(Table::Placement, &[], &mut |key, _| {
            let lsn = blob_of_reference(key).map(|id| id.0);
            written.extend(lsn.filter(|lsn| *lsn < open_lsn && !named.contains(lsn)));
            Ok(true)
        })?;
        Ok(written)
    }

    /// What mailboxes load their pages through.
    pub(crate) fn pages(&self) -> PageReader {
        self.pages.clone()
    }

    /// The account.
    pub(crate) fn account(&self, number: AccountNumber) -> Option<AccountState> {
        self.accounts.read().get(&number).cloned()
    }

    /// For how long the volume keeps expunged messages.
    pub(crate) fn retention(&self) -> VolumeRetention {
        *self.retention.read()
    }

    /// A kept message.
    pub(crate) fn retained(
        &self,
        account: AccountNumber,
        key: RetainedKey,
    ) -> Result<Option<Arc<RetainedMessage>>, ReadError> {
        self.retained.find(&self.saved, account, key)
    }

    /// The kept messages of an account from `from` on, in the order of their keys.
    pub(crate) fn visit_retained(
        &self,
        account: AccountNumber,
        from: RetainedKey,
        visit: &mut RetainedVisitor<'_>,
    ) -> Result<(), ReadError> {
        self.retained.visit(&self.saved, account, from, visit)
    }

    /// What a request of another node was answered, if it took effect.
    pub(crate) fn answered(&self, request: RequestId) -> Option<AnsweredRow> {
        self.answered.find(request)
    }

    /// Whether so many answered requests are kept that no further one is taken.
    pub(crate) fn has_too_many_answers(&self) -> bool {
        self.answered.is_full()
    }

    /// Forgets requests that were answered below a position, but for the newest; answers how many.
    pub(crate) fn forget_answered(&self, below: Lsn) -> usize {
        let forgotten = self.answered.forget(below);
        let rows = forgotten.iter().map(|row| (*row, None));
        self.unsaved.lock().answered.extend(rows);
        forgotten.len()
    }

    /// Whether the tables know the account and its key is destroyed.
    pub(crate) fn is_unreadable(&self, account: AccountNumber) -> bool {
        self.unreadable.contains(&account)
    }

    /// The account of that login name, in lower case.
    pub(crate) fn account_named(&self, name: &str) -> Option<AccountNumber> {
        self.names.read().get(name).copied()
    }

    /// Every account.
    pub(crate) fn accounts(&self) -> Vec<AccountState> {
        self.accounts.read().values().cloned().collect()
    }

    /// Accounts that may give a right to that one.
    pub(crate) fn sharing_with(&self, account: AccountNumber) -> BTreeSet<AccountNumber> {
        self.sharing.read().owners(account)
    }

    /// Domains and aliases.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }

    /// First position of the current epoch.
    pub(crate) fn epoch_begin(&self) -> Lsn {
        self.volume.read().history.last().map_or(Lsn::ZERO, |link| link.first)
    }

    /// The highest stamp of any record.
    pub(crate) fn highest_stamp(&self) -> Stamp {
        Stamp(self.stamp.load(Ordering::Relaxed))
    }

    /// The volume's format level.
    pub(crate) fn format_level(&self) -> u32 {
        self.volume.read().format_level
    }

    /// Another format level, for readers alone.
    #[cfg(test)]
    pub(crate) fn set_format_level(&self, level: u32) {
        self.volume.write().format_level = level;
    }

    /// Which positions count.
    pub(crate) fn history(&self) -> History {
        History::of(&self.volume.read())
    }

    /// Format level and history.
    pub(crate) fn volume(&self) -> VolumeState {
        self.volume.read().clone()
    }

    /// The mailbox's cell, opened if need be; `None` if the mailbox does not exist.
    pub(crate) fn cell(&self, key: MailboxKey) -> Result<Option<Arc<MailboxCell>>, ReadError> {
        if let Some(cell) = self.cell_at_hand(key) {
            return Ok(Some(cell));
        }
        if self.account(key.0).is_none_or(|account| account.names.name_of(key.1).is_none()) {
            return Ok(None);
        }
        // Opened under the lock, so that nobody publishes a change to it meanwhile.
        let mut mailboxes = self.mailboxes.write();
        if let Some(cell) = mailboxes.get(&key) {
            return Ok(Some(Arc::clone(cell)));
        }
        let Some(state) = self.saved.mailbox(key, &self.pages)? else { return Ok(None) };
        let cell = Arc::new(MailboxCell::new(state, self.epoch_begin()));
        mailboxes.insert(key, Arc::clone(&cell));
        Ok(Some(cell))
    }

    /// The cell of a mailbox that has been opened.
    pub(crate) fn cell_at_hand(&self, key: MailboxKey) -> Option<Arc<MailboxCell>> {
        self.mailboxes.read().get(&key).cloned()
    }

    /// The mailbox's state, to be changed in a working copy.
    pub(crate) fn mailbox_state(&self, key: MailboxKey) -> Result<Option<MailboxState>, ReadError> {
        Ok(self.cell(key)?.and_then(|cell| cell.state()))
    }

    /// UIDs that went from a mailbox above `since` and not above `last`.
    pub(crate) fn vanished(
        &self,
        mailbox: MailboxKey,
        since: Lsn,
        last: Lsn,
    ) -> Result<UidSet, ReadError> {
        vanished::between(&self.gone, &self.saved, mailbox, (since, last))
    }

    /// What a blob is made of.
    pub(crate) fn blob(&self, id: BlobId) -> Result<BlobRow, ReadError> {
        {
            let maps = self.blobs.read();
            if let Some(row) = maps.blobs.get(&id).or_else(|| maps.frozen_blobs.get(&id)) {
                return Ok(row.clone());
            }
        }
        self.saved.blob(id)?.ok_or(ReadError::Missing { what: "blob", blob: id })
    }

    /// A part that is not in the tables yet.
    pub(crate) fn recent_part(&self, account: AccountNumber, hash: &PartHash) -> Option<PartUse> {
        let maps = self.blobs.read();
        let key = (account, *hash);
        maps.parts.get(&key).or_else(|| maps.frozen_parts.get(&key)).copied()
    }

    /// Whether a row or a reference that is not saved yet tells of the blob.
    pub(crate) fn knows_blob(&self, id: BlobId) -> Result<bool, ReadError> {
        {
            let maps = self.blobs.read();
            if maps.blobs.contains_key(&id) || maps.frozen_blobs.contains_key(&id) {
                return Ok(true);
            }
        }
        let lowest = (id, AccountNumber(0), MailboxId([0; 16]), Uid(0));
        let unsaved = self.unsaved.lock();
        if unsaved.references.range(lowest..).next().is_some_and(|(key, _)| key.0 == id) {
            return Ok(true);
        }
        drop(unsaved);
        Ok(self.saved.blob(id)?.is_some())
    }

    /// Where the chunks of a position lie.
    pub(crate) fn places(&self, lsn: Lsn) -> Result<Places, ReadError> {
        {
            let maps = self.blobs.read();
            if let Some(places) = maps.places.get(&lsn).or_else(|| maps.frozen_places.get(&lsn)) {
                return Ok(places.clone());
            }
        }
        self.saved.places(lsn)?.ok_or(ReadError::Missing { what: "chunk", blob: BlobId(lsn) })
    }

    /// Where the chunks of a position lie, if they are alive.
    pub(crate) fn find_places(&self, lsn: Lsn) -> Result<Option<Places>, ReadError> {
        match self.places(lsn) {
            Ok(places) => Ok(Some(places)),
            Err(ReadError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Chunks lie in another segment from now on, for readers and for the next checkpoint.
    pub(crate) fn switch_segment(&self, new: u64, places: impl IntoIterator<Item = (Lsn, Places)>) {
        let mut maps = self.blobs.write();
        maps.places.extend(places);
        self.switched.lock().insert(new);
    }

    /// The older ones that a segment was made of are gone.
    pub(crate) fn segment_released(&self, new: u64, old: impl IntoIterator<Item = u64>) {
        self.switched.lock().remove(&new);
        if self.format_level() >= format_level::KEY_GENERATIONS {
            old.into_iter().for_each(|old| self.key_uses.released(old));
        }
    }

    /// A group without records was written.
    pub(crate) fn note_watermark(&self, named: Named) {
        if self.format_level() >= format_level::KEY_GENERATIONS {
            self.key_uses.note(named);
        }
    }

    /// Where chunks lie that are durable; they may belong to a message that is still entering.
    pub(crate) fn add_places(&self, places: impl IntoIterator<Item = (Lsn, Places)>) {
        self.blobs.write().places.extend(places);
    }

    /// Makes a committed group visible, and tells those who watch.
    pub(crate) fn publish(&self, mut changes: Changes) {
        // A mailbox that was only looked at is not changed.
        let Changes { mailboxes, pages, .. } = &mut changes;
        mailboxes.retain(|key, state| state.is_none() || pages.mailboxes.contains(key));
        self.stamp.fetch_max(changes.stamp.0, Ordering::Relaxed);
        if self.format_level() >= format_level::SUMMARY_PAGES {
            self.summary_pages.remember(std::mem::take(&mut changes.summaries));
        }
        let noting = self.index_feed.publishing();
        self.index_feed.note(&changes);
        let mut touched = self.replace_visible(&mut changes);
        let concerned = self.replace_accounts(&changes.accounts);
        drop(noting);
        // Whoever watches a mailbox may have lost the right to.
        let cells = self.mailboxes.read();
        touched.extend(changes.annotated.iter().filter_map(|key| cells.get(key).cloned()));
        drop(cells);
        self.keep_for_checkpoint(changes);
        for cell in touched {
            let watchers: Vec<Watcher> =
                cell.watchers.lock().iter().map(|(_, watcher)| Arc::clone(watcher)).collect();
            watchers.iter().for_each(|watcher| watcher());
        }
        self.account_watchers.call(&concerned);
    }

    fn replace_visible(&self, changes: &mut Changes) -> Vec<Arc<MailboxCell>> {
        if !changes.blobs.is_empty() || !changes.places.is_empty() {
            let mut maps = self.blobs.write();
            maps.blobs.extend(std::mem::take(&mut changes.blobs));
            maps.places.extend(std::mem::take(&mut changes.places));
            maps.parts.extend(std::mem::take(&mut changes.parts));
        }
        if let Some(policy) = &changes.policy {
            *self.policy.write() = Arc::clone(policy);
        }
        let epoch_before = self.epoch_begin();
        if let Some(volume) = &changes.volume {
            *self.volume.write() = volume.clone();
        }
        for (account, image) in &changes.bases {
            match image {
                Some(image) => self.bases.write().insert(*account, Arc::clone(image)),
                None => self.bases.write().remove(account),
            };
        }
        if let Some(retention) = changes.retention {
            *self.retention.write() = retention;
        }
        self.retained.extend(std::mem::take(&mut changes.retained));
        self.note_answers(changes);
        // Before the views that lack them: who compares a position with a view finds them.
        self.gone.extend(std::mem::take(&mut changes.gone));
        let epoch_begin = self.epoch_begin();
        let has_pages = self.format_level() >= format_level::SUMMARY_PAGES;
        let mut touched = Vec::new();
        for (key, state) in &changes.mailboxes {
            let existing = self.mailboxes.read().get(key).cloned();
            let before = existing.as_ref().map_or(0, |cell| cell.given_below());
            match (state, existing) {
                (Some(state), Some(cell)) => {
                    cell.replace(Some(state.clone()), epoch_begin);
                    touched.push(cell);
                }
                (Some(state), None) => {
                    let cell = Arc::new(MailboxCell::new(state.clone(), epoch_begin));
                    self.mailboxes.write().insert(*key, cell);
                }
                (None, Some(cell)) => {
                    cell.replace(None, epoch_begin);
                    self.mailboxes.write().remove(key);
                    touched.push(cell);
                }
                (None, None) => {}
            }
            // Now that it can be seen: the pages of a run that is not full yet are not made.
            if let Some(state) = state.as_ref().filter(|_| has_pages) {
                self.summary_pages.note_growth(*key, before, state.given_below());
            }
        }
        if epoch_begin != epoch_before {
            touched.extend(self.mailboxes.read().values().cloned().inspect(|cell| {
                // UIDNEXT and HIGHESTMODSEQ follow from the epoch.
                cell.replace(cell.state(), epoch_begin);
            }));
        }
        touched
    }

    fn note_answers(&self, changes: &Changes) {
        if !changes.answered.is_empty() {
            self.answered.extend(changes.answered.clone());
        }
        let is_gone = |account| matches!(changes.accounts.get(&account), Some(None));
        if changes.accounts.values().any(Option::is_none) {
            self.answered.forget_accounts(is_gone);
        }
    }

    /// Answers whom it concerns that names, subscriptions, metadata or rights changed. After the
    /// mailboxes: a name that can be looked up leads to a mailbox that is there.
    fn replace_accounts(
        &self,
        changed: &HashMap<AccountNumber, Option<AccountState>>,
    ) -> BTreeSet<Grantee> {
        let mut concerned = BTreeSet::new();
        if changed.is_empty() {
            return concerned;
        }
        let mut accounts = self.accounts.write();
        let mut names = self.names.write();
        for (number, state) in changed {
            let before = match state {
                Some(state) => accounts.insert(*number, state.clone()),
                None => accounts.remove(number),
            };
            let now = state.as_ref().map(|state| &state.annotations);
            let is_same = match (&before, now) {
                (Some(before), Some(now)) => Arc::ptr_eq(&before.annotations, now),
                _ => false,
            };
            let same_names = match (&before, state) {
                (Some(before), Some(now)) => Arc::ptr_eq(&before.names, &now.names),
                _ => false,
            };
            if !(is_same && same_names) {
                concerned.insert(Grantee::Account(*number));
                concerned.extend(self.sharing.read().grantees(*number));
            }
            if !is_same {
                self.sharing.write().set(*number, now.map(AsRef::as_ref));
                concerned.extend(self.sharing.read().grantees(*number));
            }
            let name = state.as_ref().map(|state| state.profile.name.as_str());
            if let Some(before) = before
                && name != Some(before.profile.name.as_str())
                && names.get(&before.profile.name) == Some(number)
            {
                names.remove(&before.profile.name);
            }
            if let Some(name) = name
                && names.get(name) != Some(number)
            {
                names.insert(name.to_owned(), *number);
            }
        }
        concerned
    }

    fn keep_for_checkpoint(&self, changes: Changes) {
        if self.format_level() >= format_level::KEY_GENERATIONS {
            changes.named.into_iter().for_each(|named| self.key_uses.note(named));
        }
        let mut unsaved = self.unsaved.lock();
        unsaved.accounts.extend(changes.accounts);
        for (key, state) in changes.mailboxes {
            match state {
                Some(state) => {
                    unsaved.mailboxes.insert(key, state);
                }
                None => {
                    unsaved.mailboxes.remove(&key);
                }
            }
        }
        unsaved.pages.merge(changes.pages);
        unsaved.dropped.extend(changes.dropped);
        unsaved.policy = changes.policy.or(unsaved.policy.take());
        unsaved.volume = changes.volume.or(unsaved.volume.take());
        for (key, made) in changes.references {
            unsaved.references.insert(key, made);
        }
        unsaved.annotated.extend(changes.annotated);
        unsaved.bases.extend(changes.bases);
        unsaved.retention = changes.retention.or(unsaved.retention);
        unsaved.dead_chunks.extend(changes.dead_chunks);
        unsaved.destroyed.extend(changes.destroyed);
        let answered = changes.answered.into_iter();
        unsaved.answered.extend(answered.map(|(id, row)| ((row.account, id), Some(row))));
    }

    /// Whether a change of a reference waits for the next checkpoint: made, or removed.
    pub(crate) fn unsaved_reference(&self, key: &[u8; 36]) -> Option<bool> {
        let unsaved = self.unsaved.lock();
        let of = mailbox_of_reference(key)?;
        let goes = |dropped: &(MailboxKey, MailboxState, References)| {
            dropped.0 == of && dropped.2 == References::Go
        };
        if unsaved.dropped.iter().any(goes) {
            return Some(false);
        }
        let uid = Uid(u32::from_be_bytes(*key.last_chunk()?));
        unsaved.references.get(&(blob_of_reference(key)?, of.0, of.1, uid)).copied()
    }

    /// Whether anything waits for a checkpoint.
    pub(crate) fn has_unsaved(&self) -> bool {
        let unsaved = self.unsaved.lock();
        !(unsaved.accounts.is_empty()
            && unsaved.mailboxes.is_empty()
            && unsaved.dropped.is_empty()
            && unsaved.references.is_empty())
    }

    /// Rewritten segments whose older generation may still be there, in memory or in the tables.
    pub(crate) fn switched(&self) -> Result<Vec<u64>, ReadError> {
        let mut switched = self.saved.switched()?;
        switched.extend(self.switched.lock().iter());
        Ok(switched)
    }

    /// About how many bytes the next checkpoint would write.
    pub(crate) fn unsaved_bytes(&self) -> u64 {
        const BLOB_BYTES: u64 = 256;
        let pages = self.unsaved.lock().pages.bytes();
        let blobs = crate::width::u64_of(self.blobs.read().blobs.len());
        pages + blobs * BLOB_BYTES + self.retained.unsaved_bytes()
    }

    /// Takes what is unsaved, to be written by a checkpoint; call it between two groups.
    pub(crate) fn freeze(&self) -> Unsaved {
        let mut unsaved = std::mem::take(&mut *self.unsaved.lock());
        let mut maps = self.blobs.write();
        maps.frozen_blobs = Arc::new(std::mem::take(&mut maps.blobs));
        maps.frozen_places = Arc::new(std::mem::take(&mut maps.places));
        unsaved.blobs = Arc::clone(&maps.frozen_blobs);
        unsaved.places = Arc::clone(&maps.frozen_places);
        maps.frozen_parts = Arc::new(std::mem::take(&mut maps.parts));
        unsaved.parts = Arc::clone(&maps.frozen_parts);
        unsaved.switched = self.switched.lock().clone();
        unsaved.retained = self.retained.freeze();
        unsaved.gone = self.gone.freeze();
        unsaved.key_uses = self.key_uses.freeze();
        unsaved.reseal = Arc::clone(&self.reseal);
        unsaved.summary_run_uids = self.summary_pages.run_uids();
        unsaved
    }

    /// The tables have, flushed, what was frozen.
    pub(crate) fn saved(&self) {
        let mut maps = self.blobs.write();
        maps.frozen_blobs = Arc::default();
        maps.frozen_places = Arc::default();
        maps.frozen_parts = Arc::default();
        self.retained.saved();
        self.gone.saved();
        self.key_uses.flushed();
        self.reseal.flushed();
    }

    /// Keys that a segment names; `None` if that is not known.
    pub(crate) fn key_names(&self, segment: u64) -> Result<Option<KeyNames>, ReadError> {
        let known = self.key_uses.find(segment);
        if known.as_ref().is_some_and(|known| known.is_whole) {
            return Ok(known.map(|known| known.names));
        }
        let mut names = self.saved.key_use(segment)?;
        if let (Some(names), Some(later)) = (&mut names, known) {
            names.merge(&later.names);
        }
        Ok(names)
    }

    /// Registers a watcher of a mailbox.
    pub(crate) fn watch(&self, cell: &MailboxCell, watcher: Watcher) -> u64 {
        let number = self.next_watcher.fetch_add(1, Ordering::Relaxed);
        cell.watchers.lock().push((number, watcher));
        number
    }

    /// Registers a watcher of an account.
    pub(crate) fn watch_account(&self, account: AccountNumber, watcher: Watcher) -> u64 {
        let number = self.next_watcher.fetch_add(1, Ordering::Relaxed);
        self.account_watchers.add(account, number, watcher);
        number
    }

    /// Ends a watch of an account.
    pub(crate) fn unwatch_account(&self, account: AccountNumber, number: u64) {
        self.account_watchers.remove(account, number);
    }
}

fn index_of(accounts: &HashMap<AccountNumber, AccountState>) -> SharingIndex {
    let mut index = SharingIndex::default();
    accounts.iter().for_each(|(owner, state)| index.set(*owner, Some(&state.annotations)));
    index
}

impl MailboxCell {
    fn new(state: MailboxState, epoch_begin: Lsn) -> MailboxCell {
        let view = state.view(epoch_begin);
        MailboxCell {
            current: Mutex::new(Some(Current { state, view })),
            watchers: Mutex::default(),
        }
    }

    /// See [`MailboxState::given_below`].
    fn given_below(&self) -> u64 {
        self.current.lock().as_ref().map_or(0, |current| current.state.given_below())
    }

    fn replace(&self, state: Option<MailboxState>, epoch_begin: Lsn) {
        let current = state.map(|state| Current { view: state.view(epoch_begin), state });
        // The old one is dropped outside of the lock: it may be the last to hold pages.
        let old = std::mem::replace(&mut *self.current.lock(), current);
        drop(old);
    }

    /// The state; `None` once deleted.
    pub(crate) fn state(&self) -> Option<MailboxState> {
        self.current.lock().as_ref().map(|current| current.state.clone())
    }

    /// The view; `None` once deleted.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.current.lock().as_ref().map(|current| Arc::clone(&current.view))
    }

    /// Ends a watch.
    pub(crate) fn unwatch(&self, number: u64) {
        self.watchers.lock().retain(|(watcher, _)| *watcher != number);
    }
}
