//! Bounds of `docs/config.example.toml` tried over the wire: what is refused with a small one is
//! not with the default.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::site::{OTHER_USER, PASSWORD, Site, USER};

/// How long an answer may take that does come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(300);
/// Messages in INBOX.
const MESSAGES: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// IMAP before login.
    ImapStranger,
    /// IMAP with INBOX selected.
    Imap,
    Pop3,
    Lmtp,
    Smtp,
}
use Protocol::{Imap, ImapStranger, Lmtp, Pop3, Smtp};

/// The setting, who says what, and the answer that is given because of it.
type Row = (&'static str, Protocol, &'static str, &'static str);

/// A site that is smaller than the default in everything.
const SMALL: &[(&str, &str)] = &[
    (
        "imap",
        "command_bytes = 8192\nliteral_bytes = 4096\nskip_bytes = 100000\nsearch_depth = 3\n\
         search_keys = 8\nsort_bytes = 1024\nsaved_ranges = 1\nsearch_contexts = 1\n\
         notify_mailboxes = 1\nmessages_per_command = 30\nmessages_per_save = 35\n\
         connections_per_user = 2",
    ),
    ("lmtp", "bare_newlines = \"refuse\""),
    ("smtp", "bare_newlines = \"normalise\""),
    ("clients", "failed_logins = 2\nfailed_login_delay_seconds = 0\nbad_commands = 3"),
    (
        "delivery",
        "command_bytes = 512\nrefused_commands = 2\nreceived_fields = 2\nover_quota = \"refuse\"",
    ),
    ("limits", "message_bytes = 100000\nrecipients = 1"),
    ("pop3", "command_bytes = 255"),
];

/// `~` stands for 100 letters, `^` for 9,000.
const SMALL_ROWS: &[Row] = &[
    ("imap.command_bytes", Imap, "a NOOP ^\r\n", "a BAD A command line may have 8192 bytes"),
    (
        "imap.literal_bytes",
        Imap,
        "a SEARCH SUBJECT {5000}\r\n",
        "a BAD Literals of this command may have 4096 bytes",
    ),
    ("imap.skip_bytes", Imap, "a APPEND INBOX {200000+}\r\n", "* BYE [TOOBIG]"),
    (
        "imap.search_depth",
        Imap,
        "a SEARCH NOT NOT NOT NOT ALL\r\n",
        "a search that nests less deeply",
    ),
    (
        "imap.search_keys",
        Imap,
        "a SEARCH ALL ALL ALL ALL ALL ALL ALL ALL ALL\r\n",
        "expected fewer search keys",
    ),
    ("imap.sort_bytes", Imap, "a SORT (SUBJECT) UTF-8 ALL\r\n", "a NO [LIMIT]"),
    ("imap.sort_bytes", Imap, "a THREAD REFERENCES UTF-8 ALL\r\n", "a NO [LIMIT]"),
    ("imap.saved_ranges", Imap, "a UID SEARCH RETURN (SAVE) UID 1,3,5\r\n", "a NO [NOTSAVED]"),
    (
        "imap.search_contexts",
        Imap,
        "a SEARCH RETURN (UPDATE) ALL\r\nb SEARCH RETURN (UPDATE) UNSEEN\r\n",
        "[NOUPDATE \"b\"]",
    ),
    (
        "imap.notify_mailboxes",
        Imap,
        "a NOTIFY SET (personal (MessageNew MessageExpunge))\r\n",
        "[NOTIFICATIONOVERFLOW]",
    ),
    ("imap.messages_per_command", Imap, "a FETCH 1:* FLAGS\r\n", "[MESSAGELIMIT 30"),
    ("imap.messages_per_save", Imap, "a COPY 1:40 INBOX\r\n", "[MESSAGELIMIT 35"),
    (
        "limits.message_bytes",
        Imap,
        "a APPEND INBOX {150000}\r\n",
        "A message may have 100000 bytes",
    ),
    (
        "limits.message_bytes",
        Lmtp,
        "LHLO x\r\nMAIL FROM:<a@example.com> SIZE=150000\r\n",
        "552 5.3.4",
    ),
    (
        "limits.recipients",
        Lmtp,
        "LHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<demo@example.org>\r\n\
         RCPT TO:<second@example.org>\r\n",
        "452 4.5.3",
    ),
    (
        "clients.failed_logins",
        ImapStranger,
        "a LOGIN demo@example.org x\r\nb LOGIN demo@example.org y\r\n",
        "* BYE",
    ),
    (
        "clients.bad_commands",
        Imap,
        "a X\r\nb X\r\nc X\r\n",
        "* BYE Too many commands that are none",
    ),
    ("pop3.command_bytes", Pop3, "USER ~~~\r\n", "-ERR The line is too long"),
    ("delivery.command_bytes", Lmtp, "LHLO x\r\nMAIL FROM:<~~~~~~@example.com>\r\n", "500 5."),
    ("delivery.refused_commands", Lmtp, "LHLO x\r\nX\r\nX\r\nX\r\n", "421 4.7.0"),
    (
        "delivery.received_fields",
        Lmtp,
        "LHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<demo@example.org>\r\nDATA\r\n\
         Received: a\r\nReceived: b\r\nReceived: c\r\nSubject: circles\r\n\r\n.\r\n",
        "554 5.4.6",
    ),
    (
        "delivery.over_quota",
        Lmtp,
        "LHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<second@example.org>\r\nDATA\r\n\
         Subject: too much\r\n\r\n.\r\n",
        "552 5.2.2",
    ),
    (
        "lmtp.bare_newlines",
        Lmtp,
        "LHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<demo@example.org>\r\nDATA\r\n\
         Subject: bare\n\r\n.\r\n",
        "554 5.6.11",
    ),
    (
        "smtp.bare_newlines",
        Smtp,
        "EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<demo@example.org>\r\nDATA\r\n\
         Subject: bare\n\r\n.\r\n",
        "\n250 2.0.0",
    ),
];

/// A site that waits for nobody.
const HASTY: &[(&str, &str)] = &[
    ("imap", "idle_command_seconds = 1"),
    ("clients", "login_seconds = 1\nidle_seconds = 2"),
    ("delivery", "command_seconds = 1\ndata_seconds = 2"),
];

const HASTY_ROWS: &[Row] = &[
    ("imap.idle_command_seconds", Imap, "a IDLE\r\n", "* BYE Idle for too long"),
    ("clients.login_seconds", ImapStranger, "", "* BYE Silent for too long"),
    ("clients.idle_seconds", Imap, "", "* BYE Silent for too long"),
    ("delivery.command_seconds", Lmtp, "LHLO x\r\n", "421 4.4.2"),
    (
        "delivery.data_seconds",
        Lmtp,
        "LHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<demo@example.org>\r\nDATA\r\nSubject: x",
        "421 4.4.2",
    ),
];

/// A started site with these settings and mail in it.
struct Tried {
    site: Site,
    pop3: SocketAddr,
}

impl Tried {
    fn new(settings: &[(&'static str, &'static str)]) -> Tried {
        let mut site = Site::new();
        let pop3 = site.ports.next();
        site.configure(&format!("[pop3]\nlisten = [\"{pop3}\"]"));
        // The sections that a site writes anyway, and [pop3], which was just begun, come first.
        for (section, lines) in settings {
            match *section {
                "imap" | "lmtp" | "smtp" => site.configure_section(section, lines),
                "pop3" => site.configure(lines),
                _ => {}
            }
        }
        for (section, lines) in settings {
            if !["imap", "lmtp", "smtp", "pop3"].contains(section) {
                site.configure(&format!("[{section}]\n{lines}"));
            }
        }
        site.pillarbox(&["account", "quota", OTHER_USER, "--bytes", "1"]).well("account quota");
        site.start();
        let mut stream = TcpStream::connect(site.imap).unwrap();
        stream.write_all(&log_in("c CREATE Other\r\n")).unwrap();
        let message = "Subject: one of many\r\n\r\ntext\r\n";
        for _ in 0..MESSAGES {
            let append = format!("m APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len());
            stream.write_all(append.as_bytes()).unwrap();
        }
        stream.write_all(b"z LOGOUT\r\n").unwrap();
        let said = read_until(&mut stream, "z OK", PATIENCE);
        assert_eq!(said.matches("m OK").count(), MESSAGES, "{said}");
        Tried { site, pop3 }
    }

    /// What is answered to these words, until `wanted` was said, the connection ended or time is
    /// up.
    fn hear(&self, protocol: Protocol, words: &str, wanted: &str, patience: Duration) -> String {
        let words = words.replace('~', &"x".repeat(100)).replace('^', &"x".repeat(9000));
        let address = match protocol {
            Imap | ImapStranger => self.site.imap,
            Pop3 => self.pop3,
            Lmtp => self.site.lmtp,
            Smtp => self.site.smtp,
        };
        let mut stream = TcpStream::connect(address).unwrap();
        let mut said = String::new();
        if protocol == Imap {
            stream.write_all(&log_in("s SELECT INBOX\r\n")).unwrap();
            said = read_until(&mut stream, "s OK", PATIENCE);
            assert!(said.contains("s OK"), "{said}");
        }
        // A step at a time, as SMTP wants where it is not pipelined.
        let is_mail = matches!(protocol, Lmtp | Smtp);
        for step in words.split_inclusive(if is_mail { "DATA\r\n" } else { "\0" }) {
            stream.write_all(step.as_bytes()).unwrap();
            let until = if is_mail && step.ends_with("DATA\r\n") { "\n354" } else { wanted };
            said += &read_until(&mut stream, until, patience);
        }
        if words.is_empty() {
            said += &read_until(&mut stream, wanted, patience);
        }
        said
    }
}

/// Commands of the demo user.
fn log_in(then: &str) -> Vec<u8> {
    format!("l LOGIN {USER} \"{PASSWORD}\"\r\n{then}").into_bytes()
}

fn read_until(stream: &mut TcpStream, wanted: &str, patience: Duration) -> String {
    let deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    loop {
        let said = String::from_utf8_lossy(&bytes).into_owned();
        let left = deadline.saturating_duration_since(Instant::now());
        if said.contains(wanted) || left.is_zero() {
            return said;
        }
        stream.set_read_timeout(Some(left)).unwrap();
        let mut piece = [0; 8192];
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return said,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn try_all(settings: &[(&'static str, &'static str)], rows: &[Row]) {
    let (small, default) = (Tried::new(settings), Tried::new(&[]));
    for (setting, protocol, words, expected) in rows {
        let key = setting.split('.').next_back().unwrap();
        assert!(settings.iter().any(|(_, lines)| lines.contains(key)), "{setting} is not set");
        let said = small.hear(*protocol, words, expected, PATIENCE);
        assert!(said.contains(expected), "{setting}: {expected:?} is not in {said:?}");
        let said = default.hear(*protocol, words, expected, SILENCE);
        assert!(!said.contains(expected), "{setting}: {expected:?} without it: {said:?}");
    }
}

#[test]
fn every_bound_that_is_set_takes_effect() {
    try_all(SMALL, SMALL_ROWS);
}

#[test]
fn every_time_that_is_set_takes_effect() {
    try_all(HASTY, HASTY_ROWS);
}

#[test]
fn a_search_that_nests_as_deeply_as_may_be_set_is_answered() {
    let mut site = Site::new();
    site.configure_section("imap", "search_depth = 500");
    site.start();
    let mut imap = site.imap();
    imap.append("INBOX", "", b"Subject: one\r\n\r\n").unwrap();
    imap.select("INBOX").unwrap();
    for (before, after) in [("NOT ", ""), ("(", ")"), ("OR UNSEEN ", ""), ("FUZZY NOT ", "")] {
        let times = if before.starts_with("FUZZY") { 250 } else { 500 };
        let deep = format!("SEARCH {}SUBJECT one{}", before.repeat(times), after.repeat(times));
        let found = imap.ok(&deep).unwrap();
        assert!(found.untagged[0].text().starts_with("* SEARCH"), "{before}");
        let too_deep = imap.command(&deep.replacen("SEARCH ", "SEARCH NOT ", 1)).unwrap();
        assert_eq!(too_deep.status, "BAD", "{before}");
    }
}

#[test]
fn an_account_has_as_many_connections_as_are_set() {
    let mut site = Site::new();
    site.configure_section("imap", "connections_per_user = 2");
    site.start();
    let _first = site.imap();
    let _second = site.imap();
    let mut third = site.imap_stranger();
    let reply = third.command(&format!("LOGIN {USER} \"{PASSWORD}\"")).unwrap();
    assert_eq!(reply.status, "NO");
    assert!(reply.text.starts_with("[LIMIT]"), "{}", reply.text);
}

/// An address of this machine that is not a loopback one; no packet is sent for it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn an_address_has_as_many_connections_as_are_set() {
    let Some(own) = own_address() else {
        eprintln!("******** SKIPPED: this machine has loopback addresses alone ********");
        return;
    };
    let mut site = Site::new();
    site.imap.set_ip(own);
    site.configure_section("imap", "connections_per_address = 2");
    site.start();
    let greet = |site: &Site| {
        let mut stream = TcpStream::connect(site.imap).unwrap();
        let said = read_until(&mut stream, "\r\n", PATIENCE);
        (stream, said)
    };
    // The one that awaited the greeting may still count.
    let begun = Instant::now();
    let (_first, second) = loop {
        let (first, second) = (greet(&site), greet(&site));
        // It may go between the two.
        if [&first, &second].iter().all(|(_, said)| said.starts_with("* OK ")) {
            break (first, second);
        }
        assert!(begun.elapsed() < PATIENCE, "{} {}", first.1, second.1);
    };
    let third = greet(&site).1;
    assert!(!third.starts_with("* OK "), "{third}");
    drop(second);
    let begun = Instant::now();
    while !greet(&site).1.starts_with("* OK ") {
        assert!(begun.elapsed() < PATIENCE, "one has gone");
    }
}

#[test]
fn a_long_search_tells_how_far_it_is_as_often_as_is_set() {
    let mut site = Site::new();
    let bounds = "search_keys = 100000\ncommand_bytes = 1000000\nliteral_bytes = 1000000";
    site.configure_section("imap", &format!("progress_seconds = 1\n{bounds}"));
    site.start();
    let mut imap = site.imap();
    let message = format!("Subject: long\r\n\r\n{}", "0123456789abcdef\r\n".repeat(50_000));
    for _ in 0..MESSAGES {
        imap.append("INBOX", "", message.as_bytes()).unwrap();
    }
    imap.select("INBOX").unwrap();
    // As many keys as take some seconds here. They are accents without letters, which the index
    // leaves to be looked for.
    for count in (0..12).map(|doubled| 25 << doubled) {
        let key = |number: usize| {
            let accents = "\u{301}".repeat(2 + number % 10);
            format!("NOT BODY {{{}+}}\r\n{accents} ", accents.len())
        };
        let keys: String = (0..count).map(key).collect();
        let begun = Instant::now();
        let reply = imap.ok(&format!("SEARCH CHARSET UTF-8 {keys}ALL")).unwrap();
        if begun.elapsed() > Duration::from_secs(2) {
            let texts: Vec<String> = reply.untagged.iter().map(|line| line.text()).collect();
            let told = texts.iter().any(|text| text.starts_with("* OK [INPROGRESS ("));
            assert!(told, "{texts:?}");
            return;
        }
    }
    panic!("no search takes two seconds here");
}

#[test]
fn a_failed_login_is_answered_as_late_as_is_set() {
    let mut site = Site::new();
    site.configure("[clients]\nfailed_login_delay_seconds = 4");
    site.start();
    let begun = Instant::now();
    let reply = site.imap_stranger().command(&format!("LOGIN {USER} wrong")).unwrap();
    assert_eq!(reply.status, "NO");
    assert!(begun.elapsed() >= Duration::from_secs(4), "the default is two");
}

#[test]
fn a_client_that_reads_nothing_is_left_after_the_time_that_is_set() {
    let mut site = Site::new();
    site.configure("[clients]\nwrite_seconds = 1");
    site.start();
    let mut imap = site.imap();
    let message = format!("Subject: long\r\n\r\n{}", "0123456789abcdef\r\n".repeat(100_000));
    imap.append("INBOX", "", message.as_bytes()).unwrap();
    imap.select("INBOX").unwrap();
    for _ in 0..40 {
        imap.send(b"FETCH 1 BODY.PEEK[]").unwrap();
    }
    let begun = Instant::now();
    while !site.log().contains("client does not read its answers") {
        assert!(begun.elapsed() < PATIENCE, "the server waits: {}", site.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let answers = std::iter::from_fn(|| imap.response().ok());
    let bodies = answers.filter(|response| response.fetched().is_some()).count();
    assert!(bodies < 40, "all of 70 MB were sent to who did not read");
}
