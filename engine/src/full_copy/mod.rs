//! The full copy: a node that lacks what the other one's log no longer has gets the files of a
//! checkpoint of the other one, as they are, and goes on from there.
//!
//! ```text
//! primary                                         follower
//! checkpoint ─► held/copy, by second names        (its old content answers reads meanwhile)
//!   held/lent: the offer ───────────────────────► held/arriving: the offer
//!   a piece of a file   ◄───────── asked for ──── held/copy/{log,index,state}
//!                       ────────────────────────►   NAME.unfinished, flushed, then NAME
//!   …                                             all there: way-back/rewind says "take it all"
//!                                                 closed, opened again: log, tables and index are
//!                                                 those; the log is cut behind the checkpoint
//!   reclaim leaves what follows  ◄── Follow ───── and it follows
//! ```
//!
//! | file | holds |
//! |--|--|
//! | `offer` | what there is to be copied: `held/lent` and `held/arriving`, and a message |
//! | `loan` | the node that has it |
//! | `arrival` | the node that wants it |
//!
//! The switch is that of the way back (`way_back/rewind.rs`).
//!
//! # Invariants
//! 1. What is lent does not change: segments, files of the index and tables are written once, and
//!    the last segment is read up to the checkpoint alone.
//! 2. A file has its name in `held/copy` only when all of it is flushed. Of one that has none yet,
//!    only what the lender says is right is kept.
//! 3. Until the switch the old content stays whole. The switch begins with one flushed file, and is
//!    repeated until it is done.
//! 4. While something is lent, nothing above it is rewritten, so the log reaches from it to the
//!    end.

mod arrival;
pub(crate) mod fuzzing;
mod loan;
mod offer;

pub use arrival::{Arrival, ArrivalError, Ask};
pub(crate) use arrival::{arrives, drop_arrival, empty_copy};
pub(crate) use loan::Loan;
pub use loan::LoanError;
