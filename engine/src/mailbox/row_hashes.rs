//! Hashes of what a mailbox holds, for two nodes that compare it: of each message, and of the
//! mailbox itself. Pages, heads and versions have no part in them.

use crate::error::ReadError;
use crate::ids::Uid;
use crate::mailbox::digest::{hash_of_ids, hash_of_row};
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::Page;
use crate::mailbox::rows::RowRef;
use crate::mailbox::state::content_of_row;

/// The hash of each message of a stored page, with its ids if there are any.
///
/// # Errors
/// One of both does not decode.
pub(crate) fn hashes_of_page(
    page: &[u8],
    ids: Option<&[u8]>,
) -> Result<Vec<(Uid, [u8; 32])>, ReadError> {
    let page = Page::decode(page)?;
    let ids = ids.map(IdsPage::decode).transpose()?;
    let ids = ids.as_ref().map_or(&[][..], IdsPage::rows);
    let hashes = (0..page.len()).map(|index| {
        let row = RowRef::new(&page, index);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&hash_of_row(row).to_le_bytes());
        if let Some(ids) = ids.get(index) {
            hasher.update(&hash_of_ids(ids).to_le_bytes());
        }
        (row.uid(), *hasher.finalize().as_bytes())
    });
    Ok(hashes.collect())
}

/// The hash of what a mailbox's row says of it.
///
/// # Errors
/// It does not decode.
pub(crate) fn hash_of_mailbox(row: &[u8]) -> Result<[u8; 32], ReadError> {
    content_of_row(row).map(|content| *blake3::hash(&content).as_bytes())
}
