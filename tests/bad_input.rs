//! What nobody should send, and what nobody should start a server on: the exact answer to each.
//!
//! The tables are the contract; a server that answers otherwise changes them in the same commit.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::imap::{Imap, quoted};
use support::site::{DOMAIN, Kind, Site, USER, binary, set_mode, text_of};
use support::smtp::{Dialect, Smtp};
use support::tool;

/// Mounting and unmounting.
const MOUNT_DEADLINE: Duration = Duration::from_secs(30);

/// (sent after a tag and a space, status, a part of the answer, reason)
const IMAP_REFUSALS: [(&[u8], &str, &str, &str); 17] = [
    (b"", "BAD", "", "no command"),
    (b"FROBNICATE", "BAD", "", "an unknown command"),
    (b"SELECT", "BAD", "", "an argument is missing"),
    (b"SELECT INBOX surplus", "BAD", "", "an argument too many"),
    (b"SELECT \"unfinished", "BAD", "", "a quoted string that does not end"),
    (b"SELECT \"a\x00b\"", "BAD", "", "NUL"),
    (b"SELECT Nowhere", "NO", "[NONEXISTENT]", "no such mailbox (RFC 5530)"),
    (b"CREATE \"\xff\xfe\"", "NO", "[CANNOT]", "neither UTF-8 nor modified UTF-7"),
    (b"STATUS \"\xc3\" (MESSAGES)", "NO", "[NONEXISTENT]", "half a letter of UTF-8"),
    (b"RENAME INBOX \"a\xc0\x80b\"", "NO", "[CANNOT]", "NUL in an overlong form"),
    (b"SUBSCRIBE {3+}\r\na\x00b", "BAD", "", "NUL in a literal (RFC 3501 section 9)"),
    (b"ID (\"name\" \"\x00\")", "BAD", "", "NUL in a quoted string"),
    (b"LOGIN \"\xff\" \"\xff\"", "BAD", "", "who is logged in does not log in again"),
    (b"FETCH 1 (FLAGS)", "BAD", "", "no mailbox is selected"),
    (b"UID FETCH 1:* (BODY[1.2.)", "BAD", "", "a section that does not end"),
    (b"SEARCH ((((((((", "BAD", "", "parentheses that do not end"),
    (b"APPEND Nowhere {5}", "NO", "[TRYCREATE]", "refused before its bytes (RFC 3501 6.3.11)"),
];

#[test]
fn commands_that_are_none_are_answered_and_the_session_goes_on() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut imap = site.imap();
    for (command, status, part, reason) in IMAP_REFUSALS {
        let tag = imap.send(command).unwrap();
        let reply = imap.finish(&tag, |_| ()).unwrap_or_else(|error| panic!("{reason}: {error}"));
        assert_eq!(reply.status, status, "{reason}: {reply:?}");
        assert!(reply.text.contains(part), "{reason}: {reply:?}");
        imap.ok("NOOP").unwrap_or_else(|error| panic!("after {reason}: {error}"));
    }
}

#[test]
fn commands_and_literals_beyond_their_bounds_are_refused_without_being_kept() {
    let site = Site::started();
    let mut imap = site.imap();
    let long = [b"SELECT \"".as_slice(), &vec![b'x'; 1 << 20], b"\""].concat();
    let tag = imap.send(&long).unwrap();
    let reply = imap.finish(&tag, |_| ()).unwrap();
    assert_eq!(reply.status, "BAD", "a line of 1 MiB: {}", reply.text);
    imap.ok("NOOP").unwrap();
    if !site.is_pillarbox() {
        return;
    }
    for (command, status, part, reason) in [
        ("APPEND INBOX {1099511627776}", "NO", "[TOOBIG]", "a message of 1 TiB"),
        ("APPEND INBOX {99999999999999999999999}", "BAD", "", "more than 64 bits"),
        ("SELECT {100000000}", "BAD", "", "a mailbox name of 100 MB"),
    ] {
        let reply = imap.command(command).unwrap();
        assert_eq!(reply.status, status, "{reason}: {}", reply.text);
        assert!(reply.text.contains(part), "{reason}: {}", reply.text);
    }
    imap.ok("NOOP").unwrap();

    let mut stranger = site.imap_stranger();
    let reply = stranger.command("LOGIN {100000}").unwrap();
    assert_eq!(reply.status, "BAD", "strangers get 4 KiB: {}", reply.text);
    let tag = stranger.send(b"LOGIN {4000000000+}").unwrap();
    let bytes = vec![b'x'; 1 << 20];
    // The server says what is wrong, and hangs up.
    while stranger.send_raw(&bytes).is_ok() {}
    let reply = stranger.finish(&tag, |_| ()).unwrap();
    assert_eq!(reply.status, "BAD", "{}", reply.text);
    assert!(stranger.response().unwrap().text().starts_with("* BYE [TOOBIG]"));
    assert!(stranger.response().is_err(), "no session after that");
    imap.ok("NOOP").unwrap();
}

