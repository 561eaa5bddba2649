//! What each client says and is answered, as readable text: `transcripts/*.imap`, each made by a
//! run of the real program, each replayed here against the server without it.
//!
//! | line | meaning |
//! |--|--|
//! | `# …` | comment; the first one names the program and its version |
//! | `-- …` | an IMAP connection begins; it follows on the end of the one before |
//! | `-- POP3: …` | the same over POP3 |
//! | `C: …` | a line of the client |
//! | `S: …` | a line of the server; `...` is any text, `<name>` what it was at first |
//!
//! Tags, dates and marks that a client draws at random are the same in each of them. A literal's
//! bytes are lines of their own. Values that the server chooses and a client repeats
//! have names, by mailbox, as two mailboxes may have the same by chance: `<uidvalidity_a>`,
//! `<modseq_a_b>`. What it chooses and nobody repeats is `...`.
//!
//! `PILLARBOX_WRITE_TRANSCRIPTS=1` in the environment makes the tests of the clients write them.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::recorder::{Line, Recorder, Side};
use crate::support::site::Site;

/// Every one of them must be there.
const CLIENTS: [&str; 8] =
    ["curl", "fetchmail", "getmail", "imaplib", "mbsync", "neomutt", "offlineimap", "roundcube"];
/// The server's next line.
const ANSWER_SECONDS_MAX: u64 = 60;
/// What stands before a value that the server chooses and that nobody repeats, and after it.
const CHOSEN: [(&str, char); 11] = [
    ("[CAPABILITY ", ']'),
    ("[MAILBOXID (", ')'),
    ("MAILBOXID (", ')'),
    ("EMAILID (", ')'),
    ("THREADID (", ')'),
    ("INTERNALDATE \"", '"'),
    ("SAVEDATE \"", '"'),
    ("APPENDUID ", ' '),
    ("COPYUID ", ' '),
    (" UIDVALIDITY ", ' '),
    ("HIGHESTMODSEQ ", ' '),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_clients/transcripts")
}

/// Names for the values of one transcript.
#[derive(Default)]
struct Namer {
    /// Mailboxes in the order of their first SELECT.
    mailboxes: Vec<String>,
    /// The selected one, and its MODSEQs in the order of their appearance.
    current: usize,
    modseqs: HashMap<usize, Vec<String>>,
    validities: HashMap<usize, String>,
}

/// `a`, `b`, … `z`, `ba`, …
fn letters(mut number: usize) -> String {
    let mut text = String::new();
    loop {
        text.insert(0, char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return text;
        }
    }
}

/// The line with what stands between each `mark` and `end` replaced by what `name` makes of it.
fn replaced(
    line: &str,
    mark: &str,
    end: char,
    mut name: impl FnMut(&str) -> Option<String>,
) -> String {
    let mut pieces = line.split(mark);
    let mut made = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let length = piece.find([end, ')', ']']).unwrap_or(piece.len());
        let (value, rest) = piece.split_at(length);
        made += &format!("{mark}{}{rest}", name(value).unwrap_or_else(|| value.to_owned()));
    }
    made
}

impl Namer {
    fn modseq(&self, value: &str) -> Option<String> {
        let at = self.modseqs.get(&self.current)?.iter().position(|known| known == value)?;
        Some(format!("<modseq_{}_{}>", letters(self.current), letters(at)))
    }

    fn new_modseq(&mut self, value: &str) -> Option<String> {
        let known = self.modseqs.entry(self.current).or_default();
        if !known.iter().any(|known| known == value) {
            known.push(value.to_owned());
        }
        self.modseq(value)
    }

    fn client(&mut self, line: &str) -> String {
        let line = &chosen_once(line);
        let mut words = line.split(' ');
        if let Some("SELECT" | "EXAMINE") = words.nth(1).map(str::to_uppercase).as_deref() {
            let rest = words.collect::<Vec<_>>().join(" ");
            let name = rest.split(" (").next().unwrap_or(&rest).trim_matches('"').to_owned();
            let at = self.mailboxes.iter().position(|known| *known == name);
            self.current = at.unwrap_or_else(|| {
                self.mailboxes.push(name);
                self.mailboxes.len() - 1
            });
        }
        let validity = format!("<uidvalidity_{}>", letters(self.current));
        let is_known = |value: &str| self.validities.get(&self.current).is_some_and(|v| v == value);
        let mut line =
            replaced(line, "QRESYNC (", ' ', |value| is_known(value).then(|| validity.clone()));
        for mark in [format!("QRESYNC ({validity} "), "CHANGEDSINCE ".into(), "MODSEQ ".into()] {
            line = replaced(&line, &mark, ' ', |value| self.modseq(value));
        }
        line
    }

