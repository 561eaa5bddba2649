//! Messages that are given up, and those that come in their place or back without a record.

use crate::commit::change::PendingMessage;
use crate::error::CommitError;
use crate::ids::{AccountNumber, MailboxId};
use crate::record::Body;
use crate::store::Appended;
use crate::uid_set::UidSet;

use super::Assigner;

impl Assigner<'_> {
    /// Both in one group. What comes is judged first, so that nothing goes without it.
    pub(super) fn give_up(
        &mut self,
        key: (AccountNumber, MailboxId),
        uids: &UidSet,
        messages: &[PendingMessage],
    ) -> Result<Appended, CommitError> {
        let mut chosen = Vec::new();
        let result = self.append_beyond_quota(key, messages, &mut chosen);
        if result.is_err() {
            chosen.clear();
        }
        for message in messages {
            self.end_ahead(&message.sealed, result.is_ok());
            self.end_parts(&message.sealed, &chosen);
        }
        let appended = result?;
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let uids: UidSet = state.rows_of(uids)?.iter().map(|(row, _)| row.uid).collect();
        if !uids.is_empty() {
            self.emit(key.0, Body::Expunge { mailbox: key.1, uids })?;
        }
        Ok(appended)
    }
}
