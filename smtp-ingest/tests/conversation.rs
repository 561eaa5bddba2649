//! Conversations with the whole crate over a pipe, with a mailroom in memory.
//!
//! A transcript in `transcripts/` has lines `C:` (sent; lines in a row leave in one write), `S:`
//! (received; what stands for `...` is free), `M: account mailbox text` (a message is stored there
//! that contains the text, oldest first) and `X` (the server closes). Its first line cites the
//! rule.

#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests count small things"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::error::{CommitError, ReadError};
use engine::ids::{AccountNumber, Lsn, Uid, UidValidity, UnixSeconds};
use engine::{Appended, DeliverTo, Resolution, Ticket};
use proptest::prelude::*;
use smtp_ingest::{
    BareNewline, ByteBudget, Config, Dialect, Mailroom, OverQuota, QuotaUse, serve_connection,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

const ALICE: AccountNumber = AccountNumber(1);
const BOB: AccountNumber = AccountNumber(2);
/// Resolves, but its disk is full at commit.
const FULL: AccountNumber = AccountNumber(3);
/// Over its quota already at RCPT.
const STUFFED: AccountNumber = AccountNumber(4);
/// Was deleted between RCPT and commit.
const GONE: AccountNumber = AccountNumber(5);

struct Stored {
    account: AccountNumber,
    mailbox: String,
    message: Vec<u8>,
}

#[derive(Clone, Default)]
struct MemoryMailroom {
    stored: Arc<Mutex<Vec<Stored>>>,
}

impl Mailroom for MemoryMailroom {
    fn resolve(&self, address: &str) -> Result<Resolution, ReadError> {
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, "example.org"));
        if domain == "broken.example" {
            return Err(ReadError::Table("test".to_owned()));
        }
        if domain != "example.org" {
            return Ok(Resolution::NoSuchDomain);
        }
        let (name, detail) = match local.split_once('+') {
            Some((name, detail)) => (name, Some(detail.to_owned())),
            None => (local, None),
        };
        let accounts = match name {
            "alice" | "postmaster" | "a b" | "grün" => vec![ALICE],
            "bob" => vec![BOB],
            "full" => vec![FULL],
            "stuffed" => vec![STUFFED],
            "gone" => vec![GONE],
            "all" => vec![ALICE, BOB],
            "some" => vec![ALICE, FULL],
            "many" => (1000..1600).map(AccountNumber).collect(),
            "more" => (1600..2200).map(AccountNumber).collect(),
            "nobody" => Vec::new(),
            _ => return Ok(Resolution::NoSuchUser),
        };
        Ok(Resolution::Accounts { accounts, detail })
    }

    fn quota(&self, account: AccountNumber) -> Result<QuotaUse, ReadError> {
        let used_bytes = if account == STUFFED { 101 } else { 50 };
        Ok(QuotaUse { used_bytes, limit_bytes: (account.0 == STUFFED.0).then_some(100) })
    }

    fn has_mailbox(&self, _account: AccountNumber, name: &str) -> Result<bool, ReadError> {
        Ok(name == "lists")
    }

    fn deliver(
        &self,
        message: &[u8],
        _received: UnixSeconds,
        recipients: Vec<DeliverTo>,
    ) -> Result<Ticket<Vec<Result<Appended, CommitError>>>, CommitError> {
        let text = String::from_utf8_lossy(message);
        assert!(!text.contains("Subject: panic"), "a message that a test asked to panic at");
        if text.contains("Subject: busy") {
            return Err(CommitError::QueueFull);
        }
        let accounts: BTreeSet<_> = recipients.iter().map(|to| to.account).collect();
        assert_eq!(accounts.len(), recipients.len(), "an account has one copy");
        let mut stored = self.stored.lock().unwrap();
        let answers = recipients.into_iter().map(|to| match to.account {
            FULL => Err(CommitError::DiskFull),
            GONE => Err(CommitError::NoSuchAccount),
            account => {
                stored.push(Stored { account, mailbox: to.mailbox, message: message.to_vec() });
                Ok(Appended { uid_validity: UidValidity(1), uids: vec![Uid(1)], modseq: Lsn::ZERO })
            }
        });
        Ok(Ticket::answered(answers.collect()))
    }
}

