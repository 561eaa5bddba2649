//! SEARCH is exact: random keys over mail whose plain text the test knows, against a naive look at
//! each message. The server sees the same text encoded in every way that mail has.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Store;
use engine::flags::{FlagList, Keyword, SystemFlags};
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

const MESSAGE_COUNT: u32 = 120;
const SEARCH_COUNT: usize = 600;
/// 1 February 2024, 00:00 UTC.
const FEBRUARY: i64 = 1_706_745_600;
const DAY_SECONDS: i64 = 24 * 60 * 60;
const WORDS: [&str; 16] = [
    "harbour",
    "Grüße",
    "STRASSE",
    "straße",
    "ПРИВЕТ",
    "привет",
    "日本",
    "lantern",
    "Éclair",
    "naïve",
    "quartz",
    "100%",
    "=20",
    "Ångström",
    "s",
    "x_y",
];

/// A message as a person reads it.
#[derive(Debug)]
struct Known {
    uid: u32,
    number: u32,
    /// Names and decoded values.
    fields: Vec<(String, String)>,
    /// The same of its parts: TEXT looks into them (RFC 9051 section 6.4.4).
    part_fields: Vec<(String, String)>,
    body: String,
    /// Days since 31 January 2024, as its Date says in its own zone.
    sent: Option<i64>,
    received: i64,
    flags: SystemFlags,
    junk: bool,
    size: u64,
}

/// In capitals, accents apart from their letters: how texts are compared.
fn upper(text: &str) -> String {
    let capitals: String = text.chars().flat_map(char::to_uppercase).collect();
    let accents = [("É", "E\u{301}"), ("Ï", "I\u{308}"), ("Å", "A\u{30A}")];
    let umlauts = [("Ö", "O\u{308}"), ("Ü", "U\u{308}")];
    let letters = accents.into_iter().chain(umlauts);
    letters.fold(capitals, |text, (letter, apart)| text.replace(letter, apart))
}

fn contains(text: &str, needle: &str) -> bool {
    upper(text).contains(&upper(needle))
}

impl Known {
    fn field_contains(&self, name: &str, needle: &str) -> bool {
        let mut named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.any(|(_, value)| contains(value, needle))
    }

    fn text_contains(&self, needle: &str) -> bool {
        let line = |(name, value): &(String, String)| contains(&format!("{name}: {value}"), needle);
        let mut fields = self.fields.iter().chain(&self.part_fields);
        contains(&self.body, needle) || fields.any(line)
    }
}

struct Dice(Generator);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        (self.0.number() % bound as u64) as usize
    }

    fn words(&mut self, most: usize) -> String {
        let words: Vec<&str> =
            (0..=self.below(most)).map(|_| WORDS[self.below(WORDS.len())]).collect();
        words.join(" ")
    }

    fn encoded_word(&mut self, text: &str) -> String {
        match self.below(3) {
            0 if text.is_ascii() && !text.contains('=') => text.to_owned(),
            0 | 1 => format!("=?utf-8?B?{}?=", STANDARD.encode(text)),
            _ => format!(
                "=?UTF-8?q?{}?=",
                quoted_printable(text).replace('_', "=5F").replace(' ', "_")
            ),
        }
    }
}

fn quoted_printable(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'=' | b'?' | 127.. => format!("={byte:02X}"),
        byte => char::from(byte).to_string(),
    };
    text.bytes().map(byte).collect()
}

fn day_text(day: i64) -> String {
    let (day, month) = if day <= 29 { (day, "Feb") } else { (day - 29, "Mar") };
    format!("{day}-{month}-2024")
}

