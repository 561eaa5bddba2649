//! mbox: messages one after the other in one file, each after a line that begins with `From `.
//!
//! ```text
//! From sender@example.net Sat Jan  3 01:05:34 1996   an empty line or the file's begin before it
//! Subject: hello
//!
//! >From here on, lines are quoted                     one '>' less in the message (mboxrd)
//!                                                     the empty line before the next From_ is none
//! ```
//!
//! INTERNALDATE comes from the From_ line; flags from the fields Status, X-Status and X-Keywords,
//! which many mail programs write there, and which stay. Those that `export` wrote end with a mark
//! (`mail_files.rs`) and are taken off with it: the message is then as it was.
//!
//! Content-Length is not believed: it is wrong as soon as anybody edited the file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::{Importer, Incoming, below, unreadable, with_crlf};
use crate::failure::{Exit, Failure};
use crate::mail_files::{
    LastLine, LineEnds, Mark, SUBSCRIPTIONS_FILE, X_STATUS, mailbox_of, subscriptions_of,
};
use crate::progress;

/// Bytes of one message that are kept; what is longer is named and left out.
const MESSAGE_BYTES_MAX: usize = engine::limits::MESSAGE_BYTES_MAX;

/// Imports an mbox file into one mailbox, or a folder of them into the mailboxes that they name.
pub(crate) fn import_mbox(
    connection: &mut crate::admin::Connection,
    account: &str,
    path: &Path,
    into: Option<&str>,
) -> Result<String, Failure> {
    let files = if path.is_dir() { files(path)? } else { vec![(String::new(), path.to_owned())] };
    let mut total = 0;
    for (_, file) in &files {
        total += file.metadata().map_err(unreadable(file))?.len();
    }
    let bar = progress::bar("Importing bytes", total);
    let mut importer = Importer::new(connection, account, bar.clone());
    if let Ok(text) = std::fs::read_to_string(path.join(SUBSCRIPTIONS_FILE)) {
        importer.subscribe_to(subscriptions_of(&text), into)?;
    }
    importer.bring_beside(path, into)?;
    for (name, file) in &files {
        let mailbox = below(into, name);
        import_file(&mut importer, &bar, file, &mailbox)?;
        importer.bring_rights(&mailbox, &file.with_extension("mbox.acl"));
    }
    importer.finish()
}

/// The mailboxes of a folder: every `NAME.mbox` of it, as `export mbox` writes them.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = file_name.strip_suffix(".mbox").filter(|_| path.is_file()) {
            let named = std::fs::read_to_string(path.with_extension("mbox.name")).ok();
            found.push((named.unwrap_or_else(|| mailbox_of(stem)), path));
        }
    }
    if found.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            format!("there is no file NAME.mbox in {}", folder.display()),
        ));
    }
    found.sort();
    Ok(found)
}

fn import_file(
    importer: &mut Importer<'_>,
    bar: &ProgressBar,
    path: &Path,
    mailbox: &str,
) -> Result<(), Failure> {
    let file = File::open(path).map_err(unreadable(path))?;
    let begin = bar.position();
    let mut reader = MboxReader::new(BufReader::new(file));
    while let Some(message) = reader.next_message().map_err(unreadable(path))? {
        bar.set_position(begin + reader.position);
        let origin = format!("{} at byte {}", path.display(), message.offset);
        if message.cut {
            importer.refuse(&origin, "the message is larger than any that a store takes");
            continue;
        }
        let (flags, received, content) = message.into_mail();
        importer.send(Incoming { mailbox, flags, received, message: &content, origin })?;
    }
    if reader.position > 0 && !reader.begun {
        return Err(Failure::new(
            Exit::Refused,
            format!("{} is no mbox: its first line does not begin with 'From '", path.display()),
        ));
    }
    // An empty file is an empty mailbox.
    importer.ensure_mailbox(mailbox)
}

