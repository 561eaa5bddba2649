//! Messages that arrive: deliveries, APPEND, and chunks of large ones ahead of their record.

use crate::commit::change::{PendingMessage, RecipientCopy, SealedMessage};
use crate::error::CommitError;
use crate::flags::FlagList;
use crate::ids::{AccountNumber, BlobId, BlobTag, Lsn, MailboxId, Uid, UnixSeconds};
use crate::limits::{MESSAGE_KEYWORDS_MAX, RECORD_BYTES_MAX, RECORD_MESSAGES_MAX};
use crate::log::ChunkHeader;
use crate::record::{Arrival, ArrivalBlob, ArrivalPart, Body, NewRow};
use crate::seal::SealedChunk;
use crate::state::{INBOX, positions};
use crate::store::Appended;

use super::Assigner;
use super::flags::too_many_keywords;
use super::parts::{Brought, part_bytes, with_parts};
use super::record_too_large;

impl Assigner<'_> {
    /// One message to several recipients. The first brings the bytes, the others name the same
    /// blob.
    pub(super) fn deliver(
        &mut self,
        message: SealedMessage,
        received: UnixSeconds,
        recipients: &[RecipientCopy],
    ) -> Vec<Result<Appended, CommitError>> {
        let mut brought = None;
        let mut chosen = Vec::new();
        let answers = recipients
            .iter()
            .map(|recipient| {
                self.deliver_to(&message, received, recipient, (&mut brought, &mut chosen))
            })
            .collect();
        self.end_ahead(&message, brought.is_some());
        self.end_parts(&message, &chosen);
        answers
    }

    fn deliver_to(
        &mut self,
        message: &SealedMessage,
        received: UnixSeconds,
        recipient: &RecipientCopy,
        (brought, chosen): (&mut Option<Lsn>, &mut Vec<ArrivalPart>),
    ) -> Result<Appended, CommitError> {
        let account = recipient.account;
        let state = self
            .changes
            .account(self.context.committed, account)
            .ok_or(CommitError::NoSuchAccount)?;
        self.check_quota(account, (1, u64::from(message.size)))?;
        check_keyword_count(&recipient.flags)?;
        let mailbox = match state.names.id_of(&recipient.mailbox) {
            Some(mailbox) => mailbox,
            None if recipient.mailbox.eq_ignore_ascii_case(INBOX) => {
                return Err(CommitError::NoSuchMailbox);
            }
            // Everything that can refuse a message in a new mailbox is asked before it is made: a
            // mailbox that a refused delivery left behind would be an offer to fill accounts.
            None => {
                if brought.is_none() {
                    self.check_parts(account, message)?;
                }
                self.create_mailbox(account, &recipient.mailbox, None)?
            }
        };
        self.check_keywords((account, mailbox), &recipient.flags.keywords)?;
        let uid = self.next_uids((account, mailbox), 1)?;
        let row = self.new_row(account, message, uid, &recipient.flags, received);
        let blob = self.blob_of(message, *brought);
        let mut beside = Brought::default();
        let parts = match brought {
            None => self.choose_parts(account, message, (1, &mut beside))?,
            Some(_) => Vec::new(),
        };
        let chunks = if brought.is_none() { message.chunks.as_slice() } else { &[] };
        let mut brings = vec![(0, message.shape.tag, chunks)];
        brings.extend(beside.chunks);
        let blob = with_parts(blob, parts.clone());
        let body = Body::Append { mailbox, messages: vec![Arrival { row, blob }] };
        let id = self.emit_with_chunks(account, body, &brings)?;
        if brought.is_none() {
            *chosen = parts;
        }
        if brought.is_none() {
            self.remember_summary(message, id);
        }
        brought.get_or_insert_with(|| first_chunk(message).unwrap_or(id));
        self.appended((account, mailbox), uid, 1)
    }

    /// Several messages into one mailbox, all or none.
    pub(super) fn append(
        &mut self,
        account: AccountNumber,
        mailbox: MailboxId,
        messages: Vec<PendingMessage>,
    ) -> Result<Appended, CommitError> {
        let mut chosen = Vec::new();
        let result = self.append_all((account, mailbox), &messages, &mut chosen);
        if result.is_err() {
            chosen.clear();
        }
        for message in &messages {
            self.end_ahead(&message.sealed, result.is_ok());
            self.end_parts(&message.sealed, &chosen);
        }
        result
    }

    /// Several messages into one mailbox, each taken or refused for itself: in one record if all
    /// are taken, and else each in a record of its own. Answers one result a message, in order.
    pub(super) fn append_each(
        &mut self,
        account: AccountNumber,
        mailbox: MailboxId,
        messages: Vec<PendingMessage>,
    ) -> Vec<Result<Appended, CommitError>> {
        let mut chosen = Vec::new();
        match self.append_all((account, mailbox), &messages, &mut chosen) {
            Ok(Appended { uid_validity, uids, modseq }) => {
                for message in &messages {
                    self.end_ahead(&message.sealed, true);
                    self.end_parts(&message.sealed, &chosen);
                }
                let one = |uid| Ok(Appended { uid_validity, uids: vec![uid], modseq });
                uids.into_iter().map(one).collect()
            }
            // What is refused leaves nothing behind, so all are judged again.
            Err(_) => messages
                .into_iter()
                .map(|message| self.append(account, mailbox, vec![message]))
                .collect(),
        }
    }

    fn append_all(
        &mut self,
        key: (AccountNumber, MailboxId),
        messages: &[PendingMessage],
        chosen: &mut Vec<ArrivalPart>,
    ) -> Result<Appended, CommitError> {
        self.check_room(key.0, messages)?;
        self.append_beyond_quota(key, messages, chosen)
    }

    /// The same under UIDs that the caller knows to be free.
    pub(super) fn append_at(
        &mut self,
        key: (AccountNumber, MailboxId),
        uids: &[Uid],
        messages: &[PendingMessage],
        chosen: &mut Vec<ArrivalPart>,
    ) -> Result<(), CommitError> {
        self.check_room(key.0, messages)?;
        self.place(key, uids, messages, chosen)
    }

    /// Refuses more messages than a record or the account has room for.
    fn check_room(
        &self,
        account: AccountNumber,
        messages: &[PendingMessage],
    ) -> Result<(), CommitError> {
        if messages.len() > RECORD_MESSAGES_MAX {
            let limit = crate::width::u64_of(RECORD_MESSAGES_MAX);
            return Err(CommitError::TooLarge { what: "the number of messages", limit });
        }
        let bytes = messages.iter().map(|message| u64::from(message.sealed.size)).sum();
        self.check_quota(account, (crate::width::u64_of(messages.len()), bytes))
    }

    /// The same, without asking the quota.
    pub(super) fn append_beyond_quota(
        &mut self,
        key: (AccountNumber, MailboxId),
        messages: &[PendingMessage],
        chosen: &mut Vec<ArrivalPart>,
    ) -> Result<Appended, CommitError> {
        let count = crate::width::u32_of(messages.len());
        let first = self.next_uids(key, count)?;
        let uids: Vec<Uid> = (first.0..).map(Uid).take(messages.len()).collect();
        self.place(key, &uids, messages, chosen)?;
        self.appended(key, first, count)
    }

    /// A record of messages with these UIDs, which are free.
    fn place(
        &mut self,
        key: (AccountNumber, MailboxId),
        uids: &[Uid],
        messages: &[PendingMessage],
        chosen: &mut Vec<ArrivalPart>,
    ) -> Result<(), CommitError> {
        for message in messages {
            self.check_keywords(key, &message.flags.keywords)?;
            check_keyword_count(&message.flags)?;
        }
        let count = crate::width::u32_of(messages.len());
        let mut arrivals = Vec::with_capacity(messages.len());
        let mut chunks = Vec::with_capacity(messages.len());
        let mut beside = Brought::default();
        for ((message, &uid), index) in messages.iter().zip(uids).zip(0u32..) {
            let sealed = &message.sealed;
            let row = self.new_row(key.0, sealed, uid, &message.flags, message.received);
            let around = (u64::from(count), &mut beside);
            let parts = self.choose_parts(key.0, sealed, around)?;
            chosen.extend_from_slice(&parts);
            let blob = with_parts(self.blob_of(sealed, None), parts);
            arrivals.push(Arrival { row, blob });
            chunks.push((u64::from(index), sealed.shape.tag, sealed.chunks.as_slice()));
        }
        chunks.extend(beside.chunks);
        let body = Body::Append { mailbox: key.1, messages: arrivals };
        let id = self.emit_with_chunks(key.0, body, &chunks)?;
        for (message, lsn) in messages.iter().zip(positions(id)) {
            self.remember_summary(&message.sealed, lsn);
        }
        Ok(())
    }

    /// Keeps the summary of a message that is recorded at that position, for its page.
    fn remember_summary(&mut self, message: &SealedMessage, lsn: Lsn) {
        let blob = BlobId(first_chunk(message).unwrap_or(lsn));
        self.changes.summaries.extend(message.summary.clone().map(|summary| (blob, summary)));
    }

    /// A record with the chunks that it brings: they stand before it, each under its message's
    /// position.
    fn emit_with_chunks(
        &mut self,
        account: AccountNumber,
        body: Body,
        brings: &[(u64, BlobTag, &[SealedChunk])],
    ) -> Result<Lsn, CommitError> {
        const RECORD_BYTES: usize = 4096;
        let chunk_count = brings.iter().map(|(.., chunks)| chunks.len()).sum();
        let chunk_bytes =
            brings.iter().flat_map(|(.., chunks)| *chunks).map(|chunk| chunk.bytes.len()).sum();
        let payload = RECORD_BYTES + brings.len() * 256 + variable_bytes(&body);
        // Judged before the first chunk is in the group: a chunk without its record would be read
        // as one of the next record's.
        if payload > RECORD_BYTES_MAX {
            return Err(record_too_large());
        }
        let payload = payload + self.executing.answer_bytes;
        if !self.builder.fits(payload, chunk_count, chunk_bytes) {
            self.finish_group();
        }
        if !self.builder.fits(payload, chunk_count, chunk_bytes) {
            let limit = crate::width::u64_of(crate::limits::GROUP_BYTES_MAX);
            return Err(CommitError::TooLarge { what: "the messages of one command", limit });
        }
        self.key_of(account)?;
        for chunk in brings.iter().flat_map(|(.., chunks)| *chunks) {
            self.refuse_ending(chunk)?;
        }
        let first = self.next;
        for (index, tag, chunks) in brings {
            let lsn = first.advance(*index).ok_or(CommitError::OutOfUids)?;
            for chunk in *chunks {
                self.push_chunk(lsn, *tag, chunk);
            }
        }
        self.emit(account, body)
    }

    fn push_chunk(&mut self, lsn: Lsn, tag: BlobTag, chunk: &SealedChunk) {
        let number = u16::try_from(chunk.number).expect("a blob has at most 4098 chunks");
        let header = ChunkHeader { number, lsn, tag, hash: chunk.hash };
        self.builder.push_chunk(&header, &chunk.bytes);
    }

    /// A chunk ahead of its record, under a position of its own.
    pub(super) fn chunk_ahead(
        &mut self,
        first: Option<Lsn>,
        tag: BlobTag,
        chunk: &SealedChunk,
    ) -> Result<Lsn, CommitError> {
        self.refuse_ending(chunk)?;
        if !self.builder.fits(self.executing.answer_bytes, 1, chunk.bytes.len()) {
            self.finish_group();
        }
        let lsn = self.next;
        self.push_chunk(lsn, tag, chunk);
        self.next = lsn.next().ok_or(CommitError::OutOfUids)?;
        if !self.entering.enter(first, lsn) {
            self.changes.dead_chunks.push(lsn);
        }
        Ok(lsn)
    }

    /// A message that entered ahead has its record, or never will.
    pub(super) fn end_ahead(&mut self, message: &SealedMessage, is_named: bool) {
        let Some(first) = first_chunk(message) else { return };
        let chunks = self.entering.end(first);
        if !is_named {
            self.changes.dead_chunks.extend(chunks);
        }
    }

    fn blob_of(&self, message: &SealedMessage, brought: Option<Lsn>) -> ArrivalBlob {
        match (brought, &message.ahead) {
            // A message with parts is of one account, whose record has told what it is.
            (Some(blob), _) if !message.parts.is_empty() => ArrivalBlob::SharedBare(blob),
            (Some(blob), ahead) => {
                ArrivalBlob::Shared { blob, shape: message.shape, ahead: ahead.clone() }
            }
            (None, Some(chunks)) => ArrivalBlob::Ahead(message.shape, chunks.clone()),
            (None, None) => ArrivalBlob::Inline(message.shape),
        }
    }

    fn new_row(
        &self,
        account: AccountNumber,
        message: &SealedMessage,
        uid: Uid,
        flags: &FlagList,
        received: UnixSeconds,
    ) -> NewRow {
        let (content_hash, thread) = message.for_account(account);
        NewRow {
            uid,
            flags: flags.system,
            keywords: flags.keywords.clone(),
            received,
            saved: self.now(),
            size: message.size,
            thread,
            instance: self.new_instance(),
            email: message.email,
            content_hash,
        }
    }

    /// The first of `count` UIDs that the mailbox gives next.
    pub(super) fn next_uids(
        &mut self,
        key: (AccountNumber, MailboxId),
        count: u32,
    ) -> Result<Uid, CommitError> {
        let epoch = self.context.epoch;
        let committed = self.context.committed;
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let next = state.uid_next(epoch).ok_or(CommitError::OutOfUids)?;
        next.0.checked_add(count).ok_or(CommitError::OutOfUids)?;
        Ok(next)
    }

    pub(super) fn appended(
        &mut self,
        key: (AccountNumber, MailboxId),
        first: Uid,
        count: u32,
    ) -> Result<Appended, CommitError> {
        let (committed, modseq) = (self.context.committed, self.last_position());
        let (state, _) =
            self.changes.mailbox_mut(committed, key)?.ok_or(CommitError::NoSuchMailbox)?;
        let uids = (first.0..first.0.saturating_add(count)).map(Uid).collect();
        Ok(Appended { uid_validity: state.uid_validity(), uids, modseq })
    }

    /// The last position that a record has taken.
    pub(super) fn last_position(&self) -> Lsn {
        let before = self.next.sequence().checked_sub(1);
        before.and_then(|before| Lsn::new(self.next.epoch(), before)).unwrap_or(Lsn::ZERO)
    }

    pub(super) fn check_quota(
        &self,
        account: AccountNumber,
        (more, more_bytes): (u64, u64),
    ) -> Result<(), CommitError> {
        if self.executing.is_merged {
            return Ok(());
        }
        let state = self
            .changes
            .account(self.context.committed, account)
            .ok_or(CommitError::NoSuchAccount)?;
        let count = state.usage.message_count.saturating_add(more);
        if let Some(limit) = state.annotations.message_limit().filter(|limit| count > *limit) {
            return Err(CommitError::TooManyMessages { limit });
        }
        match state.profile.quota_bytes {
            Some(limit) if state.usage.message_bytes.saturating_add(more_bytes) > limit => {
                Err(CommitError::OverQuota { limit_bytes: limit })
            }
            _ => Ok(()),
        }
    }
}

fn check_keyword_count(flags: &FlagList) -> Result<(), CommitError> {
    if flags.keywords.len() > MESSAGE_KEYWORDS_MAX {
        return Err(too_many_keywords());
    }
    Ok(())
}

/// What keywords and parts of arriving messages add to their record.
fn variable_bytes(body: &Body) -> usize {
    let Body::Append { messages, .. } = body else { return 0 };
    let of_row = |row: &NewRow| -> usize {
        row.keywords.iter().map(|keyword| keyword.as_str().len() + 2).sum()
    };
    messages.iter().map(|arrival| of_row(&arrival.row)).sum::<usize>() + part_bytes(messages)
}

fn first_chunk(message: &SealedMessage) -> Option<Lsn> {
    message.ahead.as_ref().and_then(|chunks| chunks.first().copied())
}
