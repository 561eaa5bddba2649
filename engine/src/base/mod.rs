//! Base images: state is written into the log, so that the records before it can go.
//!
//! ```text
//! Begin ─► base begin is committed ─► checkpoint at v, snapshot of the tables ─► dumps, a unit at
//! a time, of what differs from the last image ─► the image of each account ─► Done
//! ```
//! A state machine with a `step`, driven by reclaim, which says when it is worth it. All images of
//! a round hold state as of one position v; while it is written, mail goes on coming. A unit that
//! the account's last image has already is named again and not written again, unless it lies where
//! all records are to go (`Spans`): so a retired key that sealed it comes to be needed no more.
//!
//! # Invariants
//! 1. Images are made from flushed tables, as they were at v and at no other position.
//! 2. The volume's own image is the last of a round.
//! 3. An account gets an image only if its rows are what was changed (`proof`).
//!
//! # What can go wrong
//! A stop of any kind leaves dumps that no image names: they go with the next round's rewriting.
//! An account that is deleted meanwhile gets no image.

mod dump;
mod install;
mod proof;
mod unit;

use std::ops::RangeInclusive;
use std::sync::Arc;

use self::dump::{Dump, DumpStep};
pub(crate) use self::install::Installer;
#[cfg(test)]
pub(crate) use self::unit::owner as owner_of_row;
use crate::commit::{Change, CheckpointSlot, Queue};
use crate::error::{CommitError, ReadError};
use crate::ids::{AccountNumber, Lsn};
use crate::state::{Committed, Saved};
use crate::ticket::{Ticket, ticket};

/// What making base images needs.
#[derive(Clone)]
pub(crate) struct BaseSetup {
    pub(crate) saved: Arc<Saved>,
    pub(crate) committed: Arc<Committed>,
    pub(crate) checkpoints: Arc<CheckpointSlot>,
    pub(crate) queue: Arc<Queue>,
}

/// Spans of positions of which no record is to be needed any more.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Spans(pub(crate) Vec<RangeInclusive<Lsn>>);

impl Spans {
    /// Of spans in ascending order; neighbours become one.
    pub(crate) fn of(spans: impl IntoIterator<Item = RangeInclusive<Lsn>>) -> Spans {
        let mut merged: Vec<RangeInclusive<Lsn>> = Vec::new();
        for span in spans {
            match merged.last_mut() {
                Some(last) if last.end().next().is_some_and(|next| *span.start() <= next) => {
                    *last = *last.start()..=*span.end().max(last.end());
                }
                _ => merged.push(span),
            }
        }
        Spans(merged)
    }

    /// Whether that position lies in one.
    pub(crate) fn has(&self, lsn: Lsn) -> bool {
        self.0.iter().any(|span| span.contains(&lsn))
    }

    /// The last position of all; none if there are no spans.
    pub(crate) fn last(&self) -> Option<Lsn> {
        self.0.iter().map(|span| *span.end()).max()
    }
}

/// One round of base images, of all accounts.
pub(crate) struct Round {
    setup: BaseSetup,
    /// Units in there are written anew.
    anew: Spans,
    phase: Phase,
}

/// Why a round was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Abandon {
    /// The disk has no room for it.
    NoRoom,
    /// An account's rows did not agree: its records stay, however often it is tried.
    Refused,
    /// Another checkpoint came between, or the committer takes nothing now.
    Otherwise,
}

impl Abandon {
    fn of(error: &CommitError) -> Abandon {
        match error {
            CommitError::DiskFull => Abandon::NoRoom,
            _ => Abandon::Otherwise,
        }
    }
}

enum Phase {
    Begin,
    Begun(Ticket<Result<Lsn, CommitError>>, Vec<AccountNumber>),
    /// Waits for the checkpoint at that position.
    Snapshot(Lsn, Vec<AccountNumber>),
    Dumping(Box<Dump>),
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RoundStep {
    /// So many bytes were read or written; there is more to do.
    Worked(u64),
    /// Waits for a commit or a checkpoint.
    Waiting,
    /// The images are in the log, but for those of so many accounts whose rows did not agree.
    Done { refused: u64 },
    /// Given up; nothing was lost, and a later round begins anew.
    Abandoned(Abandon),
}

impl Round {
    pub(crate) fn new(setup: BaseSetup, anew: Spans) -> Round {
        Round { setup, anew, phase: Phase::Begin }
    }

