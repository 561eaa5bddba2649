//! Records: every change of a store, logical and self-contained.
//!
//! A record carries *assigned* results (UIDs, positions, ids, complete rows), so that applying it
//! is a pure function of the record and the state before it, reads no other mailbox, and may be
//! repeated. The fixed header around it (type, account, position; see `log/format`) is not sealed;
//! what is drawn here is, with the key of the record's account, or of the volume for account 0.
//!
//! ```text
//! payload  presence u8   bit 0: node, bit 1: request, bit 2: run; others zero, or
//!                        refused; like new types they come with a new level (format_level.rs)
//!          stamp u64     hybrid logical clock
//!          node 16       whose clock, if not the epoch's primary's
//!          request 16    takes effect once
//!          run           first position u64, u8: 1 in its last record
//!          body          by type, see `body.rs`
//! ```
//!
//! # Invariants
//! 1. A record names only blobs that are referenced at its own place in the log.
//! 2. No key, wrapped or not, enters a record.

pub(crate) mod base;
mod body;
pub(crate) mod fuzzing;
mod part;
mod retention;
mod sealed;
mod sharing;

use base::{BasePart, DumpedRow};
pub(crate) use body::{decode_keywords, encode_keywords, special_use_number, special_use_of};
pub(crate) use part::{ArrivalPart, PartBlob};
pub(crate) use retention::RetentionBody;
pub(crate) use sealed::open_record;
pub(crate) use sharing::{EntryChange, SharingBody};

use crate::encoding::{Broken, Decoder, Encoder};
use crate::flags::{Keyword, SystemFlags};
use crate::ids::{
    AccountNumber, BlobTag, EmailId, EpochId, InstanceId, KeyGeneration, Lsn, MailboxId, NodeId,
    RequestId, Stamp, ThreadId, Uid, UidValidity, UnixSeconds,
};
use crate::store::SpecialUse;
use crate::uid_set::UidSet;

/// A record: what happened, when, and by whose request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// When, by the hybrid clock of its node.
    pub(crate) stamp: Stamp,
    /// Whose clock; `None`: the epoch's primary's.
    pub(crate) node: Option<NodeId>,
    /// The request that it answers, when it came over the pair's link.
    pub(crate) request: Option<RequestId>,
    /// The run that it belongs to: rows of a run count from its last record on.
    pub(crate) run: Option<Run>,
    /// What happened.
    pub(crate) body: Body,
}

/// Place of a record in a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    /// Position of the run's first record.
    pub(crate) first: Lsn,
    /// Whether this is its last record.
    pub(crate) last: bool,
}

