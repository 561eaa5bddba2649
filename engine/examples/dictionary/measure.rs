//! What a message costs sealed: bytes and CPU, by size, without and with the dictionaries.
//!
//! Question: how much smaller does each way of compressing make mail, and at what CPU? Dataset:
//! every file below the folders, a message each, with CRLF line ends. Unit: sealed bytes (header,
//! body, summary) a byte of mail; microseconds of CPU a message, of one round. The kernel adds up a
//! running thread's time in steps of some milliseconds: figures of few or small messages are
//! coarse. `DICTIONARIES` names another folder of dictionaries to try.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::ids::{AccountNumber, BlobTag, KeyGeneration};
use engine::message::Summary;
use engine::seal::{
    BlobOpener, BlobSealer, Compression, Dictionary, DictionaryHash, Key, SealedChunk, Sealer,
};

const CLASSES: [(&str, usize); 6] = [
    ("to 2 KiB", 2 << 10),
    ("to 4 KiB", 4 << 10),
    ("to 8 KiB", 8 << 10),
    ("to 16 KiB", 16 << 10),
    ("to 64 KiB", 64 << 10),
    ("more", usize::MAX),
];
const ROUNDS: usize = 1;
const ACCOUNT: AccountNumber = AccountNumber(1);

struct Mail {
    body: Vec<u8>,
    summary: Vec<u8>,
}

struct Way {
    name: String,
    body: Compression,
    /// Where it differs; the summary is then sealed as a blob of its own.
    summary: Option<Compression>,
    dictionaries: Vec<Arc<Dictionary>>,
}

pub(crate) fn run(folders: &[&str]) {
    let mut mails = Vec::new();
    for folder in folders {
        read(Path::new(folder), &mut mails);
    }
    let ways = ways();
    for (index, (name, below)) in CLASSES.iter().enumerate() {
        let above = index.checked_sub(1).and_then(|before| CLASSES.get(before)).map_or(0, |c| c.1);
        let class: Vec<&Mail> =
            mails.iter().filter(|m| m.body.len() > above && m.body.len() <= *below).collect();
        table(name, &class, &ways);
    }
    table("all", &mails.iter().collect::<Vec<_>>(), &ways);
}

fn ways() -> Vec<Way> {
    let zstd = |level| Way {
        name: format!("zstd {level}"),
        body: Compression::Zstd(level),
        summary: None,
        dictionaries: Vec::new(),
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/seal/dictionaries");
    let folder = std::env::var_os("DICTIONARIES").map_or(folder, Into::into);
    let read = |name: &str, level| {
        let bytes = std::fs::read(folder.join(name)).expect("a dictionary");
        Arc::new(Dictionary::new(&bytes, level).expect("a dictionary"))
    };
    let with = |level| {
        let (mail, summary) = (read("mail.dict", level), read("summary.dict", level));
        Way {
            name: format!("dictionaries {level}"),
            body: Compression::Dictionary(Arc::clone(&mail)),
            summary: Some(Compression::Dictionary(Arc::clone(&summary))),
            dictionaries: vec![mail, summary],
        }
    };
    let of_level =
        |name: &str, body| Way { name: name.into(), body, summary: None, dictionaries: Vec::new() };
    let built_in = of_level("level 2", Compression::BuiltIn);
    let folded = of_level("level 3", Compression::Folded);
    vec![zstd(1), zstd(3), with(1), with(3), built_in, folded]
}

fn read(path: &Path, mails: &mut Vec<Mail>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a folder") {
            read(&entry.expect("an entry").path(), mails);
        }
        return;
    }
    let bytes = std::fs::read(path).expect("a file");
    let mut body = Vec::with_capacity(bytes.len() + bytes.len() / 32);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                body.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                body.extend_from_slice(b"\r\n");
            }
            None => body.extend_from_slice(line),
        }
    }
    let summary = Summary::parse(&body).encode();
    mails.push(Mail { body, summary });
}

