//! Keys of accounts that change: a new generation begins, what names older ones is taken over, and
//! a generation that nothing names is destroyed.
//!
//! ```text
//! rotate ─► key table, both copies ─► record ─► all that follows is sealed under the newest
//! rewrap ─► base images, where records name it ─► segments rewritten: those records go, headers
//!           of blobs are re-wrapped (reclaim) ──────────────┐
//!           values of the tables sealed anew (checkpoints) ─┴─► fence ─► what names nothing more:
//!                                                               key table, then record
//! ```
//! Resumable, because what is left to do is found again from what segments and tables name.
//! `holders` finds what names a key, `ending` destroys it: for whoever asks, and by itself when
//! reclaim has removed the last that named it.
//!
//! Files of the full-text index are re-wrapped in their headers as soon as a new generation begins;
//! one that still names a destroyed key does not open, and is made anew.
//!
//! Records are never sealed anew. Where some name a retired key, base images are made that name
//! nothing in those segments, for all accounts, because a group is kept for any one record in it;
//! units of other segments are named again. Images that are there already are enough.
//!
//! # Invariants
//! 1. A key is destroyed only when no segment of the log, living or not yet released, and no value
//!    of the tables names it; and nothing that was sealed under it before can enter any more: the
//!    fence lies between refusing that and looking. What was seen in the tables is flushed before.
//! 2. The key table comes before the record that tells of it.
//! 3. One at a time destroys keys.

mod ending;
mod holders;

pub(super) use self::ending::Ending;

use std::collections::BTreeSet;
use std::time::Duration;

use self::holders::Unread;
use super::{Inner, Store};
use crate::base::Spans;
use crate::commit::{BELOW_LEVEL, Change};
use crate::error::{CommitError, ReadError};
use crate::format_level;
use crate::ids::{AccountNumber, KeyGeneration};
use crate::log::NamedBy;
use crate::reclaim::OrdersProgress;
use crate::seal::KeyError;
use crate::state::Coverage;

/// How often progress is told while reclaim works.
const WAIT: Duration = Duration::from_millis(200);

/// How far re-wrapping is, in segments of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RewrapProgress {
    /// Base images are made first, so that records under retired keys can go.
    pub is_imaging: bool,
    /// Rewritten.
    pub segment_count: u64,
    /// Of how many.
    pub segment_total: u64,
}

impl From<OrdersProgress> for RewrapProgress {
    fn from(at: OrdersProgress) -> RewrapProgress {
        let OrdersProgress { done, total, is_imaging } = at;
        RewrapProgress { is_imaging, segment_count: done, segment_total: total }
    }
}

/// A retired generation of an account's key, and what still names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RetiredKey {
    /// Whose.
    pub account: AccountNumber,
    /// The account's name; empty if it is being deleted.
    pub name: String,
    /// Which of its keys.
    pub generation: KeyGeneration,
    /// It is destroyed: nothing named it any more.
    pub is_destroyed: bool,
    /// Segments with records that it sealed.
    pub record_segments: u64,
    /// Segments with headers of blobs that it opens.
    pub header_segments: u64,
    /// Segments of which nobody knows what they name: they cannot be read, or are still being
    /// written since a time when that was not noted.
    pub unread_segments: u64,
    /// Values of the tables that it sealed.
    pub value_count: u64,
}

impl RetiredKey {
    /// Whether anything names it.
    fn is_named(&self) -> bool {
        self.record_segments + self.header_segments + self.unread_segments + self.value_count > 0
    }
}

type Retired = (AccountNumber, KeyGeneration);

/// What to do about records that no base image covers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Images {
    /// Order images.
    Order,
    /// Leave the records, and segments that are named for nothing else.
    Use,
}

