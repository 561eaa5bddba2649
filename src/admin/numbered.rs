//! Mail that brings its numbers along (`engine/src/store/numbered.rs`), by requests.
//!
//! Whoever brings mail says in every request which UIDVALIDITY it takes the mailbox to have: a
//! mailbox that was renamed or made anew in between is another one. UIDs are ranges as IMAP writes
//! them (`1:3,7`).

use std::sync::Arc;

use engine::error::CommitError;
use engine::flags::FlagChange;
use engine::ids::{Lsn, Uid, UidValidity, UnixSeconds};
use engine::mailbox::View;
use engine::uid_set::UidSet;
use engine::{Account, Mailbox, MetadataScope, NewMessage, Standing, Store};
use imap::codec::grammar::SPECIAL_USES;
use serde::{Deserialize, Serialize};

use super::beside;
use super::operation::{Answer, Begun, find_account, flag_list};
use super::reading::flag_names;
use super::together::Together;
use crate::failure::{Exit, Failure};

/// Messages in one answer.
const LIST_MESSAGES_MAX: usize = 1024;
/// Bytes of flags after which an answer ends.
const LIST_FLAG_BYTES_MAX: usize = 1 << 20;
/// The entry of metadata, private to the account, in which an import keeps what it remembers of a
/// mailbox, and of the account itself.
const REMEMBERED: &str = "/vendor/pillarbox/import";

/// A request about mail that brings its numbers along.
#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum NumberedRequest {
    /// All mailboxes with their numbers.
    List { account: String },
    /// A mailbox with that UIDVALIDITY, in the place of one that was never used (`empty`: or that
    /// has no message).
    Create {
        account: String,
        mailbox: String,
        uid_validity: u32,
        special_use: Option<String>,
        empty: bool,
    },
    /// Appends the body under that UID; may wait for others like it.
    Append {
        account: String,
        mailbox: String,
        uid_validity: u32,
        next: u32,
        uid: u32,
        flags: Vec<String>,
        received: i64,
        body_bytes: u64,
    },
    /// UIDs below `next` were given elsewhere.
    LeaveOut { account: String, mailbox: String, uid_validity: u32, expected: u32, next: u32 },
    /// Sets flags, but of messages that changed after a MODSEQ.
    Flags {
        account: String,
        mailbox: String,
        uid_validity: u32,
        uids: String,
        flags: Vec<String>,
        unchanged_since: u64,
    },
    /// Removes messages.
    Remove { account: String, mailbox: String, uid_validity: u32, uids: String },
    /// Moves messages into a mailbox, which is made if there is none of that name.
    Aside { account: String, mailbox: String, uid_validity: u32, uids: String, to: String },
    /// Gives a mailbox, with all below it, another name.
    Rename { account: String, from: String, to: String },
    /// Deletes a mailbox.
    Delete { account: String, mailbox: String, uid_validity: u32 },
    /// Some of a mailbox's messages, from a UID on.
    Messages { account: String, mailbox: String, uid_validity: u32, from_uid: u32 },
    /// What came or changed after a MODSEQ.
    Changed { account: String, mailbox: String, uid_validity: u32, since: u64 },
    /// Keeps what an import remembers of a mailbox, or of the account itself.
    Remember { account: String, mailbox: Option<String>, text: String },
}

impl NumberedRequest {
    /// Whether it only reads.
    pub(super) fn is_reading(&self) -> bool {
        matches!(
            self,
            NumberedRequest::List { .. }
                | NumberedRequest::Messages { .. }
                | NumberedRequest::Changed { .. }
        )
    }

    /// Bytes that follow the request's line.
    pub(super) fn body_bytes(&self) -> u64 {
        match self {
            NumberedRequest::Append { body_bytes, .. } => *body_bytes,
            _ => 0,
        }
    }
}

/// An answer to one.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum NumberedAnswer {
    /// The account's mailboxes.
    List {
        mailboxes: Vec<NumberedMailbox>,
        subscribed: Vec<String>,
        /// Of the account itself.
        remembered: Option<String>,
    },
    /// Messages by ascending UID; none when there are no more.
    Messages { messages: Vec<NumberedMessage> },
    /// The mailbox's MODSEQ, and the messages above the one that was asked for.
    Changed { modseq: u64, uids: String },
    /// Messages whose flags were left alone, because they changed in between.
    LeftAlone { uids: String },
}

/// A mailbox with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberedMailbox {
    /// Full name, levels by `/`.
    pub(crate) name: String,
    /// UIDVALIDITY.
    pub(crate) uid_validity: u32,
    /// UIDNEXT; 2^32 if no UID is left.
    pub(crate) uid_next: u64,
    /// HIGHESTMODSEQ.
    pub(crate) modseq: u64,
    /// Messages in it.
    pub(crate) message_count: u32,
    /// Whether it never had a message.
    pub(crate) is_unused: bool,
    /// Such as `\Sent`.
    pub(crate) special_use: Option<String>,
    /// What an import keeps here.
    pub(crate) remembered: Option<String>,
}

