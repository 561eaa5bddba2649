//! A server whose full-text index is made in small steps, at moments that chance chooses, answers
//! every search as one that has no index and reads every message.
//!
//! Both live through the same history: deliveries, flags, expunges, copies, moves, mailboxes that
//! go and come again, restarts. Before each question some messages are in pieces of the index,
//! some in several, some in none. Mail is of the corpus (`PILLARBOX_CORPUS`) where there is one,
//! and generated besides.
//!
//! A seed that fails is printed; `PILLARBOX_SEED=n` runs it alone, `PILLARBOX_SEARCH_ROUNDS=n`
//! longer.

use std::path::{Path, PathBuf};

use engine::flags::{FlagList, Keyword, SystemFlags};
use engine::ids::UnixSeconds;
use engine::message::Summary;
use engine::message::generator::Generator;
use engine::message::text::SearchText;
use engine::seal::Argon2Cost;
use engine::{IndexBounds, IndexDrive, KeySource, OpenOptions, Store};
use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use crate::search::string;
use crate::support::{Client, Served, USER, deliver, open_store};

const SEEDS: u64 = 3;
const ROUNDS: usize = 16;
const QUESTIONS: usize = 14;
/// Messages of more bytes are left out, so that the server without an index is quick enough.
const MESSAGE_BYTES_MAX: u64 = 24 << 10;
const CORPUS_MESSAGES: usize = 600;
/// 1 February 2024, 00:00 UTC.
const FEBRUARY: i64 = 1_706_745_600;
const FIELDS: [&str; 9] = [
    "Subject",
    "Received",
    "Message-ID",
    "Content-Type",
    "X-Mailer",
    "List-Id",
    "From",
    "In-Reply-To",
    "X-None",
];
/// Mailboxes beside INBOX, which go and come.
const OTHERS: [&str; 2] = ["Copies", "Moved"];

struct Dice(Generator);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.number() % bound.max(1) as u64) as usize
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// A message, and its texts as somebody reads them.
struct Mail {
    bytes: Vec<u8>,
    texts: Vec<String>,
}

impl Mail {
    fn new(bytes: Vec<u8>) -> Mail {
        let text = SearchText::new(&bytes, &Summary::parse(&bytes).structure);
        let fields = text.own_fields().chain(text.part_fields()).map(|(_, value)| value);
        let all = text.body_texts().chain(fields).filter(|text| !text.is_empty());
        let texts = all.map(str::to_owned).collect();
        Mail { bytes, texts }
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "eml")
            && path.metadata().unwrap().len() < MESSAGE_BYTES_MAX
        {
            found.push(path);
        }
    }
}

/// Mail to draw from.
fn mail(dice: &mut Dice) -> Vec<Mail> {
    let mut paths = Vec::new();
    match std::env::var_os("PILLARBOX_CORPUS") {
        Some(corpus) => collect(Path::new(&corpus), &mut paths),
        None => println!("no PILLARBOX_CORPUS: generated mail alone"),
    }
    paths.sort();
    let count = paths.len().min(CORPUS_MESSAGES);
    let read: Vec<Vec<u8>> =
        (0..count).map(|_| std::fs::read(&paths[dice.below(paths.len())]).unwrap()).collect();
    let made = (0..200).map(|number| dice.0.message(number * 20));
    read.into_iter().chain(made).map(Mail::new).collect()
}

/// A server and a client in INBOX.
struct Side {
    folder: tempfile::TempDir,
    bounds: IndexBounds,
    open: Option<Open>,
}

struct Open {
    served: Served,
    client: Client<DuplexStream>,
    session: JoinHandle<()>,
}

impl Side {
    async fn new(bounds: IndexBounds) -> Side {
        let folder = tempfile::tempdir().unwrap();
        open_store(folder.path()).close();
        let mut side = Side { folder, bounds, open: None };
        side.begin().await;
        for name in OTHERS {
            side.client().ok(&format!("CREATE {name}")).await;
        }
        side
    }

