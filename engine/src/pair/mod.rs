//! What a volume has for its second node: groups to ship, and what the other node holds.
//!
//! ```text
//!  committer ── durable groups ──► tail ──► shipper ──► (link) ──► follower: chain, flush, apply
//!      ▲                            ▲ older ones: segment files                   │
//!      └──────── gate ◄──────────── noted: durable there as well ◄────────────────┘
//! ```
//!
//! | file | holds |
//! |--|--|
//! | `tail` | the newest groups in memory, as they went to the log |
//! | `shipper` | reads on behind any position, from the tail or from segments |
//! | `gate` | when what is durable here is committed |
//!
//! The follower itself is `commit/follower.rs`; no network is here.
//!
//! # Invariants
//! 1. Only groups that are durable here are shipped.
//! 2. What was not noted by the other node is not rewritten by reclaim, so it can be shipped.

mod gate;
mod shipper;
mod tail;

use std::sync::atomic::{AtomicBool, Ordering};

pub use gate::{Acknowledgement, Away, LeaseCheck};
pub(crate) use gate::{Gate, Judged};
pub use shipper::{Shipment, Shipper};
pub(crate) use shipper::{ShipperSetup, offset_behind};
pub(crate) use tail::Tail;

use parking_lot::Mutex;

use crate::ids::Lsn;
use crate::log::GroupHash;
use crate::record::EpochBegin;

/// A place in a volume's chain of groups: behind the group that ends at that position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Its last position.
    pub lsn: Lsn,
    /// Its hash.
    pub hash: GroupHash,
}

/// What the parts of a volume share that serve its second node.
#[derive(Default)]
pub(crate) struct PairState {
    pub(crate) tail: Tail,
    pub(crate) gate: Gate,
    follows: AtomicBool,
    paused: AtomicBool,
    /// The newest epoch that this node opened since it was started, with its first position.
    begun: Mutex<Option<(EpochBegin, Lsn)>>,
}

impl PairState {
    /// Whether the other node is primary.
    pub(crate) fn follows(&self) -> bool {
        self.follows.load(Ordering::Relaxed)
    }

    /// Whether nothing is taken of the primary for the moment.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Nothing is taken of the primary for the moment, or it is again.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// An epoch is opened here. State has it only when its first group is committed, which may wait
    /// for the other node; that one must hear of it before, or it does not know whom to follow.
    pub(crate) fn set_begun(&self, epoch: EpochBegin, first: Lsn) {
        *self.begun.lock() = Some((epoch, first));
    }

    /// The newest epoch that this node opened since it was started, with its first position.
    pub(crate) fn begun(&self) -> Option<(EpochBegin, Lsn)> {
        self.begun.lock().clone()
    }

    /// This node follows from now on, or no longer.
    pub(crate) fn set_follows(&self, follows: bool) {
        self.follows.store(follows, Ordering::Relaxed);
    }
}
