//! STATUS (RFC 3501 section 6.3.10, RFC 7889, 8438, 8474), also for LIST … RETURN (STATUS …).

use engine::mailbox::View;

use super::{Answer, Talk};
use crate::codec::command::StatusItem;
use crate::codec::mailbox_name::WireName;
use crate::codec::put;
use crate::stream::blocking;

/// STATUS
pub(super) fn status(talk: &mut Talk, name: &WireName, items: &[StatusItem]) -> Answer {
    let (mailbox, name) = match talk.mailbox(name, Answer::no_mailbox) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    match blocking(|| mailbox.view()) {
        Ok(Some(view)) => {
            let append_bytes_max = talk.session.config.limits.append_bytes_max;
            put_status(&mut talk.wire.out, &name, (&view, append_bytes_max), items);
            Answer::ok("Status told")
        }
        Ok(None) => Answer::no_mailbox(),
        Err(error) => Answer::unreadable(&talk.session, &error),
    }
}

/// `* STATUS name (item value …)`
pub(super) fn put_status(
    out: &mut Vec<u8>,
    name: &str,
    (view, append_bytes_max): (&View, u64),
    items: &[StatusItem],
) {
    out.extend_from_slice(b"* STATUS ");
    put::mailbox(out, name);
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
}
