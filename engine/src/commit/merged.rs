//! A change that was made and acknowledged on the other node while the two were apart, as it is
//! merged.

use super::change::Change;
use crate::error::CommitError;
use crate::ids::{AccountNumber, Lsn, MailboxId};

/// What is merged, and as of when it was judged.
pub(crate) struct Merged {
    pub(crate) change: Change,
    /// It is refused if that mailbox has changed since.
    pub(crate) unchanged: Option<Unchanged>,
}

/// A mailbox as it was judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unchanged {
    pub(crate) account: AccountNumber,
    pub(crate) mailbox: MailboxId,
    /// Its highest MODSEQ then.
    pub(crate) since: Lsn,
}

/// Why a change is judged anew.
pub(crate) fn has_changed() -> CommitError {
    CommitError::NotPermitted { what: "the mailbox has changed since it was judged" }
}
