//! Packed blobs: header, summary and first chunk in one item.

use proptest::prelude::*;

use super::{key, sealer};
use crate::ids::{AccountNumber, BlobTag, KeyGeneration};
use crate::limits::CHUNK_BYTES;
use crate::message::Summary;
use crate::message::generator::Generator;
use crate::seal::*;

const ANNA: AccountNumber = AccountNumber(11);
const BERT: AccountNumber = AccountNumber(22);
const FIRST: KeyGeneration = KeyGeneration(1);
const SECOND: KeyGeneration = KeyGeneration(2);
const TAG: BlobTag = BlobTag([9; 16]);

fn keys(account: AccountNumber, generation: KeyGeneration) -> Option<Key> {
    match (account, generation) {
        (ANNA, FIRST) => Some(key(1)),
        (BERT, FIRST) => Some(key(2)),
        (BERT, SECOND) => Some(key(3)),
        _ => None,
    }
}

fn begin(body: &[u8], summary: &[u8], compression: Compression) -> BlobSealer {
    let accounts = [(ANNA, FIRST, &key(1)), (BERT, FIRST, &key(2))];
    let lengths = (body.len() as u64, summary.len() as u32);
    BlobSealer::with_summary(&sealer(), TAG, &accounts, lengths, compression).unwrap()
}

/// With a header of version 2, as below format level 5.
fn packed_before(body: &[u8], summary: &[u8]) -> Vec<SealedChunk> {
    begin(body, summary, Compression::Streamed).seal_packed(body, summary)
}

fn packed(body: &[u8], summary: &[u8]) -> Vec<SealedChunk> {
    packed_by(&sealer(), body, summary)
}

fn packed_by(sealer: &Sealer, body: &[u8], summary: &[u8]) -> Vec<SealedChunk> {
    let accounts = [(ANNA, FIRST, &key(1)), (BERT, FIRST, &key(2))];
    let lengths = (body.len() as u64, summary.len() as u32);
    let blob = BlobSealer::to_pack(sealer, TAG, &accounts, lengths, Compression::Streamed);
    blob.unwrap().seal_packed(body, summary)
}