    /// Does the next thing.
    ///
    /// # Errors
    /// [`ReadError`], if state cannot be read; the round is over then.
    pub(crate) fn step(&mut self) -> Result<RoundStep, ReadError> {
        match std::mem::replace(&mut self.phase, Phase::Begin) {
            Phase::Begin => {
                if !self.setup.checkpoints.is_idle() {
                    return Ok(RoundStep::Waiting);
                }
                let accounts = self.setup.committed.accounts();
                let accounts: Vec<AccountNumber> =
                    accounts.into_iter().map(|account| account.number).collect();
                let named = accounts.clone();
                let begun = self.submit(|promise| Change::BaseBegin { accounts: named, promise });
                let Some(begun) = begun else {
                    return Ok(RoundStep::Abandoned(Abandon::Otherwise));
                };
                self.phase = Phase::Begun(begun, accounts);
                Ok(RoundStep::Waiting)
            }
            Phase::Begun(begun, accounts) => match begun.now() {
                Err(begun) => {
                    self.phase = Phase::Begun(begun, accounts);
                    Ok(RoundStep::Waiting)
                }
                Ok(Ok(lsn)) => {
                    self.phase = Phase::Snapshot(lsn, accounts);
                    Ok(RoundStep::Waiting)
                }
                Ok(Err(error)) => Ok(RoundStep::Abandoned(Abandon::of(&error))),
            },
            Phase::Snapshot(lsn, accounts) => self.snapshot(lsn, accounts),
            Phase::Dumping(mut dump) => match dump.step()? {
                DumpStep::Worked(bytes) => {
                    self.phase = Phase::Dumping(dump);
                    Ok(RoundStep::Worked(bytes))
                }
                DumpStep::Waiting => {
                    self.phase = Phase::Dumping(dump);
                    Ok(RoundStep::Waiting)
                }
                DumpStep::Abandoned(why) => Ok(RoundStep::Abandoned(why)),
                DumpStep::Done => {
                    // Records are dropped under images that flushed state knows.
                    self.setup.checkpoints.want();
                    Ok(RoundStep::Done { refused: dump.refused() })
                }
            },
        }
    }

    fn snapshot(&mut self, lsn: Lsn, accounts: Vec<AccountNumber>) -> Result<RoundStep, ReadError> {
        // Asked before, because it becomes idle after it kept the tables.
        let is_idle = self.setup.checkpoints.is_idle();
        match self.setup.checkpoints.take_snapshot(lsn) {
            Some(tables) => {
                let values = Arc::clone(&self.setup.saved.values);
                let (setup, saved) = (self.setup.clone(), Saved { tables, values });
                let dump = Dump::new(setup, saved, lsn, accounts, &self.anew)?;
                self.phase = Phase::Dumping(Box::new(dump));
                Ok(RoundStep::Worked(0))
            }
            // Another checkpoint was on its way, so none was made at that position.
            None if is_idle => Ok(RoundStep::Abandoned(Abandon::Otherwise)),
            None => {
                self.phase = Phase::Snapshot(lsn, accounts);
                Ok(RoundStep::Waiting)
            }
        }
    }

    fn submit<T>(
        &self,
        change: impl FnOnce(crate::ticket::Promise<Result<T, CommitError>>) -> Change,
    ) -> Option<Ticket<Result<T, CommitError>>> {
        submit(&self.setup, change)
    }
}

/// Hands a change to the committer; `None` if it takes none.
fn submit<T>(
    setup: &BaseSetup,
    change: impl FnOnce(crate::ticket::Promise<Result<T, CommitError>>) -> Change,
) -> Option<Ticket<Result<T, CommitError>>> {
    let (promise, ticket) = ticket();
    setup.queue.push(change(promise)).ok().map(|()| ticket)
}
