//! Fuzz bodies of keys and sealed things; see [`crate::fuzzing`].
//!
//! Randomness is counted, so that an input that breaks a promise breaks it every time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::aad::{Aad, WrappedKey};
use super::blob::{BLOB_HEADER_BYTES_MAX, BlobHeader, BlobOpener, BlobSealer};
use super::compress::{self, Compression, Content};
use super::derive::{Randomness, Sealer};
use super::error::SealError;
use super::index_file::IndexFile;
use super::key::{KEY_BYTES, Key};
use super::key_table::KeyTableSnapshot;
use super::object;
use super::parts::{self, MessageParts, NoParts, PartSource};
use super::password::StoredPassword;
use super::recipe;
use super::recovery_key::RecoveryKey;
use super::root_key::{RootKey, RootKeyFile};
use super::stream::{Begin, Stream};
use crate::fuzzing::{edit, split};
use crate::ids::{AccountNumber, BlobTag, KeyGeneration, Lsn, PartHash, VolumeId};
use crate::limits::CHUNK_BYTES;
use crate::width::{u32_of, u64_of};

struct Counted(AtomicU64);

impl Randomness for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(bytes);
    }
}

fn sealer() -> Sealer {
    Sealer::new(Box::new(Counted(AtomicU64::new(0))))
}

fn key(seed: u8) -> Key {
    Key::take(&mut [seed; KEY_BYTES])
}

/// A sealed object: nobody forges one, and no altered one opens.
pub(crate) fn sealed_object(bytes: &[u8]) {
    let aad = Aad::Record { kind: 1, account: AccountNumber(1), lsn: Lsn::ZERO };
    assert!(object::open(&key(1), aad, bytes).is_err(), "a forged object opened");
    let (plain, edits) = split(bytes);
    let sealed = object::seal(&sealer(), &key(1), aad, plain);
    assert_eq!(object::open(&key(1), aad, &sealed).ok().as_deref(), Some(plain));
    let mut altered = sealed.clone();
    edit(&mut altered, edits);
    if altered != sealed {
        assert!(object::open(&key(1), aad, &altered).is_err(), "an altered object opened");
    }
}

/// A blob's header: read without a key, and opened with one.
pub(crate) fn blob_header(bytes: &[u8]) {
    if let Ok(header) = BlobHeader::parse(bytes) {
        let stored = header.as_stored();
        assert!(stored.len() <= BLOB_HEADER_BYTES_MAX);
        assert!(bytes.starts_with(&stored), "every field has a fixed width");
    }
    let (body, edits) = split(bytes);
    let tag = BlobTag([7; 16]);
    let (anna, bert) = (AccountNumber(1), AccountNumber(2));
    let keys = |account: AccountNumber, _| Some(key(if account == anna { 1 } else { 2 }));
    let accounts = [(anna, KeyGeneration(1), &key(1)), (bert, KeyGeneration(1), &key(2))];
    let sealer = sealer();
    let blob = BlobSealer::new(&sealer, tag, &accounts, u64_of(body.len()), Compression::Zstd(1));
    let blob = blob.expect("two accounts and a small body are within every bound");
    let header = blob.header().0.to_vec();
    let opener = BlobOpener::open(&header, tag, bert, &keys).expect("it is one of his");
    let chunks = blob.seal_body(body);
    let mut opened = Vec::new();
    for chunk in &chunks {
        opened.extend(opener.open_chunk(chunk.number, &chunk.bytes).expect("it was just sealed"));
    }
    assert_eq!(opened, body);
    let mut altered = header.clone();
    edit(&mut altered, edits);
    if altered != header {
        // Nothing of it may be trusted for anybody, not even by whose entry is as it was.
        assert!(BlobOpener::open(&altered, tag, anna, &keys).is_err());
        assert!(BlobOpener::open(&altered, tag, bert, &keys).is_err());
    }
    masked_header(body, edits);
}

/// The same of a packed blob, whose header masks the content key.
fn masked_header(body: &[u8], edits: &[u8]) {
    const SUMMARY: &[u8] = b"a summary";
    let tag = BlobTag([7; 16]);
    let (anna, bert) = (AccountNumber(1), AccountNumber(2));
    let keys = |account: AccountNumber, _| Some(key(if account == anna { 1 } else { 2 }));
    let accounts = [(anna, KeyGeneration(1), &key(1)), (bert, KeyGeneration(1), &key(2))];
    let lengths = (u64_of(body.len()), u32_of(SUMMARY.len()));
    let blob = BlobSealer::to_pack(&sealer(), tag, &accounts, lengths, Compression::Streamed);
    let blob = blob.expect("two accounts and a small body are within every bound");
    let item = blob.seal_packed(body, SUMMARY).remove(0).bytes;
    let header = BlobHeader::parse(&item).expect("it was just sealed");
    let number = header.chunk_count;
    let header_len = header.piece(number).start;
    let opener = BlobOpener::open(&item, tag, bert, &keys).expect("it is one of his");
    let summary = opener.piece(number).of(&item).expect("it is in the item");
    assert_eq!(opener.open_chunk(number, summary).ok().as_deref(), Some(SUMMARY));
    let mut altered = item.get(..header_len).unwrap_or_default().to_vec();
    edit(&mut altered, edits);
    altered.extend_from_slice(item.get(header_len..).unwrap_or_default());
    if altered != item {
        assert!(BlobOpener::open(&altered, tag, anna, &keys).is_err());
        assert!(BlobOpener::open(&altered, tag, bert, &keys).is_err());
    }
}

