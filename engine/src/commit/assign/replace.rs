//! REPLACE (RFC 8508): one message comes and another goes, both or neither.

use crate::commit::change::PendingMessage;
use crate::error::CommitError;
use crate::ids::{AccountNumber, MailboxId, Uid};
use crate::limits::RECORD_BYTES_MAX;
use crate::record::ArrivalPart;
use crate::sabotage::{Sabotage, breaks};
use crate::store::Appended;
use crate::uid_set::UidSet;

use super::Assigner;

impl Assigner<'_> {
    /// Everything that can be refused is asked before the first record is made.
    pub(super) fn replace(
        &mut self,
        account: AccountNumber,
        (source, uid): (MailboxId, Uid),
        destination: MailboxId,
        message: &PendingMessage,
    ) -> Result<Appended, CommitError> {
        let mut chosen = Vec::new();
        let old = ((account, source), uid);
        let result = self.replace_one(old, (account, destination), message, &mut chosen);
        if result.is_err() {
            chosen.clear();
        }
        self.end_ahead(&message.sealed, result.is_ok());
        self.end_parts(&message.sealed, &chosen);
        result
    }

    fn replace_one(
        &mut self,
        (source, uid): ((AccountNumber, MailboxId), Uid),
        destination: (AccountNumber, MailboxId),
        message: &PendingMessage,
        chosen: &mut Vec<ArrivalPart>,
    ) -> Result<Appended, CommitError> {
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, source)?.ok_or(CommitError::NoSuchMailbox)?;
        let old: UidSet = std::iter::once(uid).collect();
        let rows = state.rows_of(&old)?;
        let (row, _) = rows.first().ok_or(CommitError::MessagesGone)?;
        // The room of the old message is free for the new one (RFC 8508 section 3.4).
        let more = message.sealed.size.saturating_sub(row.size);
        if more > 0 {
            self.check_quota(source.0, (0, u64::from(more)))?;
        }
        // A power cut between two groups would keep both messages.
        let chunks = message.sealed.chunks.len() + message.sealed.parts.len();
        if !self.builder.fits(RECORD_BYTES_MAX, chunks, message.sealed.group_bytes()) {
            self.finish_group();
        }
        let groups = self.groups.len();
        let appended =
            self.append_beyond_quota(destination, std::slice::from_ref(message), chosen)?;
        if breaks(Sabotage::OneGroup) {
            self.finish_group();
        }
        self.remove(source, old)?;
        let is_one = groups == self.groups.len();
        assert!(is_one || breaks(Sabotage::OneGroup), "both records lie in one group");
        Ok(appended)
    }
}
