//! The indexes of all accounts: which splits they have, and which of their messages are in none.
//!
//! ```text
//!   slot of an account ─ files        named by the folder at opening, then by what is published
//!                      └ open ┬ splits
//!                             ├ tail    messages that are in none: they are asked
//!                             └ skipped those of them that cannot be indexed
//! ```
//! A slot is opened when it is asked or looked at first: then the rows of all mailboxes are
//! compared with the splits; from that moment on the feed tells what comes
//! (`state/index_feed.rs`). Slots that were used least recently are closed when all together take
//! more memory than they may.
//!
//! # Invariants
//! 1. Every message that a view of an account shows is in one of its splits or in its tail,
//!    whenever the slot is asked after the view was taken.
//! 2. A file whose newest message lies above the end of the log as it was opened is none: the
//!    positions there mean other messages now (a directory that was brought back from a copy, a
//!    disk that lied). It is removed.
//! 3. What is wrong with a file costs the file, never an answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::documents::Documents;
use super::folder::IndexFolder;
use super::living;
use super::open_slots::OpenSlots;
use super::open_split::OpenSplit;
use crate::disk::OpenMode;
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn};
use crate::seal::IndexFileId;
use crate::state::{Committed, FreshBlob, IndexBounds};
use crate::width::u64_of;

/// Figures of one account's index, or of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexFigures {
    /// Messages in splits; some of them may be gone from the account.
    pub indexed_count: u64,
    /// Splits.
    pub split_count: u64,
    /// Bytes of their files.
    pub file_bytes: u64,
    /// Messages that cannot be indexed; they are read when they are sought in.
    pub skipped_count: u64,
    /// Documents that were looked into, and how many of them gave no text, or not all.
    pub document_count: u64,
    /// Those of them.
    pub flawed_document_count: u64,
    /// Messages that were indexed while extractors were set otherwise than now.
    pub otherwise_count: u64,
}

impl std::ops::AddAssign for IndexFigures {
    fn add_assign(&mut self, other: IndexFigures) {
        self.indexed_count += other.indexed_count;
        self.split_count += other.split_count;
        self.file_bytes += other.file_bytes;
        self.skipped_count += other.skipped_count;
        self.document_count += other.document_count;
        self.flawed_document_count += other.flawed_document_count;
        self.otherwise_count += other.otherwise_count;
    }
}

/// The indexes of a store's accounts.
pub(crate) struct Index {
    folder: IndexFolder,
    documents: Arc<Documents>,
    pub(crate) bounds: IndexBounds,
    mode: OpenMode,
    committed: Arc<Committed>,
    /// Where the log ended when the store was opened.
    opened_at: Lsn,
    slots: RwLock<HashMap<AccountNumber, Arc<Slot>>>,
    /// Locked for a moment only, also by who holds a slot.
    open_slots: Mutex<OpenSlots>,
    /// For open slots.
    memory_max: u64,
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
}

#[derive(Default)]
struct SlotState {
    files: Vec<IndexFileId>,
    /// Files that were made since the store was opened.
    made: BTreeSet<IndexFileId>,
    skipped: BTreeSet<BlobId>,
    /// Messages that have documents: those of the tail are indexed soon.
    documented: BTreeSet<BlobId>,
    /// Whether the tail was looked at for such; from then on the feed tells of what comes.
    is_looked_at: bool,
    open: Option<OpenIndex>,
    figures: IndexFigures,
}

/// The index of one account, open.
#[derive(Default)]
pub(crate) struct OpenIndex {
    pub(crate) splits: Vec<Arc<OpenSplit>>,
    /// Messages in no split, with their bytes as far as they are known.
    tail: BTreeMap<BlobId, u64>,
}

/// What is asked for one answer.
pub(crate) struct Snapshot {
    pub(crate) splits: Vec<Arc<OpenSplit>>,
    pub(crate) tail: Vec<BlobId>,
}

impl OpenIndex {
    fn has(&self, blob: BlobId) -> bool {
        self.splits.iter().any(|split| split.has(blob))
    }

    fn settle(&mut self, fresh: Vec<FreshBlob>) {
        for (blob, bytes) in fresh {
            if !self.has(blob) {
                self.tail.insert(blob, bytes);
            }
        }
    }

