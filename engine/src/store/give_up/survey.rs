//! What replay met while it passed over damage: who brings which blob, and whom nobody names.

use std::collections::{HashMap, HashSet};

use crate::ids::{AccountNumber, BlobId, Lsn};
use crate::log::RecordHeader;
use crate::record::{AccountUpdate, ArrivalBlob, Body, NewRow, Record};
use crate::state::{Changes, Committed};

/// Notes of a replay. Memory: about 40 bytes for each message above the floors.
#[derive(Default)]
pub(in crate::store) struct Survey {
    /// State's position: up to there the tables say what there is.
    pub(in crate::store) state: Lsn,
    /// Without state, up to where the base image of each account says what there is.
    pub(in crate::store) floors: HashMap<AccountNumber, Lsn>,
    /// Blobs that records brought to an account, whether they are still there or not.
    named: HashSet<(AccountNumber, BlobId)>,
    /// Rows of messages whose mailbox is not there.
    rows: HashMap<(AccountNumber, BlobId), NewRow>,
    /// Names and passwords of accounts of which the making was lost.
    pub(super) profiles: HashMap<AccountNumber, AccountUpdate>,
    /// Accounts whose deletion was read.
    pub(super) deleted: HashSet<AccountNumber>,
}

impl Survey {
    /// Sees a record before it is applied. Answers it as it can be applied: a mailbox whose name
    /// another one has, because that one's renaming was lost, gets a name of its own.
    pub(in crate::store) fn see(
        &mut self,
        committed: &Committed,
        changes: &Changes,
        header: &RecordHeader,
        mut record: Record,
    ) -> Record {
        match &mut record.body {
            Body::AccountUpdate(update) if changes.account(committed, header.account).is_none() => {
                self.profiles.insert(header.account, update.clone());
            }
            Body::AccountDelete { account } => {
                self.deleted.insert(*account);
            }
            Body::MailboxCreate { mailbox, name, .. } => {
                let account = changes.account(committed, header.account);
                let other = account.and_then(|account| account.names.id_of(name));
                if other.is_some_and(|other| other != *mailbox) {
                    *name = format!("{name} ({mailbox})");
                }
            }
            Body::Append { messages, .. } => {
                for (arrival, count) in messages.iter().zip(0..) {
                    let Some(lsn) = header.lsn.advance(count) else { break };
                    let own = match &arrival.blob {
                        ArrivalBlob::WithParts(own, _) => own,
                        blob => blob,
                    };
                    let blob = match own {
                        ArrivalBlob::Inline(_) => lsn,
                        ArrivalBlob::Ahead(_, chunks) => chunks.first().copied().unwrap_or(lsn),
                        _ => continue,
                    };
                    self.rows.insert((header.account, BlobId(blob)), arrival.row.clone());
                }
            }
            _ => {}
        }
        record
    }

    /// The records of a group were applied. A row whose blob nothing tells of is as good as none.
    pub(in crate::store) fn applied(&mut self, committed: &Committed, changes: &Changes) {
        for ((blob, account, ..), is_made) in &changes.references {
            let is_known = changes.blobs.contains_key(blob) || committed.blob(*blob).is_ok();
            if !is_made || is_known {
                self.rows.remove(&(*account, *blob));
                self.named.insert((*account, *blob));
            }
        }
    }

    /// Whether nothing that was read brings that blob to the account, and nothing ever said that it
    /// went.
    pub(super) fn is_lost(&self, account: AccountNumber, blob: BlobId) -> bool {
        let floor = self.floors.get(&account).copied().unwrap_or(Lsn::ZERO).max(self.state);
        blob.0 > floor && !self.named.contains(&(account, blob))
    }

    /// The row that a blob had in a mailbox that is gone.
    pub(super) fn row(&self, account: AccountNumber, blob: BlobId) -> Option<&NewRow> {
        self.rows.get(&(account, blob))
    }
}
