//! The house rules that a machine can check: layout, directions, lengths, links, numbers.
//!
//! Each test names the rule and the file that breaks it. The lists of exceptions may only shrink.

#![allow(
    clippy::as_conversions,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where it is wrong"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a source file without its tests.
const FILE_LINES_MAX: usize = 800;
/// Columns of a line of Rust.
const COLUMNS_MAX: usize = 100;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// `path` or `path::function`, with the reason. May only shrink.
const LENGTH_EXCEPTIONS: &[(&str, &str)] = &[];

/// Which of our crates each crate may name.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("engine/Cargo.toml", &[]),
    ("imap/Cargo.toml", &["engine"]),
    ("smtp-ingest/Cargo.toml", &["engine"]),
    ("replication/Cargo.toml", &["engine"]),
];
/// Our crates.
const CRATES: &[&str] = &["engine", "imap", "smtp-ingest", "replication"];

/// What async code would need; the engine and pure parts name none of it.
const RUNTIME_WORDS: &[&str] = &["tokio::", "async fn", ".await"];

/// Folders of sources that hold no I/O and no runtime.
const PURE: &[&str] = &["engine/src/", "imap/src/codec/", "smtp-ingest/src/codec/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the root that belongs to the project, with its path from there and its text.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let outside = [".git", "target", "scratch", "corpus", "node_modules"];
                if !outside.contains(&name.as_str()) && !path.is_symlink() {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.push((from_root(&path), text));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no file ends with {endings:?}: the walk is broken");
    found
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn report(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}\n  {}\n", breaches.join("\n  "));
}

/// A source without what follows its `#[cfg(test)]`.
fn without_tests(text: &str) -> &str {
    text.split_once("\n#[cfg(test)]\nmod ").map_or(text, |(before, _)| before)
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("tests.rs")
        || path.contains("/benches/")
}

#[test]
fn crates_depend_downwards_only() {
    let mut breaches = Vec::new();
    for (manifest, allowed) in DIRECTIONS {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let dependencies = text.split("[dependencies]").nth(1).unwrap_or("");
        for line in dependencies.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            if CRATES.contains(&name) && !allowed.contains(&name) {
                breaches.push(format!("{manifest} names {name}"));
            }
        }
    }
    report("A crate may only use what stands below it (STYLE section 1):", &breaches);
}

#[test]
fn pure_parts_know_no_runtime() {
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs"]) {
        if !PURE.iter().any(|folder| path.starts_with(folder)) || is_test(&path) {
            continue;
        }
        for (number, line) in without_tests(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if RUNTIME_WORDS.iter().any(|word| code.contains(word)) {
                breaches.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    report("No async and no runtime here; I/O is at the rim:", &breaches);
}

#[test]
fn rocksdb_is_named_in_one_file() {
    let naming: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|(path, text)| path != "tests/tidy.rs" && text.contains("rocksdb::"))
        .map(|(path, _)| path)
        .collect();
    assert!(naming.len() <= 1, "RocksDB is behind the table store, in one file: {naming:?}");
    if let Some(path) = naming.first() {
        assert!(path.starts_with("engine/src/state/"), "RocksDB belongs to state, not {path}");
    }
}

#[test]
fn lines_are_at_most_a_hundred_columns() {
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs"]) {
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                breaches.push(format!("{path}:{}", number + 1));
            }
        }
    }
    report("Lines have at most 100 columns:", &breaches);
}

#[test]
fn files_and_functions_are_short() {
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs"]) {
        if is_test(&path) {
            continue;
        }
        let code = without_tests(&text);
        let lines = code.lines().count();
        if lines > FILE_LINES_MAX {
            breaches.push(format!("{path}: {lines} lines"));
        }
        for (name, lines) in functions(code) {
            if lines > FUNCTION_LINES_MAX {
                breaches.push(format!("{path}::{name}: {lines} lines"));
            }
        }
    }
    breaches.retain(|breach| !LENGTH_EXCEPTIONS.iter().any(|(at, _)| breach.starts_with(at)));
    report("Functions have at most 70 lines, files 800 without tests:", &breaches);
}

