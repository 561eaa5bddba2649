//! The corpus goes in by LMTP, by APPEND and by import, and is read by mbsync, imaplib and curl.
//!
//! LMTP adds trace fields in front and nothing else, so a delivered message ends with what was
//! sent; APPEND and import keep every byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::corpus::{Mail, Sample};
use crate::support::imap::quoted;
use crate::support::site::{Kind, PASSWORD, Site, USER, files_below};
use crate::support::tool;

/// A client that reads everything.
const CLIENT_DEADLINE: Duration = Duration::from_secs(1200);
/// Header fields that our LMTP puts in front (RFC 5321 section 4.4, and Delivered-To).
const TRACE_FIELDS: [&str; 3] = ["Return-Path:", "Delivered-To:", "Received:"];

/// How a client's copy may differ from the stored message.
#[derive(Clone, Copy)]
enum Copies {
    Exactly,
    /// mbsync keeps mail in files without CR, and may add its own X-TUID field.
    WithoutCr,
}

/// BLAKE3 of a message → how often.
type Hashes = BTreeMap<[u8; 32], usize>;

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

fn hashes<'a>(messages: impl IntoIterator<Item = &'a [u8]>) -> Hashes {
    let mut hashes = Hashes::new();
    for message in messages {
        *hashes.entry(hash(message)).or_default() += 1;
    }
    hashes
}

/// The samples that must come back as they went in. Others than us drop a CR without LF.
fn storable(kind: Kind, samples: &[Sample]) -> Vec<&Sample> {
    let is_plain = |sample: &&Sample| {
        let pairs = sample.bytes.windows(2);
        !pairs.into_iter().any(|pair| pair[0] == b'\r' && pair[1] != b'\n')
    };
    samples.iter().filter(|sample| kind == Kind::Pillarbox || is_plain(sample)).collect()
}

/// The samples that IMAP can carry both ways: its literals know no NUL (RFC 3501 section 9, CHAR8).
fn appendable(kind: Kind, samples: &[Sample]) -> Vec<&Sample> {
    let mut samples = storable(kind, samples);
    samples.retain(|sample| !sample.bytes.contains(&0));
    samples
}

#[test]
fn mail_appended_or_imported_comes_out_as_it_went_in() {
    let mail = Mail::load();
    let site = Site::started();
    let samples = appendable(site.kind, &mail.samples);
    let mut imap = site.imap();
    for sample in &samples {
        let reply = imap.append("INBOX", "", &sample.bytes).unwrap();
        assert_eq!(reply.status, "OK", "{}: {}", sample.name, reply.text);
    }
    let expected = hashes(samples.iter().map(|sample| sample.bytes.as_slice()));
    let mut read = Hashes::new();
    imap.select("INBOX").unwrap();
    imap.fetch_each("1:*", "(UID BODY.PEEK[])", |fetched| {
        *read.entry(hash(fetched.body.as_deref().unwrap_or_default())).or_default() += 1;
    })
    .unwrap();
    assert_same(&expected, &read, "APPEND and FETCH");
    read_by_every_client(&site, "INBOX", &samples);
    if site.is_pillarbox() {
        imports_are_exact(&site, &samples);
    }
    mail.last_line("append and import");
}

fn read_by_every_client(site: &Site, mailbox: &str, samples: &[&Sample]) {
    let bodies: Vec<&[u8]> = samples.iter().map(|sample| sample.bytes.as_slice()).collect();
    if tool::present("imaplib", &["python3"]) {
        assert_read(&imaplib_reads(site, mailbox), &bodies, Copies::Exactly, "imaplib");
    }
    if tool::present("curl", &["curl"]) {
        assert_read(&curl_reads(site, mailbox), &bodies, Copies::Exactly, "curl");
    }
    if tool::present("mbsync", &["mbsync"]) {
        // mbsync leaves out what has no empty line behind its header ("incomplete header").
        let has_border = |body: &[u8]| {
            body.starts_with(b"\r\n") || body.windows(4).any(|window| window == b"\r\n\r\n")
        };
        let bodies: Vec<&[u8]> = bodies.into_iter().filter(|body| has_border(body)).collect();
        assert_read(&mbsync_reads(site, mailbox), &bodies, Copies::WithoutCr, "mbsync");
    }
}

