//! Searches whose results are kept current: RETURN (UPDATE) of SEARCH and SORT (RFC 5267).
//!
//! ```text
//! * ESEARCH (TAG "b1") UID ADDTO (0 32768:32769)       SEARCH: wherever the order of UIDs says
//! * ESEARCH (TAG "b1") UID REMOVEFROM (4 120)          SORT: at this place of the result
//! ```
//!
//! What was expunged is taken out before the client is told of the expunge, because until then its
//! number means it; all else follows what brought it about, EXISTS or FETCH.
//!
//! A context that cannot be kept is given up with `[NOUPDATE "tag"]`, never silently: one that
//! depends on the time, one too many, one that takes too much memory, a sorted one of which very
//! much changed at once, and one for which a message could not be read.
//!
//! # Invariants
//! 1. `members` is what the client holds as the result, in whatever order.

mod sets;

use std::ops::ControlFlow;

use engine::ids::Uid;
use engine::mailbox::ViewChanges;
use engine::uid_set::UidSet;

use self::sets::{intersection, union, without};
use super::progress::Progress;
use super::results::put_head;
use super::scan::{Scope, scan_within};
use super::sort::SortTable;
use super::test::Test;
use super::{Answer, Talk};
use crate::codec::command::{FetchItem, Numbers, SearchKey, SearchRequest};
use crate::codec::put;
use crate::session::Selected;
use crate::stream::Ended;

/// Messages that may enter a sorted result in one step: their places are told one by one.
const SORTED_CHANGES_MAX: usize = 500;

/// What a search found.
pub(super) enum Kept {
    /// In mailbox order.
    Set(UidSet),
    /// Rows of a table in their order.
    Sorted { table: Box<SortTable>, order: Vec<u32> },
}

/// A search that is kept current.
struct Context {
    tag: String,
    numbers: Numbers,
    test: Test,
    members: UidSet,
    sorted: Option<(Box<SortTable>, Vec<u32>)>,
    /// What is told of new messages that match (RFC 5465 section 7).
    new_items: Vec<FetchItem>,
}

/// Messages and what is told of each of them.
pub(in crate::command) type Asked = Vec<(UidSet, Vec<FetchItem>)>;

/// All searches of a selected mailbox that are kept current.
#[derive(Default)]
pub(crate) struct Contexts {
    contexts: Vec<Context>,
    /// Messages that changed or came since the contexts were current.
    pending: UidSet,
}

/// Keeps a search current from now on, or says that it is not.
pub(super) fn begin(talk: &mut Talk, request: &SearchRequest, test: Test, kept: Kept) {
    let limits = &talk.session.config.limits;
    let (contexts_max, bytes_max) = (limits.contexts_max, limits.sort_bytes_max);
    let tag = talk.tag.clone();
    let Some(selected) = &mut talk.session.selected else { return };
    let contexts = &mut selected.contexts.contexts;
    let taken: usize = contexts.iter().map(Context::bytes).sum();
    let (members, sorted) = match kept {
        Kept::Set(uids) => (uids, None),
        Kept::Sorted { table, order } => {
            let members = order.iter().map(|&row| Uid(table.uid(row))).collect();
            (members, Some((table, order)))
        }
    };
    let new_items = request.new_items.clone();
    let context = Context { tag, numbers: request.numbers, test, members, sorted, new_items };
    let changes_by_itself =
        request.key.any(|key| matches!(key, SearchKey::Older(_) | SearchKey::Younger(_)));
    let why = if changes_by_itself {
        "What depends on the time is not kept current"
    } else if contexts.len() >= contexts_max {
        "Too many searches are kept current"
    } else if taken.saturating_add(context.bytes()) > bytes_max {
        "Too much is kept current"
    } else {
        contexts.push(context);
        return;
    };
    put_no_update(&mut talk.wire.out, &context.tag, why);
}

/// CANCELUPDATE
pub(in crate::command) fn cancel_update(talk: &mut Talk, tags: &[String]) -> Answer {
    if let Some(selected) = &mut talk.session.selected {
        selected.contexts.contexts.retain(|context| !tags.contains(&context.tag));
    }
    Answer::ok("No further updates")
}

fn put_no_update(out: &mut Vec<u8>, tag: &str, why: &str) {
    out.extend_from_slice(format!("* NO [NOUPDATE \"{tag}\"] {why}\r\n").as_bytes());
}

