//! neomutt in a terminal: its keys are pressed by a macro, and what the store holds afterwards is
//! what a person would have wanted. QRESYNC and CONDSTORE are on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::recorder::{Recorder, Side};
use crate::support::imap::Imap;
use crate::support::site::{PASSWORD, Site, USER};
use crate::support::tool;
use crate::transcripts;

const DEADLINE: Duration = Duration::from_secs(120);

/// Subjects of a mailbox with the flags of each.
type Subjects = BTreeMap<String, Vec<String>>;

/// A session in which these keys are pressed.
fn neomutt(folder: &Path, port: u16, keys: &str) {
    let path = folder.display();
    fs::create_dir_all(folder.join("messages")).unwrap();
    let config = format!(
        "set folder=\"imap://127.0.0.1:{port}/\"\nset spoolfile=\"+INBOX\"\n\
         set imap_user=\"{USER}\"\nset imap_pass=\"{PASSWORD}\"\n\
         set imap_authenticators=\"login\"\n\
         set imap_condstore=yes\nset imap_qresync=yes\n\
         set header_cache=\"{path}/headers\"\nset message_cachedir=\"{path}/messages\"\n\
         set ssl_starttls=no\nset ssl_force_tls=no\nset tmpdir=\"{path}\"\nset record=\"\"\n\
         set confirmappend=no\nset confirmcreate=no\nset delete=yes\nset quit=yes\nset move=no\n\
         set mark_old=no\nset wait_key=no\nset resolve=no\nset sort=mailbox-order\n\
         push \"{keys}<quit>\"\n"
    );
    let file: PathBuf = folder.join("neomuttrc");
    fs::write(&file, config).unwrap();
    // `script` gives it a terminal.
    let mut script = Command::new("script");
    script.env("HOME", folder).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
    script.args(["--quiet", "--return", "--command"]);
    script.arg(format!("neomutt -n -F {}", file.display())).arg("/dev/null");
    tool::run(&mut script, b"", DEADLINE).well("neomutt");
}

fn message(number: u32) -> Vec<u8> {
    let text = format!(
        "From: someone@example.com\r\nTo: {USER}\r\nSubject: letter {number}\r\n\
         Date: Tue, {number} Jul 2025 10:00:00 +0000\r\nMessage-ID: <m{number}@example.com>\r\n\r\n\
         This is letter {number}.\r\n"
    );
    text.into_bytes()
}

fn subjects(site: &Site, mailbox: &str) -> Subjects {
    let mut imap = site.imap();
    if imap.select(mailbox).unwrap().exists == 0 {
        return Subjects::new();
    }
    let fetched = imap.fetch("1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").unwrap();
    let subject = |body: Option<Vec<u8>>| {
        let text = String::from_utf8(body.unwrap()).unwrap();
        text.trim().trim_start_matches("Subject: ").to_owned()
    };
    fetched.into_iter().map(|message| (subject(message.body), message.flags)).collect()
}

fn expected(messages: &[(u32, &[&str])]) -> Subjects {
    let flags = |flags: &[&str]| flags.iter().map(|&flag| flag.to_owned()).collect();
    messages.iter().map(|(number, names)| (format!("letter {number}"), flags(names))).collect()
}

/// Another client's session, through the recorder.
fn other(recorder: &Recorder, work: impl FnOnce(&mut Imap)) {
    recorder.settle();
    let mut imap = Imap::login(recorder.address, USER, PASSWORD).unwrap();
    work(&mut imap);
    imap.ok("LOGOUT").unwrap();
    drop(imap);
    recorder.settle();
}

#[test]
fn neomutt_reads_flags_moves_and_deletes_and_resynchronises() {
    if !tool::present("neomutt", &["neomutt", "script"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let recorder = Recorder::before(site.imap);
    let port = recorder.address.port();
    other(&recorder, |imap| {
        for number in 1..=5 {
            assert_eq!(imap.append("INBOX", "", &message(number)).unwrap().status, "OK");
        }
    });
    let keys = "1<enter><display-message><exit>2<enter><flag-message>3<enter><delete-message>\
                4<enter><save-message><kill-line>=Archive<enter>5<enter><display-message><exit>";
    neomutt(folder.path(), port, keys);
    let inbox = expected(&[(1, &["\\Seen"]), (2, &["\\Flagged"]), (5, &["\\Seen"])]);
    assert_eq!(subjects(&site, "INBOX"), inbox);
    assert_eq!(subjects(&site, "Archive"), expected(&[(4, &[])]));

    other(&recorder, |imap| {
        imap.select("INBOX").unwrap();
        imap.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)").unwrap();
        imap.ok("UID EXPUNGE 1").unwrap();
        imap.ok("UID STORE 5 +FLAGS.SILENT (\\Flagged)").unwrap();
        assert_eq!(imap.append("INBOX", "", &message(6)).unwrap().status, "OK");
    });
    // It shows 2, 5 and 6 now.
    let keys = "1<enter><delete-message>2<enter><flag-message>3<enter><display-message><exit>";
    neomutt(folder.path(), port, keys);
    assert_eq!(subjects(&site, "INBOX"), expected(&[(5, &["\\Seen"]), (6, &["\\Seen"])]));

    let said = |side: Side, text: &str| {
        let sessions = recorder.sessions();
        sessions.iter().flatten().any(|line| line.side == side && line.text.contains(text))
    };
    assert!(said(Side::Client, " VANISHED)"), "it resynchronised");
    assert!(said(Side::Server, "* VANISHED (EARLIER) 1"), "and was told what had gone");
    let version = tool::run(Command::new("neomutt").arg("-v"), b"", DEADLINE).stdout;
    let version = version.lines().next().unwrap_or_default().to_owned();
    let headings = [
        "another client stores five letters",
        "a person reads, flags, deletes and moves",
        "another client deletes, flags and stores",
        "the person comes back",
    ];
    transcripts::keep("neomutt", &version, &recorder, &headings.map(str::to_owned));
    recorder.assert_understood("neomutt");
    site.assert_no_complaint("neomutt");
}
