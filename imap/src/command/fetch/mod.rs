//! FETCH (RFC 3501 section 6.4.5), also of what changed since a MODSEQ (RFC 7162).
//!
//! Rows are read in batches and answered as they come; bytes of a message go from the reader to the
//! client chunk by chunk. What a row or a summary tells never opens a message.
//!
//! `\Seen` is committed before the first body is sent, in one commit for the whole command, and
//! told in the same answers.
//!
//! # What can be wrong
//! A message that was expunged meanwhile is left out and the command answered NO [EXPUNGEISSUED]
//! (RFC 2180 section 4.1.2); one that cannot be read is left out and answered NO [SERVERBUG], one
//! that cannot be decoded as BINARY asks, NO [UNKNOWN-CTE]. Bytes of another message never stand in
//! for it. If reading fails inside a literal, whose length has been told, the connection ends.

mod binary;
mod columns;
mod item;
mod section;

use engine::Summaries;
use engine::error::ReadError;
use engine::flags::{FlagChange, FlagList, SystemFlags};
use engine::mailbox::{Condition, Row, Walk};
use engine::rights::Rights;
use engine::uid_set::UidSet;

use self::item::{RowAnswer, SummaryUse, put_row};
pub(super) use self::section::{HEADER_BYTES_HELD_MAX, part_and_fields, read_range};
use self::section::{Opened, Prepared, Unopened, Unput, put_kept};
use super::message_limit::Excess;
use super::{Answer, Talk, message_limit};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, FetchItem, FetchModifier, Numbers};
use crate::session::{
    Answered, Dialect, OwnChange, Selected, TargetError, Targets, changed, looked_up, put_vanished,
    vanished,
};
use crate::stream::{Ended, asking, blocking};

/// How often output is sent from within one blocking call before the runtime has its turn.
const SENDS_MAX: usize = 64;

/// What a FETCH asks of each message.
struct Plan {
    items: Vec<FetchItem>,
    /// What is the same of each item for every message.
    prepared: Vec<Prepared>,
    /// All items are answered from summaries.
    are_kept: bool,
    /// Some item is bytes of the message.
    has_sections: bool,
    summaries: SummaryUse,
    /// Messages that this command marked `\Seen`.
    newly_seen: UidSet,
}

/// Messages left out.
#[derive(Default)]
struct LeftOut {
    expunged: bool,
    unreadable: bool,
    unknown_encoding: bool,
}

/// FETCH and UID FETCH
pub(super) async fn fetch(
    talk: &mut Talk,
    numbers: Numbers,
    set: &SequenceSet,
    (items, modifier): (Vec<FetchItem>, FetchModifier),
) -> Result<Answer, Ended> {
    if modifier.partial.is_some() && numbers != Numbers::Uid {
        return Ok(Answer::bad("PARTIAL is for UID FETCH"));
    }
    if modifier.vanished && !(numbers == Numbers::Uid && talk.session.dialect.qresync) {
        return Ok(Answer::bad("VANISHED is for UID FETCH with QRESYNC enabled"));
    }
    if items.contains(&FetchItem::ModSeq) {
        talk.enable_condstore();
    }
    let selected = match talk.selected() {
        Ok(selected) => selected,
        Err(answer) => return Ok(answer),
    };
    let limit = talk.session.config.limits.messages_per_command;
    let ask = || wanted(selected, numbers, set, &modifier, limit);
    // What vanished is not told by pages.
    let found = if modifier.vanished { blocking(ask) } else { looked_up(set, ask) };
    let Wanted { targets, excess, gone } = match found {
        Ok(wanted) => wanted,
        Err(error) => return Ok(talk.untargeted(&error)),
    };
    if let Some(gone) = gone {
        put_vanished(&mut talk.wire, "(EARLIER) ", &gone).await?;
    }
    let mut plan = Plan::new(items, talk.session.dialect);
    if let Err(error) = mark_seen(talk, &targets.uids, &mut plan).await {
        return Ok(Answer::unreadable(&talk.session, &error));
    }
    let mut left_out = LeftOut { expunged: targets.ghosts, ..LeftOut::default() };
    if let Err(error) = fetch_all(talk, &plan, &targets.uids, &mut left_out).await? {
        return Ok(Answer::unreadable(&talk.session, &error));
    }
    Ok(if left_out.unreadable {
        Answer::no("SERVERBUG", "Some messages could not be read; the operator has been told")
    } else if left_out.unknown_encoding {
        Answer::no("UNKNOWN-CTE", "Some parts have an encoding that is not known here")
    } else if left_out.expunged && numbers == Numbers::Sequence {
        Answer::expunge_issued()
    } else {
        message_limit::done(excess, "Fetched")
    })
}