/// One message of the file.
#[derive(Debug, PartialEq)]
struct MboxMessage {
    /// Where its From_ line begins.
    offset: u64,
    /// From the From_ line.
    received: Option<i64>,
    /// Without From_ line and quoting.
    content: Vec<u8>,
    /// Whether it was longer than [`MESSAGE_BYTES_MAX`].
    cut: bool,
}

struct MboxReader<R> {
    input: R,
    position: u64,
    /// Whether a From_ line was seen.
    begun: bool,
    /// The From_ line that ended the message before, with its offset.
    next: Option<(u64, Vec<u8>)>,
}

impl<R: BufRead> MboxReader<R> {
    fn new(input: R) -> MboxReader<R> {
        MboxReader { input, position: 0, begun: false, next: None }
    }

    fn next_message(&mut self) -> std::io::Result<Option<MboxMessage>> {
        let mut line = Vec::new();
        if !self.begun {
            // Some files begin with empty lines.
            loop {
                let offset = self.position;
                if !self.read_line(&mut line)? {
                    return Ok(None);
                }
                if line.starts_with(b"From ") {
                    self.begun = true;
                    self.next = Some((offset, std::mem::take(&mut line)));
                    break;
                }
                if !is_empty(&line) {
                    return Ok(None);
                }
            }
        }
        let Some((offset, from_line)) = self.next.take() else { return Ok(None) };
        let mut message =
            MboxMessage { offset, received: received(&from_line), content: Vec::new(), cut: false };
        // The last empty line, held back until we know that it does not part two messages.
        let mut held: Vec<u8> = Vec::new();
        // A message's own first line cannot be the next From_ line, but an empty message's can.
        let mut after_empty = true;
        loop {
            let offset = self.position;
            if !self.read_line(&mut line)? {
                break;
            }
            if after_empty && line.starts_with(b"From ") {
                self.next = Some((offset, std::mem::take(&mut line)));
                break;
            }
            message.keep(&held);
            held.clear();
            after_empty = is_empty(&line);
            if after_empty {
                held.extend_from_slice(&line);
            } else {
                message.keep(unquoted(&line));
            }
        }
        Ok(Some(message))
    }

    /// The next line with its line end; at most one byte more than a message may have.
    fn read_line(&mut self, line: &mut Vec<u8>) -> std::io::Result<bool> {
        line.clear();
        let limit = engine::width::u64_of(MESSAGE_BYTES_MAX).saturating_add(1);
        let read = self.input.by_ref().take(limit).read_until(b'\n', line)?;
        self.position += engine::width::u64_of(read);
        Ok(read > 0)
    }
}

impl MboxMessage {
    fn keep(&mut self, line: &[u8]) {
        if self.content.len() + line.len() > MESSAGE_BYTES_MAX {
            self.cut = true;
            self.content = Vec::new();
        }
        if !self.cut {
            self.content.extend_from_slice(line);
        }
    }

    /// Flags, INTERNALDATE, and the message with CRLF line ends. What `export` wrote on top is
    /// taken off and believed; other fields of the same names are believed and kept.
    fn into_mail(self) -> (Vec<String>, i64, Vec<u8>) {
        let Some((mark, own, below)) = Mark::take(&self.content) else {
            let received = self.received.unwrap_or(0);
            return (flags(&self.content), received, with_crlf(&self.content));
        };
        let message = match mark.last_line {
            LastLine::Open => below.strip_suffix(b"\n").unwrap_or(below),
            LastLine::Ended => below,
        };
        let message = match mark.line_ends {
            LineEnds::Unix => with_crlf(message),
            LineEnds::Stored => message.to_vec(),
        };
        (flags(own), mark.received, message)
    }
}

fn is_empty(line: &[u8]) -> bool {
    line == b"\n" || line == b"\r\n"
}

/// `>From ` and `>>From ` lose one sign each.
fn unquoted(line: &[u8]) -> &[u8] {
    let signs = line.iter().take_while(|byte| **byte == b'>').count();
    match line.get(1..) {
        Some(rest) if signs > 0 && line.get(signs..).is_some_and(|l| l.starts_with(b"From ")) => {
            rest
        }
        _ => line,
    }
}

