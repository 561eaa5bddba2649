//! Access control lists and the sidecar of an export.
//!
//! ```text
//! anyone lr                          `dovecot-acl` in a Maildir's folder, as Dovecot has it, and
//! user=bert@example.org lrwstie      NAME.mbox.acl beside an mbox; a - before the name takes
//! -user=carl@example.org wt          rights away
//!
//! use<TAB>Sent<TAB>\Sent                           `pillarbox-beside` in the root, of all
//! entry<TAB>Work.2024<TAB>/shared/comment<TAB>Old  mailboxes; the empty name is the account itself
//! ```
//! In values, what is not printable ASCII, and `%`, is written `%41`.

use serde::{Deserialize, Serialize};

use super::{dotted, mailbox_of};

/// Who may do what with a mailbox, in its folder.
pub(crate) const ACCESS_FILE: &str = "dovecot-acl";
/// Special uses and metadata, in the root.
pub(crate) const BESIDE_FILE: &str = "pillarbox-beside";

/// Letters that stand for Dovecot's long names of rights.
const RIGHT_NAMES: [(&str, char); 11] = [
    ("lookup", 'l'),
    ("read", 'r'),
    ("write-seen", 's'),
    ("write", 'w'),
    ("insert", 'i'),
    ("post", 'p'),
    ("create", 'k'),
    ("delete", 'x'),
    ("write-deleted", 't'),
    ("expunge", 'e'),
    ("admin", 'a'),
];

/// Whom a line of an access control list means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Whom {
    /// Everybody who can log in.
    Anyone,
    /// Whose mailbox it is.
    Owner,
    /// An account.
    User(String),
    /// Groups, and what else there is elsewhere.
    Other(String),
}

/// A line of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RightsLine {
    /// Whether it takes rights away.
    pub(crate) takes: bool,
    pub(crate) whom: Whom,
    /// RFC 4314's, which are Dovecot's, too.
    pub(crate) letters: String,
}

impl Whom {
    fn parse(text: &str) -> Whom {
        match text {
            "anyone" | "authenticated" => Whom::Anyone,
            "owner" => Whom::Owner,
            _ => match text.strip_prefix("user=") {
                Some(name) => Whom::User(name.to_owned()),
                None => Whom::Other(text.to_owned()),
            },
        }
    }

    /// As a line has it.
    pub(crate) fn text(&self) -> String {
        match self {
            Whom::Anyone => "anyone".to_owned(),
            Whom::Owner => "owner".to_owned(),
            Whom::User(name) => format!("user={name}"),
            Whom::Other(text) => text.clone(),
        }
    }
}

/// The file of an access control list.
pub(crate) fn access_text(lines: &[RightsLine]) -> String {
    let line = |RightsLine { takes, whom, letters }: &RightsLine| {
        let whom = format!("{}{}", if *takes { "-" } else { "" }, whom.text());
        let whom = match whom.contains([' ', '"']) {
            true => format!("\"{}\"", whom.replace('\\', "\\\\").replace('"', "\\\"")),
            false => whom,
        };
        format!("{whom} {letters}\n")
    };
    lines.iter().map(line).collect()
}

/// The lines of such a file.
pub(crate) fn access_of(text: &str) -> Vec<RightsLine> {
    let lines = text.lines().map(str::trim_end);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(rights_line).collect()
}

fn rights_line(line: &str) -> RightsLine {
    let (whom, rights) = match line.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        None => {
            let (whom, rights) = line.split_once(' ').unwrap_or((line, ""));
            (whom.to_owned(), rights)
        }
    };
    let (letters, names) = rights.split_once(':').unwrap_or((rights, ""));
    let named = |name: &str| RIGHT_NAMES.iter().find(|(known, _)| *known == name);
    let named = names.split_ascii_whitespace().filter_map(named).map(|(_, letter)| *letter);
    let letters = letters.chars().filter(|letter| *letter != ' ').chain(named).collect();
    let (takes, whom) = match whom.strip_prefix('-') {
        Some(whom) => (true, Whom::parse(whom)),
        None => (false, Whom::parse(&whom)),
    };
    RightsLine { takes, whom, letters }
}

