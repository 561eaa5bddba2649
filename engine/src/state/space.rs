//! How many bytes of each segment are alive, as flushed checkpoints have it.
//!
//! A chunk is alive while its placement row exists: the checkpoint that removes a blob's last
//! reference removes its rows too. So the figures follow from the placement table, are counted from
//! it once, and change with every checkpoint after that.
//!
//! # Invariants
//! 1. Only the checkpointer changes placement rows, and only it changes the figures: after a flush.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::blob::Places;
use super::saved::Saved;
use super::table::Table;
use crate::error::ReadError;

/// Living bytes by segment.
#[derive(Default)]
pub(crate) struct SpaceUse {
    /// `None` until it is counted.
    live: Mutex<Option<BTreeMap<u64, u64>>>,
}

/// What one checkpoint changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpaceChange {
    placed: BTreeMap<u64, u64>,
    freed: BTreeMap<u64, u64>,
}

impl SpaceChange {
    pub(super) fn place(&mut self, places: &Places) {
        *self.placed.entry(places.segment).or_default() += places.byte_count();
    }

    pub(super) fn free(&mut self, places: &Places) {
        *self.freed.entry(places.segment).or_default() += places.byte_count();
    }
}

impl SpaceUse {
    /// Counts all placements, if that was not done yet. To be called between two checkpoints.
    pub(crate) fn count(&self, saved: &Saved) -> Result<(), ReadError> {
        let mut live = self.live.lock();
        if live.is_none() {
            *live = Some(count(saved)?);
        }
        Ok(())
    }

    /// Takes over what a flushed checkpoint changed.
    pub(crate) fn apply(&self, change: &SpaceChange) {
        let mut live = self.live.lock();
        let Some(live) = live.as_mut() else { return };
        for (segment, bytes) in &change.placed {
            *live.entry(*segment).or_default() += bytes;
        }
        for (segment, bytes) in &change.freed {
            let left = live.get(segment).copied().unwrap_or_default().saturating_sub(*bytes);
            live.insert(*segment, left);
        }
        live.retain(|_, bytes| *bytes > 0);
    }

    /// Living bytes by segment; `None` if they were not counted yet.
    pub(crate) fn live(&self) -> Option<BTreeMap<u64, u64>> {
        self.live.lock().clone()
    }
}

/// Living bytes by segment as the tables have them now.
pub(crate) fn count(saved: &Saved) -> Result<BTreeMap<u64, u64>, ReadError> {
    let mut live: BTreeMap<u64, u64> = BTreeMap::new();
    saved.tables.scan_prefix(Table::Placement, &[], &mut |_, value| {
        let undecodable = |why| ReadError::Undecodable { what: "placement", why };
        let places = Places::decode(value).map_err(undecodable)?;
        *live.entry(places.segment).or_default() += places.byte_count();
        Ok(true)
    })?;
    Ok(live)
}
