//! Changes as bytes, without their promises.
//!
//! ```text
//! proposal  version u8: 1; kind u8, and what belongs to it:
//!    1 deliver          message, received, list(account u64, mailbox text, flags)
//!    2 append           account u64, mailbox 16, list(pending)          3 append each: the same
//!    4 transfer         u8: 0 copy, 1 move; account u64, source 16, destination 16, uids
//!    5 flags            account u64, mailbox 16, uids, u8: 0 add, 1 remove, 2 replace; flags,
//!                       option(unchanged since u64)
//!    6 expunge          account u64, mailbox 16, uids
//!    7 replace          account u64, source 16, uid, destination 16, pending
//!    8 create mailbox   account u64, name, special use u8               9 stage: account u64
//!   10 rename           account u64, from, to            11 delete mailbox: account u64, name
//!   12 subscribe        account u64, name, u8
//!   13 update account   account u64, as in record 16                   14 policy: as in record 7
//!   15 sharing          account u64, guest entries, type u8, as in records 38 to 40
//!   16 retention        account u64, setting                           17 of the volume: setting
//!   18 undelete         account u64, list(key)
//!   19 chunk ahead      option(first u64), tag 16, number, chunk       20 end ahead: first u64
//!   21 fence                                                           22 give up: account u64,
//!                                                          mailbox 16, uids, list(pending)
//!   23 merged           option(account u64, mailbox 16, its MODSEQ u64), kind u8 (not 23), and
//!                       what belongs to it
//!   24 remove           account u64, mailbox 16, uids
//!   25 leave out        account u64, mailbox 16, next uid expected, next uid
//! ```
//! Messages, chunks and flags: `message.rs`; uids as ranges (`encoding.rs`).

use std::sync::Arc;

use super::collected::Collected;
use super::message::{decode_chunk, decode_flags, decode_tag, encode_chunk, encode_flags};
use crate::commit::change::{
    Change, CopyKind, PendingMessage, RecipientCopy, RetentionChange, SealedMessage,
};
use crate::commit::merged::{Merged, Unchanged};
use crate::commit::numbered::NumberedChange;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::flags::FlagChange;
use crate::ids::{AccountNumber, MailboxId, Uid, UnixSeconds};
use crate::record::{AccountUpdate, PolicyChange, SharingBody, special_use_number, special_use_of};
use crate::state::{RetainedKey, RetentionSetting, VolumeRetention};
use crate::width::{u64_of, usize_of};

const VERSION: u8 = 1;

/// The change; `None` if it is not one that is proposed.
pub(super) fn encode(change: &Change) -> Option<Vec<u8>> {
    let mut out = Encoder::default();
    out.u8(VERSION);
    let change = match change {
        Change::Merged(merged) => {
            out.u8(23);
            out.option(merged.unchanged, |out, unchanged: Unchanged| {
                out.u64(unchanged.account.0);
                out.raw(&unchanged.mailbox.0);
                out.lsn(unchanged.since);
            });
            &merged.change
        }
        change => change,
    };
    let is_known = encode_messages(change, &mut out)
        || encode_mailboxes(change, &mut out)
        || encode_rest(change, &mut out);
    is_known.then_some(out.bytes)
}

/// A change whose promises leave their answers in `collected`.
pub(super) fn decode(bytes: &[u8], collected: &Arc<Collected>) -> Result<Change, Broken> {
    let mut from = Decoder::new(bytes);
    if from.u8()? != VERSION {
        return Err("the version of a proposal is not known here");
    }
    let change = match from.u8()? {
        23 => {
            let unchanged = from.option(|from| {
                Ok(Unchanged {
                    account: AccountNumber(from.u64()?),
                    mailbox: MailboxId(from.array()?),
                    since: from.lsn()?,
                })
            })?;
            let kind = from.u8()?;
            let change = decode_kind(kind, &mut from, collected)?;
            Change::Merged(Box::new(Merged { change, unchanged }))
        }
        kind => decode_kind(kind, &mut from, collected)?,
    };
    from.end()?;
    Ok(change)
}

