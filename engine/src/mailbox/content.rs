//! A mailbox's messages as a persistent tree: blocks of slots, and the tail page.
//!
//! ```text
//!   content ──► blocks ──► block (≤ 256 slots) ──► slot: head, cell of rows, cell of ids
//!          └──► tail: one slot (≤ TAIL_ROWS_MAX rows)
//! ```
//!
//! Blocks and cells are shared between all versions of the mailbox that have them alike; changing
//! one copies its branch. The tail stands outside of the blocks, so that a delivery copies a page
//! of 32 rows and nothing else, however large the mailbox.
//!
//! Invariants:
//! 1. Slots ascend over all blocks and the tail, and none is empty.
//! 2. `counts` of a block and of the content are the sums of their slots' heads.
//! 3. Only the tail has rows above the last block's; it has at most [`TAIL_ROWS_MAX`].
//!
//! [`TAIL_ROWS_MAX`]: crate::limits::TAIL_ROWS_MAX

use std::sync::Arc;

use crate::ids::Uid;
use crate::limits::BLOCK_HEADS_MAX;
use crate::mailbox::head::{Counts, PageHead};
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::Page;
use crate::mailbox::source::PageCell;
use crate::uid_set::UidSet;

/// A page of the mailbox: its head, and where it is.
#[derive(Clone)]
pub(crate) struct Slot {
    /// Without opening it.
    pub(crate) head: PageHead,
    /// Its rows.
    pub(crate) rows: Arc<PageCell<Page>>,
    /// Its ids.
    pub(crate) ids: Arc<PageCell<IdsPage>>,
}

impl Slot {
    /// Whether the two are the same version of the same page.
    pub(crate) fn same_page(&self, other: &Slot) -> bool {
        Arc::ptr_eq(&self.rows, &other.rows)
            || (self.rows.key() == other.rows.key() && self.rows.version() == other.rows.version())
    }
}

/// Up to 256 slots.
#[derive(Clone)]
pub(crate) struct Block {
    /// Its key.
    pub(crate) first_uid: Uid,
    /// Never empty.
    pub(crate) slots: Vec<Slot>,
    /// Of all slots.
    pub(crate) counts: Counts,
}

impl Block {
    /// The highest UID of its pages.
    pub(crate) fn last_uid(&self) -> Uid {
        self.slots.last().map_or(self.first_uid, |slot| slot.head.last_uid)
    }
}

/// Which slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Slot of a block, both by index.
    Block(usize, usize),
    /// The tail.
    Tail,
}

/// All slots of a mailbox.
#[derive(Clone, Default)]
pub(crate) struct MailboxContent {
    /// In order of UIDs.
    pub(crate) blocks: Arc<Vec<Arc<Block>>>,
    /// Above them all.
    pub(crate) tail: Option<Slot>,
    /// Of everything.
    pub(crate) counts: Counts,
}

impl MailboxContent {
    /// Runs of slots in order of UIDs: blocks, then the tail.
    pub(crate) fn runs(&self) -> impl DoubleEndedIterator<Item = &[Slot]> + Clone {
        let blocks = self.blocks.iter().map(|block| block.slots.as_slice());
        blocks.chain(self.tail.as_ref().map(std::slice::from_ref))
    }

    /// Every slot in order of UIDs.
    pub(crate) fn slots(&self) -> impl DoubleEndedIterator<Item = &Slot> + Clone {
        self.runs().flatten()
    }

    /// The slots from the one that has, or would have, `uid`, in order.
    pub(crate) fn slots_from(&self, uid: Uid) -> impl Iterator<Item = &Slot> {
        let block = self.blocks.partition_point(|block| block.last_uid() < uid);
        let blocks = self.blocks.get(block..).unwrap_or_default();
        let below = move |slot: &Slot| slot.head.last_uid < uid;
        let first = blocks.first().map_or(0, |block| block.slots.partition_point(below));
        let slots = blocks.iter().flat_map(|block| &block.slots).skip(first);
        slots.chain(self.tail.iter().filter(move |slot| !below(slot)))
    }

    /// The first slot whose highest UID is not below `uid`, with the messages before it.
    pub(crate) fn slot_of(&self, uid: Uid) -> (u32, Option<&Slot>) {
        let mut before = 0u32;
        for block in self.blocks.iter() {
            if block.last_uid() < uid {
                before = before.saturating_add(block.counts.messages);
                continue;
            }
            for slot in &block.slots {
                if slot.head.last_uid >= uid {
                    return (before, Some(slot));
                }
                before = before.saturating_add(slot.head.counts.messages);
            }
        }
        match &self.tail {
            Some(tail) if tail.head.last_uid >= uid => (before, Some(tail)),
            _ => (self.counts.messages, None),
        }
    }