#[test]
fn who_does_not_speak_imap_is_dismissed() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut imap = site.imap_stranger();
    for _ in 0..20 {
        let _ = imap.send_raw(b"\x16\x03\x01\x02\x00 hello\r\n");
    }
    let mut said = String::new();
    while let Ok(response) = imap.response() {
        said += &response.text();
    }
    assert!(said.contains("* BYE"), "{said}");
    // A command cut short by the end of the connection hurts nobody.
    for bytes in [&b"a LOGIN \"demo"[..], b"a APPEND INBOX {100}\r\nSubj", b"a", b"\r"] {
        let mut imap = site.imap_stranger();
        imap.send_raw(bytes).unwrap();
    }
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 0);
}

/// (name on the wire, whether it can be made, reason)
const MAILBOX_NAMES: [(&str, bool, &str); 18] = [
    ("with space", true, "a space"),
    ("with \\\"quotes\\\"", true, "quotes, quoted"),
    ("back\\\\slash", true, "a backslash, quoted"),
    ("(parens) {braces} [brackets]", true, "delimiters of the grammar"),
    ("percent%star*", false, "wildcards of LIST"),
    ("dots.and..dots", true, "dots are no separator here"),
    ("../../../etc/passwd", true, "names are no paths"),
    (".", true, "names are no paths"),
    ("..", true, "names are no paths"),
    ("CON/NUL/aux.txt", true, "names of devices elsewhere"),
    ("&ZeVnLIqe-/&U,BTFw-", true, "modified UTF-7"),
    ("&", false, "an unfinished shift of modified UTF-7"),
    ("&Jjo", false, "an unfinished shift of modified UTF-7"),
    ("a//b", false, "an empty level"),
    ("/a", false, "an empty first level"),
    ("", false, "no name"),
    ("inbox/below", true, "below INBOX"),
    ("Entw&APw-rfe'; DROP TABLE mail; --", true, "another's language"),
];

/// Each character alone between two letters, quoted or as a literal. What cannot be in a name is
/// refused; all else is listed as it was made, also after a crash.
#[test]
fn every_odd_character_can_be_in_a_mailbox_name_or_is_refused() {
    let mut site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut imap = site.imap();
    let mut made = Vec::new();
    let beyond = ["é", "ß", "İ", "日", "\u{1f4ee}", "\u{301}", "\u{200b}", "\u{202e}", "\u{fffd}"];
    let ascii = (1..=0x7f_u8).map(|byte| char::from(byte).to_string());
    for character in ascii.chain(beyond.map(str::to_owned)) {
        let name = format!("x{character}y");
        let literal = format!("CREATE {{{}+}}\r\n{name}", name.len());
        let reply = imap.command(&literal).unwrap();
        let refused = character.chars().all(char::is_control) || "%*&".contains(&character);
        let expected = if refused { ("NO", "[CANNOT]") } else { ("OK", "") };
        assert!(
            reply.status == expected.0 && reply.text.contains(expected.1),
            "{name:?}: {reply:?}"
        );
        if !refused {
            made.push(name);
        }
    }
    site.kill9();
    site.start();
    let mut imap = site.imap();
    imap.ok("ENABLE IMAP4rev2").unwrap();
    for name in made {
        let literal = format!("STATUS {{{}+}}\r\n{name} (MESSAGES)", name.len());
        imap.ok(&literal).unwrap_or_else(|error| panic!("{name:?} is gone: {error}"));
    }
}

