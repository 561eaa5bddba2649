//! Keys of accounts that change: a new generation begins, what names older ones is taken over, and
//! a generation that nothing names is destroyed.
//!
//! ```text
//! rotate ─► key table, both copies ─► record ─► all that follows is sealed under the newest
//! rewrap ─► values of the tables sealed anew (checkpoints) ─┐
//!           headers of blobs re-wrapped (reclaim) ──────────┴─► fence ─► what names nothing more:
//!                                                               key table, then record
//! ```
//! Resumable, because what is left to do is found again from what segments and tables name.
//!
//! # Invariants
//! 1. A key is destroyed only when no segment of the log, living or not yet released, and no value
//!    of the tables names it; and nothing that was sealed under it before can enter any more: the
//!    fence lies between refusing that and looking.
//! 2. The key table comes before the record that tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::commit::{BELOW_LEVEL, Change};
use crate::error::{CommitError, ReadError};
use crate::format_level;
use crate::ids::{AccountNumber, KeyGeneration};
use crate::log::format::segment::GROUPS_AT;
use crate::log::{KeyNames, NamedBy, SegmentFile, SegmentNumber};
use crate::seal::KeyError;
use crate::width::u64_of;

use super::layout::Layout;
use super::{Inner, Store};

/// How often progress is told while reclaim works.
const WAIT: Duration = Duration::from_millis(200);

/// How far re-wrapping is, in segments of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RewrapProgress {
    /// Rewritten.
    pub segment_count: u64,
    /// Of how many.
    pub segment_total: u64,
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
    fn is_named(&self) -> bool {
        self.record_segments + self.header_segments + self.unread_segments + self.value_count > 0
    }
}

type Retired = (AccountNumber, KeyGeneration);

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
        inner.submit(|promise| Change::KeysBegun { keys, promise }).wait()
    }

    /// Takes over what retired keys seal, of one account or of all, at reclaim's rate, and destroys
    /// those keys that nothing names any more. Says of each what became of it.
    ///
    /// # Errors
    /// A format level that is too old, reclaim that is switched off, a disk without room for the
    /// copy of a segment, or a volume that takes no changes. What was done stays done.
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
        self.close_segment_of(&retired)?;
        // What the tables get from now on is sealed under the newest keys, and segments that were
        // closed for these keys' sake lie below flushed state.
        self.checkpoint_or_refuse()?;
        let names = inner.names_of_segments(Unread::Read)?;
        let open = names.keys().next_back().copied();
        let closed = names.iter().filter(|(segment, _)| Some(**segment) != open);
        let ordered = closed.filter(|(_, names)| {
            let has = |(account, generation): &Retired| {
                let by = names.as_ref().and_then(|names| names.named_by(*account, *generation));
                by.is_some_and(|by| by.has(NamedBy::HEADERS))
            };
            retired.iter().any(has)
        });
        inner.reclaimed.orders.add(ordered.map(|(segment, _)| *segment));
        inner.committed.reseal.want(retired.iter().map(|(account, _)| *account));
        self.wait_for_rewrap(progress)?;
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
            let at = ordered.unwrap_or_default();
            progress(RewrapProgress { segment_count: at.done, segment_total: at.total });
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

    /// Destroys those of the retired keys that nothing names.
    fn destroy(&self, retired: &[Retired]) -> Result<Vec<RetiredKey>, CommitError> {
        let inner = &self.inner;
        inner.keys.begin_ending(retired);
        inner.submit(|promise| Change::Fence { promise }).wait()?;
        let mut keys = inner.held(retired, Unread::Read)?;
        for key in keys.iter_mut().filter(|key| !key.is_named()) {
            let (account, generation) = (key.account, key.generation);
            match inner.keys.remove_generation(account, generation) {
                // The account was deleted meanwhile, with all its keys.
                Ok(_) | Err(KeyError::NoAccount(_)) => key.is_destroyed = true,
                Err(error) => return Err(key_error(error)),
            }
        }
        let kept = keys.iter().filter(|key| !key.is_destroyed);
        let kept: Vec<Retired> = kept.map(|key| (key.account, key.generation)).collect();
        inner.keys.stop_ending(&kept);
        for key in keys.iter().filter(|key| key.is_destroyed) {
            let (account, generation) = (key.account, key.generation);
            let change = |promise| Change::KeyDestroyed { account, generation, promise };
            inner.submit(change).wait()?;
        }
        Ok(keys)
    }
}