    fn server(&mut self, line: &str) -> String {
        if line.starts_with("* CAPABILITY ") || line.starts_with("* ID ") {
            let keyword = line.split(' ').nth(1).unwrap_or_default();
            return format!("* {keyword} ...");
        }
        if line.starts_with("+ ") {
            return "+ ...".to_owned();
        }
        let mut line = line.to_owned();
        if let Some(value) =
            line.strip_prefix("* OK [UIDVALIDITY ").and_then(|rest| rest.split(']').next())
        {
            self.validities.insert(self.current, value.to_owned());
            return format!("* OK [UIDVALIDITY <uidvalidity_{}>] ...", letters(self.current));
        }
        if line.starts_with("* SEARCH ") || line.starts_with("* ESEARCH ") {
            line = replaced(&line, "MODSEQ ", ')', |value| self.new_modseq(value));
        }
        for mark in ["[HIGHESTMODSEQ ", "MODSEQ ("] {
            line = replaced(&line, mark, ')', |value| self.new_modseq(value));
        }
        for (mark, end) in CHOSEN {
            line = replaced(&line, mark, end, |value| {
                (!value.starts_with('<')).then(|| "...".to_owned())
            });
        }
        without_free_text(&line)
    }
}

/// A client's line without what the client draws anew each time: the mark by which mbsync finds its
/// copies, and the dates of files.
fn chosen_once(line: &str) -> String {
    if let Some(mark) = line.strip_prefix("X-TUID: ") {
        return format!("X-TUID: {}", "x".repeat(mark.len()));
    }
    let is_date = |text: &&str| text.len() == 26 && text.matches(':').count() == 2;
    match line.split('"').find(is_date) {
        Some(date) if line.contains(" APPEND ") => line.replace(date, "01-Jul-2025 10:00:00 +0000"),
        _ => line.to_owned(),
    }
}

/// What comes before the number in each tag, where it is drawn at random: four letters, as Python's
/// imaplib does.
fn random_prefix(lines: &[Line]) -> Option<String> {
    let first = lines.iter().find(|line| line.side == Side::Client)?;
    let tag = first.text.split(' ').next()?;
    let (prefix, number) = tag.split_at_checked(4)?;
    let is_drawn = prefix.bytes().all(|byte| byte.is_ascii_uppercase())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    is_drawn.then(|| prefix.to_owned())
}

/// The line with `A` for that prefix.
fn retagged(line: &str, prefix: Option<&str>) -> String {
    let Some(prefix) = prefix else { return line.to_owned() };
    let line = match line.strip_prefix(prefix) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("A{rest}"),
        _ => line.to_owned(),
    };
    line.replace(&format!("(TAG \"{prefix}"), "(TAG \"A")
}

/// A POP3 server's line without free text and unique ids (RFC 1939 section 7).
fn pop3_line(line: &str) -> String {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ');
    match first {
        "+OK" | "-ERR" if !is_number(rest) => format!("{first} ..."),
        _ if !first.is_empty() && is_number(first) && !is_number(rest) && !rest.contains(' ') => {
            format!("{first} ...")
        }
        _ => line.to_owned(),
    }
}

/// A status response without its text for people (RFC 9051 section 7.1).
fn without_free_text(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    let (Some(tag), Some(status), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return line.to_owned();
    };
    if !["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&status) {
        return line.to_owned();
    }
    match rest.strip_prefix('[').and_then(|code| code.split_once(']')) {
        Some((code, _)) => format!("{tag} {status} [{code}] ..."),
        None => format!("{tag} {status} ..."),
    }
}

/// What was said, as text; `headings` say what each connection is for.
fn text_of(client: &str, sessions: &[Vec<Line>], headings: &[String]) -> String {
    let mut text = format!("# {client}\n");
    let mut namer = Namer::default();
    for (lines, heading) in sessions.iter().zip(headings) {
        text += &format!("-- {heading}\n");
        let prefix = random_prefix(lines);
        for line in lines {
            let said = retagged(&line.text, prefix.as_deref());
            let (mark, line) = match line.side {
                Side::Client => ("C:", namer.client(&said)),
                Side::Server if heading.starts_with("POP3") => ("S:", pop3_line(&said)),
                Side::Server => ("S:", namer.server(&said)),
            };
            text += format!("{mark} {line}").trim_end_matches(' ');
            text.push('\n');
        }
    }
    text
}

/// Writes the transcript of a client if that is asked for.
pub(crate) fn keep(name: &str, version: &str, recorder: &Recorder, headings: &[String]) {
    recorder.settle();
    let sessions = recorder.sessions();
    assert_eq!(sessions.len(), headings.len(), "{name}: a heading for each connection");
    if std::env::var_os("PILLARBOX_WRITE_TRANSCRIPTS").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        let text = text_of(version, &sessions, headings);
        std::fs::write(folder().join(format!("{name}.imap")), text).unwrap();
    }
}

