//! What SORT and THREAD keep of a mailbox saves reading summaries, and changes no answer.

use std::path::Path;

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use engine::seal::Argon2Cost;
use engine::{KeySource, NewMessage, OpenOptions, Store};
use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::support::{Client, Served, USER, deliver, open_store};

/// More than two runs of UIDs.
const MESSAGES: u64 = 300;

const ASKED: [&str; 14] = [
    "SORT (SUBJECT) UTF-8 ALL",
    "SORT (REVERSE SUBJECT DATE) UTF-8 ALL",
    "UID SORT (FROM REVERSE SUBJECT) UTF-8 ALL",
    "SORT (DISPLAYFROM SIZE) UTF-8 UNFLAGGED",
    "SORT (TO CC ARRIVAL) UTF-8 ALL",
    "UID SORT (REVERSE DATE DATE) UTF-8 UNDELETED",
    "SORT (DISPLAYTO DATE) UTF-8 LARGER 400",
    "SORT (SUBJECT) UTF-8 FLAGGED",
    "SORT RETURN (PARTIAL 1:20 COUNT) (REVERSE DATE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "UID THREAD REFERENCES UTF-8 UNFLAGGED",
    "THREAD REFERENCES UTF-8 FLAGGED",
    "UID THREAD ORDEREDSUBJECT UTF-8 ALL",
    "THREAD ORDEREDSUBJECT UTF-8 FLAGGED",
];

/// A mailing list's message: one of a few subjects and people, in answer to others.
fn message(dice: &mut Generator, number: u64) -> Vec<u8> {
    let below = |dice: &mut Generator, bound: u64| dice.number() % bound;
    let subject = ["Harbour", "re: harbour", "Ærø", "Re: LANTERN", "lantern", "", "Fwd: quartz"];
    let subject = subject[usize::try_from(below(dice, 7)).unwrap()];
    let topic = below(dice, 40);
    let mut header = format!(
        "From: \"P{0}\" <p{1}@example.org>\r\nTo: l{2}@example.org\r\nSubject: {subject} \
         {topic}\r\n",
        below(dice, 30),
        below(dice, 30),
        below(dice, 3),
    );
    if !below(dice, 10).is_multiple_of(10) {
        let (day, hour) = (1 + below(dice, 28), below(dice, 24));
        header += &format!("Date: {day} Mar 2024 {hour:02}:00:00 +0000\r\n");
    }
    if below(dice, 12) > 0 {
        header += &format!("Message-ID: <{}@x>\r\n", number - below(dice, 2).min(number));
    }
    let references: Vec<String> =
        (0..below(dice, 4)).map(|_| format!("<{}@x>", below(dice, number + 20))).collect();
    if !references.is_empty() {
        header += &format!("References: {}\r\n", references.join(" "));
    }
    header += &"x".repeat(usize::try_from(below(dice, 300)).unwrap()).to_string();
    format!("{}\r\n\r\nbody\r\n", header.trim_end_matches(['x'])).into_bytes()
}

async fn client(served: &Served) -> Client<DuplexStream> {
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    client
}

/// Changes the mailbox a little.
async fn change(
    dice: &mut Generator,
    store: &Store,
    next: &mut u64,
    client: &mut Client<DuplexStream>,
) {
    match dice.number() % 5 {
        0 => {}
        1 => {
            for _ in 0..dice.number() % 40 {
                deliver(store, &message(dice, *next), FlagList::default(), UnixSeconds(1));
                *next += 1;
            }
        }
        2 => {
            let uid = 1 + dice.number() % *next;
            client.ok(&format!("UID STORE {uid}:{} +FLAGS (\\Flagged)", uid + 30)).await;
        }
        3 => {
            let uid = 1 + dice.number() % *next;
            client.ok(&format!("UID STORE {uid}:{} -FLAGS (\\Flagged)", uid + 60)).await;
        }
        _ => {
            let uid = 1 + dice.number() % *next;
            client.ok(&format!("UID STORE {uid}:{} +FLAGS (\\Deleted)", uid + 12)).await;
            client.ok("EXPUNGE").await;
        }
    }
    client.ok("NOOP").await;
}

