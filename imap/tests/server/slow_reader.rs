//! A client that does not read its answers holds back nobody else, and loses its connection.

use std::time::Duration;

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};
use tokio::io::AsyncReadExt;

use crate::support::{Client, Served, deliver, open_store};

const MESSAGE_BYTES: usize = 3 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_back_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let line = [b"x".repeat(70), b"\r\n".to_vec()].concat();
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    message.extend_from_slice(&line.repeat(MESSAGE_BYTES / line.len()));
    for _ in 0..3 {
        deliver(&store, &message, FlagList::default(), UnixSeconds(1));
    }
    let limits = Limits { write_timeout: Duration::from_secs(3), ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));

    // Far more of these than the runtime has threads: none of them may keep one.
    let mut idle = Vec::new();
    for _ in 0..8 {
        let (stream, serving) = served.connect_watched(Transport::Plain, 1 << 10);
        let mut client = Client::new(stream);
        client.log_in().await;
        client.ok("SELECT INBOX").await;
        client.send(b"a FETCH 1:3 (UID BODY.PEEK[])\r\n").await;
        idle.push((client, serving));
    }
    let mut brisk = Client::new(served.connect(Transport::Plain, 1 << 16));
    brisk.log_in().await;
    brisk.ok("SELECT INBOX").await;
    for number in [1, 2, 3] {
        assert!(brisk.fetch_literal(number, "BODY.PEEK[]").await == message, "{number}");
    }
    for (client, serving) in idle {
        serving.await.expect("the server gives up on who reads nothing");
        let mut rest = Vec::new();
        client.into_inner().read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() < 128 << 10, "{} bytes were made for nobody", rest.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_slow_but_reads_gets_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let message = b"Subject: a\r\n\r\n".repeat(20_000);
    deliver(&store, &message, FlagList::default(), UnixSeconds(1));
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    // 100 bytes at a time, each waited for.
    let mut client = Client::new(served.connect(Transport::Plain, 100));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    assert!(client.fetch_literal(1, "BODY.PEEK[]").await == message);
}
