//! A summary page: the summaries of a run of messages of one mailbox, compressed together.
//!
//! A run is a span of UIDs of a fixed size that begins at a multiple of it. What a UID means never
//! changes, and neither does its blob's summary: once all UIDs of a run are given, a page of it can
//! become less than the mailbox's, never wrong.
//!
//! ```text
//! size     field        meaning
//!    1     format       1
//!    n     body_len     number: bytes of the body before compression, at most BODY_BYTES_MAX
//!    …     body         one zstd frame, which holds:
//!      n     count        number: messages, 1 to SUMMARY_RUN_UIDS
//!      n     uids         the first as a number, then (difference − 1) to the one before
//!      n     blobs        signed difference to the one before (the first: to 0)
//!      n     lengths      number: bytes of each summary, at most SUMMARY_PAGED_BYTES_MAX
//!      …     summaries    as their blobs hold them (message/stored.rs), but with empty previews,
//!                         one after the other
//! ```
//!
//! Why whole summaries in one frame, and why without previews: decision 0031.
//!
//! Invariants:
//! 1. UIDs ascend strictly.
//! 2. A summary is handed out for its UID and its blob together, and for no other.

use std::sync::Arc;

use super::varint::{self, Reader};
use crate::error::ReadError;
use crate::ids::{BlobId, Lsn, Uid};
use crate::limits::{SUMMARY_PAGED_BYTES_MAX, SUMMARY_RUN_UIDS};
use crate::message::StoredSummary;
use crate::seal::decompress_frame;
use crate::width::{u64_of, usize_of_u32};

pub(super) const FORMAT: u8 = 1;
const COMPRESSION_LEVEL: i32 = 1;
const WHAT: &str = "summary page";
const MESSAGES_MAX: usize = usize_of_u32(SUMMARY_RUN_UIDS);
/// Of a page whose every number is at its widest: 5, 10 and 3 bytes.
const BODY_BYTES_MAX: usize = 5 + MESSAGES_MAX * (18 + SUMMARY_PAGED_BYTES_MAX);

/// A message of a page on its way there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PagedSummary {
    pub(crate) uid: Uid,
    pub(crate) blob: BlobId,
    /// As its blob holds it, without its preview.
    pub(crate) summary: Vec<u8>,
}

/// An opened page.
#[derive(Clone, Debug)]
pub(crate) struct SummaryPage {
    uids: Vec<u32>,
    blobs: Vec<BlobId>,
    /// All in the bytes of one body.
    summaries: Vec<StoredSummary>,
    body_len: usize,
}

/// The page of these messages, as it is stored; there is at least one.
pub(crate) fn encode(messages: &[PagedSummary]) -> Vec<u8> {
    let bytes: usize = messages.iter().map(|message| message.summary.len() + 12).sum();
    let mut body = Vec::with_capacity(bytes + 8);
    varint::put(&mut body, u64_of(messages.len()));
    let mut least = 0;
    for PagedSummary { uid, .. } in messages {
        varint::put(&mut body, u64::from(uid.0).saturating_sub(least));
        least = u64::from(uid.0) + 1;
    }
    let mut before = 0i64;
    for PagedSummary { blob, .. } in messages {
        let bits = blob.0.bits().cast_signed();
        varint::put_signed(&mut body, bits.wrapping_sub(before));
        before = bits;
    }
    messages.iter().for_each(|message| varint::put(&mut body, u64_of(message.summary.len())));
    messages.iter().for_each(|message| body.extend_from_slice(&message.summary));
    compressed(&body)
}

/// Format and length before the compressed body.
pub(super) fn compressed(body: &[u8]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    varint::put(&mut out, u64_of(body.len()));
    let frame = zstd::bulk::compress(body, COMPRESSION_LEVEL)
        .expect("zstd compresses into a buffer of its own bound's size");
    out.extend_from_slice(&frame);
    out
}