#[test]
fn odd_mailbox_names_are_kept_as_they_are_or_refused() {
    let mut site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut imap = site.imap();
    let mut made = Vec::new();
    for (name, can_be_made, reason) in MAILBOX_NAMES {
        let reply = imap.command(&format!("CREATE \"{name}\"")).unwrap();
        let expected = if can_be_made { "OK" } else { "NO" };
        assert_eq!(reply.status, expected, "{name:?}, {reason}: {}", reply.text);
        if can_be_made {
            imap.ok(&format!("SELECT \"{name}\"")).unwrap();
            imap.ok("CLOSE").unwrap();
            made.push(name.replace("\\\"", "\"").replace("\\\\", "\\"));
        }
    }
    let deep = vec!["x"; 200].join("/");
    assert_eq!(imap.command(&format!("CREATE {deep}")).unwrap().status, "NO", "200 levels");
    let long = "y".repeat(5000);
    assert_eq!(imap.command(&format!("CREATE {long}")).unwrap().status, "NO", "5000 letters");
    site.kill9();
    site.start();
    let listed = site.imap().mailboxes().unwrap();
    for name in made {
        let name = name.replacen("inbox/", "INBOX/", 1);
        assert!(
            listed.iter().any(|listed| listed == name.as_bytes()),
            "{name:?} is not among {:?}",
            listed.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>()
        );
    }
}

/// (line, code, a part of the answer, reason)
const SMTP_REFUSALS: [(&[u8], u16, &str, &str); 12] = [
    (b"\r\n", 500, "5.5", "no command"),
    (b"FROBNICATE\r\n", 500, "5.5.1", "an unknown command"),
    (b"MAIL FROM:<a@b.example\r\n", 501, "5.", "an address that does not end"),
    (b"MAIL FROM:<a@b.example> FOO=BAR\r\n", 555, "5.5.4", "an unknown parameter"),
    (b"MAIL FROM:<a@b.example> SIZE=99999999999\r\n", 552, "5.3.4", "announced as too large"),
    (b"MAIL FROM:<a\x00b@b.example>\r\n", 501, "5.", "NUL"),
    (b"RCPT TO:<demo@example.org>\r\n", 503, "5.5.1", "a recipient without a sender"),
    (b"DATA\r\n", 503, "5.5.1", "a message without a sender"),
    (b"NOOP\n", 500, "5.5.2", "a bare line feed"),
    (b"MAIL FROM:<\xff\xfe@b.example>\r\n", 501, "5.", "no UTF-8"),
    (b"EHLO \x01\r\n", 501, "5.5.4", "a control character"),
    (b"\x00\r\n", 500, "5.5", "NUL"),
];

#[test]
fn smtp_lines_that_are_none_are_answered_and_the_session_goes_on() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    for (line, code, part, reason) in SMTP_REFUSALS {
        let mut smtp = site.smtp();
        smtp.send_raw(line).unwrap();
        let reply = smtp.reply().unwrap_or_else(|error| panic!("{reason}: {error}"));
        assert!(reply.code == code && reply.text.contains(part), "{reason}: {reply:?}");
        assert_eq!(smtp.command("NOOP").unwrap().code, 250, "after {reason}");
    }
    let mut smtp = site.smtp();
    let long = format!("MAIL FROM:<{}@b.example>", "x".repeat(100_000));
    assert_eq!(smtp.command(&long).unwrap().code, 500, "a line of 100,000 letters");
    assert_eq!(smtp.command("NOOP").unwrap().code, 250);
}

/// A message whose end never came was never taken.
#[test]
fn a_connection_that_ends_within_a_message_leaves_nothing() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    for (sent, reason) in [
        (&b"Subject: half\r\n"[..], "in the header"),
        (b"Subject: half\r\n\r\ntext\r\n", "before the dot"),
        (b"Subject: half\r\n\r\ntext\r\n.", "after the dot"),
        (b"Subject: half\r\n\r\ntext\r\n.\r", "within the last line end"),
    ] {
        for mut smtp in [site.lmtp(), site.smtp()] {
            smtp.command("MAIL FROM:<a@b.example>").unwrap();
            smtp.command(&format!("RCPT TO:<{USER}>")).unwrap();
            assert_eq!(smtp.command("DATA").unwrap().code, 354, "{reason}");
            smtp.send_raw(sent).unwrap();
        }
    }
    let replies = site.lmtp().deliver("s@example.com", &[USER], b"Subject: whole\r\n\r\nx\r\n");
    assert_eq!(replies.unwrap()[0].code, 250);
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 1);
    assert_eq!(imap.search("SUBJECT whole").unwrap(), [1]);
}

