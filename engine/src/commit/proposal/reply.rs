//! Who waits on the node that proposed: the promises of the change, answered from the outcome.

use super::outcome::{Outcome, Told, begin, decode_result};
use crate::commit::change::{Answer, Change, PendingMessage, RetentionChange, SealedMessage};
use crate::commit::numbered::NumberedChange;
use crate::commit::room::RoomTaken;
use crate::encoding::{Broken, Decoder};
use crate::error::CommitError;
use crate::ids::{Lsn, MailboxId};
use crate::store::{Appended, Copied, FlagsStored, Undeleted};
use crate::ticket::Promise;
use crate::uid_set::UidSet;

/// The other end of a proposal; dropped without an answer, its caller waits for ever.
#[must_use = "somebody waits for it"]
pub(crate) struct Reply {
    waiting: Waiting,
    /// Kept on this node's disk until the change has come back in the log.
    rooms: Vec<RoomTaken>,
}

enum Waiting {
    Deliveries(usize, Promise<Vec<Result<Appended, CommitError>>>),
    Each(Vec<Answer<Appended>>),
    Appended(Answer<Appended>),
    Copied(Answer<Copied>),
    Flags(Answer<FlagsStored>),
    Expunged(Answer<UidSet>),
    Mailbox(Answer<MailboxId>),
    Position(Answer<Lsn>),
    Undeleted(Answer<Undeleted>),
    Done(Answer<()>),
    Nobody,
}

impl Reply {
    /// Whoever waits for the change; the change, if it is none that is proposed.
    pub(super) fn to(change: Change) -> Result<Reply, Box<Change>> {
        let mut rooms = Vec::new();
        let change = match change {
            Change::Merged(merged) => merged.change,
            change => change,
        };
        let waiting = match change {
            Change::Numbered(NumberedChange::Remove { promise, .. }) => Waiting::Expunged(promise),
            Change::Numbered(NumberedChange::LeaveOut { promise, .. }) => Waiting::Done(promise),
            Change::Deliver { message, recipients, promise, .. } => {
                rooms.extend(room_of(message));
                Waiting::Deliveries(recipients.len(), promise)
            }
            Change::Append { messages, promise, .. } | Change::GiveUp { messages, promise, .. } => {
                rooms.extend(rooms_of(messages));
                Waiting::Appended(promise)
            }
            Change::AppendEach { messages, promises, .. } => {
                rooms.extend(rooms_of(messages));
                Waiting::Each(promises)
            }
            Change::Replace { message, promise, .. } => {
                rooms.extend(room_of(message.sealed));
                Waiting::Appended(promise)
            }
            Change::Transfer { promise, .. } => Waiting::Copied(promise),
            Change::Flags { promise, .. } => Waiting::Flags(promise),
            Change::Expunge { promise, .. } => Waiting::Expunged(promise),
            Change::CreateMailbox { promise, .. } | Change::Stage { promise, .. } => {
                Waiting::Mailbox(promise)
            }
            Change::ChunkAhead { promise, .. } => Waiting::Position(promise),
            Change::RenameMailbox { promise, .. }
            | Change::DeleteMailbox { promise, .. }
            | Change::Subscribe { promise, .. }
            | Change::UpdateAccount { promise, .. }
            | Change::Policy { promise, .. }
            | Change::Sharing { promise, .. }
            | Change::Fence { promise }
            | Change::Retention(
                RetentionChange::Account { promise, .. } | RetentionChange::Volume { promise, .. },
            ) => Waiting::Done(promise),
            Change::Retention(RetentionChange::Undelete { promise, .. }) => {
                Waiting::Undeleted(promise)
            }
            Change::EndAhead { .. } => Waiting::Nobody,
            other => return Err(Box::new(other)),
        };
        Ok(Reply { waiting, rooms })
    }

    /// Answers with what the primary said.
    pub(crate) fn answer(self, outcome: &[u8]) {
        drop(self.rooms);
        match self.waiting {
            Waiting::Deliveries(count, promise) => {
                promise.answer(each(outcome, count));
            }
            Waiting::Each(promises) => {
                let results = each(outcome, promises.len());
                promises.into_iter().zip(results).for_each(|(promise, result)| {
                    promise.answer(result);
                });
            }
            Waiting::Appended(promise) => promise.answer(one(outcome)),
            Waiting::Copied(promise) => promise.answer(one(outcome)),
            Waiting::Flags(promise) => promise.answer(one(outcome)),
            Waiting::Expunged(promise) => promise.answer(one(outcome)),
            Waiting::Mailbox(promise) => promise.answer(one(outcome)),
            Waiting::Position(promise) => promise.answer(one(outcome)),
            Waiting::Undeleted(promise) => promise.answer(one(outcome)),
            Waiting::Done(promise) => promise.answer(one(outcome)),
            Waiting::Nobody => {}
        }
    }

    /// Answers with an error of this node: no answer came, or will be waited for.
    pub(crate) fn refuse(self, error: &CommitError) {
        self.answer(&super::refusal(error));
    }
}

fn room_of(message: SealedMessage) -> Option<RoomTaken> {
    message.room
}

fn rooms_of(messages: Vec<PendingMessage>) -> impl Iterator<Item = RoomTaken> {
    messages.into_iter().filter_map(|message| room_of(message.sealed))
}

fn one<T: Told>(outcome: &[u8]) -> Result<T, CommitError> {
    let read = |from: &mut Decoder<'_>| {
        let result = decode_result(from)?;
        from.end()?;
        Ok(result)
    };
    match begin(outcome) {
        Ok(Outcome::Refused(error)) => Err(error),
        Ok(Outcome::One(mut from)) => read(&mut from).unwrap_or_else(|why| Err(strange(why))),
        Ok(Outcome::List(_)) => Err(strange("it is a list")),
        Err(why) => Err(strange(why)),
    }
}

/// So many results, whatever the bytes are.
fn each(outcome: &[u8], count: usize) -> Vec<Result<Appended, CommitError>> {
    read_each(outcome, count).unwrap_or_else(|why| (0..count).map(|_| Err(strange(why))).collect())
}

fn read_each(outcome: &[u8], count: usize) -> Result<Vec<Result<Appended, CommitError>>, Broken> {
    let mut from = match begin(outcome)? {
        Outcome::Refused(_) => {
            let refused = || match begin(outcome)? {
                Outcome::Refused(error) => Ok(Err(error)),
                _ => Err("it changed"),
            };
            return (0..count).map(|_| refused()).collect();
        }
        Outcome::One(_) => return Err("it is no list"),
        Outcome::List(from) => from,
    };
    let results = from.list(decode_result)?;
    from.end()?;
    if results.len() != count {
        return Err("it has another number of results");
    }
    Ok(results)
}

/// The change may have been made: what is known is that this node does not understand what it was
/// told.
fn strange(why: Broken) -> CommitError {
    CommitError::Primary { words: format!("its answer does not decode: {why}") }
}
