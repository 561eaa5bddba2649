//! Random commands, right and wrong, in several sessions on one mailbox; what they are answered is
//! held against what a client works out from it. The choices come from a seed
//! (`tests/server/random_session.rs`) or from the bytes of a fuzzer.
//!
//! # Invariants
//! 1. Every tag is answered once, in the order in which the commands were sent.
//! 2. Every response is one by its grammar (`response.rs`).
//! 3. EXISTS never tells of fewer messages than the client counts, EXPUNGE of none beyond, and no
//!    response of a number above.
//! 4. No EXPUNGE, and no VANISHED in its place, is told while FETCH, STORE or SEARCH is answered
//!    (RFC 3501 section 7.4.1).
//! 5. A sequence number means the same UID until an EXPUNGE, and UIDs ascend with the numbers.
//! 6. SEARCH names messages that the client knows, ascending.
//! 7. FETCH and STORE by number that are answered OK told of every message that they named.
//! 8. A right command is not answered BAD.
//! 9. BYE is told to LOGOUT alone.
//! 10. VANISHED is told to who enabled QRESYNC or UIDONLY, and EXPUNGE to the others; to who
//!     enabled UIDONLY no number is told.
//! 11. In the end, after NOOP, all sessions have the messages that are stored.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use engine::width::usize_of;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

use super::response;

/// Who logs in, and the password.
pub const USER: &str = "demo@example.org";
/// See [`USER`].
pub const PASSWORD: &str = "demo";

/// How long an answer may take on a busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// Responses that the report of a failure shows.
const TOLD_MAX: usize = 30;

/// Where choices come from.
pub trait Choices {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize;

    /// True once in so many times.
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of a list.
    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let at = self.below(list.len());
        list.get(at).copied().unwrap_or_default()
    }
}

/// Random numbers whose runs can be repeated (splitmix64).
pub struct Seeded(pub u64);

impl Choices for Seeded {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize_of(bits ^ (bits >> 31)).checked_rem(end).unwrap_or(0)
    }
}

/// Choices that were written down, a byte each; zero when there are no more.
pub struct Written<'a>(pub &'a [u8]);

impl Choices for Written<'_> {
    fn below(&mut self, end: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first).checked_rem(end).unwrap_or(0)
    }
}

/// What a client knows of a command that it sent.
struct Sent {
    tag: String,
    command: String,
    meant: Meant,
}

/// Whether a command is what the client wanted to say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    Right,
    /// Broken on purpose: what it means, if anything, nobody knows.
    Broken,
}

impl Sent {
    fn is(&self, names: &[&str]) -> bool {
        let name = self.command.split(' ').next().unwrap_or_default();
        self.meant == Meant::Right && names.contains(&name.trim_end())
    }

    fn holds_expunges(&self) -> bool {
        self.is(&["FETCH", "STORE", "SEARCH"])
    }

    /// The numbers of which FETCH or STORE must tell, in a mailbox of so many messages.
    fn promised(&self, count: usize) -> BTreeSet<usize> {
        let mut words = self.command.split(' ').skip(1);
        let (set, items) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let may_skip = self.command.contains("CHANGEDSINCE") || set.contains('$');
        if count == 0 || !self.is(&["FETCH", "STORE"]) || items.contains(".SILENT") || may_skip {
            return BTreeSet::new();
        }
        let number = |text: &str| match text {
            "*" => count,
            text => text.parse().expect("right commands have right numbers"),
        };
        let ends = set.split(',').map(|range| range.split_once(':').unwrap_or((range, range)));
        let ends = ends.map(|(a, b)| (number(a), number(b)));
        ends.flat_map(|(a, b)| a.min(b)..=a.max(b)).collect()
    }
}

/// What a client enables; each has what those before have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Dialect {
    Plain,
    Condstore,
    QResync,
    UidOnly,
}

impl Dialect {
    fn enabling(self) -> Option<&'static str> {
        match self {
            Dialect::Plain => None,
            Dialect::Condstore => Some("ENABLE CONDSTORE"),
            Dialect::QResync => Some("ENABLE QRESYNC"),
            Dialect::UidOnly => Some("ENABLE QRESYNC UIDONLY"),
        }
    }

    /// Its name in the answer.
    fn name(self) -> &'static str {
        match self {
            Dialect::Plain => "",
            Dialect::Condstore => "CONDSTORE",
            Dialect::QResync => "QRESYNC",
            Dialect::UidOnly => "UIDONLY",
        }
    }

    fn hears_vanished(self) -> bool {
        matches!(self, Dialect::QResync | Dialect::UidOnly)
    }
}

