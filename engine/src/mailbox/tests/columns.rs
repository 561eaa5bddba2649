//! What heads and columns answer is what rows answer (`condition.rs`, invariant 1), and a walk
//! comes by every message of its set once, in order, with its rank.

use super::*;
use crate::mailbox::{Condition, Found, Sifting, Walk};
use crate::message::generator::Generator;

/// Whether a row passes, by its own values.
fn passes(condition: &Condition, row: &Row) -> bool {
    match condition {
        Condition::Always(passes) => *passes,
        Condition::Flags(flags) => row.flags.contains(*flags),
        Condition::Keyword(index) => row.keywords.contains(index),
        Condition::Uids(uids) => uids.contains(row.uid),
        Condition::Larger(size) => u64::from(row.size) > *size,
        Condition::Smaller(size) => u64::from(row.size) < *size,
        Condition::ModSeq(modseq) => row.modseq.bits() >= *modseq,
        Condition::ReceivedFrom(time) => row.received >= *time,
        Condition::SavedFrom(time) => row.saved >= *time,
        Condition::Thread(thread) => row.thread == *thread,
        Condition::Blobs(blobs) => blobs.contains(&row.blob),
        Condition::Not(condition) => !passes(condition, row),
        Condition::Any(conditions) => conditions.iter().any(|condition| passes(condition, row)),
        Condition::All(conditions) => conditions.iter().all(|condition| passes(condition, row)),
    }
}

/// A condition whose values are near those of a row.
fn condition(dice: &mut Generator, near: &Row, depth: u32) -> Condition {
    let mut below = |bound: u64| dice.number() % bound;
    let kind = below(if depth == 0 { 11 } else { 14 });
    let span = below(700) as u32;
    match kind {
        0 => Condition::Always(below(2) == 0),
        1 => Condition::Flags(SystemFlags([1, 8, 9, 2, 12, 0][below(6) as usize])),
        2 => Condition::Keyword(below(9) as u16),
        3 => {
            let begin = near.uid.0.saturating_sub(below(700) as u32);
            Condition::Uids(UidSet::from_ranges([
                (begin, begin + span),
                (7, 9),
                (begin / 2, begin),
            ]))
        }
        4 => Condition::Larger([u64::from(near.size), 0, 25_000_000][below(3) as usize]),
        5 => Condition::Smaller([u64::from(near.size), 0, 50_000_000][below(3) as usize]),
        6 => Condition::ModSeq(near.modseq.bits() + below(2)),
        7 => Condition::ReceivedFrom(UnixSeconds(near.received.0 + below(2) as i64)),
        8 => Condition::SavedFrom(UnixSeconds(near.saved.0 + below(2) as i64)),
        9 => Condition::Thread(near.thread),
        10 => {
            let mut bits = near.blob.0.bits().saturating_sub(below(3));
            let mut blobs = Vec::new();
            for _ in 0..below(4) {
                blobs.extend(Lsn::from_bits(bits).map(BlobId));
                bits += 1 + below(3);
            }
            Condition::Blobs(blobs.into())
        }
        11 => condition(dice, near, depth - 1).negated(),
        kind => {
            let parts = (0..1 + span % 3).map(|_| condition(dice, near, depth - 1)).collect();
            if kind == 12 { Condition::Any(parts) } else { Condition::All(parts) }
        }
    }
}

/// UIDs with their ranks, as they are sifted.
fn sifted(view: &View, condition: &Condition, range: (u32, u32)) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let mut sifting = Sifting::new(condition, range);
    while let Some(some) = sifting.next(view).unwrap() {
        let mut add = |(rank, (first, last)): (u32, (u32, u32))| {
            found.extend((first..=last).zip(rank..));
        };
        match some {
            Found::Span { uids, rank } => add((rank, uids)),
            Found::Rows(rows) => {
                let each: Vec<(u32, u32)> =
                    rows.iter().map(|(rank, row)| (row.uid().0, rank)).collect();
                assert_eq!(rows.count() as usize, each.len());
                let before = add_all(&rows);
                assert_eq!(before, each, "runs are the same as rows one by one");
                rows.runs().for_each(add);
            }
        }
    }
    found
}

fn add_all(rows: &crate::mailbox::Rows) -> Vec<(u32, u32)> {
    rows.runs().flat_map(|(rank, (first, last))| (first..=last).zip(rank..)).collect()
}