struct Client {
    stream: DuplexStream,
    received: Vec<u8>,
    mailroom: MemoryMailroom,
    shutdown: watch::Sender<bool>,
    server: tokio::task::JoinHandle<()>,
}

fn settings() -> Config {
    Config {
        hostname: "mx.example.org".to_owned(),
        message_bytes_max: 100_000,
        recipients_max: 5,
        errors_max: 8,
        ..Config::default()
    }
}

fn connect(dialect: Dialect, config: Config) -> Client {
    let (stream, theirs) = tokio::io::duplex(1 << 20);
    let mailroom = MemoryMailroom::default();
    let (shutdown, told) = watch::channel(false);
    let peer = "192.0.2.1:2525".parse().unwrap();
    let serve =
        serve_connection(mailroom.clone(), theirs, peer, dialect, None, Arc::new(config), told);
    let server = tokio::spawn(serve);
    Client { stream, received: Vec::new(), mailroom, shutdown, server }
}

impl Client {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next line, without its CRLF; `None` at the end.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Some(String::from_utf8(line[..end].to_vec()).unwrap());
            }
            if self.stream.read_buf(&mut self.received).await.unwrap() == 0 {
                assert!(self.received.is_empty(), "half a line at the end");
                return None;
            }
        }
    }

    async fn expect(&mut self, start: &str) -> String {
        let line = self.line().await.unwrap_or_else(|| panic!("closed instead of {start:?}"));
        assert!(line.starts_with(start), "{line:?} instead of {start:?}");
        line
    }

    /// Up to the answer to MAIL.
    async fn begin(&mut self, greeting: &str) {
        self.expect("220 ").await;
        self.send(format!("{greeting} client.example\r\nMAIL FROM:<s@b.example>\r\n").as_bytes())
            .await;
        while !self.expect("250").await.starts_with("250 2.1.0") {}
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let stored = self.mailroom.stored.lock().unwrap();
        stored.iter().map(|stored| body(&stored.message).to_vec()).collect()
    }
}

/// A message without our trace.
fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(8).position(|bytes| bytes == b" +0000\r\n").unwrap();
    &message[end + 8..]
}

fn matches(line: &str, pattern: &str) -> bool {
    match pattern.split_once("...") {
        None => line == pattern,
        Some((start, end)) => {
            line.len() >= start.len() + end.len() && line.starts_with(start) && line.ends_with(end)
        }
    }
}

async fn play(path: &Path) {
    let name = path.file_name().unwrap().to_str().unwrap();
    let script = std::fs::read_to_string(path).unwrap();
    let dialect = if name.ends_with(".lmtp") { Dialect::Lmtp } else { Dialect::Smtp };
    let mut client = connect(dialect, settings());
    let mut lines = script.lines().enumerate().peekable();
    let (_, rule) = lines.next().unwrap();
    assert!(rule.starts_with("# "), "{name}: the first line cites the rule");
    let mut stored_index = 0;
    while let Some((number, line)) = lines.next() {
        let place = format!("{name}:{}", number + 1);
        let (kind, rest) = line.split_at_checked(3).unwrap_or((line, ""));
        match kind {
            "C: " | "C:" => {
                let mut sent = format!("{rest}\r\n");
                while let Some((_, more)) = lines.next_if(|(_, next)| next.starts_with("C:")) {
                    sent += &format!("{}\r\n", more.get(3..).unwrap_or(""));
                }
                client.send(sent.as_bytes()).await;
            }
            "S: " => {
                let found = client.line().await;
                let found = found.unwrap_or_else(|| panic!("{place}: closed"));
                assert!(matches(&found, rest), "{place}: expected {rest:?}, found {found:?}");
            }
            "M: " => {
                let mut words = rest.splitn(3, ' ');
                let stored = client.mailroom.stored.lock().unwrap();
                let stored =
                    stored.get(stored_index).unwrap_or_else(|| panic!("{place}: not stored"));
                stored_index += 1;
                assert_eq!(stored.account.0.to_string(), words.next().unwrap(), "{place}");
                assert_eq!(stored.mailbox, words.next().unwrap(), "{place}");
                let text = String::from_utf8_lossy(&stored.message);
                let wanted = words.next().unwrap_or("");
                assert!(text.contains(wanted), "{place}: no {wanted:?} in {text}");
            }
            "X" => assert_eq!(client.line().await, None, "{place}: still open"),
            _ => assert!(line.is_empty() || line.starts_with('#'), "{place}: {line}"),
        }
    }
    drop(client.stream);
    client.server.await.unwrap();
    let count = client.mailroom.stored.lock().unwrap().len();
    assert_eq!(count, stored_index, "{name}: messages stored, messages in the transcript");
}