#[test]
fn mail_delivered_comes_out_with_trace_fields_in_front_and_nothing_else() {
    let mail = Mail::load();
    let site = Site::started();
    let mut lmtp = site.lmtp();
    let samples = storable(site.kind, &mail.samples);
    // What has no last line end gets one: SMTP ends messages with CRLF (RFC 5321 section 4.1.1.4).
    let sent: Vec<Vec<u8>> = samples.iter().map(|sample| ended(&sample.bytes)).collect();
    for (sample, bytes) in samples.iter().zip(&sent) {
        let replies = lmtp.deliver("sender@example.com", &[USER], bytes).unwrap();
        assert!(replies.iter().all(|reply| reply.code == 250), "{}: {replies:?}", sample.name);
    }
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists as usize, sent.len());
    let mut number = 0;
    imap.fetch_each("1:*", "(UID BODY.PEEK[])", |fetched| {
        let (name, sent) = (&samples[number].name, &sent[number]);
        let stored = fetched.body.unwrap_or_default();
        let trace = stored.strip_suffix(shown(sent).as_slice());
        let trace = trace.unwrap_or_else(|| panic!("{name} has other bytes than were sent"));
        if site.kind == Kind::Pillarbox {
            assert_is_trace(trace, name);
        }
        number += 1;
    })
    .unwrap();
    assert_eq!(number, sent.len());
    mail.last_line("LMTP");
}

/// As IMAP shows it: with 0x80 for NUL (`docs/imap.md`).
fn shown(message: &[u8]) -> Vec<u8> {
    message.iter().map(|&byte| if byte == 0 { 0x80 } else { byte }).collect()
}

fn ended(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    if !message.ends_with(b"\r\n") {
        message.extend_from_slice(b"\r\n");
    }
    message
}

fn assert_is_trace(trace: &[u8], name: &str) {
    let text = std::str::from_utf8(trace).expect("trace fields are ASCII");
    for line in text.split_terminator("\r\n") {
        let is_field = TRACE_FIELDS.iter().any(|field| line.starts_with(field));
        assert!(is_field || line.starts_with(['\t', ' ']), "{name}: {line:?} in front of it");
    }
    for field in TRACE_FIELDS {
        assert!(text.contains(field), "{name} has no {field}");
    }
}

fn imports_are_exact(site: &Site, samples: &[&Sample]) {
    let maildir = site.folder.join("Maildir");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(maildir.join(part)).unwrap();
    }
    for (number, sample) in samples.iter().enumerate() {
        let name = format!("cur/{number}.import.example:2,S");
        std::fs::write(maildir.join(name), &sample.bytes).unwrap();
    }
    let path = maildir.to_str().unwrap();
    site.pillarbox(&["import", "maildir", USER, path, "--into", "Imported"]).well("import maildir");
    let mut imap = site.imap();
    imap.select("Imported").unwrap();
    let mut read = Hashes::new();
    imap.fetch_each("1:*", "(UID FLAGS BODY.PEEK[])", |fetched| {
        assert!(fetched.flags.contains(&"\\Seen".to_owned()), "flags are imported: {fetched:?}");
        *read.entry(hash(fetched.body.as_deref().unwrap_or_default())).or_default() += 1;
    })
    .unwrap();
    let expected = hashes(samples.iter().map(|sample| sample.bytes.as_slice()));
    assert_same(&expected, &read, "import maildir");
}