impl SummaryPage {
    /// From what is stored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SummaryPage, ReadError> {
        let mut outer = Reader::new(bytes, WHAT);
        outer.format(FORMAT)?;
        let body_len = outer.length(BODY_BYTES_MAX)?;
        // Into what is kept, with no copy between.
        let mut body: Arc<[u8]> = std::iter::repeat_n(0, body_len).collect();
        Arc::get_mut(&mut body)
            .and_then(|body| decompress_frame(outer.rest(), body))
            .ok_or(ReadError::Undecodable { what: WHAT, why: "it does not decompress" })?;
        SummaryPage::of_body(body)
    }

    fn of_body(body: Arc<[u8]>) -> Result<SummaryPage, ReadError> {
        let mut reader = Reader::new(&body, WHAT);
        let count = reader.length(MESSAGES_MAX)?;
        if count == 0 {
            return Err(reader.wrong("it has no messages"));
        }
        let mut uids = Vec::with_capacity(count);
        let mut least = Some(0u32);
        for _ in 0..count {
            let difference = reader.number32()?;
            let uid = least.and_then(|least| least.checked_add(difference));
            let uid = uid.ok_or_else(|| reader.wrong("a UID is too high"))?;
            least = uid.checked_add(1);
            uids.push(uid);
        }
        let mut blobs = Vec::with_capacity(count);
        let mut bits = 0i64;
        for _ in 0..count {
            bits = bits.wrapping_add(reader.signed()?);
            let position = Lsn::from_bits(bits.cast_unsigned());
            blobs.push(BlobId(position.ok_or_else(|| reader.wrong("a position has 64 bits"))?));
        }
        let mut lengths = Vec::with_capacity(count);
        for _ in 0..count {
            lengths.push(reader.length(SUMMARY_PAGED_BYTES_MAX)?);
        }
        if reader.left() != lengths.iter().sum::<usize>() {
            return Err(reader.wrong("its summaries are not as long as it says"));
        }
        let mut start = body.len() - reader.left();
        let mut summaries = Vec::with_capacity(count);
        for length in lengths {
            let summary = StoredSummary::new(Arc::clone(&body), start..start + length);
            summaries.push(summary.map_err(|_| reader.wrong("what should be a summary is none"))?);
            start += length;
        }
        let body_len = body.len();
        Ok(SummaryPage { uids, blobs, summaries, body_len })
    }

    /// The summary of a message; `None` if the page has none of that UID and blob.
    pub(crate) fn find(&self, uid: Uid, blob: BlobId) -> Option<&StoredSummary> {
        let index = self.uids.binary_search(&uid.0).ok()?;
        self.summaries.get(index).filter(|_| self.blobs.get(index) == Some(&blob))
    }

    /// Every message: UID, blob, summary.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Uid, BlobId, &StoredSummary)> + '_ {
        let named = self.uids.iter().zip(&self.blobs).zip(&self.summaries);
        named.map(|((&uid, &blob), summary)| (Uid(uid), blob, summary))
    }

    /// Bytes in memory, for the cache's budget.
    pub(crate) fn memory_bytes(&self) -> usize {
        const MESSAGE_BYTES: usize = 4 + 8 + std::mem::size_of::<StoredSummary>();
        std::mem::size_of::<SummaryPage>() + self.uids.capacity() * MESSAGE_BYTES + self.body_len
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Summary;

    fn message(uid: u32, sequence: u64, subject: &str) -> PagedSummary {
        let blob = BlobId(Lsn::new(1, sequence).unwrap());
        let summary = Summary { base_subject: subject.to_owned(), ..Summary::default() };
        PagedSummary { uid: Uid(uid), blob, summary: summary.encode() }
    }

    fn assert_reads_back(messages: &[PagedSummary]) {
        let page = SummaryPage::decode(&encode(messages)).unwrap();
        for PagedSummary { uid, blob, summary } in messages {
            assert_eq!(page.find(*uid, *blob).unwrap().bytes(), summary);
            let other = BlobId(blob.0.next().unwrap());
            assert!(page.find(*uid, other).is_none(), "a UID with another blob");
        }
        assert!(page.find(Uid(u32::MAX), messages[0].blob).is_none());
        let read: Vec<_> =
            page.messages().map(|(uid, blob, own)| (uid, blob, own.bytes().to_vec())).collect();
        let given = messages.iter().map(|of| (of.uid, of.blob, of.summary.clone()));
        assert_eq!(read, given.collect::<Vec<_>>());
    }

    #[test]
    fn a_page_gives_what_was_put_in() {
        assert_reads_back(&[message(7, 900, "one"), message(8, 3, ""), message(127, 7, "two")]);
    }

    proptest! {
        #[test]
        fn any_page_reads_back(
            uids in prop::collection::btree_set(0u32..u32::MAX - 1, 1..128),
            sequences in prop::collection::vec(1u64..1 << 40, 128),
            texts in prop::collection::vec(".{0,200}", 128),
        ) {
            let messages = uids.iter().zip(&sequences).zip(&texts);
            let messages: Vec<_> =
                messages.map(|((uid, sequence), text)| message(*uid, *sequence, text)).collect();
            assert_reads_back(&messages);
        }

        #[test]
        fn any_bytes_are_a_page_or_an_error(bytes: Vec<u8>) {
            crate::mailbox::fuzzing::summary_page(&bytes);
        }
    }

    #[test]
    fn what_is_no_page_is_refused() {
        let own = message(1, 1, "x").summary;
        let length = u8::try_from(own.len()).unwrap();
        let table: [(&[u8], &str); 7] = [
            (&[0], "no messages"),
            (&[2, 5], "it ends"),
            (&[2, 5, 0, 2, 0, length, length], "a summary is missing"),
            (&[1, 5, 2, length, 0], "bytes behind the last summary"),
            (&[1, 5, 1, length], "a position has 64 bits"),
            (&[2, 0xff, 0xff, 0xff, 0xff, 0x0f, 0], "a UID above the highest"),
            (&[1, 5, 2, 1, b'a'], "no summary"),
        ];
        for (head, reason) in table {
            let is_whole = head.len() > 4 && !reason.starts_with("no ") && head[0] < 2;
            let body = if is_whole { [head, &own[..]].concat() } else { head.to_vec() };
            assert!(SummaryPage::decode(&compressed(&body)).is_err(), "{reason}");
        }
        let body = [&[1, 5, 2, length], &own[..]].concat();
        assert!(SummaryPage::decode(&compressed(&body)).is_ok());
        let mut cut = encode(&[message(1, 1, &"x".repeat(500))]);
        cut.pop();
        assert!(SummaryPage::decode(&cut).is_err());
        let mut newer = encode(&[message(1, 1, "x")]);
        newer[0] = FORMAT + 1;
        assert!(matches!(SummaryPage::decode(&newer), Err(ReadError::NewerFormat { .. })));
    }
}