impl Contexts {
    /// Whether no search is kept current.
    pub(crate) fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Whether a search with this tag is kept current.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.contexts.iter().any(|context| context.tag == tag)
    }

    /// Whether something is told of new messages because a search asks for it.
    pub(in crate::command) fn ask_of_new(&self) -> bool {
        self.contexts.iter().any(|context| !context.new_items.is_empty())
    }

    /// What the view has that it did not have, or not so, is looked at by [`update`].
    pub(crate) fn note(&mut self, changes: &ViewChanges) {
        if !self.contexts.is_empty() {
            self.pending = union(&union(&self.pending, &changes.changed), &changes.added);
        }
    }

    /// Takes messages that vanished out of all results, while they still have numbers.
    pub(crate) fn forget(selected: &mut Selected, vanished: &UidSet, out: &mut Vec<u8>) {
        if selected.contexts.contexts.is_empty() || vanished.is_empty() {
            return;
        }
        let mut contexts = std::mem::take(&mut selected.contexts);
        contexts.contexts.retain_mut(|context| {
            let removed = intersection(&context.members, vanished);
            match context.remove(selected, &removed, out) {
                Ok(()) => true,
                Err(why) => {
                    put_no_update(out, &context.tag, why);
                    false
                }
            }
        });
        selected.contexts = contexts;
    }
}

/// What is told of these new messages: `base` of all, and of those that a search finds what it
/// asked for, too.
pub(in crate::command) async fn asked_of_new(
    talk: &mut Talk,
    arrived: UidSet,
    base: Vec<FetchItem>,
) -> Result<Asked, Ended> {
    let mut asked = vec![(arrived.clone(), base)];
    let Some(selected) = &mut talk.session.selected else { return Ok(asked) };
    let scope = Scope::of(selected);
    let contexts = std::mem::take(&mut selected.contexts.contexts);
    for context in contexts.iter().filter(|context| !context.new_items.is_empty()) {
        let mut found = UidSet::new();
        let mut progress = Progress::new(talk, arrived.count());
        let looked = (&context.test, &arrived);
        let scanned = scan_within(talk, &scope, looked, &mut progress, |candidate, _| {
            found.push(candidate.row.uid);
            Ok(ControlFlow::Continue(()))
        });
        match scanned.await? {
            Ok(()) => asked = divided(asked, &found, &context.new_items),
            // Told when the search is brought up to date.
            Err(error) => tracing::debug!(%error, "new messages could not be searched"),
        }
    }
    if let Some(selected) = &mut talk.session.selected {
        selected.contexts.contexts = contexts;
    }
    Ok(asked)
}

/// The same, where more is told of some of the messages.
fn divided(asked: Asked, found: &UidSet, more: &[FetchItem]) -> Asked {
    let mut parts = Asked::new();
    for (uids, items) in asked {
        let (inside, outside) = (intersection(&uids, found), without(&uids, found));
        let mut all = items.clone();
        all.extend(more.iter().filter(|item| !items.contains(item)).cloned());
        let both = [(outside, items), (inside, all)];
        parts.extend(both.into_iter().filter(|(uids, _)| !uids.is_empty()));
    }
    parts
}

/// Brings all results up to date with what was noted.
pub(in crate::command) async fn update(talk: &mut Talk) -> Result<(), Ended> {
    let Some(selected) = &mut talk.session.selected else { return Ok(()) };
    let pending = std::mem::take(&mut selected.contexts.pending);
    if pending.is_empty() || selected.contexts.contexts.is_empty() {
        return Ok(());
    }
    let mut kept = Vec::new();
    let contexts = std::mem::take(&mut selected.contexts.contexts);
    for mut context in contexts {
        match refresh(talk, &mut context, &pending).await? {
            Ok(()) => kept.push(context),
            Err(why) => put_no_update(&mut talk.wire.out, &context.tag, why),
        }
        talk.wire.relieve().await?;
    }
    if let Some(selected) = &mut talk.session.selected {
        selected.contexts.contexts = kept;
    }
    Ok(())
}

/// Why a context is given up.
type GivenUp = &'static str;

const UNREADABLE: GivenUp = "A message could not be read";
const TOO_MUCH: GivenUp = "Too much changed at once";

