//! Which messages of an account live: rows of its mailboxes, and what it keeps after an expunge.

use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Uid};
use crate::mailbox::View;
use crate::state::{Committed, FreshBlob, RetainedKey};

/// Rows that are read at once.
const ROWS: usize = 4096;

/// Blobs of an account's messages in mailboxes, ascending, each once, with their messages' bytes.
pub(super) fn in_mailboxes(
    committed: &Committed,
    account: AccountNumber,
) -> Result<Vec<FreshBlob>, ReadError> {
    let mut found = Vec::new();
    let Some(state) = committed.account(account) else { return Ok(found) };
    for mailbox in state.names.ids() {
        let cell = committed.cell((account, mailbox))?;
        if let Some(view) = cell.and_then(|cell| cell.view()) {
            gather(&view, &mut found)?;
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(blob, _)| *blob);
    Ok(found)
}

fn gather(view: &View, found: &mut Vec<FreshBlob>) -> Result<(), ReadError> {
    let mut from = Some(Uid(1));
    while let Some(first) = from {
        let rows = view.rows_from(first, ROWS)?;
        from = rows.last().and_then(|row| row.uid.0.checked_add(1)).map(Uid);
        found.extend(rows.iter().map(|row| (row.blob, u64::from(row.size))));
    }
    Ok(())
}

/// Those of what an account keeps, ascending.
pub(super) fn kept(
    committed: &Committed,
    account: AccountNumber,
) -> Result<Vec<BlobId>, ReadError> {
    let mut found = Vec::new();
    committed.visit_retained(account, RetainedKey::FIRST, &mut |_, met| {
        found.push(met.open()?.blob);
        Ok(true)
    })?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