/// Which messages a FETCH means.
struct Wanted {
    targets: Targets,
    /// Some were left out.
    excess: Option<Excess>,
    /// Of its set, what went; where it asked for that.
    gone: Option<UidSet>,
}

fn wanted(
    selected: &Selected,
    numbers: Numbers,
    set: &SequenceSet,
    modifier: &FetchModifier,
    limit: Option<u32>,
) -> Result<Wanted, TargetError> {
    let mut targets = selected.targets(numbers, set)?;
    let mut gone = None;
    // RFC 9394 section 3.4: a page first, then what changed of it.
    if let Some(range) = modifier.partial {
        targets.uids = selected.partial(&targets.uids, range)?;
    }
    if let Some(since) = modifier.changed_since {
        if modifier.vanished {
            gone = Some(vanished(selected, since, &targets.uids, None)?);
        }
        targets.uids = changed(selected, since, &targets.uids)?;
    }
    let excess = message_limit::cut(selected, &mut targets.uids, limit)?;
    Ok(Wanted { targets, excess, gone })
}

/// Tells of messages that have come what NOTIFY asked for (RFC 5465 section 5.2), and searches that
/// are kept current (section 7). They stay unseen: nobody has looked at them yet.
pub(super) async fn tell_arrived(talk: &mut Talk) -> Result<(), Ended> {
    let arrived = talk.session.selected.as_mut().and_then(|selected| selected.arrived.take());
    let Some(arrived) = arrived.filter(|uids| !uids.is_empty()) else { return Ok(()) };
    let base = super::notify::items_of_new(&talk.session).to_vec();
    for (uids, items) in super::search::asked_of_new(talk, arrived, base).await? {
        let plan = Plan::new(items, talk.session.dialect);
        if plan.items.is_empty() {
            continue;
        }
        let told = fetch_all(talk, &plan, &uids, &mut LeftOut::default()).await?;
        if let Err(error) = told {
            tracing::error!(%error, "new messages could not be told");
        }
    }
    Ok(())
}

impl Plan {
    fn new(mut items: Vec<FetchItem>, dialect: Dialect) -> Plan {
        if dialect.uid_only {
            // It stands before the parenthesis, in which something has to be (RFC 9586 section 5).
            let is_all = items.iter().all(|item| *item == FetchItem::Uid);
            items.retain(|item| *item != FetchItem::Uid);
            items.extend(is_all.then_some(FetchItem::Uid));
        }
        let is_section = |item: &FetchItem| {
            matches!(item, FetchItem::Section(_) | FetchItem::Binary(_) | FetchItem::BinarySize(_))
        };
        let has_sections = items.iter().any(is_section);
        let prepared: Vec<Prepared> = items.iter().map(Prepared::new).collect();
        let are_kept = section::are_kept(&items, &prepared);
        let summaries = SummaryUse::of(&items);
        Plan { items, prepared, are_kept, has_sections, summaries, newly_seen: UidSet::new() }
    }
}

