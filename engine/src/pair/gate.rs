//! The gate: when a group that is durable here is committed.
//!
//! ```text
//!  mode      follower                   a durable group is committed
//!  local     any                        at once
//!            lease has lapsed           when the follower has noted it
//!  durable   there                      when the follower has noted it
//!            away, Refuse               not before it is back; new changes are refused
//!            away, Degrade              when degrading was allowed, until it is there again
//! ```
//! A change of accounts or keys is committed when both nodes have it, in every mode, once there is
//! a second node.
//!
//! # Invariants
//! 1. What was noted never goes down.
//! 2. Degrading is allowed from outside, after whoever could promote the follower was told so; here
//!    nobody decides it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::ids::Lsn;

/// When a change is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Acknowledgement {
    /// When it is durable on this node.
    #[default]
    Local,
    /// When it is durable on both.
    Durable(Away),
}

/// What becomes of changes while the follower is away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Away {
    /// They are refused.
    Refuse,
    /// They are acknowledged as in [`Acknowledgement::Local`], once that was allowed.
    Degrade,
}

/// Whether nobody else can have become primary by now.
pub type LeaseCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the gate says of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judged {
    Committed,
    /// The follower has not noted it yet.
    Waiting,
}

/// The gate of a volume.
#[derive(Default)]
pub(crate) struct Gate {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    mode: Acknowledgement,
    /// There is a second node, here or away.
    has_other: bool,
    is_there: bool,
    is_degraded: bool,
    noted: Lsn,
    lease: Option<LeaseCheck>,
}

impl Inner {
    /// Somebody else may be primary, unless the other node still takes what this one writes.
    fn is_lapsed(&self) -> bool {
        self.lease.as_ref().is_some_and(|is_held| !is_held())
    }

    fn judge(&self, last: Lsn, needs_both: bool) -> Judged {
        let waits = match self.mode {
            _ if !self.has_other => false,
            _ if needs_both => true,
            Acknowledgement::Local => self.is_lapsed(),
            Acknowledgement::Durable(_) => !self.is_degraded,
        };
        if waits && self.noted < last { Judged::Waiting } else { Judged::Committed }
    }

    fn refusal(&self, needs_both: bool) -> Option<&'static str> {
        if !self.has_other || self.is_there {
            return None;
        }
        match self.mode {
            _ if needs_both => Some(
                "accounts and keys change on both nodes, and the other one is away; 'pillarbox \
                 replica status' tells more",
            ),
            Acknowledgement::Durable(_) if !self.is_degraded => {
                Some("the other node of the pair is away, and mail is to be on both")
            }
            Acknowledgement::Local if self.is_lapsed() => Some(
                "the other node of the pair is away, and etcd does not say that this one is \
                 still primary",
            ),
            _ => None,
        }
    }
}

impl Gate {
    /// There is a second node.
    pub(crate) fn set(&self, mode: Acknowledgement) {
        let mut inner = self.inner.lock();
        (inner.mode, inner.has_other) = (mode, true);
        drop(inner);
        self.changed.notify_all();
    }

    /// What says that this node is still primary, where that can end by itself.
    pub(crate) fn set_lease(&self, lease: Option<LeaseCheck>) {
        self.inner.lock().lease = lease;
        self.changed.notify_all();
    }

    /// There is no second node any more.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        (inner.has_other, inner.is_there, inner.is_degraded) = (false, false, false);
        drop(inner);
        self.changed.notify_all();
    }

    /// The follower has come, or gone.
    pub(crate) fn set_there(&self, is_there: bool) {
        self.inner.lock().is_there = is_there;
        self.changed.notify_all();
    }

    /// Groups may be acknowledged that the follower does not have, or no longer.
    pub(crate) fn set_degraded(&self, is_degraded: bool) {
        self.inner.lock().is_degraded = is_degraded;
        self.changed.notify_all();
    }

    /// Everything up to there is durable at the follower.
    pub(crate) fn note(&self, lsn: Lsn) {
        let mut inner = self.inner.lock();
        inner.noted = inner.noted.max(lsn);
        drop(inner);
        self.changed.notify_all();
    }

    /// The last position that the follower is known to have, if there is one.
    pub(crate) fn noted(&self) -> Option<Lsn> {
        let inner = self.inner.lock();
        inner.has_other.then_some(inner.noted)
    }

    /// Whether the follower is there, and whether groups are acknowledged without it that should
    /// not be.
    pub(crate) fn presence(&self) -> (bool, bool) {
        let inner = self.inner.lock();
        (inner.is_there, inner.is_degraded)
    }

    /// Why a change is refused before anything is assigned, if it is.
    pub(crate) fn refusal(&self, needs_both: bool) -> Option<&'static str> {
        self.inner.lock().refusal(needs_both)
    }

    /// Whether the groups up to `last` are committed.
    pub(crate) fn judge(&self, last: Lsn, needs_both: bool) -> Judged {
        self.inner.lock().judge(last, needs_both)
    }

    /// Waits until they are, or so long.
    pub(crate) fn wait(&self, last: Lsn, needs_both: bool, time: Duration) -> Judged {
        let deadline = Instant::now() + time;
        let mut inner = self.inner.lock();
        while inner.judge(last, needs_both) == Judged::Waiting {
            if time.is_zero() || self.changed.wait_until(&mut inner, deadline).timed_out() {
                return inner.judge(last, needs_both);
            }
        }
        Judged::Committed
    }
}