    fn figures(&self, settings: u64) -> IndexFigures {
        let mut figures = IndexFigures::default();
        for split in &self.splits {
            let places = split.split().document_places();
            let (count, flawed_count) = places.count();
            let messages = u64::from(split.message_count());
            figures += IndexFigures {
                indexed_count: messages,
                split_count: 1,
                file_bytes: split.file().file_bytes(),
                skipped_count: 0,
                document_count: count,
                flawed_document_count: flawed_count,
                otherwise_count: if places.settings == settings { 0 } else { messages },
            };
        }
        figures
    }

    fn memory_bytes(&self) -> u64 {
        let splits: usize = self.splits.iter().map(|split| split.memory_bytes()).sum();
        u64_of(splits + self.tail.len() * 32)
    }
}

impl Index {
    /// Looks which files there are; those of accounts that are gone go. Asks for a look at every
    /// account that has files, or so much mail that it wants some.
    pub(crate) fn begin(
        (folder, documents): (IndexFolder, Arc<Documents>),
        committed: &Arc<Committed>,
        bounds: IndexBounds,
        (mode, opened_at): (OpenMode, Lsn),
        memory_max: u64,
    ) -> Arc<Index> {
        let index = Index {
            folder,
            documents,
            bounds,
            mode,
            committed: Arc::clone(committed),
            opened_at,
            slots: RwLock::default(),
            open_slots: Mutex::default(),
            memory_max,
        };
        index.look_at_folder();
        index.want_all();
        Arc::new(index)
    }

    fn look_at_folder(&self) {
        let files = self.folder.list(self.mode).unwrap_or_else(|error| {
            tracing::warn!(%error, "the full-text index cannot be read and is made anew");
            Vec::new()
        });
        let mut slots = self.slots.write();
        for (account, id) in files {
            if self.committed.account(account).is_some() {
                slots.entry(account).or_default().state.lock().files.push(id);
            } else {
                self.remove(account, id);
            }
        }
    }

    fn want_all(&self) {
        let slots = self.slots.read();
        let feed = &self.committed.index_feed;
        for account in self.committed.accounts() {
            let (count, bytes) = (account.usage.message_count, account.usage.message_bytes);
            let has_files = slots.contains_key(&account.number);
            let outside = if has_files { (0, 0) } else { (count, bytes) };
            feed.set_outside(account.number, outside.0, outside.1);
            let may_have_documents = self.documents.is_on() && count > 0;
            if has_files || may_have_documents || self.bounds.is_over(count, bytes) {
                feed.want(account.number);
            }
        }
    }

    pub(crate) fn documents(&self) -> &Arc<Documents> {
        &self.documents
    }

    pub(crate) fn folder(&self) -> &IndexFolder {
        &self.folder
    }

