//! What a mailbox says twice, compared: heads with their pages, rows with their ids, all of them
//! with the digest.

use crate::error::ReadError;
use crate::ids::Uid;
use crate::mailbox::digest::MailboxDigest;
use crate::mailbox::head::{self, PageHead};
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::Page;
use crate::mailbox::view::View;
use crate::state::Table;

impl View {
    /// What is wrong with its pages and their heads, with the first UID of the page; reads every
    /// page.
    pub(crate) fn wrong_heads(&self) -> Vec<(Option<Uid>, String)> {
        let mut wrong = Vec::new();
        let reader = &self.state.reader;
        let kind = self.state.digest.map(|expected| expected.kind()).unwrap_or_default();
        let mut digest = MailboxDigest::new(kind);
        for slot in self.state.content.slots() {
            let first = Some(slot.head.first_uid);
            let (page, ids) = match (slot.rows.page(reader), slot.ids.page(reader)) {
                (Ok(page), Ok(ids)) => (page, ids),
                (Err(error), _) | (_, Err(error)) => {
                    let last = slot.head.last_uid;
                    let what = format!("the page of the messages up to UID {last}: {error}");
                    wrong.push((first, what));
                    continue;
                }
            };
            digest.add_rows(&page);
            digest.add_ids(&ids);
            let found = PageHead::of(slot.head.first_uid, &page, slot.head.ids_version);
            if found != slot.head {
                wrong.push((first, "a page's head does not count what its page has".to_owned()));
            }
            if ids.rows().len() != page.len() {
                wrong.push((first, "a page has other rows than ids".to_owned()));
            }
        }
        let is_digest_wrong = self.state.digest.is_some_and(|expected| expected != digest);
        if wrong.is_empty() && is_digest_wrong {
            wrong.push((None, NOT_ITS_DIGEST.to_owned()));
        }
        wrong
    }
}

/// What is said of a mailbox whose pages do not hold what was changed in it.
pub(crate) const NOT_ITS_DIGEST: &str = "its messages are not what all changes together make of \
    them; 'pillarbox check --rebuild' makes the state anew from the log";

/// Whether a stored page, ids page or head block decodes.
pub(crate) fn decodes(table: Table, bytes: &[u8]) -> Result<(), ReadError> {
    match table {
        Table::Page => Page::decode(bytes).map(drop),
        Table::Ids => IdsPage::decode(bytes).map(drop),
        _ => head::decode_block(bytes).map(drop),
    }
}
