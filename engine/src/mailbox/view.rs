//! A mailbox's content at one moment.
//!
//! Ranks count from 0 in order of UIDs; a session's sequence numbers are made from them in the
//! protocol crate.
//!
//! A view shares its blocks and pages with the mailbox's state before and after it. Counts, ranks
//! and positions come from page heads; a page is read only for its rows, and stays in the cache's
//! budget.

use std::sync::Arc;

use crate::error::ReadError;
use crate::flags::{Keyword, SystemFlags};
use crate::ids::{Lsn, MailboxId, Uid, UidValidity};
use crate::mailbox::compare::{self, Effort};
use crate::mailbox::content::{Slot, meets, ranges_within};
use crate::mailbox::page::Page;
use crate::mailbox::rows::Walk;
use crate::mailbox::source::PageReader;
use crate::mailbox::{MailboxState, Row, RowIds};
use crate::uid_set::UidSet;
use crate::width::{u32_of, usize_of_u32};

/// Immutable; shares pages with the views before and after it.
pub struct View {
    pub(super) state: MailboxState,
    uid_next: Option<Uid>,
    highest_modseq: Lsn,
}

/// What differs between two views of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewChanges {
    /// In the older, not in the newer.
    pub vanished: UidSet,
    /// In both, with another MODSEQ.
    pub changed: UidSet,
    /// In the newer, not in the older.
    pub added: UidSet,
}

impl View {
    pub(super) fn new(state: MailboxState, epoch_begin: Lsn) -> View {
        let uid_next = state.uid_next(epoch_begin.epoch());
        let highest_modseq = state.highest_modseq().max(epoch_begin);
        View { state, uid_next, highest_modseq }
    }

    /// The mailbox.
    pub fn mailbox(&self) -> MailboxId {
        self.state.mailbox()
    }

    /// UIDVALIDITY.
    pub fn uid_validity(&self) -> UidValidity {
        self.state.uid_validity()
    }

    /// UIDNEXT, which includes what the epoch skips; `None` when no UIDs are left.
    pub fn uid_next(&self) -> Option<Uid> {
        self.uid_next
    }

    /// Whether the mailbox never had a message.
    pub fn is_unused(&self) -> bool {
        self.state.given_below() == 1
    }

    /// HIGHESTMODSEQ.
    pub fn highest_modseq(&self) -> Lsn {
        self.highest_modseq
    }

    /// Number of messages.
    pub fn message_count(&self) -> u32 {
        self.state.counts().messages
    }

    /// Messages without `\Seen`.
    pub fn unseen_count(&self) -> u32 {
        self.state.counts().unseen
    }

    /// Messages with `\Deleted`.
    pub fn deleted_count(&self) -> u32 {
        self.state.counts().deleted
    }

    /// Bytes of all messages (STATUS SIZE, RFC 8438).
    pub fn message_bytes(&self) -> u64 {
        self.state.counts().bytes
    }

    /// The keywords that rows name by index.
    pub fn keywords(&self) -> &[Keyword] {
        self.state.keywords()
    }

    /// Rank of the first message without `\Seen`.
    pub fn first_unseen(&self) -> Result<Option<u32>, ReadError> {
        let mut before = 0u32;
        for run in self.state.content.runs() {
            for slot in run {
                if slot.head.counts.unseen > 0 {
                    let page = self.page(slot)?;
                    let unseen = |flags: SystemFlags| !flags.contains(SystemFlags::SEEN);
                    if let Some(index) = page.flags().position(unseen) {
                        return Ok(Some(before.saturating_add(u32_of(index))));
                    }
                }
                before = before.saturating_add(slot.head.counts.messages);
            }
        }
        Ok(None)
    }

    /// Rank of a UID: `Ok(rank)` if it exists, else `Err(rank it would have)`.
    pub fn rank(&self, uid: Uid) -> Result<Result<u32, u32>, ReadError> {
        let (before, slot) = self.state.content.slot_of(uid);
        let Some(slot) = slot.filter(|slot| slot.head.first_uid <= uid) else {
            return Ok(Err(before));
        };
        let rank = |index: usize| before.saturating_add(u32_of(index));
        Ok(self.page(slot)?.find(uid).map(rank).map_err(rank))
    }

    /// The UID at a rank.
    pub fn uid_at(&self, rank: u32) -> Result<Option<Uid>, ReadError> {
        let Some((within, slot)) = self.state.content.slot_at(rank) else { return Ok(None) };
        let page = self.page(slot)?;
        Ok(page.uids().get(usize_of_u32(within)).copied().map(Uid))
    }

    /// The highest UID in use.
    pub fn last_uid(&self) -> Option<Uid> {
        self.state.content.slots().next_back().map(|slot| slot.head.last_uid)
    }

