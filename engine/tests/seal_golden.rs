//! The formats of sealed things, byte for byte: what an older version wrote must open for ever.
//!
//! The files in `tests/golden/seal_*.bin` are made with a counting source of randomness. They
//! change only with a new format version; `cargo test -p pillarbox-engine --test seal_golden --
//! --ignored` writes them anew.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::disk::{Disk, PlainDisk};
use engine::ids::{AccountNumber, BlobTag, KeyGeneration, Lsn, VolumeId};
use engine::seal::{
    Aad, Argon2Cost, BlobOpener, BlobSealer, Compression, Key, KeyFile, KeyTable, KeyTableSnapshot,
    Passphrase, PreparedPassword, Randomness, RecoveryKey, RootKey, RootKeyFile, SealError, Sealer,
    Secret, StoredPassword, open, seal,
};

struct Counting(AtomicU64);

impl Randomness for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

const ANNA: AccountNumber = AccountNumber(0x1111);
const BERT: AccountNumber = AccountNumber(0x2222);
const FIRST: KeyGeneration = KeyGeneration(1);
const TAG: BlobTag = BlobTag([7; 16]);
const BODY: &[u8] = b"Subject: golden\r\n\r\nWhat was written opens for ever.\r\n";
const MAIL: &[u8] = b"From: Anna <anna@example.org>\r\nSubject: golden\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
    Please let me know if you have any questions or need more information.\r\n";
const SUMMARY: &[u8] = b"\x04text\x05plain\x01\x07charset\x05utf-8\x048bit\
    In-Reply-To: <1@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n";
const RECORD: Aad<'static> = Aad::Record { kind: 1, account: ANNA, lsn: Lsn::ZERO };

fn key(seed: u8) -> Key {
    Key::take(&mut [seed; 32])
}

fn passphrase() -> Passphrase {
    Passphrase::new(Secret::new("golden passphrase".into()), Argon2Cost::CHEAP).unwrap()
}

/// Every format: its name and its bytes.
fn golden_password() -> PreparedPassword {
    PreparedPassword::new(&Secret::new("golden password".into())).unwrap()
}