/// One server that keeps all, one that keeps little, one that keeps nothing.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_the_same_whatever_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let mut dice = Generator::new(11);
    let mut next = 0;
    while next < MESSAGES {
        let flags = FlagList::default();
        deliver(
            &store,
            &message(&mut dice, next),
            flags,
            UnixSeconds(i64::try_from(next).unwrap()),
        );
        next += 1;
    }
    let mut clients = Vec::new();
    let served = [64 << 20, 20 << 10, 0].map(|sort_kept_bytes_max| {
        let limits = Limits { sort_kept_bytes_max, ..Limits::default() };
        Served::new(store.clone(), Config::new(limits, "test".into(), None, true))
    });
    for served in &served {
        clients.push(client(served).await);
    }
    for round in 0..25 {
        change(&mut dice, &store, &mut next, &mut clients[0]).await;
        for _ in 0..6 {
            let command = ASKED[usize::try_from(dice.number()).unwrap_or(0) % ASKED.len()];
            let mut answers = Vec::new();
            for client in &mut clients {
                client.ok("NOOP").await;
                answers.push(client.ok(command).await);
            }
            let [all, little, nothing] = &answers[..] else { unreachable!() };
            assert_eq!(all, nothing, "round {round}: {command}");
            assert_eq!(little, nothing, "round {round}: {command}, with little kept");
        }
    }
}

fn reopen_without_caches(folder: &Path) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("data.key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options.summary_cache_bytes = 0;
    Store::open(&folder.join("data"), options).unwrap().0
}

/// Summaries and pages of them that have been opened.
fn opened(store: &Store) -> u64 {
    let opened = store.opened();
    opened.summary_count + opened.summary_page_count
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_reads_the_summaries_of_what_is_new() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let account = store.account(USER).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let mut dice = Generator::new(12);
    let new = |number| {
        let prepared = store.prepare(&message(&mut dice, number), &[account.number()]).unwrap();
        NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(1) }
    };
    inbox.append((0..MESSAGES).map(new).collect()).wait().unwrap();
    store.close();
    drop((account, inbox));
    drop(store);
    let store = reopen_without_caches(folder.path());
    let served =
        Served::new(store.clone(), Config::new(Limits::default(), "test".into(), None, true));
    let mut one = client(&served).await;
    let sorts = ["SORT (FROM DATE) UTF-8 ALL", "UID SORT (SUBJECT) UTF-8 ALL"];
    for command in [sorts[0], sorts[1], "THREAD REFERENCES UTF-8 ALL"] {
        let before = opened(&store);
        let first = one.ok(command).await;
        let after = opened(&store);
        assert!(after > before, "{command}: nothing was kept, and something was read");
        assert_eq!(one.ok(command).await, first);
        // Another session has what this one kept.
        assert_eq!(client(&served).await.ok(command).await, first);
        assert_eq!(opened(&store), after, "{command} again reads no summary");
    }
    // Other criteria in another order, and fewer messages.
    let before = opened(&store);
    one.ok("SORT (REVERSE SUBJECT FROM) UTF-8 1:280").await;
    one.ok("THREAD REFERENCES UTF-8 2:*").await;
    assert_eq!(opened(&store), before);
    for number in MESSAGES..MESSAGES + 3 {
        let message = message(&mut dice, number);
        deliver(&store, &message, FlagList::default(), UnixSeconds(1));
    }
    one.ok("NOOP").await;
    for command in sorts {
        let before = opened(&store);
        one.ok(command).await;
        assert_eq!(opened(&store), before + 3, "{command} reads what is new");
        one.ok(command).await;
        assert_eq!(opened(&store), before + 3, "{command} keeps what is new");
    }
    store.close();
}