/// Every part there could be, of any length: its bytes are counted.
struct Counting;

impl PartSource for Counting {
    fn append(
        &mut self,
        part: &PartHash,
        range: std::ops::Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        assert!(range.len() <= 2 * CHUNK_BYTES, "no more than a chunk needs is asked for");
        let seed = part.0.first().copied().unwrap_or_default();
        let byte = |at: usize| at.to_le_bytes().first().map_or(seed, |low| low ^ seed);
        out.extend(range.map(byte));
        Ok(())
    }
}

/// A recipe that names parts, as it is.
fn recipe_of_parts(folded: &[u8], plain_len: usize) {
    let mut plain = b"before".to_vec();
    let unfolded = parts::unfold(folded, plain_len, &mut Counting, &mut plain);
    assert!(plain.starts_with(b"before"));
    assert_eq!(plain.len() - 6, if unfolded.is_ok() { plain_len } else { 0 });
    // Nothing that is found in it may be taken for what it is not.
    let found = MessageParts::find(folded, &|bytes| PartHash(blake3::hash(bytes).into()));
    if let Some(again) = parts::fold(folded, 0, &found) {
        let mut plain = Vec::new();
        let unfolded = parts::unfold(&again, folded.len(), &mut &found, &mut plain);
        assert!(unfolded.is_ok() && plain == folded);
    }
}

/// A recipe as it is, and what is found in any text.
pub(crate) fn recipe(bytes: &[u8]) {
    let Some((length, folded)) = bytes.split_first_chunk::<4>() else { return };
    let plain_len = crate::width::usize_of_u32(u32::from_le_bytes(*length)).min(CHUNK_BYTES);
    let mut plain = b"before".to_vec();
    recipe_of_parts(folded, plain_len);
    let unfolded = recipe::unfold(folded, plain_len, &mut plain);
    assert!(plain.starts_with(b"before"));
    assert_eq!(plain.len() - 6, if unfolded.is_ok() { plain_len } else { 0 });
    if let Some(folded) = recipe::fold(bytes) {
        assert!(folded.len() < bytes.len(), "folding shortens");
        let mut again = Vec::new();
        recipe::unfold(&folded, bytes.len(), &mut again).expect("it was just folded");
        assert_eq!(again, bytes);
    }
}

/// A summary that begins a stream, as it is, and one of ours with a chunk behind it.
fn begin_of_stream(bytes: &[u8], plain_len: usize) {
    let (stored, blocks) = split(bytes);
    let begin = Begin { stored, summary_len: plain_len };
    let mut plain = b"before".to_vec();
    let read = begin.summary_onto(&mut plain);
    assert_eq!(plain.len() - 6, if read.is_ok() { plain_len } else { 0 });
    plain.truncate(6);
    let read = begin.chunk_onto(blocks, plain_len, &mut plain);
    assert_eq!(plain.len() - 6, if read.is_ok() { plain_len } else { 0 });
    assert!(plain.starts_with(b"before"));
    let (summary, chunk) = split(bytes);
    let (mut stream, mut blocks) = (Stream::new(summary), Vec::new());
    if stream.add(chunk, &mut blocks).is_none() {
        assert!(blocks.is_empty());
        return;
    }
    let stored = stream.into_begin().expect("a chunk was added");
    let begin = Begin { stored: &stored, summary_len: summary.len() };
    let (mut first, mut second) = (Vec::new(), Vec::new());
    begin.summary_onto(&mut first).expect("it was just written");
    begin.chunk_onto(&blocks, chunk.len(), &mut second).expect("it was just written");
    assert!(first == summary && second == chunk);
}

/// What a chunk holds before it is sealed: plain length, then codec and payload.
pub(crate) fn blob_chunk(bytes: &[u8]) {
    let Some((length, chunk)) = bytes.split_first_chunk::<4>() else { return };
    let plain_len = crate::width::usize_of_u32(u32::from_le_bytes(*length)).min(CHUNK_BYTES);
    let mut plain = b"before".to_vec();
    let decoded =
        compress::decode_onto(chunk, plain_len, None, &|_| None, &mut Counting, &mut plain);
    assert!(plain.starts_with(b"before"));
    assert_eq!(plain.len() - 6, if decoded.is_ok() { plain_len } else { 0 });
    begin_of_stream(chunk, plain_len);
    let summary = (Compression::BuiltIn, Content::Summary);
    let bodies = [
        Compression::Off,
        Compression::Zstd(1),
        Compression::BuiltIn,
        Compression::Folded,
        Compression::Streamed,
    ];
    for (compression, content) in
        bodies.map(|way| (way, Content::Body)).into_iter().chain([summary])
    {
        let mut encoded = Vec::new();
        compress::encode(bytes, content, &compression, &mut encoded);
        assert!(encoded.len() <= bytes.len() + 1, "a codec byte is the most that it costs");
        let mut plain = Vec::new();
        let decoded =
            compress::decode_onto(&encoded, bytes.len(), None, &|_| None, &mut NoParts, &mut plain);
        assert!(decoded.is_ok() && plain == bytes);
    }
}