/// Functions with their lengths. rustfmt puts a function's closing brace under its first letter.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let words: Vec<&str> = line.split_whitespace().take_while(|w| !w.contains('(')).collect();
        let Some(at) = line.find("fn ") else { continue };
        let modifiers = ["pub", "const", "async", "unsafe", "extern", "fn"];
        let declares = words.first().is_some_and(|w| modifiers.contains(w))
            || line.trim_start().starts_with("pub(");
        if !declares {
            continue;
        }
        let name: String =
            line[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let closing = format!("{}}}", " ".repeat(indent));
        let end = lines[start..].iter().position(|line| *line == closing);
        let one_line = line.trim_end().ends_with(['}', ';']);
        if let (Some(length), false) = (end, one_line) {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn every_source_file_opens_with_what_it_is() {
    let without: Vec<String> = files(&[".rs"])
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    report("A file opens with a sentence that says what it is (STYLE section 4):", &without);
}

#[test]
fn nothing_names_a_machine_or_a_registry() {
    // Written in pieces, so that this file does not find itself.
    let words = [
        ["/ho", "me/"],
        ["/wo", "rk/"],
        ["/tmp/", "wt"],
        ["index.cra", "tes.io"],
        ["static.cra", "tes.io"],
        ["pypi", ".org"],
        ["registry.", "npmjs"],
        ["deb.deb", "ian.org"],
    ]
    .map(|pieces| pieces.concat());
    let mut breaches = Vec::new();
    let endings = [".rs", ".toml", ".md", ".sh", ".py", ".service", "Makefile", "run"];
    for (path, text) in files(&endings) {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                breaches.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    report("Committed files name no path of one machine and no registry's host:", &breaches);
}

#[test]
fn forbidden_names_are_not_used() {
    let names = ["util", "utils", "helper", "helpers", "common", "misc", "manager"];
    let breaches: Vec<String> = files(&[".rs"])
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| path.split(['/', '.']).any(|part| names.contains(&part)))
        .collect();
    report("A file is one noun from mail or storage:", &breaches);
}

#[test]
fn todos_name_an_issue() {
    let mark = ["TO", "DO"].concat();
    let mut breaches = Vec::new();
    for (path, text) in files(&[".rs", ".sh", "Makefile"]) {
        for (number, line) in text.lines().enumerate() {
            if line.contains(&mark) && !line.contains("issue") {
                breaches.push(format!("{path}:{}", number + 1));
            }
        }
    }
    report("What is left to do is an issue, not a remark:", &breaches);
}

#[test]
fn decisions_are_numbered_once_and_every_link_leads_somewhere() {
    let mut numbers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut breaches = Vec::new();
    for (path, text) in files(&[".md"]) {
        if let Some(name) = path.strip_prefix("docs/decisions/") {
            let number = name.split('-').next().unwrap_or("").to_owned();
            if number.len() != 4 || !number.bytes().all(|b| b.is_ascii_digit()) {
                breaches.push(format!("{path} does not begin with four digits"));
            }
            numbers.entry(number).or_default().push(path.clone());
        }
        for target in links(&text) {
            let folder = root().join(&path).parent().map(Path::to_path_buf).unwrap_or_default();
            let target = target.split('#').next().unwrap_or("").to_owned();
            let leads: PathBuf = folder.join(&target);
            if !target.is_empty() && !leads.exists() {
                breaches.push(format!("{path} links to {target}, which does not exist"));
            }
        }
    }
    let twice = numbers.values().filter(|paths| paths.len() > 1);
    breaches.extend(twice.map(|paths| format!("one number, several decisions: {paths:?}")));
    report("Documents hold together:", &breaches);
}

/// Targets of Markdown links that lead into the repository.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or("");
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

#[test]
fn this_file_measures_functions_rightly() {
    let code = [
        "fn one() {",
        "    two();",
        "}",
        "impl X {",
        "    pub(crate) fn three(",
        "        a: u8,",
        "    ) -> u8 {",
        "        a",
        "    }",
        "}",
        "fn four() {}",
    ];
    assert_eq!(functions(&code.join("\n")), [("one".to_owned(), 3), ("three".to_owned(), 5)]);
}
