//! The bodies of records as bytes. Numbers are LEB128 unless a width stands beside them.
//!
//! ```text
//! type  body
//!    1  epoch            number u16, id 16, option(parent id 16, fork u64), node 16
//!    2  members          list(node 16, parity u8)
//!    3  format level     level
//!    4  account create   account u64, key generation
//!    5  account delete   account u64
//!    6  account destroyed  account u64
//!    7  policy           list(u8: 1, 2 domain put, delete, 3, 4 alias put, delete; texts)
//!   16  account update   name, credentials, option(quota)
//!   17  append           mailbox 16, list(row, u8: 0 inline, 1 ahead, 2 bare, 3 shared, 4 with
//!                      parts; blob)
//!   18  copy             mailbox 16, list(source uid, blob u64, row)
//!   19  move             source 16, mailbox 16, list(source uid, blob u64, row)
//!   20  flags            mailbox 16, list(uids, add u8, remove u8, keywords to add, to remove)
//!   21  expunge          mailbox 16, uids
//!   22  mailbox create   mailbox 16, name, uidvalidity, special use u8 (0: none)
//!   23  mailbox rename   list(mailbox 16, name)
//!   24  mailbox delete   mailbox 16
//!   25  subscribe        name, u8
//!   26  base begin       list(account u64)
//!   27  base dump        list(table u8, key, value)
//!   28  base image       begun u64, first u8, digest 32, list(hash 32, position u64, bytes)
//!   32 to 35           retention, see `retention.rs`
//!   36  keys begun       list(account u64, key generation)
//!   37  key destroyed    account u64, key generation
//!   38 to 40           metadata, rights, limits, see `sharing.rs`
//!   41  answered         request 16, outcome
//!   42  uid next         mailbox 16, the next UID (at most 2^32)
//! 8 to 15 and others: queue, digests, Sieve; with their issues.
//! row: uid, flags u8, keywords, received, saved, size, thread u64, instance 16, email 16,
//!      content hash 16
//! blob, inline: tag 16, chunks, plain bytes; ahead: the same, list(u64); bare: u64;
//!      shared: u64, tag 16, chunks, plain bytes, option(list(u64)); with parts: see `part.rs`
//! ```

use super::base::{BasePart, DumpedRow};
use super::part::{decode_with_parts, encode_with_parts};
use super::{
    AccountUpdate, Arrival, ArrivalBlob, BlobShape, Body, EpochBegin, FlagsChanged, NewRow,
    PolicyChange, RetentionBody, SharingBody, Transfer,
};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::flags::{Keyword, SystemFlags};
use crate::ids::{
    AccountNumber, BlobTag, EmailId, EpochId, InstanceId, KeyGeneration, MailboxId, NodeId,
    RequestId, ThreadId, Uid, UidValidity, UnixSeconds,
};
use crate::store::SpecialUse;

impl Body {
    /// The type that states a volume's format level.
    pub(crate) const FORMAT_LEVEL: u8 = 3;
    /// The type of rows of a base image.
    pub(crate) const BASE_DUMP: u8 = 27;
    /// The type of a base image.
    pub(crate) const BASE_IMAGE: u8 = 28;

    pub(super) fn kind(&self) -> u8 {
        match self {
            Body::Epoch(_) => 1,
            Body::Members(_) => 2,
            Body::FormatLevel(_) => Body::FORMAT_LEVEL,
            Body::AccountCreate { .. } => 4,
            Body::AccountDelete { .. } => 5,
            Body::AccountDestroyed { .. } => 6,
            Body::Policy(_) => 7,
            Body::AccountUpdate(_) => 16,
            Body::Append { .. } => 17,
            Body::Copy { .. } => 18,
            Body::Move { .. } => 19,
            Body::Flags { .. } => 20,
            Body::Expunge { .. } => 21,
            Body::MailboxCreate { .. } => 22,
            Body::MailboxRename(_) => 23,
            Body::MailboxDelete { .. } => 24,
            Body::Subscribe { .. } => 25,
            Body::BaseBegin { .. } => 26,
            Body::BaseDump { .. } => Body::BASE_DUMP,
            Body::BaseImage(_) => Body::BASE_IMAGE,
            Body::Retention(body) => body.kind(),
            Body::KeysBegun(_) => 36,
            Body::KeyDestroyed { .. } => 37,
            Body::Sharing(body) => body.kind(),
            Body::Answered { .. } => 41,
            Body::UidNext { .. } => 42,
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            Body::Epoch(epoch) => epoch.encode(out),
            Body::Members(members) => {
                out.count(members.len());
                for (node, parity) in members {
                    out.raw(&node.0);
                    out.u8(*parity);
                }
            }
            Body::FormatLevel(level) => out.varint(u64::from(*level)),
            Body::AccountCreate { account, generation } => encode_key((*account, *generation), out),
            Body::AccountDelete { account } | Body::AccountDestroyed { account } => {
                out.u64(account.0)
            }
            Body::KeysBegun(keys) => encode_keys(keys, out),
            Body::KeyDestroyed { account, generation } => encode_key((*account, *generation), out),
            Body::Policy(changes) => {
                out.count(changes.len());
                changes.iter().for_each(|change| change.encode(out));
            }
            Body::BaseBegin { accounts } => {
                out.count(accounts.len());
                accounts.iter().for_each(|account| out.u64(account.0));
            }
            Body::BaseDump { rows } => {
                out.count(rows.len());
                rows.iter().for_each(|row| row.encode(out));
            }
            Body::BaseImage(part) => part.encode(out),
            Body::Retention(body) => body.encode(out),
            Body::Sharing(body) => body.encode(out),
            Body::Answered { request, outcome } => {
                out.raw(&request.0);
                out.blob(outcome);
            }
            Body::AccountUpdate(update) => update.encode(out),
            of_mailboxes => of_mailboxes.encode_of_mailboxes(out),
        }
    }

