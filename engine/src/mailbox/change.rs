//! Changes to a mailbox: append, flags, expunge; what applying a record does.
//!
//! Each is a pure function of the record and the state before it, and harmless when it is applied
//! again. A change is made on a clone and takes effect as a whole at its end: a page that cannot be
//! read leaves state and dirty set as they were. Pages that take part are read if need be; callers
//! have them in the cache by looking first at which messages exist.
//!
//! Every changed page keeps its key, except that the tail page, when full, is merged into the page
//! before it if that has room, or else stays as a page of its own.

use std::sync::Arc;

use crate::error::ReadError;
use crate::flags::SystemFlags;
use crate::ids::{Lsn, Uid};
use crate::limits::{PAGE_ROWS_MAX, TAIL_ROWS_MAX};
use crate::mailbox::content::{Place, Slot, ranges_within};
use crate::mailbox::dirty::DirtyPages;
use crate::mailbox::head::PageHead;
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::{Page, keywords_after, row_count};
use crate::mailbox::rows::{Mask, RowRef};
use crate::mailbox::source::PageCell;
use crate::mailbox::{MailboxState, Row, RowIds};
use crate::sabotage::{Sabotage, breaks};
use crate::uid_set::UidSet;

/// What happens to some messages' flags: first `remove`, then `add`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FlagDelta {
    /// System flags to set.
    pub(crate) add: SystemFlags,
    /// System flags to clear.
    pub(crate) remove: SystemFlags,
    /// Keywords to set, by index.
    pub(crate) add_keywords: Vec<u16>,
    /// Keywords to clear, by index.
    pub(crate) remove_keywords: Vec<u16>,
}

impl FlagDelta {
    fn touches_keywords(&self) -> bool {
        !self.add_keywords.is_empty() || !self.remove_keywords.is_empty()
    }
}

impl MailboxState {
    /// Appends rows in ascending order of UIDs; a row whose UID was given before is skipped, as it
    /// is there already. UIDNEXT and HIGHESTMODSEQ follow.
    pub(crate) fn append(
        &mut self,
        rows: Vec<(Row, RowIds)>,
        dirty: &mut DirtyPages,
    ) -> Result<(), ReadError> {
        let mut change = Change::of(self);
        change.append(rows)?;
        change.commit(self, dirty);
        Ok(())
    }

    /// Changes flags; answers which messages are different now, and gives those `modseq`. A message
    /// whose MODSEQ is above is left alone: it saw this change before.
    pub(crate) fn set_flags(
        &mut self,
        changes: &[(UidSet, FlagDelta)],
        modseq: Lsn,
        dirty: &mut DirtyPages,
    ) -> Result<UidSet, ReadError> {
        let mut change = Change::of(self);
        let changed = change.set_flags(changes, modseq)?;
        change.commit(self, dirty);
        Ok(changed)
    }

    /// Removes messages; answers those that were there, ascending. Pages that become empty vanish.
    pub(crate) fn expunge(
        &mut self,
        uids: &UidSet,
        modseq: Lsn,
        dirty: &mut DirtyPages,
    ) -> Result<Vec<(Row, RowIds)>, ReadError> {
        let mut change = Change::of(self);
        let removed = change.expunge(uids, modseq)?;
        change.commit(self, dirty);
        Ok(removed)
    }

    /// The rows and ids of those of `uids` that exist, ascending.
    pub(crate) fn rows_of(&self, uids: &UidSet) -> Result<Vec<(Row, RowIds)>, ReadError> {
        let mut found = Vec::new();
        for place in self.content.places_of(uids) {
            let Some(slot) = self.content.slot(place) else { continue };
            let opened = self.opened(slot)?;
            for index in indexes_of(&opened.rows, uids) {
                found.extend(opened.row(index));
            }
        }
        Ok(found)
    }