/// Seconds since 1970 UTC from `From sender Sat Jan  3 01:05:34 1996`, with or without a time zone.
pub(crate) fn received(from_line: &[u8]) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = String::from_utf8_lossy(from_line);
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    // The sender may have spaces in it, so the month is looked for.
    let at = words.iter().skip(1).position(|word| MONTHS.contains(word))? + 1;
    let month =
        i64::try_from(MONTHS.iter().position(|name| Some(name) == words.get(at))?).ok()? + 1;
    let day: i64 = words.get(at + 1)?.parse().ok()?;
    let mut time = words.get(at + 2)?.split(':').map(str::parse::<i64>);
    let (hour, minute) = (time.next()?.ok()?, time.next()?.ok()?);
    let second = time.next().and_then(Result::ok).unwrap_or(0);
    let mut year = None;
    let mut zone_seconds = 0;
    for word in words.iter().skip(at + 3).take(2) {
        match word.strip_prefix(['+', '-']) {
            Some(digits) => {
                let zone: i64 = digits.parse().ok().filter(|zone| (0..10_000).contains(zone))?;
                zone_seconds = (zone / 100 * 60 + zone % 100) * 60;
                if word.starts_with('-') {
                    zone_seconds = -zone_seconds;
                }
            }
            None => year = year.or_else(|| word.parse::<i64>().ok()),
        }
    }
    let valid = (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second)
        && zone_seconds.abs() < 86_400;
    let year = year.filter(|year| (1970..10_000).contains(year) && valid)?;
    let days = days_since_1970(year, month, day);
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - zone_seconds)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day last, so that months before it count alike.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days_before_month = (153 * month + 2) / 5;
    year * 365 + leap_days + days_before_month + day - 1 - 719_468
}

/// Flags from the fields Status (R: read), X-Status (A, F, T, D) and X-Keywords of the header.
fn flags(message: &[u8]) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    let mut add = |flag: &str| {
        if !flags.iter().any(|known| known == flag) {
            flags.push(flag.to_owned());
        }
    };
    for line in message.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = String::from_utf8_lossy(value.get(1..).unwrap_or_default());
        if name.eq_ignore_ascii_case(b"Status") {
            value.contains('R').then(|| add("\\Seen"));
        } else if name.eq_ignore_ascii_case(b"X-Status") {
            let said = X_STATUS.iter().filter(|(letter, _)| value.contains(*letter));
            said.for_each(|(_, flag)| add(flag));
        } else if name.eq_ignore_ascii_case(b"X-Keywords") {
            // A backslash would make one a system flag.
            let keywords = value.split_ascii_whitespace().filter(|word| !word.contains('\\'));
            keywords.for_each(&mut add);
        }
    }
    flags
}