/// Answers all these messages.
async fn fetch_all(
    talk: &mut Talk,
    plan: &Plan,
    uids: &UidSet,
    left_out: &mut LeftOut,
) -> Result<Result<(), ReadError>, Ended> {
    if columns::answer(plan) {
        return columns::fetch(talk, plan, uids).await;
    }
    let Some(selected) = &talk.session.selected else { return Ok(Ok(())) };
    let mut summaries = match plan.summaries {
        SummaryUse::Paged => selected.owner.summaries(selected.view.mailbox(), uids),
        _ => selected.owner.summaries_of_some(selected.view.mailbox()),
    };
    let mut walk = Walk::new(uids);
    loop {
        let Some(selected) = &talk.session.selected else { return Ok(Ok(())) };
        let rows: Vec<(u32, Row)> = match asking(|| walk.next(&selected.view)) {
            Ok(Some(rows)) => rows.iter().map(|(rank, row)| (rank, row.to_row())).collect(),
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        fetch_batch(talk, plan, &rows, (&mut summaries, left_out)).await?;
    }
}

/// Sets `\Seen` on the messages whose bodies are about to be sent. A store that takes no changes
/// still shows its mail, unseen as before.
async fn mark_seen(talk: &mut Talk, targets: &UidSet, plan: &mut Plan) -> Result<(), ReadError> {
    let marks = |item: &FetchItem| match item {
        FetchItem::Section(item) => !item.peek,
        FetchItem::Binary(item) => !item.peek,
        _ => false,
    };
    let Some(selected) = &talk.session.selected else { return Ok(()) };
    let may_mark = selected.access == Access::ReadWrite && selected.rights().contains(Rights::SEEN);
    if !may_mark || !plan.items.iter().any(marks) {
        return Ok(());
    }
    let unseen = asking(|| unseen_among(selected, targets))?;
    if unseen.is_empty() {
        return Ok(());
    }
    let seen = FlagList { system: SystemFlags::SEEN, keywords: Vec::new() };
    match selected.mailbox.store_flags(&unseen, FlagChange::Add, &seen, None).await {
        Ok(stored) => {
            plan.newly_seen = stored.changed.clone();
            let own = OwnChange { uids: stored.changed, change: FlagChange::Add, flags: seen };
            talk.answered = Answered::Known(own);
        }
        Err(error) => tracing::warn!(%error, "messages were read but not marked as seen"),
    }
    Ok(())
}

fn unseen_among(selected: &Selected, targets: &UidSet) -> Result<UidSet, ReadError> {
    let unseen = Condition::Flags(SystemFlags::SEEN).negated();
    selected.view.matching(&Condition::All(vec![unseen, Condition::Uids(targets.clone())]))
}

/// Answers the messages of a page.
async fn fetch_batch(
    talk: &mut Talk,
    plan: &Plan,
    rows: &[(u32, Row)],
    (summaries, left_out): (&mut Summaries, &mut LeftOut),
) -> Result<(), Ended> {
    let mut numbered = rows.iter().map(|(rank, row)| (row, *rank));
    if plan.has_sections {
        let mut begun = None;
        loop {
            let mut source = Source { rows: &mut numbered, summaries };
            let done = blocking(|| pour_bytes(talk, plan, &mut source, &mut begun, left_out))?;
            talk.wire.relieve().await?;
            if done {
                return Ok(());
            }
        }
    }
    loop {
        let mut source = Source { rows: &mut numbered, summaries };
        let done = blocking(|| fetch_rows(talk, plan, &mut source, left_out));
        talk.wire.relieve().await?;
        if done {
            return Ok(());
        }
    }
}

/// What answers are made from: rows with their ranks, and summaries.
struct Source<'s, I> {
    rows: &'s mut I,
    summaries: &'s mut Summaries,
}