/// S5: most mail from the world is refused after its last byte. Nothing of it enters the log, so
/// that it is neither flushed nor shipped nor archived, and the spool keeps nothing.
#[test]
fn what_is_refused_after_its_last_byte_never_enters_the_log() {
    let mut site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    site.announce_error("");
    let written = |site: &Site| {
        let status = site.pillarbox(&["status", "--json"]).well("status").stdout;
        let (_, after) = status.split_once("\"log_bytes_since_start\":").unwrap();
        after.split([',', '}']).next().unwrap().parse::<u64>().unwrap()
    };
    let before = written(&site);
    let mut smtp = site.smtp();
    for _ in 0..4 {
        smtp.command("MAIL FROM:<a@b.example>").unwrap();
        smtp.command(&format!("RCPT TO:<{USER}>")).unwrap();
        assert_eq!(smtp.command("DATA").unwrap().code, 354);
        let large = b"0123456789abcdef\r\n".repeat(300_000);
        smtp.send_raw(&[b"Subject: x\r\n\r\n", large.as_slice()].concat()).unwrap();
        // The last line has a bare line feed.
        smtp.send_raw(b"x\nx\r\n.\r\n").unwrap();
        assert_eq!(smtp.reply().unwrap().code, 554);
    }
    let after = written(&site);
    // A mark of how far the log is durable may have come, and nothing else.
    assert!(after - before < 4096, "{} bytes for what was refused", after - before);
    assert_eq!(std::fs::read_dir(site.data.join("spool")).unwrap().count(), 0);
}

/// The end of a message can be told from its middle in one way only, or mail can be smuggled.
#[test]
fn a_message_with_bare_line_feeds_is_refused_by_smtp() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut smtp = site.smtp();
    for (end, reason) in [("\n.\n", "LF dot LF"), ("\r\n.\n", "CRLF dot LF"), ("\n.\r\n", "LF dot")]
    {
        smtp.command("MAIL FROM:<a@b.example>").unwrap();
        smtp.command(&format!("RCPT TO:<{USER}>")).unwrap();
        assert_eq!(smtp.command("DATA").unwrap().code, 354);
        let inner = "MAIL FROM:<smuggler@b.example>";
        smtp.send_raw(format!("Subject: x\r\n\r\na{end}{inner}\r\n.\r\n").as_bytes()).unwrap();
        let reply = smtp.reply().unwrap();
        assert!(reply.code == 554 && reply.text.contains("5.6.11"), "{reason}: {reply:?}");
    }
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 0);
}

