//! Fuzz bodies of what a mailbox stores; see [`crate::fuzzing`].

use std::sync::Arc;

use super::head::{decode_block, encode_block};
use super::ids_page::IdsPage;
use super::page::Page;
use super::source::{Columns, PageCache, PageKey, PageReader, PageSource};
use super::state::MailboxState;
use super::summary_page::{self, PagedSummary, SummaryPage};
use super::vanished::VanishedEntry;
use crate::error::ReadError;
use crate::format_level::NEWEST;
use crate::fuzzing::split;
use crate::ids::{AccountNumber, Lsn, MailboxId};
use crate::limits::{BLOCK_HEADS_MAX, PAGE_ROWS_MAX, SUMMARY_RUN_UIDS};
use crate::message::StoredSummary;
use crate::width::usize_of_u32;

/// A page of rows: as it is stored, and as the body inside of the compression.
pub(crate) fn page(bytes: &[u8]) {
    for stored in [bytes.to_vec(), Page::compressed(bytes)] {
        let Ok(page) = Page::decode(&stored) else { continue };
        assert!((1..=PAGE_ROWS_MAX).contains(&page.len()));
        assert!(page.uids().is_sorted_by(|a, b| a < b), "invariant 1 of a page");
        assert_eq!(page.rows().count(), page.len());
        assert_eq!(Page::decode(&page.encode()).ok(), Some(page));
    }
}

/// A page of ids.
pub(crate) fn ids_page(bytes: &[u8]) {
    let Ok(page) = IdsPage::decode(bytes) else { return };
    assert!((1..=PAGE_ROWS_MAX).contains(&page.rows().len()));
    assert_eq!(IdsPage::decode(&page.encode()).ok(), Some(page));
}

/// Summaries of a run: as they are stored, and as the body inside of the compression.
pub(crate) fn summary_page(bytes: &[u8]) {
    for stored in [bytes.to_vec(), summary_page::compressed(bytes)] {
        let Ok(page) = SummaryPage::decode(&stored) else { continue };
        let paged = |(uid, blob, summary): (_, _, &StoredSummary)| PagedSummary {
            uid,
            blob,
            summary: summary.bytes().to_vec(),
        };
        let messages: Vec<PagedSummary> = page.messages().map(paged).collect();
        assert!((1..=usize_of_u32(SUMMARY_RUN_UIDS)).contains(&messages.len()));
        assert!(messages.is_sorted_by(|a, b| a.uid < b.uid), "invariant 1 of a summary page");
        for message in &messages {
            let found = page.find(message.uid, message.blob).expect("it was just listed");
            assert_eq!(found.bytes(), message.summary);
        }
        let again = SummaryPage::decode(&summary_page::encode(&messages)).expect("just written");
        assert!(again.messages().map(paged).eq(messages));
    }
}

/// A block of page heads.
pub(crate) fn head_block(bytes: &[u8]) {
    let Ok((first_uid, heads)) = decode_block(bytes) else { return };
    assert!((1..=BLOCK_HEADS_MAX).contains(&heads.len()));
    assert!(heads.is_sorted_by(|a, b| a.last_uid < b.first_uid), "invariant 1 of heads");
    let encoded = encode_block(first_uid, heads.iter());
    assert_eq!(decode_block(&encoded).ok(), Some((first_uid, heads)));
}

/// What one expunge removed.
pub(crate) fn vanished(bytes: &[u8]) {
    let Ok(entry) = VanishedEntry::decode(Lsn::ZERO, bytes) else { return };
    let encoded = entry.encode();
    assert!(encoded.len() <= bytes.len(), "our own form is the shortest");
    assert_eq!(VanishedEntry::decode(Lsn::ZERO, &encoded).ok(), Some(entry));
}

/// A mailbox's row, with one block of heads behind it.
pub(crate) fn row(bytes: &[u8]) {
    let (row, block) = split(bytes);
    for blocks in [&[][..], &[block]] {
        let Ok(state) = open(row, blocks) else { continue };
        let blocks: Vec<Vec<u8>> = state
            .content
            .blocks
            .iter()
            .filter_map(|block| state.encode_block(state.block_key(block.first_uid)))
            .collect();
        let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let again = open(&state.encode_row(NEWEST), &blocks).expect("it was just written");
        assert_eq!(again.encode_row(NEWEST), state.encode_row(NEWEST));
        assert_eq!(again.counts(), state.counts());
        assert_eq!(again.keywords(), state.keywords());
    }
}

fn open(row: &[u8], blocks: &[&[u8]]) -> Result<MailboxState, ReadError> {
    let reader = PageReader { source: Arc::new(NoPages), cache: PageCache::new(0) };
    let blocks = blocks.iter().copied();
    MailboxState::open(AccountNumber(1), MailboxId([1; 16]), row, blocks, reader)
}

/// Opening a mailbox reads no page.
struct NoPages;

impl PageSource for NoPages {
    fn load(&self, _: PageKey, _: Columns) -> Result<Vec<u8>, ReadError> {
        Err(ReadError::Undecodable { what: "mailbox page", why: "it is missing" })
    }
}
