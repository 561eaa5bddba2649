//! Segments that are to be rewritten because they name retired keys, whatever space it gives back.
//!
//! Kept in memory alone: who asks (`store/keys.rs`) finds the same segments again after a restart.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::log::SegmentNumber;

/// Orders, and how far they are.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    left: BTreeSet<SegmentNumber>,
    done: u64,
    total: u64,
    given_up: bool,
    /// The disk had no room for the copy of one.
    no_room: bool,
}

/// How far the orders are, in segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct OrdersProgress {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

impl Orders {
    /// Orders segments.
    pub(crate) fn add(&self, segments: impl IntoIterator<Item = SegmentNumber>) {
        let mut inner = self.inner.lock();
        inner.no_room = false;
        if inner.left.is_empty() {
            (inner.done, inner.total) = (0, 0);
        }
        for segment in segments {
            if inner.left.insert(segment) {
                inner.total += 1;
            }
        }
    }

    /// Takes all back; what is being rewritten is finished.
    pub(crate) fn stop(&self) {
        self.inner.lock().left.clear();
        self.changed.notify_all();
    }

    /// The disk has no room for the copy of these: if one is ordered, all is taken back, because
    /// whoever waits could wait for ever.
    pub(super) fn out_of_room(&self, segments: &[SegmentNumber]) {
        let mut inner = self.inner.lock();
        if segments.iter().any(|segment| inner.left.contains(segment)) {
            inner.left.clear();
            inner.no_room = true;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Whether what was ordered last was taken back for want of room.
    pub(crate) fn had_no_room(&self) -> bool {
        self.inner.lock().no_room
    }

    /// No segment will be rewritten any more.
    pub(crate) fn give_up(&self) {
        self.inner.lock().given_up = true;
        self.changed.notify_all();
    }

    /// Only these segments are there, and the open one above them.
    pub(super) fn retain_known(&self, segments: &[SegmentNumber]) {
        let last = segments.last().copied();
        let gone: Vec<SegmentNumber> = {
            let inner = self.inner.lock();
            let is_gone = |segment: &&SegmentNumber| {
                !segments.contains(segment) && last.is_some_and(|last| **segment < last)
            };
            inner.left.iter().filter(is_gone).copied().collect()
        };
        gone.into_iter().for_each(|segment| self.settled(segment));
    }

    /// What is ordered, of those.
    pub(super) fn next_of(&self, segments: &[SegmentNumber]) -> Option<SegmentNumber> {
        let left = &self.inner.lock().left;
        segments.iter().find(|segment| left.contains(segment)).copied()
    }

    /// That segment is there no more, or cannot be rewritten.
    pub(super) fn settled(&self, segment: SegmentNumber) {
        let mut inner = self.inner.lock();
        if inner.left.remove(&segment) {
            inner.done += 1;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// How far it is; `None`: nothing is left.
    pub(crate) fn progress(&self) -> Option<OrdersProgress> {
        let inner = self.inner.lock();
        let is_open = !inner.left.is_empty() && !inner.given_up;
        is_open.then_some(OrdersProgress { done: inner.done, total: inner.total })
    }

    /// Waits until something changes, or for that long.
    pub(crate) fn wait(&self, time: Duration) {
        let mut inner = self.inner.lock();
        if !inner.left.is_empty() && !inner.given_up {
            self.changed.wait_for(&mut inner, time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_without_room_for_their_copies_are_told_and_not_tried_for_ever() {
        let (one, other) = (SegmentNumber(1), SegmentNumber(2));
        let orders = Orders::default();
        orders.add([one, other]);
        orders.out_of_room(&[one]);
        assert_eq!((orders.progress(), orders.had_no_room()), (None, true));
        orders.add([one]);
        assert_eq!((orders.progress().is_some(), orders.had_no_room()), (true, false));
        orders.out_of_room(&[other]);
        assert!(!orders.had_no_room(), "it was not ordered");
    }
}