/// A client with its picture of the mailbox: a UID for each number, where it was told. Without
/// numbers the UIDs that are known come first.
pub struct Session {
    stream: BufReader<DuplexStream>,
    /// What it has enabled when it speaks next.
    speaks: Dialect,
    /// What it has enabled when the next answer comes.
    hears: Dialect,
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
    /// Reads the greeting, logs in and selects INBOX.
    pub async fn new(stream: DuplexStream) -> Session {
        let mut session = Session {
            stream: BufReader::with_capacity(64 << 10, stream),
            speaks: Dialect::Plain,
            hears: Dialect::Plain,
            uids: Vec::new(),
            sent: VecDeque::new(),
            tags: 0,
            fetched: BTreeSet::new(),
            count_before: 0,
            told: VecDeque::new(),
        };
        let greeting = session.response().await;
        session.check(greeting.starts_with("* OK "), "there is a greeting");
        session.say(&format!("LOGIN {USER} {PASSWORD}")).await;
        session.say("SELECT INBOX").await;
        session.hear().await;
        session
    }

    /// Enables something, or nothing.
    pub async fn enable(&mut self, chance: &mut impl Choices) {
        let dialect = match chance.below(6) {
            0 => Dialect::Condstore,
            1 | 2 => Dialect::QResync,
            3 => Dialect::UidOnly,
            _ => return,
        };
        let Some(enabling) = dialect.enabling() else { return };
        self.say(enabling).await;
        let answer = self.hear().await;
        self.check(answer.starts_with("OK"), "what there is can be enabled");
        (self.speaks, self.hears) = (dialect, dialect);
    }

    /// How many messages the client counts.
    pub fn count(&self) -> usize {
        self.uids.len()
    }

    /// Sends a right command.
    pub async fn say(&mut self, command: &str) {
        self.send(command.to_owned(), Meant::Right).await;
    }

    async fn send(&mut self, command: String, meant: Meant) {
        self.tags += 1;
        let tag = format!("r{}", self.tags);
        if command == "UNAUTHENTICATE" {
            self.speaks = Dialect::Plain;
        }
        let line = format!("{tag} {command}\r\n");
        // What the server answers meanwhile fits into the pipe, or it would wait for its reader.
        let sending = self.stream.get_mut().write_all(line.as_bytes());
        let sent = tokio::time::timeout(ANSWER_DEADLINE, sending).await;
        self.check(matches!(sent, Ok(Ok(()))), "the server takes the command");
        self.sent.push_back(Sent { tag, command, meant });
        if self.sent.len() == 1 {
            self.begin();
        }
    }

    /// A command is answered next: SELECT forgets all there was.
    fn begin(&mut self) {
        if self.sent.front().is_some_and(|sent| sent.is(&["SELECT", "EXAMINE"])) {
            self.uids.clear();
        }
        self.count_before = self.uids.len();
        self.fetched.clear();
    }

    /// A response with its literals, of which no parenthesis is left.
    async fn response(&mut self) -> String {
        let (mut bytes, mut text) = (Vec::new(), String::new());
        loop {
            let mut line = Vec::new();
            let reading = self.stream.read_until(b'\n', &mut line);
            let read = tokio::time::timeout(ANSWER_DEADLINE, reading).await;
            self.check(matches!(read, Ok(Ok(1..))), "the server goes on");
            bytes.extend_from_slice(&line);
            let shown = String::from_utf8_lossy(line.strip_suffix(b"\r\n").unwrap_or(&line));
            text += &shown;
            let size = shown.strip_suffix('}').and_then(|line| line.rsplit_once('{'));
            let Some(size) = size.and_then(|(_, size)| size.parse::<usize>().ok()) else {
                let fault = response::check(&bytes).err();
                self.check(fault.is_none(), &format!("{fault:?} in {text:?}"));
                return text;
            };
            let mut literal = vec![0; size];
            let reading = self.stream.read_exact(&mut literal);
            let read = tokio::time::timeout(ANSWER_DEADLINE, reading).await;
            self.check(matches!(read, Ok(Ok(_))), "a literal is as long as it says");
            bytes.extend_from_slice(&literal);
            text += &String::from_utf8_lossy(&literal).replace(['(', ')'], "");
        }
    }