/// A message with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NumberedMessage {
    /// UID.
    pub(crate) uid: u32,
    /// Flags and keywords by their IMAP names.
    pub(crate) flags: Vec<String>,
    /// INTERNALDATE in seconds since 1970 UTC.
    pub(crate) received: i64,
    /// Bytes as stored.
    pub(crate) message_bytes: u64,
    /// MODSEQ.
    pub(crate) modseq: u64,
}

/// Begins an append, which waits for others like it.
pub(super) fn hold(
    store: &Store,
    together: &mut Together,
    request: &NumberedRequest,
    body: &[u8],
) -> Result<Begun, Failure> {
    let NumberedRequest::Append {
        account, mailbox, uid_validity, next, uid, flags, received, ..
    } = request
    else {
        return Ok(Begun::Answered(Answer::Done));
    };
    let account = find_account(store, account)?;
    let mailbox = open(&account, mailbox, *uid_validity)?;
    let prepared = store.prepare(body, &[account.number()]).map_err(|error| match error {
        // It is not taken however often it is sent.
        error @ CommitError::TooLarge { .. } => Failure::new(Exit::Usage, error.to_string()),
        error => error.into(),
    })?;
    let (flags, received) = (flag_list(flags), UnixSeconds(*received));
    let message = NewMessage { prepared, flags, received };
    Ok(Begun::Held(together.hold_numbered(mailbox, (Uid(*next), Uid(*uid)), message)))
}

/// Answers any other.
pub(super) fn answer(store: &Store, request: NumberedRequest) -> Result<Answer, Failure> {
    let find = |name: &str| find_account(store, name);
    match request {
        NumberedRequest::List { account } => return list(&find(&account)?),
        NumberedRequest::Create { account, mailbox, uid_validity, special_use, empty } => {
            let account = find(&account)?;
            let office = special_use.as_deref().and_then(beside::special_use);
            let office = office.filter(|office| is_free(&account, &mailbox, *office));
            let standing = if empty { Standing::Empty } else { Standing::Unused };
            let number = UidValidity(uid_validity);
            account.create_numbered(&mailbox, number, office, standing).wait()?;
        }
        NumberedRequest::Append { .. } => {}
        NumberedRequest::LeaveOut { account, mailbox, uid_validity, expected, next } => {
            let mailbox = open(&find(&account)?, &mailbox, uid_validity)?;
            mailbox.leave_out(Uid(expected), Uid(next)).wait()?;
        }
        NumberedRequest::Flags { account, mailbox, uid_validity, uids, flags, unchanged_since } => {
            let mailbox = open(&find(&account)?, &mailbox, uid_validity)?;
            let (uids, flags) = (uids_of(&uids)?, flag_list(&flags));
            let since = Lsn::from_bits(unchanged_since);
            let stored = mailbox.store_flags(&uids, FlagChange::Replace, &flags, since).wait()?;
            let uids = ranges_of(&stored.modified);
            return Ok(Answer::Numbered { found: NumberedAnswer::LeftAlone { uids } });
        }
        NumberedRequest::Remove { account, mailbox, uid_validity, uids } => {
            let mailbox = open(&find(&account)?, &mailbox, uid_validity)?;
            mailbox.remove(&uids_of(&uids)?).wait()?;
        }
        other => return answer_rest(store, other),
    }
    Ok(Answer::Done)
}

