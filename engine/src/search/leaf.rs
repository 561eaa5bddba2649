//! Leaves of the dictionary: terms in the order of their bytes, some at a time.
//!
//! ```text
//! leaf   up to LEAF_TERMS of:
//!          shared       varint  bytes that it has in common with the term before
//!          rest         varint, bytes
//!          head         u8      its classes (`lists.rs`)
//!          lists        varint  bytes of its lists
//!          positions    varint  bytes of its positions, unless it has one posting alone
//! ```
//!
//! Its lists and positions follow those of the term before; the directory says where those of a
//! leaf's first term lie.

use super::Group;
use super::lists::ALONE;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::width::usize_of_u32;

/// Terms of every leaf but the last.
pub(crate) const LEAF_TERMS: u32 = 64;

/// Where something lies in its section: `begin` until `end`.
pub(crate) type Place = std::ops::Range<u64>;

/// A leaf while it is written.
#[derive(Default)]
pub(crate) struct LeafWriter {
    pub(crate) bytes: Encoder,
    pub(crate) count: u32,
    pub(crate) first: Vec<u8>,
    last: Vec<u8>,
}

impl LeafWriter {
    /// Adds a term behind the one before.
    ///
    /// Its head is that of its lists, of which and of its positions the bytes are told.
    pub(crate) fn push(&mut self, term: &[u8], head: u8, lists: usize, positions: usize) {
        if self.count == 0 {
            self.first = term.to_vec();
        }
        let shared = term.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        self.bytes.count(shared);
        self.bytes.blob(term.get(shared..).unwrap_or_default());
        self.bytes.u8(head);
        self.bytes.count(lists);
        if head & ALONE == 0 {
            self.bytes.count(positions);
        }
        self.last.clear();
        self.last.extend_from_slice(term);
        self.count += 1;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == LEAF_TERMS
    }
}

/// Where the lists of a term are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TermPlace {
    /// In which dictionary it is.
    pub(crate) group: Group,
    /// Its classes.
    pub(crate) head: u8,
    pub(crate) lists: Place,
    pub(crate) positions: Place,
}

/// Reads a leaf's terms in order.
pub(crate) struct LeafReader<'a> {
    left: Decoder<'a>,
    term: Vec<u8>,
    place: TermPlace,
}

impl<'a> LeafReader<'a> {
    /// Of a leaf whose first lists and positions lie there.
    pub(crate) fn new(
        group: Group,
        leaf: &'a [u8],
        (lists, positions): (u64, u64),
    ) -> LeafReader<'a> {
        let place =
            TermPlace { group, head: 0, lists: lists..lists, positions: positions..positions };
        LeafReader { left: Decoder::new(leaf), term: Vec::new(), place }
    }

    /// The next term, and where its lists are.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], &TermPlace)>, Broken> {
        if self.left.left() == 0 {
            return Ok(None);
        }
        let shared = usize_of_u32(self.left.u32()?);
        if shared > self.term.len() {
            return Err("a term shares more than there is");
        }
        self.term.truncate(shared);
        self.term.extend_from_slice(self.left.blob()?);
        let head = self.left.u8()?;
        let lists = self.left.varint()?;
        let positions = if head & ALONE == 0 { self.left.varint()? } else { 0 };
        self.place.head = head;
        follow(&mut self.place.lists, lists)?;
        follow(&mut self.place.positions, positions)?;
        Ok(Some((&self.term, &self.place)))
    }
}

/// Moves on to what lies behind, which has so many bytes.
fn follow(place: &mut Place, length: u64) -> Result<(), Broken> {
    place.start = place.end;
    place.end = place.end.checked_add(length).ok_or("a length overflows")?;
    Ok(())
}