    /// Reads until everything that was sent is answered; the last answer.
    pub async fn hear(&mut self) -> String {
        let mut last = String::new();
        while let Some(command) = self.sent.front().map(|sent| sent.command.clone()) {
            let response = self.response().await;
            self.told.push_back(format!("{response} <- {command}"));
            if self.told.len() > TOLD_MAX {
                self.told.pop_front();
            }
            if let Some(untagged) = response.strip_prefix("* ") {
                self.note(untagged);
                continue;
            }
            if response.starts_with("+ ") {
                let is_asked = self.sent.front().is_some_and(|sent| sent.is(&["IDLE\r\nDONE"]));
                self.check(is_asked, "a continuation is told to who waits for it");
                continue;
            }
            let (tag, answer) = response.split_once(' ').unwrap_or_default();
            let Some(sent) = self.sent.pop_front() else { break };
            self.check(tag == sent.tag, "the oldest command is answered first");
            let status = answer.split(' ').next().unwrap_or_default();
            self.check(["OK", "NO", "BAD"].contains(&status), "a tagged answer has a status");
            // A number may have gone since it was written.
            let is_right = sent.meant == Meant::Right && !answer.contains("There is no message");
            self.check(!is_right || status != "BAD", "a right command is not BAD");
            if sent.is(&["UNAUTHENTICATE"]) && status == "OK" {
                self.hears = Dialect::Plain;
            }
            let promised = sent.promised(self.count_before);
            let kept = status != "OK" || promised.is_subset(&self.fetched);
            self.check(kept, "every message that was named is told");
            last = answer.to_owned();
            self.begin();
        }
        last
    }

    /// What is promised, or a panic that shows what was told.
    pub fn check(&self, holds: bool, rule: &str) {
        let told = || Vec::from(self.told.clone()).join("\n");
        assert!(holds, "{rule}; it was told, at last:\n{}", told());
    }

    fn answers(&self, names: &[&str]) -> bool {
        self.sent.front().is_some_and(|sent| sent.is(names))
    }

    fn note(&mut self, untagged: &str) {
        let (first, rest) = untagged.split_once(' ').unwrap_or((untagged, ""));
        match first {
            "BYE" => self.check(self.answers(&["LOGOUT"]), "the session goes on"),
            "SEARCH" | "SORT" | "THREAD" | "ESEARCH" => self.note_found(first, rest),
            // From here on, and not from the command's end: news may come between. Nothing that
            // was enabled before ends.
            "ENABLED" => {
                let told: Vec<&str> = rest.split(' ').collect();
                let dialects = [Dialect::UidOnly, Dialect::QResync, Dialect::Condstore];
                let found = dialects.into_iter().find(|dialect| told.contains(&dialect.name()));
                self.hears = self.hears.max(found.unwrap_or(Dialect::Plain));
            }
            // What went before the client came is nothing to it.
            "VANISHED" if rest.starts_with("(EARLIER)") => {}
            "VANISHED" => self.note_vanished(rest),
            _ => {}
        }
        let Ok(number) = first.parse::<usize>() else { return };
        let is_known = (1..=self.uids.len()).contains(&number);
        match rest.split(' ').next().unwrap_or_default() {
            "EXISTS" => {
                self.check(number >= self.uids.len(), "EXISTS does not shrink");
                self.uids.resize(number, None);
            }
            "EXPUNGE" => {
                self.check(is_known, "EXPUNGE names a message");
                self.check(!self.hears.hears_vanished(), "EXPUNGE is VANISHED here");
                self.check_held();
                self.uids.remove(number - 1);
            }
            "UIDFETCH" => {
                self.check(self.hears == Dialect::UidOnly, "UIDFETCH is told to who wants it");
                let Ok(uid) = u32::try_from(number) else { return };
                if !self.uids.contains(&Some(uid)) {
                    let place = self.uids.iter().position(Option::is_none);
                    self.check(place.is_some(), "UIDFETCH names a message");
                    self.uids.remove(place.unwrap_or_default());
                    let place = self.uids.partition_point(|known| known.is_some_and(|at| at < uid));
                    self.uids.insert(place, Some(uid));
                }
            }
            "FETCH" => {
                self.check(self.hears != Dialect::UidOnly, "no number is told");
                self.check(is_known, "FETCH names a message");
                self.fetched.insert(number);
                let uid = rest.split_once("UID ").and_then(|(_, rest)| {
                    rest.split([' ', ')']).next().and_then(|uid| uid.parse::<u32>().ok())
                });
                let (Some(uid), Some(place)) = (uid, self.uids.get_mut(number - 1)) else { return };
                let known = place.replace(uid);
                self.check(known.is_none_or(|known| known == uid), "a number keeps its UID");
                self.check(self.uids.iter().flatten().is_sorted_by(|a, b| a < b), "UIDs ascend");
            }
            _ => {}
        }
    }