    /// Looks at those of `uids` that exist, ascending, until `look` fails.
    pub(crate) fn look_at<E: From<ReadError>>(
        &self,
        uids: &UidSet,
        mut look: impl FnMut(RowRef<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for place in self.content.places_of(uids) {
            let Some(slot) = self.content.slot(place) else { continue };
            let page = slot.rows.page(&self.reader)?;
            for index in Mask::of_uids(&page, uids).indexes() {
                look(RowRef::new(&page, index))?;
            }
        }
        Ok(())
    }

    pub(super) fn opened(&self, slot: &Slot) -> Result<Opened, ReadError> {
        let rows = slot.rows.page(&self.reader)?;
        let ids = slot.ids.page(&self.reader)?;
        if rows.len() != ids.rows().len() {
            let why = "it has not as many ids as rows";
            return Err(ReadError::Undecodable { what: "mailbox page", why });
        }
        Ok(Opened { rows, ids })
    }
}

/// Rows and ids of one page.
pub(super) struct Opened {
    pub(super) rows: Arc<Page>,
    pub(super) ids: Arc<IdsPage>,
}

impl Opened {
    fn row(&self, index: usize) -> Option<(Row, RowIds)> {
        Some((self.rows.row(index)?, *self.ids.rows().get(index)?))
    }
}

/// The indexes of a page's rows that are in the set, ascending.
fn indexes_of(page: &Page, uids: &UidSet) -> Vec<usize> {
    let (Some(&first), Some(&last)) = (page.uids().first(), page.uids().last()) else {
        return Vec::new();
    };
    let mut indexes = Vec::new();
    for (begin, end) in ranges_within(uids, Uid(first), Uid(last)) {
        let from = page.uids().partition_point(|&uid| uid < begin);
        let to = page.uids().partition_point(|&uid| uid <= end);
        indexes.extend(from..to);
    }
    indexes
}

/// A change under way: nothing of it is seen before `commit`.
struct Change {
    state: MailboxState,
    dirty: DirtyPages,
    old_rows: Vec<(Arc<PageCell<Page>>, Arc<Page>)>,
    old_ids: Vec<(Arc<PageCell<IdsPage>>, Arc<IdsPage>)>,
}

impl Change {
    fn of(state: &MailboxState) -> Change {
        Change {
            state: state.clone(),
            dirty: DirtyPages::default(),
            old_rows: Vec::new(),
            old_ids: Vec::new(),
        }
    }

    fn commit(self, state: &mut MailboxState, dirty: &mut DirtyPages) {
        // Older views keep the pages that they were taken of, before the store can have newer ones.
        for (cell, page) in self.old_rows {
            cell.supersede(page);
        }
        for (cell, page) in self.old_ids {
            cell.supersede(page);
        }
        *state = self.state;
        dirty.merge(self.dirty);
    }

    fn next_version(&mut self) -> u64 {
        self.state.page_version += 1;
        self.state.page_version
    }

    fn touch(&mut self, modseq: Lsn) {
        self.state.highest_modseq = self.state.highest_modseq.max(modseq);
        self.dirty.mailboxes.insert((self.state.account, self.state.mailbox));
    }

    fn slot_at(&self, place: Place) -> Option<Slot> {
        self.state.content.slot(place).cloned()
    }

    /// Puts a changed slot, or none, into a place, and notes what has to be written.
    fn put(&mut self, place: Place, key: Uid, new: Option<Slot>) {
        let gone = new.is_none();
        let block = self.state.content.replace(place, new);
        if gone {
            self.dirty.page_gone(self.state.page_key(key));
        }
        match block {
            Some((first, true)) => {
                self.dirty.blocks.insert(self.state.block_key(first));
            }
            Some((first, false)) => self.dirty.block_gone(self.state.block_key(first)),
            None => {}
        }
    }

    /// A slot of new rows and, if they changed too, new ids.
    fn new_slot(&mut self, first_uid: Uid, rows: Page, ids: NewIds) -> Slot {
        let key = self.state.page_key(first_uid);
        let count = row_count(&rows);
        self.dirty.rows.insert(key, count);
        let ids = match ids {
            NewIds::Same(cell) => cell,
            NewIds::Changed(page) => {
                self.dirty.ids.insert(key, count);
                PageCell::dirty(key, page)
            }
        };
        let head = PageHead::of(first_uid, &rows, ids.version());
        Slot { head, rows: PageCell::dirty(key, rows), ids }
    }

    fn supersede(&mut self, slot: &Slot, opened: Opened) {
        self.old_rows.push((slot.rows.clone(), opened.rows));
        self.old_ids.push((slot.ids.clone(), opened.ids));
    }

    fn append(&mut self, rows: Vec<(Row, RowIds)>) -> Result<(), ReadError> {
        let mut next = self.state.uid_next;
        let rows: Vec<(Row, RowIds)> = rows
            .into_iter()
            .filter(|(row, _)| {
                let new = u64::from(row.uid.0) >= next;
                next = next.max(u64::from(row.uid.0) + 1);
                new
            })
            .collect();
        let Some((last, _)) = rows.last() else { return Ok(()) };
        if !breaks(Sabotage::UidNext) {
            self.state.uid_next = next;
        }
        self.state.uid_epoch = self.state.uid_epoch.max(last.modseq.epoch());
        let highest = rows.iter().map(|(row, _)| row.modseq).max().unwrap_or(Lsn::ZERO);
        self.touch(highest);
        if let Some(digest) = &mut self.state.digest {
            rows.iter().for_each(|(row, ids)| digest.add(row, ids));
        }
        let mut rest = rows.as_slice();
        let in_tail = self.state.content.tail.as_ref().map_or(0, |t| t.rows_len());
        if in_tail + rest.len() > TAIL_ROWS_MAX {
            self.close_tail()?;
            // A long append goes into whole pages at once, instead of through the tail.
            while rest.len() > TAIL_ROWS_MAX {
                rest = self.append_page(rest)?;
            }
        }
        if rest.is_empty() { Ok(()) } else { self.extend(Place::Tail, rest) }
    }

