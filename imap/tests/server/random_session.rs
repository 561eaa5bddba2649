//! Random commands, right and wrong, in several sessions on one mailbox; what they are answered is
//! held against what a client works out from it.
//!
//! # Invariants
//! 1. Every tag is answered once, in the order in which the commands were sent.
//! 2. EXISTS never tells of fewer messages than the client counts, EXPUNGE of none beyond.
//! 3. No EXPUNGE is told while FETCH, STORE or SEARCH is answered (RFC 3501 section 7.4.1).
//! 4. A sequence number means the same UID until an EXPUNGE, and UIDs ascend with the numbers.
//! 5. SEARCH names messages that the client knows, ascending.
//! 6. FETCH and STORE by number that are answered OK told of every message that they named.
//! 7. In the end, after NOOP, all sessions have the same messages.
//!
//! A seed that fails is printed; `PILLARBOX_SEED=n` runs it alone.

use std::collections::{BTreeSet, VecDeque};

use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::support::{Client, Served, open_store};

const SESSIONS: usize = 3;
const STEPS: usize = 120;

/// A generator of random numbers whose runs can be repeated (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }
}

/// What a client knows of a command that it sent.
struct Sent {
    tag: String,
    command: String,
    /// Broken on purpose: what it means, if anything, nobody knows.
    is_broken: bool,
}

impl Sent {
    fn holds_expunges(&self) -> bool {
        let name = self.command.split(' ').next().unwrap();
        !self.is_broken && ["FETCH", "STORE", "SEARCH"].contains(&name)
    }

    /// The numbers of which FETCH or STORE must tell, in a mailbox of so many messages.
    fn promised(&self, count: usize) -> BTreeSet<usize> {
        let words: Vec<&str> = self.command.split(' ').collect();
        if count == 0
            || self.is_broken
            || !["FETCH", "STORE"].contains(&words[0])
            || words[2].contains(".SILENT")
        {
            return BTreeSet::new();
        }
        let number = |text: &str| if text == "*" { count } else { text.parse().unwrap() };
        let ends = words[1].split(',').map(|range| range.split_once(':').unwrap_or((range, range)));
        let ends = ends.map(|(a, b)| (number(a), number(b)));
        ends.flat_map(|(a, b)| a.min(b)..=a.max(b)).collect()
    }

    fn is_select(&self) -> bool {
        !self.is_broken && self.command.starts_with("SELECT ")
    }
}

/// A client with its picture of the mailbox: a UID for each number, where it was told.
struct Session {
    client: Client<DuplexStream>,
    uids: Vec<Option<u32>>,
    sent: VecDeque<Sent>,
    tags: u32,
    /// Numbers that FETCH told since the oldest unanswered command began.
    fetched: BTreeSet<usize>,
    /// How many messages there were then.
    count_before: usize,
    /// The last responses, for the report of a failure.
    told: VecDeque<String>,
}

impl Session {
    async fn new(served: &Served) -> Session {
        let mut client = Client::new(served.connect(Transport::Plain, 1 << 20));
        client.log_in().await;
        let mut session = Session {
            client,
            uids: Vec::new(),
            sent: VecDeque::new(),
            tags: 0,
            fetched: BTreeSet::new(),
            count_before: 0,
            told: VecDeque::new(),
        };
        session.say("SELECT INBOX".into(), false).await;
        session.hear().await;
        session
    }

    async fn say(&mut self, command: String, is_broken: bool) {
        self.tags += 1;
        let tag = format!("r{}", self.tags);
        self.client.send(format!("{tag} {command}\r\n").as_bytes()).await;
        self.sent.push_back(Sent { tag, command, is_broken });
        if self.sent.len() == 1 {
            self.begin();
        }
    }

    /// A command is answered next: SELECT forgets all there was.
    fn begin(&mut self) {
        if self.sent.front().is_some_and(Sent::is_select) {
            self.uids.clear();
        }
        self.count_before = self.uids.len();
        self.fetched.clear();
    }