fn decode_kind(
    kind: u8,
    from: &mut Decoder<'_>,
    collected: &Arc<Collected>,
) -> Result<Change, Broken> {
    match kind {
        1..=7 => decode_messages(kind, from, collected),
        8..=12 => decode_mailboxes(kind, from, collected),
        kind => decode_rest(kind, from, collected),
    }
}

fn begin(kind: u8, account: AccountNumber, out: &mut Encoder) {
    out.u8(kind);
    out.u64(account.0);
}

fn of_mailbox(kind: u8, (account, mailbox): (AccountNumber, MailboxId), out: &mut Encoder) {
    begin(kind, account, out);
    out.raw(&mailbox.0);
}

fn pending(messages: &[PendingMessage], out: &mut Encoder) {
    out.count(messages.len());
    messages.iter().for_each(|message| message.encode(out));
}

fn encode_messages(change: &Change, out: &mut Encoder) -> bool {
    match change {
        Change::Deliver { message, received, recipients, .. } => {
            out.u8(1);
            message.encode(out);
            out.signed(received.0);
            out.count(recipients.len());
            for recipient in recipients {
                out.u64(recipient.account.0);
                out.text(&recipient.mailbox);
                encode_flags(&recipient.flags, out);
            }
        }
        Change::Append { account, mailbox, messages, .. } => {
            of_mailbox(2, (*account, *mailbox), out);
            pending(messages, out);
        }
        Change::AppendEach { account, mailbox, messages, .. } => {
            of_mailbox(3, (*account, *mailbox), out);
            pending(messages, out);
        }
        Change::Transfer { kind, account, source, destination, uids, .. } => {
            out.u8(4);
            out.u8(u8::from(*kind == CopyKind::Move));
            out.u64(account.0);
            out.raw(&source.0);
            out.raw(&destination.0);
            out.uids(uids);
        }
        Change::Flags { account, mailbox, uids, change, flags, unchanged_since, .. } => {
            of_mailbox(5, (*account, *mailbox), out);
            out.uids(uids);
            out.u8(match change {
                FlagChange::Add => 0,
                FlagChange::Remove => 1,
                FlagChange::Replace => 2,
            });
            encode_flags(flags, out);
            out.option(*unchanged_since, Encoder::lsn);
        }
        Change::Expunge { account, mailbox, uids, .. } => {
            of_mailbox(6, (*account, *mailbox), out);
            out.uids(uids);
        }
        Change::Replace { account, source, uid, destination, message, .. } => {
            of_mailbox(7, (*account, *source), out);
            out.varint(u64::from(uid.0));
            out.raw(&destination.0);
            message.encode(out);
        }
        _ => return false,
    }
    true
}

fn decode_messages(
    kind: u8,
    from: &mut Decoder<'_>,
    to: &Arc<Collected>,
) -> Result<Change, Broken> {
    if kind == 1 {
        return decode_delivery(from, to);
    }
    if kind == 4 {
        return decode_transfer(from, to);
    }
    let (account, mailbox) = (AccountNumber(from.u64()?), MailboxId(from.array()?));
    Ok(match kind {
        2 => {
            let messages = from.list(PendingMessage::decode)?;
            Change::Append { account, mailbox, messages, promise: to.one() }
        }
        3 => {
            let messages = from.list(PendingMessage::decode)?;
            let promises = to.each(messages.len());
            Change::AppendEach { account, mailbox, messages, promises }
        }
        5 => Change::Flags {
            account,
            mailbox,
            uids: from.uids()?,
            change: match from.u8()? {
                0 => FlagChange::Add,
                1 => FlagChange::Remove,
                2 => FlagChange::Replace,
                _ => return Err("a change of flags is of no known kind"),
            },
            flags: decode_flags(from)?,
            unchanged_since: from.option(Decoder::lsn)?,
            promise: to.one(),
        },
        6 => Change::Expunge { account, mailbox, uids: from.uids()?, promise: to.one() },
        _ => Change::Replace {
            account,
            source: mailbox,
            uid: Uid(from.u32()?),
            destination: MailboxId(from.array()?),
            message: Box::new(PendingMessage::decode(from)?),
            promise: to.one(),
        },
    })
}