impl Store {
    /// Begins a new generation of these accounts' keys: what comes from now on is sealed under it.
    ///
    /// # Errors
    /// An account that does not exist, a format level that is too old, or a volume that takes no
    /// changes.
    pub fn rotate_account_keys(&self, accounts: &[AccountNumber]) -> Result<(), CommitError> {
        let inner = &self.inner;
        inner.check_key_level()?;
        if let Some(reason) = inner.commit_status.stopped() {
            tracing::debug!("no keys are begun: {reason}");
            return Err(inner.refusal());
        }
        if accounts.is_empty() {
            return Ok(());
        }
        let (_, keys) = inner.keys.new_generations(accounts).map_err(key_error)?;
        inner.submit(|promise| Change::KeysBegun { keys, promise }).wait()?;
        accounts.iter().for_each(|account| inner.indexing.index.rewrap(*account));
        Ok(())
    }

    /// Takes over what retired keys seal, of one account or of all, at reclaim's rate, and destroys
    /// those keys that nothing names any more. Says of each what became of it. What was sealed
    /// before and came meanwhile may keep one; asked again, this takes it over too.
    ///
    /// # Errors
    /// A format level that is too old, reclaim that is switched off, a disk without room for the
    /// copy of a segment or for base images, or a volume that takes no changes. What was done stays
    /// done.
    pub fn rewrap(
        &self,
        only: Option<AccountNumber>,
        progress: &mut dyn FnMut(RewrapProgress),
    ) -> Result<Vec<RetiredKey>, CommitError> {
        let inner = &self.inner;
        inner.check_key_level()?;
        let retired = inner.retired(only);
        if retired.is_empty() {
            return Ok(Vec::new());
        }
        if !inner.driver.reclaims() && inner.steps.is_none() {
            return Err(CommitError::NotPermitted { what: NO_RECLAIM });
        }
        // What of the index was begun before the new generation, and is sealed under an old one.
        retired.iter().for_each(|(account, _)| inner.indexing.index.rewrap(*account));
        self.close_segment_of(&retired)?;
        // What the tables get from now on is sealed under the newest keys, and segments that were
        // closed for these keys' sake lie below flushed state.
        self.checkpoint_or_refuse()?;
        inner.order(&retired, Images::Order)?;
        inner.committed.reseal.want(retired.iter().map(|(account, _)| *account));
        self.wait_for_rewrap(progress)?;
        // One that reclaim was copying before there were images has its records still, and may have
        // been joined with others, where the images did name something.
        for images in [Images::Order, Images::Use] {
            let is_left = !inner.reclaimed.orders.was_stopped();
            if is_left && inner.order(&retired, images)? > 0 {
                self.wait_for_rewrap(progress)?;
            }
        }
        self.destroy(&retired)
    }

    /// Ends re-wrapping after the segment that is being rewritten. What was done stays done.
    pub fn stop_rewrap(&self) {
        self.inner.reclaimed.orders.stop();
        self.inner.committed.reseal.stop();
    }

    /// Closes the open segment if it names retired keys: messages that were on their way may have
    /// brought them. The record says once more which keys are the newest.
    fn close_segment_of(&self, retired: &[Retired]) -> Result<(), CommitError> {
        let inner = &self.inner;
        let names = inner.names_of_segments(Unread::Leave)?;
        let open = names.into_values().next_back().flatten();
        let is_named = |(account, generation): &Retired| match &open {
            Some(names) => names.named_by(*account, *generation).is_some(),
            None => true,
        };
        if !retired.iter().any(is_named) {
            return Ok(());
        }
        let snapshot = inner.keys.snapshot();
        let accounts: BTreeSet<AccountNumber> =
            retired.iter().map(|(account, _)| *account).collect();
        let newest = accounts
            .into_iter()
            .filter_map(|account| Some((account, snapshot.current(account)?.0)));
        let keys = newest.collect();
        inner.submit(|promise| Change::KeysBegun { keys, promise }).wait()
    }

    fn checkpoint_or_refuse(&self) -> Result<(), CommitError> {
        if self.checkpoint() { Ok(()) } else { Err(self.inner.refusal()) }
    }