    /// A response with its literals.
    async fn response(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let line = self.client.line().await.expect("the connection lives");
            whole += &line;
            let size = line.strip_suffix('}').and_then(|line| line.rsplit_once('{'));
            let Some(size) = size.and_then(|(_, size)| size.parse::<usize>().ok()) else {
                return whole;
            };
            let literal = self.client.bytes(size).await;
            whole += &String::from_utf8_lossy(&literal).replace(['(', ')'], "");
        }
    }

    /// Reads until everything that was sent is answered; the last answer.
    async fn hear(&mut self) -> String {
        let mut last = String::new();
        while !self.sent.is_empty() {
            let response = self.response().await;
            self.told.push_back(format!("{} <- {}", response, self.sent[0].command));
            if self.told.len() > 30 {
                self.told.pop_front();
            }
            if let Some(untagged) = response.strip_prefix("* ") {
                self.note(untagged);
                continue;
            }
            let (tag, answer) = response.split_once(' ').unwrap();
            let sent = self.sent.pop_front().unwrap();
            self.check(tag == sent.tag, "the oldest command is answered first");
            let status = answer.split(' ').next().unwrap();
            self.check(["OK", "NO", "BAD"].contains(&status), "a tagged answer has a status");
            // A number may have gone since it was written.
            let is_right = !sent.is_broken && !answer.contains("There is no message");
            self.check(!is_right || status != "BAD", "a right command is not BAD");
            let promised = sent.promised(self.count_before);
            let kept = status != "OK" || promised.is_subset(&self.fetched);
            self.check(kept, "every message that was named is told");
            last = answer.to_owned();
            self.begin();
        }
        last
    }

    fn check(&self, holds: bool, rule: &str) {
        let told = || Vec::from(self.told.clone()).join("\n");
        assert!(holds, "{rule}; it was told, at last:\n{}", told());
    }

    fn note(&mut self, untagged: &str) {
        let (first, rest) = untagged.split_once(' ').unwrap_or((untagged, ""));
        self.check(first != "BYE", "the session goes on");
        if first == "SEARCH" {
            let found: Vec<u32> = rest.split(' ').filter_map(|text| text.parse().ok()).collect();
            self.check(found.is_sorted_by(|a, b| a < b), "SEARCH ascends");
            let by_uid = self.sent[0].is_broken || self.sent[0].command.starts_with("UID");
            let known = by_uid || found.last().is_none_or(|&last| last as usize <= self.uids.len());
            self.check(known, "SEARCH names known messages");
        }
        let Ok(number) = first.parse::<usize>() else { return };
        match rest.split(' ').next().unwrap() {
            "EXISTS" => {
                self.check(number >= self.uids.len(), "EXISTS does not shrink");
                self.uids.resize(number, None);
            }
            "EXPUNGE" => {
                self.check((1..=self.uids.len()).contains(&number), "EXPUNGE names a message");
                self.check(!self.sent[0].holds_expunges(), "EXPUNGE is held back");
                self.uids.remove(number - 1);
            }
            "FETCH" => {
                self.check((1..=self.uids.len()).contains(&number), "FETCH names a message");
                self.fetched.insert(number);
                let uid = rest.split_once("UID ").and_then(|(_, rest)| {
                    rest.split([' ', ')']).next().and_then(|uid| uid.parse::<u32>().ok())
                });
                let Some(uid) = uid else { return };
                let known = self.uids[number - 1].replace(uid);
                self.check(known.is_none_or(|known| known == uid), "a number keeps its UID");
                self.check(self.uids.iter().flatten().is_sorted_by(|a, b| a < b), "UIDs ascend");
            }
            _ => {}
        }
    }
}

/// Numbers of messages, of which some exist.
fn set(chance: &mut Chance, count: usize) -> String {
    let count = count.max(1);
    let number = |chance: &mut Chance| match chance.below(8) {
        0 => "*".to_owned(),
        _ => (1 + chance.below(count)).to_string(),
    };
    match chance.below(4) {
        0 => "1:*".to_owned(),
        1 => format!("{}:{}", number(chance), number(chance)),
        2 => format!("{},{}", number(chance), number(chance)),
        _ => number(chance),
    }
}

const FLAGS: &[&str] =
    &["\\Seen", "\\Deleted", "\\Flagged", "\\Deleted \\Draft", "$Label1 $Label2", ""];
const ITEMS: &[&str] = &[
    "FLAGS",
    "(UID FLAGS)",
    "(UID ENVELOPE BODYSTRUCTURE)",
    "(UID BODY[])",
    "BODY.PEEK[HEADER.FIELDS (Subject From)]",
    "(UID INTERNALDATE RFC822.SIZE BODY[TEXT]<2.5>)",
    "FAST",
];
const KEYS: &[&str] = &[
    "ALL",
    "UNSEEN",
    "DELETED NOT FLAGGED",
    "OR SUBJECT 3 KEYWORD $Label1",
    "2:4 LARGER 10",
    "BODY text",
    "SINCE 1-Jan-2020",
    "UID 1:*",
];

