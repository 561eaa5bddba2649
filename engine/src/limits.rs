//! Every bound of the store, with the relations between them asserted at compile time.

/// A segment's size in bytes: 128 MiB.
pub const SEGMENT_BYTES: u64 = 128 << 20;
/// A group's records and chunks together, in bytes; one message's parts may not exceed it when
/// sealed inline.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Groups are padded to this at their place in a segment.
pub const GROUP_ALIGNMENT: usize = 4096;
/// Bytes that io_uring writes at a time: most batches are below it, and registered it is memory
/// that is never paged out.
pub const URING_BUFFER_BYTES: usize = 1 << 20;
/// Plain bytes of one chunk of a blob.
pub const CHUNK_BYTES: usize = 256 << 10;
/// A message's summary, encoded.
pub const SUMMARY_BYTES_MAX: usize = 4 << 20;
/// A message up to this size is committed in one group with its record; a larger one enters ahead,
/// in chunks.
pub const INLINE_MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The largest message that a store accepts unless configured lower.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Messages that one record names.
pub const RECORD_MESSAGES_MAX: usize = 4096;
/// A sealed record payload.
pub const RECORD_BYTES_MAX: usize = 4 << 20;
/// Records in one group.
pub const GROUP_RECORDS_MAX: usize = 16_384;
/// Proposals waiting for the committer, per volume.
pub const QUEUE_PROPOSALS_MAX: usize = 4096;
/// Bytes of proposals waiting for the committer, per volume.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// A change that another node proposes, in bytes: what fits into a group.
pub const PROPOSAL_BYTES_MAX: usize = GROUP_BYTES_MAX;
/// What a proposed change was answered, in bytes.
pub const OUTCOME_BYTES_MAX: usize = 2 << 20;
/// UIDs that one such answer lists.
pub const OUTCOME_UIDS_MAX: usize = 4 << 20;
/// Answered requests that a volume remembers: no further one is taken until some are forgotten.
pub const ANSWERED_COUNT_MAX: usize = 256 << 10;
/// Bytes of their answers, all in memory.
pub const ANSWERED_BYTES_MAX: usize = 64 << 20;
/// The newest ones, which are never forgotten.
pub const ANSWERED_KEPT_MIN: usize = 4096;
/// Accounts that one blob may be opened by (recipients of one delivery).
pub const BLOB_ACCOUNTS_MAX: usize = 1024;
/// Rows of a full mailbox page.
pub const PAGE_ROWS_MAX: usize = 512;
/// Rows of the tail page before it is merged.
pub const TAIL_ROWS_MAX: usize = 32;
/// Page heads in one head block.
pub const BLOCK_HEADS_MAX: usize = 256;
/// UIDs of a run, whose messages' summaries lie together in a summary page.
pub const SUMMARY_RUN_UIDS: u32 = 128;
/// Of a run that many UIDs long there is a page if at least one in so many has a message.
pub const SUMMARY_RUN_PART: u32 = 8;
/// Longer summaries are not in pages.
pub const SUMMARY_PAGED_BYTES_MAX: usize = 16 << 10;
/// Summary pages that wait for a checkpoint, in bytes; and summaries of new messages that wait for
/// their page.
pub const SUMMARY_PAGES_WAITING_BYTES_MAX: usize = 8 << 20;
/// Spans of a mailbox that wait for their summary pages; the oldest are left to who reads them.
pub const SUMMARY_SPANS_MAX: usize = 4096;
/// Messages of an account that may lie outside of its full-text index: they are read when they are
/// sought in. An account that has no more of them has no index.
pub const INDEX_TAIL_MESSAGES_MAX: u64 = 512;
/// Their bytes, as received.
pub const INDEX_TAIL_BYTES_MAX: u64 = 4 << 20;
/// Messages of a split that merging makes.
pub const INDEX_SPLIT_MESSAGES_MAX: u32 = 256 << 10;
/// Splits of about the same size that become one.
pub const INDEX_MERGED_SPLITS: usize = 8;
/// Memory of what is gathered for a split.
pub const INDEX_BUILDER_BYTES_MAX: usize = 48 << 20;
/// Memory for texts of messages that searches had to open: those that are in no split yet.
pub const SEARCH_TEXTS_BYTES_MAX: u64 = 16 << 20;
/// Bytes of text of the documents of one message, which an extractor made of them.
pub const DOCUMENT_TEXT_BYTES_MAX: usize = 16 << 20;
/// Messages that wait for an extractor that cannot be had; others are indexed without it.
pub const DOCUMENTS_PUT_OFF_MAX: usize = 64;
/// A mailbox name in bytes of UTF-8, all levels together.
pub const MAILBOX_NAME_BYTES_MAX: usize = 1000;
/// Levels of a mailbox name.
pub const MAILBOX_NAME_LEVELS_MAX: usize = 64;
/// A keyword's bytes.
pub const KEYWORD_BYTES_MAX: usize = 255;
/// Distinct keywords of one mailbox.
pub const MAILBOX_KEYWORDS_MAX: usize = 65_000;
/// Their bytes together: they are in the mailbox's row, which a base image writes as one record.
pub const MAILBOX_KEYWORD_BYTES_MAX: usize = 2 << 20;
/// Distinct keywords of one message.
pub const MESSAGE_KEYWORDS_MAX: usize = 1000;
/// Mailboxes of one account.
pub const ACCOUNT_MAILBOXES_MAX: usize = 100_000;
/// Entries of metadata of one mailbox, or of an account; and as many private ones of others than
/// its owner.
pub const METADATA_ENTRIES_MAX: usize = 500;
/// Private entries of metadata that an account has in a mailbox of somebody else, unless it is
/// said otherwise.
pub const METADATA_GUEST_ENTRIES: usize = 20;
/// What they take of what an owner may have beside mailboxes: one part in so many.
pub const METADATA_GUEST_PART: usize = 2;
/// The name of an entry of metadata.
pub const METADATA_NAME_BYTES_MAX: usize = 512;
/// The value of an entry of metadata.
pub const METADATA_VALUE_BYTES_MAX: usize = 64 << 10;
/// Entries of one access control list.
pub const ACL_ENTRIES_MAX: usize = 1000;
/// Metadata and access control list of one mailbox together, in bytes.
pub const MAILBOX_ANNOTATION_BYTES_MAX: usize = 256 << 10;
/// Those of all mailboxes of an account together, in bytes: they are in memory.
pub const ACCOUNT_ANNOTATION_BYTES_MAX: usize = 2 << 20;
/// Nesting of MIME that is parsed; deeper parts are shown as opaque.
pub const MIME_DEPTH_MAX: usize = 64;
/// Parts of one message that are parsed; the rest is shown as part of the last.
pub const MIME_PARTS_MAX: usize = 10_000;
/// UIDs that each epoch leaves free below its own.
pub const EPOCH_UID_GAP: u32 = 65_536;
/// How long expunges of a mailbox are told apart by their MODSEQ; older ones are told together.
pub const VANISHED_APART_SECONDS: i64 = 30 * 24 * 3600;

