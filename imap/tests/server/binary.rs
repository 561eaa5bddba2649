//! BINARY (RFC 3516) where a transcript cannot go: NUL, and parts of many chunks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

fn encoded(plain: &[u8]) -> String {
    plain.chunks(57).map(|line| STANDARD.encode(line) + "\r\n").collect()
}

fn message(plain: &[u8]) -> Vec<u8> {
    let head =
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    format!("{head}{}", encoded(plain)).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn decoded_bytes_come_as_they_are_whatever_they_hold_and_however_many_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let noise = |count: u32| -> Vec<u8> {
        (0..count).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    };
    let plains = [b"a\0b".to_vec(), noise(70_000), noise(1_500_000)];
    for plain in &plains {
        deliver(&store, &message(plain), FlagList::default(), UnixSeconds(1));
    }
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    for (plain, number) in plains.iter().zip(1..) {
        let size = client.ok(&format!("FETCH {number} BINARY.SIZE[1]")).await;
        assert_eq!(size, [format!("* {number} FETCH (BINARY.SIZE[1] {})", plain.len())]);
        let whole = client.fetch_literal(number, "BINARY.PEEK[1]").await;
        assert!(whole == *plain, "message {number}");
        let some = client.fetch_literal(number, "BINARY.PEEK[1]<1.66000>").await;
        assert!(some == plain[1..66_001.min(plain.len())], "message {number}");
        let message = client.fetch_literal(number, "BINARY.PEEK[]").await;
        assert!(message == self::message(plain), "message {number}");
    }
    // NUL may stand in a literal8 only.
    client.send(b"t FETCH 1 BINARY.PEEK[1]\r\n").await;
    assert_eq!(client.line().await.as_deref(), Some("* 1 FETCH (BINARY[1] ~{3}"));
    client.bytes(3).await;
    assert_eq!(client.line().await.as_deref(), Some(")"));
    assert!(client.line().await.unwrap().starts_with("t OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nul_in_a_literal8_is_stored_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    let message = b"Content-Transfer-Encoding: binary\r\n\r\na\0b\r\n";
    for (form, answer) in [("~", "a OK [APPENDUID"), ("", "a BAD A message holds NUL; nothing")] {
        client.send(format!("a APPEND INBOX {form}{{{}+}}\r\n", message.len()).as_bytes()).await;
        client.send(&[message.as_slice(), b"\r\n"].concat()).await;
        let found = client.line().await.unwrap();
        assert!(found.starts_with(answer), "{form}: {found}");
    }
    client.ok("SELECT INBOX").await;
    assert_eq!(client.fetch_literal(1, "BINARY.PEEK[]").await, message);
    assert_eq!(client.fetch_literal(1, "BINARY.PEEK[1]").await, b"a\0b\r\n");
    assert_eq!(client.fetch_literal(1, "BODY.PEEK[1]").await, b"a\x80b\r\n");
    // What is stored already may be put into another message.
    client.ok("APPEND Drafts CATENATE (URL ;UID=1)").await;
    client.ok("SELECT Drafts").await;
    assert_eq!(client.fetch_literal(1, "BINARY.PEEK[]").await, message);
}
