//! Which keys of accounts each segment of the log names, and which values of the tables are to be
//! sealed anew: what tells when a retired key may be destroyed.
//!
//! ```text
//! value   in the table of the volume, key "key use " and segment u64, big-endian: format 1,
//!         names (log/key_names.rs). There is one if all of the segment was seen
//! ```
//! The committer, replay and reclaim tell what they write or read; a checkpoint keeps it. A segment
//! of which that is not known (an older version wrote it, or it was begun below the format level)
//! is read through by whoever asks (`store/keys.rs`). The open segment is always in memory, and so
//! is one that reclaim has written anew until its file is gone: until then it counts.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use super::saved::FORMAT;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::AccountNumber;
use crate::log::KeyNames;

const PREFIX: [u8; 8] = *b"key use ";

/// What a part of the log names, where it lies.
pub(crate) struct Named {
    pub(crate) segment: u64,
    /// Whether it is the segment's first group.
    pub(crate) is_first: bool,
    pub(crate) names: KeyNames,
}

/// What is known of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct KeyUse {
    /// Seen from its first group on; else it adds to what the tables have.
    pub(crate) is_whole: bool,
    pub(crate) names: KeyNames,
}

/// What the tables do not have yet.
#[derive(Default)]
pub(crate) struct KeyUses(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// `None`: the segment was rewritten and goes.
    segments: BTreeMap<u64, Option<KeyUse>>,
    /// What those name that were rewritten and whose files are still there; `None`: nobody knows.
    leaving: BTreeMap<u64, Option<KeyNames>>,
    /// To be written by the next checkpoint.
    dirty: BTreeSet<u64>,
    /// Being written by a checkpoint.
    frozen: BTreeSet<u64>,
    /// The segment that was written to last.
    open: Option<u64>,
}

impl KeyUses {
    /// A group was written, or replayed.
    pub(crate) fn note(&self, named: Named) {
        let Named { segment, is_first, names } = named;
        let mut inner = self.0.lock();
        inner.open = Some(segment);
        let known = inner.segments.entry(segment).or_default().get_or_insert_default();
        known.is_whole |= is_first;
        known.names.merge(&names);
        inner.dirty.insert(segment);
    }

    /// All of a segment was read, or is about to be written by reclaim.
    pub(crate) fn set(&self, segment: u64, names: KeyNames) {
        let mut inner = self.0.lock();
        if let Some(left) = inner.leaving.get_mut(&segment) {
            *left = Some(names);
            return;
        }
        inner.segments.insert(segment, Some(KeyUse { is_whole: true, names }));
        inner.dirty.insert(segment);
    }

    /// Reclaim wrote others in the place of these, whose files go later.
    pub(crate) fn leave(&self, old: impl IntoIterator<Item = (u64, Option<KeyNames>)>) {
        let mut inner = self.0.lock();
        for (old, names) in old {
            inner.leaving.insert(old, names);
            inner.segments.insert(old, None);
            inner.dirty.insert(old);
        }
    }

    /// The file of a segment is gone.
    pub(crate) fn released(&self, segment: u64) {
        let mut inner = self.0.lock();
        inner.leaving.remove(&segment);
        // Whoever read it meanwhile may have said once more what it named.
        inner.segments.insert(segment, None);
        inner.dirty.insert(segment);
    }

    /// What is in memory of a segment.
    pub(crate) fn find(&self, segment: u64) -> Option<KeyUse> {
        let inner = self.0.lock();
        if let Some(names) = inner.leaving.get(&segment) {
            return names.clone().map(|names| KeyUse { is_whole: true, names });
        }
        inner.segments.get(&segment).cloned().flatten()
    }

    pub(super) fn freeze(&self) -> BTreeMap<u64, Option<KeyUse>> {
        let mut inner = self.0.lock();
        let dirty = std::mem::take(&mut inner.dirty);
        let frozen: BTreeMap<_, _> = dirty
            .iter()
            .filter_map(|segment| Some((*segment, inner.segments.get(segment)?.clone())))
            .collect();
        inner.frozen = dirty;
        frozen
    }

    /// The tables have what was frozen.
    pub(super) fn flushed(&self) {
        let mut inner = self.0.lock();
        for segment in std::mem::take(&mut inner.frozen) {
            if !inner.dirty.contains(&segment) && inner.open != Some(segment) {
                inner.segments.remove(&segment);
            }
        }
    }
}

/// Accounts whose values in the tables are to be sealed under their newest key.
#[derive(Default)]
pub(crate) struct Reseal(Mutex<ResealInner>);

#[derive(Default)]
struct ResealInner {
    wanted: BTreeSet<AccountNumber>,
    /// Wholly in the checkpoint that is being written.
    written: BTreeSet<AccountNumber>,
}

impl Reseal {
    /// Asks for some accounts; checkpoints do it, a part each.
    pub(crate) fn want(&self, accounts: impl IntoIterator<Item = AccountNumber>) {
        self.0.lock().wanted.extend(accounts);
    }

    /// Asks for no more.
    pub(crate) fn stop(&self) {
        self.0.lock().wanted.clear();
    }

    /// What is left to do.
    pub(crate) fn wanted(&self) -> Vec<AccountNumber> {
        self.0.lock().wanted.iter().copied().collect()
    }

    pub(super) fn written(&self, account: AccountNumber) {
        self.0.lock().written.insert(account);
    }

    /// The checkpoint is flushed.
    pub(super) fn flushed(&self) {
        let mut inner = self.0.lock();
        for account in std::mem::take(&mut inner.written) {
            inner.wanted.remove(&account);
        }
    }
}

/// Whether a row of the volume is a segment's.
pub(super) fn is_key_use(key: &[u8]) -> bool {
    key.starts_with(&PREFIX)
}

/// The key of a segment's value.
pub(super) fn key_use_key(segment: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let parts = PREFIX.into_iter().chain(segment.to_be_bytes());
    key.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    key
}

pub(super) fn encode(names: &KeyNames) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u8(FORMAT);
    names.encode(&mut out);
    out.bytes
}

pub(super) fn decode(value: &[u8]) -> Result<KeyNames, Broken> {
    let mut from = Decoder::new(value);
    if from.u8()? != FORMAT {
        return Err("its format is not known to this version");
    }
    let names = KeyNames::decode(&mut from)?;
    from.end()?;
    Ok(names)
}
