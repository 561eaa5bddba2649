//! Reading an account by requests: its mailboxes, their messages, a message piece by piece.
//!
//! Every answer is small, so that no mailbox and no message is ever held whole. Each request looks
//! at the mailbox as it is then: what was expunged between two of them is gone, what came is there.

use engine::error::ReadError;
use engine::flags::SystemFlags;
use engine::ids::Uid;
use engine::mailbox::{Row, View};
use engine::width::{u64_of, usize_of_u32};
use engine::{Account, Mailbox};

use super::operation::{Answer, MailboxLine, MessageLine};
use crate::failure::Failure;

/// Messages in one answer.
const LIST_MESSAGES_MAX: usize = 512;
/// Bytes of flags after which an answer ends: a message may have a thousand keywords.
const LIST_FLAG_BYTES_MAX: usize = 1 << 20;

/// Every mailbox with its count, and the subscriptions.
pub(super) fn mailboxes(account: &Account) -> Result<Answer, Failure> {
    let listing = account.listing()?;
    let mut mailboxes = Vec::with_capacity(listing.mailboxes.len());
    for entry in &listing.mailboxes {
        // A mailbox that cannot be opened is listed all the same: reading it will say why.
        let view = account.mailbox_by_id(entry.id).and_then(|found| view_of(found.as_ref()));
        let count = view.ok().flatten().map_or(0, |view| u64::from(view.message_count()));
        mailboxes.push(MailboxLine { name: entry.name.clone(), message_count: count });
    }
    Ok(Answer::Mailboxes { mailboxes, subscribed: listing.subscribed.clone() })
}

/// The next messages of a mailbox; none of one that is gone.
pub(super) fn messages(account: &Account, mailbox: &str, from: Uid) -> Result<Answer, Failure> {
    let Some(view) = view_of(account.mailbox(mailbox)?.as_ref())? else {
        return Ok(Answer::Messages { uid_validity: 0, messages: Vec::new() });
    };
    let mut messages = Vec::new();
    let mut flag_bytes = 0;
    for row in view.rows_from(from, LIST_MESSAGES_MAX)? {
        let flags = flag_names(&view, &row);
        flag_bytes += flags.iter().map(String::len).sum::<usize>();
        messages.push(MessageLine {
            uid: row.uid.0,
            flags,
            received: row.received.0,
            message_bytes: u64::from(row.size),
        });
        if flag_bytes > LIST_FLAG_BYTES_MAX {
            break;
        }
    }
    Ok(Answer::Messages { uid_validity: view.uid_validity().0, messages })
}

/// Bytes of a message from `offset` to the end of the chunk that holds it.
pub(super) fn piece(
    account: &Account,
    mailbox: &str,
    uid: Uid,
    offset: u64,
) -> Result<Answer, Failure> {
    let view = view_of(account.mailbox(mailbox)?.as_ref())?;
    let row = view.map_or(Ok(None), |view| view.row(uid))?;
    let Some(row) = row else { return Ok(Answer::Gone) };
    let body = account.message(&row)?.read_from(offset)?.to_vec();
    Ok(Answer::Piece { body_bytes: u64_of(body.len()), body })
}

fn view_of(mailbox: Option<&Mailbox>) -> Result<Option<std::sync::Arc<View>>, ReadError> {
    mailbox.map_or(Ok(None), Mailbox::view)
}

pub(super) fn flag_names(view: &View, row: &Row) -> Vec<String> {
    let system = SystemFlags::ALL.iter().filter(|(flag, _)| row.flags.contains(*flag));
    let keywords = row.keywords.iter().filter_map(|&index| {
        view.keywords().get(usize_of_u32(u32::from(index))).map(|keyword| keyword.as_str())
    });
    system.map(|(_, name)| *name).chain(keywords).map(str::to_owned).collect()
}
