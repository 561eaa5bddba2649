//! What a client that comes back has missed: SELECT with QRESYNC (RFC 7162 section 3.2.5), and
//! FETCH with CHANGEDSINCE and VANISHED (section 3.2.6).

use engine::error::ReadError;
use engine::ids::{Lsn, Uid};
use engine::mailbox::RowRef;
use engine::uid_set::UidSet;

use super::dialect::Dialect;
use super::news::{FlagsText, put_flags, put_vanished};
use super::selected::Selected;
use super::telling::Telling;
use crate::codec::SequenceSet;
use crate::codec::command::Resync;
use crate::stream::{Ended, Wire, blocking};

/// Pairs of number and UID that are looked at; clients send some dozens.
const MATCHES_MAX: usize = 4096;

/// What changed after `modseq` among `uids`.
pub(crate) fn changed(
    selected: &Selected,
    modseq: Lsn,
    uids: &UidSet,
) -> Result<UidSet, ReadError> {
    Ok(selected.mailbox.changed_after(&selected.view, modseq)?.intersection(uids))
}

/// What went after `modseq` of `uids`, and maybe some that never were; where that is not known in
/// detail, above `matched`, up to which the client knows it.
pub(crate) fn vanished(
    selected: &Selected,
    modseq: Lsn,
    uids: &UidSet,
    matched: Option<Uid>,
) -> Result<UidSet, ReadError> {
    if let Some(vanished) = selected.mailbox.vanished_after(&selected.view, modseq)? {
        return Ok(vanished.intersection(uids));
    }
    // Only of UIDs that were ever given.
    let last = selected.view.uid_next().map_or(u32::MAX, |next| next.0.saturating_sub(1));
    let first = matched.map_or(1, |uid| uid.0.saturating_add(1));
    let given = UidSet::from_ranges((first <= last).then_some((first, last)));
    let asked = given.intersection(uids);
    Ok(asked.without(&selected.view.existing(&asked)?))
}

/// Tells what a client missed that selects with QRESYNC; nothing if its UIDs are not ours.
pub(crate) async fn resynchronize(
    selected: &Selected,
    wire: &mut Wire,
    dialect: Dialect,
    resync: &Resync,
) -> Result<Result<(), ReadError>, Ended> {
    if resync.uid_validity != selected.view.uid_validity().0 {
        return Ok(Ok(()));
    }
    let known = match &resync.known_uids {
        Some(known) => resolved(known),
        None => UidSet::from_ranges([(1, u32::MAX)]),
    };
    let found = blocking(|| {
        let matched = matched(selected, resync)?;
        let vanished = vanished(selected, resync.modseq, &known, matched)?;
        Ok((vanished, changed(selected, resync.modseq, &known)?))
    });
    let (vanished, changed) = match found {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    put_vanished(wire, "(EARLIER) ", &vanished).await?;
    let telling = Telling::of(&changed);
    let mut text = FlagsText::default();
    let put = |out: &mut Vec<u8>, rank: u32, row: RowRef<'_>| {
        let number = selected.number_at(rank, row.uid());
        put_flags(out, dialect, number, row, Some(&mut text), selected);
        Ok(())
    };
    telling.finish(&selected.view, wire, put).await
}

/// The last UID of the pairs of number and UID that still belong together: what went, went above
/// it (RFC 7162 section 3.2.5.2).
fn matched(selected: &Selected, resync: &Resync) -> Result<Option<Uid>, ReadError> {
    let Some((numbers, uids)) = &resync.matches else { return Ok(None) };
    let mut last = None;
    for (number, uid) in each(numbers).zip(each(uids)).take(MATCHES_MAX) {
        if selected.view.uid_at(number.saturating_sub(1))? != Some(Uid(uid)) {
            break;
        }
        last = Some(Uid(uid));
    }
    Ok(last)
}

/// Every number of a set, in its order; `*` is none.
fn each(set: &SequenceSet) -> impl Iterator<Item = u32> + '_ {
    set.resolve(0).flat_map(|(first, last)| first..=last)
}

/// A set that has no `*`.
fn resolved(set: &SequenceSet) -> UidSet {
    UidSet::from_ranges(set.resolve(u32::MAX))
}