/// What happened. The numbers of types are in `body.rs`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// An epoch begins; its first record.
    Epoch(EpochBegin),
    /// Who makes up the pair: node and parity of its epochs.
    Members(Vec<(NodeId, u8)>),
    /// From here on records up to this level may be written.
    FormatLevel(u32),
    /// An account's number and the generation of its key, which is in the key table already.
    AccountCreate { account: AccountNumber, generation: KeyGeneration },
    /// An account is deleted; its key goes next.
    AccountDelete { account: AccountNumber },
    /// The key of a deleted account is destroyed.
    AccountDestroyed { account: AccountNumber },
    /// Accounts' keys have these newest generations, which are in the key table already.
    KeysBegun(Vec<(AccountNumber, KeyGeneration)>),
    /// A retired generation of an account's key is destroyed: nothing names it any more.
    KeyDestroyed { account: AccountNumber, generation: KeyGeneration },
    /// Domains and aliases.
    Policy(Vec<PolicyChange>),
    /// Name, credentials and quota, complete.
    AccountUpdate(AccountUpdate),
    /// Messages arrive in a mailbox; one position each, and one for each part that comes inline.
    Append { mailbox: MailboxId, messages: Vec<Arrival> },
    /// Messages are copied; one position each.
    Copy { mailbox: MailboxId, messages: Vec<Transfer> },
    /// Messages are moved; one position each.
    Move { source: MailboxId, mailbox: MailboxId, messages: Vec<Transfer> },
    /// Flags change.
    Flags { mailbox: MailboxId, changes: Vec<FlagsChanged> },
    /// Messages go.
    Expunge { mailbox: MailboxId, uids: UidSet },
    /// A mailbox comes.
    MailboxCreate {
        mailbox: MailboxId,
        name: String,
        uid_validity: UidValidity,
        special_use: Option<SpecialUse>,
    },
    /// Mailboxes get other names, all at once.
    MailboxRename(Vec<(MailboxId, String)>),
    /// A mailbox goes with all that is in it.
    MailboxDelete { mailbox: MailboxId },
    /// UIDs below that one were given, whether a message here had them or not.
    UidNext { mailbox: MailboxId, next: u64 },
    /// A name enters or leaves the subscriptions.
    Subscribe { name: String, subscribed: bool },
    /// Base images of these accounts begin: they will hold state as of this record.
    BaseBegin { accounts: Vec<AccountNumber> },
    /// Rows of the account's state.
    BaseDump { rows: Vec<DumpedRow> },
    /// The account's state is all in records that are named here.
    BaseImage(BasePart),
    /// Messages are kept after they went; see `retention.rs`.
    Retention(RetentionBody),
    /// Metadata, rights and limits; see `sharing.rs`.
    Sharing(SharingBody),
    /// A request of another node became the records before it in the group, or in the run, that
    /// carry its id; and what it was answered (`commit/proposal/outcome.rs`).
    Answered { request: RequestId, outcome: Vec<u8> },
}

/// The begin of an epoch: one link of the volume's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EpochBegin {
    pub(crate) number: u16,
    pub(crate) id: EpochId,
    /// The epoch that this one continues, with the last position inherited from it.
    pub(crate) parent: Option<(EpochId, Lsn)>,
    pub(crate) node: NodeId,
}

/// One change of policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PolicyChange {
    DomainPut(String),
    DomainDelete(String),
    AliasPut { address: String, targets: Vec<String> },
    AliasDelete(String),
}

/// All of an account that is not its mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AccountUpdate {
    /// Login name and address.
    pub(crate) name: String,
    /// Encoded [`crate::seal::Credentials`]: Argon2id and SCRAM keys.
    pub(crate) credentials: Vec<u8>,
    pub(crate) quota_bytes: Option<u64>,
}

/// A row as a record brings it; its MODSEQ is the message's position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NewRow {
    pub(crate) uid: Uid,
    pub(crate) flags: SystemFlags,
    pub(crate) keywords: Vec<Keyword>,
    pub(crate) received: UnixSeconds,
    pub(crate) saved: UnixSeconds,
    pub(crate) size: u32,
    pub(crate) thread: ThreadId,
    pub(crate) instance: InstanceId,
    pub(crate) email: EmailId,
    pub(crate) content_hash: [u8; 16],
}

/// A message that arrives, with its blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arrival {
    pub(crate) row: NewRow,
    pub(crate) blob: ArrivalBlob,
}

impl Arrival {
    fn position_count(&self) -> usize {
        let parts = match &self.blob {
            ArrivalBlob::WithParts(_, parts) => parts.as_slice(),
            _ => &[],
        };
        1 + parts.iter().filter(|part| part.is_inline()).count()
    }
}

/// Where an arriving message's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ArrivalBlob {
    /// In the same group, before this record, under the message's own position.
    Inline(BlobShape),
    /// Entered ahead, each chunk under a position of its own; the first is the blob's id.
    Ahead(BlobShape, Vec<Lsn>),
    /// Brought by an earlier record of the same delivery, which belongs to another account. That
    /// account's key may be destroyed when this is replayed, so all of the blob is told again.
    Shared {
        /// The blob's id.
        blob: Lsn,
        /// What it is.
        shape: BlobShape,
        /// Positions of its chunks, if they entered ahead.
        ahead: Option<Vec<Lsn>>,
    },
    /// The same where that is told already: in records of before, and for a second copy in the same
    /// account.
    SharedBare(Lsn),
    /// Inline or ahead, but for parts that are blobs of their own.
    WithParts(Box<ArrivalBlob>, Vec<ArrivalPart>),
}

