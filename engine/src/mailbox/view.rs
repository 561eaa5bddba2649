//! A mailbox's content at one moment.
//!
//! Ranks count from 0 in order of UIDs; a session's sequence numbers are made from them in the
//! protocol crate.

use crate::error::ReadError;
use crate::flags::Keyword;
use crate::ids::{Lsn, MailboxId, Uid, UidValidity};
use crate::mailbox::{Row, RowIds};
use crate::uid_set::UidSet;

/// Immutable; shares pages with the views before and after it.
pub struct View {}

/// What differs between two views of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewChanges {
    /// In the older, not in the newer.
    pub vanished: UidSet,
    /// In both, with another MODSEQ.
    pub changed: UidSet,
    /// In the newer, not in the older.
    pub added: UidSet,
}

impl View {
    /// The mailbox.
    pub fn mailbox(&self) -> MailboxId {
        todo!()
    }

    /// UIDVALIDITY.
    pub fn uid_validity(&self) -> UidValidity {
        todo!()
    }

    /// UIDNEXT, which includes what the epoch skips; `None` when no UIDs are left.
    pub fn uid_next(&self) -> Option<Uid> {
        todo!()
    }

    /// HIGHESTMODSEQ.
    pub fn highest_modseq(&self) -> Lsn {
        todo!()
    }

    /// Number of messages.
    pub fn message_count(&self) -> u32 {
        todo!()
    }

    /// Messages without `\Seen`.
    pub fn unseen_count(&self) -> u32 {
        todo!()
    }

    /// Messages with `\Deleted`.
    pub fn deleted_count(&self) -> u32 {
        todo!()
    }

    /// Bytes of all messages (STATUS SIZE, RFC 8438).
    pub fn message_bytes(&self) -> u64 {
        todo!()
    }

    /// The keywords that rows name by index.
    pub fn keywords(&self) -> &[Keyword] {
        todo!()
    }

    /// Rank of the first message without `\Seen`.
    pub fn first_unseen(&self) -> Result<Option<u32>, ReadError> {
        todo!()
    }

    /// Rank of a UID: `Ok(rank)` if it exists, else `Err(rank it would have)`.
    pub fn rank(&self, _uid: Uid) -> Result<Result<u32, u32>, ReadError> {
        todo!()
    }

    /// The UID at a rank.
    pub fn uid_at(&self, _rank: u32) -> Result<Option<Uid>, ReadError> {
        todo!()
    }

    /// The highest UID in use.
    pub fn last_uid(&self) -> Option<Uid> {
        todo!()
    }

    /// Which of `uids` exist.
    pub fn existing(&self, _uids: &UidSet) -> Result<UidSet, ReadError> {
        todo!()
    }

    /// One row.
    pub fn row(&self, _uid: Uid) -> Result<Option<Row>, ReadError> {
        todo!()
    }

    /// One message's 16-byte ids.
    pub fn ids(&self, _uid: Uid) -> Result<Option<RowIds>, ReadError> {
        todo!()
    }

    /// The rows with a UID of at least `from`, ascending, at most `limit` of them: loads few pages at a time.
    pub fn rows_from(&self, _from: Uid, _limit: usize) -> Result<Vec<Row>, ReadError> {
        todo!()
    }

    /// The rows of `uids` in batches of one page each: `visit` returns whether to go on.
    pub fn visit(
        &self,
        _uids: &UidSet,
        _visit: &mut dyn FnMut(&Row) -> bool,
    ) -> Result<(), ReadError> {
        todo!()
    }

    /// What changed since an older view of the same mailbox; pages that both share are not looked at.
    pub fn changes_since(&self, _older: &View) -> Result<ViewChanges, ReadError> {
        todo!()
    }
}
