//! The messages of the corpus, for tests that compare what is found in them.
//!
//! The corpus is found by `PILLARBOX_CORPUS`, default `../shared/corpus` beside the workspace;
//! without it generated mail takes its place, and a printed line says so.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use engine::message::generator::Generator;

/// All of them, with CRLF.
pub(crate) fn messages() -> Vec<Vec<u8>> {
    let corpus = match std::env::var_os("PILLARBOX_CORPUS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    };
    let mut found = Vec::new();
    collect(&corpus, &mut found);
    if found.is_empty() {
        println!("no corpus at PILLARBOX_CORPUS or ../shared/corpus: generated mail is used");
        let mut generator = Generator::new(5);
        found.extend((0..2000).map(|number| generator.message(number * 20)));
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, found);
        } else if name.ends_with(".eml") {
            found.push(with_crlf(&fs::read(&path).unwrap()));
        } else if name.ends_with(".tar.zst") {
            unpack(&path, found);
        }
    }
}

/// Regular files of an archive; longer names than a header holds come as entries of their own.
fn unpack(path: &Path, found: &mut Vec<Vec<u8>>) {
    let mut archive = Vec::new();
    let file = fs::File::open(path).unwrap();
    zstd::stream::read::Decoder::new(file).unwrap().read_to_end(&mut archive).unwrap();
    let mut rest = archive.as_slice();
    while let Some((header, after)) = rest.split_at_checked(512) {
        let size = std::str::from_utf8(&header[124..136]).unwrap_or_default();
        let size = size.trim_matches(|c: char| c == '\0' || c == ' ');
        let Ok(size) = usize::from_str_radix(size, 8) else { break };
        if matches!(header[156], b'0' | 0) && size > 0 {
            found.push(with_crlf(&after[..size]));
        }
        rest = &after[size.div_ceil(512) * 512..];
    }
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
