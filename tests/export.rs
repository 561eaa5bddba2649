//! Export and the way back: import → export → import gives the same bytes, flags, dates, names,
//! subscriptions and what stands beside the mail, and programs that know nothing of us read what
//! was written.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::corpus::Mail;
use support::imap::quoted;
use support::site::{Kind, OTHER_USER, PASSWORD, Site, USER, files_below, text_of};
use support::tool;

/// Reading a few thousand messages by Python.
const PYTHON_DEADLINE: Duration = Duration::from_secs(300);

/// A mailbox's messages in the order of UIDs: flags, date, bytes.
type Messages = Vec<(Vec<String>, String, [u8; 32])>;

/// A site, unless another server stands in for ours: it has none of these commands.
fn site() -> Option<Site> {
    (Kind::chosen() == Kind::Pillarbox).then(Site::new)
}

/// Above mailboxes that are somebody else's.
const OTHERS: &str = "Other Users";

/// Everything of an account that a client sees of its own: messages, subscriptions, and what stands
/// beside.
fn account(site: &Site, user: &str) -> (BTreeMap<String, Messages>, Vec<String>, Vec<String>) {
    let mut imap = support::imap::Imap::login(site.imap, user, PASSWORD).unwrap();
    let mut mailboxes = BTreeMap::new();
    let mut beside = Vec::new();
    let mut note = |reply: support::imap::Reply| {
        let texts = reply.untagged.iter().map(|line| line.text().replace(user, "OWNER"));
        beside.extend(texts.filter(|text| !text.contains(OTHERS)));
    };
    note(imap.ok("LIST \"\" * RETURN (SPECIAL-USE)").unwrap());
    note(imap.ok("GETMETADATA (DEPTH infinity) \"\" (/private /shared)").unwrap());
    for name in imap.mailboxes().unwrap() {
        let name = String::from_utf8(name).unwrap();
        if name.starts_with(OTHERS) {
            continue;
        }
        let wire = quoted(&name);
        note(imap.ok(&format!("GETACL {wire}")).unwrap());
        let entries = "(DEPTH infinity)";
        note(imap.ok(&format!("GETMETADATA {entries} {wire} (/private /shared)")).unwrap());
        imap.select(&name).unwrap();
        let mut messages = Messages::new();
        imap.fetch_each("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])", |mut fetched| {
            fetched.flags.retain(|flag| flag != "\\Recent");
            let date = fetched.items.iter().find(|(name, _)| name == "INTERNALDATE").unwrap();
            let body = fetched.body.unwrap_or_default();
            messages.push((fetched.flags, date.1.to_text(), *blake3::hash(&body).as_bytes()));
        })
        .unwrap();
        mailboxes.insert(name, messages);
    }
    let reply = imap.ok("LSUB \"\" *").unwrap();
    let mut subscribed: Vec<String> = reply.untagged.iter().map(|line| line.text()).collect();
    subscribed.sort();
    (mailboxes, subscribed, beside)
}

/// Another name for a mailbox with a special use, access for others, metadata of both kinds.
fn fill_beside(site: &Site) {
    let mut imap = site.imap();
    for command in [
        "RENAME Sent Gesendet".to_owned(),
        "CREATE Sent".to_owned(),
        format!("SETACL Work {OTHER_USER} lrswi"),
        "SETACL Work anyone lr".to_owned(),
        format!("SETACL a.b -{OTHER_USER} lr"),
        "SETACL a.b anyone lrk".to_owned(),
        "SETACL INBOX anyone lp".to_owned(),
        "SETMETADATA Work (/shared/comment \"100 %41 done\" /private/comment \"mine\")".to_owned(),
        "SETMETADATA \"a.b/.c d\" (/shared/vendor/x {3+}\r\n\t\r\n)".to_owned(),
        "SETMETADATA \"\" (/private/vendor/x \"my server\")".to_owned(),
    ] {
        imap.ok(&command).unwrap();
    }
}

