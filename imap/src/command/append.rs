//! APPEND (RFC 3501 section 6.3.11) with MULTIAPPEND (RFC 3502).
//!
//! Until their command is whole, messages wait: up to 1 MiB in memory, under one budget of all
//! connections; larger ones in the sealed spool, but for their last block. They are read back when
//! another budget has room for all of the command. What cannot be taken is refused before its
//! literal is sent, if it is not the disk that fails.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::error::{CommitError, ReadError};
use engine::ids::UnixSeconds;
use engine::uid_set::UidSet;
use engine::width::{u64_of, usize_of, usize_of_u32};
use engine::{Announcement, NewMessage, SpoolFile, Store};
use tokio::sync::OwnedSemaphorePermit;

use super::catenate::Draft;
use super::metadata::value_too_long;
use super::place::Found;
use super::rights::{Deed, permitted};
use super::{Answer, Talk, notify};
use crate::codec::command::AppendMessage;
use crate::codec::grammar;
use crate::codec::mailbox_name::WireName;
use crate::config::budget_units;
use crate::connection::LiteralOffer;
use crate::stream::{Ended, blocking};

/// From this size on a message is prepared where blocking is allowed; for a smaller one the change
/// of threads costs more than it saves the other connections.
const BLOCKING_BYTES_MIN: usize = 64 << 10;

/// Larger messages are spooled.
const KEPT_IN_MEMORY_BYTES_MAX: u64 = 1 << 20;
/// What a spooled message takes in memory as it arrives: a block, and what was read with its end.
const SPOOLING_BYTES: u64 = 128 << 10;

/// What the literals of an APPEND in progress take, and its announcement to the store.
#[derive(Default)]
pub(crate) struct Incoming {
    permit: Option<OwnedSemaphorePermit>,
    announced: Option<Announcement>,
    spooled: Vec<Spooled>,
    /// Of all messages of the command.
    byte_count: u64,
}

/// The first blocks of a literal.
struct Spooled {
    /// Which of the command's literals.
    literal: usize,
    file: SpoolFile,
    block_count: usize,
    byte_count: u64,
}

impl Incoming {
    fn add(&mut self, more: OwnedSemaphorePermit, store: &Store) {
        self.announced.get_or_insert_with(|| store.announce());
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }

    /// Gives it all back.
    pub(crate) fn release(&mut self) {
        *self = Incoming::default();
    }

    fn spooled(&self, literal: usize) -> Option<&Spooled> {
        self.spooled.iter().find(|spooled| spooled.literal == literal)
    }

    /// Bytes of a literal that is in the spool; `None` if it is in memory.
    pub(super) fn spooled_byte_count(&self, literal: usize) -> Option<u64> {
        self.spooled(literal).map(|spooled| spooled.byte_count)
    }

    /// All of a literal, of which `held` is in memory.
    pub(super) fn read(&self, literal: usize, held: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        match self.spooled(literal) {
            Some(spooled) => spooled.read(&held),
            None => Ok(held),
        }
    }
}

impl Spooled {
    /// The whole message; `tail` is what the spool does not have.
    fn read(&self, tail: &[u8]) -> Result<Vec<u8>, ReadError> {
        let mut message = Vec::with_capacity(usize_of(self.byte_count));
        for block in 0..self.block_count {
            self.file.read_block(block, &mut message)?;
        }
        message.extend_from_slice(tail);
        Ok(message)
    }
}

/// Whether the literal that a client offers is taken; if not, how its command is answered.
pub(crate) fn permit_literal(talk: &mut Talk, offer: LiteralOffer) -> Result<(), Answer> {
    let limits = &talk.session.config.limits;
    let connection = &talk.wire.connection;
    let destination = match talk.session.account {
        Some(_) => {
            let names = talk.session.dialect.names();
            grammar::destination(connection.line(), connection.literals(), names)
        }
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
        } else if grammar::name_of(connection.line()).is_some_and(|name| name == "SETMETADATA") {
            Err(value_too_long())
        } else {
            Err(Answer::bad(format!("Literals of this command may have {limit} bytes")))
        };
    };
    let limit = limits.append_bytes_max;
    if offer.byte_count > limit {
        return Err(Answer::no("TOOBIG", format!("A message may have {limit} bytes")));
    }
    let held = talk.incoming.byte_count.saturating_add(offer.byte_count);
    if held > limits.append_budget_bytes {
        return Err(Answer::no("LIMIT", "The messages of this command are too many"));
    }
    talk.find(&destination, Deed::Insert, Answer::try_create)?;
    let is_large = offer.byte_count > KEPT_IN_MEMORY_BYTES_MAX;
    let in_memory = if is_large { SPOOLING_BYTES } else { offer.byte_count };
    let budget = Arc::clone(&talk.session.config.append_budget);
    let Ok(permit) = budget.try_acquire_many_owned(budget_units(in_memory)) else {
        return Err(Answer::no("LIMIT", "Too many messages are coming in; try again later"));
    };
    talk.incoming.add(permit, &talk.session.store);
    talk.incoming.byte_count = held;
    if is_large {
        let literal = talk.wire.connection.literals().len();
        let store = &talk.session.store;
        let refused = |error| Answer::refused(&talk.session, &error);
        let file = blocking(|| store.spool()).map_err(refused)?;
        let byte_count = offer.byte_count;
        talk.incoming.spooled.push(Spooled { literal, file, block_count: 0, byte_count });
    }
    Ok(())
}

