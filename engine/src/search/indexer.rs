//! The indexer: puts messages that are in no split into one, and makes few splits of many.
//!
//! A step takes a few messages of the account that it is at, or looks at the next account that is
//! due. Splits grow in tiers, each eight times as large as the one before: when there are eight of
//! a tier, they become one. A split of which more than a quarter is dead is written anew.
//!
//! # Invariants
//! 1. What is indexed is committed, so a file never knows what the log does not.
//! 2. A message leaves the tail when the split that has it is published, and not before.
//! 3. A message that cannot be read, or breaks this, costs itself: it stays in the tail, is counted
//!    as skipped, and is asked whenever somebody seeks. That is noted nowhere: after a start it is
//!    tried once more, because a mended log or a newer version may be able to. For some minutes one
//!    whose extractor cannot be had stays so, too; when there are many of these, they are indexed
//!    without its text.
//!
//! # What can go wrong
//! A failed write costs the split that was being made; the account is looked at again when more
//! comes. What is stopped in the middle is begun anew.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::builder::SplitBuilder;
use super::documents::wants_another_try;
use super::index::Index;
use super::merge::{MergeError, Merged, merge};
use super::open_split::OpenSplit;
use super::texts::Texts;
use crate::error::{DiskError, ReadError};
use crate::ids::{AccountNumber, BlobId};
use crate::limits::DOCUMENTS_PUT_OFF_MAX;
use crate::message::StoredSummary;
use crate::message::text::SearchText;
use crate::seal::IndexFileId;
use crate::state::{Committed, IndexWork};
use crate::width::u64_of;

/// Messages of a step.
const STEP_MESSAGES: usize = 16;
/// Bytes of messages after which a step ends.
const STEP_BYTES: usize = 512 << 10;
/// Terms of a merge after which it asks whether to go on.
const MERGED_TERMS: u32 = 512;
/// Of so many messages each is looked up by itself, to see whether it lives.
const LOOKED_UP_MAX: u64 = 8192;

/// After so long a message is tried again whose extractor could not be had.
const PUT_OFF: Duration = Duration::from_secs(300);

/// Reads mail.
pub(crate) struct Mail<'m> {
    /// A message and its summary.
    pub(crate) whole: &'m dyn Fn(AccountNumber, BlobId) -> Read<(Vec<u8>, StoredSummary)>,
    /// Its summary alone.
    pub(crate) summary: &'m dyn Fn(AccountNumber, BlobId) -> Read<StoredSummary>,
}

type Read<T> = Result<T, ReadError>;

/// What the indexer did since the start.
#[derive(Default)]
pub(crate) struct IndexerFigures {
    pub(crate) message_count: AtomicU64,
    /// Bytes of these messages, as received.
    pub(crate) message_bytes: AtomicU64,
    /// Splits made, by merging too.
    pub(crate) split_count: AtomicU64,
    pub(crate) merge_count: AtomicU64,
    pub(crate) skipped_count: AtomicU64,
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum IndexerStep {
    Again,
    Idle,
}

/// What it works on.
pub(crate) struct IndexerSetup {
    pub(crate) index: Arc<Index>,
    pub(crate) committed: Arc<Committed>,
}

/// Follows the log.
pub(crate) struct Indexer {
    setup: IndexerSetup,
    figures: Arc<IndexerFigures>,
    building: Option<Building>,
    /// Messages whose extractor could not be had, the oldest first.
    put_off: VecDeque<(Instant, AccountNumber, BlobId)>,
}

/// A split that is being gathered.
struct Building {
    account: AccountNumber,
    left: VecDeque<BlobId>,
    taken: Vec<BlobId>,
    builder: SplitBuilder,
    /// A split was written just before.
    follows: bool,
}

#[derive(Debug, thiserror::Error)]
enum IndexError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] DiskError),
}

impl Indexer {
    pub(crate) fn new(setup: IndexerSetup, figures: Arc<IndexerFigures>) -> Indexer {
        Indexer { setup, figures, building: None, put_off: VecDeque::new() }
    }

