//! When waiting a little makes one flush serve more callers.
//!
//! Callers announce a message as soon as they know that it comes (a client was told to send it, or
//! it is being parsed and sealed). With many announced, a flush that began with the first change
//! would serve that one alone, and the rest would wait for the next; so the committer waits until a
//! third of the announced have come. With two thirds still on their way the cores stay busy
//! meanwhile. Up to five callers are never waited for: a lone client pays nothing.
//!
//! # Invariants
//! 1. A change waits here for at most [`GATHER_MAX`].
//! 2. The committer sleeps until enough have come or a slice of the time is over; it is not woken
//!    for every change.
//! 3. Callers that announce and do not come (a slow sender) cost the others one slice now and then:
//!    a wait that brought nobody makes the next ones rarer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::Queue;

/// The longest wait.
const GATHER_MAX: Duration = Duration::from_millis(4);
/// A slice without any arrival ends it.
const SLICE: Duration = Duration::from_millis(1);
/// One of so many announced is enough.
const ENOUGH_OF: usize = 3;
/// Changes that are enough in any case.
const ENOUGH: usize = 64;
/// Groups to go without waiting after a wait that brought nobody; doubles up to the maximum.
const SKIP_MIN: u32 = 4;
const SKIP_MAX: u32 = 64;

/// A message that is on its way to the committer; held until it is answered or given up.
pub struct Announcement {
    queue: Arc<Queue>,
}

impl Announcement {
    pub(crate) fn new(queue: &Arc<Queue>) -> Announcement {
        queue.announced(1);
        Announcement { queue: Arc::clone(queue) }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        self.queue.announced(-1);
    }
}

/// Decides for one committer.
pub(crate) struct Gather {
    skip_next: u32,
    skip_length: u32,
}

impl Gather {
    pub(crate) fn new() -> Gather {
        Gather { skip_next: 0, skip_length: SKIP_MIN }
    }

    /// Waits while it pays, beside `taken` changes that the committer has already.
    pub(crate) fn wait(&mut self, queue: &Queue, taken: usize) {
        let enough = (queue.announced_count() / ENOUGH_OF).min(ENOUGH);
        let Some(wanted) = enough.checked_sub(taken).filter(|&wanted| wanted > 0) else {
            return;
        };
        if self.skip_next > 0 {
            self.skip_next -= 1;
            return;
        }
        let begin = Instant::now();
        let mut waiting = 0;
        while waiting < wanted && begin.elapsed() < GATHER_MAX {
            let now = queue.wait_for(wanted, Instant::now() + SLICE);
            if now == waiting {
                break;
            }
            waiting = now;
        }
        if waiting > 0 {
            self.skip_length = SKIP_MIN;
        } else {
            self.skip_next = self.skip_length;
            self.skip_length = (self.skip_length * 2).min(SKIP_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_callers_are_not_waited_for_and_many_are() {
        let queue = Arc::new(Queue::default());
        let mut announced: Vec<_> = (0..5).map(|_| Announcement::new(&queue)).collect();
        let mut gather = Gather::new();
        let begin = Instant::now();
        (0..1000).for_each(|_| gather.wait(&queue, 1));
        assert!(begin.elapsed() < SLICE * 500, "nobody slept");
        announced.extend((0..11).map(|_| Announcement::new(&queue)));
        let begin = Instant::now();
        gather.wait(&queue, 1);
        assert!(begin.elapsed() >= SLICE, "it waits for those that were announced");
        drop(announced);
        assert_eq!(queue.announced_count(), 0);
    }
}
