//! Conversations: `transcripts/*.imap` played against the server over memory, with a real store.
//!
//! | line | meaning |
//! |--|--|
//! | `# …` | comment; the first line cites the rule |
//! | `C: …` | sent with CRLF; `\r` `\n` `\0` `\\` are escapes; without CRLF if it ends in `\c` |
//! | `S: …` | the next line from the server; `...` is any text, `<name>` what it was at first |
//! | `S* …` | these lines in any order, until the next line of another kind |
//! | `2: C: …` | on the second connection, which logs in by itself on first use |
//! | `5: C: …` | the same, as anna@example.org; `6:` as shared@example.org, who owns `Shared/` |
//!
//! In `*.pop3` the first connection speaks POP3, the others IMAP.
//! A line from the server is cut at CRLF; a literal's bytes appear as lines of their own.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use engine::Store;
use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::support::{Client, Served, open_store};

/// The bytes that a line of the client stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let (text, end) = match text.strip_suffix("\\c") {
        Some(text) => (text, ""),
        None => (text, "\r\n"),
    };
    let text =
        text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").replace("\\\\", "\\");
    format!("{text}{end}").into_bytes()
}

/// Whether a line is what the transcript expects; binds names on their first appearance.
fn matches(expected: &str, found: &str, names: &mut HashMap<String, String>) -> bool {
    let mut known = expected.to_owned();
    for (name, value) in names.iter() {
        known = known.replace(&format!("<{name}>"), value);
    }
    let Some((head, unbound, tail)) = first_gap(&known) else { return known == found };
    let Some(rest) = found.strip_prefix(head) else { return false };
    let ends: Vec<usize> = (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).collect();
    for end in ends {
        let mut bound = names.clone();
        if let Some(name) = unbound {
            bound.insert(name.to_owned(), rest[..end].to_owned());
        }
        if matches(tail, &rest[end..], &mut bound) {
            *names = bound;
            return true;
        }
    }
    false
}

/// What stands before the first `...` or name without a value, that name, and what follows.
fn first_gap(known: &str) -> Option<(&str, Option<&str>, &str)> {
    let dots = known.find("...");
    let named = known.match_indices('<').find_map(|(at, _)| {
        let (name, tail) = known[at + 1..].split_once('>')?;
        is_name(name).then_some((at, name, tail))
    });
    match (dots, named) {
        (Some(dots), Some((at, ..))) if dots < at => {
            Some((&known[..dots], None, &known[dots + 3..]))
        }
        (_, Some((at, name, tail))) => Some((&known[..at], Some(name), tail)),
        (Some(dots), None) => Some((&known[..dots], None, &known[dots + 3..])),
        (None, None) => None,
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[test]
fn free_text_and_names_match() {
    let mut names = HashMap::new();
    assert!(matches("a OK [X <v> 1] ...", "a OK [X 77 1] Done", &mut names));
    assert_eq!(names["v"], "77");
    assert!(matches("b <v> ...", "b 77 x", &mut names));
    assert!(!matches("b <v>", "b 78", &mut names));
    assert!(matches("* 1 FETCH (...) <x@y>", "* 1 FETCH (UID 1) <x@y>", &mut names));
}

/// A line of a transcript.
#[derive(Debug)]
enum Step {
    Client(usize, String),
    Server(usize, String),
    Unordered(usize, String),
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (connection, line) = match line.split_once(": ") {
            Some((number, rest)) if number.parse::<usize>().is_ok() => {
                (number.parse::<usize>().unwrap(), rest)
            }
            _ => (1, line),
        };
        // A line may be empty after its mark.
        let text = line.get(3..).unwrap_or_default().to_owned();
        steps.push(match line.get(..2) {
            Some("C:") => Step::Client(connection, text),
            Some("S:") => Step::Server(connection, text),
            Some("S*") => Step::Unordered(connection, text),
            _ => panic!("not a line of a transcript: {line}"),
        });
    }
    steps
}

#[test]
fn every_transcript_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{} cites its rule", path.display());
        assert!(!steps(&text).is_empty());
        count += 1;
    }
    assert!(count >= 12);
}

/// Who logs in on a connection by itself.
fn who(connection: usize) -> &'static str {
    match connection {
        5 => "anna@example.org",
        6 => "shared@example.org",
        _ => crate::support::USER,
    }
}

/// Plays one transcript.
async fn play(name: &str, text: &str, store: Store) {
    let limits = Limits {
        login_failure_delay: Duration::from_millis(1),
        append_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let mut config = Config::new(limits, "test".into(), None, true);
    config.shared_account = Some(who(6).to_owned());
    let served = Served::new(store, config);
    let mut clients: BTreeMap<usize, Client<DuplexStream>> = BTreeMap::new();
    let mut names = HashMap::new();
    let mut expected: Vec<(usize, String)> = Vec::new();
    for step in steps(text) {
        if !matches!(step, Step::Unordered(..)) {
            expect_in_any_order(name, &mut clients, &mut expected, &mut names).await;
        }
        let (Step::Client(number, _) | Step::Server(number, _) | Step::Unordered(number, _)) =
            &step;
        if !clients.contains_key(number) {
            let stream = match name.ends_with(".pop3") && *number == 1 {
                true => served.connect_pop3(Transport::Plain, 1 << 16),
                false => served.connect(Transport::Plain, 1 << 16),
            };
            let mut client = Client::new(stream);
            if *number > 1 {
                client.log_in_as(who(*number)).await;
            }
            clients.insert(*number, client);
        }
        let client = clients.get_mut(number).unwrap();
        match step {
            Step::Client(_, text) => {
                let mut text = text;
                for (name, value) in &names {
                    text = text.replace(&format!("<{name}>"), value);
                }
                client.send(&unescaped(&text)).await;
            }
            Step::Server(_, wanted) => {
                let found = client.line().await.unwrap_or_default();
                assert!(
                    matches(&wanted, &found, &mut names),
                    "{name}: expected {wanted:?}, found {found:?}"
                );
            }
            Step::Unordered(number, wanted) => expected.push((number, wanted)),
        }
    }
    expect_in_any_order(name, &mut clients, &mut expected, &mut names).await;
}

async fn expect_in_any_order(
    name: &str,
    clients: &mut BTreeMap<usize, Client<DuplexStream>>,
    expected: &mut Vec<(usize, String)>,
    names: &mut HashMap<String, String>,
) {
    while let Some((number, _)) = expected.first() {
        let number = *number;
        let found = clients.get_mut(&number).unwrap().line().await.unwrap_or_default();
        let hit = expected
            .iter()
            .position(|(from, wanted)| *from == number && matches(wanted, &found, names));
        let hit = hit.unwrap_or_else(|| panic!("{name}: unexpected {found:?}, of {expected:?}"));
        expected.remove(hit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transcript_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut failed = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let directory = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().display().to_string();
        let store = open_store(directory.path());
        let playing = tokio::spawn({
            let name = name.clone();
            async move { play(&name, &text, store).await }
        });
        if playing.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "see above what these expected and found: {failed:?}");
}
