//! Assigning: a change becomes records with positions, UIDs and ids, and is applied to the assigned
//! head.
//!
//! # Invariants
//! 1. Positions rise by what each record takes, with no hole inside a group.
//! 2. Chunks stand before the record that names them, under the message's own position.
//! 3. A change that is refused leaves no record behind.
//! 4. No record is above the volume's format level.
//! 5. The records of one command lie in one group: a power cut keeps or takes all of them. (Those
//!    of a copy of more messages than one record holds form a run, which counts as a whole.)

mod account;
mod base;
mod flags;
mod give_up;
mod keys;
mod level;
mod mailbox;
mod message;
mod name;
mod numbered;
mod parts;
mod proposed;
mod replace;
mod retention;
mod sharing;
mod transfer;

pub(crate) use self::keys::BELOW_LEVEL;

use std::sync::Arc;

use self::proposed::Executing;
use super::change::{Answer, Change};
use super::entering::Entering;
use crate::error::CommitError;
use crate::format_level;
use crate::ids::{
    AccountNumber, InstanceId, KeyGeneration, Lsn, MailboxId, Stamp, UnixSeconds, VolumeId,
};
use crate::limits::RECORD_BYTES_MAX;
use crate::log::{BuiltGroup, GroupBuilder, GroupHash, GroupStamp, RecordHeader};
use crate::record::{Body, Record, Run};
use crate::seal::{Aad, Key, KeyTableSnapshot, Sealer, seal_into};
use crate::state::{Changes, Committed};

/// Told to whoever waits, once the group is durable, or with the reason why the volume stopped.
pub(crate) type Reply = Box<dyn FnOnce(Option<&str>) + Send>;

/// What assigning needs that does not change within a batch.
pub(crate) struct AssignContext<'a> {
    pub(crate) volume: VolumeId,
    pub(crate) volume_name: &'a str,
    /// Nothing above it is written.
    pub(crate) format_level: u32,
    pub(crate) epoch: u16,
    /// 0 or 1: UIDVALIDITY carries it.
    pub(crate) parity: u8,
    pub(crate) committed: &'a Committed,
    pub(crate) keys: Arc<KeyTableSnapshot>,
    pub(crate) sealer: &'a Sealer,
    /// A group that has so many bytes takes no further command.
    pub(crate) group_bytes: usize,
    /// The stamp of the batch; each record's is one above the one before.
    pub(crate) stamp: Stamp,
    pub(crate) durable_lsn: Lsn,
    pub(crate) previous: GroupHash,
}

/// A batch on its way: groups built so far, changes applied, answers to give.
pub(crate) struct Assigner<'a> {
    context: AssignContext<'a>,
    /// Applied so far: with `context.committed` below it, the assigned head.
    pub(crate) changes: Changes,
    groups: Vec<BuiltGroup>,
    builder: GroupBuilder,
    group_first: Lsn,
    next: Lsn,
    entering: Entering,
    replies: Vec<Reply>,
    another_segment: bool,
    broken: Option<String>,
    /// Of another node, if one is.
    executing: Executing,
}

/// A batch ready to be written.
pub(crate) struct Assigned {
    pub(crate) changes: Changes,
    pub(crate) groups: Vec<BuiltGroup>,
    pub(crate) replies: Vec<Reply>,
    pub(crate) entering: Entering,
    /// The groups are to lie in another segment than all before.
    pub(crate) another_segment: bool,
    /// The highest stamp given.
    pub(crate) stamp: Stamp,
    /// The next position.
    pub(crate) next: Lsn,
    /// Why none of it may be written: a page that it changes could not be read halfway through.
    pub(crate) broken: Option<String>,
}