/// Reads any bytes as an mbox; see [`crate::fuzzing`].
pub(crate) fn fuzz_mbox(bytes: &[u8]) {
    let mut reader = MboxReader::new(bytes);
    let (mut kept, mut behind) = (0, None);
    while let Some(message) = reader.next_message().expect("memory can be read") {
        assert!(!message.cut && behind < Some(message.offset), "messages ascend");
        behind = Some(message.offset);
        kept += message.content.len();
        let stored = Mark::take(&message.content)
            .is_some_and(|(mark, _, _)| mark.line_ends == LineEnds::Stored);
        let (_, _, content) = message.into_mail();
        if stored {
            continue;
        }
        let newlines = content.iter().filter(|byte| **byte == b'\n').count();
        let pairs = content.windows(2).filter(|pair| pair == b"\r\n").count();
        assert_eq!(newlines, pairs, "stored mail has no bare newline");
    }
    assert!(kept <= bytes.len(), "nothing is invented");
    if let Some(seconds) = received(bytes) {
        assert!((-86_400..253_402_387_200).contains(&seconds), "the years 1970 to 9999");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let mut reader = MboxReader::new(text.as_bytes());
        let mut messages = Vec::new();
        while let Some(message) = reader.next_message().unwrap() {
            messages.push(String::from_utf8(message.content).unwrap());
        }
        messages
    }

    #[test]
    fn messages_are_parted_by_from_lines_after_empty_lines_alone() {
        let cases = [
            ("From a Thu\nX: 1\n\nbody\n\nFrom b\nX: 2\n\n", vec!["X: 1\n\nbody\n", "X: 2\n"]),
            ("From a\nX: 1\n\nFrom the sea\n", vec!["X: 1\n", ""]),
            ("From a\nX: 1\n\nFar\nFrom here\n\n", vec!["X: 1\n\nFar\nFrom here\n"]),
            (
                "From a\nX: 1\n\n>From me\n>>From you\n> From\n",
                vec!["X: 1\n\nFrom me\n>From you\n> From\n"],
            ),
            ("From a\r\nX: 1\r\n\r\nb\r\n\r\nFrom b\r\nX: 2", vec!["X: 1\r\n\r\nb\r\n", "X: 2"]),
            ("\n\nFrom a\nX: 1\n", vec!["X: 1\n"]),
            ("", vec![]),
            ("Subject: no mbox\n", vec![]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_date_comes_from_the_from_line() {
        let cases = [
            ("From a@b Thu Jan  1 00:00:00 1970", Some(0)),
            ("From a@b Sat Jan  3 01:05:34 1996", Some(820_631_134)),
            ("From a@b Thu Feb 29 12:00:00 2024", Some(1_709_208_000)),
            ("From a@b Thu Feb 29 12:00:00 2024 +0200", Some(1_709_200_800)),
            ("From a@b Thu Feb 29 12:00:00 -0330 2024", Some(1_709_220_600)),
            ("From A Name Thu Feb 29 12:00 2024", Some(1_709_208_000)),
            ("From a@b", None),
            ("From a@b Thu Feb 29 99:00:00 2024", None),
            ("From a@b Thu Feb 29 12:00:00 +99999999999 2024", None),
            // Found by the fuzz target `mbox`: a second sign made the zone overflow.
            ("From a@b Thu Feb 29 12:00:00 --9000000000000000000 2024", None),
        ];
        for (line, expected) in cases {
            assert_eq!(received(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn flags_come_from_the_header_and_never_from_the_body() {
        let message = b"Status: RO\nX-Status: AF\nX-Keywords: $Junk  \\Draft a\n\nX-Status: D\n";
        assert_eq!(flags(message), ["\\Seen", "\\Answered", "\\Flagged", "$Junk", "a"]);
    }

    #[test]
    fn what_export_wrote_on_top_is_taken_off_and_believed_alone() {
        let mark = Mark { received: 7, line_ends: LineEnds::Stored, last_line: LastLine::Open };
        let text = format!("From a\n{}Status: R\nbare\r\nend\n\n", mark.write(&[]));
        let mut reader = MboxReader::new(text.as_bytes());
        let (flags, received, content) = reader.next_message().unwrap().unwrap().into_mail();
        assert_eq!((flags.len(), received), (0, 7), "the message's own Status says nothing");
        assert_eq!(content, b"Status: R\nbare\r\nend", "its bytes are as they were");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_none_is_invented(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "From a\n", "\n", ">From b\n", "x", "\r\n", "Status: R\n",
                ]),
                0..40,
            )
        ) {
            let text = pieces.concat();
            let messages = read(&text);
            let kept: usize = messages.iter().map(String::len).sum();
            proptest::prop_assert!(kept <= text.len());
            for message in &messages {
                let _ = flags(message.as_bytes());
            }
        }

        #[test]
        fn no_from_line_makes_the_date_reader_panic(line in "\\PC{0,80}") {
            let _ = received(line.as_bytes());
            let _ = received(format!("From x Thu Feb {line} 12:00:00 2024").as_bytes());
        }
    }
}
