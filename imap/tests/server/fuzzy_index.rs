//! FUZZY (RFC 6203) finds the same by the index and without it, and what came this moment, too.

use engine::Store;
use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, USER, deliver, open_store};

const MAILS: [(&str, &str, &str); 6] = [
    ("Ann <ann@example.org>", "The harbour master", "Please have a look at this for me."),
    ("Bob <bob@example.org>", "lunch", "We are at the harbours and will be late, if that is fine."),
    ("Ann <ann@example.org>", "Die Rechnungen", "Bitte nicht mit der alten Rechnung bezahlen."),
    ("Eva <eva@example.org>", "Häuser", "Das ist ein Haus und es steht nicht am Hafen."),
    ("Bob <bob@example.org>", "tickets", "The tickets for the harbuor are at the house."),
    ("Tom <tom@example.org>", "東京駅", "Nothing else is in here."),
];

/// Messages of a megabyte.
const LARGE: usize = 5;

/// A command, which numbers it answers, and why.
const CASES: [(&str, &str, &str); 10] = [
    ("FUZZY TEXT harbour", "1 2 5", "itself, its stem and an error"),
    ("FUZZY BODY harbour", "2 5", "in bodies"),
    ("FUZZY SUBJECT harbor", "1", "in subjects"),
    ("FUZZY FROM ann", "1 3", "an address has it as a part"),
    ("FUZZY BODY rechnungen", "3", "a stem"),
    ("FUZZY TEXT hauser", "4", "an accent less"),
    ("FUZZY BODY {7+}\r\nhäuser", "4", "a stem in German, and none in English"),
    ("FUZZY TEXT \"ann harbour\"", "1", "all words, wherever they are"),
    ("FUZZY TEXT {6+}\r\n東京", "6", "letters side by side"),
    ("FUZZY TEXT harbour NOT FUZZY FROM bob UNSEEN", "1", "with other keys"),
];

async fn check<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    client: &mut Client<S>,
    when: &str,
) {
    for (key, expected, reason) in CASES {
        let answer = client.ok(&format!("SEARCH CHARSET UTF-8 {key}")).await;
        let found = answer[0].trim_end();
        assert_eq!(found, format!("* SEARCH {expected}"), "{when}: {key}: {reason}");
    }
    let sorted = client.ok("SORT (RELEVANCY) UTF-8 FUZZY TEXT harbour").await;
    assert_eq!(sorted[0].trim_end(), "* SORT 1 2 5", "{when}: the best first");
    let told = client.ok("SEARCH RETURN (RELEVANCY) FUZZY TEXT harbour").await;
    assert!(told[0].contains(" RELEVANCY (100 "), "{when}: {}", told[0]);
}

fn send(store: &Store, from: &str, subject: &str, body: &str) {
    let message = format!(
        "From: {from}\r\nSubject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         {body}\r\n"
    );
    deliver(store, message.as_bytes(), FlagList::default(), UnixSeconds(1_700_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzzy_keys_find_the_same_by_the_index_and_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let account = store.account(USER).unwrap().unwrap();
    MAILS.iter().for_each(|(from, subject, body)| send(&store, from, subject, body));
    // So much that the account has an index.
    (0..LARGE).for_each(|_| send(&store, "x@example.org", "large", &"filler ".repeat(150_000)));
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    check(&mut client, "without an index").await;
    served.store().rebuild_index(account.number(), &mut |_, _| {}).unwrap();
    assert!(account.index_status().unwrap().figures.split_count > 0);
    check(&mut client, "by the index").await;

    let said = "The quartz is of an old harbourmaster.";
    send(served.store(), "Zoe <zoe@example.org>", "quartz", said);
    client.ok("NOOP").await;
    let found = client.ok("SEARCH FUZZY TEXT harbourmasters").await;
    assert_eq!(found[0].trim_end(), "* SEARCH 12", "what came just now");
    account.create_mailbox("Copies", None).wait().unwrap();
    client.ok("COPY 1,12 Copies").await;
    let found = client.ok("ESEARCH IN (personal) RETURN (COUNT RELEVANCY) FUZZY BODY quartz").await;
    assert_eq!(found.iter().filter(|line| line.contains(" COUNT 1 RELEVANCY (100)")).count(), 2);
}