#[expect(clippy::as_conversions, reason = "widening in a constant")]
const _: () =
    assert!((GROUP_BYTES_MAX as u64) < SEGMENT_BYTES / 4, "several groups fit into a segment");
const _: () =
    assert!(INLINE_MESSAGE_BYTES_MAX * 2 < GROUP_BYTES_MAX, "an inline message fits into a group");
const _: () = assert!(RECORD_BYTES_MAX < GROUP_BYTES_MAX, "a record fits into a group");
const _: () = assert!(
    MESSAGE_KEYWORDS_MAX * (KEYWORD_BYTES_MAX + 2) < RECORD_BYTES_MAX / 2,
    "the record of one message fits, whatever keywords it has"
);
const _: () = assert!(
    MAILBOX_ANNOTATION_BYTES_MAX * 2 < RECORD_BYTES_MAX,
    "the row of a mailbox's annotations fits into the record of a base image"
);
const _: () = assert!(
    MAILBOX_KEYWORD_BYTES_MAX + 2 * MAILBOX_KEYWORDS_MAX < RECORD_BYTES_MAX * 3 / 4,
    "the row of a mailbox fits into the record of a base image, whatever keywords it has"
);
const _: () = assert!(
    RECORD_BYTES_MAX + OUTCOME_BYTES_MAX + 8192 < GROUP_BYTES_MAX,
    "what a change was answered fits into the group of its record"
);
const _: () = assert!(ANSWERED_KEPT_MIN < ANSWERED_COUNT_MAX);
const _: () = assert!(TAIL_ROWS_MAX < PAGE_ROWS_MAX);
