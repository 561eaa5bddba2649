//! The merge: what a node had alone when it went back is done once more, in the history that goes
//! on.
//!
//! ```text
//!  deposed node, before it goes back                after it, as a follower
//!  suffix.rs: records behind the common position    since.rs: what the others did since
//!     + what is there in the end                    run.rs: step by step, as changes with ids
//!     = net steps ──► file.rs: way-back/steps ──►      ──► route ──► primary ──► log ──► here
//! ```
//! The steps are self-contained: a message that came brings its bytes, which reclaim may have
//! removed by then. They are proposals like any other (`commit/proposal/`), with ids that follow
//! from the epoch and the step: whatever is interrupted is repeated, and what the log says was
//! answered is not done again. So the primary does nothing that it does not do for every client of
//! its follower, but that quotas do not refuse what was acknowledged already.
//!
//! # Rules
//! | what was done on the node that went back | what becomes of it |
//! |--|--|
//! | a message came, or was brought back | comes anew, with the next UID |
//! | copied | copied; if the original went meanwhile, it comes anew |
//! | moved | moved, unless the others moved or expunged it too: then it stays where they put it |
//! | flags | for each flag the later stamp wins; a message that went stays gone |
//! | expunged | expunged, wherever the others moved it |
//! | mailbox made | made; one of its name is taken as the same |
//! | mailbox renamed, subscription, metadata, rights, limits, account, policy | later stamp wins |
//! | mailbox deleted | deleted, unless mail came into it |
//! | mail for a mailbox that the others deleted | comes into "NAME (recovered)" |
//! | a request of the other node that its log has | dropped: it is there |
//! What cannot be known is kept.
//!
//! # Invariants
//! 1. Each step takes effect once, however often it is begun.
//! 2. Steps are removed when all are done, which is when the log here has what became of them.
//! 3. No UID changes its meaning: numbers that the suffix gave are not given again. They lie below
//!    those of the epoch that goes on; else they are left out, and what has them moves.

mod file;
mod run;
mod since;
mod step;
mod subject;
mod suffix;
mod tally;
mod walk;

pub(crate) use file::{StepsFile, StepsWriter};
pub use run::MergeError;
pub(super) use step::Step;
pub(crate) use suffix::Suffix;
pub use tally::MergeTally;