    async fn begin(&mut self) {
        let root = self.folder.path();
        let mut options = OpenOptions::new(KeySource::KeyFile(root.join("data.key")));
        options.password_cost = Argon2Cost::CHEAP;
        options.reserve_bytes = 0;
        options.index_bounds = self.bounds;
        options.index_drive = IndexDrive::Caller;
        let store = Store::open(&root.join("data"), options).unwrap().0;
        let config = Config::new(Limits::default(), "test".into(), None, true);
        let served = Served::new(store, config);
        let (stream, session) = served.connect_watched(Transport::Plain, 1 << 16);
        let mut client = Client::new(stream);
        client.log_in().await;
        client.ok("SELECT INBOX").await;
        self.open = Some(Open { served, client, session });
    }

    async fn restart(&mut self) {
        let Open { served, mut client, session } = self.open.take().unwrap();
        client.answer("LOGOUT").await;
        session.await.unwrap();
        served.store().close();
        drop(served);
        self.begin().await;
    }

    fn client(&mut self) -> &mut Client<DuplexStream> {
        &mut self.open.as_mut().unwrap().client
    }

    fn store(&self) -> &Store {
        self.open.as_ref().unwrap().served.store()
    }

    /// Messages in pieces of the index, and in none.
    fn indexed(&self) -> (u64, u64) {
        let account = self.store().account(USER).unwrap().unwrap();
        let status = account.index_status().unwrap();
        (status.figures.indexed_count, status.waiting_count)
    }

    async fn live(&mut self, step: &Step<'_>) {
        match step {
            Step::Deliver(message, flags, day) => {
                let list = FlagList {
                    system: SystemFlags(*flags & 0x1F),
                    keywords: (*flags >= 0x20)
                        .then(|| Keyword::new("$Junk").unwrap())
                        .into_iter()
                        .collect(),
                };
                let received = UnixSeconds(FEBRUARY + i64::from(*day) * 50_000);
                deliver(self.store(), message, list, received);
            }
            Step::Say(commands) => {
                for command in commands {
                    self.client().ok(command).await;
                }
            }
            Step::Restart => self.restart().await,
        }
        self.client().ok("NOOP").await;
    }

    /// Everything that is answered but the mailboxes' UIDVALIDITY, which the clock gives.
    async fn ask(&mut self, command: &str) -> Vec<String> {
        let lines = self.client().ok(command).await;
        let without = |line: String| match line.split_once(" UIDVALIDITY ") {
            Some((before, after)) => {
                format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            None => line,
        };
        lines.into_iter().map(without).collect()
    }
}

/// What happens to both.
enum Step<'m> {
    Deliver(&'m [u8], u8, u16),
    Say(Vec<String>),
    Restart,
}

fn steps<'m>(dice: &mut Dice, mail: &'m [Mail], delivered: &mut Vec<usize>) -> Vec<Step<'m>> {
    let top = delivered.len() + 1;
    let from = 1 + dice.below(top);
    let set = format!("{from}:{}", from + dice.below(25));
    let say = |commands: &[String]| vec![Step::Say(commands.to_vec())];
    match dice.below(12) {
        0..=4 => (0..1 + dice.below(30))
            .map(|_| {
                let chosen = dice.below(mail.len());
                delivered.push(chosen);
                let (flags, day) = (dice.below(64) as u8, dice.below(60) as u16);
                Step::Deliver(&mail[chosen].bytes, flags, day)
            })
            .collect(),
        5 => say(&[format!("UID STORE {set} +FLAGS (\\Flagged $Junk)")]),
        6 => say(&[format!("UID STORE {set} -FLAGS (\\Seen \\Flagged)")]),
        7 => say(&[format!("UID STORE {set} +FLAGS (\\Deleted)"), "EXPUNGE".into()]),
        8 => say(&[format!("UID COPY {set} {}", dice.of(&OTHERS))]),
        9 => say(&[format!("UID MOVE {set} Moved")]),
        10 => {
            let name = dice.of(&OTHERS);
            say(&[format!("DELETE {name}"), format!("CREATE {name}")])
        }
        _ => vec![Step::Restart],
    }
}

