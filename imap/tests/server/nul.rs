//! A message with NUL bytes, which LMTP takes and no literal of IMAP may hold (RFC 3501 section 9).

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

#[tokio::test(flavor = "multi_thread")]
async fn nul_is_sent_as_0x80_and_every_size_and_offset_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let message = b"Subject: a\0b\r\nX-Nul: \0\0\r\n\r\none\0two\r\n\0end\r\n";
    deliver(&store, message, FlagList::default(), UnixSeconds(1));
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    let shown: Vec<u8> = message.iter().map(|&byte| if byte == 0 { 0x80 } else { byte }).collect();
    let body = shown.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let field = |name: &[u8], value: &[u8]| [name, value, b"\r\n\r\n"].concat();
    for (item, expected) in [
        ("BODY.PEEK[]", shown.clone()),
        ("BODY.PEEK[]<9.5>", shown[9..14].to_vec()),
        ("BODY.PEEK[TEXT]", shown[body..].to_vec()),
        ("BODY.PEEK[1]", shown[body..].to_vec()),
        ("BODY.PEEK[HEADER]", shown[..body].to_vec()),
        ("BODY.PEEK[HEADER.FIELDS (Subject)]", field(b"Subject: ", b"a\x80b")),
        ("BODY.PEEK[HEADER.FIELDS (X-Nul)]", field(b"X-Nul: ", b"\x80\x80")),
        ("RFC822.HEADER", shown[..body].to_vec()),
    ] {
        let found = client.fetch_literal(1, item).await;
        assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected), "{item}");
    }
    client.send(b"t FETCH 1 (RFC822.SIZE ENVELOPE BODYSTRUCTURE)\r\n").await;
    let mut answer = String::new();
    while !answer.contains("t OK") {
        answer += &client.line().await.expect("an answer");
    }
    assert!(!answer.contains('\0'), "{answer:?}");
    assert!(answer.contains(&format!("RFC822.SIZE {}", message.len())), "{answer:?}");
}
