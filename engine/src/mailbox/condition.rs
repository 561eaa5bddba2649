//! What is asked of a row, answered from page heads and columns: most of SEARCH.
//!
//! A page is looked at only where its head leaves the answer open: where it says that no message
//! is unseen, none needs to be looked at for being so. Of the pages that are, only the columns
//! that the condition asks for.
//!
//! # Invariants
//! 1. Whether a row passes is decided by its own values, whatever the head or its neighbours say.

use std::cell::Cell;
use std::sync::Arc;

use crate::error::ReadError;
use crate::flags::SystemFlags;
use crate::ids::{BlobId, ThreadId, Uid, UnixSeconds};
use crate::mailbox::content::{Slot, meets};
use crate::mailbox::head::PageHead;
use crate::mailbox::page::Page;
use crate::mailbox::rows::{Mask, RowRef, Rows, Walk};
use crate::mailbox::{KeywordSet, MailboxState, View};
use crate::uid_set::UidSet;

/// What is asked of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// Nothing, or too much.
    Always(bool),
    /// All of these.
    Flags(SystemFlags),
    /// A keyword, by its index in the mailbox's list.
    Keyword(u16),
    /// To be one of these.
    Uids(UidSet),
    /// More bytes.
    Larger(u64),
    /// Fewer bytes.
    Smaller(u64),
    /// A MODSEQ of at least this.
    ModSeq(u64),
    /// Received at this moment or later.
    ReceivedFrom(UnixSeconds),
    /// Saved at this moment or later.
    SavedFrom(UnixSeconds),
    /// To be of this conversation.
    Thread(ThreadId),
    /// To have one of these blobs, which ascend.
    Blobs(Arc<[BlobId]>),
    /// The contrary.
    Not(Box<Condition>),
    /// Any of these.
    Any(Vec<Condition>),
    /// All of these.
    All(Vec<Condition>),
}

const ALL_UIDS: (u32, u32) = (1, u32::MAX);

/// What two ranges have in common; one that ends before it begins if that is nothing.
fn common(one: (u32, u32), other: (u32, u32)) -> (u32, u32) {
    (one.0.max(other.0), one.1.min(other.1))
}

/// What a page head says of the page's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// None passes.
    None,
    /// All pass.
    All,
    /// They have to be looked at.
    Open,
}

impl Verdict {
    fn of(none: bool, all: bool) -> Verdict {
        match (none, all) {
            (true, _) => Verdict::None,
            (_, true) => Verdict::All,
            _ => Verdict::Open,
        }
    }
}

/// Messages that pass.
pub enum Found {
    /// All of a page that was not read, because their UIDs follow each other: the lowest, the
    /// highest, and the rank of the lowest.
    Span {
        /// Lowest and highest UID.
        uids: (u32, u32),
        /// The rank of the lowest.
        rank: u32,
    },
    /// Some of a page that was read, or none.
    Rows(Rows),
}

impl Condition {
    /// The contrary of this.
    #[must_use]
    pub fn negated(self) -> Condition {
        Condition::Not(Box::new(self))
    }

    /// The lowest and the highest UID that may pass.
    fn bounds(&self) -> (u32, u32) {
        match self {
            Condition::Always(false) => (1, 0),
            Condition::Uids(uids) => match (uids.first(), uids.last()) {
                (Some(first), Some(last)) => (first.0, last.0),
                _ => (1, 0),
            },
            Condition::All(conditions) => {
                conditions.iter().map(Condition::bounds).fold(ALL_UIDS, common)
            }
            _ => ALL_UIDS,
        }
    }

