//! What differs between two views of a mailbox.
//!
//! Both are walked side by side in order of UIDs, and what they share is stepped over without being
//! read: whole blocks by their place in memory, pages by place or by key and version. Where one
//! view has pages wholly below the other's next page, those are all gone or all new. Everything
//! else is compared row by row by UID, so it does not matter how rows were laid out in pages then
//! and now: the tail may have been merged into the page before it, pages may have vanished.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::ReadError;
use crate::ids::{Lsn, Uid};
use crate::mailbox::content::Slot;
use crate::mailbox::page::Page;
use crate::mailbox::view::{View, ViewChanges};

/// Pages that are looked at where only a little may be done.
const LITTLE_PAGES: u32 = 4;

/// How far a comparison may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effort {
    /// To its end.
    Full,
    /// Over a few pages that are in memory.
    Little,
}

/// From `older` to `newer`; `None` if that takes more than may be done.
pub(super) fn changes(
    older: &View,
    newer: &View,
    effort: Effort,
) -> Result<Option<ViewChanges>, ReadError> {
    let mut changes = ViewChanges::default();
    let mut old = Walk::of(older);
    let mut new = Walk::of(newer);
    let mut left = LITTLE_PAGES;
    loop {
        if step_over_shared(&mut old, &mut new) {
            continue;
        }
        if effort == Effort::Little {
            left = left.saturating_sub(1);
            if left == 0 || !old.is_at_hand() || !new.is_at_hand() {
                return Ok(None);
            }
        }
        match (old.slot(), new.slot()) {
            (None, None) => return Ok(Some(changes)),
            (Some(slot), other) if other.is_none_or(|other| lies_below(slot, other)) => {
                for uid in old.rest_of_page()? {
                    changes.vanished.push(uid);
                }
            }
            (other, Some(slot)) if other.is_none_or(|other| lies_below(slot, other)) => {
                for uid in new.rest_of_page()? {
                    changes.added.push(uid);
                }
            }
            _ => compare_pages(&mut old, &mut new, &mut changes)?,
        }
    }
}

fn lies_below(slot: &Slot, other: &Slot) -> bool {
    slot.head.last_uid < other.head.first_uid
}

fn step_over_shared(old: &mut Walk<'_>, new: &mut Walk<'_>) -> bool {
    if !old.at_begin_of_page() || !new.at_begin_of_page() {
        return false;
    }
    if old.at_begin_of_run() && new.at_begin_of_run() {
        let same = |a: &[Slot], b: &[Slot]| std::ptr::eq(a, b);
        if old.run().zip(new.run()).is_some_and(|(a, b)| same(a, b)) {
            old.next_run();
            new.next_run();
            return true;
        }
    }
    let shared = old.slot().zip(new.slot()).is_some_and(|(a, b)| a.same_page(b));
    if shared {
        old.next_page();
        new.next_page();
    }
    shared
}

/// Row by row until one of the two pages ends.
fn compare_pages(
    old: &mut Walk<'_>,
    new: &mut Walk<'_>,
    changes: &mut ViewChanges,
) -> Result<(), ReadError> {
    let (old_rows, new_rows) = (old.rows()?, new.rows()?);
    if old.at_begin_of_page() && new.at_begin_of_page() && old_rows.has_uids_of(&new_rows) {
        // Flags changed and nothing else, as they mostly do.
        changes_of_flags(&old_rows.page, &new_rows.page, changes);
        old.next_page();
        new.next_page();
        return Ok(());
    }
    let mut before = old_rows.rest(old.row).peekable();
    let mut after = new_rows.rest(new.row).peekable();
    while let (Some(&(old_uid, old_modseq)), Some(&(new_uid, new_modseq))) =
        (before.peek(), after.peek())
    {
        let order = old_uid.cmp(&new_uid);
        if order.is_le() {
            before.next();
            old.row += 1;
        }
        if order.is_ge() {
            after.next();
            new.row += 1;
        }
        match order {
            Ordering::Less => changes.vanished.push(old_uid),
            Ordering::Greater => changes.added.push(new_uid),
            Ordering::Equal if old_modseq != new_modseq => changes.changed.push(new_uid),
            Ordering::Equal => {}
        }
    }
    if before.peek().is_none() {
        old.next_page();
    }
    if after.peek().is_none() {
        new.next_page();
    }
    Ok(())
}

fn changes_of_flags(before: &Page, after: &Page, changes: &mut ViewChanges) {
    for ((uid, old), (_, new)) in before.versions().zip(after.versions()) {
        if old != new {
            changes.changed.push(uid);
        }
    }
}

/// A place in a view: run, page of the run, row of the page.
struct Walk<'a> {
    view: &'a View,
    runs: Vec<&'a [Slot]>,
    run: usize,
    page: usize,
    row: usize,
}

impl<'a> Walk<'a> {
    fn of(view: &'a View) -> Walk<'a> {
        Walk { view, runs: view.state.content.runs().collect(), run: 0, page: 0, row: 0 }
    }

    fn run(&self) -> Option<&'a [Slot]> {
        self.runs.get(self.run).copied()
    }

    fn slot(&self) -> Option<&'a Slot> {
        self.run()?.get(self.page)
    }

    fn at_begin_of_run(&self) -> bool {
        self.page == 0 && self.row == 0
    }

    fn at_begin_of_page(&self) -> bool {
        self.row == 0
    }

    fn next_run(&mut self) {
        self.run += 1;
        self.page = 0;
        self.row = 0;
    }

    fn next_page(&mut self) {
        self.page += 1;
        self.row = 0;
        if self.run().is_some_and(|run| self.page >= run.len()) {
            self.next_run();
        }
    }

    /// Whether the page that follows can be looked at without reading it from the disk.
    fn is_at_hand(&self) -> bool {
        self.slot().is_none_or(|slot| self.view.is_at_hand(slot))
    }

    fn rows(&self) -> Result<Rows, ReadError> {
        let page = self.slot().map(|slot| self.view.page(slot)).transpose()?;
        Ok(Rows { page: page.unwrap_or_default() })
    }

    /// The UIDs of this page from here on; goes to the next page.
    fn rest_of_page(&mut self) -> Result<Vec<Uid>, ReadError> {
        let uids = self.rows()?.rest(self.row).map(|(uid, _)| uid).collect();
        self.next_page();
        Ok(uids)
    }
}

struct Rows {
    page: Arc<Page>,
}

impl Rows {
    fn has_uids_of(&self, other: &Rows) -> bool {
        self.page.uids() == other.page.uids()
    }

    fn rest(&self, row: usize) -> impl Iterator<Item = (Uid, Lsn)> + '_ {
        self.page.versions().skip(row)
    }
}