    /// The slot that has the message of that rank, with the message's rank in it.
    pub(crate) fn slot_at(&self, rank: u32) -> Option<(u32, &Slot)> {
        let mut rank = rank;
        for block in self.blocks.iter() {
            if rank >= block.counts.messages {
                rank -= block.counts.messages;
                continue;
            }
            for slot in &block.slots {
                if rank < slot.head.counts.messages {
                    return Some((rank, slot));
                }
                rank -= slot.head.counts.messages;
            }
        }
        self.tail.as_ref().filter(|tail| rank < tail.head.counts.messages).map(|tail| (rank, tail))
    }

    /// The places of slots that may have some of `uids`, ascending.
    pub(crate) fn places_of(&self, uids: &UidSet) -> Vec<Place> {
        let mut places = Vec::new();
        for (b, block) in self.blocks.iter().enumerate() {
            if !meets(uids, block.first_uid, block.last_uid()) {
                continue;
            }
            for (s, slot) in block.slots.iter().enumerate() {
                if meets(uids, slot.head.first_uid, slot.head.last_uid) {
                    places.push(Place::Block(b, s));
                }
            }
        }
        if self.tail.as_ref().is_some_and(|t| meets(uids, t.head.first_uid, t.head.last_uid)) {
            places.push(Place::Tail);
        }
        places
    }

    /// The slot at a place.
    pub(crate) fn slot(&self, place: Place) -> Option<&Slot> {
        match place {
            Place::Block(block, slot) => self.blocks.get(block)?.slots.get(slot),
            Place::Tail => self.tail.as_ref(),
        }
    }

    /// Puts a slot into the place of another, or removes it. Answers the key of its block and
    /// whether the block is still there; `None` for the tail. Removing shifts the places above, so
    /// remove from the end.
    pub(crate) fn replace(&mut self, place: Place, new: Option<Slot>) -> Option<(Uid, bool)> {
        let old = self.slot(place).map(|slot| slot.head.counts).unwrap_or_default();
        self.counts.subtract(old);
        self.counts.add(new.as_ref().map(|slot| slot.head.counts).unwrap_or_default());
        let Place::Block(b, s) = place else {
            self.tail = new;
            return None;
        };
        let blocks = Arc::make_mut(&mut self.blocks);
        let block = Arc::make_mut(blocks.get_mut(b)?);
        let key = block.first_uid;
        block.counts.subtract(old);
        match new {
            Some(new) => {
                block.counts.add(new.head.counts);
                *block.slots.get_mut(s)? = new;
            }
            None => {
                block.slots.remove(s);
            }
        }
        if block.slots.is_empty() {
            blocks.remove(b);
            return Some((key, false));
        }
        Some((key, true))
    }

    /// The place of the last slot before the tail.
    pub(crate) fn last_in_blocks(&self) -> Option<Place> {
        let block = self.blocks.len().checked_sub(1)?;
        let slot = self.blocks.get(block)?.slots.len().checked_sub(1)?;
        Some(Place::Block(block, slot))
    }

    /// Adds a slot behind the last block's; answers the key of the block that it is in.
    pub(crate) fn push_slot(&mut self, slot: Slot) -> Uid {
        self.counts.add(slot.head.counts);
        let blocks = Arc::make_mut(&mut self.blocks);
        if let Some(last) = blocks.last_mut().filter(|last| last.slots.len() < BLOCK_HEADS_MAX) {
            let last = Arc::make_mut(last);
            last.counts.add(slot.head.counts);
            last.slots.push(slot);
            return last.first_uid;
        }
        let (first_uid, counts) = (slot.head.first_uid, slot.head.counts);
        blocks.push(Arc::new(Block { first_uid, slots: vec![slot], counts }));
        first_uid
    }
}

/// Whether a set has a UID from `first` to `last`.
pub(crate) fn meets(uids: &UidSet, first: Uid, last: Uid) -> bool {
    let ranges = uids.ranges();
    let at = ranges.partition_point(|&(_, end)| end < first.0);
    ranges.get(at).is_some_and(|&(begin, _)| begin <= last.0)
}

/// The part of a set from `first` to `last`, as ranges.
pub(crate) fn ranges_within(
    uids: &UidSet,
    first: Uid,
    last: Uid,
) -> impl Iterator<Item = (u32, u32)> {
    let ranges = uids.ranges();
    let from = ranges.partition_point(|&(_, end)| end < first.0);
    let rest = ranges.get(from..).unwrap_or_default();
    rest.iter()
        .take_while(move |&&(begin, _)| begin <= last.0)
        .map(move |&(begin, end)| (begin.max(first.0), end.min(last.0)))
}