#[tokio::test]
async fn every_transcript_is_kept_to() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 8);
    for path in paths {
        tokio::time::timeout(Duration::from_secs(20), play(&path))
            .await
            .unwrap_or_else(|_| panic!("{} waits for ever", path.display()));
    }
}

#[tokio::test]
async fn a_message_too_large_is_read_past_and_refused_without_its_size_declared() {
    let mut client = connect(Dialect::Lmtp, settings());
    client.begin("LHLO").await;
    client.send(b"RCPT TO:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n").await;
    client.expect("250 2.1.5").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    for _ in 0..3000 {
        client.send(b"0123456789012345678901234567890123456789\r\n").await;
    }
    client.send(b".\r\nNOOP\r\n").await;
    client.expect("552 5.3.4 <alice@example.org>").await;
    client.expect("552 5.3.4 <bob@example.org>").await;
    client.expect("250 2.0.0").await;
    assert!(client.messages().is_empty());
}

#[tokio::test]
async fn messages_of_every_size_arrive_identical() {
    let config = Config { message_bytes_max: 5 << 20, ..settings() };
    let budget = Arc::clone(&config.memory);
    let mut client = connect(Dialect::Lmtp, config);
    client.expect("220").await;
    client.send(b"LHLO c\r\n").await;
    while client.expect("250").await.as_bytes()[3] == b'-' {}
    let mut sent = Vec::new();
    for line_count in [0_usize, 1, 100, 1000, 2000, 60_000] {
        let line = |number: usize| format!("{number} and some text to fill the line up\r\n");
        let message: String = (0..line_count).map(line).collect();
        client.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n").await;
        client.expect("250 2.1.0").await;
        client.expect("250 2.1.5").await;
        client.expect("354").await;
        client.send(message.as_bytes()).await;
        client.send(b".\r\n").await;
        client.expect("250 2.1.5 <alice@example.org> Stored as").await;
        sent.push(message.into_bytes());
    }
    assert!(client.messages() == sent);
    assert_eq!(budget.used_bytes(), 0, "memory is given back");
}