fn written() -> Vec<(&'static str, Vec<u8>)> {
    let sealer = Sealer::new(Box::new(Counting(AtomicU64::new(0))));
    let object = seal(&sealer, &key(1), RECORD, BODY);
    let accounts = [(ANNA, FIRST, &key(1)), (BERT, FIRST, &key(2))];
    let length = u64::try_from(BODY.len()).unwrap();
    let blob = BlobSealer::new(&sealer, TAG, &accounts, length, Compression::Off).unwrap();
    let header = blob.header().0.to_vec();
    let chunk = blob.seal_body(BODY).remove(0).bytes;
    let (file, root, recovery) = RootKeyFile::create(&sealer, &passphrase()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let volume = VolumeId([3; 16]);
    let disk: Arc<dyn Disk> = Arc::new(PlainDisk);
    let table = KeyTable::create(&disk, folder.path(), &sealer, &root, volume, 1).unwrap();
    table.add_account(ANNA).unwrap();
    table.add_account(BERT).unwrap();
    // What a second generation drew in the key table of level 1, which is only read since.
    (0..2).for_each(|_| drop(seal(&sealer, &key(1), RECORD, b"")));
    let password = StoredPassword::make(&sealer, &golden_password(), Argon2Cost::CHEAP).unwrap();
    vec![
        ("seal_object.bin", object),
        ("seal_blob_header.bin", header),
        ("seal_blob_chunk.bin", chunk),
        ("seal_root_key.bin", file.encode()),
        ("seal_recovery_key.bin", recovery.show().expose().as_bytes().to_vec()),
        ("seal_key_table_3.bin", table_of_level_3(&root)),
        ("seal_password.bin", password.encode().to_vec()),
        ("key_file.txt", key_file(&folder.path().join("key"))),
    ]
}

/// A key table with generations, and with the keys that hash content.
fn table_of_level_3(root: &RootKey) -> Vec<u8> {
    let sealer = Sealer::new(Box::new(Counting(AtomicU64::new(77))));
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(PlainDisk);
    let volume = VolumeId([3; 16]);
    let table = KeyTable::create(&disk, folder.path(), &sealer, root, volume, 1).unwrap();
    table.add_account_with_naming(ANNA).unwrap();
    table.add_account(BERT).unwrap();
    table.new_generations(&[ANNA, BERT]).unwrap();
    table.snapshot().encode()
}

/// A blob whose chunks need the dictionaries of the binary. It is read for ever, but not compared
/// with what is written: another version of zstd may find a shorter frame.
fn with_dictionaries() -> [(&'static str, Vec<u8>); 3] {
    let sealer = Sealer::new(Box::new(Counting(AtomicU64::new(9))));
    let length = u64::try_from(MAIL.len()).unwrap();
    let summary_length = u32::try_from(SUMMARY.len()).unwrap();
    let accounts = [(ANNA, FIRST, &key(1))];
    let lengths = (length, summary_length);
    let mut blob =
        BlobSealer::with_summary(&sealer, TAG, &accounts, lengths, Compression::BuiltIn).unwrap();
    let header = blob.header().0.to_vec();
    let (body, summary) = (blob.seal_chunk(MAIL).bytes, blob.seal_chunk(SUMMARY).bytes);
    [
        ("seal_dictionary_header.bin", header),
        ("seal_dictionary_body.bin", body),
        ("seal_dictionary_summary.bin", summary),
    ]
}

/// A message with base64 in it, as it lies in a blob of its own.
fn with_base64() -> Vec<u8> {
    let mut mail = MAIL.to_vec();
    for _ in 0..4 {
        mail.extend([b'Q'; 76]);
        mail.extend(b"\r\n");
    }
    mail.extend(b"UXVlZW4=\r\nThe end.\r\n");
    mail
}

/// A blob whose chunk was folded; as for those with dictionaries.
fn folded() -> [(&'static str, Vec<u8>); 2] {
    let sealer = Sealer::new(Box::new(Counting(AtomicU64::new(19))));
    let mail = with_base64();
    let length = u64::try_from(mail.len()).unwrap();
    let accounts = [(ANNA, FIRST, &key(1))];
    let blob = BlobSealer::new(&sealer, TAG, &accounts, length, Compression::Folded).unwrap();
    let header = blob.header().0.to_vec();
    let body = blob.seal_body(&mail).remove(0).bytes;
    [("seal_folded_header.bin", header), ("seal_folded_body.bin", body)]
}

/// Packed blobs of that message and its summary, the second with a masked key; as for those with
/// dictionaries.
fn packed() -> [(&'static str, Vec<u8>); 2] {
    let mail = with_base64();
    let accounts = [(ANNA, FIRST, &key(1))];
    let lengths = (u64::try_from(mail.len()).unwrap(), u32::try_from(SUMMARY.len()).unwrap());
    let streamed = || Compression::Streamed;
    let made = |seed: u64, begin: &dyn Fn(&Sealer) -> Result<BlobSealer, SealError>| {
        let blob = begin(&Sealer::new(Box::new(Counting(AtomicU64::new(seed))))).unwrap();
        blob.seal_packed(&mail, SUMMARY).remove(0).bytes
    };
    let sealed =
        made(29, &|sealer| BlobSealer::with_summary(sealer, TAG, &accounts, lengths, streamed()));
    let masked =
        made(39, &|sealer| BlobSealer::to_pack(sealer, TAG, &accounts, lengths, streamed()));
    [("seal_packed_4.bin", sealed), ("seal_packed_5.bin", masked)]
}

#[test]
fn what_was_once_packed_opens() {
    for (name, made) in packed() {
        let item = fs::read(golden(name)).unwrap();
        let opener = BlobOpener::open(&item, TAG, ANNA, &|_, _| Some(key(1))).unwrap();
        let opened = |number| opener.open_chunk(number, opener.piece(number).of(&item).unwrap());
        assert_eq!(opened(0).unwrap(), with_base64());
        assert_eq!(opened(1).unwrap(), SUMMARY);
        assert_eq!(made.len(), item.len(), "{name} was made as it is made now");
    }
}

#[test]
fn what_was_once_folded_opens() {
    let read = |name| fs::read(golden(name)).unwrap();
    let header = read("seal_folded_header.bin");
    let opener = BlobOpener::open(&header, TAG, ANNA, &|_, _| Some(key(1))).unwrap();
    let sealed = read("seal_folded_body.bin");
    let unfolded = {
        let accounts = [(ANNA, FIRST, &key(1))];
        let mail = with_base64();
        let length = u64::try_from(mail.len()).unwrap();
        let sealer = Sealer::new(Box::new(Counting(AtomicU64::new(19))));
        let built_in = Compression::BuiltIn;
        let blob = BlobSealer::new(&sealer, TAG, &accounts, length, built_in).unwrap();
        blob.seal_body(&mail).remove(0).bytes
    };
    assert_ne!(sealed, unfolded, "the file was made without folding");
    assert_eq!(opener.open_chunk(0, &sealed).unwrap(), with_base64());
}

#[test]
fn what_was_once_written_with_a_dictionary_opens() {
    let read = |name| fs::read(golden(name)).unwrap();
    let header = read("seal_dictionary_header.bin");
    let opener = BlobOpener::open(&header, TAG, ANNA, &|_, _| Some(key(1))).unwrap();
    for (number, name, plain) in
        [(0, "seal_dictionary_body.bin", MAIL), (1, "seal_dictionary_summary.bin", SUMMARY)]
    {
        let sealed = read(name);
        assert!(sealed.len() < plain.len(), "{name} was made without a dictionary");
        assert_eq!(opener.open_chunk(number, &sealed).unwrap(), plain);
    }
}

/// Drawn from a source of its own, so that the others stay as they were.
fn key_file(path: &Path) -> Vec<u8> {
    KeyFile::create(path, &Counting(AtomicU64::new(7))).unwrap();
    fs::read(path).unwrap()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

#[test]
fn every_format_is_written_as_it_always_was() {
    for (name, bytes) in written() {
        assert_eq!(fs::read(golden(name)).unwrap(), bytes, "{name} changed without a new version");
    }
}

#[test]
fn what_was_once_written_opens() {
    let read = |name| fs::read(golden(name)).unwrap();
    assert_eq!(open(&key(1), RECORD, &read("seal_object.bin")).unwrap(), BODY);
    let keys = |account, _| Some(if account == ANNA { key(1) } else { key(2) });
    for account in [ANNA, BERT] {
        let opener = BlobOpener::open(&read("seal_blob_header.bin"), TAG, account, &keys).unwrap();
        assert_eq!(opener.open_chunk(0, &read("seal_blob_chunk.bin")).unwrap(), BODY);
    }
    let file = RootKeyFile::decode(&read("seal_root_key.bin")).unwrap();
    let root = file.unlock(&passphrase()).unwrap();
    let recovery = String::from_utf8(read("seal_recovery_key.bin")).unwrap();
    file.verify_recovery(&RecoveryKey::parse(&recovery).unwrap()).unwrap();
    let table = KeyTableSnapshot::decode(&read("seal_key_table.bin"), &root).unwrap();
    assert_eq!(table.accounts().collect::<Vec<_>>(), [ANNA, BERT]);
    assert_eq!(table.current(BERT).unwrap().0, KeyGeneration(2));
    let table = KeyTableSnapshot::decode(&read("seal_key_table_3.bin"), &root).unwrap();
    assert_eq!(table.retired().collect::<Vec<_>>(), [(ANNA, FIRST), (BERT, FIRST)]);
    let zero = KeyGeneration(0);
    assert_eq!(table.naming(ANNA).unwrap().expose(), table.key(ANNA, zero).unwrap().expose());
    let key_file = KeyFile::parse(&golden("key_file.txt"), &read("key_file.txt")).unwrap();
    let (file, ..) = RootKeyFile::create(&Sealer::system(), &key_file).unwrap();
    let mut drawn = [0; 32];
    Counting(AtomicU64::new(7)).fill(&mut drawn);
    let raw = KeyFile::parse(Path::new("raw"), &drawn).unwrap();
    file.unlock(&raw).expect("32 raw bytes are the same key as their hexadecimal digits");
    let password = StoredPassword::decode(&read("seal_password.bin")).unwrap();
    assert!(password.verify(&golden_password()));
}

#[test]
#[ignore = "writes the golden files anew: only with a new format version"]
fn write_golden_files() {
    let of_zstd = with_dictionaries().into_iter().chain(folded()).chain(packed());
    for (name, bytes) in written().into_iter().chain(of_zstd) {
        fs::write(golden(name), bytes).unwrap();
    }
}