/// A piece of what some message says, in some case; sometimes what none says, or nothing.
fn needle(dice: &mut Dice, mail: &[Mail], delivered: &[usize]) -> String {
    let mail = &mail[delivered[dice.below(delivered.len())]];
    if mail.texts.is_empty() || dice.below(20) == 0 {
        return dice.of(&["", "no such words", "zqzqzq", "日本国憲法", "%"]).to_owned();
    }
    let text = &mail.texts[dice.below(mail.texts.len())];
    let mut from = dice.below(text.len());
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    let rest = &text[from..];
    let piece: String = match dice.below(3) {
        0 => rest.chars().take(1 + dice.below(6)).collect(),
        1 => rest.chars().take(1 + dice.below(40)).collect(),
        // Whole words.
        _ => {
            let words: Vec<&str> =
                rest.split_whitespace().skip(1).take(1 + dice.below(3)).collect();
            words.join(" ")
        }
    };
    let piece = piece.replace('\0', "");
    if dice.below(3) == 0 { piece.to_uppercase() } else { piece }
}

fn text_key(dice: &mut Dice, mail: &[Mail], delivered: &[usize]) -> String {
    let needle = string(&needle(dice, mail, delivered));
    match dice.below(10) {
        0..=2 => format!("BODY {needle}"),
        3 | 4 => format!("TEXT {needle}"),
        5 => format!("SUBJECT {needle}"),
        6 => format!("FROM {needle}"),
        7 => format!("{} {needle}", dice.of(&["TO", "CC", "BCC"])),
        _ => format!("HEADER {} {needle}", dice.of(&FIELDS)),
    }
}

/// A key without text; numbers and UIDs only where one mailbox is asked.
fn other_key(dice: &mut Dice, top: usize, has_numbers: bool) -> String {
    match dice.below(if has_numbers { 6 } else { 4 }) {
        0 | 1 => dice
            .of(&[
                "SEEN",
                "UNSEEN",
                "FLAGGED",
                "UNFLAGGED",
                "ANSWERED",
                "UNDRAFT",
                "KEYWORD $Junk",
                "UNKEYWORD $Junk",
            ])
            .to_owned(),
        2 => {
            let name = dice.of(&["BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE"]);
            let (day, year) =
                (1 + dice.below(28), if name.starts_with("SENT") { 2010 } else { 2024 });
            format!("{name} {day}-{}-{year}", dice.of(&["Feb", "Mar"]))
        }
        3 => {
            let name = dice.of(&["LARGER", "SMALLER"]);
            format!("{name} {}", dice.below(6_000))
        }
        4 => format!("{}:{}", 1 + dice.below(top), 1 + dice.below(top)),
        _ => format!("UID {}:{}", 1 + dice.below(top), 1 + dice.below(top)),
    }
}

fn key(dice: &mut Dice, mail: &[Mail], delivered: &[usize], has_numbers: bool) -> String {
    let top = delivered.len() + 1;
    let text = |dice: &mut Dice| text_key(dice, mail, delivered);
    let other = |dice: &mut Dice| other_key(dice, top, has_numbers);
    match dice.below(9) {
        0..=2 => text(dice),
        3 => format!("NOT {}", text(dice)),
        4 => format!("{} {}", other(dice), text(dice)),
        5 => format!("OR {} {}", text(dice), other(dice)),
        6 => format!("OR (NOT {} {}) {}", text(dice), other(dice), text(dice)),
        7 => format!("({} {}) NOT {}", text(dice), text(dice), other(dice)),
        _ => format!("NOT (OR {} (NOT {} {}))", text(dice), other(dice), text(dice)),
    }
}

