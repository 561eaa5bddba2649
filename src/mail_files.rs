//! What `export` writes beside the formats' own rules and `import` reads: names, sidecars, marks.
//!
//! ```text
//! Work/2024      .Work.2024          modified UTF-7 (RFC 3501 section 5.1.3), levels by dots
//! a.b            .a&AC4-b            a dot within a level is encoded, although it is ASCII
//! (too long)     .&long-1            a name that fits no file's; the file `pillarbox-name` in the
//!                                    folder, or NAME.mbox.name beside an mbox, has it in UTF-8
//! subscriptions                      one such name a line, without the first dot
//! dovecot-keywords                   Maildir: which keyword each letter a to z is
//! pillarbox-keywords                 Maildir: `file-name-before-the-colon keyword …` a line, for
//!                                    keywords beyond the 26 letters
//! dovecot-acl                        Maildir: who may do what; NAME.mbox.acl beside an mbox
//! pillarbox-beside                   special uses and metadata of all (`mail_files/beside.rs`)
//! …,S=120,W=123:2,S                  Maildir: bytes of the file, and of the message with CRLF
//! X-Pillarbox-Export: …              mbox: ends the fields that export put on top of a message
//! ```
//!
//! # Invariants
//! 1. [`mailbox_of`] of [`folder_of`] is the name, or [`folder_of`] gives nothing.
//! 2. [`Mark::take`] of what [`Mark::write`] wrote gives the mark and leaves what followed it.

mod beside;

use imap::codec::mailbox_name;

pub(crate) use beside::{
    ACCESS_FILE, BESIDE_FILE, BesideLine, RightsLine, Whom, access_of, access_text, escaped,
    unescaped,
};

/// Subscribed names, in the root of a Maildir and of a folder of mboxes, as Dovecot has it.
pub(crate) const SUBSCRIPTIONS_FILE: &str = "subscriptions";
/// Letters and keywords of a Maildir's folder, as Dovecot has it.
pub(crate) const KEYWORDS_FILE: &str = "dovecot-keywords";
/// Keywords beyond the letters.
pub(crate) const MORE_KEYWORDS_FILE: &str = "pillarbox-keywords";
/// The name of a mailbox whose folder cannot be called so.
pub(crate) const NAME_FILE: &str = "pillarbox-name";
/// How the names of folders and mboxes begin whose mailboxes' names are too long. No encoded name
/// has it: four letters are never a whole number of UTF-16 units.
pub(crate) const LONG_NAME: &str = "&long-";
/// Maildir's letters for flags, and the keyword that has one.
pub(crate) const LETTERS: [(char, &str); 6] = [
    ('D', "\\Draft"),
    ('F', "\\Flagged"),
    ('P', "$Forwarded"),
    ('R', "\\Answered"),
    ('S', "\\Seen"),
    ('T', "\\Deleted"),
];
/// The letters of the field X-Status of an mbox.
pub(crate) const X_STATUS: [(char, &str); 4] =
    [('A', "\\Answered"), ('F', "\\Flagged"), ('T', "\\Draft"), ('D', "\\Deleted")];

/// Bytes of a file's name that we make; 255 is the usual limit, and endings are added.
const FILE_NAME_BYTES_MAX: usize = 240;
/// The field that ends an export's own fields on top of a message of an mbox.
const MARK_FIELD: &str = "X-Pillarbox-Export";

/// A mailbox's name as one of a folder, without the first dot; `None` if it is too long.
pub(crate) fn folder_of(mailbox: &str) -> Option<String> {
    let folder = dotted(mailbox);
    let fits = folder.len() <= FILE_NAME_BYTES_MAX && mailbox_of(&folder) == mailbox;
    fits.then_some(folder)
}

/// The same without a limit, for a line of a file.
pub(crate) fn dotted(mailbox: &str) -> String {
    let dot_encoded =
        |level: &str| level.split('.').map(mailbox_name::encode).collect::<Vec<_>>().join("&AC4-");
    mailbox.split('/').map(dot_encoded).collect::<Vec<_>>().join(".")
}

/// `Work.2024` is `Work/2024`; a dot at the begin or end is none of a level.
pub(crate) fn mailbox_of(folder: &str) -> String {
    let levels: Vec<String> =
        folder.split('.').filter(|level| !level.is_empty()).map(level_of).collect();
    levels.join("/")
}

/// One level's name: modified UTF-7 where it decodes, as it is where it does not.
pub(crate) fn level_of(raw: &str) -> String {
    // Our levels are parted by slashes, so none may come out of a name.
    decode_utf7(raw).unwrap_or_else(|| raw.to_owned()).replace('/', "_")
}

