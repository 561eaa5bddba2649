//! What reclaim is to do because segments name retired keys, whatever space it gives back: base
//! images, so that records go; then segments are rewritten.
//!
//! Kept in memory alone: who asks (`store/keys/`) finds the same segments again after a restart.
//!
//! # Invariants
//! 1. Images that are wanted come before any segment that is ordered.
//! 2. What cannot be done is taken back and told; nothing is tried for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::base::{Abandon, Spans};
use crate::log::SegmentNumber;

/// So many rounds of images in a row are given up before no more are made.
const ROUNDS_MAX: u32 = 8;

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
    /// The disk had no room for the copy of one, or for images.
    no_room: bool,
    /// Who asked wanted no more of it.
    stopped: bool,
    images: Images,
}

/// Base images under which records of retired keys go.
#[derive(Debug, Default)]
struct Images {
    /// Where all records are to go.
    wanted: Spans,
    /// The same, of the round that is being made.
    making: Spans,
    /// Rounds that were given up, in a row.
    abandoned: u32,
}

impl Images {
    fn is_open(&self) -> bool {
        !self.wanted.0.is_empty() || !self.making.0.is_empty()
    }
}

impl Inner {
    fn is_open(&self) -> bool {
        !self.given_up && (!self.left.is_empty() || self.images.is_open())
    }

    fn take_back(&mut self) {
        self.left.clear();
        self.images = Images::default();
    }
}

/// How far the orders are, in segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct OrdersProgress {
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Base images come first.
    pub(crate) is_imaging: bool,
}

impl Orders {
    /// Orders segments; and before, base images under which all records in some spans go, if there
    /// are any.
    pub(crate) fn add(&self, segments: impl IntoIterator<Item = SegmentNumber>, records: Spans) {
        let mut inner = self.inner.lock();
        (inner.no_room, inner.stopped) = (false, false);
        inner.images.wanted.0.extend(records.0);
        if inner.left.is_empty() {
            (inner.done, inner.total) = (0, 0);
        }
        for segment in segments {
            if inner.left.insert(segment) {
                inner.total += 1;
            }
        }
    }

    /// Takes all back; what is being made or rewritten is finished.
    pub(crate) fn stop(&self) {
        let mut inner = self.inner.lock();
        inner.take_back();
        inner.stopped = true;
        drop(inner);
        self.changed.notify_all();
    }

    /// Whether what was ordered last was taken back by [`stop`](Self::stop), or nothing is done any
    /// more.
    pub(crate) fn was_stopped(&self) -> bool {
        let inner = self.inner.lock();
        inner.stopped || inner.given_up
    }

    /// The images that are to be made now, if any are.
    pub(super) fn take_images(&self) -> Option<Spans> {
        let mut inner = self.inner.lock();
        let wanted = std::mem::take(&mut inner.images.wanted);
        inner.images.making.0.extend(wanted.0);
        let making = &inner.images.making;
        (!making.0.is_empty() && !inner.given_up).then(|| making.clone())
    }

    /// Images are made, and flushed state knows them.
    pub(super) fn images_made(&self) {
        let mut inner = self.inner.lock();
        (inner.images.making, inner.images.abandoned) = (Spans::default(), 0);
        drop(inner);
        self.changed.notify_all();
    }

    /// A round of images was given up: they are made anew, but not for ever. Without them records
    /// stay, and whoever asked is told.
    pub(super) fn images_abandoned(&self, why: Abandon) {
        let mut inner = self.inner.lock();
        if inner.images.making.0.is_empty() {
            return;
        }
        inner.images.abandoned += 1;
        if why == Abandon::NoRoom {
            inner.take_back();
            inner.no_room = true;
        } else if why == Abandon::Refused || inner.images.abandoned >= ROUNDS_MAX {
            inner.images = Images::default();
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// The disk has no room for the copy of these: if one is ordered, all is taken back, because
    /// whoever waits could wait for ever.
    pub(super) fn out_of_room(&self, segments: &[SegmentNumber]) {
        let mut inner = self.inner.lock();
        if segments.iter().any(|segment| inner.left.contains(segment)) {
            inner.take_back();
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

    /// Whether nothing is done any more.
    pub(crate) fn are_given_up(&self) -> bool {
        self.inner.lock().given_up
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
        inner.is_open().then(|| OrdersProgress {
            done: inner.done,
            total: inner.total,
            is_imaging: inner.images.is_open(),
        })
    }

    /// Waits until something changes, or for that long.
    pub(crate) fn wait(&self, time: Duration) {
        let mut inner = self.inner.lock();
        if inner.is_open() {
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
        orders.add([one, other], Spans::default());
        orders.out_of_room(&[one]);
        assert_eq!((orders.progress(), orders.had_no_room()), (None, true));
        orders.add([one], Spans::default());
        assert_eq!((orders.progress().is_some(), orders.had_no_room()), (true, false));
        orders.out_of_room(&[other]);
        assert!(!orders.had_no_room(), "it was not ordered");
    }

    #[test]
    fn images_are_tried_a_few_times_and_taken_back_where_there_is_no_room() {
        let position = |sequence| crate::ids::Lsn::new(1, sequence).unwrap();
        let spans = || Spans(vec![position(3)..=position(9)]);
        let one = SegmentNumber(1);
        let orders = Orders::default();
        orders.images_abandoned(Abandon::NoRoom);
        assert!(!orders.had_no_room(), "nobody ordered that round");
        orders.add([one], spans());
        let mut rounds = 0;
        while let Some(taken) = orders.take_images() {
            assert_eq!(taken, spans());
            orders.images_abandoned(Abandon::Otherwise);
            rounds += 1;
        }
        let left = orders.progress().unwrap();
        assert_eq!((rounds, left.is_imaging, left.total), (ROUNDS_MAX, false, 1));
        orders.add([], spans());
        assert_eq!(orders.take_images(), Some(spans()));
        orders.images_abandoned(Abandon::NoRoom);
        assert_eq!((orders.progress(), orders.had_no_room()), (None, true));
        orders.add([one], spans());
        orders.stop();
        assert_eq!((orders.progress(), orders.was_stopped()), (None, true));
    }
}
