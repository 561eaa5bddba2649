//! APPEND (RFC 3501 section 6.3.11) and MULTIAPPEND (RFC 3502).
//!
//! Messages wait in memory until their command is whole, under the limit per message and under one
//! budget of all connections. What cannot be taken is refused before its literal is sent.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::error::CommitError;
use engine::ids::UnixSeconds;
use engine::uid_set::UidSet;
use engine::width::u64_of;
use engine::{Announcement, NewMessage, Store};
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError};

use super::{Answer, Talk};
use crate::codec::command::AppendMessage;
use crate::codec::grammar;
use crate::codec::mailbox_name::WireName;
use crate::config::budget_units;
use crate::connection::LiteralOffer;
use crate::stream::{Ended, blocking};

/// From this size on a message is prepared where blocking is allowed; for a smaller one the change
/// of threads costs more than it saves the other connections.
const BLOCKING_BYTES_MIN: usize = 64 << 10;

/// The part of the memory budget that a command holds, and its announcement to the store.
#[derive(Default)]
pub(crate) struct AppendPermit {
    permit: Option<OwnedSemaphorePermit>,
    announced: Option<Announcement>,
}

impl AppendPermit {
    fn add(&mut self, more: OwnedSemaphorePermit, store: &Store) {
        self.announced.get_or_insert_with(|| store.announce());
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }

    /// Gives it all back.
    pub(crate) fn release(&mut self) {
        self.permit = None;
        self.announced = None;
    }
}

/// Whether the literal that a client offers is taken; if not, how its command is answered.
pub(crate) fn permit_literal(talk: &mut Talk, offer: LiteralOffer) -> Result<(), Answer> {
    let limits = &talk.session.config.limits;
    let connection = &talk.wire.connection;
    let destination = match talk.session.account {
        Some(_) => grammar::destination(connection.line(), connection.literals()),
        None => None,
    };
    let Some(destination) = destination else {
        let held: usize = connection.literals().iter().map(Vec::len).sum();
        let limit = match talk.session.account {
            Some(_) => limits.literal_bytes_max,
            None => limits.literal_bytes_max_before_login,
        };
        return if u64_of(held).saturating_add(offer.byte_count) <= limit {
            Ok(())
        } else {
            Err(Answer::bad(format!("Literals of this command may have {limit} bytes")))
        };
    };
    let limit = limits.append_bytes_max;
    if offer.byte_count > limit {
        return Err(Answer::no("TOOBIG", format!("A message may have {limit} bytes")));
    }
    talk.mailbox(&destination, Answer::try_create)?;
    let budget = std::sync::Arc::clone(&talk.session.config.append_budget);
    match budget.try_acquire_many_owned(budget_units(offer.byte_count)) {
        Ok(permit) => {
            talk.append_permit.add(permit, &talk.session.store);
            Ok(())
        }
        Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
            Err(Answer::no("LIMIT", "Too many messages are coming in; try again later"))
        }
    }
}

/// APPEND: all messages or none.
pub(super) async fn append(
    talk: &mut Talk,
    name: &WireName,
    messages: Vec<AppendMessage>,
    mut literals: Vec<Vec<u8>>,
) -> Result<Answer, Ended> {
    let (mailbox, _) = match talk.mailbox(name, Answer::try_create) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let mut prepared = Vec::with_capacity(messages.len());
    for message in messages {
        let bytes = literals.get_mut(message.literal).map(std::mem::take).unwrap_or_default();
        match prepare(talk, message, &bytes) {
            Ok(message) => prepared.push(message),
            Err(answer) => return Ok(answer),
        }
    }
    Ok(match mailbox.append(prepared).await {
        Ok(appended) => {
            let uids: UidSet = appended.uids.iter().copied().collect();
            let code = format!("APPENDUID {} {uids}", appended.uid_validity.0);
            Answer::ok_code(code, "Appended")
        }
        Err(CommitError::NoSuchMailbox) => Answer::try_create(),
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

fn prepare(talk: &Talk, message: AppendMessage, bytes: &[u8]) -> Result<NewMessage, Answer> {
    if bytes.is_empty() {
        // RFC 3502 section 6.3.11: an empty literal gives the whole command up.
        return Err(Answer::no("CANNOT", "A message is empty; nothing was appended"));
    }
    if bytes.contains(&0) {
        return Err(Answer::bad("A message holds NUL; nothing was appended"));
    }
    let account = talk.account()?;
    let prepare = || talk.session.store.prepare(bytes, &[account.number()]);
    let prepared = if bytes.len() < BLOCKING_BYTES_MIN { prepare() } else { blocking(prepare) };
    let prepared = prepared.map_err(|error| Answer::refused(&talk.session, &error))?;
    let received = message.received.unwrap_or_else(now);
    Ok(NewMessage { prepared, flags: message.flags, received })
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(since).unwrap_or(0))
}
