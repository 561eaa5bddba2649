//! UIDs that went from a mailbox since a position: what QRESYNC asks (RFC 7162).
//!
//! Each expunge is an entry of the mailbox (`mailbox/vanished.rs`), in memory until a checkpoint
//! has flushed, in the table `Vanished` after it. Entries are not dropped: when they are old, a
//! checkpoint makes one of many, under the position of the last of them. Who asks from a position
//! among those is told some UIDs that it knows to be gone already, which RFC 7162 section 3.2.10
//! allows, and never too few. What a mailbox keeps is so bounded by its gaps, not by its past.
//!
//! # Invariants
//! 1. An expunge above the position that is asked for, and not above the view's, is answered,
//!    whatever checkpoints do meanwhile.
//! 2. Merging looks at stamps of records alone, and asks no clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::changes::{Gone, MailboxKey};
use super::saved::{Saved, mailbox_key};
use super::table::{Table, TableBatch};
use crate::error::ReadError;
use crate::ids::{Lsn, UnixSeconds};
use crate::limits::VANISHED_APART_SECONDS;
use crate::mailbox::VanishedEntry;
use crate::uid_set::UidSet;

/// Old entries of a mailbox that are looked at by one checkpoint.
const MERGED_MAX: usize = 256;
/// Fewer are left as they are.
const MERGED_MIN: usize = 64;
/// An entry this many times as large as all after it is left alone: rewriting it gains little.
const LARGE: usize = 4;

/// Expunges that the tables do not have.
pub(super) type GoneMap = BTreeMap<(MailboxKey, Lsn), Gone>;

/// Expunges that wait for a checkpoint, and those that one is writing.
#[derive(Default)]
pub(super) struct RecentlyGone {
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    waiting: GoneMap,
    frozen: Arc<GoneMap>,
}

impl RecentlyGone {
    pub(super) fn extend(&self, gone: Vec<Gone>) {
        if !gone.is_empty() {
            let keyed = gone.into_iter().map(|gone| ((gone.mailbox, gone.modseq), gone));
            self.maps.lock().waiting.extend(keyed);
        }
    }

    /// What the next checkpoint writes; still found here until [`RecentlyGone::saved`].
    pub(super) fn freeze(&self) -> Arc<GoneMap> {
        let mut maps = self.maps.lock();
        maps.frozen = Arc::new(std::mem::take(&mut maps.waiting));
        Arc::clone(&maps.frozen)
    }

    pub(super) fn saved(&self) {
        self.maps.lock().frozen = Arc::default();
    }

    fn visit(&self, mailbox: MailboxKey, since: Lsn, visit: &mut dyn FnMut(Lsn, &UidSet)) {
        let maps = self.maps.lock();
        let span = (mailbox, since)..=(mailbox, Lsn::MAX);
        for map in [&*maps.frozen, &maps.waiting] {
            map.range(span.clone()).for_each(|((_, modseq), gone)| visit(*modseq, &gone.uids));
        }
    }
}

/// UIDs that went from a mailbox above `since` and not above `last`.
pub(super) fn between(
    recent: &RecentlyGone,
    saved: &Saved,
    mailbox: MailboxKey,
    (since, last): (Lsn, Lsn),
) -> Result<UidSet, ReadError> {
    let mut ranges = Vec::new();
    let mut add = |modseq: Lsn, uids: &UidSet| {
        if modseq > since && modseq <= last {
            ranges.extend_from_slice(uids.ranges());
        }
    };
    // Memory first: a checkpoint that ends meanwhile has put its entries into the tables before it
    // takes them out of memory.
    recent.visit(mailbox, since, &mut add);
    visit_saved(saved, mailbox, since, &mut |entry| {
        add(entry.modseq, &entry.uids);
        Ok(entry.modseq <= last)
    })?;
    Ok(UidSet::from_ranges(ranges))
}

fn visit_saved(
    saved: &Saved,
    mailbox: MailboxKey,
    from: Lsn,
    visit: &mut dyn FnMut(VanishedEntry) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    let (prefix, first) = (mailbox_key(mailbox), VanishedEntry::key(mailbox.0, mailbox.1, from));
    saved.tables.scan_from(Table::Vanished, &prefix, &first, &mut |key, sealed| {
        let plain = saved.values.open(Table::Vanished, key, mailbox.0, sealed)?;
        let modseq = key.last_chunk().copied().map(u64::from_be_bytes).and_then(Lsn::from_bits);
        visit(VanishedEntry::decode(modseq.unwrap_or(Lsn::ZERO), &plain)?)
    })
}