#[tokio::test]
async fn smuggled_commands_stay_text() {
    let borders: [&[u8]; 7] =
        [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r.\r", b"\r\n\0.\r\n"];
    for border in borders {
        for dialect in [Dialect::Smtp, Dialect::Lmtp] {
            let mut client = connect(dialect, settings());
            client.begin(if dialect == Dialect::Smtp { "EHLO" } else { "LHLO" }).await;
            client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
            client.expect("250 2.1.5").await;
            client.expect("354").await;
            client.send(b"Subject: a\r\n\r\nfirst").await;
            client.send(border).await;
            client
                .send(b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
                .await;
            client.send(b"second\r\n.\r\nNOOP\r\n").await;
            let bare = border.starts_with(b"\n") || border.ends_with(b".\n");
            if bare && dialect == Dialect::Smtp {
                client.expect("554 5.6.11").await;
                assert!(client.messages().is_empty(), "{border:?}");
            } else {
                client.expect("250 2.").await;
                let messages = client.messages();
                assert_eq!(messages.len(), 1, "{border:?}");
                assert!(String::from_utf8_lossy(&messages[0]).contains("MAIL FROM:<evil"));
            }
            client.expect("250 2.0.0 OK").await;
        }
    }
}

#[tokio::test]
async fn bare_newlines_are_taken_as_the_settings_say() {
    let config = Config {
        bare_newline_smtp: BareNewline::Normalise,
        bare_newline_lmtp: BareNewline::Refuse,
        ..settings()
    };
    for (dialect, greeting) in [(Dialect::Smtp, "EHLO"), (Dialect::Lmtp, "LHLO")] {
        let mut client = connect(dialect, config.clone());
        client.begin(greeting).await;
        client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
        client.expect("250 2.1.5").await;
        client.expect("354").await;
        client.send(b"a\nb\r\n.\r\n").await;
        if dialect == Dialect::Smtp {
            client.expect("250 2.0.0").await;
            assert_eq!(client.messages(), [b"a\r\nb\r\n"]);
        } else {
            client.expect("554 5.6.11 <alice@example.org>").await;
        }
    }
}

#[tokio::test]
async fn memory_for_messages_has_an_end_and_is_asked_again() {
    let config = Config { memory: Arc::new(ByteBudget::new(50_000)), ..settings() };
    let mut client = connect(Dialect::Lmtp, config);
    client.begin("LHLO").await;
    client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    client.send(&b"0123456789012345678901234567890123456789\r\n".repeat(2000)).await;
    client.send(b".\r\n").await;
    client.expect("452 4.3.1 <alice@example.org>").await;
    client.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n").await;
    client.expect("250 2.1.0").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    client.send(b"small\r\n.\r\n").await;
    client.expect("250 2.1.5").await;
    assert_eq!(client.messages(), [b"small\r\n"]);
}

#[tokio::test]
async fn a_loop_ends_after_a_hundred_hops() {
    for (hop_count, reply) in [(100, "250 2.1.5"), (101, "554 5.4.6 <alice@example.org>")] {
        let mut client = connect(Dialect::Lmtp, settings());
        client.begin("LHLO").await;
        client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
        client.expect("250 2.1.5").await;
        client.expect("354").await;
        client.send(&b"Received: from a by b\r\n".repeat(hop_count)).await;
        client.send(b"\r\ntext\r\n.\r\n").await;
        client.expect(reply).await;
    }
}

#[tokio::test]
async fn a_detail_names_a_mailbox_only_if_that_is_set_and_exists() {
    for (detail_mailboxes, mailboxes) in [(false, ["INBOX", "INBOX"]), (true, ["lists", "INBOX"])] {
        let mut client = connect(Dialect::Lmtp, Config { detail_mailboxes, ..settings() });
        client.begin("LHLO").await;
        client
            .send(
                b"RCPT TO:<alice+lists@example.org>\r\nRCPT TO:<bob+none@example.org>\r\nDATA\r\n",
            )
            .await;
        client.expect("250 2.1.5").await;
        client.expect("250 2.1.5").await;
        client.expect("354").await;
        client.send(b"x\r\n.\r\n").await;
        client.expect("250 2.1.5 <alice+lists@example.org>").await;
        client.expect("250 2.1.5 <bob+none@example.org>").await;
        let stored = client.mailroom.stored.lock().unwrap();
        let found: Vec<_> = stored.iter().map(|stored| stored.mailbox.as_str()).collect();
        assert_eq!(found, mailboxes);
    }
}

#[tokio::test]
async fn a_full_mailbox_bounces_where_that_is_set() {
    let mut client = connect(Dialect::Lmtp, Config { over_quota: OverQuota::Refuse, ..settings() });
    client.begin("LHLO").await;
    client.send(b"RCPT TO:<stuffed@example.org>\r\n").await;
    client.expect("552 5.2.2").await;
}

#[tokio::test]
async fn a_recipient_that_needs_too_many_copies_waits_for_the_next_message() {
    let mut client = connect(Dialect::Lmtp, settings());
    client.begin("LHLO").await;
    for name in ["many", "more", "many"] {
        client.send(format!("RCPT TO:<{name}@example.org>\r\n").as_bytes()).await;
    }
    client.expect("250 2.1.5").await;
    client.expect("452 4.5.3").await;
    client.expect("250 2.1.5").await;
}

#[tokio::test]
async fn a_store_that_panics_is_never_success() {
    let mut client = connect(Dialect::Lmtp, settings());
    client.begin("LHLO").await;
    client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    client.send(b"Subject: panic\r\n\r\n").await;
    client.send(&b"0123456789012345678901234567890123456789\r\n".repeat(2000)).await;
    client.send(b".\r\n").await;
    client.expect("451 4.3.0 <alice@example.org>").await;
}

#[tokio::test]
async fn silence_is_answered_with_421() {
    let config = Config {
        command_timeout: Duration::from_millis(20),
        data_timeout: Duration::from_millis(30),
        ..settings()
    };
    let mut client = connect(Dialect::Lmtp, config.clone());
    client.expect("220").await;
    client.expect("421 4.4.2").await;
    assert_eq!(client.line().await, None);

    let mut client = connect(Dialect::Lmtp, config);
    client.begin("LHLO").await;
    client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    client.send(b"half a mess").await;
    client.expect("421 4.4.2").await;
    assert!(client.messages().is_empty());
}

#[tokio::test]
async fn a_shutdown_says_goodbye() {
    let mut client = connect(Dialect::Smtp, settings());
    client.expect("220").await;
    client.shutdown.send(true).unwrap();
    client.expect("421 4.3.2").await;
    assert_eq!(client.line().await, None);
    client.server.await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_within_a_message_leaves_nothing() {
    let mut client = connect(Dialect::Lmtp, settings());
    client.begin("LHLO").await;
    client.send(b"RCPT TO:<alice@example.org>\r\nDATA\r\n").await;
    client.expect("250 2.1.5").await;
    client.expect("354").await;
    client.send(b"half a message\r\n.").await;
    drop(client.stream);
    client.server.await.unwrap();
    assert!(client.mailroom.stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn pipelined_commands_are_answered_in_one_write() {
    let mut client = connect(Dialect::Lmtp, settings());
    client.expect("220").await;
    client.send(b"LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nRSET\r\nQUIT\r\n").await;
    // One read of a pipe takes what one write put there, and the server writes only when its input
    // is used up.
    let mut bytes = vec![0; 4096];
    let count = client.stream.read(&mut bytes).await.unwrap();
    assert!(bytes[..count].ends_with(b"221 2.0.0 Goodbye\r\n"));
}

#[tokio::test]
async fn overlong_and_wild_lines_end_a_conversation_at_last() {
    let mut client = connect(Dialect::Smtp, settings());
    client.expect("220").await;
    client.send(&[b'x'; 100_000]).await;
    client.send(b"\r\n").await;
    client.expect("500 5.5.2").await;
    for _ in 0..7 {
        client.send(b"\0\xff\r\n").await;
        client.expect("500 5.5.1").await;
    }
    client.expect("421 4.7.0").await;
    assert_eq!(client.line().await, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_end_a_conversation_in_order(
        pieces in proptest::collection::vec(prop_oneof![
            Just(b"EHLO a\r\n".to_vec()), Just(b"LHLO a\r\n".to_vec()),
            Just(b"MAIL FROM:<>\r\n".to_vec()),
            Just(b"RCPT TO:<alice@example.org>\r\n".to_vec()), Just(b"DATA\r\n".to_vec()),
            Just(b"BDAT 3\r\n".to_vec()), Just(b"BDAT 4 LAST\r\n".to_vec()),
            Just(b"\r\n.\r\n".to_vec()),
            Just(b"RSET\r\n".to_vec()), Just(b"STARTTLS\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..30),
        ], 0..30),
        lmtp in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dialect = if lmtp { Dialect::Lmtp } else { Dialect::Smtp };
            let Client { mut stream, server, .. } = connect(dialect, settings());
            stream.write_all(&pieces.concat()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut replies = Vec::new();
            stream.read_to_end(&mut replies).await.unwrap();
            server.await.unwrap();
            assert!(replies.ends_with(b"\r\n"));
            for line in replies.strip_suffix(b"\r\n").unwrap().split(|&byte| byte == b'\n') {
                assert!(line.len() > 4 && line[..3].iter().all(u8::is_ascii_digit), "{line:?}");
            }
        });
    }
}
