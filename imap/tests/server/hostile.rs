//! Messages that were made to be long in every place: answers stay bounded and whole.

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

/// ENVELOPE and BODYSTRUCTURE of one message together: what a summary may hold, some of it twice.
const SUMMARY_ANSWER_BYTES_MAX: usize = 2 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn answers_from_a_hostile_message_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let fields = "To: <a@b>, \"x\" <c@d>\r\nSubject: s\r\n".repeat(100_000);
    let addresses = format!("Cc: {}\r\n", "\"name\" <local@host>,\r\n ".repeat(100_000));
    let long = format!("Subject: {}\r\n", "y".repeat(3 << 20));
    let parameters = format!("Content-Type: text/x{}\r\n", "; p=\"v\"".repeat(100_000));
    let parts = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b\r\nSubject: z\r\n\r\nx\r\n"
            .repeat(40_000)
    );
    let mut deep = String::new();
    for level in 0..5000 {
        deep += &format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    }
    for message in [fields, addresses, long, parameters, parts, deep] {
        deliver(&store, message.as_bytes(), FlagList::default(), UnixSeconds(1));
    }
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    for number in 1..=6 {
        let command = format!("FETCH {number} (ENVELOPE BODYSTRUCTURE PREVIEW)");
        let count = client.drain(&command).await;
        assert!(count < SUMMARY_ANSWER_BYTES_MAX, "message {number}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_header_of_many_megabytes_are_chosen_as_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let (mut header, mut own, mut others) = (String::new(), String::new(), String::new());
    for number in 0..100_000 {
        let field = format!("X-Number: {number}\r\n folded\r\n");
        let other = format!("Received: from somewhere {number}\r\n");
        header += &(field.clone() + &other);
        own += &field;
        others += &other;
    }
    let message = format!("{header}\r\nbody\r\n");
    deliver(&store, message.as_bytes(), FlagList::default(), UnixSeconds(1));
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    own += "\r\n";
    others += "\r\n";
    for (item, expected) in [
        ("BODY.PEEK[HEADER.FIELDS (X-Number)]", own.as_str()),
        ("BODY.PEEK[HEADER.FIELDS.NOT (X-Number)]", &others),
        ("BODY.PEEK[HEADER.FIELDS (X-Number)]<1000.200000>", &own[1000..201_000]),
        ("BODY.PEEK[HEADER.FIELDS (X-Number)]<30.10>", &own[30..40]),
        ("BODY.PEEK[HEADER.FIELDS (X-None)]", "\r\n"),
    ] {
        let found = client.fetch_literal(1, item).await;
        assert!(found == expected.as_bytes(), "{item}: {} bytes", found.len());
    }
    client
        .send(b"t APPEND Drafts CATENATE (URL \";UID=1/;SECTION=HEADER.FIELDS%20(To)\")\r\n")
        .await;
    let answer = client.line().await.unwrap();
    assert!(answer.starts_with("t NO [LIMIT] That header is too long"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_asks_for_much_of_one_header_gets_all_of_it_and_keeps_little() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let header = format!("X-Long: {}\r\n", "z".repeat(200_000));
    let message = format!("{header}Subject: s\r\nTo: a@b\r\n\r\nbody\r\n");
    deliver(&store, message.as_bytes(), FlagList::default(), UnixSeconds(1));
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    let item = |number: usize| format!("BODY.PEEK[HEADER.FIELDS.NOT (To X-{number})]");
    let items: Vec<String> = (0..200).map(item).collect();
    client.send(format!("t FETCH 1 ({} UID)\r\n", items.join(" ")).as_bytes()).await;
    let expected = format!("{header}Subject: s\r\n\r\n");
    for number in 0..200 {
        let head = client.line().await.unwrap();
        let size = format!("NOT (To X-{number})] {{{}}}", expected.len());
        assert!(head.ends_with(&size), "{head}");
        assert!(client.bytes(expected.len()).await == expected.as_bytes(), "{number}");
    }
    assert_eq!(client.line().await.as_deref(), Some(" UID 1)"));
    assert!(client.line().await.unwrap().starts_with("t OK"));
}