fn assert_same(expected: &Hashes, read: &Hashes, what: &str) {
    let lost = expected.iter().filter(|(hash, count)| read.get(*hash) != Some(count)).count();
    let strange = read.iter().filter(|(hash, count)| expected.get(*hash) != Some(count)).count();
    assert_eq!((lost, strange), (0, 0), "{what}: messages lost or changed, strange messages");
}

/// Compares one client's files with what is stored.
fn assert_read(read: &[Vec<u8>], stored: &[&[u8]], copies: Copies, client: &str) {
    assert_eq!(read.len(), stored.len(), "{client} reads every message");
    let expected = match copies {
        Copies::Exactly => hashes(stored.iter().copied()),
        Copies::WithoutCr => {
            let converted: Vec<Vec<u8>> =
                stored.iter().map(|message| without_cr(message)).collect();
            hashes(converted.iter().map(Vec::as_slice))
        }
    };
    let read = hashes(read.iter().map(Vec::as_slice));
    assert_same(&expected, &read, client);
}

fn read_files(folder: &Path) -> Vec<Vec<u8>> {
    let files = files_below(folder).unwrap();
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn imaplib_reads(site: &Site, mailbox: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/imaplib_fetch.py");
    let mut python = Command::new("python3");
    python.arg(script).args(["127.0.0.1", &site.imap.port().to_string(), USER]);
    // imaplib sends a password quoted, but arguments of a command as they are.
    python.arg(PASSWORD).arg(quoted(mailbox)).arg(folder.path());
    tool::run(&mut python, b"", CLIENT_DEADLINE).well("imaplib");
    read_files(folder.path())
}

fn curl_reads(site: &Site, mailbox: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let mut imap = site.imap();
    let uid_next = imap.select(mailbox).unwrap().uid_next;
    let uids = imap.search("ALL").unwrap();
    assert_eq!(uids.len() + 1, uid_next as usize, "UIDs without gaps, as curl is asked for them");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail-early", "--user"]);
    curl.arg(format!("{USER}:{PASSWORD}"));
    curl.arg("--output").arg(folder.path().join("#1"));
    let last = uids.last().copied().unwrap_or(1);
    curl.arg(format!("imap://{}/{mailbox};UID=[1-{last}]", site.imap));
    tool::run(&mut curl, b"", CLIENT_DEADLINE).well("curl");
    read_files(folder.path())
}

/// mbsync copies one mailbox into a Maildir.
fn mbsync_reads(site: &Site, mailbox: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let path = folder.path().display();
    let config = format!(
        "IMAPStore far\nHost 127.0.0.1\nPort {}\nUser {USER}\nPass \"{PASSWORD}\"\n\
         SSLType None\nAuthMechs LOGIN\n\n\
         MaildirStore near\nPath {path}/\nInbox {path}/inbox\n\n\
         Channel all\nFar :far:{mailbox}\nNear :near:copy\nSync Pull\nCreate Near\n\
         SyncState {path}/state-\n",
        site.imap.port()
    );
    let config_file = folder.path().join("mbsyncrc");
    std::fs::write(&config_file, config).unwrap();
    let mut mbsync = Command::new("mbsync");
    mbsync.arg("--config").arg(&config_file).arg("all");
    tool::run(&mut mbsync, b"", CLIENT_DEADLINE).well("mbsync");
    let read = ["cur", "new"].map(|part| read_files(&folder.path().join("copy").join(part)));
    read.concat().iter().map(|message| without_cr(&without_tuid(message))).collect()
}

fn without_cr(message: &[u8]) -> Vec<u8> {
    message.iter().copied().filter(|&byte| byte != b'\r').collect()
}

/// mbsync marks copies with a field of its own until it knows their UIDs.
pub(crate) fn without_tuid(message: &[u8]) -> Vec<u8> {
    let field = b"X-TUID: ";
    let Some(at) = message.windows(field.len()).position(|window| window == field) else {
        return message.to_vec();
    };
    let length = message[at..].iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    [&message[..at], &message[at + length..]].concat()
}
