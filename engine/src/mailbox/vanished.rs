//! Expunged UIDs with the MODSEQ of their expunge, kept for QRESYNC (RFC 7162).
//!
//! One entry an expunge, or one for many old ones (`state/vanished.rs`), stored under its MODSEQ:
//!
//! ```text
//! size  field        meaning
//!    1  format       1
//!    n  at           signed: when, seconds since 1970
//!    n  range_count  number: at least 1
//!    …  ranges       each: first UID − (last UID of the one before + 2), the first: its UID;
//!                    then last UID − first UID
//! ```

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(sequence: u64) -> Lsn {
        Lsn::new(1, sequence).unwrap()
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