    /// Fills the last page of the blocks, or makes one; answers the rows that are left.
    fn append_page<'r>(
        &mut self,
        rows: &'r [(Row, RowIds)],
    ) -> Result<&'r [(Row, RowIds)], ReadError> {
        let last = self.state.content.last_in_blocks();
        let room = last
            .and_then(|place| self.state.content.slot(place))
            .map_or(0, |slot| PAGE_ROWS_MAX.saturating_sub(slot.rows_len()));
        match last {
            Some(place) if room > 0 => {
                let (now, rest) = rows.split_at(room.min(rows.len()));
                self.extend(place, now)?;
                Ok(rest)
            }
            _ => {
                let (now, rest) = rows.split_at(PAGE_ROWS_MAX.min(rows.len()));
                if let Some(slot) = self.slot_of_rows(now) {
                    let block = self.state.content.push_slot(slot);
                    self.dirty.blocks.insert(self.state.block_key(block));
                }
                Ok(rest)
            }
        }
    }

    fn slot_of_rows(&mut self, rows: &[(Row, RowIds)]) -> Option<Slot> {
        let (first, _) = rows.first()?;
        let version = self.next_version();
        let page = Page::from_rows(version, rows.iter().map(|(row, _)| row.clone()));
        let ids = IdsPage::from_rows(version, rows.iter().map(|&(_, ids)| ids).collect());
        Some(self.new_slot(first.uid, page, NewIds::Changed(ids)))
    }

    /// Adds rows to the page at a place, which has room for them, or makes the tail.
    fn extend(&mut self, place: Place, rows: &[(Row, RowIds)]) -> Result<(), ReadError> {
        let Some(slot) = self.slot_at(place) else {
            if let Some(slot) = self.slot_of_rows(rows) {
                self.state.content.replace(Place::Tail, Some(slot));
            }
            return Ok(());
        };
        let opened = self.state.opened(&slot)?;
        let version = self.next_version();
        let mut page = opened.rows.copy(version, rows.len());
        rows.iter().for_each(|(row, _)| page.push(row));
        let ids = opened.ids.copy_with(version, rows.iter().map(|&(_, ids)| ids));
        let first_uid = slot.head.first_uid;
        let new = self.new_slot(first_uid, page, NewIds::Changed(ids));
        self.supersede(&slot, opened);
        self.put(place, first_uid, Some(new));
        Ok(())
    }

    /// Merges the tail into the page before it, or makes it a page of its own.
    fn close_tail(&mut self) -> Result<(), ReadError> {
        let Some(tail) = self.slot_at(Place::Tail) else { return Ok(()) };
        let before = self.state.content.last_in_blocks();
        let room = before
            .and_then(|place| self.state.content.slot(place))
            .is_some_and(|slot| slot.rows_len() + tail.rows_len() <= PAGE_ROWS_MAX);
        match before {
            Some(place) if room => {
                let opened = self.state.opened(&tail)?;
                let rows: Vec<(Row, RowIds)> =
                    (0..opened.rows.len()).filter_map(|index| opened.row(index)).collect();
                self.put(Place::Tail, tail.head.first_uid, None);
                self.extend(place, &rows)?;
                self.supersede(&tail, opened);
            }
            _ => {
                self.state.content.replace(Place::Tail, None);
                let block = self.state.content.push_slot(tail);
                self.dirty.blocks.insert(self.state.block_key(block));
            }
        }
        Ok(())
    }

    fn set_flags(
        &mut self,
        changes: &[(UidSet, FlagDelta)],
        modseq: Lsn,
    ) -> Result<UidSet, ReadError> {
        let ranges = changes.iter().flat_map(|(uids, _)| uids.ranges().iter().copied());
        let all = UidSet::from_ranges(ranges);
        let mut changed = UidSet::new();
        for place in self.state.content.places_of(&all) {
            let Some(slot) = self.slot_at(place) else { continue };
            let before = slot.rows.page(&self.state.reader)?;
            let version = self.state.page_version + 1;
            let Some((after, different)) = page_after(&before, version, changes, modseq) else {
                continue;
            };
            self.state.page_version = version;
            for index in different.indexes() {
                let (old, new) = (RowRef::new(&before, index), RowRef::new(&after, index));
                changed.push(new.uid());
                if let Some(digest) = &mut self.state.digest {
                    digest.change(old, new);
                }
            }
            let first_uid = slot.head.first_uid;
            let new = self.new_slot(first_uid, after, NewIds::Same(slot.ids.clone()));
            self.old_rows.push((slot.rows.clone(), before));
            self.put(place, first_uid, Some(new));
        }
        if !changed.is_empty() {
            self.touch(modseq);
        }
        Ok(changed)
    }

    fn expunge(&mut self, uids: &UidSet, modseq: Lsn) -> Result<Vec<(Row, RowIds)>, ReadError> {
        let mut removed = Vec::new();
        // From the end, because removing a slot moves those behind it.
        for place in self.state.content.places_of(uids).into_iter().rev() {
            let Some(slot) = self.slot_at(place) else { continue };
            let opened = self.state.opened(&slot)?;
            let indexes = indexes_of(&opened.rows, uids);
            if indexes.is_empty() {
                continue;
            }
            let stay = (0..opened.rows.len()).filter(|index| indexes.binary_search(index).is_err());
            let (rows, ids): (Vec<Row>, Vec<RowIds>) =
                stay.filter_map(|index| opened.row(index)).unzip();
            let gone = removed.len();
            removed.extend(indexes.iter().rev().filter_map(|&index| opened.row(index)));
            if let Some(digest) = &mut self.state.digest {
                let gone = removed.get(gone..).unwrap_or_default();
                gone.iter().for_each(|(row, ids)| digest.remove(row, ids));
            }
            let first_uid = slot.head.first_uid;
            let new = if rows.is_empty() {
                None
            } else {
                let version = self.next_version();
                let ids = IdsPage::from_rows(version, ids);
                let rows = Page::from_rows(version, rows);
                Some(self.new_slot(first_uid, rows, NewIds::Changed(ids)))
            };
            self.supersede(&slot, opened);
            self.put(place, first_uid, new);
        }
        if !removed.is_empty() {
            self.touch(modseq);
        }
        removed.reverse();
        Ok(removed)
    }
}