    /// Does a little; a long merge asks `go_on` now and then.
    pub(crate) fn step(&mut self, mail: &Mail<'_>, go_on: &mut dyn FnMut() -> bool) -> IndexerStep {
        self.take_up();
        let feed = &self.setup.committed.index_feed;
        let done = match self.building.take() {
            Some(building) if building.follows => {
                let account = building.account;
                self.building = Some(Building { follows: false, ..building });
                // With much to do, splits would become many before all is done.
                self.make_fewer(account, go_on)
            }
            Some(building) => self.gather(building, mail),
            None => match feed.next() {
                IndexWork::Nothing => return IndexerStep::Idle,
                IndexWork::Forget(account) => {
                    self.setup.index.forget(account);
                    Ok(())
                }
                IndexWork::Visit(account) => self.visit(account, mail, go_on),
                IndexWork::Look(account, blob) => {
                    self.look(account, blob, mail);
                    Ok(())
                }
            },
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a piece of the full-text index was not made");
        }
        IndexerStep::Again
    }

    /// What was put off has its turn again.
    fn take_up(&mut self) {
        while self.put_off.front().is_some_and(|(at, ..)| at.elapsed() >= PUT_OFF) {
            let Some((_, account, blob)) = self.put_off.pop_front() else { return };
            if let Err(error) = self.setup.index.take_up(account, blob) {
                tracing::debug!(%error, "a message is not tried again");
            }
        }
    }

    /// Whether a message has documents; if it does, its account is due.
    fn look(&self, account: AccountNumber, blob: BlobId, mail: &Mail<'_>) {
        match (mail.summary)(account, blob) {
            Ok(summary) if self.setup.index.documents().has_some(&summary) => {
                self.setup.index.note_documents(account, blob);
            }
            Ok(_) => {}
            // It is gone, or will be said when it is indexed.
            Err(error) => tracing::debug!(%account, %blob, %error, "a message is not looked at"),
        }
    }

    fn visit(
        &mut self,
        account: AccountNumber,
        mail: &Mail<'_>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), IndexError> {
        self.setup.committed.index_feed.take_removed(account);
        let mut left = self.setup.index.to_index(account)?;
        if left.is_empty() {
            for blob in self.setup.index.not_looked_at(account)? {
                self.look(account, blob, mail);
            }
            self.setup.index.looked_at(account);
            left = self.setup.index.to_index(account)?;
        }
        if left.is_empty() {
            return self.make_fewer(account, go_on);
        }
        let (taken, builder) = (Vec::new(), self.builder());
        let left = left.into();
        self.building = Some(Building { account, left, taken, builder, follows: false });
        Ok(())
    }

    fn builder(&self) -> SplitBuilder {
        SplitBuilder::with(self.setup.index.documents().settings())
    }

    /// Takes some messages into a split; writes it when there are enough or no more.
    fn gather(&mut self, mut building: Building, mail: &Mail<'_>) -> Result<(), IndexError> {
        let account = building.account;
        let builder_bytes = self.setup.index.bounds.builder_bytes;
        let mut bytes = 0;
        for _ in 0..STEP_MESSAGES {
            let is_full = building.builder.bytes() >= builder_bytes;
            let next = if is_full { None } else { building.left.pop_front() };
            let Some(blob) = next else {
                let rest = self.write(building)?;
                self.building = rest;
                return Ok(());
            };
            match (mail.whole)(account, blob) {
                Ok((message, summary)) => {
                    bytes += message.len();
                    // An extractor takes its time; others have theirs in between.
                    bytes += if self.add(&mut building, blob, &message, &summary)? {
                        STEP_BYTES
                    } else {
                        0
                    };
                }
                Err(error) => self.leave_out(account, blob, &error)?,
            }
            if bytes >= STEP_BYTES {
                break;
            }
        }
        self.building = Some(building);
        Ok(())
    }

