//! Sealed things open for whoever should, and for nobody else; and no bytes make them panic.

mod blobs;
mod keys;
mod packed;
mod passwords;

use proptest::prelude::*;

use super::aead::{Aead, AesGcmReference, AwsLc};
use super::*;
use crate::ids::{AccountNumber, Lsn};

/// Bytes that repeat from run to run: BLAKE3 of a counter.
pub(super) struct Counting(std::sync::atomic::AtomicU64);

impl Counting {
    fn new() -> Counting {
        Counting(std::sync::atomic::AtomicU64::new(0))
    }
}

impl Randomness for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

pub(super) fn sealer() -> Sealer {
    Sealer::new(Box::new(Counting::new()))
}

pub(super) fn key(seed: u8) -> Key {
    Key::take(&mut [seed; 32])
}

pub(super) fn record(account: u64, lsn: u64) -> Aad<'static> {
    let lsn = Lsn::from_bits(lsn).unwrap();
    Aad::Record { kind: 3, account: AccountNumber(account), lsn }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// From "The Galois/Counter Mode of Operation", appendix B, test cases 13, 14 and 16.
#[test]
fn both_ciphers_give_the_published_answers() {
    let zero = "0000000000000000000000000000000000000000000000000000000000000000";
    let real = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532f\
                cf0e2449a6b525b16aedf5aa0de657ba637b39";
    let sealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3d\
                  a7b08b1056828838c5f61e6393ba7a0abcc9f662";
    let cases = [
        (zero, "000000000000000000000000", "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            zero,
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            real,
            "cafebabefacedbaddecaf888",
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            text,
            sealed,
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];
    let ciphers: [&dyn Aead; 2] = [&AwsLc, &AesGcmReference];
    for (key, nonce, aad, plain, sealed, tag) in cases {
        let key: [u8; 32] = hex(key).try_into().unwrap();
        let nonce: [u8; 12] = hex(nonce).try_into().unwrap();
        for cipher in ciphers {
            let mut bytes = hex(plain);
            let found = cipher.seal_in_place(&key, &nonce, &hex(aad), &mut bytes);
            assert_eq!(bytes, hex(sealed), "{}", cipher.name());
            assert_eq!(found.to_vec(), hex(tag), "{}", cipher.name());
        }
    }
}

#[test]
fn equal_mail_sealed_twice_shows_no_equal_bytes() {
    let (sealer, key) = (sealer(), key(1));
    let first = seal(&sealer, &key, record(1, 1), b"the same");
    let second = seal(&sealer, &key, record(1, 1), b"the same");
    assert_ne!(first[40..], second[40..]);
    assert_eq!(open(&key, record(1, 1), &first).unwrap(), b"the same");
    assert_eq!(open(&key, record(1, 1), &second).unwrap(), b"the same");
}

/// A machine cloned while it runs: incarnation and serial are those of the other, its later
/// randomness is not.
struct Cloned(std::sync::atomic::AtomicBool, u8);

impl Randomness for Cloned {
    fn fill(&self, bytes: &mut [u8]) {
        let before_clone = self.0.swap(false, std::sync::atomic::Ordering::Relaxed);
        bytes.fill(if before_clone { 0 } else { self.1 });
    }
}

#[test]
fn a_cloned_machine_repeats_no_salt_and_neither_does_a_poor_random_source() {
    let machine = |later| Sealer::new(Box::new(Cloned(true.into(), later)));
    let (one, other) = (machine(1), machine(2));
    assert_eq!(one.incarnation(), other.incarnation());
    let (first, second) = (one.salt(), one.salt());
    assert_ne!(first, second, "the random source repeats, the serial does not");
    assert_ne!(first, other.salt(), "the serial repeats, the random bytes do not");
}

#[test]
fn a_wrong_key_and_altered_bytes_are_told_apart() {
    let sealed = seal(&sealer(), &key(1), record(1, 1), b"Dear all");
    assert_eq!(open(&key(2), record(1, 1), &sealed), Err(SealError::WrongKey));
    assert_eq!(open(&key(1), record(1, 2), &sealed), Err(SealError::Altered));
    assert_eq!(open(&key(1), record(2, 1), &sealed), Err(SealError::Altered));
    let mut altered = sealed.clone();
    altered[60] ^= 1;
    assert_eq!(open(&key(1), record(1, 1), &altered), Err(SealError::Altered));
    let short = open(&key(1), record(1, 1), &sealed[..71]);
    assert_eq!(short, Err(SealError::Truncated { expected: 72, found: 71 }));
}

#[test]
fn keys_print_nothing() {
    assert_eq!(format!("{:?} {:?}", key(7), Secret::new("x".into())), "Key(…) Secret(…)");
}

#[test]
fn different_things_are_never_bound_by_the_same_bytes() {
    let zero = Lsn::ZERO;
    let account = AccountNumber(0);
    let tag = crate::ids::BlobTag([0; 16]);
    let generation = crate::ids::KeyGeneration(0);
    let volume = crate::ids::VolumeId([0; 16]);
    let all = [
        Aad::Record { kind: 0, account, lsn: zero },
        Aad::StateValue { table: 0, key: &[0; 8], lsn: zero },
        Aad::Chunk { tag, number: 0, count: 0, version: 0 },
        Aad::BlobKey { tag, account, generation },
        Aad::WrappedKey(WrappedKey::RootUnderNode { root: [0; 16] }),
        Aad::WrappedKey(WrappedKey::RootUnderRecovery { root: [0; 16] }),
        Aad::WrappedKey(WrappedKey::Volume { volume }),
        Aad::WrappedKey(WrappedKey::Account { volume, account, generation }),
        Aad::Spool { file: [0; 16], block: 0 },
        Aad::Named { purpose: 0, name: &[0; 8] },
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().map(Aad::encode).collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn hashes_of_names_differ_by_volume_and_by_kind() {
    let (one, other) = (KeyedHash::of_volume(&key(1)), KeyedHash::of_volume(&key(2)));
    let name = one.hash(HashDomain::MailboxName, b"INBOX");
    assert_eq!(name, one.hash(HashDomain::MailboxName, b"INBOX"));
    assert_ne!(name, other.hash(HashDomain::MailboxName, b"INBOX"));
    assert_ne!(name, one.hash(HashDomain::Address, b"INBOX"));
    let content = KeyedHash::of_account(&key(1));
    assert_ne!(content.hash(HashDomain::Content, b""), one.hash(HashDomain::Content, b""));
}

#[test]
fn spool_blocks_open_in_any_order_but_only_in_their_place() {
    let sealer = sealer();
    let (mut file, other) = (SpoolSealer::new(&sealer), SpoolSealer::new(&sealer));
    let mut blocks = vec![vec![1; SPOOL_BLOCK_BYTES], b"the end".to_vec()];
    for block in &mut blocks {
        file.seal_block(block);
    }
    assert_eq!(file.open_block(1, &blocks[1]).unwrap(), b"the end");
    assert_eq!(file.open_block(0, &blocks[0]).unwrap(), vec![1; SPOOL_BLOCK_BYTES]);
    assert_eq!(file.open_block(0, &blocks[1]), Err(SealError::Altered));
    assert_eq!(other.open_block(1, &blocks[1]), Err(SealError::Altered));
    assert!(file.open_block(0, b"short").is_err());
    assert_eq!(file.block_count(), 2);
}

proptest! {
    #[test]
    fn both_ciphers_agree(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..80),
        plain in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let (mut ours, mut theirs) = (plain.clone(), plain.clone());
        let tag = AwsLc.seal_in_place(&key, &nonce, &aad, &mut ours);
        prop_assert_eq!(tag, AesGcmReference.seal_in_place(&key, &nonce, &aad, &mut theirs));
        prop_assert_eq!(&ours, &theirs);
        AwsLc.open_in_place(&key, &nonce, &aad, &mut theirs, &tag).unwrap();
        AesGcmReference.open_in_place(&key, &nonce, &aad, &mut ours, &tag).unwrap();
        prop_assert_eq!(&theirs, &plain);
        prop_assert_eq!(&ours, &plain);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_an_object_is_noticed(
        plain in prop::collection::vec(any::<u8>(), 0..200),
        place: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let mut sealed = seal(&sealer(), &key(1), record(1, 1), &plain);
        let place = place.index(sealed.len());
        sealed[place] ^= 1_u8 << bit;
        let expected = if place < 56 { SealError::WrongKey } else { SealError::Altered };
        prop_assert_eq!(open(&key(1), record(1, 1), &sealed), Err(expected));
    }

    #[test]
    fn random_bytes_open_as_nothing_and_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        prop_assert!(open(&key(1), record(1, 1), &bytes).is_err());
        prop_assert!(BlobHeader::parse(&bytes).is_err());
        prop_assert!(RootKeyFile::decode(&bytes).is_err());
        prop_assert!(StoredPassword::decode(&bytes).is_err());
        let mut plain = b"before".to_vec();
        let decoded =
            compress::decode_onto(&bytes, 300, None, &|_| None, &mut NoParts, &mut plain);
        if decoded.is_err() {
            prop_assert_eq!(&plain, b"before");
        }
        let _ = RecoveryKey::parse(&String::from_utf8_lossy(&bytes));
        let _ = KeyFile::parse("k".as_ref(), &bytes);
    }
}
