//! A primary's lease, as a state machine: what to ask of etcd next, and until when the lease is
//! surely held.
//!
//! ```text
//!            Grant                Bind                  Renew, at a third of the time
//! Without ──────────► Granted ──────────► Bound ──┐
//!    ▲                   │  ▲               │ │ ▲──┘
//!    │                   │  └───────────────┘ │
//!    │                   │ renewed, but lapsed│ here before
//!    └───────────────────┴────────────────────┘
//!      etcd has no such lease                        another epoch stands there: Over
//! ```
//!
//! The machine asks for one deed at a time ([`LeaseKeeper::step`]); its caller does it and reports
//! ([`LeaseKeeper::report`]). It knows no socket and no clock: moments are passed in.
//!
//! Held until when: etcd counts a lease's time from when it takes the request, which is never
//! before the moment at which the deed was handed out. So time is counted from *that* moment, not
//! from the answer, and a tenth of it ([`MARGIN`]) is left away: the clocks of two machines do not
//! run alike. A process that was paused finds by its own clock that the lease is gone, before
//! anybody else can have it.
//!
//! A member of etcd that was paused itself may still take itself for the leader, and answer a
//! renewal that no other member knows of (etcd issue 15247; Debian's does, as a test saw). So an
//! answer from an earlier leader's term than was seen of this lease counts as none; and what is
//! renewed after it lapsed here must be bound anew, which a majority of members decides.
//!
//! # Invariants
//! 1. While the lease is held here, its key stands in etcd, if neither clock runs a tenth faster
//!    than the other.
//! 2. Held means bound: between a grant and its binding nothing is held.
//! 3. Once another epoch was seen, nothing is held ever again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Moment;
use super::gateway::{LeaseId, Term};

/// The part of a lease's time that is left away: one in ten.
pub const MARGIN: u32 = 10;
/// Seconds of a lease: etcd grants no less than 2 by default.
pub const LEASE_SECONDS_MIN: u32 = 2;
/// Seconds of a lease at most: so long a failover may take.
pub const LEASE_SECONDS_MAX: u32 = 600;
/// The shortest pause after a deed that failed.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// What is to be asked of etcd.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A lease of so many seconds.
    Grant {
        /// Its time.
        seconds: u32,
        /// How long to wait for one endpoint.
        patience: Duration,
    },
    /// The volume's key with the lease, if the epoch is still the one there.
    Bind(LeaseId),
    /// The lease's time anew.
    Renew {
        /// The lease.
        lease: LeaseId,
        /// The latest leader's term that was seen of it: earlier ones count as no answer.
        term: Term,
        /// How long to wait for one endpoint.
        patience: Duration,
    },
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// A lease was granted.
    Granted {
        /// The lease.
        lease: LeaseId,
        /// Its time.
        seconds: u32,
        /// Under which leader.
        term: Term,
    },
    /// It was bound.
    Bound,
    /// Its time began anew.
    Renewed {
        /// Its time.
        seconds: u32,
        /// Under which leader.
        term: Term,
    },
    /// etcd has no such lease.
    Unknown,
    /// Another epoch stands there.
    Deposed,
    /// No answer: it may have happened or not.
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// This, then report.
    Do(Deed),
    /// Nothing before this moment.
    Wait(Moment),
    /// Nothing any more.
    Over,
}

/// Whether the lease is held, for any thread: the committer asks after each flush.
#[derive(Clone, Default, Debug)]
pub struct LeaseView(Arc<AtomicU64>);

impl LeaseView {
    /// Whether the lease is surely held at `now`.
    pub fn is_held(&self, now: Moment) -> bool {
        now.nanoseconds() < self.0.load(Ordering::SeqCst)
    }

    fn hold_until(&self, moment: Moment) {
        self.0.fetch_max(moment.nanoseconds(), Ordering::SeqCst);
    }

    pub(super) fn let_go(&self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Without,
    Granted(Lease),
    Bound(Lease),
    Over,
}

/// A lease, and when its time began at the latest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lease {
    id: LeaseId,
    began: Moment,
    seconds: u32,
    term: Term,
}

impl Lease {
    fn time(&self) -> Duration {
        // What a member says is believed only as far as it shortens.
        Duration::from_secs(u64::from(self.seconds.min(LEASE_SECONDS_MAX)))
    }

    fn surely_until(&self) -> Moment {
        let time = self.time();
        self.began.after(time.saturating_sub(part(time, MARGIN)))
    }
}