/// The names of a file of subscriptions: Dovecot's first version has levels by dots, as ours has,
/// its second says so in its first line and has them by tabs.
pub(crate) fn subscriptions_of(text: &str) -> Vec<String> {
    let (text, separator) = match text.strip_prefix("V\t2\n") {
        Some(rest) => (rest, '\t'),
        None => (text, '.'),
    };
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| mailbox_of(&line.replace(separator, "."))).collect()
}

/// Bytes that a Maildir's file name gives for the message with CRLF line ends: `,W=` before the
/// colon. A file of just that size has them already.
pub(crate) fn wire_bytes_of(file_name: &str) -> Option<u64> {
    let before = file_name.split(':').next()?;
    before.split(',').find_map(|part| part.strip_prefix("W="))?.parse().ok()
}

/// How the lines of an exported message end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LineEnds {
    /// By LF, as programs on Unix want it; CRLF brings back the message.
    Unix,
    /// As they are stored.
    Stored,
}

/// Whether a message of an mbox ends with a line end of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastLine {
    /// It does.
    Ended,
    /// The one in the file is not the message's.
    Open,
}

/// What an mbox has no place for, in a field below the flags and above the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    /// INTERNALDATE in seconds since 1970 UTC; a From_ line has no year below 1970.
    pub(crate) received: i64,
    pub(crate) line_ends: LineEnds,
    pub(crate) last_line: LastLine,
}

impl Mark {
    /// The fields on top of a message.
    pub(crate) fn write(self, flags: &[String]) -> String {
        let has = |name: &str| flags.iter().any(|flag| flag.eq_ignore_ascii_case(name));
        let field =
            |name: &str, value: &str| format!("{}\n", format!("{name}: {value}").trim_end());
        let mut text = format!("Status: {}O\n", if has("\\Seen") { "R" } else { "" });
        let letters: String =
            X_STATUS.iter().filter(|(_, name)| has(name)).map(|(letter, _)| *letter).collect();
        // All three, even empty: a field of the message's own would be believed in its place.
        text += &field("X-Status", &letters);
        let keywords: Vec<&str> =
            flags.iter().map(String::as_str).filter(|flag| !flag.starts_with('\\')).collect();
        text += &field("X-Keywords", &keywords.join(" "));
        let line_ends = match self.line_ends {
            LineEnds::Unix => "unix",
            LineEnds::Stored => "stored",
        };
        let last_line = match self.last_line {
            LastLine::Ended => "ended",
            LastLine::Open => "open",
        };
        let received = self.received;
        text + &format!("{MARK_FIELD}: {received} line-ends={line_ends} last-line={last_line}\n")
    }

    /// Takes the fields of an export from the top of a message; gives them, the mark, and what is
    /// below. Nothing, if the message does not begin with them.
    pub(crate) fn take(content: &[u8]) -> Option<(Mark, &[u8], &[u8])> {
        let mut below = content;
        // Status, X-Status, X-Keywords, and the mark.
        for _ in 0..4 {
            let end = below.iter().position(|byte| *byte == b'\n')?;
            let (line, rest) = below.split_at_checked(end + 1)?;
            below = rest;
            let line = std::str::from_utf8(line).ok()?;
            let (name, value) = line.split_once(':')?;
            match name {
                "Status" | "X-Status" | "X-Keywords" => {}
                MARK_FIELD => {
                    let own = content.get(..content.len() - below.len())?;
                    return Some((Mark::parse(value)?, own, below));
                }
                _ => return None,
            }
        }
        None
    }

    fn parse(value: &str) -> Option<Mark> {
        let mut words = value.split_ascii_whitespace();
        let received = words.next()?.parse().ok()?;
        let line_ends = match words.next()? {
            "line-ends=unix" => LineEnds::Unix,
            "line-ends=stored" => LineEnds::Stored,
            _ => return None,
        };
        let last_line = match words.next()? {
            "last-line=ended" => LastLine::Ended,
            "last-line=open" => LastLine::Open,
            _ => return None,
        };
        words.next().is_none().then_some(Mark { received, line_ends, last_line })
    }
}

