//! Commits: many callers, one committer, one flush for all that waits.
//!
//! ```text
//! caller: parse, compress, seal ─► queue ─► committer: assign ─► write, flush ─► publish ─► answer
//!                                 (bounds)   against the       the log         readers
//!                                            assigned head                     see it
//! ```
//!
//! The committer alone assigns positions and UIDs, judges conditions, and seals records (some
//! hundred bytes each); everything heavy was done before by its caller. It does no other I/O than
//! the log's, unless a page that a change needs has left the cache.
//!
//! # Invariants
//! 1. An answer is given only after the flush of the group that holds the change.
//! 2. What is judged is the assigned head: the committed state and every change of this group so
//!    far.
//! 3. A batch is written only if the disk has room for it, and refused as a whole otherwise.
//! 4. After a failed write or flush nothing is written again, and everyone waiting is refused.

mod apply;
mod assign;
mod change;
mod checkpointer;
mod committer;
mod due;
mod entering;
mod follower;
mod gather;
pub(crate) mod merged;
pub(crate) mod numbered;
pub(crate) mod proposal;
mod queue;
mod room;
mod unnamed;

pub(crate) use apply::Applier;
pub(crate) use assign::BELOW_LEVEL;
pub use change::Undeleted;
pub(crate) use change::{
    Change, CopyKind, NewAccountChange, PendingMessage, RecipientCopy, RetentionChange,
    SealedMessage, SealedPart,
};
pub(crate) use checkpointer::{CheckpointStep, Checkpointer};
pub(crate) use committer::{
    CheckpointSlot, CommitBounds, CommitStep, Committer, CommitterSetup, CommitterStatus,
};
pub(crate) use follower::{Follower, FollowerSetup, Inherited};
pub use gather::Announcement;
pub use proposal::ProposalOutcome;
pub(crate) use queue::Queue;
pub(crate) use room::Room;
pub(crate) use unnamed::Unnamed;