/// One entry for many old ones of a mailbox that had an expunge at `now`: the keys that go are
/// deleted in `batch`, what takes their place is answered.
pub(super) fn merge_old(
    saved: &Saved,
    mailbox: MailboxKey,
    now: UnixSeconds,
    batch: &mut TableBatch,
) -> Result<Option<VanishedEntry>, ReadError> {
    let mut old = Vec::new();
    visit_saved(saved, mailbox, Lsn::ZERO, &mut |entry| {
        let is_old = entry.at.0 < now.0.saturating_sub(VANISHED_APART_SECONDS);
        if is_old {
            old.push(entry);
        }
        Ok(is_old && old.len() < MERGED_MAX)
    })?;
    let sizes: Vec<usize> = old.iter().map(|entry| entry.uids.ranges().len()).collect();
    let worth = |first: usize| {
        let (head, rest) = (sizes.get(first), sizes.get(first.saturating_add(1)..));
        head.copied().unwrap_or(0) <= LARGE * rest.unwrap_or_default().iter().sum::<usize>()
    };
    let first = (0..sizes.len()).find(|&first| worth(first)).unwrap_or(sizes.len());
    let merged = old.get(first..).unwrap_or_default();
    let Some(last) = merged.last().filter(|_| merged.len() >= MERGED_MIN) else { return Ok(None) };
    for entry in merged {
        batch.delete(Table::Vanished, &VanishedEntry::key(mailbox.0, mailbox.1, entry.modseq));
    }
    let ranges = merged.iter().flat_map(|entry| entry.uids.ranges().iter().copied());
    let uids = UidSet::from_ranges(ranges);
    Ok(Some(VanishedEntry { modseq: last.modseq, uids, at: last.at }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AccountNumber, MailboxId, Uid, VolumeId};
    use crate::seal::{Key, KeyTable, RootKey, Sealer};
    use crate::state::table::MemoryTables;
    use crate::state::values::Values;

    const MAILBOX: MailboxKey = (AccountNumber(7), MailboxId([9; 16]));

    fn at(sequence: u64) -> Lsn {
        Lsn::new(1, sequence).unwrap()
    }

    fn saved(folder: &std::path::Path) -> Saved {
        let (sealer, disk) = (Sealer::system(), crate::disk::PlainDisk);
        let root = RootKey::new([1; 16], Key::random(sealer.random()));
        let disk: Arc<dyn crate::disk::Disk> = Arc::new(disk);
        let keys = KeyTable::create(&disk, folder, &sealer, &root, VolumeId([3; 16]), 1).unwrap();
        keys.add_account(MAILBOX.0).unwrap();
        let values = Arc::new(Values::new(sealer, Arc::new(keys)));
        Saved { tables: Arc::new(MemoryTables::new()), values }
    }

    /// What a checkpoint does with the expunge of one message.
    fn write(saved: &Saved, sequence: u64, uid: u32, now: i64) {
        let (modseq, now) = (at(sequence), UnixSeconds(now));
        let entry = VanishedEntry { modseq, uids: [Uid(uid)].into_iter().collect(), at: now };
        let mut batch = TableBatch::new();
        let put = |entry: &VanishedEntry, batch: &mut TableBatch| {
            let key = VanishedEntry::key(MAILBOX.0, MAILBOX.1, entry.modseq);
            let value =
                saved.values.seal(Table::Vanished, &key, MAILBOX.0, modseq, &entry.encode());
            batch.put(Table::Vanished, &key, value.unwrap());
        };
        put(&entry, &mut batch);
        if let Some(merged) = merge_old(saved, MAILBOX, now, &mut batch).unwrap() {
            put(&merged, &mut batch);
        }
        saved.tables.write(batch).unwrap();
    }

    #[test]
    fn old_expunges_are_told_together_and_never_too_few() {
        const COUNT: u32 = 900;
        let folder = tempfile::tempdir().unwrap();
        let saved = saved(folder.path());
        // Some a day, of every second message, so that no two of them make a range.
        for number in 1..=COUNT {
            write(&saved, u64::from(number), number * 2, i64::from(number) * 6000);
        }
        let mut rows = 0;
        let mut count = |_: &[u8], _: &[u8]| {
            rows += 1;
            Ok(true)
        };
        saved.tables.scan_prefix(Table::Vanished, &[], &mut count).unwrap();
        let apart = usize::try_from(VANISHED_APART_SECONDS / 6000).unwrap();
        assert!(rows < apart + 200, "{rows} rows");
        let recent = RecentlyGone::default();
        for since in (0..=COUNT).step_by(7) {
            let told = between(&recent, &saved, MAILBOX, (at(u64::from(since)), Lsn::MAX)).unwrap();
            let later = (since + 1..=COUNT).map(|number| Uid(number * 2)).collect::<UidSet>();
            assert!(later.iter().all(|uid| told.contains(uid)), "since {since}: {told}");
            let is_apart = usize::try_from(COUNT - since).unwrap() < apart;
            assert!(!is_apart || told == later, "since {since}: {told}");
        }
        let before = between(&recent, &saved, MAILBOX, (at(890), at(895))).unwrap();
        assert_eq!(before.to_string(), "1782,1784,1786,1788,1790");
    }

    #[test]
    fn an_expunge_is_found_while_a_checkpoint_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let (saved, recent) = (saved(folder.path()), RecentlyGone::default());
        let told = || between(&recent, &saved, MAILBOX, (at(4), at(9))).unwrap().to_string();
        let gone = |sequence, uid| Gone {
            mailbox: MAILBOX,
            modseq: at(sequence),
            uids: [Uid(uid)].into_iter().collect(),
            at: UnixSeconds(1),
        };
        recent.extend(vec![gone(4, 1), gone(5, 2), gone(10, 3)]);
        assert_eq!(told(), "2");
        recent.freeze();
        recent.extend(vec![gone(6, 9)]);
        assert_eq!(told(), "2,9");
        write(&saved, 5, 2, 1);
        recent.saved();
        assert_eq!(told(), "2,9");
    }
}
