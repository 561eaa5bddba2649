//! Every message of the corpus has a summary that holds what `engine::message` promises.
//!
//! The corpus is found by `PILLARBOX_CORPUS`, default `../shared/corpus` beside the workspace;
//! without it the same checks run on generated mail, and a printed line says so.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::fs;
use std::path::{Path, PathBuf};

use engine::message::generator::Generator;
use engine::message::text::SearchText;
use engine::message::{BodyKind, Envelope, Part, StoredSummary, Summary};

/// Messages with a name for what is printed on failure.
fn messages() -> Vec<(String, Vec<u8>)> {
    let corpus = match std::env::var_os("PILLARBOX_CORPUS") {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
    };
    let mut found = Vec::new();
    collect(&corpus.join("mime"), &mut found);
    if found.is_empty() {
        println!("no corpus at PILLARBOX_CORPUS or ../shared/corpus: generated mail is used");
        let mut generator = Generator::new(2);
        let generated = (0..1000).map(|n| (format!("generated {n}"), generator.message(n * 20)));
        found.extend(generated);
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "eml") {
            found.push((entry.display().to_string(), fs::read(&entry).unwrap()));
        }
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

fn slice(message: &[u8], from: u32, to: u32) -> &[u8] {
    message.get(from.try_into().unwrap()..to.try_into().unwrap()).unwrap()
}

fn inner_parts(part: &Part) -> &[Part] {
    match &part.kind {
        BodyKind::Leaf => &[],
        BodyKind::Multipart(parts) => parts,
        BodyKind::Message(_, inner) => std::slice::from_ref(inner),
    }
}

/// What is read where it lies is what was parsed.
fn assert_reads_alike(stored: &StoredSummary, summary: &Summary, name: &str) {
    assert_eq!(Envelope::from(stored.envelope()), summary.envelope, "{name}");
    assert_eq!(stored.structure_tree(), summary.structure, "{name}");
    assert_eq!(stored.common_headers(), summary.common_headers, "{name}");
    assert_eq!(stored.common_headers_complete(), summary.common_headers_complete, "{name}");
    assert_eq!(stored.preview(), summary.preview, "{name}");
    assert_eq!((stored.sent(), stored.sent_date()), (summary.sent, summary.sent_date), "{name}");
    assert_eq!(stored.base_subject(), summary.base_subject, "{name}");
    assert!(stored.references().eq(summary.references.iter().map(String::as_bytes)), "{name}");
}

/// Parts lie in their parent, in order, and between two of them is one boundary line.
fn check_part(message: &[u8], part: &Part, name: &str) {
    assert!(part.header_offset <= part.body_offset, "{name}");
    assert!(part.body_offset <= part.end_offset, "{name}");
    let mut before: Option<&Part> = None;
    for inner in inner_parts(part) {
        assert!(inner.header_offset >= part.body_offset, "{name}: before its parent");
        assert!(inner.end_offset <= part.end_offset, "{name}: beyond its parent");
        if let Some(before) = before {
            let between = slice(message, before.end_offset, inner.header_offset);
            let line = between.trim_ascii();
            assert!(line.starts_with(b"--"), "{name}: {}", between.escape_ascii());
            assert!(!line.contains(&b'\n'), "{name}: {}", between.escape_ascii());
        }
        check_part(message, inner, name);
        before = Some(inner);
    }
}

fn same_shape(one: &Part, other: &Part) -> bool {
    let (inner, other_inner) = (inner_parts(one), inner_parts(other));
    one.media_type == other.media_type
        && one.media_subtype == other.media_subtype
        && one.parameters == other.parameters
        && one.line_count == other.line_count
        && inner.len() == other_inner.len()
        && inner.iter().zip(other_inner).all(|(one, other)| same_shape(one, other))
}

#[test]
fn every_message_has_a_summary_whose_parts_lie_where_it_says() {
    let messages = messages();
    for (name, message) in &messages {
        let crlf = with_crlf(message);
        let [original, converted] = [message, &crlf].map(|message| {
            let summary = Summary::parse(message);
            check_part(message, &summary.structure, name);
            assert_eq!(usize::try_from(summary.structure.end_offset).unwrap(), message.len());
            let bytes = summary.encode();
            assert_eq!(Summary::decode(&bytes).as_ref(), Ok(&summary), "{name}");
            assert_reads_alike(&StoredSummary::of(&bytes).unwrap(), &summary, name);
            assert!(summary.preview.chars().count() <= 200, "{name}");
            SearchText::new(message, &summary.structure);
            summary
        });
        assert!(same_shape(&original.structure, &converted.structure), "{name}: LF and CRLF");
        assert_eq!(original.envelope.from, converted.envelope.from, "{name}");
        // In UTF-16 a converted line end is other text.
        if !message.contains(&0) {
            assert_eq!(original.preview, converted.preview, "{name}");
        }
        assert_eq!(original.base_subject, converted.base_subject, "{name}");
    }
    println!("{} messages", messages.len());
}

#[test]
fn most_messages_say_who_sent_them_when_and_what() {
    let messages = messages();
    let mut counts = [0_usize; 4];
    for (_, message) in &messages {
        let summary = Summary::parse(message);
        let envelope = &summary.envelope;
        let known = [
            envelope.from.iter().any(|a| a.host.as_ref().is_some_and(|host| !host.is_empty())),
            summary.sent.is_some(),
            !summary.base_subject.is_empty(),
            !summary.preview.is_empty(),
        ];
        for (count, known) in counts.iter_mut().zip(known) {
            *count += usize::from(known);
        }
    }
    for (count, what) in counts.into_iter().zip(["sender", "date", "subject", "preview"]) {
        println!("{what}: {count} of {}", messages.len());
        assert!(count * 10 > messages.len() * 7, "{what}: only {count}");
    }
}