/// What stands before the closing quote, and what comes after it.
fn unquoted(text: &str) -> (String, &str) {
    let mut inside = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (inside, text.get(at + 1..).unwrap_or_default().trim_start()),
            '\\' => inside.extend(letters.next().map(|(_, letter)| letter)),
            letter => inside.push(letter),
        }
    }
    (inside, "")
}

/// A line of the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BesideLine {
    /// A mailbox has a special use, such as `\Sent`.
    Use { mailbox: String, special_use: String },
    /// An entry of metadata; of the account itself, if the name is empty.
    Entry { mailbox: String, name: String, value: String },
}

impl BesideLine {
    /// With its line end.
    pub(crate) fn text(&self) -> String {
        match self {
            BesideLine::Use { mailbox, special_use } => {
                format!("use\t{}\t{special_use}\n", dotted(mailbox))
            }
            BesideLine::Entry { mailbox, name, value } => {
                format!("entry\t{}\t{}\t{value}\n", dotted(mailbox), escaped(name.as_bytes()))
            }
        }
    }

    /// The lines of a sidecar; what is none is passed over.
    pub(crate) fn all(text: &str) -> Vec<BesideLine> {
        text.lines().filter_map(BesideLine::parse).collect()
    }

    fn parse(line: &str) -> Option<BesideLine> {
        let mut fields = line.split('\t');
        let kind = fields.next()?;
        let mailbox = mailbox_of(fields.next()?);
        let third = fields.next()?;
        match (kind, fields.next(), fields.next()) {
            ("use", None, None) => Some(BesideLine::Use { mailbox, special_use: third.to_owned() }),
            ("entry", Some(value), None) => Some(BesideLine::Entry {
                mailbox,
                name: String::from_utf8(unescaped(third)).ok()?,
                value: value.to_owned(),
            }),
            _ => None,
        }
    }
}

/// Any bytes as printable ASCII.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b' '..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// The bytes; a `%` without two digits is one.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(takes: bool, whom: Whom, letters: &str) -> RightsLine {
        RightsLine { takes, whom, letters: letters.to_owned() }
    }

    #[test]
    fn lists_are_read_as_dovecot_writes_them() {
        let user = |name: &str| Whom::User(name.to_owned());
        let text = "# a comment\n\nowner lrwstipekxa\nanyone lr\n-user=carl wt\n\
            \"user=a \\\"b\\\" c\" l\ngroup=staff lr\n\
            user=bert l :read write-seen custom\nuser=x\n";
        let expected = [
            line(false, Whom::Owner, "lrwstipekxa"),
            line(false, Whom::Anyone, "lr"),
            line(true, user("carl"), "wt"),
            line(false, user("a \"b\" c"), "l"),
            line(false, Whom::Other("group=staff".to_owned()), "lr"),
            line(false, user("bert"), "lrs"),
            line(false, user("x"), ""),
        ];
        assert_eq!(access_of(text), expected);
        assert_eq!(access_of(&access_text(&expected)), expected);
    }

    #[test]
    fn lines_of_the_sidecar_come_back() {
        let text = |text: &str| text.to_owned();
        let lines = [
            BesideLine::Use { mailbox: text("a.b/ü"), special_use: text("\\Sent") },
            BesideLine::Entry {
                mailbox: String::new(),
                name: text("/private/x\ty"),
                value: escaped(b"100 %\r\n\t\xFF"),
            },
        ];
        let written: String = lines.iter().map(BesideLine::text).collect();
        assert_eq!(
            written,
            "use\ta&AC4-b.&APw-\t\\Sent\nentry\t\t/private/x%09y\t100 %25%0D%0A%09%FF\n"
        );
        assert_eq!(BesideLine::all(&format!("?\nuse\tx\n{written}")), lines);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            proptest::prop_assert_eq!(unescaped(&escaped(&bytes)), bytes);
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,60}") {
            let _ = (access_of(&text), BesideLine::all(&text), unescaped(&text));
        }
    }
}
