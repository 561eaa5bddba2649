//! What waits for the committer, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::change::Change;
use crate::limits::{GROUP_BYTES_MAX, GROUP_RECORDS_MAX, QUEUE_BYTES_MAX, QUEUE_PROPOSALS_MAX};

/// The queue of one volume.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    taken: Condvar,
    /// Messages that callers have announced and that are not answered yet.
    announced: AtomicIsize,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Change>,
    /// So many changes wake the committer; 0 and 1: any.
    wake_at: usize,
    bytes: usize,
    closed: bool,
    /// Changes are made elsewhere.
    refusing: bool,
    /// Something else than a change wants the committer.
    nudged: bool,
    /// After so many more changes, a test finds no room.
    #[cfg(test)]
    room_left: Option<usize>,
}

impl Inner {
    #[cfg(not(test))]
    fn is_refusing(&self) -> bool {
        false
    }

    #[cfg(test)]
    fn is_refusing(&mut self) -> bool {
        let Some(left) = self.room_left.as_mut() else { return false };
        let is_over = *left == 0;
        *left = left.saturating_sub(1);
        is_over
    }
}

/// Why the committer wakes.
pub(crate) enum Woken {
    /// With changes, in order of arrival.
    Changes(Vec<Change>),
    /// Nothing waits, but it was nudged or the time is over.
    Idle,
    /// No change comes any more.
    Closed,
}

/// How long a caller waits for room before it is told that the store is busy.
const ROOM_TIMEOUT: Duration = Duration::from_secs(30);

impl Queue {
    /// Adds a change; waits for room, and gives the change back where there is none in time or no
    /// committer.
    pub(crate) fn push(&self, change: Change) -> Result<(), Box<Change>> {
        let bytes = change.group_bytes();
        let deadline = Instant::now() + ROOM_TIMEOUT;
        let mut inner = self.inner.lock();
        while !inner.closed
            && !inner.waiting.is_empty()
            && (inner.waiting.len() >= QUEUE_PROPOSALS_MAX || inner.bytes + bytes > QUEUE_BYTES_MAX)
        {
            if self.taken.wait_until(&mut inner, deadline).timed_out() {
                return Err(Box::new(change));
            }
        }
        if inner.closed || inner.refusing || inner.is_refusing() {
            return Err(Box::new(change));
        }
        inner.bytes += bytes;
        inner.waiting.push_back(change);
        let wakes = inner.waiting.len() >= inner.wake_at;
        drop(inner);
        if wakes {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Adds a change whatever waits: one that makes what waits less. Lost without a committer.
    pub(crate) fn push_now(&self, change: Change) {
        let mut inner = self.inner.lock();
        if !inner.closed && !inner.refusing {
            inner.bytes += change.group_bytes();
            inner.waiting.push_back(change);
        }
        drop(inner);
        self.arrived.notify_one();
    }

    /// Waits for changes until `timeout`; takes as many as one batch of groups may hold.
    pub(crate) fn take(&self, timeout: Duration) -> Woken {
        let deadline = Instant::now() + timeout;
        let mut inner = self.inner.lock();
        while inner.waiting.is_empty() {
            if inner.nudged {
                inner.nudged = false;
                return Woken::Idle;
            }
            if inner.closed {
                return Woken::Closed;
            }
            if self.arrived.wait_until(&mut inner, deadline).timed_out() {
                return Woken::Idle;
            }
        }
        Woken::Changes(self.drain(&mut inner))
    }

    /// Takes what came since, without waiting.
    pub(crate) fn take_more(&self) -> Vec<Change> {
        self.drain(&mut self.inner.lock())
    }

    /// Waits until `count` changes wait or `deadline`; tells how many do. Fewer do not wake it.
    pub(crate) fn wait_for(&self, count: usize, deadline: Instant) -> usize {
        let mut inner = self.inner.lock();
        inner.wake_at = count;
        while inner.waiting.len() < count && !inner.closed {
            if self.arrived.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        inner.wake_at = 0;
        inner.waiting.len()
    }

    /// Counts messages that are on their way.
    pub(super) fn announced(&self, change: isize) {
        self.announced.fetch_add(change, Ordering::Relaxed);
    }

    /// How many are on their way, or wait here or for their flush.
    pub(super) fn announced_count(&self) -> usize {
        usize::try_from(self.announced.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn drain(&self, inner: &mut Inner) -> Vec<Change> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(change) = inner.waiting.front() {
            let more = change.group_bytes();
            if !batch.is_empty()
                && (bytes + more > GROUP_BYTES_MAX / 2 || batch.len() >= GROUP_RECORDS_MAX / 4)
            {
                break;
            }
            bytes += more;
            inner.bytes = inner.bytes.saturating_sub(more);
            batch.extend(inner.waiting.pop_front());
        }
        self.taken.notify_all();
        batch
    }

    /// Takes so many changes more and then finds no room.
    #[cfg(test)]
    pub(crate) fn refuse_after(&self, count: usize) {
        self.inner.lock().room_left = Some(count);
    }

    /// Wakes the committer without a change.
    pub(crate) fn nudge(&self) {
        self.inner.lock().nudged = true;
        self.arrived.notify_one();
    }

    /// Takes nothing while another node makes the changes, or takes changes again.
    pub(crate) fn set_refusing(&self, refusing: bool) {
        self.inner.lock().refusing = refusing;
    }

    /// Whether no more comes.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Takes no more; what waits is still served.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.arrived.notify_all();
        self.taken.notify_all();
    }
}