#[expect(clippy::as_conversions, reason = "sums of bytes become ratios")]
fn table(class: &str, mails: &[&Mail], ways: &[Way]) {
    let plain: usize = mails.iter().map(|mail| mail.body.len()).sum();
    println!("{class}: {} messages, {:.1} MB", mails.len(), plain as f64 / 1e6);
    for way in ways {
        let (mut bytes, mut seal, mut open) = ((0, 0), Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let round = measure(mails, way);
            bytes = round.0;
            seal = seal.min(round.1);
            open = open.min(round.2);
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / mails.len().max(1) as f64;
        println!(
            "  {:15} sealed {:.3}, summary {:.0} bytes each; seal {:.1} µs, open {:.1} µs",
            way.name,
            (bytes.0 + bytes.1) as f64 / plain as f64,
            bytes.1 as f64 / mails.len().max(1) as f64,
            each(seal),
            each(open)
        );
    }
}

/// Bytes of bodies with their headers, and of summaries; CPU time to seal and to open bodies.
fn measure(mails: &[&Mail], way: &Way) -> ((usize, usize), Duration, Duration) {
    let sealer = Sealer::system();
    let key = Key::take(&mut [1; 32]);
    let dictionaries = |hash: DictionaryHash| {
        way.dictionaries.iter().find(|dictionary| dictionary.hash() == hash).cloned()
    };
    let begin = cpu_time();
    let blobs: Vec<_> = mails.iter().map(|mail| sealed(&sealer, &key, mail, way)).collect();
    let seal_time = cpu_time() - begin;
    let mut bytes = (0, 0);
    for (header, body, summary) in &blobs {
        bytes.0 += header.len() + body.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        bytes.1 += summary.len();
    }
    let mut plain = Vec::new();
    let begin = cpu_time();
    for ((header, body, _), mail) in blobs.into_iter().zip(mails) {
        plain.clear();
        let key = |_, _| Some(key.clone());
        let opener = BlobOpener::open(&header, TAG, ACCOUNT, &key).expect("its key");
        for mut chunk in body {
            opener
                .open_chunk_onto(chunk.number, &mut chunk.bytes, &dictionaries, &mut plain)
                .expect("it was just sealed");
        }
        assert!(plain == mail.body, "bit-identical");
    }
    (bytes, seal_time, cpu_time() - begin)
}

/// What this thread had of a core: wall time says little while others use the machine.
fn cpu_time() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = figures.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("nanoseconds first"))
}

const TAG: BlobTag = BlobTag([7; 16]);

/// Header, chunks and sealed summary.
fn sealed(
    sealer: &Sealer,
    key: &Key,
    mail: &Mail,
    way: &Way,
) -> (Vec<u8>, Vec<SealedChunk>, Vec<u8>) {
    let accounts = [(ACCOUNT, KeyGeneration(1), key)];
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).expect("a length");
    let summary_len = u32::try_from(mail.summary.len()).expect("a short summary");
    let lengths = (length(&mail.body), if way.summary.is_some() { 0 } else { summary_len });
    let mut blob = BlobSealer::with_summary(sealer, TAG, &accounts, lengths, way.body.clone())
        .expect("one account");
    let header = blob.header().0.to_vec();
    let mut chunks = Vec::new();
    let mut left = mail.body.as_slice();
    while !blob.next_is_summary() {
        let (chunk, rest) = left.split_at(blob.next_chunk_len().expect("a chunk"));
        chunks.push(blob.seal_chunk(chunk));
        left = rest;
    }
    let summary = match &way.summary {
        None => blob.seal_chunk(&mail.summary),
        Some(compression) => {
            let length = length(&mail.summary);
            BlobSealer::new(sealer, TAG, &accounts, length, compression.clone())
                .expect("one account")
                .seal_body(&mail.summary)
                .remove(0)
        }
    };
    (header, chunks, summary.bytes)
}
