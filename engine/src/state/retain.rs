//! Applying retention's records to the assigned head.

use std::sync::Arc;

use super::changes::{Changes, MailboxKey};
use super::committed::Committed;
use super::retained::{RetainedKey, RetainedMessage, Until, VolumeRetention};
use crate::error::ReadError;
use crate::flags::Keyword;
use crate::ids::{AccountNumber, Lsn, UnixSeconds};
use crate::mailbox::{Row, RowIds};
use crate::record::{NewRow, Record, RetentionBody, Transfer};
use crate::uid_set::UidSet;

impl Changes {
    /// The volume's retention as these changes leave it.
    pub(crate) fn volume_retention(&self, committed: &Committed) -> VolumeRetention {
        self.retention.unwrap_or_else(|| committed.retention())
    }

    /// A kept message as these changes leave it.
    pub(crate) fn retained(
        &self,
        committed: &Committed,
        account: AccountNumber,
        key: RetainedKey,
    ) -> Result<Option<Arc<RetainedMessage>>, ReadError> {
        match self.retained.get(&(account, key)) {
            Some(changed) => Ok(changed.clone()),
            None => committed.retained(account, key),
        }
    }

    pub(super) fn apply_retention(
        &mut self,
        committed: &Committed,
        account: AccountNumber,
        lsn: Lsn,
        (record, body): (&Record, &RetentionBody),
    ) -> Result<(), ReadError> {
        match body {
            RetentionBody::Account(setting) => {
                if let Some(state) = self.account_mut(committed, account) {
                    state.retention.setting = *setting;
                }
            }
            RetentionBody::Volume(retention) => self.retention = Some(*retention),
            RetentionBody::Retain { mailbox, until, uids: Some(uids) } => {
                let key = (account, *mailbox);
                let removed = self.take_rows(committed, key, lsn, (uids, record))?;
                self.keep_rows(committed, key, (*until, record.time()), &removed)?;
            }
            RetentionBody::Retain { mailbox, until, uids: None } => {
                let key = (account, *mailbox);
                let rows = match self.mailbox_mut(committed, key)? {
                    Some((state, _)) => state.rows_of(&UidSet::from_ranges([(1, u32::MAX)]))?,
                    None => return Ok(()),
                };
                self.keep_rows(committed, key, (*until, record.time()), &rows)?;
                self.delete_mailbox(committed, key, References::Stay)?;
            }
            RetentionBody::Undelete { source, mailbox, messages } => {
                let transfers: Vec<Transfer> =
                    messages.iter().map(|(_, transfer)| transfer.clone()).collect();
                self.arrive(committed, (account, *mailbox), lsn, &transfers)?;
                for (until, transfer) in messages {
                    let key = RetentionBody::source_key(*source, *until, transfer.source_uid);
                    self.forget(committed, account, key)?;
                }
            }
            RetentionBody::Purge(keys) => {
                for key in keys {
                    self.forget(committed, account, *key)?;
                }
            }
        }
        Ok(())
    }

    /// Rows that leave their mailbox go into the table; their references stay.
    fn keep_rows(
        &mut self,
        committed: &Committed,
        (account, mailbox): MailboxKey,
        (until, expunged_at): (Until, UnixSeconds),
        rows: &[(Row, RowIds)],
    ) -> Result<(), ReadError> {
        let keywords = match self.mailbox_mut(committed, (account, mailbox))? {
            Some((state, _)) => state.keyword_table(),
            None => Arc::default(),
        };
        let Some(state) = self.account_mut(committed, account) else { return Ok(()) };
        let mailbox_name = state.names.name_of(mailbox).unwrap_or_default().to_owned();
        rows.iter().for_each(|(row, _)| state.retention.keep(row.size));
        for (row, ids) in rows {
            let message = RetainedMessage {
                mailbox_name: mailbox_name.clone(),
                expunged_at,
                blob: row.blob,
                row: new_row(row, ids, keywords.names()),
            };
            let key = RetainedKey { until, mailbox, uid: row.uid };
            self.retained.insert((account, key), Some(Arc::new(message)));
        }
        Ok(())
    }

    /// A kept message goes, with its reference.
    fn forget(
        &mut self,
        committed: &Committed,
        account: AccountNumber,
        key: RetainedKey,
    ) -> Result<(), ReadError> {
        let Some(message) = self.retained(committed, account, key)? else { return Ok(()) };
        self.retained.insert((account, key), None);
        self.references.insert((message.blob, account, key.mailbox, key.uid), false);
        if let Some(state) = self.account_mut(committed, account) {
            state.retention.forget(message.row.size);
        }
        Ok(())
    }
}

/// What becomes of the references of a deleted mailbox's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum References {
    Go,
    /// They are those of kept messages now.
    Stay,
}

fn new_row(row: &Row, ids: &RowIds, keywords: &[Keyword]) -> NewRow {
    let named = row.keywords_in(keywords);
    NewRow {
        uid: row.uid,
        flags: row.flags,
        keywords: named.cloned().collect(),
        received: row.received,
        saved: row.saved,
        size: row.size,
        thread: row.thread,
        instance: ids.instance,
        email: ids.email,
        content_hash: ids.content_hash,
    }
}