fn with_checksum(body: &[u8]) -> Vec<u8> {
    [body, blake3::hash(body).as_bytes()].concat()
}

/// A key table: as it is, and one of ours with some bytes changed and the checksum put right.
pub(crate) fn key_table(bytes: &[u8]) {
    let root = RootKey::new([1; 16], key(9));
    let _ = KeyTableSnapshot::decode(bytes, &root);
    let _ = KeyTableSnapshot::decode(&with_checksum(bytes), &root);
    let mut table = small_table(&root);
    assert!(KeyTableSnapshot::decode(&with_checksum(&table), &root).is_ok());
    let before = table.clone();
    edit(&mut table, bytes);
    let file = with_checksum(&table);
    match KeyTableSnapshot::decode(&file, &root) {
        Ok(read) => assert_eq!(read.encode(), file, "every field has a fixed width"),
        Err(_) => assert_ne!(table, before),
    }
}

/// A table of two keys, without its checksum.
fn small_table(root: &RootKey) -> Vec<u8> {
    let sealer = sealer();
    let volume = VolumeId([3; 16]);
    let wrap = |what: WrappedKey| {
        object::seal(&sealer, root.key(), Aad::WrappedKey(what), key(4).expose())
    };
    let mut table =
        [b"PBKT".as_slice(), &[1, 0, 0, 0], &volume.0, &[5, 0, 0, 0, 0, 0, 1, 0]].concat();
    table.extend([2, 0, 0, 0, 0, 0, 0, 0]);
    table.extend(wrap(WrappedKey::Volume { volume }));
    for (account, generation) in
        [(AccountNumber(7), KeyGeneration(1)), (AccountNumber(7), KeyGeneration(2))]
    {
        table.extend(account.0.to_le_bytes());
        table.extend(generation.0.to_le_bytes());
        table.extend(wrap(WrappedKey::Account { volume, account, generation }));
    }
    table
}

/// The file of the root key.
pub(crate) fn root_key_file(bytes: &[u8]) {
    let _ = RootKeyFile::decode(bytes);
    // A file of the corpus has a checksum already, which the fuzzer's changes made wrong.
    let body = bytes.get(..bytes.len().saturating_sub(32)).unwrap_or_default();
    for body in [bytes, body] {
        let file = with_checksum(body);
        if let Ok(read) = RootKeyFile::decode(&file) {
            assert_eq!(read.encode(), file, "every field has a fixed width");
        }
    }
}

/// What somebody typed as recovery key.
pub(crate) fn recovery_key(bytes: &[u8]) {
    let typed = String::from_utf8_lossy(bytes);
    if let Ok(key) = RecoveryKey::parse(&typed) {
        let shown = key.show();
        let again = RecoveryKey::parse(shown.expose()).expect("it was just shown");
        assert_eq!(again.show().expose(), shown.expose());
    }
    let drawn = RecoveryKey::random(&Counted(AtomicU64::new(u64_of(bytes.len()))));
    assert!(RecoveryKey::parse(drawn.show().expose()).is_ok());
}

/// A stored password.
pub(crate) fn stored_password(bytes: &[u8]) {
    let Ok(password) = StoredPassword::decode(bytes) else { return };
    assert_eq!(password.encode().as_slice(), bytes, "every field has a stated width");
}

/// A file of the full-text index, for the fuzz body in `search/`.
pub(crate) struct IndexFileUnderTest {
    file: IndexFile,
}

impl IndexFileUnderTest {
    const ACCOUNT: AccountNumber = AccountNumber(1);
    const GENERATION: KeyGeneration = KeyGeneration(1);

    pub(crate) fn new() -> IndexFileUnderTest {
        let file = IndexFile::new(&sealer(), Self::ACCOUNT, Self::GENERATION);
        IndexFileUnderTest { file }
    }

    /// The file, and its header.
    #[cfg(test)]
    pub(crate) fn into_parts(self) -> (IndexFile, [u8; super::INDEX_HEADER_BYTES]) {
        let header = self.file.header(&sealer(), (Self::GENERATION, &key(1)));
        (self.file, header)
    }

    /// What seals its header.
    #[cfg(test)]
    pub(crate) fn parent() -> Key {
        key(1)
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        self.file.header(&sealer(), (Self::GENERATION, &key(1))).to_vec()
    }

    pub(crate) fn opens_header(&self, header: &[u8]) -> bool {
        IndexFile::open(header, &|_, _| Some(key(1))).is_ok()
    }

    pub(crate) fn sealed_block(&self, plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.file.seal_block(0, plain, &mut sealed);
        sealed
    }

    pub(crate) fn opened_block(&self, sealed: &[u8], plain_len: usize) -> Option<Vec<u8>> {
        self.file.open_block(0, sealed, plain_len).ok()
    }
}