/// (name, message): malformed, and yet the sender has done his part: it is stored and shown.
fn malformed_messages() -> Vec<(&'static str, Vec<u8>)> {
    let long_line =
        [b"Subject: ".as_slice(), &vec![b'x'; 10_000_000], b"\r\n\r\nbody\r\n"].concat();
    let many_lines = "X-Many: header line\r\n".repeat(100_000) + "\r\nbody\r\n";
    let mut nested = "Subject: nested\r\n".to_owned();
    for level in 0..10_000 {
        nested +=
            &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    nested += "Content-Type: text/plain\r\n\r\nat the bottom\r\n";
    let messages_in_messages =
        "Content-Type: message/rfc822\r\n\r\n".repeat(10_000) + "Subject: inmost\r\n\r\nx\r\n";
    let comments = format!("From: {}a@b.example\r\n\r\nx\r\n", "(".repeat(100_000));
    vec![
        ("a header line of 10 MB", long_line),
        ("100,000 header lines", many_lines.into_bytes()),
        ("10,000 multiparts in each other", nested.into_bytes()),
        ("10,000 messages in each other", messages_in_messages.into_bytes()),
        ("100,000 open comments", comments.into_bytes()),
        ("bytes that are no UTF-8", b"Subject: \xff\xfe\x80\r\n\r\n\xc3\x28\r\n".to_vec()),
        ("control letters", b"Subject: \x01\x02\x7f\x1b[31m\r\n\r\n\x07\r\n".to_vec()),
        ("NUL", b"Subject: a\0b\r\n\0: c\r\n\r\nd\0e\r\n\0\r\n".to_vec()),
        ("no header at all", b"\r\nbody\r\n".to_vec()),
        ("only a header", b"Subject: header\r\n".to_vec()),
        (
            "a boundary of nothing",
            b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n".to_vec(),
        ),
        ("a date of nonsense", b"Date: 99 Foo 99999 99:99:99 +9999\r\n\r\nx\r\n".to_vec()),
    ]
}

#[test]
fn malformed_messages_are_taken_kept_and_shown() {
    let site = Site::started();
    let messages = malformed_messages();
    let mut lmtp = site.lmtp();
    for (name, message) in &messages {
        let replies = lmtp.deliver("s@example.com", &[USER], message).unwrap();
        assert_eq!(replies[0].code, 250, "{name}: {replies:?}");
    }
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists as usize, messages.len());
    for (index, (name, message)) in messages.iter().enumerate() {
        let uid = (index + 1).to_string();
        for items in ["(FLAGS ENVELOPE)", "(BODYSTRUCTURE)", "(RFC822.SIZE INTERNALDATE BODY[1])"] {
            let fetched = imap.fetch(&uid, items);
            let fetched = fetched.unwrap_or_else(|error| panic!("{name}, {items}: {error}"));
            assert_eq!(fetched.len(), 1, "{name}, {items}");
        }
        let body = imap.fetch(&uid, "(BODY.PEEK[])").unwrap().remove(0).body.unwrap();
        // IMAP has no NUL: it is shown as 0x80 (docs/imap.md).
        let shown: Vec<u8> =
            message.iter().map(|&byte| if byte == 0 { 0x80 } else { byte }).collect();
        assert!(body.ends_with(&shown), "{name} has other bytes");
        let found = imap.search(&format!("UID {uid} TEXT zyzzyva")).unwrap();
        assert_eq!(found, [], "{name}: a search gets through it");
    }
}

#[test]
fn a_message_beyond_the_limit_is_refused_and_the_next_one_taken() {
    let mut site = Site::new();
    if !site.is_pillarbox() {
        return;
    }
    site.configure("[limits]\nmessage_bytes = 1000000");
    site.start();
    let large = [b"Subject: large\r\n\r\n".as_slice(), &b"0123456789\r\n".repeat(200_000)].concat();
    let mut lmtp = site.lmtp();
    assert!(lmtp.extensions.iter().any(|line| line == "SIZE 1000000"), "{:?}", lmtp.extensions);
    let replies = lmtp.deliver("s@example.com", &[USER], &large).unwrap();
    assert!(replies[0].code == 552 && replies[0].text.contains("5.3.4"), "{replies:?}");
    let replies = lmtp.deliver("s@example.com", &[USER], b"Subject: x\r\n\r\nx\r\n").unwrap();
    assert_eq!(replies[0].code, 250, "the session goes on");
    let mut imap = site.imap();
    let reply = imap.append("INBOX", "", &large).unwrap();
    assert!(reply.status == "NO" && reply.text.contains("[TOOBIG]"), "{reply:?}");
    let reply = imap.append("INBOX", "", b"Subject: N\x00L\r\n\r\nx\r\n").unwrap();
    assert_eq!(reply.status, "BAD", "NUL in a literal (RFC 3501 section 9): {}", reply.text);
    assert_eq!(imap.select("INBOX").unwrap().exists, 1);
}

// ---- data directories that cannot be served ----

/// Runs `serve` to its end; the exit code and a part of what it says are expected.
fn assert_refused(site: &mut Site, code: i32, part: &str) {
    // Such a refusal may be logged as an error: it is what the operator must see.
    site.announce_error("");
    site.spawn();
    let (ended, said) = site.await_end();
    assert_eq!(ended, Some(code), "{said}");
    assert!(said.contains(part), "{part:?} is not in: {said}");
}

fn stopped_site() -> Option<Site> {
    (Kind::chosen() == Kind::Pillarbox).then(Site::new)
}

#[test]
fn a_wrong_key_file_opens_nothing() {
    let Some(mut site) = stopped_site() else { return };
    let other = site.folder.join("other.key");
    std::fs::write(&other, "0123456789abcdef".repeat(4)).unwrap();
    set_mode(&other, 0o600);
    site.configure(&format!("[key]\nfile = {other:?}"));
    let said = format!("{} is not the key of this data directory", other.display());
    assert_refused(&mut site, 77, &said);
}

