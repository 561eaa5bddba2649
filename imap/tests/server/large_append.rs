//! Large messages put in by clients: they wait in the spool, not in memory.

use engine::message::generator::Generator;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, open_store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_wait_in_the_spool_and_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    // The six together are more than may be in memory, and each is less.
    let limits = Limits { append_budget_bytes: 8 << 20, ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let mut generator = Generator::new(3);
    let mut clients = Vec::new();
    for size in [1_100_000, 3_000_000, 2_000_000, 4_000_000, 1_048_577, 1_048_576] {
        let message = generator.message(size);
        let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
        client.log_in().await;
        client.send(format!("a APPEND Drafts {{{}}}\r\n", message.len()).as_bytes()).await;
        assert!(client.line().await.unwrap().starts_with("+ "));
        let (first, second) = message.split_at(message.len() / 2);
        client.send(first).await;
        clients.push((client, second.to_vec(), message));
    }
    for (client, second, _) in &mut clients {
        client.send(&[second, b"\r\n".as_slice()].concat()).await;
        let answer = client.line().await.unwrap();
        assert!(answer.starts_with("a OK [APPENDUID"), "{answer}");
    }
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT Drafts").await;
    for ((.., message), number) in clients.iter().zip(1..) {
        assert!(client.fetch_literal(number, "BODY.PEEK[]").await == *message, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_messages_of_one_command_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let limits = Limits { append_budget_bytes: 8 << 20, ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    let mut generator = Generator::new(4);
    let messages = [500, 2_000_000, 700, 1_500_000, 300].map(|size| generator.message(size));
    let mut command = b"a APPEND {5+}\r\nINBOX".to_vec();
    for message in &messages {
        command.extend_from_slice(format!(" {{{}+}}\r\n", message.len()).as_bytes());
        command.extend_from_slice(message);
    }
    command.extend_from_slice(b"\r\n");
    client.send(&command).await;
    let answer = client.line().await.unwrap();
    assert!(answer.starts_with("a OK [APPENDUID"), "{answer}");
    client.ok("SELECT INBOX").await;
    for (message, number) in messages.iter().zip(1..) {
        assert!(client.fetch_literal(number, "BODY.PEEK[]").await == *message, "{number}");
    }
    // More in one command than all memory that there is for it.
    client.send(b"b APPEND INBOX {4000000}\r\n").await;
    assert!(client.line().await.unwrap().starts_with("+ "));
    client.send(&generator.message(5_000_000)[..4_000_000]).await;
    client.send(b" {5000000}\r\n").await;
    let refused = client.line().await.unwrap();
    assert!(refused.starts_with("b NO [LIMIT]"), "{refused}");
    client.ok("NOOP").await;
    // NUL is refused wherever it stands.
    let mut nul = generator.message(1_500_000);
    nul[100] = 0;
    client.send(format!("c APPEND INBOX {{{}+}}\r\n", nul.len()).as_bytes()).await;
    client.send(&[nul.as_slice(), b"\r\n"].concat()).await;
    assert!(client.line().await.unwrap().starts_with("c BAD"));
    client.ok("NOOP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_parts_are_put_together_from_the_spool_and_from_stored_mail() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let limits =
        Limits { append_bytes_max: 4 << 20, append_budget_bytes: 8 << 20, ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    let mut generator = Generator::new(5);
    let [stored, sent] = [2_000_000, 1_500_000].map(|size| generator.message(size));
    client.send(format!("a APPEND INBOX {{{}+}}\r\n", stored.len()).as_bytes()).await;
    client.send(&[stored.as_slice(), b"\r\n"].concat()).await;
    assert!(client.line().await.unwrap().starts_with("a OK [APPENDUID"));
    client.ok("SELECT INBOX").await;
    let literal = format!("TEXT {{{}+}}\r\n", sent.len());
    for (urls, answer) in [
        (" URL ;UID=1 TEXT {3+}\r\nend", "b OK [APPENDUID"),
        (" URL ;UID=1 URL ;UID=1", "b NO [TOOBIG] A message may have 4194304 bytes"),
        (" URL ;UID=1) CATENATE (URL ;UID=1 URL ;UID=1) CATENATE (URL ;UID=1", "b NO [LIMIT]"),
    ] {
        client.send(format!("b APPEND Drafts CATENATE ({literal}").as_bytes()).await;
        client.send(&[sent.as_slice(), urls.as_bytes(), b")\r\n"].concat()).await;
        let found = client.line().await.unwrap();
        assert!(found.starts_with(answer), "{urls}: {found}");
    }
    client.ok("SELECT Drafts").await;
    let expected = [sent.as_slice(), &stored, b"end"].concat();
    assert!(client.fetch_literal(1, "BODY.PEEK[]").await == expected);
    assert_eq!(client.ok("STATUS INBOX (MESSAGES)").await.len(), 1);
}
