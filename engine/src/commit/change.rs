//! What a caller asks the committer for, with everything prepared that can be prepared before.

use std::sync::Arc;

use super::merged::Merged;
use super::numbered::NumberedChange;
use super::proposal::Proposed;
use super::room::RoomTaken;
use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList};
use crate::ids::{
    AccountNumber, BlobId, BlobTag, EmailId, KeyGeneration, Lsn, MailboxId, PartHash, ThreadId,
    Uid, UnixSeconds,
};
use crate::record::base::{BasePart, DumpedRow};
use crate::record::{AccountUpdate, BlobShape, PolicyChange, SharingBody};
use crate::seal::SealedChunk;
use crate::state::{PartUse, RetainedKey, RetentionSetting, VolumeRetention};
use crate::store::{Appended, Copied, FlagsStored, SpecialUse};
use crate::ticket::Promise;
use crate::uid_set::UidSet;

/// The answer to a change.
pub(crate) type Answer<T> = Promise<Result<T, CommitError>>;

/// A message sealed for its accounts, whose bytes travel with its record or went ahead.
pub(crate) struct SealedMessage {
    pub(crate) shape: BlobShape,
    /// In order; empty once they went ahead.
    pub(crate) chunks: Vec<SealedChunk>,
    /// Positions of chunks that went ahead, in order.
    pub(crate) ahead: Option<Vec<Lsn>>,
    /// What of it is kept in other blobs.
    pub(crate) parts: Vec<SealedPart>,
    pub(crate) size: u32,
    pub(crate) email: EmailId,
    /// As the blob holds it, unless it is very long.
    pub(crate) summary: Option<Arc<[u8]>>,
    /// Kept for it on the disk of the node that sealed it.
    pub(crate) room: Option<RoomTaken>,
    /// For each account that may open it: its keyed content hash and conversation.
    pub(crate) accounts: Vec<(AccountNumber, [u8; 16], ThreadId)>,
}

/// A part of a message, sealed as a blob of its own for whoever turns out to need it.
pub(crate) struct SealedPart {
    pub(crate) hash: PartHash,
    pub(crate) shape: BlobShape,
    /// In order; empty once they went ahead, or where the part is known and the message is large.
    pub(crate) chunks: Vec<SealedChunk>,
    /// Positions of chunks that went ahead, in order.
    pub(crate) ahead: Option<Vec<Lsn>>,
    /// A blob with the same bytes, and a message that named it a moment ago.
    pub(crate) known: Option<PartUse>,
    /// A blob that should have the same bytes and does not give them: it is not named again.
    pub(crate) unreadable: Option<BlobId>,
}

impl SealedMessage {
    /// Bytes that it adds to a group.
    pub(crate) fn group_bytes(&self) -> usize {
        let parts = self.parts.iter().flat_map(|part| &part.chunks);
        let bytes = self.chunks.iter().chain(parts).map(|chunk| chunk.bytes.len() + 64);
        bytes.sum::<usize>() + 512 + self.parts.len() * 96
    }

    /// What was computed for that account.
    pub(crate) fn for_account(&self, account: AccountNumber) -> ([u8; 16], ThreadId) {
        self.accounts
            .iter()
            .find(|(number, ..)| *number == account)
            .map(|(_, hash, thread)| (*hash, *thread))
            .unwrap_or_default()
    }
}

/// A message to append, with what only its place in a mailbox knows.
pub(crate) struct PendingMessage {
    pub(crate) sealed: SealedMessage,
    pub(crate) flags: FlagList,
    pub(crate) received: UnixSeconds,
}

/// One recipient's copy of a delivery.
pub(crate) struct RecipientCopy {
    pub(crate) account: AccountNumber,
    pub(crate) mailbox: String,
    pub(crate) flags: FlagList,
}

/// Whether messages stay where they were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CopyKind {
    Copy,
    Move,
}

