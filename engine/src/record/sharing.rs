//! The bodies of records that annotate a mailbox or an account, and share it.
//!
//! ```text
//! type  body
//!   38  metadata       mailbox 16 (zeros: the account itself), list(of u64, entry, option(value))
//!   39  rights         mailbox 16, list(identifier, option(rights u16))      (rights.rs)
//!   40  account limits option(messages)
//! ```
//! `of` is the account whose private entry it is, 0 for one that all see who may; no value: the
//! entry goes; no rights: the identifier goes.

use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, MailboxId};
use crate::rights::{Identifier, Rights};

/// An entry of metadata as a record changes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EntryChange {
    /// Whose private entry; [`AccountNumber::VOLUME`] if it is shared.
    pub(crate) of: AccountNumber,
    /// In lower case, without `/private` or `/shared`.
    pub(crate) name: String,
    /// `None`: it goes.
    pub(crate) value: Option<Vec<u8>>,
}

/// What stands beside mailboxes and accounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SharingBody {
    /// Entries of metadata (RFC 5464) of a mailbox; of the mailbox of all zeros: of the account.
    Metadata { mailbox: MailboxId, entries: Vec<EntryChange> },
    /// Entries of a mailbox's access control list (RFC 4314).
    Rights { mailbox: MailboxId, entries: Vec<(Identifier, Option<Rights>)> },
    /// How many messages the account may have.
    Limits { messages: Option<u64> },
}

impl SharingBody {
    pub(crate) fn kind(&self) -> u8 {
        match self {
            SharingBody::Metadata { .. } => 38,
            SharingBody::Rights { .. } => 39,
            SharingBody::Limits { .. } => 40,
        }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        match self {
            SharingBody::Metadata { mailbox, entries } => {
                out.raw(&mailbox.0);
                out.count(entries.len());
                for entry in entries {
                    out.u64(entry.of.0);
                    out.text(&entry.name);
                    out.option(entry.value.as_ref(), |out, value| out.blob(value));
                }
            }
            SharingBody::Rights { mailbox, entries } => {
                out.raw(&mailbox.0);
                out.count(entries.len());
                for (identifier, rights) in entries {
                    identifier.encode(out);
                    out.option(*rights, |out, rights| rights.encode(out));
                }
            }
            SharingBody::Limits { messages } => out.option(*messages, Encoder::varint),
        }
    }

    pub(crate) fn decode(kind: u8, from: &mut Decoder<'_>) -> Result<SharingBody, Broken> {
        Ok(match kind {
            38 => SharingBody::Metadata {
                mailbox: MailboxId(from.array()?),
                entries: from.list(|from| {
                    Ok(EntryChange {
                        of: AccountNumber(from.u64()?),
                        name: from.text()?.to_owned(),
                        value: from.option(|from| Ok(from.blob()?.to_vec()))?,
                    })
                })?,
            },
            39 => SharingBody::Rights {
                mailbox: MailboxId(from.array()?),
                entries: from
                    .list(|from| Ok((Identifier::decode(from)?, from.option(Rights::decode)?)))?,
            },
            40 => SharingBody::Limits { messages: from.option(Decoder::varint)? },
            _ => return Err("its type is not known to this version"),
        })
    }
}
