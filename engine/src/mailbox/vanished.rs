//! Expunged UIDs with the MODSEQ of their expunge, kept for a set time for QRESYNC (RFC 7162).
//!
//! One entry an expunge, stored under its MODSEQ:
//!
//! ```text
//! size  field        meaning
//!    1  format       1
//!    n  at           signed: when, seconds since 1970
//!    n  range_count  number: at least 1
//!    …  ranges       each: first UID − (last UID of the one before + 2), the first: its UID;
//!                    then last UID − first UID
//! ```
//!
//! Entries past their time are dropped from the oldest on; the highest MODSEQ dropped is
//! remembered, and who asks for less gets the full complement instead of a list.

use std::collections::BTreeMap;

use crate::error::ReadError;
use crate::ids::{AccountNumber, Lsn, MailboxId, UnixSeconds};
use crate::mailbox::varint::{self, Reader};
use crate::uid_set::UidSet;
use crate::width::u64_of;

pub(super) const FORMAT: u8 = 1;

/// What one expunge removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct VanishedEntry {
    /// Position of the expunge.
    pub(crate) modseq: Lsn,
    /// What it removed.
    pub(crate) uids: UidSet,
    /// When, by the record's stamp.
    pub(crate) at: UnixSeconds,
}

impl VanishedEntry {
    /// The table store's key: sorts by account, mailbox, MODSEQ.
    pub(crate) fn key(account: AccountNumber, mailbox: MailboxId, modseq: Lsn) -> [u8; 32] {
        let mut key = [0; 32];
        let (first, rest) = key.split_at_mut(8);
        let (second, third) = rest.split_at_mut(16);
        first.copy_from_slice(&account.0.to_be_bytes());
        second.copy_from_slice(&mailbox.0);
        third.copy_from_slice(&modseq.bits().to_be_bytes());
        key
    }

    /// As it is stored, without the MODSEQ, which is in its key.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        varint::put_signed(&mut out, self.at.0);
        varint::put(&mut out, u64_of(self.uids.ranges().len()));
        let mut least = 0u64;
        for &(first, last) in self.uids.ranges() {
            varint::put(&mut out, u64::from(first) - least);
            varint::put(&mut out, u64::from(last) - u64::from(first));
            least = u64::from(last) + 2;
        }
        out
    }

    /// From what is stored under the key of `modseq`.
    pub(crate) fn decode(modseq: Lsn, bytes: &[u8]) -> Result<VanishedEntry, ReadError> {
        let mut reader = Reader::new(bytes, "list of expunged UIDs");
        reader.format(FORMAT)?;
        let at = UnixSeconds(reader.signed()?);
        let count = reader.number()?;
        if count == 0 {
            return Err(reader.wrong("it has no UIDs"));
        }
        let mut uids = UidSet::new();
        let mut least = 0u64;
        for _ in 0..count {
            let first = least + u64::from(reader.number32()?);
            let last = first + u64::from(reader.number32()?);
            let first = u32::try_from(first).map_err(|_| reader.wrong("a UID has 33 bits"))?;
            let end = u32::try_from(last).map_err(|_| reader.wrong("a UID has 33 bits"))?;
            uids.push_range(first, end);
            least = last + 2;
        }
        reader.end()?;
        Ok(VanishedEntry { modseq, uids, at })
    }
}

/// The entries of one mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct VanishedList {
    entries: BTreeMap<Lsn, (UidSet, UnixSeconds)>,
    dropped: Lsn,
}

impl VanishedList {
    /// Of stored entries; `dropped` is the highest MODSEQ of those dropped for their age.
    pub(crate) fn new(
        dropped: Lsn,
        entries: impl IntoIterator<Item = VanishedEntry>,
    ) -> VanishedList {
        let mut list = VanishedList { dropped, ..VanishedList::default() };
        entries.into_iter().for_each(|entry| list.add(entry));
        list
    }

    /// Adds an expunge; the same again changes nothing.
    pub(crate) fn add(&mut self, entry: VanishedEntry) {
        if !entry.uids.is_empty() {
            self.entries.insert(entry.modseq, (entry.uids, entry.at));
        }
    }

    /// UIDs that vanished after `modseq`; `None` if entries above it have been dropped.
    pub(crate) fn since(&self, modseq: Lsn) -> Option<UidSet> {
        if modseq < self.dropped {
            return None;
        }
        let later = self.entries.range(modseq..).filter(|&(&at, _)| at > modseq);
        Some(UidSet::from_ranges(later.flat_map(|(_, (uids, _))| uids.ranges().iter().copied())))
    }

    /// Drops the oldest entries up to the first that is not before `time`; answers the MODSEQs
    /// whose keys are to be deleted.
    pub(crate) fn drop_before(&mut self, time: UnixSeconds) -> Vec<Lsn> {
        let mut gone = Vec::new();
        while let Some(entry) = self.entries.first_entry().filter(|entry| entry.get().1 < time) {
            self.dropped = self.dropped.max(*entry.key());
            gone.push(*entry.key());
            entry.remove();
        }
        gone
    }

    /// The highest MODSEQ of the entries dropped, to be stored beside the list.
    pub(crate) fn dropped(&self) -> Lsn {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(sequence: u64) -> Lsn {
        Lsn::new(1, sequence).unwrap()
    }

    fn entry(sequence: u64, range: (u32, u32)) -> VanishedEntry {
        let at_time = UnixSeconds(i64::try_from(sequence).unwrap());
        VanishedEntry { modseq: at(sequence), uids: UidSet::from_ranges([range]), at: at_time }
    }

    #[test]
    fn a_client_that_was_away_learns_what_vanished_meanwhile() {
        let mut list = VanishedList::new(Lsn::ZERO, [entry(5, (1, 3)), entry(9, (4, 4))]);
        assert_eq!(list.since(at(4)).unwrap().to_string(), "1:4");
        assert_eq!(list.since(at(5)).unwrap().to_string(), "4");
        assert_eq!(list.since(at(9)).unwrap().to_string(), "");
        assert_eq!(list.drop_before(UnixSeconds(6)), [at(5)]);
        assert_eq!(list.since(at(4)), None);
        assert_eq!(list.since(at(5)).unwrap().to_string(), "4");
    }

    proptest! {
        #[test]
        fn entries_are_read_as_written(
            ranges in proptest::collection::vec((any::<u32>(), any::<u32>()), 1..20),
            time: i64,
        ) {
            let uids = UidSet::from_ranges(ranges);
            let entry = VanishedEntry { modseq: at(7), uids, at: UnixSeconds(time) };
            prop_assert_eq!(VanishedEntry::decode(at(7), &entry.encode()).unwrap(), entry);
        }

        #[test]
        fn any_bytes_are_an_entry_or_an_error(mut bytes: Vec<u8>) {
            bytes.insert(0, FORMAT);
            let _ = VanishedEntry::decode(at(7), &bytes);
        }
    }
}
