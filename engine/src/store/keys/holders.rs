//! What names a key: segments of the log, by records and by headers of blobs; and values of the
//! tables.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;

use super::{Retired, RetiredKey};
use crate::error::ReadError;
use crate::ids::Lsn;
use crate::log::format::segment::GROUPS_AT;
use crate::log::{KeyNames, NamedBy, SegmentFile, SegmentNumber};
use crate::store::Inner;
use crate::store::layout::Layout;
use crate::width::u64_of;

/// What to do about segments of which it is not known what they name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// Read them.
    Read,
    /// Count them.
    Leave,
}

impl Inner {
    /// These keys, and what names each.
    pub(super) fn held(
        &self,
        retired: &[Retired],
        unread: Unread,
    ) -> Result<Vec<RetiredKey>, ReadError> {
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
    pub(super) fn names_of_segments(
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
    fn read_names(&self, path: &Path, is_open: bool) -> Option<KeyNames> {
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

    /// Closed segments that name one of these keys, and by what.
    pub(super) fn segments_naming(
        &self,
        keys: &[Retired],
    ) -> Result<BTreeMap<SegmentNumber, NamedBy>, ReadError> {
        let mut segments = self.names_of_segments(Unread::Read)?;
        // It is being written, and was closed if it named one.
        segments.pop_last();
        let naming = segments.into_iter().filter_map(|(number, names)| {
            let names = names?;
            let named = keys.iter().filter_map(|(account, key)| names.named_by(*account, *key));
            Some((number, named.reduce(NamedBy::and)?))
        });
        Ok(naming.collect())
    }

    /// The positions of a closed segment; `None` if they cannot be told, or it is gone: what names
    /// a key there is found again when all is looked at once more.
    pub(super) fn span_of(&self, number: SegmentNumber) -> Option<RangeInclusive<Lsn>> {
        let path = number.path(&Layout::of(&self.directory).log());
        let read = || -> Result<_, ReadError> {
            let file = SegmentFile::open_cached(self.disk.as_ref(), &path)?;
            let last = file.footer()?.and_then(|footer| Some(footer.groups.last()?.last_lsn));
            Ok(last.map(|last| file.header.first_lsn..=last))
        };
        read().unwrap_or_else(|error| {
            tracing::debug!("records of a segment keep their keys for now: {error}");
            None
        })
    }

    fn read_closed(&self, path: &Path) -> Result<Option<KeyNames>, ReadError> {
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
    /// is being written names no key that is about to end. Where its chain ends, a recycled file
    /// may go on with groups of its earlier life, which count for nothing.
    fn read_open(&self, path: &Path) -> Result<KeyNames, ReadError> {
        let file = SegmentFile::open_cached(self.disk.as_ref(), path)?;
        let mut names = KeyNames::default();
        let mut buffer = Vec::new();
        let (mut at, mut previous) = (GROUPS_AT, file.header.previous);
        while let Ok((found, group)) = file.group_at(at, &mut buffer)? {
            if group.header.stamp.previous != previous {
                break;
            }
            names.merge(&KeyNames::of_group(&group));
            (at, previous) = (found.end(), group.hash);
        }
        Ok(names)
    }
}

#[cfg(test)]
impl crate::store::Store {
    /// What is known of each segment is what it names, read anew. More may be known of those whose
    /// last groups a power cut took.
    pub(crate) fn compare_key_names(&self) {
        let inner = &self.inner;
        let directory = Layout::of(&inner.directory).log();
        for (number, known) in inner.names_of_segments(Unread::Leave).unwrap() {
            let Some(known) = known else { continue };
            let named = inner.read_open(&number.path(&directory)).unwrap();
            let mut both = known.clone();
            both.merge(&named);
            assert_eq!(known, both, "segment {number:?} names more than is known");
        }
    }

    /// What of a key is left: whether it is in the table, and in how many segments and values.
    pub(crate) fn what_is_left_of(
        &self,
        account: crate::ids::AccountNumber,
        generation: crate::ids::KeyGeneration,
    ) -> (bool, usize, u64) {
        let inner = &self.inner;
        let directory = Layout::of(&inner.directory).log();
        let files = inner.disk.list(&directory).unwrap();
        let numbers = files.iter().filter_map(|path| SegmentNumber::of(path));
        let names = numbers.map(|number| inner.read_open(&number.path(&directory)).unwrap());
        let segments = names.filter(|names| names.named_by(account, generation).is_some()).count();
        let values = inner.saved.generations(account).unwrap();
        let values = values.get(&generation).copied().unwrap_or_default();
        (inner.keys.key(account, generation).is_some(), segments, values)
    }
}