    fn check_held(&self) {
        let is_held = self.sent.front().is_some_and(Sent::holds_expunges);
        self.check(!is_held, "EXPUNGE is held back");
    }

    /// UIDs of messages that went.
    fn note_vanished(&mut self, set: &str) {
        self.check(self.hears.hears_vanished(), "VANISHED is told to who wants it");
        self.check_held();
        for range in set.split(',') {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            let ends = first.parse::<u32>().ok().zip(last.parse::<u32>().ok());
            self.check(ends.is_some_and(|(first, last)| first <= last), "VANISHED has ranges");
            let Some((first, last)) = ends else { return };
            for uid in first..=last {
                self.forget(uid);
            }
        }
    }

    /// A message went: the one of that UID, or one that lies where it must have been.
    fn forget(&mut self, uid: u32) {
        let known = self.uids.iter().position(|place| *place == Some(uid));
        let place = known.or_else(|| match self.hears {
            Dialect::UidOnly => self.uids.iter().position(Option::is_none),
            _ => {
                let above = |place: &Option<u32>| place.is_some_and(|known| known > uid);
                let end = self.uids.iter().position(above).unwrap_or(self.uids.len());
                end.checked_sub(1).filter(|&place| self.uids.get(place) == Some(&None))
            }
        });
        self.check(place.is_some(), &format!("VANISHED names a message, {uid}"));
        self.uids.remove(place.unwrap_or_default());
    }

    /// The numbers of what was found.
    fn note_found(&self, name: &str, rest: &str) {
        let numbers = match name {
            // After its tag the numbers, unless they are UIDs.
            "ESEARCH" if rest.contains(") UID") => return,
            "ESEARCH" => rest.split_once(" ALL ").map(|(_, set)| set).unwrap_or_default(),
            _ => rest.split(" (MODSEQ").next().unwrap_or_default(),
        };
        let numbers = numbers.split(' ').next().filter(|_| name == "ESEARCH").unwrap_or(numbers);
        let digits = numbers.split(|c: char| !c.is_ascii_digit());
        let found: Vec<usize> = digits.filter_map(|text| text.parse().ok()).collect();
        if name == "SEARCH" {
            self.check(found.is_sorted_by(|a, b| a < b), "SEARCH ascends");
        }
        // By UID, or by who knows what.
        if self.answers(&["SEARCH", "SORT", "THREAD"]) {
            self.check(self.hears != Dialect::UidOnly, "no number is found");
            let are_known = found.iter().all(|number| (1..=self.uids.len()).contains(number));
            self.check(are_known, "what is found is known");
        }
    }

    /// The UIDs of the mailbox, as the client was told in the end.
    pub async fn picture(&mut self) -> Vec<u32> {
        self.say("NOOP").await;
        self.say("UID FETCH 1:* (UID)").await;
        let answer = self.hear().await;
        self.check(answer.starts_with("OK"), "all is well in the end");
        self.check(self.uids.iter().all(Option::is_some), "every message is told");
        self.uids.iter().copied().flatten().collect()
    }

    /// Says good-bye; the connection ends after the answer.
    pub async fn end(mut self) {
        self.say("LOGOUT").await;
        self.hear().await;
        let mut rest = Vec::new();
        let read = tokio::time::timeout(ANSWER_DEADLINE, self.stream.read_to_end(&mut rest)).await;
        self.check(matches!(read, Ok(Ok(0))), "nothing follows the end");
    }
}