    fn of_head(&self, head: &PageHead) -> Verdict {
        let counts = &head.counts;
        match self {
            Condition::Always(passes) => Verdict::of(!passes, *passes),
            Condition::Flags(flags) => {
                let seen = flags.contains(SystemFlags::SEEN);
                let deleted = flags.contains(SystemFlags::DELETED);
                let none =
                    (seen && counts.unseen == counts.messages) || (deleted && counts.deleted == 0);
                let others = flags.without(SystemFlags::SEEN).without(SystemFlags::DELETED);
                let all = others.is_empty()
                    && (!seen || counts.unseen == 0)
                    && (!deleted || counts.deleted == counts.messages);
                Verdict::of(none, all)
            }
            Condition::Uids(uids) => {
                let (first, last) = (head.first_uid, head.last_uid);
                let ranges = uids.ranges();
                let at = ranges.partition_point(|&(_, end)| end < first.0);
                let covers = |&(begin, end): &(u32, u32)| begin <= first.0 && last.0 <= end;
                Verdict::of(!meets(uids, first, last), ranges.get(at).is_some_and(covers))
            }
            Condition::Larger(size) => Verdict::of(counts.bytes <= *size, false),
            Condition::Smaller(size) => Verdict::of(*size == 0, counts.bytes < *size),
            Condition::ModSeq(modseq) => Verdict::of(head.highest_modseq.bits() < *modseq, false),
            Condition::Keyword(_)
            | Condition::ReceivedFrom(_)
            | Condition::SavedFrom(_)
            | Condition::Thread(_) => Verdict::Open,
            Condition::Blobs(blobs) => Verdict::of(blobs.is_empty(), false),
            Condition::Not(condition) => match condition.of_head(head) {
                Verdict::None => Verdict::All,
                Verdict::All => Verdict::None,
                Verdict::Open => Verdict::Open,
            },
            // Each is asked once: they nest as deeply as a client likes.
            Condition::Any(conditions) => {
                let mut verdict = Verdict::None;
                for condition in conditions {
                    match condition.of_head(head) {
                        Verdict::All => return Verdict::All,
                        Verdict::Open => verdict = Verdict::Open,
                        Verdict::None => {}
                    }
                }
                verdict
            }
            Condition::All(conditions) => {
                let mut verdict = Verdict::All;
                for condition in conditions {
                    match condition.of_head(head) {
                        Verdict::None => return Verdict::None,
                        Verdict::Open => verdict = Verdict::Open,
                        Verdict::All => {}
                    }
                }
                verdict
            }
        }
    }

    fn of_page(&self, page: &Page) -> Mask {
        match self {
            Condition::Always(true) => Mask::first(page.len()),
            Condition::Always(false) => Mask::default(),
            Condition::Flags(flags) => Mask::of(page.flag_bits(), |bits| bits & flags.0 == flags.0),
            Condition::Keyword(index) => {
                let sets = page.keyword_sets();
                let has = |set: &KeywordSet| set.contains(index);
                if !sets.iter().any(has) {
                    return Mask::default();
                }
                let has: Vec<bool> = sets.iter().map(has).collect();
                let of = |set: u16| has.get(usize::from(set)).copied().unwrap_or(false);
                Mask::of(page.keyword_set_indexes(), of)
            }
            Condition::Uids(uids) => Mask::of_uids(page, uids),
            Condition::Larger(size) => Mask::of(page.sizes(), |of_row| u64::from(of_row) > *size),
            Condition::Smaller(size) => Mask::of(page.sizes(), |of_row| u64::from(of_row) < *size),
            Condition::ModSeq(modseq) => Mask::of(page.modseq_bits(), |bits| bits >= *modseq),
            Condition::ReceivedFrom(time) => Mask::of(page.received(), |at| at >= time.0),
            Condition::SavedFrom(time) => Mask::of(page.saved(), |at| at >= time.0),
            Condition::Thread(thread) => Mask::of(page.threads(), |of_row| of_row == thread.0),
            Condition::Blobs(blobs) => of_blobs(page, blobs),
            Condition::Not(condition) => Mask::first(page.len()).without(condition.of_page(page)),
            Condition::Any(conditions) => {
                let none = Mask::default();
                conditions.iter().fold(none, |mask, condition| mask.or(condition.of_page(page)))
            }
            Condition::All(conditions) => {
                let mut mask = Mask::first(page.len());
                for condition in conditions {
                    if mask.is_empty() {
                        break;
                    }
                    mask = mask.and(condition.of_page(page));
                }
                mask
            }
        }
    }
}

/// The rows of a page with one of these blobs: few of them lie in the range of a page's, mostly
/// none.
fn of_blobs(page: &Page, blobs: &[BlobId]) -> Mask {
    let bits = |blob: &BlobId| blob.0.bits();
    let Some((lowest, highest)) = page.blob_range() else { return Mask::default() };
    let from = blobs.partition_point(|blob| bits(blob) < lowest);
    let rest = blobs.get(from..).unwrap_or_default();
    let within = rest.get(..rest.partition_point(|blob| bits(blob) <= highest)).unwrap_or_default();
    let (Some(first), Some(last)) = (within.first().map(bits), within.last().map(bits)) else {
        return Mask::default();
    };
    // Rows mostly come in the order of their blobs: the next one is not far.
    let near = Cell::new(0);
    let at = |index: usize| within.get(index).map_or(u64::MAX, bits);
    Mask::of(page.blobs(), |of_row| {
        if of_row < first || of_row > last {
            return false;
        }
        let mut index = near.get();
        if at(index) > of_row {
            index = within.partition_point(|blob| bits(blob) <= of_row).saturating_sub(1);
        }
        while at(index + 1) <= of_row {
            index += 1;
        }
        near.set(index);
        at(index) == of_row
    })
}

/// Goes through the messages between two UIDs page by page, and lets pass what meets a condition.
/// An error leaves it where it was.
#[derive(Clone)]
pub struct Sifting<'a> {
    condition: &'a Condition,
    next: Option<u32>,
    last: u32,
}