    /// Adds a message; answers whether it has documents.
    fn add(
        &mut self,
        building: &mut Building,
        blob: BlobId,
        message: &[u8],
        summary: &StoredSummary,
    ) -> Result<bool, IndexError> {
        let index = &self.setup.index;
        let added = catch_unwind(AssertUnwindSafe(|| {
            let structure = summary.structure_tree();
            let of = (building.account, blob);
            let texts = index.documents().of(of, (message, &structure), None);
            if wants_another_try(&texts) && self.put_off.len() < DOCUMENTS_PUT_OFF_MAX {
                return None;
            }
            let mut text = SearchText::new(message, &structure);
            texts.iter().for_each(|one| text.add_document(&one.text));
            building.builder.keep_documents(&texts);
            building.builder.add(blob.0.bits(), &Texts::of(&text, summary));
            Some(!texts.is_empty())
        }));
        match added {
            Ok(Some(has_documents)) => {
                building.taken.push(blob);
                self.figures.message_count.fetch_add(1, Ordering::Relaxed);
                self.figures.message_bytes.fetch_add(u64_of(message.len()), Ordering::Relaxed);
                return Ok(has_documents);
            }
            Ok(None) => {
                self.put_off.push_back((Instant::now(), building.account, blob));
                index.skip(building.account, blob)?;
                return Ok(true);
            }
            Err(_) => {}
        }
        tracing::error!(
            account = %building.account, %blob,
            "a message breaks the indexer; it is read whenever it is sought in"
        );
        // Half of it may be in there.
        building.builder = self.builder();
        for taken in building.taken.drain(..).rev() {
            building.left.push_front(taken);
        }
        self.skip(building.account, blob)?;
        Ok(false)
    }

    fn skip(&self, account: AccountNumber, blob: BlobId) -> Result<(), IndexError> {
        self.figures.skipped_count.fetch_add(1, Ordering::Relaxed);
        Ok(self.setup.index.skip(account, blob)?)
    }

    /// A message was not read: it is gone, or stays to be asked.
    fn leave_out(
        &self,
        account: AccountNumber,
        blob: BlobId,
        error: &ReadError,
    ) -> Result<(), IndexError> {
        if !self.lives(blob) {
            return Ok(self.setup.index.drop_from_tail(account, blob)?);
        }
        tracing::warn!(%account, %blob, %error, "a message cannot be indexed");
        self.skip(account, blob)
    }

    fn lives(&self, blob: BlobId) -> bool {
        !matches!(self.setup.committed.blob(blob), Err(ReadError::Missing { .. }))
    }

    /// Writes what was gathered; answers what is left to do.
    fn write(&self, building: Building) -> Result<Option<Building>, IndexError> {
        let Building { account, left, taken, builder, .. } = building;
        let index = &self.setup.index;
        let highest = taken.iter().max().map_or(0, |blob| blob.0.bits());
        if !taken.is_empty()
            && let Some(writer) = index.folder().create(account)?
        {
            let (id, count) = (writer.id(), builder.message_count());
            let written = builder
                .write(writer)
                .and_then(|writer| index.folder().publish(writer, (count, highest), &[]));
            self.published(account, id, written, &[])?;
        }
        if left.is_empty() {
            // For what came meanwhile, and for splits that are too many now.
            self.setup.committed.index_feed.want(account);
            return Ok(None);
        }
        let (taken, builder) = (Vec::new(), self.builder());
        Ok(Some(Building { account, left, taken, builder, follows: true }))
    }

    fn published(
        &self,
        account: AccountNumber,
        id: IndexFileId,
        written: Result<(), DiskError>,
        replaced: &[IndexFileId],
    ) -> Result<(), IndexError> {
        let index = &self.setup.index;
        if let Err(error) = written {
            index.folder().abandon(account, id);
            return Err(error.into());
        }
        self.figures.split_count.fetch_add(1, Ordering::Relaxed);
        Ok(index.take_in(account, id, replaced)?)
    }

    /// Merges splits of an account, if that is worth it.
    fn make_fewer(
        &self,
        account: AccountNumber,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), IndexError> {
        let splits = self.setup.index.splits_of(account)?;
        let indexed: u64 = splits.iter().map(|split| u64::from(split.message_count())).sum();
        let state = self.setup.committed.account(account);
        let named = state.map_or(0, |state| {
            state.usage.message_count.saturating_add(state.retention.message_count)
        });
        if indexed.saturating_sub(named) * 4 > indexed {
            return self.bury(account, &splits, go_on);
        }
        let inputs = self.too_many(splits);
        if inputs.is_empty() { Ok(()) } else { self.join(account, &inputs, None, go_on) }
    }