/// Odd names, flags, dates and line ends, and a part of the corpus.
fn fill(site: &Site) -> usize {
    let mail = Mail::load();
    let mut imap = site.imap();
    let long = format!("long-{}", "x".repeat(300));
    let names =
        ["Work", "Work/2024", "a.b", "a.b/.c d", "R&-D", "Entw&APw-rfe", "&2D3eCg-", "cur", &long];
    for name in names {
        imap.ok(&format!("CREATE {}", quoted(name))).unwrap();
    }
    for name in ["Work", "a.b", "&2D3eCg-"] {
        imap.ok(&format!("SUBSCRIBE {}", quoted(name))).unwrap();
    }
    imap.ok("UNSUBSCRIBE Work/2024").unwrap();
    let many: Vec<String> = (0..40).map(|number| format!("key{number}")).collect();
    let many = format!("({} $Forwarded)", many.join(" "));
    let odd: [(&str, &str, &[u8]); 9] = [
        ("Work", "(\\Seen \\Flagged $Junk)", b"Subject: 1\r\n\r\nFrom here\r\n>From there\r\n"),
        ("Work", "(\\Answered \\Draft \\Deleted $Forwarded)", b"Subject: 2\r\n\r\nno end"),
        ("Work", &many, b"Subject: 3\r\n\r\nbare CR \r and CR CR LF\r\r\n"),
        ("Work/2024", "()", b"From x\r\nStatus: O\r\n\r\n\r\n\r\n"),
        ("a.b/.c d", "(\\Seen) \"01-Jan-1960 00:00:07 +0000\"", b"\r\nno header\r\n"),
        ("a.b", "() \"02-Feb-2031 03:04:05 +0100\"", b"Subject: late\r\n\r\nx\r\n"),
        ("a.b", "() \"03-Feb-2001 03:04:05 +0100\"", b"Subject: early\r\n\r\nx\n\nbare LF\r\n"),
        ("R&-D", "(\\Seen)", b"Status: RO\r\nX-Status: D\r\nX-Keywords: no\r\n\r\nFrom \r"),
        (&long, "(a b)", b"Subject: deep\r\n\r\n.\r\n"),
    ];
    for (mailbox, options, message) in odd {
        let reply = imap.append(mailbox, options, message).unwrap();
        assert_eq!(reply.status, "OK", "{mailbox}: {}", reply.text);
    }
    // More than a chunk, with an end of line across its border.
    let large = format!("Subject: large\r\n\r\n{}\r\n", "x\r\n".repeat(300_000));
    assert_eq!(imap.append("cur", "(\\Seen)", large.as_bytes()).unwrap().status, "OK");
    let mut count = odd.len() + 1;
    for (number, sample) in mail.samples.iter().enumerate() {
        // IMAP's literals know no NUL.
        if number % 3 == 0 && !sample.bytes.contains(&0) {
            let options = if number % 2 == 0 { "(\\Seen)" } else { "(Other)" };
            let reply = imap.append("INBOX", options, &sample.bytes).unwrap();
            assert_eq!(reply.status, "OK", "{}: {}", sample.name, reply.text);
            count += 1;
        }
    }
    mail.last_line("export");
    count
}

fn is_private(folder: &Path) {
    for path in files_below(folder).unwrap() {
        let mode = path.metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o077, 0);
}

/// What Python's `mailbox` finds: messages in all, and how many of them are seen.
fn python_counts(kind: &str, path: &Path) -> Option<(usize, usize)> {
    if !tool::present("export", &["python3"]) {
        return None;
    }
    let mut python = Command::new("python3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mailbox_count.py");
    python.arg(script).arg(kind).arg(path);
    let output = tool::run(&mut python, b"", PYTHON_DEADLINE).well("Python's mailbox").stdout;
    let numbers: Vec<usize> = output.split_whitespace().map(|word| word.parse().unwrap()).collect();
    Some((numbers[0], numbers[1]))
}

