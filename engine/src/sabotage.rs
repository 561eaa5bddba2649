//! One broken promise at a time, so that tests can see that breaking it is noticed.
//!
//! Compiled for tests only; in every other build nothing is ever broken, and the compiler drops the
//! question.

/// A promise that a test may break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    /// The log's flush is skipped.
    Flush,
    /// Bytes of the log are taken without comparing their hash.
    Hash,
    /// A new segment's name is not made durable.
    DirectorySync,
    /// Replay applies rows but leaves UIDNEXT as the tables had it.
    UidNext,
    /// A segment is released before the checkpoint that holds the new places is flushed.
    Release,
    /// A blob is taken for dead although a row names it.
    Reference,
    /// Records are dropped that no base image covers.
    Base,
    /// A retired key is destroyed although something names it.
    Key,
    /// A page of summaries stays although one of its messages went.
    Summary,
    /// The full-text index hears nothing of new messages.
    Index,
    /// The two records of a REPLACE lie in two groups. Random runs seldom tear a batch there, so it
    /// has a test of its own (`simulation/cuts.rs`).
    OneGroup,
    /// What a request of another node was answered is not written into the log. Random runs have no
    /// other node; its test is in `simulation/proposals.rs`.
    Request,
    /// Callers are told that all is well whatever the write said.
    Answer,
}

#[cfg(test)]
impl Sabotage {
    /// Those that random runs notice, with their names on the command line.
    pub(crate) const ALL: [(Sabotage, &str); 11] = [
        (Sabotage::Flush, "flush"),
        (Sabotage::Hash, "hash"),
        (Sabotage::DirectorySync, "dirsync"),
        (Sabotage::UidNext, "uidnext"),
        (Sabotage::Answer, "answer"),
        (Sabotage::Release, "release"),
        (Sabotage::Reference, "reference"),
        (Sabotage::Base, "base"),
        (Sabotage::Key, "key"),
        (Sabotage::Summary, "summary"),
        (Sabotage::Index, "index"),
    ];
}

/// Whether that promise is broken now.
#[cfg(not(test))]
pub(crate) const fn breaks(_which: Sabotage) -> bool {
    false
}

#[cfg(test)]
pub(crate) use in_tests::{breaks, set, set_replaying};

#[cfg(test)]
mod in_tests {
    use std::cell::Cell;

    use super::Sabotage;

    thread_local! {
        static BROKEN: Cell<Option<Sabotage>> = const { Cell::new(None) };
        static REPLAYING: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether that promise is broken now, on this thread.
    pub(crate) fn breaks(which: Sabotage) -> bool {
        BROKEN.get() == Some(which) && (which != Sabotage::UidNext || REPLAYING.get())
    }

    /// Records are being replayed from now on, or no more.
    pub(crate) fn set_replaying(replaying: bool) {
        REPLAYING.set(replaying);
    }

    /// Breaks that promise, or none, on this thread.
    pub(crate) fn set(which: Option<Sabotage>) {
        BROKEN.set(which);
    }
}
