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
        let bytes = message.prepared.group_bytes();
        let is_same = self.mailbox.as_ref().is_some_and(|held| held.id() == mailbox.id());
        if !is_same || self.log_bytes + bytes > HELD_BYTES_MAX {
            self.commit();
        }
        self.mailbox = Some(mailbox);
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

    /// Hands all that is held to the store.
    pub(super) fn commit(&mut self) {
        let Some(mailbox) = self.mailbox.take() else { return };
        let next = Together { batch: self.batch + 1, ..Together::default() };
        let Together { messages, owed, .. } = std::mem::replace(self, next);
        for (owed, ticket) in owed.into_iter().zip(mailbox.append_each(messages)) {
            // Nobody listens any more where the conversation has ended.
            let _ = owed.send(ticket);
        }
    }
}