/// An account to make, whose key is in the table already.
pub(crate) struct NewAccountChange {
    pub(crate) number: AccountNumber,
    pub(crate) generation: KeyGeneration,
    pub(crate) update: AccountUpdate,
}

/// A change of what is kept after it was expunged.
pub(crate) enum RetentionChange {
    Account {
        account: AccountNumber,
        setting: RetentionSetting,
        promise: Answer<()>,
    },
    Volume {
        retention: VolumeRetention,
        promise: Answer<()>,
    },
    /// Brings back messages of one mailbox; those that are gone are left out.
    Undelete {
        account: AccountNumber,
        keys: Vec<RetainedKey>,
        promise: Answer<Undeleted>,
    },
    /// Gives up those that are over time, or, where the volume says so, any when space is low;
    /// answers how many.
    Purge {
        account: AccountNumber,
        keys: Vec<RetainedKey>,
        low_space: bool,
        promise: Answer<u64>,
    },
}

/// Where kept messages came back to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Undeleted {
    /// The mailbox; empty if none of the messages was kept any more.
    pub mailbox: String,
    /// Their numbers there, in the order in which they were asked for.
    pub uids: Vec<Uid>,
}

impl RetentionChange {
    fn refuse(self, why: &dyn Fn() -> CommitError) {
        match self {
            RetentionChange::Account { promise, .. } | RetentionChange::Volume { promise, .. } => {
                promise.answer(Err(why()));
            }
            RetentionChange::Undelete { promise, .. } => promise.answer(Err(why())),
            RetentionChange::Purge { promise, .. } => promise.answer(Err(why())),
        }
    }
}