/// Whether a line is what the transcript expects; binds names on their first appearance.
fn matches(expected: &str, found: &str, names: &mut HashMap<String, String>) -> bool {
    let known = with_values(expected, names);
    let dots = known.find("...").map(|at| (at, at + 3, None));
    let named = first_name(&known).map(|(at, end)| (at, end, Some(known[at..end].to_owned())));
    let gap = [dots, named].into_iter().flatten().min_by_key(|gap| gap.0);
    let Some((at, end, name)) = gap else { return known == found };
    let Some(rest) = found.strip_prefix(&known[..at]) else { return false };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    for length in ends {
        let mut bound = names.clone();
        if let Some(name) = &name {
            bound.insert(name.clone(), rest[..length].to_owned());
        }
        if matches(&known[end..], &rest[length..], &mut bound) {
            *names = bound;
            return true;
        }
    }
    false
}

fn with_values(text: &str, names: &HashMap<String, String>) -> String {
    names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// Where the first name begins and ends, its brackets included.
fn first_name(text: &str) -> Option<(usize, usize)> {
    text.match_indices('<').find_map(|(at, _)| {
        let (name, _) = text[at + 1..].split_once('>')?;
        let is_name = name.starts_with("uidvalidity_") || name.starts_with("modseq_");
        is_name.then_some((at, at + name.len() + 2))
    })
}

/// Says again what the client said; the server must answer as it did.
fn replay(name: &str, text: &str, imap: SocketAddr, pop3: SocketAddr) {
    let mut names = HashMap::new();
    let mut connection: Option<BufReader<TcpStream>> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("transcripts/{name}.imap:{}", number + 1);
        if line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix("-- ") {
            let address = if heading.starts_with("POP3") { pop3 } else { imap };
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(ANSWER_SECONDS_MAX))).unwrap();
            connection = Some(BufReader::new(stream));
            continue;
        }
        let connection = connection.as_mut().expect("a connection has begun");
        let rest = line.get(3..).unwrap_or_default();
        match line.get(..2) {
            Some("C:") => {
                let line = with_values(rest, &names) + "\r\n";
                connection.get_mut().write_all(line.as_bytes()).expect(&place);
            }
            Some("S:") => {
                let mut found = Vec::new();
                connection.read_until(b'\n', &mut found).expect(&place);
                let found = String::from_utf8_lossy(&found);
                let found = found.trim_end_matches(['\r', '\n']).trim_end_matches(' ');
                let wanted = with_values(rest, &names);
                assert!(matches(rest, found, &mut names), "{place}\nnot {wanted}\nbut {found}");
            }
            _ => panic!("{place} is no line of a transcript: {line}"),
        }
    }
}

#[test]
fn what_clients_said_is_answered_as_it_was() {
    if !Site::empty().is_pillarbox() {
        return;
    }
    for client in CLIENTS {
        let path = folder().join(format!("{client}.imap"));
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let mut site = Site::new();
        let pop3 = site.ports.next();
        site.configure(&format!("[pop3]\nlisten = [\"{pop3}\"]"));
        site.start();
        replay(client, &text, site.imap, pop3);
        site.assert_no_complaint(client);
    }
}

#[test]
fn values_that_the_server_chooses_get_names() {
    let mut namer = Namer::default();
    assert_eq!(namer.client("a SELECT INBOX (CONDSTORE)"), "a SELECT INBOX (CONDSTORE)");
    let lines = [
        ("* OK [UIDVALIDITY 77] UIDs are valid", "* OK [UIDVALIDITY <uidvalidity_a>] ..."),
        ("* OK [HIGHESTMODSEQ 5] Highest", "* OK [HIGHESTMODSEQ <modseq_a_a>] ..."),
        (
            "* 1 FETCH (UID 3 MODSEQ (9) FLAGS ())",
            "* 1 FETCH (UID 3 MODSEQ (<modseq_a_b>) FLAGS ())",
        ),
        ("b OK [APPENDUID 77 4] Appended", "b OK [APPENDUID ... 4] ..."),
        ("* STATUS x (UIDNEXT 1 HIGHESTMODSEQ 5)", "* STATUS x (UIDNEXT 1 HIGHESTMODSEQ ...)"),
    ];
    for (line, expected) in lines {
        assert_eq!(namer.server(line), expected);
    }
    let resync = "c SELECT INBOX (QRESYNC (77 5 1:4))";
    let expected = "c SELECT INBOX (QRESYNC (<uidvalidity_a> <modseq_a_a> 1:4))";
    assert_eq!(namer.client(resync), expected);
    let mut names = HashMap::new();
    assert!(matches(
        "* OK [UIDVALIDITY <uidvalidity_a>] ...",
        "* OK [UIDVALIDITY 8] x",
        &mut names
    ));
    assert!(matches("x <uidvalidity_a> <m@y>", "x 8 <m@y>", &mut names));
    assert!(!matches("x <uidvalidity_a>", "x 9", &mut names));
}
