//! The bodies of retention's records.
//!
//! ```text
//! type  body
//!   32  retention      of an account: setting; of the volume: setting, u8: shortened when space is
//!                      low                                          (state/retained.rs)
//!   33  retain         mailbox 16, until u64, option(uids): expunged and kept; none: the
//!                      mailbox is deleted and all that is in it kept
//!   34  undelete       source 16, mailbox 16, list(until u64, source uid, blob u64, row)
//!   35  purge          list(until u64, mailbox 16, uid): kept messages go for good
//! ```
//! `until` was assigned by the committer from the record's stamp, so that every node and every
//! replay keeps the same messages for the same time.

use super::{Body, Transfer};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{MailboxId, Uid};
use crate::state::{RetainedKey, RetentionSetting, Until, VolumeRetention};
use crate::uid_set::UidSet;

/// What happens to kept messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RetentionBody {
    /// For how long an account's messages are kept from now on.
    Account(RetentionSetting),
    /// The same for all accounts that have no setting of their own.
    Volume(VolumeRetention),
    /// Messages are expunged, or a mailbox is deleted, and what goes is kept.
    Retain {
        mailbox: MailboxId,
        until: Until,
        /// `None`: the whole mailbox.
        uids: Option<UidSet>,
    },
    /// Kept messages come back; one position each.
    Undelete { source: MailboxId, mailbox: MailboxId, messages: Vec<(Until, Transfer)> },
    /// Kept messages go for good.
    Purge(Vec<RetainedKey>),
}

impl RetentionBody {
    pub(super) fn kind(&self) -> u8 {
        match self {
            RetentionBody::Account(_) | RetentionBody::Volume(_) => 32,
            RetentionBody::Retain { .. } => 33,
            RetentionBody::Undelete { .. } => 34,
            RetentionBody::Purge(_) => 35,
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            RetentionBody::Account(setting) => {
                out.u8(0);
                setting.encode(out);
            }
            RetentionBody::Volume(retention) => {
                out.u8(1);
                retention.encode(out);
            }
            RetentionBody::Retain { mailbox, until, uids } => {
                out.raw(&mailbox.0);
                out.u64(until.0);
                out.option(uids.as_ref(), Encoder::uids);
            }
            RetentionBody::Undelete { source, mailbox, messages } => {
                out.raw(&source.0);
                out.raw(&mailbox.0);
                out.count(messages.len());
                for (until, transfer) in messages {
                    out.u64(until.0);
                    transfer.encode(out);
                }
            }
            RetentionBody::Purge(keys) => {
                out.count(keys.len());
                keys.iter().for_each(|key| key.encode(out));
            }
        }
    }

    pub(super) fn decode(kind: u8, from: &mut Decoder<'_>) -> Result<Body, Broken> {
        Ok(Body::Retention(match kind {
            32 => match from.u8()? {
                0 => RetentionBody::Account(RetentionSetting::decode(from)?),
                1 => RetentionBody::Volume(VolumeRetention::decode(from)?),
                _ => return Err("a retention is of no known kind"),
            },
            33 => RetentionBody::Retain {
                mailbox: MailboxId(from.array()?),
                until: Until(from.u64()?),
                uids: from.option(Decoder::uids)?,
            },
            34 => RetentionBody::Undelete {
                source: MailboxId(from.array()?),
                mailbox: MailboxId(from.array()?),
                messages: from.list(|from| Ok((Until(from.u64()?), Transfer::decode(from)?)))?,
            },
            35 => RetentionBody::Purge(from.list(RetainedKey::decode)?),
            _ => return Err("its type is not known to this version"),
        }))
    }

    /// Where a kept message is found that an undelete brings back.
    pub(crate) fn source_key(source: MailboxId, until: Until, uid: Uid) -> RetainedKey {
        RetainedKey { until, mailbox: source, uid }
    }
}
