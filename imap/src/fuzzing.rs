//! Every parser of bytes from IMAP clients, as functions from bytes to nothing that panic when a
//! promise breaks.
//!
//! Called by the fuzz targets in `fuzz/` and, on committed inputs, by `tests/fuzz_corpus.rs`. In
//! one hidden list as in the engine, see `engine::fuzzing`.

mod response;
pub mod session;
mod stage;

use crate::codec::SequenceSet;
use crate::codec::cursor::Cursor;
use crate::codec::date::{Day, parse_date_time, parse_day, put_date_time};
use crate::codec::grammar::{self, Refusal};
use crate::codec::mailbox_name::{WireName, decode, encode};
use crate::codec::sequence_set::Bound;
use crate::codec::transfer_encoding::TransferDecoder;
use crate::codec::url::MessageUrl;
use crate::connection::{Bounds, Connection, Step};
use crate::login::{certificate, http};
use crate::pop3::stuffing::{Stuffing, Wanted};
use crate::sasl::{Claim, Exchange, Mechanism, Offer};
use crate::{pop3, sasl};
use engine::seal::ScramKeys;

/// The body of a target: panics when a promise breaks.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("client_certificate", client_certificate),
    ("http_answer", http_answer),
    ("imap_command", command),
    ("imap_connection", connection),
    ("imap_date", date),
    ("imap_mailbox_name", mailbox_name),
    ("imap_sequence_set", sequence_set),
    ("imap_session", stage::play),
    ("imap_transfer_encoding", transfer_encoding),
    ("imap_url", url),
    ("pop3_command", pop3_command),
    ("sasl_message", sasl_message),
];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise breaks: both are what the caller wants to know.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = found.expect("fuzz/ names targets of the list above");
    body(bytes);
}

/// A command as the connection hands it over, with literals that hold what the line holds.
fn command(bytes: &[u8]) {
    for literals in [vec![], vec![bytes.to_vec(); 3]] {
        match grammar::parse(bytes, &literals) {
            Ok(request) => assert!(is_one_line(&request.tag) && !request.tag.is_empty()),
            Err(Refusal { tag, sentence }) => {
                assert!(tag.is_none_or(|tag| is_one_line(&tag)));
                assert!(is_one_line(&sentence), "an answer is one line, whatever was asked");
                assert!(sentence.len() < 512);
            }
        }
    }
    let _ = (grammar::tag_of(bytes), grammar::name_of(bytes));
}

fn is_one_line(text: &str) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_control())
}

/// A stream of commands, whole and in pieces as its first byte says: the same steps either way.
fn connection(bytes: &[u8]) {
    let Some((&piece, stream)) = bytes.split_first() else { return };
    let whole = steps(stream, stream.len());
    assert_eq!(whole, steps(stream, usize::from(piece)));
}

const BOUNDS: Bounds = Bounds { line_bytes_max: 100, skip_bytes_max: 1000 };
const LITERAL_BYTES_MAX: u64 = 50;

/// Every step that the bytes lead to, as text.
fn steps(stream: &[u8], piece: usize) -> Vec<String> {
    let mut connection = Connection::default();
    let mut seen = Vec::new();
    for piece in stream.chunks(piece.max(1)) {
        connection.buffer().extend_from_slice(piece);
        loop {
            match connection.step(BOUNDS) {
                Step::Wanting => break,
                Step::Literal(offer) if offer.byte_count <= LITERAL_BYTES_MAX => {
                    connection.accept();
                }
                Step::Literal(offer) => {
                    seen.push(format!("refuse {offer:?}"));
                    connection.refuse();
                }
                Step::Command(raw) => {
                    assert!(raw.line.len() <= BOUNDS.line_bytes_max + 2);
                    // Which announcements are literals is decided once, by the connection.
                    let _ = grammar::parse(&raw.line, &raw.literals);
                    seen.push(format!("{raw:?}"));
                }
                Step::Hopeless => {
                    seen.push("hopeless".to_owned());
                    return seen;
                }
                other => seen.push(format!("{other:?}")),
            }
        }
        let literals: usize = connection.literals().iter().map(Vec::len).sum();
        let literals_max = BOUNDS.line_bytes_max * 50;
        // An announcement's line end stands behind it.
        assert!(connection.line().len() <= BOUNDS.line_bytes_max + 4 && literals <= literals_max);
    }
    seen
}