/// Writes a message down; answers its bytes.
fn compose(dice: &mut Dice, known: &mut Known) -> Vec<u8> {
    let mut header = String::new();
    let mut field = |name: &str, written: String, read: String| {
        header += &format!("{name}: {written}\r\n");
        known.fields.push((name.to_owned(), read));
    };
    let name = dice.words(1);
    field(
        "From",
        format!("{} <ann@example.org>", dice.encoded_word(&name)),
        format!("{name} <ann@example.org>"),
    );
    if dice.below(2) == 0 {
        let to = format!("b{}@example.com", dice.below(5));
        field("To", to.clone(), to);
    }
    let subject = dice.words(3);
    field("Subject", dice.encoded_word(&subject), subject);
    if let Some(day) = known.sent {
        let date = format!("{} 23:30:00 -0800", day_text(day).replace('-', " "));
        field("Date", date.clone(), date);
    }
    let body = known.body.clone();
    let typed = |kind: &str, encoding: &str, text: String| {
        (format!("{kind}; charset=utf-8"), encoding.to_owned(), text)
    };
    let (kind, encoding, text) = match dice.below(4) {
        0 => typed("text/plain", "base64", STANDARD.encode(&body)),
        1 => typed("text/plain", "quoted-printable", quoted_printable(&body)),
        2 => typed("text/html", "8bit", format!("<html><p>{body}</p></html>")),
        _ => typed("text/plain", "8bit", body),
    };
    if dice.below(3) > 0 {
        field("Content-Type", kind.clone(), kind);
        field("Content-Transfer-Encoding", encoding.clone(), encoding);
        return format!("{header}\r\n{text}\r\n").into_bytes();
    }
    let part_field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let part_fields = [
        part_field("Content-Type", &kind),
        part_field("Content-Transfer-Encoding", &encoding),
        part_field("Content-Type", "image/png"),
    ];
    let mixed = "multipart/mixed; boundary=frontier";
    field("Content-Type", mixed.into(), mixed.into());
    known.part_fields.extend(part_fields);
    format!(
        "{header}\r\n--frontier\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: \
         {encoding}\r\n\r\n{text}\r\n--frontier\r\nContent-Type: image/png\r\n\r\nharbour\r\n\
         --frontier--\r\n"
    )
    .into_bytes()
}

fn fill(store: &Store, dice: &mut Dice) -> Vec<Known> {
    let all = [SystemFlags::SEEN, SystemFlags::FLAGGED, SystemFlags::ANSWERED, SystemFlags::DRAFT];
    let mut mail = Vec::new();
    for uid in 1..=MESSAGE_COUNT {
        let chosen = all.into_iter().filter(|_| dice.below(2) == 0);
        let flags = chosen.fold(SystemFlags::default(), SystemFlags::union);
        let mut known = Known {
            uid,
            number: 0,
            fields: Vec::new(),
            part_fields: Vec::new(),
            body: dice.words(8),
            sent: (dice.below(8) > 0).then(|| dice.below(50) as i64 + 1),
            received: dice.below(50) as i64 + 1,
            flags,
            junk: dice.below(4) == 0,
            size: 0,
        };
        let message = compose(dice, &mut known);
        known.size = message.len() as u64;
        let keywords = known.junk.then(|| Keyword::new("$Junk").unwrap()).into_iter().collect();
        let of_day = [0, DAY_SECONDS - 1, DAY_SECONDS / 2][dice.below(3)];
        let received = UnixSeconds(FEBRUARY + (known.received - 1) * DAY_SECONDS + of_day);
        deliver(store, &message, FlagList { system: flags, keywords }, received);
        mail.push(known);
    }
    mail
}

type Oracle = Box<dyn Fn(&Known) -> bool>;

/// `string` as a client sends it.
pub(crate) fn string(text: &str) -> String {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte)) {
        format!("\"{text}\"")
    } else {
        format!("{{{}+}}\r\n{text}", text.len())
    }
}

/// A piece of what some message says, in some case; sometimes what none says.
fn needle(dice: &mut Dice, mail: &[Known]) -> String {
    let known = &mail[dice.below(mail.len())];
    let text = match dice.below(4) {
        0 => dice.words(2),
        1 => known.body.clone(),
        _ => known.fields[dice.below(known.fields.len())].1.clone(),
    };
    let characters: Vec<char> = text.chars().collect();
    let begin = dice.below(characters.len());
    let end = (begin + 1 + dice.below(9)).min(characters.len());
    let piece: String = characters[begin..end].iter().collect();
    match dice.below(3) {
        0 => upper(&piece),
        1 => piece.to_lowercase(),
        _ => piece,
    }
}