    fn encode_of_mailboxes(&self, out: &mut Encoder) {
        match self {
            Body::Append { mailbox, messages } => {
                out.raw(&mailbox.0);
                out.count(messages.len());
                for arrival in messages {
                    arrival.row.encode(out);
                    arrival.blob.encode(out);
                }
            }
            Body::Copy { mailbox, messages } => {
                out.raw(&mailbox.0);
                encode_transfers(messages, out);
            }
            Body::Move { source, mailbox, messages } => {
                out.raw(&source.0);
                out.raw(&mailbox.0);
                encode_transfers(messages, out);
            }
            Body::Flags { mailbox, changes } => {
                out.raw(&mailbox.0);
                out.count(changes.len());
                changes.iter().for_each(|change| change.encode(out));
            }
            Body::Expunge { mailbox, uids } => {
                out.raw(&mailbox.0);
                out.uids(uids);
            }
            Body::MailboxCreate { mailbox, name, uid_validity, special_use } => {
                out.raw(&mailbox.0);
                out.text(name);
                out.varint(u64::from(uid_validity.0));
                out.u8(special_use_number(*special_use));
            }
            Body::MailboxRename(renames) => {
                out.count(renames.len());
                for (mailbox, name) in renames {
                    out.raw(&mailbox.0);
                    out.text(name);
                }
            }
            Body::MailboxDelete { mailbox } => out.raw(&mailbox.0),
            Body::UidNext { mailbox, next } => {
                out.raw(&mailbox.0);
                out.varint(*next);
            }
            Body::Subscribe { name, subscribed } => {
                out.text(name);
                out.u8(u8::from(*subscribed));
            }
            _ => {}
        }
    }

    pub(super) fn decode(kind: u8, from: &mut Decoder<'_>) -> Result<Body, Broken> {
        Ok(match kind {
            1 => Body::Epoch(EpochBegin::decode(from)?),
            2 => Body::Members(from.list(|from| Ok((NodeId(from.array()?), from.u8()?)))?),
            Body::FORMAT_LEVEL => Body::FormatLevel(from.u32()?),
            4 => Body::AccountCreate {
                account: AccountNumber(from.u64()?),
                generation: KeyGeneration(from.u32()?),
            },
            5 => Body::AccountDelete { account: AccountNumber(from.u64()?) },
            6 => Body::AccountDestroyed { account: AccountNumber(from.u64()?) },
            7 => Body::Policy(from.list(PolicyChange::decode)?),
            16 => Body::AccountUpdate(AccountUpdate::decode(from)?),
            17 => Body::Append {
                mailbox: MailboxId(from.array()?),
                messages: from.list(|from| {
                    Ok(Arrival { row: NewRow::decode(from)?, blob: ArrivalBlob::decode(from)? })
                })?,
            },
            18 => Body::Copy {
                mailbox: MailboxId(from.array()?),
                messages: from.list(Transfer::decode)?,
            },
            19 => Body::Move {
                source: MailboxId(from.array()?),
                mailbox: MailboxId(from.array()?),
                messages: from.list(Transfer::decode)?,
            },
            20 => Body::Flags {
                mailbox: MailboxId(from.array()?),
                changes: from.list(FlagsChanged::decode)?,
            },
            21 => Body::Expunge { mailbox: MailboxId(from.array()?), uids: from.uids()? },
            22 => Body::MailboxCreate {
                mailbox: MailboxId(from.array()?),
                name: from.text()?.to_owned(),
                uid_validity: UidValidity(from.u32()?),
                special_use: special_use_of(from.u8()?)?,
            },
            23 => Body::MailboxRename(
                from.list(|from| Ok((MailboxId(from.array()?), from.text()?.to_owned())))?,
            ),
            24 => Body::MailboxDelete { mailbox: MailboxId(from.array()?) },
            25 => Body::Subscribe { name: from.text()?.to_owned(), subscribed: from.u8()? == 1 },
            26 => Body::BaseBegin { accounts: from.list(|from| Ok(AccountNumber(from.u64()?)))? },
            Body::BASE_DUMP => Body::BaseDump { rows: from.list(DumpedRow::decode)? },
            Body::BASE_IMAGE => Body::BaseImage(BasePart::decode(from)?),
            32..=35 => RetentionBody::decode(kind, from)?,
            36 => Body::KeysBegun(from.list(decode_key)?),
            37 => {
                let (account, generation) = decode_key(from)?;
                Body::KeyDestroyed { account, generation }
            }
            38..=40 => Body::Sharing(SharingBody::decode(kind, from)?),
            41 => {
                Body::Answered { request: RequestId(from.array()?), outcome: from.blob()?.to_vec() }
            }
            42 => Body::UidNext { mailbox: MailboxId(from.array()?), next: from.varint()? },
            _ => return Err("its type is not known to this version"),
        })
    }
}

