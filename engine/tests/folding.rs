//! What is folded comes back, bit for bit: every message of the corpus, and its archives cut
//! anywhere.
//!
//! The corpus is found by `PILLARBOX_CORPUS`, default `../shared/corpus` beside the workspace;
//! without it generated mail is used, and a printed line says so.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use engine::ids::{AccountNumber, BlobTag, KeyGeneration, PartHash};
use engine::limits::CHUNK_BYTES;
use engine::message::generator::Generator;
use engine::seal::{BlobOpener, BlobSealer, Compression, KEY_BYTES, Key, MessageParts, Sealer};

const ACCOUNT: AccountNumber = AccountNumber(7);
const TAG: BlobTag = BlobTag([7; 16]);

fn key() -> Key {
    Key::take(&mut [1; KEY_BYTES])
}

/// Seals a body and opens it again; answers its sealed bytes.
fn sealed(sealer: &Sealer, body: &[u8], compression: Compression) -> usize {
    let accounts = [(ACCOUNT, KeyGeneration(1), &key())];
    let length = u64::try_from(body.len()).unwrap();
    let blob = BlobSealer::new(sealer, TAG, &accounts, length, compression).unwrap();
    let header = blob.header().0.to_vec();
    let opener = BlobOpener::open(&header, TAG, ACCOUNT, &|_, _| Some(key())).unwrap();
    let mut opened = Vec::with_capacity(body.len());
    let mut count = 0;
    for chunk in blob.seal_body(body) {
        count += chunk.bytes.len();
        opened.extend(opener.open_chunk(chunk.number, &chunk.bytes).unwrap());
    }
    assert!(opened == body, "a message did not come back as it was");
    count
}

/// The same, of which the parts are kept elsewhere; answers its sealed bytes, and adds the parts
/// that were not seen before.
fn sealed_without_parts(
    sealer: &Sealer,
    body: &[u8],
    seen: &mut HashMap<PartHash, usize>,
) -> usize {
    let hash = |bytes: &[u8]| PartHash(blake3::hash(bytes).into());
    let found = MessageParts::find(body, &hash);
    let accounts = [(ACCOUNT, KeyGeneration(1), &key())];
    let length = u64::try_from(body.len()).unwrap();
    let mut blob = BlobSealer::new(sealer, TAG, &accounts, length, Compression::Folded).unwrap();
    let header = blob.header().0.to_vec();
    let opener = BlobOpener::open(&header, TAG, ACCOUNT, &|_, _| Some(key())).unwrap();
    let mut opened = Vec::with_capacity(body.len());
    let mut count = 0;
    for chunk in body.chunks(CHUNK_BYTES) {
        let mut sealed = blob.seal_chunk_naming_parts(chunk, &found);
        count += sealed.bytes.len();
        let mut source = &found;
        opener
            .open_chunk_and_parts(sealed.number, &mut sealed.bytes, &mut source, &mut opened)
            .unwrap();
    }
    assert!(opened == body, "a message with parts did not come back as it was");
    for part in found.parts() {
        let seal = || sealed(sealer, &part.bytes, Compression::Folded);
        seen.entry(part.hash).or_insert_with(seal);
    }
    count
}

fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(message.len() + message.len() / 40);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                converted.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                converted.extend_from_slice(b"\r\n");
            }
            None => converted.extend_from_slice(line),
        }
    }
    converted
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { files(&entry, found) } else { found.push(entry) }
    }
}

#[test]
fn every_message_of_the_corpus_comes_back_as_it_was() {
    let corpus = match std::env::var_os("PILLARBOX_CORPUS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    };
    let sealer = Sealer::system();
    let (mut plain, mut before, mut after, mut apart) = (0, 0, 0, 0);
    let mut parts = HashMap::new();
    let mut both_ways = |body: &[u8]| {
        plain += body.len();
        before += sealed(&sealer, body, Compression::BuiltIn);
        after += sealed(&sealer, body, Compression::Folded);
        apart += sealed_without_parts(&sealer, body, &mut parts);
    };
    let mut found = Vec::new();
    files(&corpus.join("mime"), &mut found);
    for path in &found {
        let message = fs::read(path).unwrap();
        both_ways(&message);
        both_ways(&with_crlf(&message));
    }
    let mut archives = Vec::new();
    files(&corpus.join("lists"), &mut archives);
    for path in archives.iter().filter(|path| path.extension().is_some_and(|name| name == "zst")) {
        let file = fs::File::open(path).unwrap();
        let mut reader = zstd::stream::read::Decoder::new(file).unwrap();
        // No multiple of a line, so that base64 is cut everywhere.
        let mut piece = vec![0; CHUNK_BYTES * 3 - 1009];
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            both_ways(piece.get(..count).unwrap());
        }
    }
    if found.is_empty() {
        println!("no corpus at PILLARBOX_CORPUS or ../shared/corpus: generated mail is used");
        let mut generator = Generator::new(3);
        (0..1000).for_each(|number| both_ways(&generator.message(number * 20)));
    }
    let part_bytes: usize = parts.values().sum();
    println!("{plain} bytes: sealed {before}, folded {after}");
    println!("without parts {apart}, {} parts {part_bytes}", parts.len());
    assert!(after <= before + before / 1000, "folding made mail larger");
}
