//! Steps: what is to be done once more, as bytes.
//!
//! ```text
//! step  kind u8, and what belongs to it:
//!    1 set        record type u8, record as in record/mod.rs: its last of that key
//!    2 create     mailbox 16, name, special use u8
//!    3 message    mailbox 16, its name, uid, blob u64, origin: u8 0 new, 1 copy, 2 move, and of a
//!                 move mailbox 16, uid; option(request 16), flags, received, bytes (of a move:
//!                 none)
//!    4 flags      mailbox 16, uids, add u8, remove u8, keywords to add, to remove, stamp u64
//!    5 expunge    mailbox 16, uids
//!    6 floor      mailbox 16, the UID that would have been next
//!    7 delete     mailbox 16
//! ```

use crate::encoding::{Broken, Decoder, Encoder};
use crate::flags::{FlagList, SystemFlags};
use crate::ids::{Lsn, MailboxId, RequestId, Stamp, Uid, UnixSeconds};
use crate::record::{
    FlagsChanged, Record, decode_keywords, encode_keywords, special_use_number, special_use_of,
};
use crate::store::SpecialUse;
use crate::uid_set::UidSet;

/// A message at the node that went back.
pub(crate) type Place = (MailboxId, Uid);

/// One step, of one account or of the volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The last of the records that say the same of something.
    Set(Record),
    Create {
        mailbox: MailboxId,
        name: String,
        special_use: Option<SpecialUse>,
    },
    Message(Box<MessageStep>),
    Flags {
        mailbox: MailboxId,
        changed: FlagsChanged,
        stamp: Stamp,
    },
    Expunge {
        mailbox: MailboxId,
        uids: UidSet,
    },
    Floor {
        mailbox: MailboxId,
        next: u64,
    },
    Delete {
        mailbox: MailboxId,
    },
}

/// A message that is somewhere in the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MessageStep {
    pub(crate) mailbox: MailboxId,
    /// For the case that the mailbox is not there any more.
    pub(crate) name: String,
    pub(crate) uid: Uid,
    /// Where its bytes were, which it may share with others.
    pub(crate) blob: Lsn,
    pub(crate) origin: Origin,
    /// Who asked for it, if that was another node.
    pub(crate) request: Option<RequestId>,
    pub(crate) flags: FlagList,
    pub(crate) received: UnixSeconds,
    /// All of it; empty where it was moved.
    pub(crate) bytes: Vec<u8>,
}

/// Where a message came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    New,
    Copy,
    Move(Place),
}

impl Step {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        match self {
            Step::Set(record) => {
                out.u8(1);
                out.u8(record.kind());
                out.raw(&record.encode());
            }
            Step::Create { mailbox, name, special_use } => {
                of_mailbox(2, *mailbox, &mut out);
                out.text(name);
                out.u8(special_use_number(*special_use));
            }
            Step::Message(message) => message.encode(&mut out),
            Step::Flags { mailbox, changed, stamp } => {
                of_mailbox(4, *mailbox, &mut out);
                out.uids(&changed.uids);
                out.u8(changed.add.0);
                out.u8(changed.remove.0);
                encode_keywords(&changed.add_keywords, &mut out);
                encode_keywords(&changed.remove_keywords, &mut out);
                out.u64(stamp.0);
            }
            Step::Expunge { mailbox, uids } => {
                of_mailbox(5, *mailbox, &mut out);
                out.uids(uids);
            }
            Step::Floor { mailbox, next } => {
                of_mailbox(6, *mailbox, &mut out);
                out.varint(*next);
            }
            Step::Delete { mailbox } => of_mailbox(7, *mailbox, &mut out),
        }
        out.bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Step, Broken> {
        let mut from = Decoder::new(bytes);
        let kind = from.u8()?;
        if kind == 1 {
            let kind = from.u8()?;
            return Record::decode(kind, from.rest()).map(Step::Set);
        }
        let mailbox = MailboxId(from.array()?);
        let step = match kind {
            2 => Step::Create {
                mailbox,
                name: from.text()?.to_owned(),
                special_use: special_use_of(from.u8()?)?,
            },
            3 => Step::Message(Box::new(MessageStep::decode(mailbox, &mut from)?)),
            4 => Step::Flags {
                mailbox,
                changed: FlagsChanged {
                    uids: from.uids()?,
                    add: SystemFlags(from.u8()?),
                    remove: SystemFlags(from.u8()?),
                    add_keywords: decode_keywords(&mut from)?,
                    remove_keywords: decode_keywords(&mut from)?,
                },
                stamp: Stamp(from.u64()?),
            },
            5 => Step::Expunge { mailbox, uids: from.uids()? },
            6 => Step::Floor { mailbox, next: from.varint()? },
            7 => Step::Delete { mailbox },
            _ => return Err("a step is of no known kind"),
        };
        from.end()?;
        Ok(step)
    }
}