fn answer_rest(store: &Store, request: NumberedRequest) -> Result<Answer, Failure> {
    let find = |name: &str| find_account(store, name);
    match request {
        NumberedRequest::Aside { account, mailbox, uid_validity, uids, to } => {
            let account = find(&account)?;
            let mailbox = open(&account, &mailbox, uid_validity)?;
            match account.create_mailbox(&to, None).wait() {
                Ok(_) | Err(CommitError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            let to = account.mailbox(&to)?.ok_or(CommitError::NoSuchMailbox)?;
            mailbox.move_to(&uids_of(&uids)?, &to).wait()?;
        }
        NumberedRequest::Rename { account, from, to } => {
            find(&account)?.rename_mailbox(&from, &to).wait()?;
        }
        NumberedRequest::Delete { account, mailbox, uid_validity } => {
            let account = find(&account)?;
            open(&account, &mailbox, uid_validity)?;
            account.delete_mailbox(&mailbox).wait()?;
        }
        NumberedRequest::Messages { account, mailbox, uid_validity, from_uid } => {
            let mailbox = open(&find(&account)?, &mailbox, uid_validity)?;
            return messages(&mailbox, Uid(from_uid));
        }
        NumberedRequest::Changed { account, mailbox, uid_validity, since } => {
            let mailbox = open(&find(&account)?, &mailbox, uid_validity)?;
            let view = view_of(&mailbox)?;
            let since = Lsn::from_bits(since).unwrap_or(Lsn::ZERO);
            let uids = ranges_of(&mailbox.changed_after(&view, since)?);
            let modseq = view.highest_modseq().bits();
            return Ok(Answer::Numbered { found: NumberedAnswer::Changed { modseq, uids } });
        }
        NumberedRequest::Remember { account, mailbox, text } => {
            let name = format!("/private{REMEMBERED}");
            beside::set_entry(&find(&account)?, mailbox.as_deref(), (&name, &text))?;
        }
        _ => {}
    }
    Ok(Answer::Done)
}

/// Whether the use is nobody's: an empty mailbox that an account has for it from its first day
/// takes the name, if nothing is in the way.
fn is_free(account: &Account, mailbox: &str, office: engine::SpecialUse) -> bool {
    let Ok(listing) = account.listing() else { return false };
    let holder = listing.mailboxes.iter().find(|entry| entry.special_use == Some(office));
    match holder {
        None => true,
        Some(holder) if holder.name == mailbox => true,
        Some(_) => beside::give_use(account, mailbox, office).is_ok(),
    }
}

fn list(account: &Account) -> Result<Answer, Failure> {
    let listing = account.listing()?;
    let remembered = |id| {
        let entries = account.metadata(id, account.number()).into_iter();
        let mut entries = entries.filter(|entry| entry.name == REMEMBERED);
        let own = entries.find(|entry| entry.scope == MetadataScope::Private(account.number()));
        own.and_then(|entry| String::from_utf8(entry.value).ok())
    };
    let mut mailboxes = Vec::with_capacity(listing.mailboxes.len());
    for entry in &listing.mailboxes {
        let Some(mailbox) = account.mailbox_by_id(entry.id)? else { continue };
        let Some(view) = mailbox.view()? else { continue };
        let office = SPECIAL_USES.iter().find(|(known, _)| Some(*known) == entry.special_use);
        mailboxes.push(NumberedMailbox {
            name: entry.name.clone(),
            uid_validity: view.uid_validity().0,
            uid_next: view.uid_next().map_or(1 << 32, |uid| u64::from(uid.0)),
            modseq: view.highest_modseq().bits(),
            message_count: view.message_count(),
            is_unused: view.is_unused(),
            special_use: office.map(|(_, name)| format!("\\{name}")),
            remembered: remembered(Some(entry.id)),
        });
    }
    let subscribed = listing.subscribed.clone();
    let found = NumberedAnswer::List { mailboxes, subscribed, remembered: remembered(None) };
    Ok(Answer::Numbered { found })
}

fn messages(mailbox: &Mailbox, from: Uid) -> Result<Answer, Failure> {
    let view = view_of(mailbox)?;
    let mut messages = Vec::new();
    let mut flag_bytes = 0;
    for row in view.rows_from(from, LIST_MESSAGES_MAX)? {
        let flags = flag_names(&view, &row);
        flag_bytes += flags.iter().map(String::len).sum::<usize>();
        messages.push(NumberedMessage {
            uid: row.uid.0,
            flags,
            received: row.received.0,
            message_bytes: u64::from(row.size),
            modseq: row.modseq.bits(),
        });
        if flag_bytes > LIST_FLAG_BYTES_MAX {
            break;
        }
    }
    Ok(Answer::Numbered { found: NumberedAnswer::Messages { messages } })
}

/// The mailbox of that name, if it is the one that is meant.
fn open(account: &Account, name: &str, uid_validity: u32) -> Result<Mailbox, Failure> {
    let mailbox = account.mailbox(name)?.ok_or(CommitError::NoSuchMailbox)?;
    is_the_one(&mailbox, uid_validity)?;
    Ok(mailbox)
}

fn is_the_one(mailbox: &Mailbox, uid_validity: u32) -> Result<(), Failure> {
    if view_of(mailbox)?.uid_validity().0 == uid_validity {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "the mailbox was renamed or made anew in between"))
}

fn view_of(mailbox: &Mailbox) -> Result<Arc<View>, Failure> {
    Ok(mailbox.view()?.ok_or(CommitError::NoSuchMailbox)?)
}

/// A set of UIDs as it is written.
pub(crate) fn ranges_of(uids: &UidSet) -> String {
    let mut text = String::with_capacity(uids.ranges().len() * 8);
    for (first, last) in uids.ranges() {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&first.to_string());
        if last > first {
            text.push(':');
            text.push_str(&last.to_string());
        }
    }
    text
}

/// A set of UIDs from what is written; `None` if that is none.
pub(crate) fn set_of(text: &str) -> Option<UidSet> {
    let ranges = text.split(',').filter(|range| !range.is_empty()).map(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        Some((first.parse::<u32>().ok()?, last.parse::<u32>().ok()?))
    });
    ranges.collect::<Option<Vec<_>>>().map(UidSet::from_ranges)
}

fn uids_of(text: &str) -> Result<UidSet, Failure> {
    set_of(text).ok_or_else(|| Failure::new(Exit::Usage, format!("{text} is no set of UIDs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_uids_read_back_as_written() {
        for text in ["", "7", "1:3,7", "1:4294967295"] {
            assert_eq!(ranges_of(&set_of(text).unwrap()), text);
        }
        assert_eq!(ranges_of(&set_of("7,3:1,4").unwrap()), "1:4,7");
        for text in ["*", "1:*", "a", "1:2:3", "4294967296", "-1"] {
            assert!(set_of(text).is_none(), "{text}");
        }
    }
}
