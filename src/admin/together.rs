//! Appends that are committed together and answered one by one.
//!
//! Of a message that is committed alone the log holds a record with a header and a seal of its own,
//! and, where nothing else comes at that moment, a group that is padded. So an append that is
//! marked `together` is prepared and held, until so many are held that one more would gain nothing,
//! or until anything comes that is not such an append into the same mailbox.
//!
//! # Invariants
//! 1. Messages enter the log in the order of their requests, and each has an answer of its own:
//!    what is refused refuses no other.
//! 2. What is held is bounded in number, in bytes of the log, so that nobody waits long for a group
//!    of others, and in bytes of mail, so that a client which bounds what it is owed is never owed
//!    only what is held.
//! 3. Nothing that was answered is held: an answer is an answer of the log.

use std::sync::mpsc::{Receiver, Sender, channel};

use engine::error::CommitError;
use engine::ids::Uid;
use engine::{Appended, Mailbox, NewMessage, Ticket};

use super::{ANSWERS_OWED_MAX, TOGETHER_COUNT_MAX, TOGETHER_MAIL_BYTES_MAX};

/// Bytes that held messages add to the log: what one command may bring into a group.
const HELD_BYTES_MAX: u64 = engine::width::u64_of(engine::limits::INLINE_MESSAGE_BYTES_MAX);

const _: () = assert!(TOGETHER_COUNT_MAX <= ANSWERS_OWED_MAX, "all that is held can be owed");

/// What became of one message.
type Outcome = Ticket<Result<Appended, CommitError>>;

/// The answer to an append that is held; it comes once all are committed.
pub(super) struct Held {
    outcome: Receiver<Outcome>,
    /// Once it was handed to the store.
    handed: Option<Outcome>,
    batch: u64,
}

impl Held {
    /// Whether it was handed to the store, so that its answer comes whatever the client does.
    pub(super) fn is_handed(&mut self) -> bool {
        if self.handed.is_none() {
            self.handed = self.outcome.try_recv().ok();
        }
        self.handed.is_some()
    }

    /// Waits for it; `None` if the conversation ended before.
    pub(super) fn wait(self) -> Option<Result<Appended, CommitError>> {
        self.handed.or_else(|| self.outcome.recv().ok()).map(Ticket::wait)
    }
}

/// Appends of one conversation that are held.
#[derive(Default)]
pub(crate) struct Together {
    /// How many batches were committed before.
    batch: u64,
    mailbox: Option<Mailbox>,
    /// Of messages that bring their UIDs along: what the mailbox gives next before the first of
    /// them, and the UID of each.
    numbers: Option<(Uid, Vec<Uid>)>,
    /// One of those was refused: what was sent behind it must not take its place.
    is_refused: bool,
    messages: Vec<NewMessage>,
    owed: Vec<Sender<Outcome>>,
    log_bytes: u64,
    mail_bytes: u64,
}

impl Together {
    /// Whether that append is held still.
    pub(super) fn holds(&self, held: &Held) -> bool {
        held.batch == self.batch
    }

    /// Holds a message for a mailbox, with those before it if they are for the same.
    pub(super) fn hold(&mut self, mailbox: Mailbox, message: NewMessage) -> Held {
        if self.numbers.is_some() {
            self.commit();
        }
        self.hold_with(mailbox, None, message)
    }

    /// The same for a message that brings its UID along: `numbers` is what the mailbox gives next
    /// before it, and its UID.
    pub(super) fn hold_numbered(
        &mut self,
        mailbox: Mailbox,
        numbers: (Uid, Uid),
        message: NewMessage,
    ) -> Held {
        if self.is_refused {
            let why = CommitError::NotPermitted { what: "a message before it was refused" };
            let (owed, outcome) = channel();
            let _ = owed.send(Ticket::answered(Err(why)));
            return Held { outcome, handed: None, batch: self.batch };
        }
        let last = self.numbers.as_ref().and_then(|(_, uids)| uids.last());
        if last.is_none_or(|last| last.0.checked_add(1) != Some(numbers.0.0)) {
            self.commit();
        }
        self.hold_with(mailbox, Some(numbers), message)
    }

    fn hold_with(
        &mut self,
        mailbox: Mailbox,
        numbers: Option<(Uid, Uid)>,
        message: NewMessage,
    ) -> Held {
        let bytes = message.prepared.group_bytes();
        let is_same = self.mailbox.as_ref().is_some_and(|held| held.id() == mailbox.id());
        if !is_same || self.log_bytes + bytes > HELD_BYTES_MAX {
            self.commit();
        }
        self.mailbox = Some(mailbox);
        if let Some((next, uid)) = numbers {
            self.numbers.get_or_insert((next, Vec::new())).1.push(uid);
        }
        self.log_bytes += bytes;
        self.mail_bytes += message.prepared.message_bytes();
        self.messages.push(message);
        let (owed, outcome) = channel();
        self.owed.push(owed);
        let held = Held { outcome, handed: None, batch: self.batch };
        if self.messages.len() >= TOGETHER_COUNT_MAX
            || self.log_bytes >= HELD_BYTES_MAX
            || self.mail_bytes >= TOGETHER_MAIL_BYTES_MAX
        {
            self.commit();
        }
        held
    }

    /// One was refused before it came here.
    pub(super) fn refuse(&mut self) {
        self.is_refused = true;
    }

    /// Hands all that is held to the store, for whoever asks something else: it knows, or will know
    /// before it sends more, what became of all.
    pub(super) fn end(&mut self) {
        self.commit();
        self.is_refused = false;
    }

    /// Hands all that is held to the store.
    pub(super) fn commit(&mut self) {
        let Some(mailbox) = self.mailbox.take() else { return };
        let is_refused = self.is_refused;
        let next = Together { batch: self.batch + 1, is_refused, ..Together::default() };
        let Together { messages, owed, numbers, .. } = std::mem::replace(self, next);
        let tickets = match numbers {
            None => mailbox.append_each(messages),
            // What comes next is judged by what became of these.
            Some((next, uids)) => {
                let messages = uids.into_iter().zip(messages).collect();
                let outcomes = mailbox.append_numbered(next, messages).into_iter();
                let outcomes: Vec<_> = outcomes.map(Ticket::wait).collect();
                self.is_refused |= outcomes.iter().any(Result::is_err);
                outcomes.into_iter().map(Ticket::answered).collect()
            }
        };
        for (owed, ticket) in owed.into_iter().zip(tickets) {
            // Nobody listens any more where the conversation has ended.
            let _ = owed.send(ticket);
        }
    }
}
