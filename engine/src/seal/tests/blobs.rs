//! Blobs: several accounts, one body.

use std::sync::Arc;

use proptest::prelude::*;

use super::{key, sealer};
use crate::ids::{AccountNumber, BlobTag, KeyGeneration};
use crate::limits::{BLOB_ACCOUNTS_MAX, CHUNK_BYTES};
use crate::seal::*;

const ANNA: AccountNumber = AccountNumber(11);
const BERT: AccountNumber = AccountNumber(22);
const FIRST: KeyGeneration = KeyGeneration(1);
const TAG: BlobTag = BlobTag([9; 16]);

fn keys(account: AccountNumber, generation: KeyGeneration) -> Option<Key> {
    match (account, generation) {
        (ANNA, FIRST) => Some(key(1)),
        (BERT, FIRST) => Some(key(2)),
        (BERT, KeyGeneration(2)) => Some(key(3)),
        _ => None,
    }
}

fn begin(sealer: &Sealer, length: usize) -> BlobSealer {
    let accounts = [(ANNA, FIRST, &key(1)), (BERT, FIRST, &key(2))];
    BlobSealer::new(sealer, TAG, &accounts, length as u64, Compression::default()).unwrap()
}

fn store(sealer: &Sealer, body: &[u8]) -> (Vec<u8>, Vec<SealedChunk>) {
    let blob = begin(sealer, body.len());
    (blob.header().0.to_vec(), blob.seal_body(body))
}