enum NewIds {
    Same(Arc<PageCell<IdsPage>>),
    Changed(IdsPage),
}

impl Slot {
    fn rows_len(&self) -> usize {
        crate::width::usize_of_u32(self.head.counts.messages)
    }
}

/// A page after one change of system flags alone, which is the usual case: column by column.
fn page_after_one(
    before: &Page,
    version: u64,
    (uids, delta): (&UidSet, &FlagDelta),
    modseq: Lsn,
) -> Option<(Page, Mask)> {
    let after = |flags: SystemFlags| flags.without(delta.remove).union(delta.add);
    let differs = Mask::of(before.flag_bits(), |bits| after(SystemFlags(bits)).0 != bits);
    let is_older = Mask::of(before.modseq_bits(), |bits| bits <= modseq.bits());
    let different = Mask::of_uids(before, uids).and(differs).and(is_older);
    if different.is_empty() {
        return None;
    }
    let mut page = before.copy(version, 0);
    page.set_flags(different, after, modseq);
    Some((page, different))
}

/// A page after the changes, and which of its rows differ; `None` if none does.
fn page_after(
    before: &Page,
    version: u64,
    changes: &[(UidSet, FlagDelta)],
    modseq: Lsn,
) -> Option<(Page, Mask)> {
    if let [(uids, delta)] = changes
        && !delta.touches_keywords()
    {
        return page_after_one(before, version, (uids, delta), modseq);
    }
    let changes: Vec<(Mask, &FlagDelta)> =
        changes.iter().map(|(uids, delta)| (Mask::of_uids(before, uids), delta)).collect();
    let named = changes.iter().fold(Mask::default(), |all, (mask, _)| all.or(*mask));
    let (mut after, mut different, mut is_tidy) = (None, Mask::default(), true);
    for index in named.indexes() {
        let row = RowRef::new(before, index);
        if row.modseq() > modseq {
            continue;
        }
        let (mut flags, mut keywords) = (row.flags(), None);
        for (_, delta) in changes.iter().filter(|(mask, _)| mask.has(index)) {
            flags = flags.without(delta.remove).union(delta.add);
            if delta.touches_keywords() {
                let set = keywords.take().unwrap_or_else(|| row.keywords().into());
                keywords = Some(keywords_after(&set, &delta.add_keywords, &delta.remove_keywords));
            }
        }
        let keywords = keywords.filter(|set| set.as_slice() != row.keywords());
        if flags != row.flags() || keywords.is_some() {
            is_tidy &= keywords.is_none();
            let after = after.get_or_insert_with(|| before.copy(version, 0));
            after.set_row(index, flags, keywords.as_ref(), modseq);
            different.set(index, index + 1);
        }
    }
    let after = if is_tidy { after } else { after.map(Page::tidied) };
    Some((after?, different))
}