/// A right command; the numbers in it exist when it is answered, if expunges are not told before.
fn command(chance: &mut Chance, count: usize) -> String {
    let by_uid = if chance.one_in(2) || count == 0 { "UID " } else { "" };
    let set = set(chance, count);
    match chance.below(16) {
        0..3 => format!("{by_uid}FETCH {set} {}", chance.pick(ITEMS)),
        3..6 => {
            let how = chance.pick(&["+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT", "-FLAGS.SILENT"]);
            format!("{by_uid}STORE {set} {how} ({})", chance.pick(FLAGS))
        }
        6 => format!("{by_uid}SEARCH {}", chance.pick(KEYS)),
        7 => format!("{by_uid}SORT (REVERSE SUBJECT ARRIVAL) UTF-8 {}", chance.pick(KEYS)),
        8 => format!("{by_uid}COPY {set} {}", chance.pick(&["Archive", "INBOX", "Nowhere"])),
        9 => format!("{by_uid}MOVE {set} {}", chance.pick(&["Archive", "INBOX", "Nowhere"])),
        10 => chance.pick(&["EXPUNGE", "EXPUNGE", "UID EXPUNGE 1:*"]).to_owned(),
        11..14 => {
            let text = "From: a@example.org\r\nSubject: ".to_owned();
            let text = text + &chance.below(9).to_string() + "\r\n\r\nsome text\r\n";
            format!("APPEND INBOX ({}) {{{}+}}\r\n{text}", chance.pick(FLAGS), text.len())
        }
        14 => chance.pick(&["NOOP", "CHECK", "STATUS Sent (MESSAGES)", "LIST \"\" *"]).into(),
        _ => "SELECT INBOX".to_owned(),
    }
}

/// A right command with a wrong byte or two. No literal begins in it, and it opens no mailbox.
fn broken(chance: &mut Chance, count: usize) -> String {
    let right = loop {
        let right = command(chance, count);
        if !right.contains('{') && !right.starts_with("SELECT") {
            break right;
        }
    };
    let mut bytes: Vec<u8> = right.into_bytes();
    for _ in 0..=chance.below(2) {
        let at = chance.below(bytes.len());
        let byte = *b"()[]\"\\*%:, <.-+09Az~\x01\x7f".get(chance.below(22)).unwrap();
        match chance.below(4) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = byte,
            2 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        if bytes.is_empty() {
            bytes.push(b'x');
        }
    }
    String::from_utf8(bytes).unwrap()
}

async fn run(seed: u64) {
    println!("PILLARBOX_SEED={seed}");
    let chance = &mut Chance(seed);
    let folder = tempfile::tempdir().unwrap();
    let config = Config::new(Limits::default(), "test".into(), None, true);
    let served = Served::new(open_store(folder.path()), config);
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS {
        sessions.push(Session::new(&served).await);
    }
    for _ in 0..STEPS {
        // Several speak before anybody listens, so that what they do crosses.
        let speakers = 1 + chance.below(SESSIONS);
        let first = chance.below(SESSIONS);
        for speaker in (0..speakers).map(|at| (first + at) % SESSIONS) {
            let session = &mut sessions[speaker];
            let count = session.uids.len();
            if chance.one_in(4) {
                session.say(broken(chance, count), true).await;
            }
            session.say(command(chance, count), false).await;
        }
        for session in &mut sessions {
            session.hear().await;
        }
    }
    let mut pictures = Vec::new();
    for session in &mut sessions {
        session.say("NOOP".into(), false).await;
        session.say("UID FETCH 1:* (UID)".into(), false).await;
        let answer = session.hear().await;
        session.check(answer.starts_with("OK"), "all is well in the end");
        pictures.push(session.uids.iter().map(|uid| uid.expect("told")).collect::<Vec<u32>>());
    }
    let account = served.store().account(crate::support::USER).unwrap().unwrap();
    let view = account.mailbox("INBOX").unwrap().unwrap().view().unwrap().unwrap();
    let stored: Vec<u32> =
        (0..view.message_count()).map(|rank| view.uid_at(rank).unwrap().unwrap().0).collect();
    for picture in pictures {
        assert_eq!(picture, stored, "a session sees what is stored");
    }
    let report = served.store().check(&mut |_| {}).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_in_which_anything_is_said_see_one_mailbox() {
    let seed = std::env::var("PILLARBOX_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(1..=10, |seed: u64| seed..=seed);
    for seed in seeds {
        run(seed).await;
    }
}
