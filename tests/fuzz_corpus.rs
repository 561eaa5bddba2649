//! Every fuzz target over its committed inputs, and over those with each byte changed or missing.
//!
//! So every test run attacks every parser a little, on a machine without cargo-fuzz too; `make
//! fuzz` goes on from the same inputs. An input that once broke a promise is committed with a name
//! that says what it broke.

#![allow(clippy::unwrap_used, reason = "a test stops where it is wrong")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The body of a target.
type Body = fn(&[u8]);

/// Targets that play a conversation with a store, which takes milliseconds: what was committed is
/// played as it is.
const SLOW: &[&str] = &["imap_session"];

/// Inputs up to this size are also tried with each byte changed and cut at each place.
const VARIED_BYTES_MAX: usize = 1024;

fn targets() -> Vec<(&'static str, Body)> {
    let lists = [
        engine::fuzzing::TARGETS,
        imap::fuzzing::TARGETS,
        smtp_ingest::fuzzing::TARGETS,
        replication::fuzzing::TARGETS,
        pillarbox::fuzzing::TARGETS,
    ];
    lists.concat()
}

fn fuzz_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names of a folder's entries without their endings.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

/// Says which input broke a promise: the panic itself does not know.
fn attempt(body: Body, input: &[u8], what: &dyn Fn() -> String) {
    let outcome = std::panic::catch_unwind(|| body(input));
    assert!(outcome.is_ok(), "{}: {:?}", what(), String::from_utf8_lossy(input));
}

#[test]
fn every_committed_input_keeps_every_promise() {
    let mut inputs = 0;
    for (name, body) in targets() {
        let folder = fuzz_folder().join("corpus").join(name);
        attempt(body, b"", &|| format!("{name}, no bytes"));
        for file in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = file.unwrap().path();
            let input = fs::read(&path).unwrap();
            inputs += 1;
            attempt(body, &input, &|| path.display().to_string());
            if input.len() > VARIED_BYTES_MAX || SLOW.contains(&name) {
                continue;
            }
            for at in 0..input.len() {
                let (before, after) = input.split_at(at);
                attempt(body, before, &|| format!("{}, cut at {at}", path.display()));
                for byte in [0x00, 0x7F, 0xFF, after.first().unwrap_or(&0) ^ 1] {
                    let varied = [before, &[byte], after.get(1..).unwrap_or_default()].concat();
                    attempt(body, &varied, &|| format!("{}, {at} is {byte}", path.display()));
                }
            }
        }
    }
    assert!(inputs >= targets().len(), "every target has an input to begin with");
}

#[test]
fn cargo_fuzz_knows_every_target_and_no_other() {
    let known: BTreeSet<String> = targets().iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(known.len(), targets().len(), "a name is given once");
    assert_eq!(names(&fuzz_folder().join("fuzz_targets")), known);
    assert_eq!(names(&fuzz_folder().join("corpus")), known);
    let manifest = fs::read_to_string(fuzz_folder().join("Cargo.toml")).unwrap();
    let binaries = manifest.lines().filter_map(|line| line.strip_prefix("name = \""));
    let listed: BTreeSet<String> = binaries
        .filter_map(|rest| rest.strip_suffix('"'))
        .filter(|name| *name != "pillarbox-fuzz")
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, known);
    for name in known {
        let path = fuzz_folder().join("fuzz_targets").join(format!("{name}.rs"));
        let source = fs::read_to_string(path).unwrap();
        assert!(source.contains(&format!("run(\"{name}\"")), "{name} runs its own body");
    }
}