impl<'a> Assigner<'a> {
    /// Begins a batch at position `next`.
    pub(crate) fn new(context: AssignContext<'a>, next: Lsn, entering: Entering) -> Assigner<'a> {
        Assigner {
            context,
            changes: Changes::default(),
            groups: Vec::new(),
            builder: GroupBuilder::new(),
            group_first: next,
            next,
            entering,
            replies: Vec::new(),
            another_segment: false,
            broken: None,
            executing: Executing::default(),
        }
    }

    /// Assigns a record of the volume that nobody waits for.
    pub(crate) fn assign_volume(&mut self, body: Body) {
        if let Err(error) = self.emit(AccountNumber::VOLUME, body) {
            self.broken = Some(error.to_string());
        }
    }

    /// Assigns one change.
    pub(crate) fn assign(&mut self, change: Change) {
        self.begin_command(change.group_bytes());
        match change {
            Change::Deliver { message, received, recipients, promise } => {
                let result = self.deliver(message, received, &recipients);
                let count = recipients.len();
                let volume = self.context.volume_name.to_owned();
                self.replies.push(Box::new(move |stopped| {
                    promise.answer(match stopped {
                        None => result,
                        Some(why) => (0..count).map(|_| Err(read_only(&volume, why))).collect(),
                    });
                }));
            }
            Change::Append { account, mailbox, messages, promise } => {
                let result = self.append(account, mailbox, messages);
                self.reply(promise, result);
            }
            Change::AppendEach { account, mailbox, messages, promises } => {
                let results = self.append_each(account, mailbox, messages);
                for (promise, result) in promises.into_iter().zip(results) {
                    self.reply(promise, result);
                }
            }
            Change::Transfer { kind, account, source, destination, uids, promise } => {
                let result = self.transfer(kind, account, source, destination, &uids);
                self.reply(promise, result);
            }
            Change::Flags { account, mailbox, uids, change, flags, unchanged_since, promise } => {
                let key = (account, mailbox);
                let result = self.store_flags(key, &uids, change, &flags, unchanged_since);
                self.reply(promise, result);
            }
            Change::Expunge { account, mailbox, uids, promise } => {
                let result = self.expunge((account, mailbox), &uids);
                self.reply(promise, result);
            }
            Change::Replace { account, source, uid, destination, message, promise } => {
                let result = self.replace(account, (source, uid), destination, &message);
                self.reply(promise, result);
            }
            other => self.assign_names(other),
        }
    }

    /// Begins another group if the next command, of about so many bytes, would make this one larger
    /// than it should be. Within a command only a group that is as large as the format allows ends.
    fn begin_command(&mut self, bytes: usize) {
        if self.builder.body_bytes().saturating_add(bytes) > self.context.group_bytes {
            self.finish_group();
        }
    }

    fn assign_names(&mut self, change: Change) {
        match change {
            Change::CreateMailbox { account, name, special_use, promise } => {
                let result = self.create_mailbox(account, &name, special_use);
                self.reply(promise, result);
            }
            Change::Stage { account, promise } => {
                let result = self.stage(account);
                self.reply(promise, result);
            }
            Change::RenameMailbox { account, from, to, promise } => {
                let result = self.rename_mailbox(account, &from, &to);
                self.reply(promise, result);
            }
            Change::DeleteMailbox { account, name, promise } => {
                let result = self.delete_mailbox(account, &name);
                self.reply(promise, result);
            }
            Change::Subscribe { account, name, subscribed, promise } => {
                let result = self.subscribe(account, &name, subscribed);
                self.reply(promise, result);
            }
            Change::CreateAccount { new, promise } => {
                let result = self.create_account(new);
                self.reply(promise, result);
            }
            Change::UpdateAccount { account, update, promise } => {
                let result = self.update_account(account, update);
                self.reply(promise, result);
            }
            Change::DeleteAccount { account, promise } => {
                let result = self.delete_account(account);
                self.reply(promise, result);
            }
            Change::AccountDestroyed { account, promise } => {
                let body = Body::AccountDestroyed { account };
                let result = self.emit(AccountNumber::VOLUME, body).map(|_| ());
                self.reply(promise, result);
            }
            Change::Policy { changes, promise } => {
                let result = self.policy(changes);
                self.reply(promise, result);
            }
            other => self.assign_rest(other),
        }
    }

    /// Keys, the format level, and what belongs to large messages.
    fn assign_rest(&mut self, change: Change) {
        match change {
            Change::RaiseLevel { level, promise } => {
                let result = self.raise_level(level);
                self.reply(promise, result);
            }
            Change::KeysBegun { keys, promise } => {
                let result = self.begin_keys(&keys);
                self.reply(promise, result);
            }
            Change::KeyDestroyed { account, generation, promise } => {
                let result = self.destroyed_key(account, generation);
                self.reply(promise, result);
            }
            Change::Fence { promise } => self.reply(promise, Ok(())),
            Change::Proposed(proposed) => self.propose(*proposed),
            Change::Merged(merged) => self.merge(*merged),
            Change::GiveUp { account, mailbox, uids, messages, promise } => {
                let result = self.give_up((account, mailbox), &uids, &messages);
                self.reply(promise, result);
            }
            Change::ChunkAhead { first, tag, chunk, promise } => {
                let result = self.chunk_ahead(first, tag, &chunk);
                self.reply(promise, result);
            }
            Change::Retention(change) => self.change_retention(change),
            Change::Numbered(change) => self.change_numbered(change),
            Change::Sharing { account, body, guest_entries_max, promise } => {
                let result = self.share(account, body, guest_entries_max);
                self.reply(promise, result);
            }
            Change::EndAhead { first } => {
                self.changes.dead_chunks.extend(self.entering.end(first));
            }
            Change::BaseBegin { accounts, promise } => {
                let result = self.begin_base(accounts);
                self.reply(promise, result);
            }
            Change::BaseDump { account, units, promise } => {
                let result = self.dump_base(account, units);
                self.reply(promise, result);
            }
            Change::BaseImage { account, parts, promise } => {
                let result = self.finish_base(account, parts);
                self.reply(promise, result);
            }
            _ => unreachable!("messages are assigned by the caller"),
        }
    }

    fn reply<T: Send + 'static>(&mut self, promise: Answer<T>, result: Result<T, CommitError>) {
        let volume = self.context.volume_name.to_owned();
        self.replies.push(Box::new(move |stopped| {
            promise.answer(match stopped {
                None => result,
                Some(why) => Err(read_only(&volume, why)),
            });
        }));
    }