    fn slot(&self, account: AccountNumber) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().get(&account) {
            return Arc::clone(slot);
        }
        Arc::clone(self.slots.write().entry(account).or_default())
    }

    /// Splits and tail of an account; `None` if it has no splits, or is gone.
    pub(crate) fn snapshot(&self, account: AccountNumber) -> Result<Option<Snapshot>, ReadError> {
        let Some(slot) = self.slots.read().get(&account).cloned() else { return Ok(None) };
        if slot.state.lock().files.is_empty() {
            return Ok(None);
        }
        self.with(account, |open, _, _| {
            let tail = open.tail.keys().copied().collect();
            Snapshot { splits: open.splits.clone(), tail }
        })
        .map(|snapshot| snapshot.filter(|snapshot| !snapshot.splits.is_empty()))
    }

    /// Works with an account's index as of now; `None` if the account is gone.
    fn with<T>(
        &self,
        account: AccountNumber,
        work: impl FnOnce(&mut OpenIndex, &mut BTreeSet<BlobId>, &mut BTreeSet<BlobId>) -> T,
    ) -> Result<Option<T>, ReadError> {
        if self.committed.account(account).is_none() {
            return Ok(None);
        }
        let slot = self.slot(account);
        let mut state = slot.state.lock();
        let SlotState { files, made, skipped, documented, is_looked_at, open, figures } =
            &mut *state;
        let opened = match open {
            Some(opened) => opened,
            None => {
                let opened = open.insert(self.open(account, files, made)?);
                // Messages of a file that is gone are in the tail now.
                *is_looked_at &= opened.splits.len() == files.len();
                opened
            }
        };
        opened.settle(self.committed.index_feed.take(account));
        let result = work(opened, skipped, documented);
        *files = opened.splits.iter().map(|split| split.id()).collect();
        skipped.retain(|blob| opened.tail.contains_key(blob));
        documented.retain(|blob| opened.tail.contains_key(blob));
        *figures = opened.figures(self.documents.settings());
        figures.skipped_count = u64_of(skipped.len());
        self.open_slots.lock().note_use(account, opened.memory_bytes());
        let outside = opened.tail.iter().filter(|(blob, _)| !skipped.contains(blob));
        let (count, bytes) = outside.fold((0, 0), |sum, (_, one)| (sum.0 + 1, sum.1 + one));
        self.committed.index_feed.set_outside(account, count, bytes);
        drop(state);
        self.close_others(account);
        Ok(Some(result))
    }

    /// Opens an account's splits and compares them with its rows.
    fn open(
        &self,
        account: AccountNumber,
        files: &[IndexFileId],
        made: &BTreeSet<IndexFileId>,
    ) -> Result<OpenIndex, ReadError> {
        self.committed.index_feed.watch(account);
        let opened = self.open_splits(account, files, made);
        let rows = living::in_mailboxes(&self.committed, account);
        let rows = rows.inspect_err(|_| self.committed.index_feed.unwatch(account))?;
        let mut index = OpenIndex { splits: opened, tail: BTreeMap::new() };
        for (blob, bytes) in rows {
            if !index.has(blob) {
                index.tail.insert(blob, bytes);
            }
        }
        Ok(index)
    }

    fn open_splits(
        &self,
        account: AccountNumber,
        files: &[IndexFileId],
        made: &BTreeSet<IndexFileId>,
    ) -> Vec<Arc<OpenSplit>> {
        let mut opened = Vec::new();
        let mut replaced = BTreeSet::new();
        for &id in files {
            match self.open_split(account, id) {
                Ok(split) if !split.split().is_current() => self.remove(account, id),
                Ok(split) => {
                    let table = split.file().table();
                    if table.highest_blob > self.opened_at.bits() && !made.contains(&id) {
                        tracing::warn!(
                            file = %self.folder.path(account, id).display(),
                            "an index file knows messages that the store never had"
                        );
                        self.remove(account, id);
                        continue;
                    }
                    replaced.extend(table.replaces.iter().copied());
                    opened.push(Arc::new(split));
                }
                Err(error) => {
                    tracing::warn!(%error, "an index file cannot be read and is made anew");
                    self.remove(account, id);
                }
            }
        }
        for split in opened.iter().filter(|split| replaced.contains(&split.id())) {
            self.remove(account, split.id());
        }
        opened.retain(|split| !replaced.contains(&split.id()));
        opened
    }

    fn open_split(&self, account: AccountNumber, id: IndexFileId) -> Result<OpenSplit, ReadError> {
        let mut file = self.folder.open(account, id)?;
        if self.mode == OpenMode::ReadWrite && self.folder.is_outdated(account, &file) {
            self.folder.rewrap(account, id)?;
            file = self.folder.open(account, id)?;
        }
        OpenSplit::open(id, file)
    }

    fn remove(&self, account: AccountNumber, id: IndexFileId) {
        if self.mode == OpenMode::ReadWrite {
            self.folder.remove(account, id);
        }
    }

    /// Closes slots that were used least recently while all together take too much.
    fn close_others(&self, but: AccountNumber) {
        loop {
            let next = self.open_slots.lock().next_to_close(self.memory_max, but);
            let Some(account) = next else { return };
            let slot = self.slots.read().get(&account).cloned();
            match slot {
                Some(slot) => self.close_slot(account, &slot),
                None => self.open_slots.lock().remove(account),
            }
        }
    }

    fn close_slot(&self, account: AccountNumber, slot: &Slot) {
        let mut state = slot.state.lock();
        self.open_slots.lock().remove(account);
        if state.open.take().is_some() {
            self.committed.index_feed.unwatch(account);
        }
    }

    /// The folder holds what accounts' indexes name, and nothing else.
    #[cfg(test)]
    pub(crate) fn compare_files(&self) {
        let mut named = Vec::new();
        for (account, slot) in self.all_slots() {
            let state = slot.state.lock();
            named.extend(state.files.iter().map(|id| self.folder.path(account, *id)));
        }
        named.sort();
        assert_eq!(self.folder.everything(), named, "files of the index");
    }

    /// What of an account is to be indexed, if that is more than may lie outside.
    pub(crate) fn to_index(&self, account: AccountNumber) -> Result<Vec<BlobId>, ReadError> {
        let outside = self.with(account, |open, skipped, documented| {
            let outside = open.tail.iter().filter(|(blob, _)| !skipped.contains(blob));
            let outside: Vec<FreshBlob> = outside.map(|(blob, bytes)| (*blob, *bytes)).collect();
            // One that is skipped is no reason to look at the others.
            let is_documented = documented.iter().any(|blob| !skipped.contains(blob));
            (outside, is_documented)
        })?;
        let (outside, is_documented) = outside.unwrap_or_default();
        let bytes = outside.iter().map(|(_, bytes)| bytes).sum();
        if !is_documented && !self.bounds.is_over(u64_of(outside.len()), bytes) {
            return Ok(Vec::new());
        }
        self.committed.index_feed.note_look(account);
        Ok(outside.into_iter().map(|(blob, _)| blob).collect())
    }

    /// Messages of an account's tail that nobody has looked at for documents.
    pub(crate) fn not_looked_at(&self, account: AccountNumber) -> Result<Vec<BlobId>, ReadError> {
        if self.is_looked_at(account) {
            return Ok(Vec::new());
        }
        let tail = self.with(account, |open, _, _| open.tail.keys().copied().collect())?;
        Ok(tail.unwrap_or_default())
    }

    /// An account's tail was looked at.
    pub(crate) fn looked_at(&self, account: AccountNumber) {
        self.slot(account).state.lock().is_looked_at = true;
    }

    /// Whether an account's tail was looked at for documents, if any are to be found.
    pub(crate) fn is_looked_at(&self, account: AccountNumber) -> bool {
        !self.documents.is_on() || self.slot(account).state.lock().is_looked_at
    }

    /// A message has documents.
    pub(crate) fn note_documents(&self, account: AccountNumber, blob: BlobId) {
        self.slot(account).state.lock().documented.insert(blob);
        self.committed.index_feed.want(account);
    }

    /// A message cannot be indexed: it stays to be asked.
    pub(crate) fn skip(&self, account: AccountNumber, blob: BlobId) -> Result<(), ReadError> {
        self.with(account, |_, skipped, _| skipped.insert(blob)).map(drop)
    }

    /// A message that has documents may be tried again.
    pub(crate) fn take_up(&self, account: AccountNumber, blob: BlobId) -> Result<(), ReadError> {
        self.with(account, |_, skipped, _| skipped.remove(&blob))?;
        self.note_documents(account, blob);
        Ok(())
    }

    /// A message is gone.
    pub(crate) fn drop_from_tail(
        &self,
        account: AccountNumber,
        blob: BlobId,
    ) -> Result<(), ReadError> {
        self.with(account, |open, _, _| open.tail.remove(&blob)).map(drop)
    }

    /// Takes a new split, which was published, in the place of others.
    pub(crate) fn take_in(
        &self,
        account: AccountNumber,
        id: IndexFileId,
        replaced: &[IndexFileId],
    ) -> Result<(), ReadError> {
        let split = Arc::new(self.open_split(account, id)?);
        let slot = self.slot(account);
        slot.state.lock().made.insert(id);
        let taken = self.with(account, |open, _, _| {
            open.splits.retain(|split| !replaced.contains(&split.id()));
            open.tail.retain(|blob, _| !split.has(*blob));
            open.splits.retain(|split| split.id() != id);
            open.splits.push(Arc::clone(&split));
        })?;
        if taken.is_none() {
            self.folder.remove(account, id);
        }
        replaced.iter().for_each(|old| self.folder.remove(account, *old));
        Ok(())
    }

    /// Splits of which nothing lives go.
    pub(crate) fn drop_splits(
        &self,
        account: AccountNumber,
        dropped: &[IndexFileId],
    ) -> Result<(), ReadError> {
        self.with(account, |open, _, _| {
            open.splits.retain(|split| !dropped.contains(&split.id()));
        })?;
        dropped.iter().for_each(|old| self.folder.remove(account, *old));
        Ok(())
    }

    /// A split cannot be read: its messages are asked, and indexed again.
    pub(crate) fn give_up(
        &self,
        account: AccountNumber,
        damaged: &OpenSplit,
    ) -> Result<(), ReadError> {
        self.with(account, |open, _, _| {
            open.splits.retain(|split| split.id() != damaged.id());
            open.settle(damaged.all().map(|blob| (blob, 0)).collect());
        })?;
        self.slot(account).state.lock().is_looked_at = false;
        self.remove(account, damaged.id());
        self.committed.index_feed.want(account);
        Ok(())
    }

    /// All splits of an account go: it is gone, or its index is made anew.
    pub(crate) fn forget(&self, account: AccountNumber) {
        let slot = self.slot(account);
        let mut state = slot.state.lock();
        let files = std::mem::take(&mut state.files);
        *state = SlotState::default();
        self.open_slots.lock().remove(account);
        self.committed.index_feed.unwatch(account);
        files.into_iter().for_each(|id| self.folder.remove(account, id));
        drop(state);
        if self.committed.account(account).is_none() {
            self.slots.write().remove(&account);
            self.committed.index_feed.forget(account);
        }
    }

    /// Seals the keys of an account's files under its newest key.
    pub(crate) fn rewrap(&self, account: AccountNumber) {
        let Some(slot) = self.slots.read().get(&account).cloned() else { return };
        let state = slot.state.lock();
        for id in &state.files {
            if let Err(error) = self.folder.rewrap(account, *id) {
                tracing::warn!(%error, "an index file keeps an old key, and is made anew");
            }
        }
    }

    /// Splits of an account for which a look at what is dead is due.
    pub(crate) fn splits_of(
        &self,
        account: AccountNumber,
    ) -> Result<Vec<Arc<OpenSplit>>, ReadError> {
        Ok(self.with(account, |open, _, _| open.splits.clone())?.unwrap_or_default())
    }

    /// Blobs of an account that anything names, ascending.
    pub(crate) fn living(&self, account: AccountNumber) -> Result<Vec<BlobId>, ReadError> {
        let rows = living::in_mailboxes(&self.committed, account)?;
        let mut all: Vec<BlobId> = rows.into_iter().map(|(blob, _)| blob).collect();
        all.extend(living::kept(&self.committed, account)?);
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Accounts that have files.
    pub(crate) fn accounts(&self) -> Vec<AccountNumber> {
        let mut all: Vec<AccountNumber> = self
            .all_slots()
            .into_iter()
            .filter(|(_, slot)| !slot.state.lock().files.is_empty())
            .map(|(account, _)| account)
            .collect();
        all.sort_unstable();
        all
    }

    /// Figures of one account as of when it was looked at last; and how many messages lie outside.
    pub(crate) fn figures_of(
        &self,
        account: AccountNumber,
    ) -> Result<(IndexFigures, u64), ReadError> {
        let outside = self.with(account, |open, _, _| u64_of(open.tail.len()))?.unwrap_or(0);
        let figures = self.slot(account).state.lock().figures;
        Ok((figures, outside))
    }

    /// Looks at all accounts that have files.
    pub(crate) fn look_at_all(&self) {
        for account in self.accounts() {
            if let Err(error) = self.figures_of(account) {
                tracing::warn!(%account, %error, "the index of an account cannot be looked at");
            }
        }
    }

    /// Figures of all accounts as of when each was looked at last.
    pub(crate) fn figures(&self) -> IndexFigures {
        let mut total = IndexFigures::default();
        for (_, slot) in self.all_slots() {
            total += slot.state.lock().figures;
        }
        total
    }

    /// Copied, so that nobody waits for a slot and keeps others from theirs.
    fn all_slots(&self) -> Vec<(AccountNumber, Arc<Slot>)> {
        let slots = self.slots.read();
        slots.iter().map(|(account, slot)| (*account, Arc::clone(slot))).collect()
    }
}
