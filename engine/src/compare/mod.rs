//! Comparing what two nodes of a pair hold, whole, while they serve.
//!
//! ```text
//!  primary                                             follower
//!   │── Begin ────────────────────────────────────────► keeps its tables behind the next mark
//!   │  a mark is committed (a beginning of base images,
//!   │  which nothing follows), tables are kept there    they are kept as of the same position
//!   │── At(position) ─────────────────────────────────► did it?
//!   │── Parts of (all │ account │ mailbox │ some UIDs) ► name and hash of each part
//!   │  reads the same, descends where it differs
//!   │── End ──────────────────────────────────────────► lets the tables go
//! ```
//! A part is named by bytes that mean the same on both nodes (`whole.rs`), and its hash is that of
//! the names and hashes of its own parts, or of what a row says. So what is equal costs one hash,
//! and what is not is named down to the message. Each answer has a bound in parts and in bytes that
//! are read for it, and says where it ended: memory is bounded by one answer, and the other side
//! shows progress.
//!
//! | compared | as |
//! |--|--|
//! | accounts: settings, names of mailboxes, counters, metadata, rights | rows |
//! | mailboxes: UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ, keywords, all UIDs that went | what they say |
//! | messages: every number of their rows, flags, ids | row by row, whatever their pages |
//! | kept messages, domains, aliases, epochs, format level | rows |
//! | blobs and who names them | rows, by position |
//!
//! Not compared is what is each node's own: places, space, heads, versions and bounds of pages,
//! summaries, the index, which keys segments name; what requests were answered; and what only
//! helps the log (base images) or new mail (where a part was named last).
//!
//! # Invariants
//! 1. Both sides read tables as of one position, or nothing is compared.
//! 2. Nothing is changed.
//! 3. What does not open or decode on one side differs; it does not end the comparison.

pub(crate) mod fuzzing;
mod question;
mod run;
mod tables;

pub(crate) use self::question::{Answer, Question};
pub use self::run::Ask;
pub(crate) use self::run::Comparison;
pub(crate) use self::tables::HeldTables;
#[cfg(test)]
pub(crate) use self::tables::Listed;

use crate::ids::{Lsn, Uid};

/// Differences that a report lists.
pub const DIFFERENCES_MAX: usize = 100;

/// Something that is not the same on both nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Whose, if it is an account's.
    pub account: Option<String>,
    /// In which mailbox.
    pub mailbox: Option<String>,
    /// Of which message.
    pub uid: Option<Uid>,
    /// What it is, and how it differs.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.account {
            Some(account) => write!(f, "{account}")?,
            None => f.write_str("the volume")?,
        }
        if let Some(mailbox) = &self.mailbox {
            write!(f, " {mailbox}")?;
        }
        if let Some(uid) = self.uid {
            write!(f, " UID {uid}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What a comparison found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompareReport {
    /// As of which position.
    pub lsn: Lsn,
    /// Accounts that were compared.
    pub account_count: u64,
    /// Bytes of rows that were read here.
    pub byte_count: u64,
    /// What differs, at most [`DIFFERENCES_MAX`] of it.
    pub differences: Vec<Difference>,
    /// How much differs, listed or not.
    pub difference_count: u64,
}

/// How far a comparison is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CompareProgress {
    /// Accounts that were compared.
    pub account_count: u64,
    /// Of how many, about.
    pub account_total: u64,
}

/// Why nothing was compared.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CompareError {
    /// It is the primary that compares.
    #[error("this node follows; compare on the primary")]
    Follows,
    /// Nothing is written that marks a position.
    #[error(
        "the store takes no changes, or its format level is too old: 'pillarbox upgrade finish'"
    )]
    NoMark,
    /// Other checkpoints came between, again and again.
    #[error("both nodes were too busy to keep their tables at one position; try again")]
    Busy,
    /// The other node says no, or nothing.
    #[error("{0}")]
    Other(String),
    /// The tables here cannot be read.
    #[error("{0}")]
    Read(String),
}