fn decode_delivery(from: &mut Decoder<'_>, to: &Arc<Collected>) -> Result<Change, Broken> {
    Ok(Change::Deliver {
        message: SealedMessage::decode(from)?,
        received: UnixSeconds(from.signed()?),
        recipients: from.list(|from| {
            Ok(RecipientCopy {
                account: AccountNumber(from.u64()?),
                mailbox: from.text()?.to_owned(),
                flags: decode_flags(from)?,
            })
        })?,
        promise: to.list(),
    })
}

fn decode_transfer(from: &mut Decoder<'_>, to: &Arc<Collected>) -> Result<Change, Broken> {
    Ok(Change::Transfer {
        kind: match from.u8()? {
            0 => CopyKind::Copy,
            1 => CopyKind::Move,
            _ => return Err("a transfer is of no known kind"),
        },
        account: AccountNumber(from.u64()?),
        source: MailboxId(from.array()?),
        destination: MailboxId(from.array()?),
        uids: from.uids()?,
        promise: to.one(),
    })
}

fn encode_mailboxes(change: &Change, out: &mut Encoder) -> bool {
    match change {
        Change::CreateMailbox { account, name, special_use, .. } => {
            begin(8, *account, out);
            out.text(name);
            out.u8(special_use_number(*special_use));
        }
        Change::Stage { account, .. } => begin(9, *account, out),
        Change::RenameMailbox { account, from, to, .. } => {
            begin(10, *account, out);
            out.text(from);
            out.text(to);
        }
        Change::DeleteMailbox { account, name, .. } => {
            begin(11, *account, out);
            out.text(name);
        }
        Change::Subscribe { account, name, subscribed, .. } => {
            begin(12, *account, out);
            out.text(name);
            out.u8(u8::from(*subscribed));
        }
        _ => return false,
    }
    true
}

fn decode_mailboxes(
    kind: u8,
    from: &mut Decoder<'_>,
    to: &Arc<Collected>,
) -> Result<Change, Broken> {
    let account = AccountNumber(from.u64()?);
    if kind == 9 {
        return Ok(Change::Stage { account, promise: to.one() });
    }
    let name = from.text()?.to_owned();
    Ok(match kind {
        8 => {
            let special_use = special_use_of(from.u8()?)?;
            Change::CreateMailbox { account, name, special_use, promise: to.one() }
        }
        10 => Change::RenameMailbox {
            account,
            from: name,
            to: from.text()?.to_owned(),
            promise: to.one(),
        },
        11 => Change::DeleteMailbox { account, name, promise: to.one() },
        _ => {
            let subscribed = yes_or_no(from)?;
            Change::Subscribe { account, name, subscribed, promise: to.one() }
        }
    })
}

fn yes_or_no(from: &mut Decoder<'_>) -> Result<bool, Broken> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("a mark is neither 0 nor 1"),
    }
}