pub(super) fn assert_answer_like_rows(view: &View, model: &Model, dice: &mut Generator) {
    let rows: Vec<&Row> = model.values().map(|(row, _)| row).collect();
    let (first, _) = row(1, 1);
    for _ in 0..4 {
        let near = rows.get(dice.number() as usize % rows.len().max(1)).copied().unwrap_or(&first);
        let condition = condition(dice, near, 3);
        let range = match dice.number() % 3 {
            0 => (1, u32::MAX),
            _ => (near.uid.0 / 2, near.uid.0 + (dice.number() % 900) as u32),
        };
        let within = |uid: Uid| range.0 <= uid.0 && uid.0 <= range.1;
        let expected: Vec<(u32, u32)> = rows
            .iter()
            .zip(0..)
            .filter(|(row, _)| within(row.uid) && passes(&condition, row))
            .map(|(row, rank)| (row.uid.0, rank))
            .collect();
        assert_eq!(sifted(view, &condition, range), expected, "{condition:?} in {range:?}");
        let uids = UidSet::from_ranges([range, (near.uid.0, near.uid.0), (3, 4), (2000, 2100)]);
        let mut walked: Vec<(u32, Row)> = Vec::new();
        let mut walk = Walk::new(&uids);
        while let Some(mut some) = walk.next(view).unwrap() {
            assert!(!some.is_empty());
            let page = view.page_of(near.uid).unwrap();
            if let Some((_, row)) = page.as_ref().and_then(|page| page.iter().next()) {
                let same = some.same_as(row).map(|row| row.to_row());
                let is_in = some.iter().any(|(_, one)| one.uid() == row.uid());
                assert_eq!(same, is_in.then(|| row.to_row()));
            }
            while let Some((rank, row)) = some.pop() {
                walked.push((rank, row.to_row()));
            }
        }
        let expected: Vec<(u32, Row)> = (0..)
            .zip(&rows)
            .filter(|(_, row)| uids.contains(row.uid))
            .map(|(rank, row)| (rank, (*row).clone()))
            .collect();
        assert_eq!(walked, expected, "{uids}");
    }
}

#[test]
fn a_page_that_its_head_decides_is_not_read() {
    let disk = Arc::new(Disk::default());
    let mut dirty = DirtyPages::default();
    let mut state = filled(&disk, 20_000, &mut dirty);
    let seen = FlagDelta { add: SystemFlags::SEEN, ..FlagDelta::default() };
    state.set_flags(&[(set(1, 9_000), seen)], at(30_000), &mut dirty).unwrap();
    disk.checkpoint(&state, &dirty);
    let view = disk.open(1 << 20).view(at(0));
    let unseen = Condition::Flags(SystemFlags::SEEN).negated();
    let found = sifted(&view, &unseen, (1, u32::MAX));
    assert_eq!((found.len(), found[0]), (11_000, (9_001, 9_000)));
    assert_eq!(disk.reads.lock().len(), 1, "the page in which seen ones end");
    disk.reads.lock().clear();
    assert!(sifted(&view, &Condition::Flags(SystemFlags::DELETED), (1, u32::MAX)).is_empty());
    assert!(sifted(&view, &Condition::ModSeq(at(30_001).bits()), (1, u32::MAX)).is_empty());
    assert_eq!(sifted(&view, &Condition::Always(true), (1, u32::MAX)).len(), 20_000);
    assert!(disk.reads.lock().is_empty());
}

#[test]
fn a_page_keeps_no_keyword_set_that_no_row_has() {
    let disk = Arc::new(Disk::default());
    let mut dirty = DirtyPages::default();
    let mut state = filled(&disk, 2, &mut dirty);
    for index in 0..5u16 {
        let delta = FlagDelta { add_keywords: vec![index], ..FlagDelta::default() };
        state.set_flags(&[(set(1, 1), delta)], at(10 + u64::from(index)), &mut dirty).unwrap();
    }
    disk.checkpoint(&state, &dirty);
    let row = disk.open(1 << 20).view(at(0)).row(Uid(1)).unwrap().expect("the message");
    assert_eq!(row.keywords.as_slice(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_search_goes_on_where_something_was_not_at_hand() {
    let disk = Arc::new(Disk::default());
    let mut dirty = DirtyPages::default();
    let mut state = filled(&disk, 3000, &mut dirty);
    let delta = FlagDelta { add: SystemFlags::SEEN, ..FlagDelta::default() };
    let odd = UidSet::from_ranges((1..3000).step_by(2).map(|uid| (uid, uid)));
    state.set_flags(&[(odd.clone(), delta)], at(9000), &mut dirty).unwrap();
    disk.checkpoint(&state, &dirty);
    let view = disk.open(1 << 20).view(at(0));
    let condition = Condition::Flags(SystemFlags::SEEN);
    let mut sifting = Sifting::new(&condition, (1, u32::MAX));
    let mut found = UidSet::new();
    loop {
        // The first time nothing of a page is in memory.
        let next = match at_hand(9, || sifting.next(&view)) {
            Err(ReadError::NotAtHand) => sifting.next(&view),
            answered => answered,
        };
        let Some(Found::Rows(rows)) = next.unwrap() else { break };
        rows.iter().for_each(|(_, row)| found.push(row.uid()));
    }
    assert_eq!(found, odd);
}