#[test]
fn a_wrong_passphrase_opens_nothing() {
    let mut site = Site::empty();
    if !site.is_pillarbox() {
        return;
    }
    let (right, wrong) = (site.folder.join("right"), site.folder.join("wrong"));
    std::fs::write(&right, "open sesame\n").unwrap();
    std::fs::write(&wrong, "open barley\n").unwrap();
    let data = text_of(&site.data);
    binary(&["init", &data, "--passphrase-file", &text_of(&right)], &[], b"").well("init");
    site.configure(&format!("[key]\npassphrase_file = {wrong:?}"));
    assert_refused(&mut site, 77, "the passphrase is wrong: it does not open the root key");
}

#[test]
fn a_data_directory_in_use_is_not_opened_twice() {
    let Some(mut site) = stopped_site() else { return };
    site.start();
    let mut second = Site::empty();
    second.data = site.data.clone();
    second.configure(&format!("[key]\nfile = {:?}", site.key_file()));
    let said = format!("{} is in use by process ", site.data.display());
    assert_refused(&mut second, 75, &said);
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 0, "the first goes on");
}

#[test]
fn what_is_no_data_directory_is_left_alone() {
    let Some(site) = stopped_site() else { return };
    let mut other = Site::empty();
    other.configure(&format!("[key]\nfile = {:?}", site.key_file()));
    let said = format!(
        "{} is not a Pillarbox data directory; make one with 'pillarbox init'",
        other.data.display()
    );
    assert_refused(&mut other, 1, &said);
    std::fs::create_dir(&other.data).unwrap();
    assert_refused(&mut other, 1, &said);
    let precious = other.data.join("thesis.txt");
    std::fs::write(&precious, "years of work").unwrap();
    assert_refused(&mut other, 1, &said);
    let init = other.init();
    assert_eq!(init.code, Some(1), "init wants an empty directory: {}", init.output());
    assert_eq!(std::fs::read(precious).unwrap(), b"years of work");
    assert_eq!(std::fs::read_dir(&other.data).unwrap().count(), 1, "nothing was added");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let Some(mut site) = stopped_site() else { return };
    let path = site.data.join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let format = text.lines().find(|line| line.starts_with("format")).expect("node.toml has one");
    let name = format.split('=').next().unwrap().trim();
    std::fs::write(&path, text.replace(format, &format!("{name} = 999"))).unwrap();
    let said = "has format 999, but this version of Pillarbox reads up to ";
    assert_refused(&mut site, 1, said);
    std::fs::write(&path, text).unwrap();
    site.start();
}

#[test]
fn an_unreadable_directory_is_told_from_a_missing_one() {
    let Some(mut site) = stopped_site() else { return };
    set_mode(&site.data, 0o000);
    let ended = site.serve_without_privileges();
    set_mode(&site.data, 0o700);
    let said = format!("of {} failed: Permission denied", site.data.join("node.toml").display());
    assert!(ended.code == Some(77) && ended.stderr.contains(&said), "{ended:?}");
    // What is missing is another matter, and so is what is no directory.
    std::fs::rename(&site.data, site.folder.join("moved")).unwrap();
    assert_refused(&mut site, 1, "is not a Pillarbox data directory");
    std::fs::write(&site.data, "a file").unwrap();
    assert_refused(&mut site, 74, "failed: Not a directory");
}