    /// Which of `uids` exist.
    pub fn existing(&self, uids: &UidSet) -> Result<UidSet, ReadError> {
        let mut existing = UidSet::new();
        let mut walk = Walk::new(uids);
        while let Some(rows) = walk.next(self)? {
            rows.runs().for_each(|(_, (first, last))| existing.push_range(first, last));
        }
        Ok(existing)
    }

    /// One row.
    pub fn row(&self, uid: Uid) -> Result<Option<Row>, ReadError> {
        let (_, slot) = self.state.content.slot_of(uid);
        let Some(slot) = slot.filter(|slot| slot.head.first_uid <= uid) else { return Ok(None) };
        let page = self.page(slot)?;
        Ok(page.find(uid).ok().and_then(|index| page.row(index)))
    }

    /// One message's 16-byte ids.
    pub fn ids(&self, uid: Uid) -> Result<Option<RowIds>, ReadError> {
        let (_, slot) = self.state.content.slot_of(uid);
        let Some(slot) = slot.filter(|slot| slot.head.first_uid <= uid) else { return Ok(None) };
        let opened = self.state.opened(slot)?;
        Ok(opened.rows.find(uid).ok().and_then(|index| opened.ids.rows().get(index).copied()))
    }

    /// The rows with a UID of at least `from`, ascending, at most `limit` of them: loads few pages
    /// at a time.
    pub fn rows_from(&self, from: Uid, limit: usize) -> Result<Vec<Row>, ReadError> {
        let mut rows = Vec::with_capacity(limit.min(usize_of_u32(self.message_count())));
        for slot in self.state.content.slots_from(from) {
            if rows.len() >= limit {
                break;
            }
            let page = self.page(slot)?;
            let first = page.uids().partition_point(|&uid| uid < from.0);
            let last = page.len().min(first.saturating_add(limit - rows.len()));
            rows.extend((first..last).filter_map(|index| page.row(index)));
        }
        Ok(rows)
    }

    /// The rows of `uids` in batches of one page each: `visit` returns whether to go on.
    pub fn visit(
        &self,
        uids: &UidSet,
        visit: &mut dyn FnMut(&Row) -> bool,
    ) -> Result<(), ReadError> {
        self.visit_pages(uids, &mut |page| {
            for_each_of(page, uids, &mut |index| page.row(index).is_none_or(|row| visit(&row)))
        })
    }

    /// The messages whose MODSEQ is above `modseq` (CHANGEDSINCE, RFC 7162): reads only pages that
    /// have some.
    pub fn changed_after(&self, modseq: Lsn) -> Result<UidSet, ReadError> {
        let mut changed = UidSet::new();
        for slot in self.state.content.slots().filter(|s| s.head.highest_modseq > modseq) {
            let page = self.page(slot)?;
            for (uid, _) in page.versions().filter(|&(_, of_row)| of_row > modseq) {
                changed.push(uid);
            }
        }
        Ok(changed)
    }

    /// What changed since an older view of the same mailbox; pages that both share are not looked
    /// at.
    pub fn changes_since(&self, older: &View) -> Result<ViewChanges, ReadError> {
        let changes = compare::changes(older, self, Effort::Full)?;
        Ok(changes.unwrap_or_default())
    }

    /// The same where that is little work and needs no disk, as after a delivery; else `None`.
    pub fn changes_at_hand(&self, older: &View) -> Option<ViewChanges> {
        compare::changes(older, self, Effort::Little).ok().flatten()
    }

    pub(super) fn is_at_hand(&self, slot: &Slot) -> bool {
        slot.rows.is_at_hand(self.reader())
    }

    pub(super) fn page(&self, slot: &Slot) -> Result<Arc<Page>, ReadError> {
        slot.rows.page(self.reader())
    }

    fn reader(&self) -> &PageReader {
        &self.state.reader
    }

    /// Every page that may have some of `uids`, ascending, one at a time.
    fn visit_pages(
        &self,
        uids: &UidSet,
        visit: &mut dyn FnMut(&Page) -> bool,
    ) -> Result<(), ReadError> {
        let (Some(first), Some(last)) = (uids.first(), uids.last()) else { return Ok(()) };
        for slot in self.state.content.slots_from(first) {
            if slot.head.first_uid > last {
                break;
            }
            if meets(uids, slot.head.first_uid, slot.head.last_uid) && !visit(&*self.page(slot)?) {
                break;
            }
        }
        Ok(())
    }
}

/// The index of each row of the page that is in the set, ascending, until `visit` says no.
fn for_each_of(page: &Page, uids: &UidSet, visit: &mut dyn FnMut(usize) -> bool) -> bool {
    let (Some(&first), Some(&last)) = (page.uids().first(), page.uids().last()) else {
        return true;
    };
    ranges_within(uids, Uid(first), Uid(last)).all(|(begin, end)| {
        let from = page.uids().partition_point(|&uid| uid < begin);
        let to = page.uids().partition_point(|&uid| uid <= end);
        (from..to).all(&mut *visit)
    })
}
