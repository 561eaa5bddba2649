//! POP3 over TLS, in large, and when it breaks off (RFC 1939, RFC 2595).

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::secure::Secured;
use crate::support::{Client, Served, deliver, open_store};

async fn logged_in(served: &Served) -> Client<DuplexStream> {
    let mut client = Client::new(served.connect_pop3(Transport::Plain, 1 << 12));
    assert!(client.line().await.unwrap().starts_with("+OK"));
    client.send(b"USER demo@example.org\r\nPASS demo\r\n").await;
    assert!(client.line().await.unwrap().starts_with("+OK"));
    assert!(client.line().await.unwrap().ends_with("octets)"));
    client
}

/// The lines of a multi-line answer, without their dots.
async fn answer(client: &mut Client<DuplexStream>, command: &str) -> Vec<String> {
    client.send(format!("{command}\r\n").as_bytes()).await;
    let first = client.line().await.unwrap();
    assert!(first.starts_with("+OK"), "{command}: {first}");
    let mut lines = Vec::new();
    loop {
        let line = client.line().await.expect("a line");
        match line.strip_prefix('.') {
            Some("") => return lines,
            Some(rest) => lines.push(rest.to_owned()),
            None => lines.push(line),
        }
    }
}

fn served(folder: &std::path::Path, messages: usize) -> Served {
    let store = open_store(folder);
    for number in 0..messages {
        let text = format!("Subject: {number}\r\n\r\n.{number}\r\n");
        deliver(&store, text.as_bytes(), FlagList::default(), UnixSeconds(1));
    }
    Served::new(store, Config::new(Limits::default(), "test".into(), None, true))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_and_a_large_message_come_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let large = b"Subject: a\r\n\r\n".iter().copied().chain(b".line\r\n".repeat(500_000));
    let large: Vec<u8> = large.collect();
    deliver(&store, &large, FlagList::default(), UnixSeconds(1));
    let small: Vec<_> = (0..1203).map(|n| format!("Subject: {n}\r\n\r\n{n}\r\n")).collect();
    for text in &small {
        deliver(&store, text.as_bytes(), FlagList::default(), UnixSeconds(1));
    }
    let config = Config::new(Limits::default(), "test".into(), None, true);
    let served = Served::new(store, config);
    let mut client = logged_in(&served).await;
    let list = answer(&mut client, "LIST").await;
    assert_eq!(list.len(), 1204);
    assert_eq!(list[0], format!("1 {}", large.len()));
    for (number, text) in small.iter().enumerate() {
        assert_eq!(list[number + 1], format!("{} {}", number + 2, text.len()));
    }
    let ids = answer(&mut client, "UIDL").await;
    assert!(ids[1203].starts_with("1204 ") && ids[1203].ends_with(".1204"), "{}", ids[1203]);
    let lines = answer(&mut client, "RETR 1").await;
    assert!(format!("{}\r\n", lines.join("\r\n")).as_bytes() == large);
    let top = answer(&mut client, "TOP 1 3").await;
    assert_eq!(top, ["Subject: a", "", ".line", ".line", ".line"]);
    assert_eq!(answer(&mut client, "RETR 1204").await[2], "1202");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_deletes_nothing_and_quit_deletes_what_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), 5);
    let mut client = logged_in(&served).await;
    client.send(b"DELE 1\r\nDELE 2\r\n").await;
    client.line().await.unwrap();
    client.line().await.unwrap();
    drop(client);
    let mut client = logged_in(&served).await;
    let before = answer(&mut client, "UIDL").await;
    assert_eq!(before.len(), 5, "no QUIT, no deletion");
    let second = answer(&mut client, "RETR 2").await;
    answer(&mut client, "TOP 3 1").await;
    client.send(b"DELE 1\r\nDELE 4\r\nQUIT\r\n").await;
    for _ in 0..3 {
        assert!(client.line().await.unwrap().starts_with("+OK"));
    }
    assert_eq!(client.line().await, None);
    let mut client = logged_in(&served).await;
    let after = answer(&mut client, "UIDL").await;
    let id = |line: &String| line.split_once(' ').unwrap().1.to_owned();
    let expected: Vec<_> = [1, 2, 4].iter().map(|&at: &usize| id(&before[at])).collect();
    assert_eq!(after.iter().map(id).collect::<Vec<_>>(), expected, "unique ids stay");
    assert_eq!(answer(&mut client, "RETR 1").await, second);
    // What was retrieved is seen.
    let mut imap = Client::new(served.connect(Transport::Plain, 1 << 16));
    imap.log_in().await;
    imap.ok("SELECT INBOX").await;
    let flags = imap.ok("FETCH 1:* FLAGS").await;
    let expected = ["* 1 FETCH (FLAGS (\\Seen))", "* 2 FETCH (FLAGS ())", "* 3 FETCH (FLAGS ())"];
    assert_eq!(flags, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_another_session_expunged_is_refused_and_nothing_is_logged_as_damage() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), 2);
    let mut client = logged_in(&served).await;
    let mut imap = Client::new(served.connect(Transport::Plain, 1 << 16));
    imap.log_in().await;
    imap.ok("SELECT INBOX").await;
    imap.ok("STORE 1 +FLAGS.SILENT (\\Deleted)").await;
    imap.ok("EXPUNGE").await;
    client.send(b"RETR 1\r\n").await;
    let first = client.line().await.unwrap();
    match first.as_str() {
        "-ERR Another session has expunged the message" => {}
        // Its bytes may still be there.
        "+OK 18 octets" => while client.line().await.unwrap() != "." {},
        other => panic!("{other}"),
    }
    client.send(b"DELE 1\r\nQUIT\r\n").await;
    assert_eq!(client.line().await.unwrap(), "+OK Marked");
    assert_eq!(client.line().await.unwrap(), "+OK Good-bye", "it is gone, as was wanted");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_taken_over_tls_only_and_stls_begins_it() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), None, |config| config);
    let mut plain = Client::new(secured.served.connect_pop3(Transport::Plain, 1 << 16));
    plain.line().await.unwrap();
    let capabilities = answer(&mut plain, "CAPA").await;
    assert!(capabilities.contains(&"STLS".to_owned()), "{capabilities:?}");
    assert!(!capabilities.iter().any(|line| line == "USER" || line.starts_with("SASL")));
    for refused in ["USER demo@example.org", "AUTH PLAIN AGRlbW8AZGVtbw=="] {
        plain.send(format!("{refused}\r\n").as_bytes()).await;
        let line = plain.line().await.unwrap();
        assert_eq!(line, "-ERR [AUTH] Passwords are taken over TLS only", "{refused}");
    }
    // What comes behind STLS in the same breath is dropped.
    plain.send(b"STLS\r\nUSER demo@example.org\r\n").await;
    assert!(plain.line().await.unwrap().starts_with("+OK"));
    let mut client = secured.encrypt(plain.into_stream()).await;
    client.send(b"PASS demo\r\n").await;
    assert_eq!(client.line().await.unwrap(), "-ERR The name comes first: USER");
    client.send(b"CAPA\r\n").await;
    let mut capabilities = Vec::new();
    while capabilities.last().is_none_or(|line| line != ".") {
        capabilities.push(client.line().await.unwrap());
    }
    let sasl = "SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN".to_owned();
    assert!(capabilities.contains(&sasl) && !capabilities.contains(&"STLS".to_owned()));
    client.send(b"USER demo@example.org\r\nPASS demo\r\nSTAT\r\n").await;
    for expected in ["+OK And the password?", "+OK 0 messages (0 octets)", "+OK 0 0"] {
        assert_eq!(client.line().await.unwrap(), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_guesses_end_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let limits = Limits {
        login_failure_delay: std::time::Duration::from_millis(1),
        login_failures_max: 3,
        bad_commands_max: 4,
        ..Limits::default()
    };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let begin = || async {
        let mut client = Client::new(served.connect_pop3(Transport::Plain, 1 << 17));
        client.line().await.unwrap();
        client
    };
    let mut client = begin().await;
    client.send(&b"GET / HTTP/1.1\r\n".repeat(5)).await;
    for _ in 0..4 {
        assert_eq!(client.line().await.unwrap(), "-ERR Unknown command");
    }
    assert_eq!(client.line().await, None);
    let mut client = begin().await;
    for _ in 0..3 {
        client.send(b"USER demo@example.org\r\nPASS wrong\r\n").await;
        client.line().await.unwrap();
        let refused = client.line().await.unwrap();
        assert_eq!(refused, "-ERR [AUTH] The name or the password is wrong");
    }
    assert_eq!(client.line().await, None);
    let mut client = begin().await;
    client.send(&vec![b'a'; 70_000]).await;
    assert_eq!(client.line().await.unwrap(), "-ERR The line is far too long");
    assert_eq!(client.line().await, None);
}
