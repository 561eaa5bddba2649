//! FETCH of what columns hold: flags, UIDs, MODSEQs, sizes and dates, without a copy of a row.
//!
//! Clients ask for these of whole mailboxes.

use engine::error::ReadError;
use engine::ids::{Uid, UnixSeconds};
use engine::mailbox::RowRef;
use engine::uid_set::UidSet;

use super::Plan;
use crate::codec::command::FetchItem;
use crate::codec::{date, put};
use crate::command::Talk;
use crate::session::{FlagsText, Telling, put_head, put_modseq};
use crate::stream::Ended;

/// Whether a plan asks for nothing else.
pub(super) fn answer(plan: &Plan) -> bool {
    use FetchItem::{Flags, InternalDate, ModSeq, Size, Uid};
    plan.items.iter().all(|item| matches!(item, Flags | Uid | ModSeq | Size | InternalDate))
}

/// Answers all these messages.
pub(super) async fn fetch(
    talk: &mut Talk,
    plan: &Plan,
    uids: &UidSet,
) -> Result<Result<(), ReadError>, Ended> {
    let Talk { session, wire, .. } = talk;
    let Some(selected) = &session.selected else { return Ok(Ok(())) };
    let mut flags = FlagsText::default();
    let put = |out: &mut Vec<u8>, rank: u32, row: RowRef<'_>| {
        put_head(out, session.dialect, selected.number_at(rank, row.uid()), row.uid());
        for (index, item) in plan.items.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            match item {
                FetchItem::Flags => flags.put(out, row, selected.view.keywords()),
                FetchItem::Uid => put_uid(out, row.uid()),
                FetchItem::Size => put_size(out, row.size()),
                FetchItem::InternalDate => put_received(out, row.received()),
                FetchItem::ModSeq => put_modseq(out, selected.history.told(row.modseq())),
                _ => {}
            }
        }
        out.extend_from_slice(b")\r\n");
        Ok(())
    };
    Telling::of(uids).finish(&selected.view, wire, put).await
}

/// `UID u`
pub(super) fn put_uid(out: &mut Vec<u8>, uid: Uid) {
    out.extend_from_slice(b"UID ");
    put::number(out, u64::from(uid.0));
}

/// `RFC822.SIZE n`
pub(super) fn put_size(out: &mut Vec<u8>, size: u32) {
    out.extend_from_slice(b"RFC822.SIZE ");
    put::number(out, u64::from(size));
}

/// `INTERNALDATE "…"`
pub(super) fn put_received(out: &mut Vec<u8>, received: UnixSeconds) {
    out.extend_from_slice(b"INTERNALDATE ");
    date::put_date_time(out, received);
}