fn mail(length: usize) -> (Vec<u8>, Vec<u8>) {
    let body = Generator::new(5).message(length);
    let summary = Summary::parse(&body).encode();
    (body, summary)
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn read(opener: &BlobOpener, items: &[SealedChunk], number: u32) -> Result<Vec<u8>, SealError> {
    let piece = opener.piece(number);
    let item = &items[usize::try_from(piece.item).unwrap()];
    assert_eq!(item.number, piece.item, "items are numbered as the log numbers them");
    opener.open_chunk(number, piece.of(&item.bytes).unwrap())
}

fn assert_comes_back(body: &[u8], summary: &[u8]) {
    let items = packed(body, summary);
    assert_eq!(items.len() as u64, chunk_count(body.len() as u64));
    for account in [ANNA, BERT] {
        let opener = BlobOpener::open(&items[0].bytes, TAG, account, &keys).unwrap();
        let mut found = Vec::new();
        for number in 0..opener.chunk_count() {
            found.extend(read(&opener, &items, number).unwrap());
        }
        assert!(found == body, "bit-identical, of {} bytes", body.len());
        assert!(read(&opener, &items, opener.chunk_count()).unwrap() == summary);
    }
}

#[test]
fn every_message_comes_back_with_its_summary() {
    let picture = [mail(400).0, [b'Q'; 76].repeat(40), noise(60_000)].concat();
    let bodies = [
        Vec::new(),
        b"Subject: lunch\r\n\r\nAt noon?".to_vec(),
        mail(4_000).0,
        mail(100_000).0,
        vec![b'x'; CHUNK_BYTES],
        picture,
        noise(3_000),
        noise(CHUNK_BYTES + 1),
        mail(CHUNK_BYTES * 2 + 9).0,
    ];
    for body in bodies {
        assert_comes_back(&body, &Summary::parse(&body).encode());
        assert_comes_back(&body, b"-");
    }
}

#[test]
fn a_packed_blob_is_smaller_than_its_parts() {
    let (body, summary) = mail(4_000);
    let mut apart = begin(&body, &summary, Compression::Folded);
    let mut before = apart.header().0.len();
    before += apart.seal_chunk(&body).bytes.len() + apart.seal_chunk(&summary).bytes.len();
    let after = packed(&body, &summary)[0].bytes.len();
    assert!(after + 200 < before, "{after}, {before} before");
}

/// ENVELOPE does not depend on the body.
#[test]
fn a_summary_opens_with_nothing_of_the_body_there() {
    let (body, summary) = mail(4_000);
    let items = packed(&body, &summary);
    let whole = BlobOpener::open(&items[0].bytes, TAG, ANNA, &keys).unwrap();
    let piece = whole.piece(whole.chunk_count());
    let front = &items[0].bytes[..piece.end.unwrap()];
    let opener = BlobOpener::open(front, TAG, ANNA, &keys).unwrap();
    let found = opener.open_chunk(whole.chunk_count(), piece.of(front).unwrap());
    assert_eq!(found.unwrap(), summary);
    let cut = BlobOpener::open(&front[..front.len() - 1], TAG, ANNA, &keys).err();
    assert!(matches!(cut, Some(SealError::Truncated { .. })), "{cut:?}");
}

#[test]
fn a_damaged_summary_is_an_error_of_whoever_needs_it() {
    let (body, summary) = mail(CHUNK_BYTES + 5_000);
    let mut items = packed(&body, &summary);
    let at = BlobOpener::open(&items[0].bytes, TAG, ANNA, &keys).unwrap().piece(2).start;
    items[0].bytes[at + 3] ^= 1;
    let opener = BlobOpener::open(&items[0].bytes, TAG, ANNA, &keys).unwrap();
    assert_eq!(read(&opener, &items, 2), Err(SealError::Altered));
    assert!(read(&opener, &items, 0).is_err(), "it goes on from the summary");
    assert_eq!(read(&opener, &items, 1).unwrap(), body[CHUNK_BYTES..]);
}

#[test]
fn a_retired_key_generation_is_replaced_and_what_follows_the_header_stays() {
    let (body, summary) = mail(4_000);
    for mut items in [packed(&body, &summary), packed_before(&body, &summary)] {
        let parsed = BlobHeader::parse(&items[0].bytes).unwrap();
        let (header, _) = parsed.rewrap(&sealer(), BERT, &keys, (SECOND, &key(3))).unwrap();
        assert_eq!(header.len(), parsed.piece(parsed.chunk_count).start, "as long as it was");
        items[0].bytes[..header.len()].copy_from_slice(&header);
        let only_new = |account, generation| match generation {
            FIRST if account == BERT => None,
            _ => keys(account, generation),
        };
        for account in [ANNA, BERT] {
            let opener = BlobOpener::open(&items[0].bytes, TAG, account, &only_new).unwrap();
            assert_eq!(read(&opener, &items, 0).unwrap(), body);
        }
    }
}

#[test]
fn a_masked_key_opens_for_its_account_alone_and_says_nothing_about_others() {
    let (body, summary) = mail(2_000);
    let sealer = sealer();
    let items = packed_by(&sealer, &body, &summary);
    let before = packed_before(&body, &summary);
    assert_eq!(items[0].bytes.len() + 2 * 48, before[0].bytes.len(), "of two accounts");
    let refused = |keys: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>| {
        BlobOpener::open(&items[0].bytes, TAG, ANNA, keys).err()
    };
    assert_eq!(refused(&|_, _| Some(key(2))), Some(SealError::Altered), "the other's key");
    let no_key = SealError::NoKey { account: ANNA, generation: FIRST };
    assert_eq!(refused(&|_, _| None), Some(no_key), "shredded");
    let entries = items[0].bytes[40..40 + 2 * 68].to_vec();
    assert_ne!(entries[36..68], entries[68 + 36..], "the same content key, masked twice");
    let parsed = BlobHeader::parse(&items[0].bytes).unwrap();
    let [once, again] = [0, 1].map(|_| {
        let (header, _) = parsed.rewrap(&sealer, BERT, &keys, (SECOND, &key(3))).unwrap();
        header[40 + 68 + 36..40 + 2 * 68].to_vec()
    });
    assert_ne!(once, again, "and twice for one account");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_is_an_error_of_what_it_hits(
        length in 300..3000_usize,
        place: prop::sample::Index,
        bit in 0..8_u32,
        is_new: bool,
    ) {
        let (body, summary) = mail(length);
        let pack = if is_new { packed } else { packed_before };
        let mut items = pack(&body, &summary);
        let whole = BlobOpener::open(&items[0].bytes, TAG, ANNA, &keys).unwrap();
        let (summary_at, body_at) = (whole.piece(1).start, whole.piece(0).start);
        let at = place.index(items[0].bytes.len());
        items[0].bytes[at] ^= 1_u8 << bit;
        let Ok(opener) = BlobOpener::open(&items[0].bytes, TAG, ANNA, &keys) else {
            prop_assert!(at < summary_at);
            return Ok(());
        };
        prop_assert!(at >= summary_at);
        prop_assert!(read(&opener, &items, 0).is_err());
        prop_assert_eq!(read(&opener, &items, 1).is_ok(), at >= body_at);
    }
}
