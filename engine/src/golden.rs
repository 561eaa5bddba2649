//! Golden files: the bytes of every format as an older version wrote them, in `tests/golden/`.
//!
//! They change only with a new version of their format, which then has a file of its own.
//! `PILLARBOX_WRITE_GOLDEN=1` writes those that are missing or differ, and the commit says why.

use std::path::{Path, PathBuf};

use crate::limits;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Asserts that the file holds exactly these bytes.
pub(crate) fn compare(name: &str, bytes: &[u8]) {
    let path = folder().join(name);
    if std::env::var_os("PILLARBOX_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(expected == bytes, "{name} changed: a format that changes needs a new version");
}

/// Every limit as `limits.rs` computes it. The test below finds one that is missing.
const LIMITS: &[(&str, u64)] = &[
    ("SEGMENT_BYTES", limits::SEGMENT_BYTES),
    ("GROUP_BYTES_MAX", limits::GROUP_BYTES_MAX as u64),
    ("GROUP_ALIGNMENT", limits::GROUP_ALIGNMENT as u64),
    ("URING_BUFFER_BYTES", limits::URING_BUFFER_BYTES as u64),
    ("CHUNK_BYTES", limits::CHUNK_BYTES as u64),
    ("SUMMARY_BYTES_MAX", limits::SUMMARY_BYTES_MAX as u64),
    ("INLINE_MESSAGE_BYTES_MAX", limits::INLINE_MESSAGE_BYTES_MAX as u64),
    ("MESSAGE_BYTES_MAX", limits::MESSAGE_BYTES_MAX as u64),
    ("RECORD_MESSAGES_MAX", limits::RECORD_MESSAGES_MAX as u64),
    ("RECORD_BYTES_MAX", limits::RECORD_BYTES_MAX as u64),
    ("GROUP_RECORDS_MAX", limits::GROUP_RECORDS_MAX as u64),
    ("QUEUE_PROPOSALS_MAX", limits::QUEUE_PROPOSALS_MAX as u64),
    ("QUEUE_BYTES_MAX", limits::QUEUE_BYTES_MAX as u64),
    ("PROPOSAL_BYTES_MAX", limits::PROPOSAL_BYTES_MAX as u64),
    ("OUTCOME_BYTES_MAX", limits::OUTCOME_BYTES_MAX as u64),
    ("OUTCOME_UIDS_MAX", limits::OUTCOME_UIDS_MAX as u64),
    ("ANSWERED_COUNT_MAX", limits::ANSWERED_COUNT_MAX as u64),
    ("ANSWERED_BYTES_MAX", limits::ANSWERED_BYTES_MAX as u64),
    ("ANSWERED_KEPT_MIN", limits::ANSWERED_KEPT_MIN as u64),
    ("BLOB_ACCOUNTS_MAX", limits::BLOB_ACCOUNTS_MAX as u64),
    ("PAGE_ROWS_MAX", limits::PAGE_ROWS_MAX as u64),
    ("TAIL_ROWS_MAX", limits::TAIL_ROWS_MAX as u64),
    ("BLOCK_HEADS_MAX", limits::BLOCK_HEADS_MAX as u64),
    ("SUMMARY_RUN_UIDS", limits::SUMMARY_RUN_UIDS as u64),
    ("SUMMARY_RUN_PART", limits::SUMMARY_RUN_PART as u64),
    ("SUMMARY_PAGED_BYTES_MAX", limits::SUMMARY_PAGED_BYTES_MAX as u64),
    ("SUMMARY_PAGES_WAITING_BYTES_MAX", limits::SUMMARY_PAGES_WAITING_BYTES_MAX as u64),
    ("SUMMARY_SPANS_MAX", limits::SUMMARY_SPANS_MAX as u64),
    ("INDEX_TAIL_MESSAGES_MAX", limits::INDEX_TAIL_MESSAGES_MAX),
    ("INDEX_TAIL_BYTES_MAX", limits::INDEX_TAIL_BYTES_MAX),
    ("INDEX_SPLIT_MESSAGES_MAX", limits::INDEX_SPLIT_MESSAGES_MAX as u64),
    ("INDEX_MERGED_SPLITS", limits::INDEX_MERGED_SPLITS as u64),
    ("INDEX_BUILDER_BYTES_MAX", limits::INDEX_BUILDER_BYTES_MAX as u64),
    ("SEARCH_TEXTS_BYTES_MAX", limits::SEARCH_TEXTS_BYTES_MAX),
    ("DOCUMENT_TEXT_BYTES_MAX", limits::DOCUMENT_TEXT_BYTES_MAX as u64),
    ("DOCUMENTS_PUT_OFF_MAX", limits::DOCUMENTS_PUT_OFF_MAX as u64),
    ("MAILBOX_NAME_BYTES_MAX", limits::MAILBOX_NAME_BYTES_MAX as u64),
    ("MAILBOX_NAME_LEVELS_MAX", limits::MAILBOX_NAME_LEVELS_MAX as u64),
    ("KEYWORD_BYTES_MAX", limits::KEYWORD_BYTES_MAX as u64),
    ("MAILBOX_KEYWORDS_MAX", limits::MAILBOX_KEYWORDS_MAX as u64),
    ("MAILBOX_KEYWORD_BYTES_MAX", limits::MAILBOX_KEYWORD_BYTES_MAX as u64),
    ("MESSAGE_KEYWORDS_MAX", limits::MESSAGE_KEYWORDS_MAX as u64),
    ("ACCOUNT_MAILBOXES_MAX", limits::ACCOUNT_MAILBOXES_MAX as u64),
    ("METADATA_ENTRIES_MAX", limits::METADATA_ENTRIES_MAX as u64),
    ("METADATA_GUEST_ENTRIES", limits::METADATA_GUEST_ENTRIES as u64),
    ("METADATA_GUEST_PART", limits::METADATA_GUEST_PART as u64),
    ("METADATA_NAME_BYTES_MAX", limits::METADATA_NAME_BYTES_MAX as u64),
    ("METADATA_VALUE_BYTES_MAX", limits::METADATA_VALUE_BYTES_MAX as u64),
    ("ACL_ENTRIES_MAX", limits::ACL_ENTRIES_MAX as u64),
    ("MAILBOX_ANNOTATION_BYTES_MAX", limits::MAILBOX_ANNOTATION_BYTES_MAX as u64),
    ("ACCOUNT_ANNOTATION_BYTES_MAX", limits::ACCOUNT_ANNOTATION_BYTES_MAX as u64),
    ("MIME_DEPTH_MAX", limits::MIME_DEPTH_MAX as u64),
    ("MIME_PARTS_MAX", limits::MIME_PARTS_MAX as u64),
    ("EPOCH_UID_GAP", limits::EPOCH_UID_GAP as u64),
    ("VANISHED_APART_SECONDS", limits::VANISHED_APART_SECONDS as u64),
];

/// Sizes of what has a fixed width.
fn sizes() -> Vec<(&'static str, u64)> {
    use crate::log::format::{group, item, segment};
    use crate::{message, seal};
    let sizes = [
        ("group header", group::GROUP_HEADER_BYTES),
        ("record header", item::RECORD_HEADER_BYTES),
        ("chunk header", item::CHUNK_HEADER_BYTES),
        ("segment header copy", segment::HEADER_COPY_BYTES),
        ("segment trailer", segment::TRAILER_BYTES),
        ("key", seal::KEY_BYTES),
        ("salt", seal::SALT_BYTES),
        ("commitment", seal::COMMITMENT_BYTES),
        ("sealed object, more than its plain bytes", seal::OBJECT_OVERHEAD_BYTES),
        ("blob header, largest", seal::BLOB_HEADER_BYTES_MAX),
        ("dictionary, largest", seal::DICTIONARY_BYTES_MAX),
        ("index file header", seal::INDEX_HEADER_BYTES),
        ("spool block", seal::SPOOL_BLOCK_BYTES),
        ("spool block, more than its plain bytes", seal::SPOOL_BLOCK_OVERHEAD_BYTES),
        ("header field, kept of a summary", message::FIELD_BYTES_MAX),
        ("text of a summary, largest", message::SUMMARY_TEXT_BYTES_MAX),
        ("common header fields, largest", message::COMMON_HEADER_BYTES_MAX),
        ("open segments of a reader", crate::log::reader::OPEN_SEGMENTS_MAX),
    ];
    sizes.map(|(name, size)| (name, size as u64)).to_vec()
}

/// Format versions.
fn versions() -> Vec<(&'static str, u64)> {
    use crate::log::format::{group, segment};
    let mut versions = vec![
        ("format level", u64::from(crate::format_level::NEWEST)),
        ("group", u64::from(group::GROUP_VERSION)),
        ("segment", u64::from(segment::SEGMENT_VERSION)),
        ("segment footer", u64::from(segment::FOOTER_VERSION)),
        ("message parser", u64::from(crate::message::PARSER_VERSION)),
        ("search folding", u64::from(crate::message::text::FOLD_VERSION)),
    ];
    versions.extend(crate::mailbox::FORMATS.map(|(name, version)| (name, u64::from(version))));
    versions.extend(crate::seal::FORMATS.map(|(name, version)| (name, u64::from(version))));
    versions.extend(crate::state::FORMATS.map(|(name, version)| (name, u64::from(version))));
    versions.extend(crate::store::FORMATS.map(|(name, version)| (name, u64::from(version))));
    versions
}

#[test]
fn limits_sizes_and_versions_are_those_that_were_reviewed() {
    let mut text = String::from(
        "Limits, sizes and format versions as the code computes them; compared by \
         engine/src/golden.rs.\n",
    );
    let lists = [("limit", LIMITS.to_vec()), ("size", sizes()), ("version", versions())];
    for (kind, list) in lists {
        text.push('\n');
        for (name, value) in list {
            text += &format!("{kind} {name} = {value}\n");
        }
    }
    compare("constants.txt", text.as_bytes());
}

#[test]
fn no_limit_is_left_out() {
    let source = include_str!("limits.rs");
    let named: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "))
        .filter_map(|rest| rest.split(':').next())
        .collect();
    let listed: Vec<&str> = LIMITS.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, named);
}
