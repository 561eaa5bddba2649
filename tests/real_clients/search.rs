//! SEARCH on real mail, against what another mail parser reads in it.
//!
//! `tests/clients/imaplib_search.py` fetches every message with Python's imaplib, reads it with
//! Python's email package, draws hundreds of queries from what it read (texts, headers, letters
//! beyond ASCII), and holds each answer against its own reading.
//!
//! Where the two may differ, and why ours stays (RFC 9051 section 6.4.4 asks for substrings of the
//! decoded text and allows flexible matching):
//! * HTML is searched as a person reads it: without tags, styles and scripts.
//! * BODY does not look into the preamble and epilogue of multiparts, which nobody is shown; it
//!   does look into names of attachments, which everybody is shown.
//! * Malformed mail (what Python's parser reports as a defect) has no single reading.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::corpus::Mail;
use crate::support::site::{PASSWORD, Site, USER};
use crate::support::tool;

/// Queries that are drawn.
const QUERY_COUNT: usize = 400;
/// All of them, each a scan of all mail.
const DEADLINE: Duration = Duration::from_secs(1200);

#[test]
fn search_finds_in_real_mail_what_another_parser_reads_there() {
    if !tool::present("search", &["python3"]) {
        return;
    }
    let mail = Mail::load();
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut imap = site.imap();
    // Its literals know no NUL (RFC 3501 section 9, CHAR8).
    for sample in mail.samples.iter().filter(|sample| !sample.bytes.contains(&0)) {
        let reply = imap.append("INBOX", "", &sample.bytes).unwrap();
        assert_eq!(reply.status, "OK", "{}: {}", sample.name, reply.text);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/imaplib_search.py");
    let mut python = Command::new("python3");
    python.arg(script).args(["127.0.0.1", &site.imap.port().to_string(), USER, PASSWORD, "INBOX"]);
    python.arg(QUERY_COUNT.to_string());
    let ended = tool::run(&mut python, b"", DEADLINE).well("what SEARCH found");
    let figures = ended.stdout.lines().last().expect("the script tells what it did");
    let figure = |name: &str| -> usize {
        let (_, after) = figures.split_once(&format!("\"{name}\": ")).expect(name);
        after.split([',', '}']).next().unwrap().parse().unwrap()
    };
    println!("{figures}");
    // Oracles that agree on nothing would find no mistake.
    assert_eq!(figure("queries"), QUERY_COUNT);
    assert!(figure("told_apart") * 3 > QUERY_COUNT, "queries tell messages apart: {figures}");
    assert!(figure("beyond_ascii") * 20 > QUERY_COUNT, "letters beyond ASCII: {figures}");
    assert!(figure("odd_messages") * 4 < figure("messages"), "most mail is in order: {figures}");
    mail.last_line("SEARCH");
}
