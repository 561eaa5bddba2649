//! Which keys of accounts a part of the log needs: what its records and headers of blobs name.
//!
//! A record's payload begins with the generation of the key that sealed it, and a blob's header
//! names one for each account, both in the clear; so this is told without any key.
//!
//! ```text
//! as stored: list(account u64, generation, u8: 1 records, 2 headers of blobs, 3 both)
//! ```

use std::collections::BTreeMap;

use super::format::group::Group;
use super::format::item::Item;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, KeyGeneration};
use crate::seal::BlobHeader;

/// What a key is named by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NamedBy(u8);

impl NamedBy {
    /// Records.
    pub(crate) const RECORDS: NamedBy = NamedBy(1);
    /// Headers of blobs.
    pub(crate) const HEADERS: NamedBy = NamedBy(2);

    /// Both.
    pub(crate) fn and(self, other: NamedBy) -> NamedBy {
        NamedBy(self.0 | other.0)
    }

    /// Whether it is all of `other`.
    pub(crate) fn has(self, other: NamedBy) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Keys that are named, but for the volume's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct KeyNames(BTreeMap<(AccountNumber, KeyGeneration), NamedBy>);

impl KeyNames {
    /// What a group names: its records, and the headers whose bytes are there.
    pub(crate) fn of_group(group: &Group<'_>) -> KeyNames {
        let mut names = KeyNames::default();
        for placed in group.items() {
            match placed.item {
                Item::Record { header, payload } => names.note_record(header.account, payload),
                Item::Chunk { header, bytes: Some(bytes), .. } => {
                    names.note_chunk(header.number, bytes);
                }
                Item::Chunk { bytes: None, .. } => {}
            }
        }
        names
    }

    /// Takes a record in.
    pub(crate) fn note_record(&mut self, account: AccountNumber, payload: &[u8]) {
        if account == AccountNumber::VOLUME {
            return;
        }
        if let Some(generation) = payload.first_chunk() {
            let generation = KeyGeneration(u32::from_le_bytes(*generation));
            self.note((account, generation), NamedBy::RECORDS);
        }
    }

    /// Takes a chunk in; only a blob's header names keys.
    pub(crate) fn note_chunk(&mut self, number: u16, bytes: &[u8]) {
        if number != 0 {
            return;
        }
        let Ok(header) = BlobHeader::parse(bytes) else { return };
        for entry in header.entries {
            self.note((entry.account, entry.generation), NamedBy::HEADERS);
        }
    }

    fn note(&mut self, key: (AccountNumber, KeyGeneration), by: NamedBy) {
        self.0.entry(key).or_default().0 |= by.0;
    }

    /// Takes all of `other` in.
    pub(crate) fn merge(&mut self, other: &KeyNames) {
        other.0.iter().for_each(|(key, by)| self.note(*key, *by));
    }

    /// What names that key.
    pub(crate) fn named_by(
        &self,
        account: AccountNumber,
        generation: KeyGeneration,
    ) -> Option<NamedBy> {
        self.0.get(&(account, generation)).copied()
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.count(self.0.len());
        for ((account, generation), by) in &self.0 {
            out.u64(account.0);
            out.varint(u64::from(generation.0));
            out.u8(by.0);
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<KeyNames, Broken> {
        let mut names = KeyNames::default();
        for (account, generation, by) in
            from.list(|from| Ok((from.u64()?, from.u32()?, from.u8()?)))?
        {
            if !(1..=3).contains(&by) {
                return Err("a key is named by something unknown");
            }
            names.note((AccountNumber(account), KeyGeneration(generation)), NamedBy(by));
        }
        Ok(names)
    }
}