/// A change.
pub(crate) enum Change {
    Deliver {
        message: SealedMessage,
        received: UnixSeconds,
        recipients: Vec<RecipientCopy>,
        promise: Promise<Vec<Result<Appended, CommitError>>>,
    },
    Append {
        account: AccountNumber,
        mailbox: MailboxId,
        messages: Vec<PendingMessage>,
        promise: Answer<Appended>,
    },
    /// Messages of several senders, or of one that wants each judged for itself, for one record.
    AppendEach {
        account: AccountNumber,
        mailbox: MailboxId,
        messages: Vec<PendingMessage>,
        /// One for each message, in order.
        promises: Vec<Answer<Appended>>,
    },
    Transfer {
        kind: CopyKind,
        account: AccountNumber,
        source: MailboxId,
        destination: MailboxId,
        uids: UidSet,
        promise: Answer<Copied>,
    },
    Flags {
        account: AccountNumber,
        mailbox: MailboxId,
        uids: UidSet,
        change: FlagChange,
        flags: FlagList,
        unchanged_since: Option<Lsn>,
        promise: Answer<FlagsStored>,
    },
    Expunge {
        account: AccountNumber,
        mailbox: MailboxId,
        uids: UidSet,
        promise: Answer<UidSet>,
    },
    /// A message comes into `destination` and one of `source` goes: both or neither.
    Replace {
        account: AccountNumber,
        source: MailboxId,
        uid: Uid,
        destination: MailboxId,
        message: Box<PendingMessage>,
        promise: Answer<Appended>,
    },
    CreateMailbox {
        account: AccountNumber,
        name: String,
        special_use: Option<SpecialUse>,
        promise: Answer<MailboxId>,
    },
    /// A mailbox that nobody sees.
    Stage {
        account: AccountNumber,
        promise: Answer<MailboxId>,
    },
    RenameMailbox {
        account: AccountNumber,
        from: String,
        to: String,
        promise: Answer<()>,
    },
    DeleteMailbox {
        account: AccountNumber,
        name: String,
        promise: Answer<()>,
    },
    Subscribe {
        account: AccountNumber,
        name: String,
        subscribed: bool,
        promise: Answer<()>,
    },
    CreateAccount {
        new: NewAccountChange,
        promise: Answer<()>,
    },
    UpdateAccount {
        account: AccountNumber,
        update: AccountUpdate,
        promise: Answer<()>,
    },
    DeleteAccount {
        account: AccountNumber,
        promise: Answer<()>,
    },
    AccountDestroyed {
        account: AccountNumber,
        promise: Answer<()>,
    },
    Policy {
        changes: Vec<PolicyChange>,
        promise: Answer<()>,
    },
    /// Accounts' keys have these newest generations, which are in the table already. What was
    /// sealed under those before lies in closed segments then.
    KeysBegun {
        keys: Vec<(AccountNumber, KeyGeneration)>,
        promise: Answer<()>,
    },
    /// A retired key is destroyed.
    KeyDestroyed {
        account: AccountNumber,
        generation: KeyGeneration,
        promise: Answer<()>,
    },
    /// Messages of a mailbox that cannot be read go, others come in their place: both or neither.
    /// No quota is asked, and nothing of them is kept.
    GiveUp {
        account: AccountNumber,
        mailbox: MailboxId,
        uids: UidSet,
        messages: Vec<PendingMessage>,
        promise: Answer<Appended>,
    },
    /// Nothing: answered when all that was begun before is committed.
    Fence {
        promise: Answer<()>,
    },
    /// From here on the volume may hold what that format level allows.
    RaiseLevel {
        level: u32,
        promise: Answer<()>,
    },
    /// A chunk of a large message, ahead of its record. `first`: of which message, `None` for its
    /// first chunk.
    ChunkAhead {
        first: Option<Lsn>,
        tag: BlobTag,
        chunk: SealedChunk,
        promise: Answer<Lsn>,
    },
    /// Metadata, rights and limits.
    Sharing {
        account: AccountNumber,
        body: SharingBody,
        /// How many private entries an account may have in a mailbox of somebody else.
        guest_entries_max: usize,
        promise: Answer<()>,
    },
    /// For how long messages are kept, and kept ones.
    Retention(RetentionChange),
    /// Mail that brings its numbers along.
    Numbered(NumberedChange),
    /// No more of that message comes without its record; its chunks are dead.
    EndAhead {
        first: Lsn,
    },
    /// Base images of these accounts begin. Goes last of its batch, and a checkpoint follows at
    /// once, of which a snapshot is kept.
    BaseBegin {
        accounts: Vec<AccountNumber>,
        promise: Answer<Lsn>,
    },
    /// Rows of an account's state, a record for each unit.
    BaseDump {
        account: AccountNumber,
        units: Vec<Vec<DumpedRow>>,
        promise: Answer<Vec<Lsn>>,
    },
    /// An account's base image.
    BaseImage {
        account: AccountNumber,
        parts: Vec<BasePart>,
        promise: Answer<()>,
    },
    /// A change of another node.
    Proposed(Box<Proposed>),
    /// A change from the time when two nodes were apart.
    Merged(Box<Merged>),
}