impl AccountUpdate {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.text(&self.name);
        out.blob(&self.credentials);
        out.option(self.quota_bytes, Encoder::varint);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<AccountUpdate, Broken> {
        Ok(AccountUpdate {
            name: from.text()?.to_owned(),
            credentials: from.blob()?.to_vec(),
            quota_bytes: from.option(Decoder::varint)?,
        })
    }
}

impl EpochBegin {
    fn encode(&self, out: &mut Encoder) {
        out.u16(self.number);
        out.raw(&self.id.0);
        out.option(self.parent, |out, (parent, fork)| {
            out.raw(&parent.0);
            out.lsn(fork);
        });
        out.raw(&self.node.0);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<EpochBegin, Broken> {
        Ok(EpochBegin {
            number: from.u16()?,
            id: EpochId(from.array()?),
            parent: from.option(|from| Ok((EpochId(from.array()?), from.lsn()?)))?,
            node: NodeId(from.array()?),
        })
    }
}

impl PolicyChange {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        match self {
            PolicyChange::DomainPut(name) => {
                out.u8(1);
                out.text(name);
            }
            PolicyChange::DomainDelete(name) => {
                out.u8(2);
                out.text(name);
            }
            PolicyChange::AliasPut { address, targets } => {
                out.u8(3);
                out.text(address);
                out.count(targets.len());
                targets.iter().for_each(|target| out.text(target));
            }
            PolicyChange::AliasDelete(address) => {
                out.u8(4);
                out.text(address);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<PolicyChange, Broken> {
        Ok(match from.u8()? {
            1 => PolicyChange::DomainPut(from.text()?.to_owned()),
            2 => PolicyChange::DomainDelete(from.text()?.to_owned()),
            3 => PolicyChange::AliasPut {
                address: from.text()?.to_owned(),
                targets: from.list(|from| Ok(from.text()?.to_owned()))?,
            },
            4 => PolicyChange::AliasDelete(from.text()?.to_owned()),
            _ => return Err("a change of policy is of no known kind"),
        })
    }
}

impl NewRow {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.varint(u64::from(self.uid.0));
        out.u8(self.flags.0);
        encode_keywords(&self.keywords, out);
        out.signed(self.received.0);
        out.signed(self.saved.0);
        out.varint(u64::from(self.size));
        out.u64(self.thread.0);
        out.raw(&self.instance.0);
        out.raw(&self.email.0);
        out.raw(&self.content_hash);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<NewRow, Broken> {
        Ok(NewRow {
            uid: decode_uid(from)?,
            flags: SystemFlags(from.u8()?),
            keywords: decode_keywords(from)?,
            received: UnixSeconds(from.signed()?),
            saved: UnixSeconds(from.signed()?),
            size: from.u32()?,
            thread: ThreadId(from.u64()?),
            instance: InstanceId(from.array()?),
            email: EmailId(from.array()?),
            content_hash: from.array()?,
        })
    }
}

impl ArrivalBlob {
    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            ArrivalBlob::Inline(shape) => {
                out.u8(0);
                shape.encode(out);
            }
            ArrivalBlob::Ahead(shape, chunks) => {
                out.u8(1);
                shape.encode(out);
                out.count(chunks.len());
                chunks.iter().for_each(|&lsn| out.lsn(lsn));
            }
            ArrivalBlob::SharedBare(blob) => {
                out.u8(2);
                out.lsn(*blob);
            }
            ArrivalBlob::WithParts(blob, parts) => {
                out.u8(4);
                encode_with_parts(blob, parts, out);
            }
            ArrivalBlob::Shared { blob, shape, ahead } => {
                out.u8(3);
                out.lsn(*blob);
                shape.encode(out);
                out.option(ahead.as_ref(), |out, chunks| {
                    out.count(chunks.len());
                    chunks.iter().for_each(|&lsn| out.lsn(lsn));
                });
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<ArrivalBlob, Broken> {
        Ok(match from.u8()? {
            0 => ArrivalBlob::Inline(BlobShape::decode(from)?),
            1 => ArrivalBlob::Ahead(BlobShape::decode(from)?, from.list(Decoder::lsn)?),
            2 => ArrivalBlob::SharedBare(from.lsn()?),
            3 => ArrivalBlob::Shared {
                blob: from.lsn()?,
                shape: BlobShape::decode(from)?,
                ahead: from.option(|from| from.list(Decoder::lsn))?,
            },
            4 => decode_with_parts(from)?,
            _ => return Err("a blob is of no known kind"),
        })
    }
}

impl BlobShape {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.raw(&self.tag.0);
        out.varint(u64::from(self.chunk_count));
        out.varint(self.plain_bytes);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<BlobShape, Broken> {
        Ok(BlobShape {
            tag: BlobTag(from.array()?),
            chunk_count: from.u32()?,
            plain_bytes: from.varint()?,
        })
    }
}

impl Transfer {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.varint(u64::from(self.source_uid.0));
        out.lsn(self.blob);
        self.row.encode(out);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Transfer, Broken> {
        Ok(Transfer {
            source_uid: decode_uid(from)?,
            blob: from.lsn()?,
            row: NewRow::decode(from)?,
        })
    }
}

impl FlagsChanged {
    fn encode(&self, out: &mut Encoder) {
        out.uids(&self.uids);
        out.u8(self.add.0);
        out.u8(self.remove.0);
        encode_keywords(&self.add_keywords, out);
        encode_keywords(&self.remove_keywords, out);
    }