    /// Makes a record of `body`, seals it, puts it into the group and applies it. Answers its first
    /// position.
    fn emit(&mut self, account: AccountNumber, body: Body) -> Result<Lsn, CommitError> {
        self.emit_in_run(account, body, None)
    }

    fn emit_in_run(
        &mut self,
        account: AccountNumber,
        body: Body,
        run: Option<Run>,
    ) -> Result<Lsn, CommitError> {
        self.context.stamp = Stamp(self.context.stamp.0 + 1);
        let mut record = Record::new(self.context.stamp, body);
        record.run = run;
        record.request = self.executing.request;
        let level = format_level::of_record(record.kind());
        let allowed = level.is_some_and(|level| level <= self.context.format_level);
        assert!(allowed, "a record of type {} is above the volume's level", record.kind());
        let lsn = self.next;
        let count = record.position_count();
        let after = lsn.advance(u64::from(count)).ok_or(CommitError::OutOfUids)?;
        let aad = Aad::Record { kind: record.kind(), account, lsn };
        let (generation, key) = self.key_of(account)?;
        let mut sealed = generation.0.to_le_bytes().to_vec();
        seal_into(self.context.sealer, key, aad, &record.encode(), &mut sealed);
        if sealed.len() > RECORD_BYTES_MAX {
            return Err(record_too_large());
        }
        if !self.builder.fits(sealed.len() + self.executing.answer_bytes, 0, 0) {
            self.finish_group();
        }
        // A page that cannot be read leaves the head half changed, so nothing of this batch may be
        // written.
        if let Err(error) = self.changes.apply(self.context.committed, account, lsn, &record) {
            self.broken = Some(error.to_string());
            return Err(error.into());
        }
        let header = RecordHeader { record_type: record.kind(), account, lsn, lsn_count: count };
        self.builder.push_record(&header, &sealed);
        self.next = after;
        Ok(lsn)
    }

    /// The key that seals an account's records, with its generation; 0 for the volume's.
    fn key_of(&self, account: AccountNumber) -> Result<(KeyGeneration, &Key), CommitError> {
        if account == AccountNumber::VOLUME {
            return Ok((KeyGeneration(0), self.context.keys.volume_key()));
        }
        self.context.keys.current(account).ok_or(CommitError::NoSuchAccount)
    }

    fn finish_group(&mut self) {
        if self.builder.item_count() == 0 {
            return;
        }
        let builder = std::mem::take(&mut self.builder);
        let group = builder.finish(GroupStamp {
            flags: 0,
            volume: self.context.volume,
            first_lsn: self.group_first,
            last_lsn: self.last(),
            durable_lsn: self.context.durable_lsn,
            open_lsn: self.entering.oldest().unwrap_or(self.next),
            key_version: self.context.keys.version(),
            previous: self.context.previous,
        });
        self.context.previous = group.hash();
        self.group_first = self.next;
        self.groups.push(group);
    }

    /// The last position taken.
    fn last(&self) -> Lsn {
        Lsn::from_bits(self.next.bits() - 1).unwrap_or(Lsn::ZERO)
    }

    /// The batch, built.
    pub(crate) fn finish(mut self) -> Assigned {
        self.finish_group();
        Assigned {
            changes: self.changes,
            groups: self.groups,
            replies: self.replies,
            entering: self.entering,
            another_segment: self.another_segment,
            stamp: self.context.stamp,
            next: self.next,
            broken: self.broken,
        }
    }

    fn now(&self) -> UnixSeconds {
        UnixSeconds((self.context.stamp.0 >> 16).cast_signed() / 1000)
    }

    /// The second that the next record's stamp will say.
    fn next_stamp_time(&self) -> UnixSeconds {
        UnixSeconds(((self.context.stamp.0 + 1) >> 16).cast_signed() / 1000)
    }

    fn new_instance(&self) -> InstanceId {
        InstanceId(self.context.sealer.random_id())
    }

    fn new_mailbox_id(&self) -> MailboxId {
        MailboxId(self.context.sealer.random_id())
    }
}

/// A command whose record would exceed its bound: many messages with many long keywords.
fn record_too_large() -> CommitError {
    CommitError::TooLarge {
        what: "the record of one command, in bytes,",
        limit: crate::width::u64_of(RECORD_BYTES_MAX),
    }
}

/// The answer to everyone once the volume has stopped.
pub(crate) fn read_only(volume: &str, why: &str) -> CommitError {
    CommitError::ReadOnly { volume: volume.to_owned(), reason: why.to_owned() }
}
