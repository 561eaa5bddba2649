//! What a mailbox holds: rows of messages, seen through immutable views.
//!
//! | file | holds |
//! |--|--|
//! | `row` | one message in one mailbox |
//! | `page`, `ids_page` | rows of consecutive UIDs by column, in memory and stored |
//! | `head` | what is known of a page without opening it, in memory and stored |
//! | `at_hand` | reading no more than what is in memory |
//! | `source` | where a page is: memory, cache, table store |
//! | `content` | all pages of a mailbox as a tree that versions share |
//! | `state` | a mailbox as the committer has it, and its stored row |
//! | `change` | append, flags, expunge |
//! | `dirty` | what a checkpoint has to write |
//! | `view`, `compare` | what readers see, and what differs between two views |
//! | `rows`, `condition` | some rows of a page where they lie; what is asked of them |
//! | `digest` | what a mailbox's messages add up to, kept with every change |
//! | `summary_page` | summaries of a run of messages, stored |
//! | `vanished` | expunged UIDs for QRESYNC |
//! | `verify` | heads compared with their pages, for `check` |

mod at_hand;
mod change;
mod compare;
mod condition;
mod content;
mod digest;
mod dirty;
pub(crate) mod fuzzing;
mod head;
mod ids_page;
mod keywords;
mod page;
mod row;
mod row_hashes;
mod rows;
mod source;
mod state;
mod summary_page;
#[cfg(test)]
mod tests;
mod vanished;
mod varint;
mod verify;
mod view;

/// The formats of a mailbox, for the list in `tests/golden/constants.txt`.
#[cfg(test)]
pub(crate) const FORMATS: [(&str, u8); 6] = [
    ("mailbox page", page::FORMAT),
    ("ids page", ids_page::FORMAT),
    ("head block", head::FORMAT),
    ("vanished entry", vanished::FORMAT),
    ("mailbox row", state::FORMAT_WITH_SPLIT_DIGEST),
    ("summary page", summary_page::FORMAT),
];

pub(crate) use self::{
    change::FlagDelta,
    content::ranges_within,
    digest::DigestProof,
    dirty::DirtyPages,
    page::rows_of_page,
    row_hashes::{hash_of_mailbox, hashes_of_page},
    source::{Columns, PageCache, PageKey, PageReader, PageSource},
    state::MailboxState,
    summary_page::{PagedSummary, SummaryPage, encode as encode_summary_page},
    vanished::VanishedEntry,
    verify::{NOT_ITS_DIGEST, decodes},
};
pub use at_hand::at_hand;
pub use condition::{Condition, Found, Sifting};
#[cfg(test)]
pub(crate) use digest::with_flag_in_first_row;
pub(crate) use keywords::KeywordTable;
pub use row::{KeywordSet, Row, RowIds};
pub use rows::{RowRef, Rows, Walk};
pub use view::{View, ViewChanges};