    /// Writes splits anew of which more than a quarter is dead.
    fn bury(
        &self,
        account: AccountNumber,
        splits: &[Arc<OpenSplit>],
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), IndexError> {
        let living = self.setup.index.living(account)?;
        for split in splits {
            let count = split.message_count();
            let alive = split.living(|blob| living.binary_search(&blob).is_ok()).count();
            if alive == 0 {
                self.setup.index.drop_splits(account, &[split.id()])?;
            } else if count.saturating_sub(alive) > count / 4 {
                self.join(account, std::slice::from_ref(split), Some(&living), go_on)?;
            }
        }
        Ok(())
    }

    /// Splits of one tier, if they are too many.
    fn too_many(&self, mut splits: Vec<Arc<OpenSplit>>) -> Vec<Arc<OpenSplit>> {
        let bounds = &self.setup.index.bounds;
        splits.sort_by_key(|split| split.message_count());
        let tier = |split: &Arc<OpenSplit>| {
            let base = bounds.tail_messages.max(1);
            let fan = u64_of(bounds.merged_splits.max(2));
            (u64::from(split.message_count()) / base).checked_ilog(fan).map_or(0, |tier| tier + 1)
        };
        for of_tier in splits.chunk_by(|one, next| tier(one) == tier(next)) {
            if of_tier.len() < bounds.merged_splits {
                continue;
            }
            let mut count = 0;
            let chosen: Vec<_> = of_tier
                .iter()
                .take_while(|split| {
                    count += split.message_count();
                    count <= bounds.split_messages
                })
                .map(Arc::clone)
                .collect();
            if chosen.len() > 1 {
                return chosen;
            }
        }
        Vec::new()
    }

    /// Makes one split of some.
    fn join(
        &self,
        account: AccountNumber,
        inputs: &[Arc<OpenSplit>],
        living: Option<&[BlobId]>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(), IndexError> {
        let index = &self.setup.index;
        let count: u64 = inputs.iter().map(|split| u64::from(split.message_count())).sum();
        let counted = match living {
            None if count > LOOKED_UP_MAX => Some(index.living(account)?),
            _ => None,
        };
        let living = living.or(counted.as_deref());
        let lives = |blob: BlobId| match living {
            Some(living) => living.binary_search(&blob).is_ok(),
            None => self.lives(blob),
        };
        let merged: Vec<Merged<'_>> = inputs
            .iter()
            .map(|input| Merged { split: input.split(), alive: input.living(lives) })
            .collect();
        let alive = merged.iter().map(|one| one.alive.count()).sum();
        let highest = merged
            .iter()
            .flat_map(|one| one.alive.iter().filter_map(|message| one.split.blob(message)).max());
        let highest = highest.max().map_or(0, |blob| blob.0.bits());
        let replaced: Vec<IndexFileId> = inputs.iter().map(|input| input.id()).collect();
        if alive == 0 {
            return Ok(index.drop_splits(account, &replaced)?);
        }
        let Some(writer) = index.folder().create(account)? else { return Ok(()) };
        let id = writer.id();
        let mut terms = 0;
        let made = merge(&merged, writer, || {
            terms += 1;
            terms % MERGED_TERMS != 0 || go_on()
        });
        match made {
            Ok(Some(writer)) => {
                let written = index.folder().publish(writer, (alive, highest), &replaced);
                self.published(account, id, written, &replaced)?;
                self.figures.merge_count.fetch_add(1, Ordering::Relaxed);
                self.setup.committed.index_feed.want(account);
                Ok(())
            }
            Ok(None) => {
                index.folder().abandon(account, id);
                Ok(())
            }
            Err(error) => {
                index.folder().abandon(account, id);
                self.not_joined(account, inputs, error)
            }
        }
    }

    /// What cannot be read of the splits is given up.
    fn not_joined(
        &self,
        account: AccountNumber,
        inputs: &[Arc<OpenSplit>],
        error: MergeError,
    ) -> Result<(), IndexError> {
        match error {
            MergeError::Write(error) => Err(error.into()),
            MergeError::Read(error) => {
                for input in inputs.iter().filter(|input| input.verify().is_err()) {
                    self.setup.index.give_up(account, input)?;
                }
                Err(error.into())
            }
        }
    }
}