/// A question as commands, of which the last is answered.
fn question(dice: &mut Dice, mail: &[Mail], delivered: &[usize]) -> Vec<String> {
    let kind = dice.below(16);
    let key = key(dice, mail, delivered, kind < 14);
    let sorts =
        ["SUBJECT", "REVERSE DATE", "FROM SIZE", "ARRIVAL TO", "DISPLAYFROM REVERSE SUBJECT"];
    let sort = dice.of(&sorts);
    let one = match kind {
        0 | 1 => format!("SEARCH CHARSET UTF-8 {key}"),
        2 | 3 => format!("UID SEARCH CHARSET UTF-8 {key}"),
        4 | 5 => format!("SEARCH RETURN (COUNT MIN MAX ALL) CHARSET UTF-8 {key}"),
        6 => format!("UID SEARCH RETURN (PARTIAL 1:3 COUNT) CHARSET UTF-8 {key}"),
        7 => format!("UID SEARCH RETURN (PARTIAL -2:-4) CHARSET UTF-8 {key}"),
        8 => format!("SORT ({sort}) UTF-8 {key}"),
        9 => format!("UID SORT RETURN (COUNT ALL) ({sort}) UTF-8 {key}"),
        10 => format!("THREAD REFERENCES UTF-8 {key}"),
        11 => format!("UID THREAD ORDEREDSUBJECT UTF-8 {key}"),
        12 | 13 => {
            return vec![
                format!("UID SEARCH RETURN (SAVE) CHARSET UTF-8 {key}"),
                format!("UID SEARCH RETURN (ALL COUNT) UID $ NOT {}", other_key(dice, 9, true)),
            ];
        }
        14 => format!("ESEARCH IN (personal) RETURN (COUNT MIN MAX ALL) CHARSET UTF-8 {key}"),
        _ => format!("ESEARCH IN (inboxes mailboxes (Copies Moved)) CHARSET UTF-8 {key}"),
    };
    vec![one]
}

fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn run(seed: u64) -> (usize, usize) {
    println!("PILLARBOX_SEED={seed}");
    let dice = &mut Dice(Generator::new(seed));
    let mail = mail(dice);
    let small = IndexBounds {
        tail_messages: 6,
        tail_bytes: 1 << 20,
        split_messages: 60,
        merged_splits: 3,
        builder_bytes: 200_000,
    };
    let mut indexed = Side::new(small).await;
    let mut plain =
        Side::new(IndexBounds { tail_messages: u64::MAX, tail_bytes: u64::MAX, ..small }).await;
    let (mut delivered, mut mixed, mut telling) = (Vec::new(), 0, 0);
    for round in 0..number_of("PILLARBOX_SEARCH_ROUNDS", ROUNDS) {
        let mut all = steps(dice, &mail, &mut delivered);
        all.extend(steps(dice, &mail, &mut delivered));
        for step in all {
            indexed.live(&step).await;
            plain.live(&step).await;
            for _ in 0..dice.below(5) {
                indexed.store().index_step();
            }
        }
        if delivered.is_empty() {
            continue;
        }
        for _ in 0..QUESTIONS {
            let (inside, outside) = indexed.indexed();
            mixed += usize::from(inside > 0 && outside > 0);
            let commands = question(dice, &mail, &delivered);
            let (last, first) = commands.split_last().unwrap();
            for command in first {
                indexed.ask(command).await;
                plain.ask(command).await;
            }
            let (found, expected) = (indexed.ask(last).await, plain.ask(last).await);
            assert_eq!(found, expected, "seed {seed}, round {round}: {commands:?}");
            telling += usize::from(expected.concat().split_whitespace().count() > 3);
            if dice.below(4) == 0 {
                indexed.store().index_step();
            }
        }
    }
    assert_eq!(plain.indexed().0, 0, "it has no index");
    for side in [&indexed, &plain] {
        assert_eq!(side.store().check(&mut |_| {}).unwrap().problems, []);
    }
    (mixed, telling)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_index_half_made_every_search_is_answered_as_without_one() {
    let seed = std::env::var("PILLARBOX_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(1..=SEEDS, |seed: u64| seed..=seed);
    let (mut mixed, mut telling) = (0, 0);
    for seed in seeds {
        let of_seed = run(seed).await;
        (mixed, telling) = (mixed + of_seed.0, telling + of_seed.1);
    }
    println!("{mixed} questions met an index half made, {telling} found several messages");
    let is_enough = mixed > 100 && telling > 100;
    assert!(seed.is_some() || is_enough, "{mixed} met an index half made, {telling} found some");
}
