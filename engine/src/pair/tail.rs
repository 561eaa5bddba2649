//! The newest groups, in memory: what a follower that keeps up is sent without reading a file.
//!
//! # Invariants
//! 1. Groups stand in the order of the chain, without a gap, up to the last that a flush covers.
//! 2. A watermark, which goes without a flush of its own, waits here for the flush behind it: a
//!    power cut may take it back, and nobody else may have it then.
//! 3. Bytes are bounded; without a second node none are kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Position;
use crate::ids::Lsn;
use crate::log::{BuiltGroup, GroupHash};

/// Bytes of groups that are kept.
const BYTES_MAX: usize = 16 << 20;

/// The newest groups.
#[derive(Default)]
pub(crate) struct Tail {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

struct Inner {
    groups: VecDeque<Arc<BuiltGroup>>,
    bytes: usize,
    /// Watermarks that no flush covers yet.
    unflushed: Vec<Arc<BuiltGroup>>,
    /// Behind the last group that a flush covers.
    end: Position,
    /// Somebody may want them.
    keeps: bool,
    /// Somebody wants to hear of more than groups.
    woken: u64,
}

impl Default for Inner {
    fn default() -> Inner {
        let end = Position { lsn: Lsn::ZERO, hash: GroupHash::NONE };
        let (groups, unflushed) = (VecDeque::new(), Vec::new());
        Inner { groups, bytes: 0, unflushed, end, keeps: false, woken: 0 }
    }
}

/// What stands behind a position.
pub(super) enum Behind {
    /// These groups, in order.
    Groups(Vec<Arc<BuiltGroup>>),
    /// Nothing yet.
    Nothing,
    /// What is not in memory any more, or never was.
    Older,
}

impl Tail {
    /// The log goes on behind that position, without groups of this node before it.
    pub(crate) fn begin(&self, end: Position) {
        let mut inner = self.inner.lock();
        inner.end = end;
        inner.groups.clear();
        inner.bytes = 0;
    }

    /// From now on groups are kept.
    pub(crate) fn keep(&self) {
        self.inner.lock().keeps = true;
    }

    /// Where the log ends, as far as a flush covers it.
    pub(crate) fn end(&self) -> Position {
        self.inner.lock().end
    }

    /// Groups were written and flushed, with all before them.
    pub(crate) fn push(&self, groups: Vec<BuiltGroup>) {
        // A batch that changes nothing makes no flush.
        if groups.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        if !inner.keeps {
            if let Some(last) = groups.last() {
                inner.end = Position { lsn: last.header().stamp.last_lsn, hash: last.hash() };
            }
            return;
        }
        let unflushed = std::mem::take(&mut inner.unflushed);
        for group in unflushed.into_iter().chain(groups.into_iter().map(Arc::new)) {
            let stamp = &group.header().stamp;
            inner.end = Position { lsn: stamp.last_lsn, hash: group.hash() };
            inner.bytes += group.bytes().len();
            inner.groups.push_back(group);
        }
        while inner.bytes > BYTES_MAX && inner.groups.len() > 1 {
            if let Some(oldest) = inner.groups.pop_front() {
                inner.bytes -= oldest.bytes().len();
            }
        }
        drop(inner);
        self.arrived.notify_all();
    }

    /// A watermark was written, without a flush.
    pub(crate) fn push_unflushed(&self, group: BuiltGroup) {
        let mut inner = self.inner.lock();
        if inner.keeps {
            inner.unflushed.push(Arc::new(group));
        }
    }

    /// Ends waits for groups: something else is to be looked at.
    pub(crate) fn wake(&self) {
        self.inner.lock().woken += 1;
        self.arrived.notify_all();
    }

    /// The groups behind a position, `bytes_max` of them or one; waits so long for the first.
    pub(super) fn behind(&self, at: Position, bytes_max: usize, wait: Duration) -> Behind {
        let deadline = Instant::now() + wait;
        let mut inner = self.inner.lock();
        let woken = inner.woken;
        while inner.end == at {
            let is_over = wait.is_zero()
                || inner.woken != woken
                || self.arrived.wait_until(&mut inner, deadline).timed_out();
            if is_over && inner.end == at {
                return Behind::Nothing;
            }
        }
        let follows = |group: &Arc<BuiltGroup>| group.header().stamp.previous == at.hash;
        let Some(first) = inner.groups.iter().rposition(follows) else { return Behind::Older };
        let mut bytes = 0;
        let fits = |group: &&Arc<BuiltGroup>| {
            let is_first = bytes == 0;
            bytes += group.bytes().len();
            is_first || bytes <= bytes_max
        };
        Behind::Groups(inner.groups.iter().skip(first).take_while(fits).cloned().collect())
    }
}
