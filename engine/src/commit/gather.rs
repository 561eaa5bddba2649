//! When waiting a little makes one flush serve more callers.
//!
//! Under load from many connections a flush could begin with the first change that comes, and the
//! rest would wait for the next. Gathering waits at most [`GATHER_MAX`] while changes keep coming,
//! and stops at the first pause. A lone client gains nothing from it, so a wait that brought nobody
//! makes the next ones rarer.

use std::time::{Duration, Instant};

use super::queue::Queue;

/// The longest wait.
const GATHER_MAX: Duration = Duration::from_micros(1500);
/// A pause this long ends it.
const PAUSE: Duration = Duration::from_micros(300);
/// Changes that are enough.
const ENOUGH: usize = 48;
/// Groups to go without waiting after a wait that brought nobody; doubles up to the maximum.
const SKIP_MIN: u32 = 4;
const SKIP_MAX: u32 = 256;

/// Decides for one committer.
pub(crate) struct Gather {
    skip_next: u32,
    skip_length: u32,
}

impl Gather {
    pub(crate) fn new() -> Gather {
        Gather { skip_next: 0, skip_length: SKIP_MIN }
    }

    /// Waits while it pays.
    pub(crate) fn wait(&mut self, queue: &Queue) {
        if self.skip_next > 0 {
            self.skip_next -= 1;
            return;
        }
        let begin = Instant::now();
        let before = queue.len();
        let mut waiting = before;
        while waiting < ENOUGH && begin.elapsed() < GATHER_MAX {
            let now = queue.wait_for(waiting + 1, Instant::now() + PAUSE);
            if now <= waiting {
                break;
            }
            waiting = now;
        }
        if waiting > before {
            self.skip_length = SKIP_MIN;
        } else {
            self.skip_next = self.skip_length;
            self.skip_length = (self.skip_length * 2).min(SKIP_MAX);
        }
    }
}