fn encode_rest(change: &Change, out: &mut Encoder) -> bool {
    match change {
        Change::UpdateAccount { account, update, .. } => {
            begin(13, *account, out);
            update.encode(out);
        }
        Change::Policy { changes, .. } => {
            out.u8(14);
            out.count(changes.len());
            changes.iter().for_each(|change| change.encode(out));
        }
        Change::Sharing { account, body, guest_entries_max, .. } => {
            begin(15, *account, out);
            out.varint(u64_of(*guest_entries_max));
            out.u8(body.kind());
            body.encode(out);
        }
        Change::Retention(RetentionChange::Account { account, setting, .. }) => {
            begin(16, *account, out);
            setting.encode(out);
        }
        Change::Retention(RetentionChange::Volume { retention, .. }) => {
            out.u8(17);
            retention.encode(out);
        }
        Change::Retention(RetentionChange::Undelete { account, keys, .. }) => {
            begin(18, *account, out);
            out.count(keys.len());
            keys.iter().for_each(|key| key.encode(out));
        }
        Change::ChunkAhead { first, tag, chunk, .. } => {
            out.u8(19);
            out.option(*first, Encoder::lsn);
            out.raw(&tag.0);
            out.varint(u64::from(chunk.number));
            encode_chunk(chunk, out);
        }
        Change::EndAhead { first } => {
            out.u8(20);
            out.lsn(*first);
        }
        Change::Fence { .. } => out.u8(21),
        Change::GiveUp { account, mailbox, uids, messages, .. } => {
            of_mailbox(22, (*account, *mailbox), out);
            out.uids(uids);
            pending(messages, out);
        }
        Change::Numbered(NumberedChange::Remove { account, mailbox, uids, .. }) => {
            of_mailbox(24, (*account, *mailbox), out);
            out.uids(uids);
        }
        Change::Numbered(NumberedChange::LeaveOut { account, mailbox, expected, next, .. }) => {
            of_mailbox(25, (*account, *mailbox), out);
            out.varint(u64::from(expected.0));
            out.varint(u64::from(next.0));
        }
        _ => return false,
    }
    true
}

fn decode_rest(kind: u8, from: &mut Decoder<'_>, to: &Arc<Collected>) -> Result<Change, Broken> {
    Ok(match kind {
        13 => Change::UpdateAccount {
            account: AccountNumber(from.u64()?),
            update: AccountUpdate::decode(from)?,
            promise: to.one(),
        },
        14 => Change::Policy { changes: from.list(PolicyChange::decode)?, promise: to.one() },
        15 => {
            let account = AccountNumber(from.u64()?);
            let guest_entries_max = usize_of(from.varint()?);
            let kind = from.u8()?;
            let body = SharingBody::decode(kind, from)?;
            Change::Sharing { account, body, guest_entries_max, promise: to.one() }
        }
        16 => Change::Retention(RetentionChange::Account {
            account: AccountNumber(from.u64()?),
            setting: RetentionSetting::decode(from)?,
            promise: to.one(),
        }),
        17 => Change::Retention(RetentionChange::Volume {
            retention: VolumeRetention::decode(from)?,
            promise: to.one(),
        }),
        18 => Change::Retention(RetentionChange::Undelete {
            account: AccountNumber(from.u64()?),
            keys: from.list(RetainedKey::decode)?,
            promise: to.one(),
        }),
        19 => {
            let (first, tag) = (from.option(Decoder::lsn)?, decode_tag(from)?);
            let number = from.u32()?;
            let chunk = decode_chunk(from, number)?;
            Change::ChunkAhead { first, tag, chunk, promise: to.one() }
        }
        20 => Change::EndAhead { first: from.lsn()? },
        21 => Change::Fence { promise: to.one() },
        22 => Change::GiveUp {
            account: AccountNumber(from.u64()?),
            mailbox: MailboxId(from.array()?),
            uids: from.uids()?,
            messages: from.list(PendingMessage::decode)?,
            promise: to.one(),
        },
        24 => Change::Numbered(NumberedChange::Remove {
            account: AccountNumber(from.u64()?),
            mailbox: MailboxId(from.array()?),
            uids: from.uids()?,
            promise: to.one(),
        }),
        25 => Change::Numbered(NumberedChange::LeaveOut {
            account: AccountNumber(from.u64()?),
            mailbox: MailboxId(from.array()?),
            expected: Uid(from.u32()?),
            next: Uid(from.u32()?),
            promise: to.one(),
        }),
        _ => return Err("a proposal is of no known kind"),
    })
}