/// Several speak before anybody listens, so that what they do crosses.
pub async fn round(sessions: &mut [Session], chance: &mut impl Choices) {
    let speakers = 1 + chance.below(sessions.len());
    let first = chance.below(sessions.len());
    for speaker in 0..speakers {
        let at = (first + speaker) % sessions.len();
        let Some(session) = sessions.get_mut(at) else { continue };
        let count = session.count();
        if chance.one_in(4) {
            session.send(broken(chance, count, session.speaks), Meant::Broken).await;
        }
        for command in commands(chance, count, session.speaks) {
            session.send(command, Meant::Right).await;
        }
    }
    for session in sessions {
        session.hear().await;
    }
}

/// Numbers of messages, of which some exist.
fn set(chance: &mut impl Choices, count: usize) -> String {
    let count = count.max(1);
    let mut number = || match chance.below(8) {
        0 => "*".to_owned(),
        _ => (1 + chance.below(count)).to_string(),
    };
    let (one, other) = (number(), number());
    match chance.below(4) {
        0 => "1:*".to_owned(),
        1 => format!("{one}:{other}"),
        2 => format!("{one},{other}"),
        _ => one,
    }
}

const FLAGS: &[&str] =
    &["\\Seen", "\\Deleted", "\\Flagged", "\\Deleted \\Draft", "$Label1 $Label2", ""];
const STORES: &[&str] = &["+FLAGS", "-FLAGS", "FLAGS", "+FLAGS.SILENT", "-FLAGS.SILENT"];
const ITEMS: &[&str] = &[
    "FLAGS",
    "(UID FLAGS)",
    "(UID ENVELOPE BODYSTRUCTURE)",
    "(UID BODY[])",
    "BODY.PEEK[HEADER.FIELDS (Subject From)]",
    "(UID INTERNALDATE RFC822.SIZE BODY[TEXT]<2.5>)",
    "FAST",
    "(UID MODSEQ EMAILID THREADID SAVEDATE PREVIEW)",
    "(UID FLAGS) (CHANGEDSINCE 3)",
    "(UID BINARY.SIZE[1] BINARY[1])",
];
/// The one with numbers of messages.
const NUMBERED_KEY: &str = "2:4 LARGER 10";
/// What was missed, for who enabled QRESYNC.
const RESYNCS: &[&str] = &[
    "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 2 VANISHED)",
    "SELECT INBOX (QRESYNC (1 2))",
    "SELECT INBOX (QRESYNC (1 2 1:3))",
];
const KEYS: &[&str] = &[
    "ALL",
    "UNSEEN",
    "DELETED NOT FLAGGED",
    "OR SUBJECT 3 KEYWORD $Label1",
    NUMBERED_KEY,
    "BODY text",
    "SINCE 1-Jan-2020",
    "UID 1:*",
    "MODSEQ 2",
    "$",
];
const RETURNS: &[&str] = &["", "RETURN () ", "RETURN (ALL COUNT MIN) ", "RETURN (SAVE) "];
const TARGETS: &[&str] = &["Archive", "INBOX", "Nowhere"];
const PLAIN: &[&str] = &[
    "NOOP",
    "CHECK",
    "STATUS Sent (MESSAGES)",
    "LIST \"\" *",
    "IDLE\r\nDONE",
    "STATUS Scrap (MESSAGES UIDNEXT UNSEEN SIZE HIGHESTMODSEQ)",
    "LIST (SUBSCRIBED) \"\" (\"*\" %) RETURN (CHILDREN STATUS (UNSEEN))",
    "CREATE Scrap",
    "DELETE Scrap",
    "RENAME Scrap Scrap/Below",
    "SUBSCRIBE Scrap",
    "ENABLE CONDSTORE",
    "GETQUOTAROOT INBOX",
    "GETACL INBOX",
    "SETACL INBOX anna@example.org lr",
    "MYRIGHTS INBOX",
    "GETMETADATA (DEPTH infinity) INBOX /private",
    "SETMETADATA INBOX (/private/comment \"of \\\"two\\\" kinds\")",
    "UIDBATCHES 500",
    "NAMESPACE",
    "ID NIL",
    "CAPABILITY",
    "SEARCH RETURN (UPDATE) FLAGGED",
    "ESEARCH IN (mailboxes Archive) RETURN (COUNT) ALL",
];