/// What a blob is, wherever it lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlobShape {
    pub(crate) tag: BlobTag,
    /// Chunks, the header among them.
    pub(crate) chunk_count: u32,
    /// Bytes of the message.
    pub(crate) plain_bytes: u64,
}

/// A message that is copied or moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Transfer {
    /// Its UID where it comes from.
    pub(crate) source_uid: Uid,
    pub(crate) blob: Lsn,
    pub(crate) row: NewRow,
}

/// Messages whose flags change in the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FlagsChanged {
    pub(crate) uids: UidSet,
    pub(crate) add: SystemFlags,
    pub(crate) remove: SystemFlags,
    pub(crate) add_keywords: Vec<Keyword>,
    pub(crate) remove_keywords: Vec<Keyword>,
}

const HAS_NODE: u8 = 1;
const HAS_REQUEST: u8 = 2;
const HAS_RUN: u8 = 4;

impl Record {
    /// A record of this node, outside any run.
    pub(crate) fn new(stamp: Stamp, body: Body) -> Record {
        Record { stamp, node: None, request: None, run: None, body }
    }

    /// The number of its type, which stands in the record's fixed header.
    pub(crate) fn kind(&self) -> u8 {
        self.body.kind()
    }

    /// Positions that it takes: one a message and one a part that comes with it, else one.
    pub(crate) fn position_count(&self) -> u32 {
        let messages = match &self.body {
            Body::Append { messages, .. } => messages.iter().map(Arrival::position_count).sum(),
            Body::Copy { messages, .. } | Body::Move { messages, .. } => messages.len(),
            Body::Retention(RetentionBody::Undelete { messages, .. }) => messages.len(),
            _ => 1,
        };
        crate::width::u32_of(messages.max(1))
    }

    /// The second of its stamp.
    pub(crate) fn time(&self) -> UnixSeconds {
        UnixSeconds((self.stamp.0 >> 16).cast_signed() / 1000)
    }

    /// The payload, in the clear.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        let mut presence = 0;
        presence |= if self.node.is_some() { HAS_NODE } else { 0 };
        presence |= if self.request.is_some() { HAS_REQUEST } else { 0 };
        presence |= if self.run.is_some() { HAS_RUN } else { 0 };
        out.u8(presence);
        out.u64(self.stamp.0);
        if let Some(node) = self.node {
            out.raw(&node.0);
        }
        if let Some(request) = self.request {
            out.raw(&request.0);
        }
        if let Some(run) = self.run {
            out.lsn(run.first);
            out.u8(u8::from(run.last));
        }
        self.body.encode(&mut out);
        out.bytes
    }

    /// From the type in the header and the opened payload.
    pub(crate) fn decode(kind: u8, payload: &[u8]) -> Result<Record, Broken> {
        let mut from = Decoder::new(payload);
        let presence = from.u8()?;
        if presence & !(HAS_NODE | HAS_REQUEST | HAS_RUN) != 0 {
            return Err("it carries fields that this version does not know");
        }
        let stamp = Stamp(from.u64()?);
        let node = if presence & HAS_NODE != 0 { Some(NodeId(from.array()?)) } else { None };
        let request =
            if presence & HAS_REQUEST != 0 { Some(RequestId(from.array()?)) } else { None };
        let run = if presence & HAS_RUN != 0 {
            Some(Run { first: from.lsn()?, last: from.u8()? == 1 })
        } else {
            None
        };
        let body = Body::decode(kind, &mut from)?;
        from.end()?;
        Ok(Record { stamp, node, request, run, body })
    }
}

#[cfg(test)]
mod tests;