/// Modified UTF-7 (RFC 3501 section 5.1.3); `None` where it is malformed.
fn decode_utf7(raw: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = raw;
    while let Some((plain, shifted)) = rest.split_once('&') {
        out.push_str(plain);
        let (encoded, after) = shifted.split_once('-')?;
        rest = after;
        if encoded.is_empty() {
            out.push('&');
            continue;
        }
        let mut units = Vec::new();
        let (mut bits, mut count) = (0u32, 0u32);
        for byte in encoded.bytes() {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b',' => 63,
                _ => return None,
            };
            bits = (bits << 6 | u32::from(value)) & 0x3F_FFFF;
            count += 6;
            if count >= 16 {
                count -= 16;
                units.push(u16::try_from(bits >> count & 0xFFFF).ok()?);
            }
        }
        for letter in char::decode_utf16(units) {
            out.push(letter.ok()?);
        }
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Mark =
        Mark { received: -5, line_ends: LineEnds::Stored, last_line: LastLine::Open };

    #[test]
    fn mailboxes_have_folders_that_lead_back_to_them() {
        let table = [
            ("INBOX", "INBOX", "as it is"),
            ("Work/2024", "Work.2024", "levels by dots"),
            ("a.b/.c", "a&AC4-b.&AC4-c", "dots within levels"),
            ("R&D", "R&-D", "an ampersand"),
            ("Entwürfe/台北", "Entw&APw-rfe.&U,BTFw-", "beyond ASCII"),
            ("ü.ü", "&APw-&AC4-&APw-", "shift after shift"),
            ("cur/tmp", "cur.tmp", "words of Maildir"),
        ];
        for (mailbox, folder, reason) in table {
            assert_eq!(folder_of(mailbox).as_deref(), Some(folder), "{reason}");
            assert_eq!(mailbox_of(folder), mailbox, "{reason}");
        }
        assert_eq!(folder_of(&"ü".repeat(120)), None, "no file has so long a name");
    }

    #[test]
    fn both_versions_of_subscriptions_are_read() {
        assert_eq!(subscriptions_of("INBOX\nWork.2024\n"), ["INBOX", "Work/2024"]);
        assert_eq!(subscriptions_of("V\t2\n\nINBOX\nWork\t2024\n"), ["INBOX", "Work/2024"]);
        assert!(subscriptions_of("").is_empty());
    }

    #[test]
    fn the_size_on_the_wire_stands_before_the_colon() {
        assert_eq!(wire_bytes_of("1.a.host,S=12,W=13:2,S"), Some(13));
        assert_eq!(wire_bytes_of("1.a.host,S=12:2,W=13"), None);
        assert_eq!(wire_bytes_of("1.a.host,W=x"), None);
    }

    #[test]
    fn a_mark_is_taken_from_the_top_and_from_nowhere_else() {
        let flags = ["\\Seen", "\\Flagged", "$Junk", "b"].map(str::to_owned);
        let text = KNOWN.write(&flags);
        assert_eq!(
            text,
            "Status: RO\nX-Status: F\nX-Keywords: $Junk b\n\
             X-Pillarbox-Export: -5 line-ends=stored last-line=open\n"
        );
        let whole = format!("{text}Status: X\n{text}");
        let (mark, own, below) = Mark::take(whole.as_bytes()).unwrap();
        assert_eq!((mark, own), (KNOWN, text.as_bytes()));
        assert_eq!(below, format!("Status: X\n{text}").as_bytes(), "the message's own fields");
        assert_eq!(Mark::take(format!("Subject: x\n{text}").as_bytes()), None);
        assert_eq!(Mark::take(b"Status: RO\n\nbody\n"), None);
    }

    #[test]
    fn modified_utf7_decodes_and_malformed_names_stay_as_they_are() {
        let cases = [
            ("Entw&APw-rfe", "Entwürfe"),
            ("&U,BTFw-", "台北"),
            ("R&-D", "R&D"),
            ("broken&", "broken&"),
            ("broken&!-", "broken&!-"),
            ("&2D3eCg-", "\u{1F60A}"),
        ];
        for (raw, expected) in cases {
            assert_eq!(level_of(raw), expected, "{raw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_folder_leads_back(mailbox in "[^/\\pC]{1,20}(/[^/\\pC]{1,20}){0,3}") {
            let folder = folder_of(&mailbox);
            if let Some(folder) = &folder {
                proptest::prop_assert_eq!(mailbox_of(folder), mailbox.clone());
                proptest::prop_assert!(!folder.starts_with(LONG_NAME));
            }
            proptest::prop_assert!(folder.is_some() || dotted(&mailbox).len() > 240);
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,60}") {
            let _ = (mailbox_of(&text), level_of(&text), subscriptions_of(&text));
            let _ = (wire_bytes_of(&text), Mark::parse(&text), Mark::take(text.as_bytes()));
        }
    }
}