    fn wait_for_rewrap(&self, progress: &mut dyn FnMut(RewrapProgress)) -> Result<(), CommitError> {
        let inner = &self.inner;
        loop {
            let ordered = inner.reclaimed.orders.progress();
            let is_sealing = !inner.committed.reseal.wanted().is_empty();
            if ordered.is_none() && inner.reclaimed.orders.had_no_room() {
                inner.committed.reseal.stop();
                return Err(CommitError::DiskFull);
            }
            if ordered.is_none() && !is_sealing {
                return Ok(());
            }
            if inner.commit_status.stopped().is_some() {
                return Err(inner.refusal());
            }
            progress(ordered.unwrap_or_default().into());
            if is_sealing {
                self.checkpoint_or_refuse()?;
            }
            match &inner.steps {
                None => {
                    inner.driver.wake_reclaim();
                    inner.reclaimed.orders.wait(WAIT);
                }
                Some(steps) => steps.rewrap()?,
            }
        }
    }
}

impl Inner {
    fn check_key_level(&self) -> Result<(), CommitError> {
        if self.committed.format_level() < format_level::KEY_GENERATIONS {
            return Err(CommitError::NotPermitted { what: BELOW_LEVEL });
        }
        Ok(())
    }

    fn retired(&self, only: Option<AccountNumber>) -> Vec<Retired> {
        let keys = self.keys.snapshot();
        keys.retired().filter(|(account, _)| only.is_none_or(|only| only == *account)).collect()
    }

    /// Retired keys and what names them, as far as that is known without reading segments or
    /// tables; nothing if that cannot be told.
    pub(super) fn retired_keys(&self) -> Vec<RetiredKey> {
        let retired = self.retired(None);
        if retired.is_empty() {
            return Vec::new();
        }
        self.held(&retired, Unread::Leave).unwrap_or_default()
    }

    /// Orders all that has to be rewritten so that nothing names these keys; answers how many
    /// segments.
    fn order(&self, retired: &[Retired], images: Images) -> Result<usize, CommitError> {
        let mut named = self.segments_naming(retired)?;
        let has_records = |by: NamedBy| by.has(NamedBy::RECORDS);
        let with_records = named.iter().filter(|(_, by)| has_records(**by));
        let mut records = Spans::of(with_records.filter_map(|(number, _)| self.span_of(*number)));
        if self.is_free(&records)? {
            records = Spans::default();
        } else if images == Images::Use {
            records = Spans::default();
            named.retain(|_, by| by.has(NamedBy::HEADERS));
        }
        let count = named.len();
        self.reclaimed.orders.add(named.into_keys(), records);
        Ok(count)
    }

    /// Whether base images that flushed state knows let all records there go.
    fn is_free(&self, records: &Spans) -> Result<bool, CommitError> {
        let Some(last) = records.last() else { return Ok(true) };
        let Some(stamp) = self.saved.stamp()? else { return Ok(false) };
        let coverage = Coverage::new(&self.committed.bases(), stamp.lsn, self.keys.snapshot());
        let accounts = self.committed.accounts().into_iter().map(|account| account.number);
        let mut all = accounts.chain([AccountNumber::VOLUME]);
        Ok(all.all(|account| coverage.frees(account, last, &|lsn| records.has(lsn))))
    }

    /// How far re-wrapping is, if it goes on.
    pub(super) fn rewrap_progress(&self) -> Option<RewrapProgress> {
        let at = self.reclaimed.orders.progress();
        let is_sealing = !self.committed.reseal.wanted().is_empty();
        (at.is_some() || is_sealing).then(|| at.unwrap_or_default().into())
    }
}

/// Why nothing is re-wrapped.
const NO_RECLAIM: &str = "reclaim is switched off, and headers are re-wrapped by it and at its \
    rate; set store.reclaim_bytes_per_second and restart";

fn key_error(error: KeyError) -> CommitError {
    match error {
        KeyError::NoAccount(_) => CommitError::NoSuchAccount,
        other => CommitError::Read(ReadError::Table(other.to_string())),
    }
}