/// A mailbox's name in modified UTF-7 or UTF-8.
fn mailbox_name(bytes: &[u8]) {
    let Some(name) = decode(bytes) else { return };
    let wire = encode(&name);
    assert!(wire.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    assert_eq!(decode(wire.as_bytes()).as_ref(), Some(&name));
    let known = WireName(bytes.to_vec()).decode();
    assert!(known.is_some_and(|known| known.eq_ignore_ascii_case(&name)));
}

/// A day, and a day with time and zone.
fn date(bytes: &[u8]) {
    if let Ok(day) = parse_day(&mut Cursor::new(bytes, &[])) {
        assert_eq!(Day::of(day.begin()), day);
    }
    let Ok(time) = parse_date_time(&mut Cursor::new(bytes, &[])) else { return };
    let mut shown = Vec::new();
    put_date_time(&mut shown, time);
    assert_eq!(shown.len(), 28, "as wide as every date-time");
    // A zone may carry the first and the last day out of the years that can be written.
    let year = Day::of(time).year;
    if (1..9999).contains(&year) {
        assert_eq!(parse_date_time(&mut Cursor::new(&shown, &[])), Ok(time));
    }
}

/// A set of message numbers.
fn sequence_set(bytes: &[u8]) {
    let mut cursor = Cursor::new(bytes, &[]);
    let Ok(set) = SequenceSet::parse(&mut cursor) else { return };
    assert!(set.ranges.len() <= bytes.len().div_ceil(2));
    if set.is_saved_result {
        assert!(set.ranges.is_empty() && bytes.starts_with(b"$"));
        return;
    }
    assert!(set.resolve(10).all(|(low, high)| 1 <= low && low <= high));
    let bound = |bound: Bound| match bound {
        Bound::Number(number) => number.to_string(),
        Bound::Highest => "*".to_owned(),
    };
    let ranges = set.ranges.iter().map(|&(a, b)| format!("{}:{}", bound(a), bound(b)));
    let written = ranges.collect::<Vec<_>>().join(",");
    assert_eq!(SequenceSet::parse(&mut Cursor::new(written.as_bytes(), &[])), Ok(set));
}

/// A part in each encoding, whole and in pieces as its first byte says.
fn transfer_encoding(bytes: &[u8]) {
    let Some((&piece, part)) = bytes.split_first() else { return };
    for encoding in ["base64", "quoted-printable", "8bit"] {
        let decoded = |piece: usize| {
            let mut decoder = TransferDecoder::new(encoding.as_bytes()).expect("it is known");
            let mut out = Vec::new();
            part.chunks(piece.max(1)).for_each(|piece| decoder.push(piece, &mut out));
            decoder.finish(&mut out);
            out
        };
        let whole = decoded(part.len());
        assert!(whole.len() <= part.len(), "decoding makes nothing longer");
        assert_eq!(whole, decoded(usize::from(piece)));
    }
}

/// A URL of CATENATE.
fn url(bytes: &[u8]) {
    let Some(url) = MessageUrl::parse(bytes) else { return };
    assert!(url.uid > 0 && url.uid_validity != Some(0));
    assert!(url.mailbox.is_none_or(|name| name.len() < bytes.len()));
}

/// A line of a POP3 client, and the message that it might ask for.
fn pop3_command(bytes: &[u8]) {
    if let Err(why) = pop3::command::parse(bytes, 1024) {
        assert!(is_one_line(why));
    }
    for mut stuffing in [Stuffing::whole(), Stuffing::top(1)] {
        let mut out = Vec::new();
        for piece in bytes.chunks(7) {
            if stuffing.put(piece, &mut out) == Wanted::Nothing {
                break;
            }
        }
        stuffing.end(&mut out);
        // The end stands at the end, and nowhere else.
        let lines = out.split_inclusive(|&byte| byte == b'\n');
        let ends = lines.filter(|line| *line == b".\r\n").count();
        assert!(ends == 1 && out.ends_with(b".\r\n"));
    }
}

/// Messages of a SASL client, split at 0xff, of the mechanism that the first byte says.
fn sasl_message(bytes: &[u8]) {
    let Some((&first, messages)) = bytes.split_first() else { return };
    let number = usize::from(first) % Mechanism::ALL.len();
    let Some(&(mechanism, _)) = Mechanism::ALL.get(number) else { return };
    let binding = (first >= 0x80).then_some([0; 32]);
    let offer = Offer { passwords: true, channel_binding: binding.is_some(), ..Offer::default() };
    let mut exchange = Exchange::begin(mechanism, binding, offer);
    for message in messages.split(|&byte| byte == 0xff) {
        match exchange.answer(message) {
            sasl::Step::Keys(_) => {
                let key = engine::seal::Key::from_slice(&[0; 32]).expect("a key has 32 bytes");
                exchange.keys(ScramKeys::decoy(&key, ""), [0; 18]);
            }
            sasl::Step::Check(claim) => {
                assert!(!matches!(claim, Claim::Proven { .. }), "nobody knows a decoy's password");
                assert!(is_one_line(claim.name()) && claim.name().len() <= bytes.len());
            }
            _ => {}
        }
    }
}

/// The answer of a token endpoint.
fn http_answer(bytes: &[u8]) {
    for ended in [false, true] {
        if let Ok(Some(answer)) = http::parse(bytes, ended, 4096) {
            assert!(answer.body.len() <= bytes.len().min(4096));
        }
    }
}

/// A certificate in DER.
fn client_certificate(bytes: &[u8]) {
    let names = certificate::names(bytes);
    assert!(names.iter().map(String::len).sum::<usize>() <= bytes.len());
}
