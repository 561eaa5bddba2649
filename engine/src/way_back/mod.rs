//! The way back of a node that was primary: what only it had is put aside, the volume goes back to
//! the last position that both nodes have, follows the other node, and what was put aside is merged
//! (`store/merge/`).
//!
//! ```text
//!             held        common                        end
//! this node  ──┼────────────┼───── suffix ───────────────┤
//!              │            └──── the other node's epoch ─────────►
//!              └─ checkpoint, kept by hard links; what was alive then is on the disk
//!
//! primary ─► stood down ─► steps written ─► "rewind" written ─► closed, opened again:
//!            log and state rebuilt from what is held, cut at common ─► "rewind" removed
//!            ─► follows ─► merged ─► steps removed
//! ```
//!
//! | file | holds |
//! |--|--|
//! | `held` | the checkpoint at or below what the other node has |
//! | `order` | the file `way-back/rewind`: what opening is to do |
//! | `rewind` | opening does it |
//! | `steps` | which files have steps that are to be merged |
//! | `position` | which group ends at a position |
//!
//! # Invariants
//! 1. What is held lies at or below a position that the other node has on its disk. It is replaced
//!    by a later one only when that is complete.
//! 2. Nothing is cut before all of the suffix that counts is in `way-back/steps`, flushed.
//! 3. A crash at any call repeats the step that was under way, from the same sources: what is held,
//!    and the segments behind it, which reclaim leaves alone.

mod held;
mod order;
mod position;
mod rewind;
mod steps;

pub(crate) use held::{Held, HeldFolders, link_all, remove_files};
pub(crate) use order::RewindOrder;
pub(crate) use position::group_ending_at;
pub(crate) use rewind::rewind;
pub(crate) use steps::{STEPS, earlier_steps, has_steps};