/// What to do about segments of which it is not known what they name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Read them.
    Read,
    /// Count them.
    Leave,
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

    fn held(&self, retired: &[Retired], unread: Unread) -> Result<Vec<RetiredKey>, ReadError> {
        let segments = self.names_of_segments(unread)?;
        let unread_segments = u64_of(segments.values().filter(|names| names.is_none()).count());
        let mut values = BTreeMap::new();
        let mut keys = Vec::with_capacity(retired.len());
        for &(account, generation) in retired {
            let count = |by: NamedBy| {
                let named = segments.values().flatten();
                let named = named.filter_map(|names| names.named_by(account, generation));
                u64_of(named.filter(|named| named.has(by)).count())
            };
            if unread == Unread::Read && !values.contains_key(&account) {
                values.insert(account, self.saved.generations(account)?);
            }
            let sealed = values.get(&account).and_then(|counts| counts.get(&generation));
            let state = self.committed.account(account);
            keys.push(RetiredKey {
                account,
                name: state.map(|state| state.profile.name.clone()).unwrap_or_default(),
                generation,
                is_destroyed: false,
                record_segments: count(NamedBy::RECORDS),
                header_segments: count(NamedBy::HEADERS),
                unread_segments,
                value_count: sealed.copied().unwrap_or_default(),
            });
        }
        Ok(keys)
    }

    /// Every segment that is there, and the keys that it names; `None`: nobody knows.
    ///
    /// A segment that is gone when it is looked at was rewritten meanwhile, perhaps into one that
    /// the list of files does not have yet: all is looked at once more then.
    fn names_of_segments(
        &self,
        unread: Unread,
    ) -> Result<BTreeMap<SegmentNumber, Option<KeyNames>>, ReadError> {
        loop {
            if let Some(names) = self.names_of_files(unread)? {
                return Ok(names);
            }
        }
    }

    /// The same; `None` if a segment went meanwhile.
    fn names_of_files(
        &self,
        unread: Unread,
    ) -> Result<Option<BTreeMap<SegmentNumber, Option<KeyNames>>>, ReadError> {
        let directory = Layout::of(&self.directory).log();
        let files = self.disk.list(&directory)?;
        let numbers: BTreeSet<SegmentNumber> =
            files.iter().filter_map(|path| SegmentNumber::of(path)).collect();
        let open = numbers.last().copied();
        let mut names = BTreeMap::new();
        for number in numbers {
            let mut found = self.committed.key_names(number.0)?;
            if found.is_none() {
                let path = number.path(&directory);
                if unread == Unread::Read {
                    found = self.read_names(&path, open == Some(number));
                }
                if !self.disk.exists(&path)? {
                    return Ok(None);
                }
            }
            names.insert(number, found);
        }
        Ok(Some(names))
    }

    /// What a segment names, read from its groups; it is known from now on if the segment is
    /// closed.
    fn read_names(&self, path: &std::path::Path, is_open: bool) -> Option<KeyNames> {
        let number = SegmentNumber::of(path)?;
        let read = || match is_open {
            true => self.read_open(path).map(Some),
            false => self.read_closed(path),
        };
        let found = read().unwrap_or_else(|error| {
            tracing::warn!("a segment's keys are not known: {error}");
            None
        });
        if let Some(found) = found.as_ref().filter(|_| !is_open) {
            self.committed.key_uses.set(number.0, found.clone());
        }
        found
    }

    fn read_closed(&self, path: &std::path::Path) -> Result<Option<KeyNames>, ReadError> {
        let file = SegmentFile::open_cached(self.disk.as_ref(), path)?;
        let Some(footer) = file.footer()? else { return Ok(None) };
        let mut names = KeyNames::default();
        let mut buffer = Vec::new();
        for entry in footer.groups {
            match file.group_at(entry.offset, &mut buffer)? {
                Ok((_, group)) => names.merge(&KeyNames::of_group(&group)),
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(names))
    }

    /// What the open segment names, up to its end: all that was written before is there, and what
    /// is being written names no key that is about to end.
    fn read_open(&self, path: &std::path::Path) -> Result<KeyNames, ReadError> {
        let file = SegmentFile::open_cached(self.disk.as_ref(), path)?;
        let mut names = KeyNames::default();
        let mut buffer = Vec::new();
        let mut at = GROUPS_AT;
        while let Ok((found, group)) = file.group_at(at, &mut buffer)? {
            names.merge(&KeyNames::of_group(&group));
            at = found.end();
        }
        Ok(names)
    }

    /// How far re-wrapping is, if it goes on.
    pub(super) fn rewrap_progress(&self) -> Option<RewrapProgress> {
        let at = self.reclaimed.orders.progress();
        let is_sealing = !self.committed.reseal.wanted().is_empty();
        (at.is_some() || is_sealing).then(|| {
            let at = at.unwrap_or_default();
            RewrapProgress { segment_count: at.done, segment_total: at.total }
        })
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
