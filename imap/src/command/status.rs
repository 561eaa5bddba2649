//! STATUS (RFC 3501 section 6.3.10, RFC 7889, 8438, 8474, 9208), also for LIST … RETURN (STATUS …).

use engine::error::ReadError;
use engine::flags::SystemFlags;
use engine::mailbox::{Condition, Sifting, View};

use super::{Answer, Talk};
use crate::codec::command::StatusItem;
use crate::codec::mailbox_name::{NameEncoding, WireName};
use crate::codec::put;
use crate::stream::blocking;

/// STATUS
pub(super) fn status(talk: &mut Talk, name: &WireName, items: &[StatusItem]) -> Answer {
    let (mailbox, name) = match talk.mailbox(name, Answer::no_mailbox) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    match mailbox.view() {
        Ok(Some(view)) => {
            if items.contains(&StatusItem::HighestModSeq) {
                talk.enable_condstore();
            }
            let append_bytes_max = talk.session.config.limits.append_bytes_max;
            let (names, out) = (talk.session.dialect.names(), &mut talk.wire.out);
            let of = (&*view, append_bytes_max);
            let mut put = || put_status(out, (&name, names), of, items);
            // Everything else is in the view, which is in memory.
            let reads = items.contains(&StatusItem::DeletedStorage);
            match if reads { blocking(put) } else { put() } {
                Ok(()) => Answer::ok("Status told"),
                Err(error) => Answer::unreadable(&talk.session, &error),
            }
        }
        Ok(None) => Answer::no_mailbox(),
        Err(error) => Answer::unreadable(&talk.session, &error),
    }
}

/// `* STATUS name (item value …)`
pub(super) fn put_status(
    out: &mut Vec<u8>,
    (name, names): (&str, NameEncoding),
    (view, append_bytes_max): (&View, u64),
    items: &[StatusItem],
) -> Result<(), ReadError> {
    let deleted_bytes = match items.contains(&StatusItem::DeletedStorage) {
        true => deleted_bytes(view)?,
        false => 0,
    };
    out.extend_from_slice(b"* STATUS ");
    put::mailbox(out, name, names);
    out.extend_from_slice(b" (");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(item.name().as_bytes());
        out.push(b' ');
        let value = match item {
            StatusItem::Messages => u64::from(view.message_count()),
            StatusItem::Recent => 0,
            // A mailbox without UIDs left takes no mail, so none will have this one.
            StatusItem::UidNext => u64::from(view.uid_next().map_or(u32::MAX, |uid| uid.0)),
            StatusItem::UidValidity => u64::from(view.uid_validity().0),
            StatusItem::Unseen => u64::from(view.unseen_count()),
            StatusItem::Deleted => u64::from(view.deleted_count()),
            StatusItem::DeletedStorage => deleted_bytes,
            StatusItem::Size => view.message_bytes(),
            StatusItem::HighestModSeq => view.highest_modseq().bits(),
            StatusItem::AppendLimit => append_bytes_max,
            StatusItem::MailboxId => {
                out.extend_from_slice(format!("({})", view.mailbox()).as_bytes());
                continue;
            }
        };
        put::number(out, value);
    }
    out.extend_from_slice(b")\r\n");
    Ok(())
}

/// Bytes of messages that an EXPUNGE would remove (RFC 9208 section 4.1.4): counted only where
/// there are any.
fn deleted_bytes(view: &View) -> Result<u64, ReadError> {
    let mut bytes = 0;
    let deleted = Condition::Flags(SystemFlags::DELETED);
    let mut sifting = Sifting::new(&deleted, (1, u32::MAX));
    while let Some(found) = sifting.next(view)? {
        let sizes = found.into_rows(view)?;
        let sizes = sizes.iter().flat_map(|rows| rows.iter().map(|(_, row)| row.size()));
        bytes += sizes.map(u64::from).sum::<u64>();
    }
    Ok(bytes)
}
