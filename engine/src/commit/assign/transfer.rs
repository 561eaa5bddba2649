//! COPY and MOVE inside an account: complete rows, all or none.

use crate::commit::change::CopyKind;
use crate::error::CommitError;
use crate::flags::Keyword;
use crate::ids::{AccountNumber, Lsn, MailboxId, Uid};
use crate::limits::RECORD_MESSAGES_MAX;
use crate::mailbox::{Row, RowIds};
use crate::record::{Body, NewRow, Run, Transfer};
use crate::store::Copied;
use crate::uid_set::UidSet;

use super::Assigner;

impl Assigner<'_> {
    pub(super) fn transfer(
        &mut self,
        kind: CopyKind,
        account: AccountNumber,
        source: MailboxId,
        destination: MailboxId,
        uids: &UidSet,
    ) -> Result<Copied, CommitError> {
        let committed = self.context.committed;
        let (state, _) = self
            .changes
            .mailbox_mut(committed, (account, source))?
            .ok_or(CommitError::NoSuchMailbox)?;
        let rows = state.rows_of(uids)?;
        let keywords = state.keyword_table();
        let (target, _) = self
            .changes
            .mailbox_mut(committed, (account, destination))?
            .ok_or(CommitError::NoSuchMailbox)?;
        let uid_validity = target.uid_validity();
        if rows.is_empty() {
            let (source, destination) = (Vec::new(), Vec::new());
            return Ok(Copied { uid_validity, source, destination, modseq: Lsn::ZERO });
        }
        if kind == CopyKind::Copy {
            let bytes = rows.iter().map(|(row, _)| u64::from(row.size)).sum();
            self.check_quota(account, (crate::width::u64_of(rows.len()), bytes))?;
        }
        let used = used_keywords(&rows, keywords.names());
        self.check_keywords((account, destination), &used)?;
        let first = self.next_uids((account, destination), crate::width::u32_of(rows.len()))?;
        let transfers: Vec<Transfer> = rows
            .iter()
            .zip(first.0..)
            .map(|((row, ids), uid)| self.transfer_of(row, ids, keywords.names(), Uid(uid)))
            .collect();
        self.emit_run(account, &transfers, |messages| match kind {
            CopyKind::Copy => Body::Copy { mailbox: destination, messages },
            CopyKind::Move => Body::Move { source, mailbox: destination, messages },
        })?;
        Ok(Copied {
            uid_validity,
            source: rows.iter().map(|(row, _)| row.uid).collect(),
            destination: (first.0..).take(rows.len()).map(Uid).collect(),
            modseq: self.last_position(),
        })
    }

    /// Records of at most [`RECORD_MESSAGES_MAX`] messages; several form a run.
    fn emit_run(
        &mut self,
        account: AccountNumber,
        transfers: &[Transfer],
        body: impl Fn(Vec<Transfer>) -> Body,
    ) -> Result<(), CommitError> {
        let first = self.next;
        let pieces: Vec<&[Transfer]> = transfers.chunks(RECORD_MESSAGES_MAX).collect();
        // What another node is answered ends the run that tells of it.
        let is_answered = self.executing.request.is_some() && pieces.len() > 1;
        for (piece, left) in pieces.iter().zip((0..pieces.len()).rev()) {
            let last = left == 0 && !is_answered;
            let run = (pieces.len() > 1).then_some(Run { first, last });
            self.emit_in_run(account, body(piece.to_vec()), run)?;
        }
        self.executing.open_run = is_answered.then_some(first);
        Ok(())
    }

    fn transfer_of(&self, row: &Row, ids: &RowIds, keywords: &[Keyword], uid: Uid) -> Transfer {
        let named = row.keywords_in(keywords);
        Transfer {
            source_uid: row.uid,
            blob: row.blob.0,
            row: NewRow {
                uid,
                flags: row.flags,
                keywords: named.cloned().collect(),
                received: row.received,
                saved: self.now(),
                size: row.size,
                thread: row.thread,
                instance: self.new_instance(),
                email: ids.email,
                content_hash: ids.content_hash,
            },
        }
    }
}

/// The keywords that some row has: the others need no place where it goes.
fn used_keywords(rows: &[(Row, RowIds)], names: &[Keyword]) -> Vec<Keyword> {
    let mut used: Vec<u16> =
        rows.iter().flat_map(|(row, _)| row.keywords.iter().copied()).collect();
    used.sort_unstable();
    used.dedup();
    used.iter().filter_map(|&index| names.get(usize::from(index)).cloned()).collect()
}