fn key(dice: &mut Dice, mail: &[Known], depth: usize) -> (String, Oracle) {
    let day = dice.below(52) as i64 + 1;
    let count = mail.len();
    match dice.below(if depth > 2 { 12 } else { 16 }) {
        0 => {
            let (name, flag) = [
                ("SEEN", SystemFlags::SEEN),
                ("FLAGGED", SystemFlags::FLAGGED),
                ("ANSWERED", SystemFlags::ANSWERED),
                ("DRAFT", SystemFlags::DRAFT),
            ][dice.below(4)];
            let wanted = dice.below(2) == 0;
            let name = if wanted { name.to_owned() } else { format!("UN{name}") };
            (name, Box::new(move |known| known.flags.contains(flag) == wanted))
        }
        1 => ("KEYWORD $junk".into(), Box::new(|known| known.junk)),
        2 => {
            let names = ["BEFORE", "ON", "SINCE"];
            let test = dice.below(3);
            let holds = move |found: i64| [found < day, found == day, found >= day][test];
            match dice.below(2) {
                0 => (
                    format!("{} {}", names[test], day_text(day)),
                    Box::new(move |known: &Known| holds(known.received)) as Oracle,
                ),
                _ => (
                    format!("SENT{} {}", names[test], day_text(day)),
                    Box::new(move |known: &Known| known.sent.is_some_and(holds)),
                ),
            }
        }
        3 => {
            let size = mail[dice.below(count)].size;
            match dice.below(2) {
                0 => (format!("LARGER {size}"), Box::new(move |known| known.size > size)),
                _ => (format!("SMALLER {size}"), Box::new(move |known| known.size < size)),
            }
        }
        4 => {
            let (a, b) = (dice.below(count + 9) as u32 + 1, dice.below(count + 9) as u32 + 1);
            let within = move |number: u32| number >= a.min(b) && number <= a.max(b);
            match dice.below(2) {
                0 => (format!("{a}:{b}"), Box::new(move |known| within(known.number))),
                _ => (format!("UID {a}:{b}"), Box::new(move |known| within(known.uid))),
            }
        }
        5 | 6 => {
            let name = ["From", "To", "Subject"][dice.below(3)];
            let needle = needle(dice, mail);
            let wire = format!("{name} {}", string(&needle));
            (wire, Box::new(move |known| known.field_contains(name, &needle)))
        }
        7 => {
            let name = ["Date", "content-type", "X-None", "Subject", "To"][dice.below(5)];
            let needle = if dice.below(2) == 0 { String::new() } else { needle(dice, mail) };
            let wire = format!("HEADER {name} {}", string(&needle));
            (wire, Box::new(move |known| known.field_contains(name, &needle)))
        }
        8 | 9 => {
            let needle = needle(dice, mail);
            let wire = format!("BODY {}", string(&needle));
            (wire, Box::new(move |known| contains(&known.body, &needle)))
        }
        10 | 11 => {
            let needle = needle(dice, mail);
            let wire = format!("TEXT {}", string(&needle));
            (wire, Box::new(move |known| known.text_contains(&needle)))
        }
        12 => {
            let (wire, holds) = key(dice, mail, depth + 1);
            (format!("NOT {wire}"), Box::new(move |known| !holds(known)))
        }
        13 => {
            let (a, first) = key(dice, mail, depth + 1);
            let (b, second) = key(dice, mail, depth + 1);
            (format!("OR {a} {b}"), Box::new(move |known| first(known) || second(known)))
        }
        _ => {
            let (a, first) = key(dice, mail, depth + 1);
            let (b, second) = key(dice, mail, depth + 1);
            (format!("({a} {b})"), Box::new(move |known| first(known) && second(known)))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn search_finds_what_a_reader_would_find() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let mut dice = Dice(Generator::new(20_240_229));
    let mut mail = fill(&store, &mut dice);
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    // Holes, so that a number is not a UID.
    client.ok("UID STORE 3,17:20,64 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    mail.retain(|known| !matches!(known.uid, 3 | 17..=20 | 64));
    for (known, number) in mail.iter_mut().zip(1..) {
        known.number = number;
    }
    let mut hits = 0;
    for count in 0..SEARCH_COUNT {
        let (wire, holds) = key(&mut dice, &mail, 0);
        let by_uid = count % 2 == 0;
        let expected: Vec<String> = mail
            .iter()
            .filter(|known| holds(known))
            .map(|known| if by_uid { known.uid } else { known.number }.to_string())
            .collect();
        let uid = if by_uid { "UID " } else { "" };
        let answer = client.ok(&format!("{uid}SEARCH CHARSET UTF-8 {wire}")).await.concat();
        let found: Vec<&str> = answer.split_whitespace().skip(2).collect();
        if found != expected {
            let strange = |known: &&Known| {
                let name = if by_uid { known.uid } else { known.number }.to_string();
                found.contains(&name.as_str()) != expected.contains(&name)
            };
            panic!("{uid}SEARCH {wire:?}: {:#?}", mail.iter().find(strange));
        }
        hits += usize::from(!expected.is_empty() && expected.len() < mail.len());
    }
    assert!(hits > SEARCH_COUNT / 3, "only {hits} searches told messages apart");
}
