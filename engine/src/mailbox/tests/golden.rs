//! What a mailbox stores, byte for byte: ids pages, head blocks, rows, vanished entries, keys.

use super::*;
use crate::golden::compare;
use crate::mailbox::head::{PageHead, decode_block, encode_block};
use crate::mailbox::{PagedSummary, SummaryPage, VanishedEntry, encode_summary_page};
use crate::message::Summary;

#[test]
fn ids_pages_are_written_as_they_always_were() {
    let page = IdsPage::from_rows(300, (1..4).map(|uid| row(uid, 5).1).collect());
    compare("ids_page_1.bin", &page.encode());
    assert_eq!(IdsPage::decode(&page.encode()).unwrap(), page);
}

#[test]
fn head_blocks_are_written_as_they_always_were() {
    let page = |first: u32, version| {
        let mut rows: Vec<Row> =
            (first..first + 40).map(|uid| row(uid, 5 + u64::from(uid)).0).collect();
        rows[3].flags = SystemFlags::SEEN.union(SystemFlags::DELETED);
        Page::from_rows(version, rows)
    };
    // The second page was changed last, and its ids before its rows.
    let heads =
        [PageHead::of(Uid(10), &page(12, 9), 4), PageHead::of(Uid(300), &page(300, 700), 699)];
    let bytes = encode_block(Uid(10), heads.iter());
    compare("head_block_1.bin", &bytes);
    assert_eq!(decode_block(&bytes).unwrap(), (Uid(10), heads.to_vec()));
}

#[test]
fn summary_pages_are_written_as_they_were_first() {
    let message = |uid, sequence, mail: &[u8]| {
        // Of the first parser, which kept the same of these messages.
        let (parser_version, preview) = (1, String::new());
        let summary = Summary { parser_version, preview, ..Summary::parse(mail) }.encode();
        PagedSummary { uid: Uid(uid), blob: BlobId(at(sequence)), summary }
    };
    let messages = [
        message(384, 7, b"Subject: one\r\n\r\nA word.\r\n"),
        message(400, 3, b"Subject: another\r\nMessage-ID: <1@x>\r\n\r\n"),
        message(511, 900, b""),
    ];
    let bytes = encode_summary_page(&messages);
    compare("summary_page_7.bin", &bytes);
    let page = SummaryPage::decode(&bytes).unwrap();
    assert_eq!(page.messages().map(|(uid, ..)| uid.0).collect::<Vec<_>>(), [384, 400, 511]);
    let key = PageKey { account: ACCOUNT, mailbox: MAILBOX, first_uid: Uid(384) };
    assert_eq!(PageKey::from_bytes(&key.to_bytes()), Some(key));
}

/// A mailbox with blocks, a tail page and keywords.
fn sample(format_level: u32) -> (MailboxState, DirtyPages) {
    let disk = Arc::new(Disk::default());
    let mut dirty = DirtyPages::default();
    let mut state = filled_at(format_level, &disk, 1000, &mut dirty);
    for name in ["$Forwarded", "Grün"] {
        if let Some(keyword) = Keyword::new(name) {
            state.intern_keyword(&keyword, &mut dirty).unwrap();
        }
    }
    (state, dirty)
}

#[test]
fn mailbox_rows_are_written_as_they_always_were() {
    let disk = Arc::new(Disk::default());
    for (level, format) in [(4, 1), (7, 2), (NEWEST, 3)] {
        let none = empty_at(level, &disk, 0);
        compare(&format!("mailbox_row_empty_{format}.bin"), &none.encode_row(level));
        let (state, dirty) = sample(level);
        compare(&format!("mailbox_row_{format}.bin"), &state.encode_row(level));
        disk.checkpoint(&state, &dirty);
        *disk.row.lock() = state.encode_row(level);
        let again = disk.open(0);
        // Once there are messages, a digest stays what it is.
        assert_eq!(again.encode_row(NEWEST), state.encode_row(level));
        assert_eq!(again.counts().messages, 1000);
        assert!(!again.keywords().is_empty());
    }
}

#[test]
fn a_mailbox_takes_the_newer_digest_when_it_is_empty_and_only_then() {
    let disk = Arc::new(Disk::default());
    let mut dirty = DirtyPages::default();
    let mut state = filled_at(7, &disk, 40, &mut dirty);
    let format = |state: &MailboxState| state.encode_row(NEWEST).first().copied();
    state.begin_digest(NEWEST);
    assert_eq!(format(&state), Some(2), "there are messages");
    state.expunge(&set(1, 40), at(90), &mut dirty).unwrap();
    let lied = state.encode_row(NEWEST);
    state.begin_digest(NEWEST);
    assert_eq!(format(&state), Some(3));
    state.append(vec![row(41, 91)], &mut dirty).unwrap();
    assert_eq!(state.view(at(0)).wrong_heads(), []);
    // With a digest of messages that are not there.
    let wrong = [&lied[..lied.len() - 1], &[1]].concat();
    let mut state = MailboxState::open(ACCOUNT, MAILBOX, &wrong, [], disk.reader(0)).unwrap();
    state.begin_digest(NEWEST);
    assert_eq!(state.encode_row(NEWEST), wrong, "the mistake is not forgotten");
}

#[test]
fn vanished_entries_are_written_as_they_always_were() {
    let uids = UidSet::from_ranges([(1, 3), (5, 5), (70_000, u32::MAX)]);
    let entry = VanishedEntry { modseq: at(7), uids, at: UnixSeconds(1_700_000_000) };
    compare("vanished_1.bin", &entry.encode());
    assert_eq!(VanishedEntry::decode(at(7), &entry.encode()).unwrap(), entry);
}

#[test]
fn keys_sort_and_are_written_as_they_always_were() {
    let page = PageKey { account: ACCOUNT, mailbox: MAILBOX, first_uid: Uid(258) };
    let block = BlockKey { account: ACCOUNT, mailbox: MAILBOX, first_uid: Uid(258) };
    assert_eq!(page.to_bytes(), block.to_bytes());
    let vanished = VanishedEntry::key(ACCOUNT, MAILBOX, at(258));
    compare("mailbox_keys_1.bin", &[page.to_bytes().as_slice(), &vanished].concat());
}