// ---- disks that say no ----

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(test: &str, at: &Path, megabytes: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]).arg(at);
        let mounted = tool::run(&mut mount, b"", MOUNT_DEADLINE);
        if mounted.code == Some(0) {
            return Some(SmallDisk(at.to_owned()));
        }
        tool::skipped(test, &format!("mount is not permitted: {}", mounted.stderr.trim()));
        None
    }

    fn remount(&self, option: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{option}")]).arg(&self.0);
        tool::run(&mut mount, b"", MOUNT_DEADLINE).well("remount");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A site whose data lies on a small disk.
fn site_on(disk: &Path) -> Site {
    let mut site = Site::empty();
    site.data = disk.join("data");
    site.configure_store("reserve_bytes = 33554432");
    let key = text_of(&site.key_file());
    binary(&["init", &text_of(&site.data), "--new-key-file", &key], &[], b"").well("init");
    site.configure(&format!("[key]\nfile = {key:?}"));
    site.pillarbox(&["domain", "add", DOMAIN]).well("domain add");
    site.pillarbox(&["account", "add", USER]).well("account add");
    site
}

#[test]
fn a_full_disk_refuses_mail_for_now_and_loses_none() {
    let name = "a full disk";
    if Kind::chosen() != Kind::Pillarbox {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(name, folder.path(), 400) else { return };
    let mut site = site_on(folder.path());
    // That the disk is full is for a person to act on.
    site.announce_error("full");
    site.announce_error("space");
    site.start();
    let mut random = support::random::Random::new(7);
    let mut lmtp = site.lmtp();
    let mut acknowledged = 0;
    let refusal = loop {
        // Random letters: compression must not make it fit.
        let lines = (0..40_000).map(|_| format!("{:016x}\r\n", random.next()));
        let message = format!("Subject: {acknowledged}\r\n\r\n{}", lines.collect::<String>());
        let replies = lmtp.deliver("s@example.com", &[USER], message.as_bytes()).unwrap();
        if replies[0].code != 250 {
            break replies[0].clone();
        }
        acknowledged += 1;
        assert!(acknowledged < 2000, "400 MB never fill");
    };
    assert!(refusal.code == 452 && refusal.text.contains("4.3.1"), "{refusal:?}");
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, acknowledged, "all that was acknowledged");
    let reply = imap.append("INBOX", "", &vec![b'x'; 1_000_000]).unwrap();
    assert_eq!(reply.status, "NO", "{}", reply.text);
    imap.ok("UID STORE 1:10 +FLAGS (\\Deleted)").expect("a reserve is kept for deleting");
    imap.ok("EXPUNGE").unwrap();
    site.kill9();
    site.start();
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, acknowledged - 10);
    let mut readable = 0;
    imap.fetch_each("1:*", "(BODY.PEEK[])", |fetched| {
        readable += u32::from(fetched.body.is_some_and(|body| body.len() > 500_000));
    })
    .unwrap();
    assert_eq!(readable, acknowledged - 10);
}

#[test]
fn a_read_only_disk_is_said_and_not_served() {
    if Kind::chosen() != Kind::Pillarbox {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "a read-only disk";
    let Some(disk) = SmallDisk::mount(name, folder.path(), 400) else { return };
    let mut site = site_on(folder.path());
    // What the first start makes beside the store, its certificate, is there.
    site.start();
    site.stop();
    disk.remount("ro");
    assert_refused(&mut site, 74, "Read-only file system");
    let init = {
        let new = text_of(&folder.path().join("new"));
        binary(&["init", &new, "--new-key-file", &text_of(&site.folder.join("new.key"))], &[], b"")
    };
    assert_eq!(init.code, Some(74), "{init:?}");
    assert!(init.stderr.contains("failed: Read-only file system"), "{init:?}");
    assert!(!site.folder.join("new.key").exists(), "no key is left for a store that is not");
    let deliver = site.pillarbox_with_input(&["deliver", USER], b"Subject: x\n\nx\n");
    assert_eq!(deliver.code, Some(74), "{deliver:?}");
    disk.remount("rw");
    site.start();
    let replies = site.lmtp().deliver("s@example.com", &[USER], b"Subject: x\r\n\r\nx\r\n");
    assert_eq!(replies.unwrap()[0].code, 250);
}

/// A port that speaks LMTP is not one that speaks SMTP, and says so.
#[test]
fn each_port_speaks_its_own_dialect() {
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mut lmtp = Smtp::connect_silent(site.lmtp, Dialect::Lmtp).unwrap();
    assert_eq!(lmtp.command("EHLO client.example").unwrap().code, 500);
    let mut smtp = Smtp::connect_silent(site.smtp, Dialect::Smtp).unwrap();
    assert_eq!(smtp.command("LHLO client.example").unwrap().code, 500);
    let wrong = Imap::login(site.imap, USER, "not the password");
    assert!(wrong.err().unwrap().to_string().contains("[AUTHENTICATIONFAILED]"));
    let unknown = Imap::login(site.imap, &quoted("nobody"), "not the password");
    assert!(unknown.err().unwrap().to_string().contains("[AUTHENTICATIONFAILED]"));
}