/// Moves what has come of a large literal into the spool.
pub(crate) fn spool_literal(talk: &mut Talk) -> Result<(), Answer> {
    let Some(spooled) = talk.incoming.spooled.last_mut() else { return Ok(()) };
    let connection = &mut talk.wire.connection;
    if connection.literals().len() != spooled.literal + 1 {
        return Ok(());
    }
    while let Some(block) = connection.take_block(SpoolFile::BLOCK_BYTES) {
        let refused = |error| Answer::refused(&talk.session, &error);
        blocking(|| spooled.file.write_block(&block)).map_err(refused)?;
        spooled.block_count += 1;
    }
    Ok(())
}

/// APPEND: all messages or none.
pub(super) async fn append(
    talk: &mut Talk,
    name: &WireName,
    messages: Vec<AppendMessage>,
    literals: Vec<Vec<u8>>,
) -> Result<Answer, Ended> {
    let found = match talk.find(name, Deed::Insert, Answer::try_create) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let (drafts, _budget) = match drafts(talk, messages, &literals).await {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let prepared = match prepare_all(talk, &found, drafts, literals) {
        Ok(prepared) => prepared,
        Err(answer) => return Ok(answer),
    };
    Ok(match found.mailbox.append(prepared).await {
        Ok(appended) => {
            let deed = notify::Own::appended(found.mailbox.id(), &appended);
            notify::note(&mut talk.session, deed);
            let uids: UidSet = appended.uids.iter().copied().collect();
            let code = format!("APPENDUID {} {uids}", appended.uid_validity.0);
            Answer::ok_code(code, "Appended")
        }
        Err(CommitError::NoSuchMailbox) => Answer::try_create(),
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// Finds all parts of all messages, and takes what reading them needs of the budget. That is held
/// until the messages are stored; taken all at once, so that nobody waits who has a part of it.
pub(super) async fn drafts(
    talk: &Talk,
    messages: Vec<AppendMessage>,
    literals: &[Vec<u8>],
) -> Result<(Vec<Draft>, Option<OwnedSemaphorePermit>), Answer> {
    if let Some(limit) = talk.save_limit()
        && messages.len() > usize_of_u32(limit)
    {
        let code = format!("MESSAGELIMIT {limit}");
        let sentence = format!("These are more than {limit} messages; nothing was appended");
        return Err(Answer::no(code, sentence));
    }
    let find = |message| Draft::find(talk, message, literals);
    let drafts = messages.into_iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let config = &talk.session.config;
    let to_read: u64 = drafts.iter().map(|draft| draft.bytes_to_read(talk)).sum();
    if to_read > config.limits.append_budget_bytes {
        return Err(Answer::no("LIMIT", "The messages of this command are too many"));
    }
    let units_max = budget_units(config.limits.append_budget_bytes);
    let budget = match budget_units(to_read).min(units_max) {
        0 => None,
        units => Arc::clone(&config.spooled_budget).acquire_many_owned(units).await.ok(),
    };
    Ok((drafts, budget))
}

/// Reads and prepares messages, one at a time.
pub(super) fn prepare_all(
    talk: &Talk,
    found: &Found,
    drafts: Vec<Draft>,
    mut literals: Vec<Vec<u8>>,
) -> Result<Vec<NewMessage>, Answer> {
    let prepare = |draft: Draft| {
        let bytes = draft.read(talk, &mut literals)?;
        prepare(talk, found, draft, &bytes)
    };
    drafts.into_iter().map(prepare).collect()
}

fn prepare(talk: &Talk, found: &Found, draft: Draft, bytes: &[u8]) -> Result<NewMessage, Answer> {
    if bytes.is_empty() {
        // RFC 3502 section 6.3.11: an empty literal gives the whole command up.
        return Err(Answer::no("CANNOT", "A message is empty; nothing was appended"));
    }
    let account = found.place.owner.number();
    let prepare = || talk.session.store.prepare(bytes, &[account]);
    let prepared = if bytes.len() < BLOCKING_BYTES_MIN { prepare() } else { blocking(prepare) };
    let prepared = prepared.map_err(|error| Answer::refused(&talk.session, &error))?;
    let received = draft.received.unwrap_or_else(now);
    Ok(NewMessage { prepared, flags: permitted(found.rights, draft.flags), received })
}

fn now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixSeconds(i64::try_from(since).unwrap_or(0))
}