/// Right commands; the numbers in the first exist when it is answered, if expunges are not told
/// before.
fn commands(chance: &mut impl Choices, count: usize, speaks: Dialect) -> Vec<String> {
    let is_uid_only = speaks == Dialect::UidOnly;
    let by_uid = if chance.one_in(2) || count == 0 || is_uid_only { "UID " } else { "" };
    let set = set(chance, count);
    let one = match chance.below(20) {
        0..3 => format!("{by_uid}FETCH {set} {}", chance.pick(ITEMS)),
        3..6 => {
            let unchanged = if chance.one_in(4) { "(UNCHANGEDSINCE 5) " } else { "" };
            let (how, flags) = (chance.pick(STORES), chance.pick(FLAGS));
            format!("{by_uid}STORE {set} {unchanged}{how} ({flags})")
        }
        6 => format!("{by_uid}SEARCH {}{}", chance.pick(RETURNS), chance.pick(KEYS)),
        7 => format!("{by_uid}SORT (REVERSE SUBJECT ARRIVAL) UTF-8 {}", chance.pick(KEYS)),
        8 => format!("{by_uid}COPY {set} {}", chance.pick(TARGETS)),
        9 => format!("{by_uid}MOVE {set} {}", chance.pick(TARGETS)),
        10 => chance.pick(&["EXPUNGE", "EXPUNGE", "UID EXPUNGE 1:*"]).to_owned(),
        11..14 => {
            let text = format!("From: a@example.org\r\nSubject: {}\r\n\r\nsome text\r\n", {
                chance.below(9)
            });
            format!("APPEND INBOX ({}) {{{}+}}\r\n{text}", chance.pick(FLAGS), text.len())
        }
        14 => "SELECT INBOX".to_owned(),
        15 => format!("{by_uid}THREAD REFERENCES UTF-8 {}", chance.pick(KEYS)),
        16 if chance.one_in(4) => {
            return ["UNAUTHENTICATE", &format!("LOGIN {USER} {PASSWORD}"), "SELECT INBOX"]
                .map(str::to_owned)
                .to_vec();
        }
        16 => {
            let close = chance.pick(&["CLOSE", "UNSELECT", "EXAMINE INBOX"]);
            return vec![close.to_owned(), "SELECT INBOX".to_owned()];
        }
        17 if speaks.hears_vanished() => chance.pick(RESYNCS).to_owned(),
        _ => chance.pick(PLAIN).to_owned(),
    };
    // Without numbers none is said, nor the saved result in the place of some.
    let has_numbers = [NUMBERED_KEY, " $"].iter().any(|key| one.ends_with(key));
    let has_numbers = has_numbers || one.starts_with("SEARCH");
    vec![if is_uid_only && has_numbers { "NOOP".to_owned() } else { one }]
}

/// A right command with a wrong byte or two. No literal begins in it, and it leaves the mailbox
/// that is open.
fn broken(chance: &mut impl Choices, count: usize, speaks: Dialect) -> String {
    const KEPT: &[&str] = &["SELECT", "CLOSE", "UNSELECT", "EXAMINE", "IDLE", "UNAUTHENTICATE"];
    let right = commands(chance, count, speaks).swap_remove(0);
    let right = match right.contains('{') || KEPT.iter().any(|kept| right.starts_with(kept)) {
        true => "STATUS INBOX (MESSAGES)".to_owned(),
        false => right,
    };
    let mut letters: Vec<char> = right.chars().collect();
    for _ in 0..=chance.below(2) {
        let at = chance.below(letters.len());
        let letters_wrong = "()[]\"\\*%:, <.-+09Az~\u{1}\u{7f}";
        let letter = letters_wrong.chars().nth(chance.below(22)).unwrap_or(' ');
        match chance.below(4) {
            0 => letters.truncate(at.max(1)),
            1 => drop(letters.splice(at..=at, [letter])),
            2 => drop(letters.remove(at)),
            _ => letters.insert(at, letter),
        }
        if letters.is_empty() {
            letters.push('x');
        }
    }
    letters.into_iter().collect()
}