/// The state machine.
#[derive(Debug)]
pub struct LeaseKeeper {
    seconds: u32,
    patience_max: Duration,
    phase: Phase,
    /// Not before this moment is anything done.
    next: Moment,
    /// The deed that was handed out, and when.
    under_way: Option<(Deed, Moment)>,
    view: LeaseView,
}

impl LeaseKeeper {
    /// Keeps a lease of so many seconds (within bounds), waiting for no endpoint longer than
    /// `patience_max`. It holds none yet.
    pub fn new(seconds: u32, patience_max: Duration) -> LeaseKeeper {
        LeaseKeeper {
            seconds: seconds.clamp(LEASE_SECONDS_MIN, LEASE_SECONDS_MAX),
            patience_max,
            phase: Phase::Without,
            next: Moment::from_nanoseconds(0),
            under_way: None,
            view: LeaseView::default(),
        }
    }

    /// What to do next. A deed is to be done at once; time is counted from `now`.
    ///
    /// # Panics
    /// When a deed that was handed out has not been reported.
    pub fn step(&mut self, now: Moment) -> Step {
        assert!(self.under_way.is_none(), "one deed at a time");
        if self.phase != Phase::Over && now < self.next {
            return Step::Wait(self.next);
        }
        // Of a third of the time, each of two endpoints shall have half.
        let time = Duration::from_secs(u64::from(self.seconds));
        let patience = part(time, 6).min(self.patience_max);
        let deed = match self.phase {
            Phase::Without => Deed::Grant { seconds: self.seconds, patience },
            Phase::Granted(lease) => Deed::Bind(lease.id),
            Phase::Bound(Lease { id, term, .. }) => Deed::Renew { lease: id, term, patience },
            Phase::Over => return Step::Over,
        };
        self.under_way = Some((deed, now));
        Step::Do(deed)
    }

    /// What came of the deed that was handed out.
    ///
    /// # Panics
    /// When none was.
    pub fn report(&mut self, now: Moment, report: Report) {
        let (deed, sent) = self.under_way.take().expect("a report follows a deed");
        if self.phase == Phase::Over {
            return;
        }
        match (deed, self.phase, report) {
            (_, _, Report::Deposed) => self.end(),
            (Deed::Grant { .. }, _, Report::Granted { lease, seconds, term }) => {
                let lease = Lease { id: lease, began: sent, seconds, term };
                (self.phase, self.next) = (Phase::Granted(lease), now);
            }
            (Deed::Bind(_), Phase::Granted(lease), Report::Bound) => self.hold(lease),
            (Deed::Renew { .. }, Phase::Bound(lease), Report::Renewed { seconds, term })
                if term >= lease.term =>
            {
                let lapsed = sent >= lease.surely_until();
                let lease = Lease { began: sent, seconds, term, ..lease };
                match lapsed {
                    false => self.hold(lease),
                    true => (self.phase, self.next) = (Phase::Granted(lease), now),
                }
            }
            (_, _, Report::Unknown) => {
                // It is gone, whatever was believed.
                self.view.let_go();
                (self.phase, self.next) = (Phase::Without, now);
            }
            _ => self.pause(now),
        }
    }

    /// Ends it: nothing is held any more. Says which lease to revoke.
    pub fn stop(&mut self) -> Option<LeaseId> {
        let lease = match self.phase {
            Phase::Granted(lease) | Phase::Bound(lease) => Some(lease.id),
            Phase::Without | Phase::Over => None,
        };
        self.end();
        lease
    }

    /// Whether the lease is surely held at `now`.
    pub fn is_held(&self, now: Moment) -> bool {
        self.view.is_held(now)
    }

    /// The same, for other threads.
    pub fn view(&self) -> LeaseView {
        self.view.clone()
    }

    fn hold(&mut self, lease: Lease) {
        self.view.hold_until(lease.surely_until());
        self.next = lease.began.after(part(lease.time(), 3));
        self.phase = Phase::Bound(lease);
    }

    fn pause(&mut self, now: Moment) {
        let time = Duration::from_secs(u64::from(self.seconds));
        self.next = now.after(part(time, 24).max(PAUSE_MIN));
    }

    fn end(&mut self) {
        self.view.let_go();
        self.phase = Phase::Over;
    }
}

/// One part of so many equal ones.
fn part(time: Duration, parts: u32) -> Duration {
    time.checked_div(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests;
