//! INPROGRESS (RFC 9585): a search that goes on says so, and how far it is.

use std::time::{Duration, Instant};

use crate::command::Talk;
use crate::stream::Ended;

/// When the client is told next, and of how much.
pub(super) struct Progress {
    due: Instant,
    interval: Duration,
    done: u64,
    goal: u64,
}

impl Progress {
    /// Of a search through so many messages.
    pub(super) fn new(talk: &Talk, goal: u64) -> Progress {
        let interval = talk.session.config.limits.progress_interval;
        Progress { due: Instant::now() + interval, interval, done: 0, goal }
    }

    /// So many messages lie behind the ones that follow, such as those of a mailbox.
    pub(super) fn advance(&mut self, count: u32) {
        self.done = self.done.saturating_add(u64::from(count));
    }

    /// Tells, if it is time, that `within` more are done. Called between lines of answers only.
    pub(super) async fn tell(&mut self, talk: &mut Talk, within: u32) -> Result<(), Ended> {
        if Instant::now() < self.due {
            return Ok(());
        }
        let (tag, goal) = (&talk.tag, self.goal);
        let done = self.done.saturating_add(u64::from(within)).min(goal);
        let line = format!("* OK [INPROGRESS (\"{tag}\" {done} {goal})] Still searching");
        talk.wire.line(&line);
        self.due = Instant::now() + self.interval;
        // At once: it is there to keep the client from giving up.
        talk.wire.flush().await
    }
}
