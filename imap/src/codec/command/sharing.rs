//! What ACL, METADATA and QUOTA ask for.

use engine::rights::RightsChange;

use super::NotifyRequest;
use crate::codec::mailbox_name::WireName;

/// Commands about who may what, about metadata and quotas, and about being told of them.
#[derive(Clone, PartialEq, Debug)]
pub enum Sharing {
    /// GETACL (RFC 4314)
    GetAcl(WireName),
    /// SETACL and DELETEACL
    SetAcl {
        /// Of which.
        mailbox: WireName,
        /// Whose rights.
        identifier: Vec<u8>,
        /// `None` for DELETEACL.
        change: Option<AclChange>,
    },
    /// LISTRIGHTS
    ListRights {
        /// Of which.
        mailbox: WireName,
        /// Whose rights.
        identifier: Vec<u8>,
    },
    /// MYRIGHTS
    MyRights(WireName),
    /// GETMETADATA (RFC 5464); an empty name is the server.
    GetMetadata {
        /// Of which.
        mailbox: WireName,
        /// What.
        request: MetadataRequest,
    },
    /// SETMETADATA
    SetMetadata {
        /// Of which.
        mailbox: WireName,
        /// At least one.
        values: Vec<EntryValue>,
    },
    /// GETQUOTA (RFC 9208) of that root
    GetQuota(Vec<u8>),
    /// GETQUOTAROOT
    GetQuotaRoot(WireName),
    /// SETQUOTA of that root; to what does not matter.
    SetQuota(Vec<u8>),
    /// NOTIFY (RFC 5465)
    Notify(NotifyRequest),
}

impl Sharing {
    /// The command's name, for answers.
    pub fn name(&self) -> &'static str {
        match self {
            Sharing::GetAcl(_) => "Getacl",
            Sharing::SetAcl { .. } => "Setacl",
            Sharing::ListRights { .. } => "Listrights",
            Sharing::MyRights(_) => "Myrights",
            Sharing::GetMetadata { .. } => "Getmetadata",
            Sharing::SetMetadata { .. } => "Setmetadata",
            Sharing::GetQuota(_) => "Getquota",
            Sharing::GetQuotaRoot(_) => "Getquotaroot",
            Sharing::SetQuota(_) => "Setquota",
            Sharing::Notify(_) => "Notify",
        }
    }
}

/// How SETACL changes an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AclChange {
    /// Whether these rights replace those that were given, or come to them, or go.
    pub change: RightsChange,
    /// As given.
    pub letters: Vec<u8>,
}

/// Which entries GETMETADATA and LIST … RETURN (METADATA …) answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MetadataRequest {
    /// Larger values are left out (RFC 5464 section 4.2.1).
    pub bytes_max: Option<u64>,
    /// What below the entries is answered, too (section 4.2.2).
    pub depth: Depth,
    /// In lower case.
    pub entries: Vec<EntryName>,
}

/// How far below an entry its name reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// The entry alone.
    #[default]
    Zero,
    /// And what is directly below.
    One,
    /// And all below.
    Infinity,
}

/// The name of an entry of metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryName {
    /// Who sees it.
    pub visibility: Visibility,
    /// What follows `/private` or `/shared`: empty, or a slash and more.
    pub rest: String,
}

/// Who sees an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Visibility {
    /// `/private`: whoever set it.
    Private,
    /// `/shared`: whoever may read the mailbox.
    Shared,
}

/// An entry of SETMETADATA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryValue {
    /// Which.
    pub name: EntryName,
    /// `None` for NIL: it goes.
    pub value: Option<Vec<u8>>,
}

impl Visibility {
    /// As names begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Visibility::Private => "/private",
            Visibility::Shared => "/shared",
        }
    }
}

impl EntryName {
    /// From the wire; `None` if it is no name (RFC 5464 section 3.2.1).
    pub fn parse(wire: &[u8]) -> Option<EntryName> {
        let text = std::str::from_utf8(wire).ok()?.to_ascii_lowercase();
        let valid = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'*' && byte != b'%';
        if !text.bytes().all(valid) || text.contains("//") || text.ends_with('/') {
            return None;
        }
        let all = [Visibility::Private, Visibility::Shared];
        let found = all.into_iter().find_map(|visibility| {
            let rest = text.strip_prefix(visibility.prefix())?;
            (rest.is_empty() || rest.starts_with('/')).then_some((visibility, rest))
        });
        let (visibility, rest) = found?;
        Some(EntryName { visibility, rest: rest.to_owned() })
    }

    /// Whether an entry of that visibility and name is asked for.
    pub fn reaches(&self, depth: Depth, visibility: Visibility, rest: &str) -> bool {
        if visibility != self.visibility {
            return false;
        }
        let Some(below) = rest.strip_prefix(self.rest.as_str()) else { return false };
        match (depth, below.strip_prefix('/')) {
            _ if below.is_empty() => true,
            (Depth::One, Some(below)) => !below.contains('/'),
            (Depth::Infinity, Some(_)) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_entries_have_rules() {
        let name = |text: &str| EntryName::parse(text.as_bytes());
        assert_eq!(name("/Private/Comment").unwrap().rest, "/comment");
        assert_eq!(name("/shared").unwrap().rest, "");
        for (text, reason) in [
            ("comment", "no visibility"),
            ("/privately", "no visibility either"),
            ("/private//a", "an empty component"),
            ("/private/a/", "a slash at the end"),
            ("/private/a*", "a wildcard"),
            ("/private/é", "not ASCII"),
            ("/private/a\t", "a control character"),
        ] {
            assert_eq!(name(text), None, "{reason}");
        }
    }

    #[test]
    fn depth_reaches_below() {
        let name = EntryName::parse(b"/shared/a").unwrap();
        for (depth, rest, reached) in [
            (Depth::Zero, "/a", true),
            (Depth::Zero, "/a/b", false),
            (Depth::One, "/a/b", true),
            (Depth::One, "/a/b/c", false),
            (Depth::Infinity, "/a/b/c", true),
            (Depth::Infinity, "/ab", false),
        ] {
            assert_eq!(name.reaches(depth, Visibility::Shared, rest), reached, "{depth:?} {rest}");
        }
        assert!(!name.reaches(Depth::Infinity, Visibility::Private, "/a"));
    }
}