impl<'a> Sifting<'a> {
    /// From the lower UID to the higher, both of them included.
    pub fn new(condition: &'a Condition, range: (u32, u32)) -> Sifting<'a> {
        let (first, last) = common(range, condition.bounds());
        Sifting { condition, next: (first <= last).then_some(first), last }
    }

    /// What passes of the next page whose head does not rule it out; nothing of pages whose
    /// rows all fail, so that a caller who must not take long comes to look at the clock.
    ///
    /// # Errors
    /// The page cannot be read.
    pub fn next(&mut self, view: &View) -> Result<Option<Found>, ReadError> {
        let Some(from) = self.next else { return Ok(None) };
        let (mut rank, _) = view.state.content.slot_of(Uid(from));
        for slot in view.state.content.slots_from(Uid(from)) {
            let head = &slot.head;
            if head.first_uid.0 > self.last {
                break;
            }
            let verdict = self.condition.of_head(head);
            if verdict == Verdict::None {
                rank = rank.saturating_add(head.counts.messages);
                continue;
            }
            let next = head.last_uid.0.checked_add(1).filter(|&next| next <= self.last);
            let (begin, end) = (from.max(head.first_uid.0), self.last.min(head.last_uid.0));
            if verdict == Verdict::All && is_dense(slot) {
                self.next = next;
                let rank = rank.saturating_add(begin - head.first_uid.0);
                return Ok(Some(Found::Span { uids: (begin, end), rank }));
            }
            let page = view.page(slot)?;
            self.next = next;
            let mut mask = match verdict {
                Verdict::All => Mask::first(page.len()),
                _ => self.condition.of_page(&page),
            };
            if begin > head.first_uid.0 || end < head.last_uid.0 {
                mask = mask.and(Mask::of_uids(&page, &UidSet::from_ranges([(begin, end)])));
            }
            return Ok(Some(Found::Rows(Rows::new(page, mask, rank))));
        }
        self.next = None;
        Ok(None)
    }
}

/// Whether every UID from a page's first to its last is in use.
fn is_dense(slot: &Slot) -> bool {
    let head = &slot.head;
    u64::from(head.last_uid.0 - head.first_uid.0) + 1 == u64::from(head.counts.messages)
}

impl Found {
    /// As rows, of which there may be none; reads the page if it has not been.
    ///
    /// # Errors
    /// The page cannot be read.
    pub fn into_rows(self, view: &View) -> Result<Option<Rows>, ReadError> {
        match self {
            Found::Rows(rows) => Ok(Some(rows)),
            Found::Span { uids, .. } => Walk::new(&UidSet::from_ranges([uids])).next(view),
        }
    }
}

impl View {
    /// The messages that pass.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn matching(&self, condition: &Condition) -> Result<UidSet, ReadError> {
        let mut matching = UidSet::new();
        let mut sifting = Sifting::new(condition, ALL_UIDS);
        while let Some(found) = sifting.next(self)? {
            match found {
                Found::Span { uids: (first, last), .. } => matching.push_range(first, last),
                Found::Rows(rows) => {
                    rows.runs().for_each(|(_, (first, last))| matching.push_range(first, last));
                }
            }
        }
        Ok(matching)
    }

    /// The lowest and the highest blob of the pages that have a message which passes.
    ///
    /// # Errors
    /// A page cannot be read.
    pub fn blobs_about(
        &self,
        condition: &Condition,
    ) -> Result<Option<(BlobId, BlobId)>, ReadError> {
        let mut about: Option<(BlobId, BlobId)> = None;
        let mut sifting = Sifting::new(condition, ALL_UIDS);
        while let Some(found) = sifting.next(self)? {
            let of_page = found.into_rows(self)?.filter(|rows| rows.count() > 0);
            let Some((lowest, highest)) = of_page.and_then(|rows| rows.blob_range()) else {
                continue;
            };
            about = Some(match about {
                None => (lowest, highest),
                Some(before) => (before.0.min(lowest), before.1.max(highest)),
            });
        }
        Ok(about)
    }
}

impl MailboxState {
    /// Looks at those of `uids` that pass, ascending; pages that cannot have any are not read.
    pub(crate) fn look_at_passing(
        &self,
        uids: &UidSet,
        condition: &Condition,
        mut look: impl FnMut(RowRef<'_>),
    ) -> Result<(), ReadError> {
        for place in self.content.places_of(uids) {
            let Some(slot) = self.content.slot(place) else { continue };
            if condition.of_head(&slot.head) == Verdict::None {
                continue;
            }
            let page = slot.rows.page(&self.reader)?;
            let mask = condition.of_page(&page).and(Mask::of_uids(&page, uids));
            mask.indexes().for_each(|index| look(RowRef::new(&page, index)));
        }
        Ok(())
    }
}