/// Answers rows until there are no more (true) or the output is full.
fn fetch_rows<'a>(
    talk: &mut Talk,
    plan: &Plan,
    source: &mut Source<'_, impl Iterator<Item = (&'a Row, u32)>>,
    left_out: &mut LeftOut,
) -> bool {
    while !talk.wire.is_full() {
        let next = source.rows.next();
        let (Some((row, rank)), Some(selected)) = (next, &talk.session.selected) else {
            return true;
        };
        let account = &selected.owner;
        let start = talk.wire.out.len();
        let dialect = talk.session.dialect;
        let answer = RowAnswer { account, selected, dialect, plan, row, rank };
        if let Err(error) = put_row(&mut talk.wire.out, &answer, source.summaries) {
            talk.wire.out.truncate(start);
            note_unreadable(selected, row, &error, left_out);
        }
    }
    false
}

/// Answers messages until there are no more (true) or the client does not keep up. Moving other
/// connections to another thread costs more than a small message, so one move serves many.
fn pour_bytes<'a>(
    talk: &mut Talk,
    plan: &Plan,
    source: &mut Source<'_, impl Iterator<Item = (&'a Row, u32)>>,
    begun: &mut Option<(Opened, &'a Row, u32)>,
    left_out: &mut LeftOut,
) -> Result<bool, Ended> {
    for _ in 0..SENDS_MAX {
        let done = fetch_bytes(talk, plan, source, begun, left_out)?;
        if done || !talk.wire.send_now()? {
            return Ok(done);
        }
    }
    Ok(false)
}

/// Answers messages some of whose bytes are wanted, until there are no more (true) or the output is
/// full; `begun` is the one that did not fit whole.
fn fetch_bytes<'a>(
    talk: &mut Talk,
    plan: &Plan,
    source: &mut Source<'_, impl Iterator<Item = (&'a Row, u32)>>,
    begun: &mut Option<(Opened, &'a Row, u32)>,
    left_out: &mut LeftOut,
) -> Result<bool, Ended> {
    while !talk.wire.is_full() {
        let Some(selected) = &talk.session.selected else { return Ok(true) };
        let account = &selected.owner;
        let dialect = talk.session.dialect;
        let answer = |row, rank| RowAnswer { account, selected, dialect, plan, row, rank };
        let (mut opened, row, rank) = match begun.take() {
            Some(begun) => begun,
            None => {
                let Some((row, rank)) = source.rows.next() else { return Ok(true) };
                let start = talk.wire.out.len();
                match put_kept(&mut talk.wire.out, &answer(row, rank), source.summaries) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        talk.wire.out.truncate(start);
                        note_unreadable(selected, row, &error, left_out);
                        continue;
                    }
                }
                match Opened::open(&answer(row, rank), source.summaries) {
                    Ok(opened) => (opened, row, rank),
                    Err(Unopened::UnknownEncoding) => {
                        left_out.unknown_encoding = true;
                        continue;
                    }
                    Err(Unopened::Unreadable(error)) => {
                        note_unreadable(selected, row, &error, left_out);
                        continue;
                    }
                }
            }
        };
        match opened.put(&answer(row, rank), &mut talk.wire.out, talk.wire.full_at) {
            Ok(true) => {}
            Ok(false) => *begun = Some((opened, row, rank)),
            Err(Unput::TakenBack(error)) => note_unreadable(selected, row, &error, left_out),
            Err(Unput::CutShort) => return Err(Ended::CutShort),
        }
    }
    Ok(false)
}

/// Expunged meanwhile, or damaged? The newest view knows.
fn note_unreadable(selected: &Selected, row: &Row, error: &ReadError, left_out: &mut LeftOut) {
    let newest = blocking(|| selected.mailbox.view());
    let expunged = match newest {
        Ok(Some(view)) => blocking(|| view.row(row.uid)).is_ok_and(|row| row.is_none()),
        Ok(None) => true,
        Err(_) => false,
    };
    if expunged {
        left_out.expunged = true;
    } else {
        left_out.unreadable = true;
        tracing::error!(mailbox = %selected.name, uid = row.uid.0, %error, "message unreadable");
    }
}
