//! Every parser of foreign bytes in the binary itself, as functions from bytes to nothing that
//! panic when a promise breaks.
//!
//! Called by the fuzz targets in `fuzz/` and, on committed inputs, by `tests/fuzz_corpus.rs`. In
//! one hidden list as in the engine, see `engine::fuzzing`.

use crate::admin::{Answer, Request};
use crate::config::Config;
use crate::import::{fuzz_imap_response, fuzz_mbox};

/// The body of a target: panics when a promise breaks.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("admin_socket", admin_socket),
    ("configuration", configuration),
    ("imap_response", fuzz_imap_response),
    ("mbox", fuzz_mbox),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise breaks: both are what the caller wants to know.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = found.expect("fuzz/ names targets of the list above");
    body(bytes);
}

/// A line of the admin socket, in either direction.
fn admin_socket(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let line = serde_json::to_vec(&request).expect("a request is written as it was read");
        assert!(!line.contains(&b'\n'), "a request is one line");
        let again: Request = serde_json::from_slice(&line).expect("it was just written");
        assert_eq!(again.body_bytes(), request.body_bytes());
        assert_eq!(serde_json::to_vec(&again).ok(), Some(line));
    }
    if let Ok(answer) = serde_json::from_slice::<Answer>(bytes) {
        let line = serde_json::to_vec(&answer).expect("an answer is written as it was read");
        assert!(!line.contains(&b'\n'), "an answer is one line");
        assert_eq!(serde_json::from_slice::<Answer>(&line).ok(), Some(answer));
    }
}

/// A configuration file.
fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Config::parse(&text) {
        Ok(config) => {
            let written = toml::to_string(&config).expect("what was read can be written");
            assert_eq!(Config::parse(&written), Ok(config));
        }
        Err(what) => assert!(what.starts_with("line ") && what.len() < 4096 + 2 * text.len()),
    }
}