async fn refresh(
    talk: &mut Talk,
    context: &mut Context,
    pending: &UidSet,
) -> Result<Result<(), GivenUp>, Ended> {
    let Some(selected) = &talk.session.selected else { return Ok(Ok(())) };
    let scope = Scope::of(selected);
    let bytes_max = talk.session.config.limits.sort_bytes_max;
    let mut progress = Progress::new(talk, pending.count());
    let (mut holds, mut rows, mut too_much) = (UidSet::new(), Vec::new(), false);
    let Context { test, members, sorted, .. } = &mut *context;
    let looked = (&*test, pending);
    let scanned = scan_within(talk, &scope, looked, &mut progress, |candidate, number| {
        holds.push(candidate.row.uid);
        if let Some((table, _)) = sorted
            && !members.contains(candidate.row.uid)
        {
            rows.push(table.add(candidate, number)?);
            too_much = rows.len() > SORTED_CHANGES_MAX || table.bytes() > bytes_max;
        }
        Ok(if too_much { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    match scanned.await? {
        Ok(()) if too_much => return Ok(Err(TOO_MUCH)),
        Ok(()) => {}
        Err(error) => {
            tracing::error!(%error, "a search could not be kept current");
            return Ok(Err(UNREADABLE));
        }
    }
    let removed = without(&intersection(&context.members, pending), &holds);
    let added = without(&holds, &context.members);
    let Some(selected) = &talk.session.selected else { return Ok(Ok(())) };
    let out = &mut talk.wire.out;
    let told = context.remove(selected, &removed, out);
    Ok(told.and_then(|()| context.add(selected, &added, rows, out)))
}

impl Context {
    /// Bytes of memory that it takes.
    fn bytes(&self) -> usize {
        let sorted =
            self.sorted.as_ref().map_or(0, |(table, order)| table.bytes() + order.capacity() * 4);
        sorted + self.members.ranges().len() * 8
    }

    /// Tells that messages are no longer in the result.
    fn remove(
        &mut self,
        selected: &Selected,
        removed: &UidSet,
        out: &mut Vec<u8>,
    ) -> Result<(), GivenUp> {
        if removed.is_empty() {
            return Ok(());
        }
        self.members = without(&self.members, removed);
        let Some((table, order)) = &mut self.sorted else {
            return put_change(out, self, "REMOVEFROM", &[(0, removed.clone())], selected);
        };
        if removed.count() > engine::width::u64_of(SORTED_CHANGES_MAX) {
            return Err(TOO_MUCH);
        }
        let mut changes = Vec::new();
        for uid in removed.iter() {
            if let Some(place) = order.iter().position(|&row| table.uid(row) == uid.0) {
                order.remove(place);
                changes.push((place + 1, UidSet::from_iter([uid])));
            }
        }
        put_change(out, self, "REMOVEFROM", &changes, selected)
    }

    /// Tells that messages are in the result now; `rows` are those of a sorted one.
    fn add(
        &mut self,
        selected: &Selected,
        added: &UidSet,
        rows: Vec<u32>,
        out: &mut Vec<u8>,
    ) -> Result<(), GivenUp> {
        if added.is_empty() {
            return Ok(());
        }
        self.members = union(&self.members, added);
        let Some((table, order)) = &mut self.sorted else {
            return put_change(out, self, "ADDTO", &[(0, added.clone())], selected);
        };
        let mut changes = Vec::new();
        for row in rows {
            let place = order.partition_point(|&other| table.compare(other, row).is_lt());
            order.insert(place, row);
            changes.push((place + 1, UidSet::from_iter([Uid(table.uid(row))])));
        }
        put_change(out, self, "ADDTO", &changes, selected)
    }
}

/// `* ESEARCH (TAG "t") UID name (place set …)`
fn put_change(
    out: &mut Vec<u8>,
    context: &Context,
    name: &str,
    changes: &[(usize, UidSet)],
    selected: &Selected,
) -> Result<(), GivenUp> {
    let start = out.len();
    put_head(out, format!("TAG \"{}\"", context.tag).as_bytes(), context.numbers);
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b" (");
    for (index, (place, uids)) in changes.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        put::number(out, engine::width::u64_of(*place));
        out.push(b' ');
        let told = match context.numbers {
            Numbers::Uid => Ok(uids.to_string()),
            Numbers::Sequence => numbers_of(selected, uids).map(|numbers| numbers.to_string()),
        };
        match told {
            Ok(set) => out.extend_from_slice(set.as_bytes()),
            Err(error) => {
                tracing::error!(%error, "a search could not be kept current");
                out.truncate(start);
                return Err(UNREADABLE);
            }
        }
    }
    out.extend_from_slice(b")\r\n");
    Ok(())
}

/// Sequence numbers of messages of the view.
fn numbers_of(selected: &Selected, uids: &UidSet) -> Result<UidSet, engine::error::ReadError> {
    let mut numbers = Vec::new();
    for &(first, last) in uids.ranges() {
        // All of them exist, so they follow each other in numbers as well.
        if let Some(number) = selected.number_of(Uid(first))? {
            numbers.push((number, number.saturating_add(last.saturating_sub(first))));
        }
    }
    Ok(UidSet::from_ranges(numbers))
}