impl Change {
    /// Answers with an error: the committer will not see it.
    pub(crate) fn refuse(self, why: &dyn Fn() -> CommitError) {
        match self {
            Change::Deliver { recipients, promise, .. } => {
                promise.answer(recipients.iter().map(|_| Err(why())).collect());
            }
            Change::Append { promise, .. }
            | Change::GiveUp { promise, .. }
            | Change::Replace { promise, .. } => promise.answer(Err(why())),
            Change::AppendEach { promises, .. } => {
                promises.into_iter().for_each(|promise| promise.answer(Err(why())));
            }
            Change::Transfer { promise, .. } => promise.answer(Err(why())),
            Change::Flags { promise, .. } => promise.answer(Err(why())),
            Change::Expunge { promise, .. } => promise.answer(Err(why())),
            Change::CreateMailbox { promise, .. } | Change::Stage { promise, .. } => {
                promise.answer(Err(why()));
            }
            Change::ChunkAhead { promise, .. } => promise.answer(Err(why())),
            Change::RenameMailbox { promise, .. }
            | Change::DeleteMailbox { promise, .. }
            | Change::Subscribe { promise, .. }
            | Change::CreateAccount { promise, .. }
            | Change::UpdateAccount { promise, .. }
            | Change::DeleteAccount { promise, .. }
            | Change::AccountDestroyed { promise, .. }
            | Change::BaseImage { promise, .. }
            | Change::Sharing { promise, .. }
            | Change::Policy { promise, .. }
            | Change::KeysBegun { promise, .. }
            | Change::KeyDestroyed { promise, .. }
            | Change::Fence { promise }
            | Change::RaiseLevel { promise, .. } => promise.answer(Err(why())),
            Change::BaseBegin { promise, .. } => promise.answer(Err(why())),
            Change::BaseDump { promise, .. } => promise.answer(Err(why())),
            Change::Retention(change) => change.refuse(why),
            Change::Numbered(change) => change.refuse(why),
            Change::EndAhead { .. } => {}
            Change::Proposed(proposed) => proposed.refuse(&why()),
            Change::Merged(merged) => merged.change.refuse(why),
        }
    }

    /// Whether it helps to give space back, and may use more of the reserve than others.
    pub(crate) fn serves_reclaim(&self) -> bool {
        matches!(
            self,
            Change::EndAhead { .. }
                | Change::DeleteAccount { .. }
                | Change::AccountDestroyed { .. }
                | Change::BaseBegin { .. }
                | Change::BaseDump { .. }
                | Change::BaseImage { .. }
                | Change::Retention(RetentionChange::Purge { .. })
        )
    }

    /// Whether it is committed only when both nodes of a pair have it: accounts and their keys are
    /// never in a part of the log that one of them lacks.
    pub(crate) fn needs_both(&self) -> bool {
        matches!(
            self,
            Change::CreateAccount { .. }
                | Change::DeleteAccount { .. }
                | Change::AccountDestroyed { .. }
                | Change::KeysBegun { .. }
                | Change::KeyDestroyed { .. }
                | Change::RaiseLevel { .. }
        )
    }

    /// Bytes that it may add to a group: what the queue counts.
    pub(crate) fn group_bytes(&self) -> usize {
        const ROW_BYTES: usize = 160;
        match self {
            Change::Deliver { message, recipients, .. } => {
                message.group_bytes() + recipients.len() * 512
            }
            Change::Append { messages, .. }
            | Change::AppendEach { messages, .. }
            | Change::GiveUp { messages, .. } => {
                messages.iter().map(|message| message.sealed.group_bytes() + 512).sum()
            }
            Change::Replace { message, .. } => message.sealed.group_bytes() + 1024,
            Change::Transfer { uids, .. } => {
                crate::width::usize_of(uids.count()).saturating_mul(ROW_BYTES).min(4 << 20)
            }
            Change::ChunkAhead { chunk, .. } => chunk.bytes.len() + 64,
            Change::Proposed(proposed) => proposed.change.group_bytes() + 1024,
            Change::Merged(merged) => merged.change.group_bytes(),
            Change::BaseDump { units, .. } => {
                units.iter().flatten().map(|row| row.key.len() + row.value.len() + 8).sum()
            }
            Change::BaseImage { parts, .. } => {
                parts.iter().map(|part| part.units.len() * 48 + 512).sum()
            }
            Change::Numbered(change) => change.group_bytes(),
            Change::Retention(RetentionChange::Undelete { keys, .. }) => keys.len() * ROW_BYTES,
            Change::Retention(RetentionChange::Purge { keys, .. }) => 1024 + keys.len() * 32,
            Change::Sharing { body: SharingBody::Metadata { entries, .. }, .. } => {
                let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
                entries.iter().map(|entry| entry.name.len() + bytes(&entry.value) + 64).sum()
            }
            // Its first mailboxes come with it, each with a record.
            Change::CreateAccount { .. } => 8192,
            _ => 1024,
        }
    }
}