    fn decode(from: &mut Decoder<'_>) -> Result<FlagsChanged, Broken> {
        Ok(FlagsChanged {
            uids: from.uids()?,
            add: SystemFlags(from.u8()?),
            remove: SystemFlags(from.u8()?),
            add_keywords: decode_keywords(from)?,
            remove_keywords: decode_keywords(from)?,
        })
    }
}

fn encode_keys(keys: &[(AccountNumber, KeyGeneration)], out: &mut Encoder) {
    out.count(keys.len());
    keys.iter().for_each(|key| encode_key(*key, out));
}

fn encode_key((account, generation): (AccountNumber, KeyGeneration), out: &mut Encoder) {
    out.u64(account.0);
    out.varint(u64::from(generation.0));
}

fn decode_key(from: &mut Decoder<'_>) -> Result<(AccountNumber, KeyGeneration), Broken> {
    Ok((AccountNumber(from.u64()?), KeyGeneration(from.u32()?)))
}

fn encode_transfers(transfers: &[Transfer], out: &mut Encoder) {
    out.count(transfers.len());
    transfers.iter().for_each(|transfer| transfer.encode(out));
}

fn decode_uid(from: &mut Decoder<'_>) -> Result<Uid, Broken> {
    match from.u32()? {
        0 => Err("a UID is 0"),
        uid => Ok(Uid(uid)),
    }
}

pub(crate) fn encode_keywords(keywords: &[Keyword], out: &mut Encoder) {
    out.count(keywords.len());
    keywords.iter().for_each(|keyword| out.text(keyword.as_str()));
}

pub(crate) fn decode_keywords(from: &mut Decoder<'_>) -> Result<Vec<Keyword>, Broken> {
    from.list(|from| Keyword::new(from.text()?).ok_or("a keyword is not an atom"))
}

/// A special use as formats write it; 0 is none.
pub(crate) fn special_use_number(special_use: Option<SpecialUse>) -> u8 {
    match special_use {
        None => 0,
        Some(SpecialUse::Archive) => 1,
        Some(SpecialUse::Drafts) => 2,
        Some(SpecialUse::Flagged) => 3,
        Some(SpecialUse::Junk) => 4,
        Some(SpecialUse::Sent) => 5,
        Some(SpecialUse::Trash) => 6,
    }
}

/// The reverse of [`special_use_number`].
pub(crate) fn special_use_of(number: u8) -> Result<Option<SpecialUse>, Broken> {
    Ok(match number {
        0 => None,
        1 => Some(SpecialUse::Archive),
        2 => Some(SpecialUse::Drafts),
        3 => Some(SpecialUse::Flagged),
        4 => Some(SpecialUse::Junk),
        5 => Some(SpecialUse::Sent),
        6 => Some(SpecialUse::Trash),
        _ => return Err("a special use is of no known kind"),
    })
}
