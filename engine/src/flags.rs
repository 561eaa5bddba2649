//! Flags and keywords of a message (RFC 9051 section 2.3.2).

use std::fmt;
use std::sync::Arc;

/// The system flags as bits. `\Recent` is not stored: IMAP4rev2 dropped it, and for IMAP4rev1 a
/// session decides it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SystemFlags(pub u8);

impl SystemFlags {
    /// `\Seen`
    pub const SEEN: SystemFlags = SystemFlags(1);
    /// `\Answered`
    pub const ANSWERED: SystemFlags = SystemFlags(2);
    /// `\Flagged`
    pub const FLAGGED: SystemFlags = SystemFlags(4);
    /// `\Deleted`
    pub const DELETED: SystemFlags = SystemFlags(8);
    /// `\Draft`
    pub const DRAFT: SystemFlags = SystemFlags(16);
    /// Every flag with its name, in the order in which we list them.
    pub const ALL: [(SystemFlags, &'static str); 5] = [
        (SystemFlags::ANSWERED, "\\Answered"),
        (SystemFlags::FLAGGED, "\\Flagged"),
        (SystemFlags::DELETED, "\\Deleted"),
        (SystemFlags::SEEN, "\\Seen"),
        (SystemFlags::DRAFT, "\\Draft"),
    ];

    /// Whether all of `other` are set.
    pub const fn contains(self, other: SystemFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub const fn union(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 | other.0)
    }

    /// These without `other`.
    pub const fn without(self, other: SystemFlags) -> SystemFlags {
        SystemFlags(self.0 & !other.0)
    }

    /// None set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for SystemFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Self::ALL
            .iter()
            .filter(|(flag, _)| self.contains(*flag))
            .map(|(_, name)| *name)
            .collect();
        write!(f, "({})", names.join(" "))
    }
}

/// A keyword such as `$Forwarded`: an IMAP atom, compared without regard to ASCII case, shown as
/// first set.
#[derive(Clone, Debug)]
pub struct Keyword(Arc<str>);

impl Keyword {
    /// Refuses what is not an IMAP atom or is longer than [`crate::limits::KEYWORD_BYTES_MAX`].
    pub fn new(name: &str) -> Option<Keyword> {
        let atom = !name.is_empty()
            && name.len() <= crate::limits::KEYWORD_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b));
        atom.then(|| Keyword(name.into()))
    }

    /// Its name as first set.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Keyword) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Keyword {}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// System flags and keywords together.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FlagList {
    /// The system flags.
    pub system: SystemFlags,
    /// The keywords, each once.
    pub keywords: Vec<Keyword>,
}

/// What STORE does with a list of flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagChange {
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
    /// `FLAGS`
    Replace,
}
