//! Mail to test with: the corpus if it is there, else messages of our own.
//!
//! The corpus lies in `PILLARBOX_CORPUS`, by default in `../shared/corpus` beside the workspace.
//! Tests take a part of it, chosen for variety, and all of it with `PILLARBOX_CORPUS_ALL=1`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::random::Random;
use super::site::files_below;
use super::tool;

/// Unpacking an archive.
const UNPACK_DEADLINE: Duration = Duration::from_secs(120);
/// Of the archives' messages, one in so many is taken unless all are wanted.
const ONE_IN: usize = 60;
/// Messages of our own, where there is no corpus.
const GENERATED_COUNT: usize = 500;

/// One message with CRLF line ends, as mail software would send it.
pub(crate) struct Sample {
    /// Where it came from.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Mail, and where it came from.
pub(crate) struct Mail {
    pub(crate) samples: Vec<Sample>,
    pub(crate) is_corpus: bool,
}

impl Mail {
    /// The corpus or what stands for it.
    pub(crate) fn load() -> Mail {
        let folder = corpus_folder();
        let samples = if folder.is_dir() { from_corpus(&folder) } else { Vec::new() };
        if samples.is_empty() {
            return Mail { samples: generated(), is_corpus: false };
        }
        Mail { samples, is_corpus: true }
    }

    /// The last line of a test with mail: says which mail that was.
    pub(crate) fn last_line(&self, test: &str) {
        let count = self.samples.len();
        let bytes: usize = self.samples.iter().map(|sample| sample.bytes.len()).sum();
        let source = if self.is_corpus {
            "of the corpus".to_owned()
        } else {
            format!("GENERATED, because there is no corpus at {}", corpus_folder().display())
        };
        println!("{test}: {count} messages, {bytes} bytes, {source}");
    }
}

fn corpus_folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    std::env::var_os("PILLARBOX_CORPUS").map_or(beside, PathBuf::from)
}

fn from_corpus(folder: &Path) -> Vec<Sample> {
    let all = std::env::var_os("PILLARBOX_CORPUS_ALL").is_some();
    let mut samples = read_folder(&folder.join("mime"), 1);
    let Ok(archives) = files_below(&folder.join("lists")) else { return samples };
    for archive in archives {
        if !archive.to_string_lossy().ends_with(".tar.zst") {
            continue;
        }
        let unpacked = tempfile::tempdir().unwrap();
        let mut tar = Command::new("tar");
        tar.arg("--zstd").arg("-xf").arg(&archive).arg("-C").arg(unpacked.path());
        tool::run(&mut tar, b"", UNPACK_DEADLINE).well("tar --zstd (is zstd installed?)");
        samples.extend(read_folder(unpacked.path(), if all { 1 } else { ONE_IN }));
    }
    samples
}

fn read_folder(folder: &Path, one_in: usize) -> Vec<Sample> {
    let files = files_below(folder).unwrap_or_default();
    let messages = files.into_iter().filter(|file| file.extension().is_some_and(|e| e == "eml"));
    let chosen = messages.step_by(one_in);
    chosen
        .map(|file| Sample {
            name: file.strip_prefix(folder).unwrap_or(&file).display().to_string(),
            bytes: with_crlf(&std::fs::read(&file).unwrap()),
        })
        .filter(|sample| !sample.bytes.is_empty())
        .collect()
}

/// Every LF without a CR gets one; other CRs stay where they are.
pub(crate) fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(message.len() + message.len() / 32);
    for (index, &byte) in message.iter().enumerate() {
        if byte == b'\n' && (index == 0 || message[index - 1] != b'\r') {
            converted.push(b'\r');
        }
        converted.push(byte);
    }
    converted
}

/// Messages of our own: sizes from nothing to 2 MB, odd charsets, odd line ends, odd structure.
fn generated() -> Vec<Sample> {
    let mut random = Random::new(1);
    let mut samples: Vec<Sample> =
        (0..GENERATED_COUNT).map(|number| generated_one(number, &mut random)).collect();
    let odd: [(&str, &[u8]); 8] = [
        ("no-header", b"\r\nonly a body\r\n"),
        ("no-body", b"Subject: header only\r\n\r\n"),
        ("no-empty-line", b"Subject: neither body nor empty line\r\n"),
        ("dots", b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...\r\nend\r\n"),
        ("from-line", b"From somebody Mon Jan  1 00:00:00 2001\r\nSubject: mbox\r\n\r\nx\r\n"),
        ("eight-bit", b"Subject: \xe4\xf6\xfc\r\n\r\n\xff\xfe\xe9\r\n"),
        ("bare-cr", b"Subject: carriage\r\n\r\na\rb\r\n"),
        ("blank-lines", b"Subject: blank\r\n\r\n\r\n\r\n\r\n"),
    ];
    samples
        .extend(odd.map(|(name, bytes)| Sample { name: name.to_owned(), bytes: bytes.to_vec() }));
    samples
}

fn generated_one(number: usize, random: &mut Random) -> Sample {
    let line_count = match number % 50 {
        0 => 30_000,
        1..5 => 2000,
        _ => random.below(80),
    };
    let mut text = format!(
        "From: sender{}@example.com\r\nTo: demo@example.org\r\nSubject: generated {number}\r\n\
         Message-ID: <{number}.{:x}@example.com>\r\nMIME-Version: 1.0\r\n",
        random.below(50),
        random.next()
    );
    let is_multipart = number.is_multiple_of(3);
    if is_multipart {
        text += "Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\n";
    }
    text += "Content-Type: text/plain; charset=utf-8\r\n\r\n";
    for _ in 0..line_count {
        let words = (0..random.below(12)).map(|_| *random.pick(&WORDS));
        text += &words.collect::<Vec<_>>().join(" ");
        text += "\r\n";
    }
    if is_multipart {
        text += "\r\n--=_b\r\nContent-Type: application/octet-stream\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\nAAECAwQFBgcICQ==\r\n--=_b--\r\n";
    }
    Sample { name: format!("generated-{number}"), bytes: text.into_bytes() }
}

const WORDS: [&str; 16] = [
    "letter",
    "post",
    "stamp",
    "seal",
    "envelope",
    "Straße",
    "почта",
    "郵便",
    "log",
    "pillar",
    ".",
    "wax",
    "tied",
    "with",
    "string",
    "kept",
];