fn of_mailbox(kind: u8, mailbox: MailboxId, out: &mut Encoder) {
    out.u8(kind);
    out.raw(&mailbox.0);
}

impl MessageStep {
    fn encode(&self, out: &mut Encoder) {
        of_mailbox(3, self.mailbox, out);
        out.text(&self.name);
        out.varint(u64::from(self.uid.0));
        out.lsn(self.blob);
        let (kind, place) = match self.origin {
            Origin::New => (0, None),
            Origin::Copy => (1, None),
            Origin::Move(place) => (2, Some(place)),
        };
        out.u8(kind);
        if let Some((mailbox, uid)) = place {
            out.raw(&mailbox.0);
            out.varint(u64::from(uid.0));
        }
        out.option(self.request, |out, request| out.raw(&request.0));
        out.u8(self.flags.system.0);
        encode_keywords(&self.flags.keywords, out);
        out.signed(self.received.0);
        out.blob(&self.bytes);
    }

    fn decode(mailbox: MailboxId, from: &mut Decoder<'_>) -> Result<MessageStep, Broken> {
        let (name, uid) = (from.text()?.to_owned(), Uid(from.u32()?));
        let blob = from.lsn()?;
        let origin = match from.u8()? {
            0 => Origin::New,
            1 => Origin::Copy,
            2 => Origin::Move((MailboxId(from.array()?), Uid(from.u32()?))),
            _ => return Err("a message came in no known way"),
        };
        Ok(MessageStep {
            mailbox,
            name,
            uid,
            blob,
            origin,
            request: from.option(|from| Ok(RequestId(from.array()?)))?,
            flags: FlagList { system: SystemFlags(from.u8()?), keywords: decode_keywords(from)? },
            received: UnixSeconds(from.signed()?),
            bytes: from.blob()?.to_vec(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::flags::Keyword;
    use crate::record::Body;

    /// One of each kind.
    pub(in crate::store::merge) fn each() -> Vec<Step> {
        let mailbox = MailboxId([3; 16]);
        let keyword = Keyword::new("$Junk").unwrap();
        let set = Body::Subscribe { name: "Lists".into(), subscribed: true };
        let message = |origin, bytes: &[u8]| {
            Step::Message(Box::new(MessageStep {
                mailbox,
                name: "Archive".into(),
                uid: Uid(9),
                blob: Lsn::new(1, 4).unwrap(),
                origin,
                request: Some(RequestId([8; 16])),
                flags: FlagList { system: SystemFlags::SEEN, keywords: vec![keyword.clone()] },
                received: UnixSeconds(-7),
                bytes: bytes.to_vec(),
            }))
        };
        let uids = UidSet::from_ranges([(1, 3), (9, 9)]);
        vec![
            Step::Set(Record::new(Stamp(77), set)),
            Step::Create { mailbox, name: "New".into(), special_use: Some(SpecialUse::Junk) },
            message(Origin::New, b"Subject: x\r\n\r\n"),
            message(Origin::Copy, b"\r\n"),
            message(Origin::Move((MailboxId([4; 16]), Uid(2))), b""),
            Step::Flags {
                mailbox,
                changed: FlagsChanged {
                    uids: uids.clone(),
                    add: SystemFlags::SEEN,
                    remove: SystemFlags::FLAGGED,
                    add_keywords: vec![keyword.clone()],
                    remove_keywords: vec![Keyword::new("$Forwarded").unwrap()],
                },
                stamp: Stamp(5),
            },
            Step::Expunge { mailbox, uids },
            Step::Floor { mailbox, next: 1 << 32 },
            Step::Delete { mailbox },
        ]
    }

    #[test]
    fn steps_read_back_and_cut_short_they_are_refused() {
        let mut all = Encoder::default();
        for step in each() {
            let bytes = step.encode();
            assert_eq!(Step::decode(&bytes), Ok(step));
            assert!(Step::decode(&bytes[..bytes.len() - 1]).is_err());
            all.blob(&bytes);
        }
        crate::golden::compare("merge_steps_1.bin", &all.bytes);
    }
}
