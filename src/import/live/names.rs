//! Names of mailboxes elsewhere, and what they are called here.
//!
//! Here levels are separated by `/` and names are UTF-8. Elsewhere the separator may be another
//! letter, and all mailboxes but INBOX may lie below a prefix such as `INBOX.` (RFC 2342), which is
//! left away. Mailboxes of others and shared ones are not brought: they are somebody else's.

use imap::codec::mailbox_name::{decode, with_inbox_in_capitals};

use super::response::Value;

/// The namespaces of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Namespaces {
    /// Of the account's own mailboxes.
    pub(super) prefix: Vec<u8>,
    /// Of mailboxes of others.
    pub(super) foreign: Vec<Vec<u8>>,
}

/// A mailbox as LIST shows it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Listed {
    /// As the server calls it.
    pub(super) wire: Vec<u8>,
    pub(super) separator: Option<u8>,
    /// In lower case, with the backslash.
    pub(super) attributes: Vec<String>,
}

/// What a name means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A mailbox of that name.
    Own(String),
    /// Somebody else's.
    Foreign,
    /// None that can be told.
    Unreadable,
}

impl Namespaces {
    /// From the values of a NAMESPACE response: own, of others, shared.
    pub(super) fn of(values: &[Value]) -> Namespaces {
        let mut kinds = values.iter().map(|kind| {
            let spaces = kind.list().unwrap_or_default().iter().filter_map(Value::list);
            let prefixes = spaces.filter_map(|space| Some(space.first()?.bytes()?.to_vec()));
            prefixes.collect::<Vec<_>>()
        });
        let mut own = kinds.next().unwrap_or_default().into_iter();
        let prefix = own.next().unwrap_or_default();
        let foreign = own.chain(kinds.flatten()).filter(|prefix| !prefix.is_empty()).collect();
        Namespaces { prefix, foreign }
    }

    /// What a mailbox is called here.
    pub(super) fn meaning(&self, listed: &Listed) -> Meaning {
        let wire = listed.wire.as_slice();
        let is_below = |prefix: &Vec<u8>| {
            let whole = prefix.strip_suffix(listed.separator.as_slice()).unwrap_or(prefix);
            wire.starts_with(prefix) || wire == whole
        };
        let is_foreign = |prefix: &Vec<u8>| is_below(prefix) && prefix.len() > self.prefix.len();
        if self.foreign.iter().any(is_foreign) {
            return Meaning::Foreign;
        }
        let rest = wire.strip_prefix(self.prefix.as_slice()).unwrap_or(wire);
        let rest = if rest.is_empty() { wire } else { rest };
        let levels: Option<Vec<String>> = match listed.separator {
            Some(separator) => rest.split(|byte| *byte == separator).map(level).collect(),
            None => level(rest).map(|level| vec![level]),
        };
        match levels {
            Some(levels) if levels.iter().all(|level| !level.is_empty()) => {
                Meaning::Own(with_inbox_in_capitals(levels.join("/")))
            }
            _ => Meaning::Unreadable,
        }
    }
}

/// A level in UTF-8. A `/` in it would be a separator here.
fn level(bytes: &[u8]) -> Option<String> {
    decode(bytes).map(|level| level.replace('/', "_"))
}

impl Listed {
    /// From the values of a LIST or LSUB response.
    pub(super) fn of(values: &[Value]) -> Option<Listed> {
        let [Value::List(attributes), separator, name, ..] = values else { return None };
        let attributes = attributes.iter().filter_map(Value::text);
        Some(Listed {
            wire: name.bytes()?.to_vec(),
            separator: separator.bytes().and_then(|bytes| bytes.first().copied()),
            attributes: attributes.map(|name| name.to_ascii_lowercase()).collect(),
        })
    }

    /// Whether it is a mailbox, and not only a level above some.
    pub(super) fn is_mailbox(&self) -> bool {
        !self.has("\\noselect") && !self.has("\\nonexistent")
    }