#[test]
fn what_was_exported_comes_back_as_it_was_by_every_way() {
    let Some(mut site) = site() else { return };
    site.start();
    let count = fill(&site);
    fill_beside(&site);
    let before = account(&site, USER);
    assert_eq!(before.0.values().map(Vec::len).sum::<usize>(), count);
    let is_seen = |flags: &[String]| flags.iter().any(|flag| flag == "\\Seen");
    let seen = before.0.values().flatten().filter(|(flags, _, _)| is_seen(flags)).count();
    // (kind, option, whether the server runs meanwhile)
    for (round, (kind, option, runs)) in [
        ("maildir", None, true),
        ("mbox", None, true),
        ("maildir", Some("--crlf"), false),
        ("mbox", Some("--crlf"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let path = site.folder.join(format!("export{round}"));
        let text = text_of(&path);
        let export: Vec<&str> = ["export", kind, USER, &text].into_iter().chain(option).collect();
        if !runs {
            site.stop();
        }
        let said = site.pillarbox(&export).well("export").stdout;
        assert!(said.starts_with(&format!("exported {count} messages in ")), "{said}");
        is_private(&path);
        if let Some(found) = python_counts(kind, &path) {
            assert_eq!(found, (count, seen), "{kind}, as Python reads it");
        }
        let again = site.pillarbox(&export);
        assert_eq!(again.code, Some(1), "nothing is written over: {}", again.output());
        let back = format!("back{round}@example.org");
        site.pillarbox(&["account", "add", &back]).well("account add");
        site.pillarbox(&["import", kind, &back, &text]).well("import");
        if !runs {
            site.start();
        }
        let after = account(&site, &back);
        for (mailbox, messages) in &before.0 {
            let found = after.0.get(mailbox);
            let same = found.is_some_and(|found| found == messages);
            assert!(same, "{kind} {option:?}, {mailbox}:\n{messages:?}\n{found:?}");
        }
        assert_eq!(before.0.len(), after.0.len());
        assert_eq!(before.1, after.1, "{kind} {option:?}: subscriptions");
        assert_eq!(before.2, after.2, "{kind} {option:?}: what stands beside the mail");
    }
}

#[test]
fn one_mailbox_goes_into_one_file_and_mistakes_make_none() {
    let Some(mut site) = site() else { return };
    site.start();
    site.imap().append("INBOX", "(\\Seen)", b"Subject: x\r\n\r\nFrom y\r\n").unwrap();
    let path = site.folder.join("one.mbox");
    let text = text_of(&path);
    site.pillarbox(&["export", "mbox", USER, &text, "--mailbox", "INBOX"]).well("export");
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written.starts_with("From MAILER-DAEMON "), "{written}");
    assert!(
        written.contains("\nStatus: RO\nX-Status:\nX-Keywords:\nX-Pillarbox-Export: "),
        "{written}"
    );
    assert!(written.ends_with("\nSubject: x\n\n>From y\n\n"), "{written}");
    let other = text_of(&site.folder.join("other"));
    for (user, mailbox, path, code, part) in [
        (USER, "None", &other, 1, "has no mailbox None"),
        ("nobody@example.org", "INBOX", &other, 67, "there is no account"),
        (USER, "INBOX", &text, 1, "writes over nothing"),
    ] {
        let ended = site.pillarbox(&["export", "mbox", user, path, "--mailbox", mailbox]);
        assert_eq!(ended.code, Some(code), "{}", ended.output());
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert!(!Path::new(&other).exists(), "a mistake leaves nothing behind");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
}

/// Damage costs the damaged message alone, and the exit code says so; the store is only read.
#[test]
fn a_damaged_message_is_named_and_left_out() {
    let Some(mut site) = site() else { return };
    site.start();
    let mut noise = vec![0; 40_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let victim: Vec<u8> = noise.iter().map(|byte| b'!' + byte % 90).collect();
    let mut imap = site.imap();
    for message in [&b"Subject: a\r\n\r\nx\r\n"[..], &victim, b"Subject: b\r\n\r\ny\r\n"] {
        assert_eq!(imap.append("INBOX", "()", message).unwrap().status, "OK");
    }
    drop(imap);
    site.stop();
    damage_largest_group(&site.data);
    let files = files_below(&site.data).unwrap();
    // The lock names the process that has the store open.
    let stored = files.iter().filter(|file| !file.ends_with("pillarbox.lock"));
    let contents = || -> Vec<_> {
        stored.clone().map(|file| (file, blake3::hash(&std::fs::read(file).unwrap()))).collect()
    };
    let before = contents();
    for kind in ["maildir", "mbox"] {
        let path = site.folder.join(kind);
        let ended = site.pillarbox(&["export", kind, USER, &text_of(&path)]);
        assert_eq!(ended.code, Some(3), "{}", ended.output());
        assert!(ended.stderr.contains("not exported: INBOX UID 2: "), "{}", ended.stderr);
        assert!(ended.stderr.contains("exported 2 messages in "), "{}", ended.stderr);
        if let Some((count, _)) = python_counts(kind, &path) {
            assert_eq!(count, 2, "{kind}");
        }
    }
    assert_eq!(files, files_below(&site.data).unwrap(), "an export makes no file");
    assert_eq!(contents(), before, "an export changes nothing");
}

/// Flips a bit in the last group of the log that is as large as the victim.
fn damage_largest_group(data: &Path) {
    for path in files_below(data).unwrap() {
        if path.extension().is_none_or(|ending| ending != "segment") {
            continue;
        }
        let mut content = std::fs::read(&path).unwrap();
        let begins = (8192..content.len()).step_by(4096);
        let length =
            |at: usize| u32::from_le_bytes(content[at + 8..at + 12].try_into().unwrap()) as usize;
        let found = begins.filter(|&at| content[at..].starts_with(b"PBXg") && length(at) > 25_000);
        if let Some(at) = found.max() {
            content[at + 6000] ^= 1;
            std::fs::write(&path, content).unwrap();
            return;
        }
    }
    panic!("no group is large enough");
}