fn read(opener: &BlobOpener, chunks: &[SealedChunk]) -> Vec<u8> {
    let chunk = |chunk: &SealedChunk| opener.open_chunk(chunk.number, &chunk.bytes).unwrap();
    chunks.iter().flat_map(chunk).collect()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn every_recipient_reads_the_same_body() {
    let bodies = [
        Vec::new(),
        b"Subject: lunch\r\n\r\nAt noon?".to_vec(),
        vec![b'x'; CHUNK_BYTES],
        b"all work and no play ".repeat(40_000),
        noise(CHUNK_BYTES + 1),
    ];
    for body in bodies {
        let (header, chunks) = store(&sealer(), &body);
        assert_eq!(chunks.len() as u64, chunk_count(body.len() as u64));
        for account in [ANNA, BERT] {
            let opener = BlobOpener::open(&header, TAG, account, &keys).unwrap();
            assert_eq!(read(&opener, &chunks), body);
            assert_eq!(opener.plain_len(), body.len() as u64);
        }
        for chunk in &chunks {
            assert_eq!(chunk.hash, *blake3::hash(&chunk.bytes).as_bytes());
        }
    }
}

#[test]
fn text_shrinks_and_noise_grows_by_seventeen_bytes_a_chunk() {
    let (_, chunks) = store(&sealer(), &b"all work and no play ".repeat(2000));
    assert!(chunks[0].bytes.len() < 1000);
    let (_, chunks) = store(&sealer(), &noise(CHUNK_BYTES));
    assert_eq!(chunks[0].bytes.len(), CHUNK_BYTES + 17);
}

#[test]
fn a_destroyed_key_takes_nothing_from_the_other_recipient() {
    let (header, chunks) = store(&sealer(), b"to both");
    let without_anna = |account, generation| {
        if account == ANNA { None } else { keys(account, generation) }
    };
    let refused = BlobOpener::open(&header, TAG, ANNA, &without_anna).err();
    assert_eq!(refused, Some(SealError::NoKey { account: ANNA, generation: FIRST }));
    let opener = BlobOpener::open(&header, TAG, BERT, &without_anna).unwrap();
    assert_eq!(read(&opener, &chunks), b"to both");
}

#[test]
fn a_blob_opens_only_for_whom_it_names_and_under_its_own_tag() {
    let (header, _) = store(&sealer(), b"to both");
    let stranger = AccountNumber(33);
    let refused = BlobOpener::open(&header, TAG, stranger, &keys).err();
    assert_eq!(refused, Some(SealError::NotForAccount(stranger)));
    let other_tag = BlobOpener::open(&header, BlobTag([8; 16]), ANNA, &keys).err();
    assert_eq!(other_tag, Some(SealError::Altered));
    let wrong = BlobOpener::open(&header, TAG, ANNA, &|_, _| Some(key(5))).err();
    assert_eq!(wrong, Some(SealError::WrongKey));
}

#[test]
fn chunks_cannot_trade_places_or_blobs() {
    let sealer = sealer();
    let (header, chunks) = store(&sealer, &noise(2 * CHUNK_BYTES));
    let (_, others) = store(&sealer, &noise(2 * CHUNK_BYTES));
    let opener = BlobOpener::open(&header, TAG, ANNA, &keys).unwrap();
    assert_eq!(opener.open_chunk(0, &chunks[1].bytes), Err(SealError::Altered));
    assert_eq!(opener.open_chunk(0, &others[0].bytes), Err(SealError::Altered));
    assert!(opener.open_chunk(2, &chunks[1].bytes).is_err());
    assert_eq!(opener.locate(CHUNK_BYTES as u64 + 3), Some((1, 3)));
    assert_eq!(opener.locate(2 * CHUNK_BYTES as u64), None);
}

#[test]
fn a_retired_key_generation_is_replaced_in_the_header_alone() {
    let sealer = sealer();
    let (header, chunks) = store(&sealer, b"to both");
    let parsed = BlobHeader::parse(&header).unwrap();
    let second = (KeyGeneration(2), &key(3));
    let (rewrapped, hash) = parsed.rewrap(&sealer, BERT, &keys, second).unwrap();
    assert_eq!(hash, *blake3::hash(&rewrapped).as_bytes());
    let only_new = |account, generation| match generation {
        FIRST if account == BERT => None,
        _ => keys(account, generation),
    };
    assert!(BlobOpener::open(&header, TAG, BERT, &only_new).is_err());
    for account in [ANNA, BERT] {
        let opener = BlobOpener::open(&rewrapped, TAG, account, &only_new).unwrap();
        assert_eq!(read(&opener, &chunks), b"to both");
    }
}

#[test]
fn a_dictionary_is_named_by_the_chunk_and_needed_to_open_it() {
    let text = b"Received: from mail.example.org by mx.example.net with ESMTPS ".repeat(8);
    let dictionary = Arc::new(Dictionary::new(&text, 1).unwrap());
    let compression = Compression::Dictionary(dictionary.clone());
    let body = b"Received: from mail.example.org by mx.example.net with ESMTPS id 7";
    let accounts = [(ANNA, FIRST, &key(1))];
    let length = body.len() as u64;
    let blob = BlobSealer::new(&sealer(), TAG, &accounts, length, compression).unwrap();
    let header = blob.header().0.to_vec();
    let chunks = blob.seal_body(body);
    assert!(chunks[0].bytes.len() < body.len());
    let opener = BlobOpener::open(&header, TAG, ANNA, &keys).unwrap();
    let refused = opener.open_chunk(0, &chunks[0].bytes);
    assert_eq!(refused, Err(SealError::NoDictionary(dictionary.hash().0)));
    let name = format!("{:016x}", u64::from_be_bytes(dictionary.hash().0));
    assert!(refused.unwrap_err().to_string().contains(&name), "the error names it");
    let plain = opener.open_chunk_with(0, &chunks[0].bytes, &|_| Some(dictionary.clone()));
    assert_eq!(plain.unwrap(), body);
}

#[test]
fn small_mail_is_sealed_with_the_dictionaries_of_the_binary() {
    let body = crate::message::generator::Generator::new(1).message(3000);
    let summary = crate::message::Summary::parse(&body).encode();
    let accounts = [(ANNA, FIRST, &key(1))];
    let sealed = |compression| {
        let lengths = (body.len() as u64, summary.len() as u32);
        let sealer = sealer();
        let mut blob = BlobSealer::with_summary(&sealer, TAG, &accounts, lengths, compression);
        let blob = blob.as_mut().unwrap();
        (blob.header().0.to_vec(), [blob.seal_chunk(&body), blob.seal_chunk(&summary)])
    };
    let (header, with) = sealed(Compression::BuiltIn);
    let (_, without) = sealed(Compression::Zstd(1));
    for (with, without) in with.iter().zip(&without) {
        assert!(with.bytes.len() < without.bytes.len(), "a dictionary that does not pay");
    }
    let opener = BlobOpener::open(&header, TAG, ANNA, &keys).unwrap();
    assert_eq!(opener.open_chunk(0, &with[0].bytes).unwrap(), body, "nobody has to bring them");
    assert_eq!(opener.open_chunk(1, &with[1].bytes).unwrap(), summary);
}

#[test]
fn a_blob_has_one_to_as_many_accounts_as_one_delivery() {
    let (sealer, key) = (sealer(), key(1));
    let many: Vec<_> =
        (0..=BLOB_ACCOUNTS_MAX as u64).map(|n| (AccountNumber(n), FIRST, &key)).collect();
    let new = |accounts| BlobSealer::new(&sealer, TAG, accounts, 1, Compression::Off);
    assert!(new(&[]).is_err());
    assert!(new(&many).is_err());
    let blob = new(&many[1..]).unwrap();
    assert_eq!(blob.header().0.len(), BLOB_HEADER_BYTES_MAX);
    assert!(
        BlobOpener::open(blob.header().0, TAG, AccountNumber(700), &|_, _| Some(key.clone()))
            .is_ok()
    );
}

#[test]
#[ignore = "prints how long a mail takes; run it with --release"]
fn a_mail_of_twenty_kilobytes_is_sealed_quickly() {
    let sealer = Sealer::system();
    let mut body = noise(7000);
    body.extend(b"On Monday, somebody wrote: > all work and no play\r\n".repeat(250));
    let start = std::time::Instant::now();
    for _ in 0..2000 {
        std::hint::black_box(store(&sealer, &body));
    }
    eprintln!("{} bytes: {:?} each", body.len(), start.elapsed() / 2000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_anywhere_in_a_blob_is_noticed(
        body in prop::collection::vec(any::<u8>(), 0..400),
        place: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let (mut header, mut chunks) = store(&sealer(), &body);
        let opener = BlobOpener::open(&header, TAG, ANNA, &keys).unwrap();
        let in_header = place.index(header.len());
        header[in_header] ^= 1_u8 << bit;
        prop_assert!(BlobOpener::open(&header, TAG, ANNA, &keys).is_err());
        let in_chunk = place.index(chunks[0].bytes.len());
        chunks[0].bytes[in_chunk] ^= 1_u8 << bit;
        prop_assert_eq!(opener.open_chunk(0, &chunks[0].bytes), Err(SealError::Altered));
    }

    #[test]
    fn a_body_comes_back_whatever_it_holds(
        body in prop::collection::vec(any::<u8>(), 0..2000),
        times in 1..300_usize,
    ) {
        let body = body.repeat(times);
        let (header, chunks) = store(&sealer(), &body);
        let opener = BlobOpener::open(&header, TAG, BERT, &keys).unwrap();
        prop_assert_eq!(read(&opener, &chunks), body);
    }
}
