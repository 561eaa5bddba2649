//! What a client has enabled: how answers to it look.
//!
//! CONDSTORE is enabled by ENABLE and by every command that uses it (RFC 7162 section 3.1);
//! everything else by ENABLE alone. Nothing is ever switched off again but by UNAUTHENTICATE.

use crate::codec::mailbox_name::NameEncoding;

/// What a client has enabled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dialect {
    /// Every FETCH that tells flags tells the MODSEQ (RFC 7162 section 3.1).
    pub(crate) condstore: bool,
    /// VANISHED instead of EXPUNGE (RFC 7162 section 3.2).
    pub(crate) qresync: bool,
    /// Names and strings in UTF-8 (RFC 6855).
    pub(crate) utf8: bool,
    /// IMAP4rev2 (RFC 9051), which has UTF-8 names, too.
    pub(crate) rev2: bool,
    /// No sequence numbers at all (RFC 9586).
    pub(crate) uid_only: bool,
    /// Whose metadata is told when it changes (RFC 5464 section 4.1).
    pub(crate) metadata: Option<Metadata>,
}

/// Whose metadata is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Metadata {
    /// That of the server alone.
    Server,
    /// And of mailboxes.
    All,
}

impl Dialect {
    /// Enables what RFC 5161 calls a capability; answers whether it is one that can be.
    pub(crate) fn enable(&mut self, name: &str) -> bool {
        match name {
            "CONDSTORE" => self.condstore = true,
            "QRESYNC" => {
                self.condstore = true;
                self.qresync = true;
            }
            "UTF8=ACCEPT" => self.utf8 = true,
            "IMAP4REV2" => self.rev2 = true,
            "UIDONLY" => self.uid_only = true,
            "METADATA-SERVER" => self.metadata = self.metadata.max(Some(Metadata::Server)),
            "METADATA" => self.metadata = Some(Metadata::All),
            _ => return false,
        }
        true
    }

    /// How mailbox names cross the wire.
    pub(crate) fn names(self) -> NameEncoding {
        if self.utf8 || self.rev2 { NameEncoding::Utf8 } else { NameEncoding::ModifiedUtf7 }
    }

    /// Whether expunges are told by UID.
    pub(crate) fn tells_vanished(self) -> bool {
        self.qresync || self.uid_only
    }
}