    /// Whether it has that attribute.
    pub(super) fn has(&self, attribute: &str) -> bool {
        self.attributes.iter().any(|known| known == attribute)
    }
}

/// Whether a name matches a pattern: `*` stands for anything, `%` for anything within a level.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (with_inbox_in_capitals(pattern.to_owned()).chars().collect(), name.chars().collect());
    // Which prefixes of the name the pattern so far matches.
    let mut reached = vec![false; name.len() + 1];
    reached.first_mut().into_iter().for_each(|first| *first = true);
    for letter in pattern {
        let mut next = vec![false; name.len() + 1];
        let mut goes_on = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let before = at.checked_sub(1).and_then(|before| name.get(before));
            let here = reached.get(at).copied().unwrap_or(false);
            let behind = at.checked_sub(1).and_then(|at| reached.get(at)).copied();
            *slot = match letter {
                '*' => here || goes_on,
                '%' => here || (goes_on && before != Some(&'/')),
                letter => behind.unwrap_or(false) && before == Some(&letter),
            };
            goes_on = *slot;
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// For the fuzz target of responses.
pub(super) fn fuzz_listed(values: &[Value]) {
    let namespaces = Namespaces::of(values);
    if let Some(listed) = Listed::of(values) {
        if let Meaning::Own(name) = namespaces.meaning(&listed) {
            assert!(!name.is_empty() && !name.contains("//"), "a name has levels");
            let _ = matches(&name, &name);
        }
        let _ = Namespaces::default().meaning(&listed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(wire: &str, separator: &str) -> Listed {
        let separator = separator.bytes().next();
        Listed { wire: wire.as_bytes().to_vec(), separator, attributes: Vec::new() }
    }

    #[test]
    fn names_elsewhere_have_names_here() {
        let courier = Namespaces {
            prefix: b"INBOX.".to_vec(),
            foreign: vec![b"shared.".to_vec(), b"#user.".to_vec()],
        };
        let plain = Namespaces::default();
        let below = Namespaces { prefix: Vec::new(), foreign: vec![b"INBOX.other.".to_vec()] };
        let own = |name: &str| Meaning::Own(name.to_owned());
        let cases = [
            (&plain, "inbox", "/", own("INBOX")),
            (&plain, "Work/2024", "/", own("Work/2024")),
            (&plain, "T&APY-pfe.alt &- neu", ".", own("Töpfe/alt & neu")),
            (&plain, "a/b.c", ".", own("a_b/c")),
            (&plain, "a.b", "", own("a.b")),
            (&plain, "a..b", ".", Meaning::Unreadable),
            (&plain, "&AP-", "/", Meaning::Unreadable),
            (&courier, "INBOX", ".", own("INBOX")),
            (&courier, "INBOX.Sent", ".", own("Sent")),
            (&courier, "INBOX.INBOX.x", ".", own("INBOX/x")),
            (&courier, "shared.team.Plan", ".", Meaning::Foreign),
            (&courier, "shared", ".", Meaning::Foreign),
            (&courier, "sharedness", ".", own("sharedness")),
            (&below, "INBOX.other.anna", ".", Meaning::Foreign),
            (&below, "INBOX.mine", ".", own("INBOX/mine")),
        ];
        for (namespaces, wire, separator, expected) in cases {
            assert_eq!(namespaces.meaning(&listed(wire, separator)), expected, "{wire}");
        }
    }

    #[test]
    fn patterns_choose_mailboxes() {
        let cases = [
            ("*", "a/b", true),
            ("%", "a/b", false),
            ("Lists/%", "Lists/rust", true),
            ("Lists/%", "Lists/rust/old", false),
            ("Lists/*", "Lists/rust/old", true),
            ("Lists*", "Lists", true),
            ("inbox", "INBOX", true),
            ("A", "a", false),
            ("*old*", "Lists/rust/old", true),
            ("", "a", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
