//! Searches that page heads and columns answer: flags, keywords, sets, sizes, dates, MODSEQ.
//!
//! | of a test | columns say |
//! |--|--|
//! | all of it | what is found, in ranges; no row is made |
//! | a part of it | which rows are worth making, to be tested in full (`scan`) |
//!
//! What the index says of a text is a column, too: that of the messages' blobs.

use engine::error::ReadError;
use engine::ids::{BlobId, UnixSeconds};
use engine::mailbox::{Condition, Found, Sifting, View};
use engine::uid_set::UidSet;

use super::progress::Progress;
use super::results::Gathered;
use super::scan::{Scope, Turn};
use super::test::Test;
use crate::codec::command::DayTest;
use crate::codec::date::Day;
use crate::command::Talk;
use crate::stream::{Ended, asking, blocking};

const DAY_SECONDS: i64 = 86_400;

/// What columns say of a test.
pub(super) struct ByColumns {
    /// What every message that passes the test passes, too.
    pub(super) condition: Condition,
    /// Every message that passes the condition passes the test.
    pub(super) is_whole: bool,
}

impl ByColumns {
    /// Of messages with these UIDs.
    pub(super) fn of(test: &Test, uids: &UidSet, view: &View) -> ByColumns {
        let ByColumns { condition, is_whole } = by_columns(test, view);
        // What rules out most pages first.
        let condition = Condition::All(vec![condition, Condition::Uids(uids.clone())]);
        ByColumns { condition, is_whole }
    }

    fn whole(condition: Condition) -> ByColumns {
        ByColumns { condition, is_whole: true }
    }

    fn unknown() -> ByColumns {
        ByColumns { condition: Condition::Always(true), is_whole: false }
    }
}

pub(super) fn by_columns(test: &Test, view: &View) -> ByColumns {
    let whole = ByColumns::whole;
    match test {
        Test::Always(holds) => whole(Condition::Always(*holds)),
        Test::Flag(flag) => whole(Condition::Flags(*flag)),
        Test::Keyword(keyword) => {
            let index = view.keywords().iter().position(|known| known == keyword);
            let index = index.and_then(|index| u16::try_from(index).ok());
            whole(index.map_or(Condition::Always(false), Condition::Keyword))
        }
        Test::Uids(uids) => whole(Condition::Uids(uids.clone())),
        Test::Internal(test, day) => whole(of_day(*test, *day, Condition::ReceivedFrom)),
        Test::Saved(test, day) => whole(of_day(*test, *day, Condition::SavedFrom)),
        Test::Larger(size) => whole(Condition::Larger(*size)),
        Test::Smaller(size) => whole(Condition::Smaller(*size)),
        Test::ModSeq(modseq) => whole(Condition::ModSeq(*modseq)),
        Test::Until(UnixSeconds(time)) => {
            whole(Condition::ReceivedFrom(UnixSeconds(time.saturating_add(1))).negated())
        }
        Test::From(time) => whole(Condition::ReceivedFrom(*time)),
        Test::Thread(id) => whole(Condition::Thread(*id)),
        Test::Asked(answer, _) if answer.is_closed() => ByColumns {
            condition: Condition::Blobs(answer.candidates().into()),
            is_whole: answer.to_ask().is_empty(),
        },
        Test::Ranked(answer, _) if answer.is_closed() => ByColumns {
            condition: Condition::Blobs(answer.candidates().into()),
            is_whole: answer.counts().1 == 0,
        },
        Test::Not(test) => match (&**test, by_columns(test, view)) {
            (_, ByColumns { condition, is_whole: true }) => whole(condition.negated()),
            // What the index is sure of is out, whatever is to be asked.
            (Test::Asked(answer, _), _) => ByColumns {
                condition: Condition::Blobs(answer.contains().into()).negated(),
                is_whole: false,
            },
            _ => ByColumns::unknown(),
        },
        Test::Or(a, b) => together([&**a, &**b].into_iter(), view, Condition::Any),
        Test::And(tests) => together(tests.iter(), view, all_of),
        Test::Sent(..)
        | Test::Email(_)
        | Test::Like(_)
        | Test::Ranked(..)
        | Test::Header(..)
        | Test::Field(..)
        | Test::Asked(..)
        | Test::Body(_)
        | Test::Text(_) => ByColumns::unknown(),
    }
}

fn together<'a>(
    tests: impl Iterator<Item = &'a Test>,
    view: &View,
    join: fn(Vec<Condition>) -> Condition,
) -> ByColumns {
    let parts: Vec<ByColumns> = tests.map(|test| by_columns(test, view)).collect();
    let is_whole = parts.iter().all(|part| part.is_whole);
    ByColumns { condition: join(parts.into_iter().map(|part| part.condition).collect()), is_whole }
}

/// All of some conditions; what is known of blobs becomes one list before any page is looked at.
fn all_of(conditions: Vec<Condition>) -> Condition {
    let mut others = Vec::with_capacity(conditions.len());
    let mut common: Option<Vec<BlobId>> = None;
    for condition in conditions {
        let Condition::Blobs(blobs) = condition else {
            others.push(condition);
            continue;
        };
        common = Some(match common {
            None => blobs.to_vec(),
            Some(mut before) => {
                let mut rest = blobs.iter().peekable();
                before.retain(|blob| {
                    while rest.next_if(|next| *next < blob).is_some() {}
                    rest.peek() == Some(&blob)
                });
                before
            }
        });
    }
    if let Some(blobs) = common {
        others.insert(0, Condition::Blobs(blobs.into()));
    }
    Condition::All(others)
}

/// A day in UTC as the moments that it begins and ends with.
fn of_day(test: DayTest, day: Day, from: fn(UnixSeconds) -> Condition) -> Condition {
    let begin = day.begin();
    let end = UnixSeconds(begin.0.saturating_add(DAY_SECONDS));
    match test {
        DayTest::Before => from(begin).negated(),
        DayTest::On => Condition::All(vec![from(begin), from(end).negated()]),
        DayTest::Since => from(begin),
    }
}

/// Gathers what meets a condition.
pub(super) async fn gather(
    talk: &mut Talk,
    scope: &Scope,
    condition: &Condition,
    progress: &mut Progress,
    gathered: &mut Gathered,
) -> Result<Result<(), ReadError>, Ended> {
    let mut sifting = Sifting::new(condition, (1, u32::MAX));
    // A first bit of it at once, if it is at hand: most searches are no more than that.
    let mut next = asking(|| gather_some(scope, &mut sifting, gathered, Turn::short()));
    loop {
        match next {
            Ok(None) => return Ok(Ok(())),
            Ok(Some(rank)) => progress.tell(talk, rank).await?,
            Err(error) => return Ok(Err(error)),
        }
        tokio::task::yield_now().await;
        next = blocking(|| gather_some(scope, &mut sifting, gathered, Turn::begin()));
    }
}

/// As much as one turn allows; answers the rank up to which it came, if there may be more. After an
/// error it can go on where that was.
fn gather_some(
    scope: &Scope,
    sifting: &mut Sifting<'_>,
    gathered: &mut Gathered,
    turn: Turn,
) -> Result<Option<u32>, ReadError> {
    let view = &scope.view;
    let mut after = sifting.clone();
    while let Some(found) = after.next(view)? {
        let mut rank = 0;
        match found {
            Found::Span { uids, rank: first } if !gathered.wants_modseq() => {
                rank = first;
                gathered.add_run(first, uids, &scope.ghosts);
            }
            found => {
                if let Some(mut rows) = found.into_rows(view)? {
                    rank = rows.last_rank();
                    if gathered.left() < u64::from(rows.count()) {
                        let left = u32::try_from(gathered.left()).unwrap_or(u32::MAX);
                        rows = rows.truncated(left);
                    }
                    if gathered.wants_modseq() {
                        gathered.add_modseq(rows.highest_modseq());
                    }
                    rows.runs().for_each(|(rank, uids)| {
                        gathered.add_run(rank, uids, &scope.ghosts);
                    });
                }
            }
        }
        sifting.clone_from(&after);
        if gathered.left() == 0 {
            return Ok(None);
        }
        if turn.is_over() {
            return Ok(Some(rank));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::SearchKey;
    use crate::codec::sequence_set::Bound;
    use crate::command::search::candidate::Candidate;
    use crate::session::{Selected, TestMessage, selected};
    use engine::flags::{FlagList, Keyword, SystemFlags};
    use engine::ids::ThreadId;
    use engine::message::generator::Generator;

    const COUNT: u32 = 1300;
    const BEGIN: i64 = 1_700_000_000;

    fn message(dice: &mut Generator, number: u32) -> TestMessage {
        let mut below = |bound: u64| dice.number() % bound;
        let text = format!("Subject: {}\r\n\r\n{}", below(3), "x".repeat(below(300) as usize));
        // Pages of which all or no messages are seen, and others.
        let seen = match number / 300 {
            0 => 1,
            1 | 2 => 0,
            _ => below(2) as u8,
        };
        let keyword = |name: &str| Keyword::new(name).unwrap();
        let keywords = if below(5) == 0 { vec![keyword("$Junk")] } else { vec![] };
        let flags = FlagList { system: SystemFlags(seen | (below(2) as u8) << 2), keywords };
        let received = UnixSeconds(BEGIN + i64::from(number) * 600 + below(200_000) as i64);
        TestMessage { text: text.into_bytes(), flags, received }
    }

    fn key(dice: &mut Generator, selected: &Selected, depth: u32) -> SearchKey {
        let mut below = |bound: u64| dice.number() % bound;
        let day = Day::of(UnixSeconds(BEGIN + below(1_000_000) as i64));
        let test = [DayTest::Before, DayTest::On, DayTest::Since][below(3) as usize];
        let number = |value: u64| Bound::Number(value as u32 + 1);
        let (first, last) = (number(below(1500)), number(below(1500)));
        let last = if below(4) == 0 { Bound::Highest } else { last };
        let set = crate::codec::SequenceSet {
            ranges: vec![(first, last), (number(3), number(below(9)))],
            is_saved_result: false,
        };
        let modseq = selected.view.highest_modseq().bits();
        match below(if depth == 0 { 13 } else { 16 }) {
            0 => SearchKey::All,
            1 => SearchKey::Flag(SystemFlags([1, 4, 8][below(3) as usize])),
            2 => SearchKey::Keyword(Keyword::new(["$junk", "$Absent"][below(2) as usize]).unwrap()),
            3 => SearchKey::Sequence(set),
            4 => SearchKey::Uid(set),
            5 => SearchKey::Internal(test, day),
            6 => SearchKey::Saved(test, day),
            7 => SearchKey::Larger(below(350)),
            8 => SearchKey::Smaller(below(350)),
            9 => SearchKey::ModSeq(modseq - below(COUNT.into())),
            10 => SearchKey::Older(below(2_000_000) as u32),
            11 => SearchKey::Younger(below(2_000_000) as u32),
            12 => SearchKey::ThreadId(ThreadId(below(3))),
            13 => SearchKey::Not(Box::new(key(dice, selected, depth - 1))),
            14 => SearchKey::Or(
                Box::new(key(dice, selected, depth - 1)),
                Box::new(key(dice, selected, depth - 1)),
            ),
            _ => SearchKey::And((0..3).map(|_| key(dice, selected, depth - 1)).collect()),
        }
    }

    #[test]
    fn columns_answer_what_rows_answer() {
        let folder = tempfile::tempdir().unwrap();
        let mut dice = Generator::new(11);
        let messages = (0..COUNT).map(|number| message(&mut dice, number)).collect();
        let holes = UidSet::from_ranges([(3, 5), (333, 333), (1000, 1100)]);
        let selected = selected(folder.path(), messages, &holes);
        let rows = selected.view.rows_from(engine::ids::Uid(1), usize::MAX).unwrap();
        let now = UnixSeconds(BEGIN + 1_500_000);
        let mut found_some = 0;
        for _ in 0..600 {
            let key = key(&mut dice, &selected, 3);
            let test = Test::compile(&key, &selected, now).unwrap();
            let by_columns = ByColumns::of(&test, &test.domain(), &selected.view);
            assert!(by_columns.is_whole, "{key:?}");
            let passes = |row: &&engine::mailbox::Row| {
                let mut summaries = selected.owner.summaries_of_some(selected.view.mailbox());
                let within = (&selected.owner, &*selected.view);
                let mut texts = selected.owner.search_texts();
                let mut candidate = Candidate::new(within, row, (&mut summaries, &mut texts));
                test.holds(&mut candidate).unwrap()
            };
            let expected: UidSet = rows.iter().filter(passes).map(|row| row.uid).collect();
            let found = selected.view.matching(&by_columns.condition).unwrap();
            assert_eq!(found, expected, "{key:?}");
            found_some += usize::from(!found.is_empty() && found.count() < 1000);
        }
        assert!(found_some > 100, "most keys find all or nothing: {found_some}");
    }

    #[test]
    fn what_columns_cannot_tell_is_left_open_and_nothing_is_ruled_out_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut dice = Generator::new(12);
        let messages = (0..40).map(|number| message(&mut dice, number)).collect();
        let selected = selected(folder.path(), messages, &UidSet::new());
        let text = || SearchKey::Text(b"Subject".to_vec());
        let flag = || SearchKey::Flag(SystemFlags::FLAGGED);
        let flagged = UidSet::from_iter(
            selected.view.matching(&Condition::Flags(SystemFlags::FLAGGED)).unwrap().iter(),
        );
        let all = UidSet::from_ranges([(1, 40)]);
        let cases = [
            (SearchKey::And(vec![text(), flag()]), &flagged),
            (SearchKey::Or(Box::new(text()), Box::new(flag())), &all),
            (SearchKey::Not(Box::new(text())), &all),
            (SearchKey::Not(Box::new(SearchKey::And(vec![text(), flag()]))), &all),
            (SearchKey::Uid(Default::default()), &UidSet::new()),
        ];
        for (key, expected) in cases {
            let test = Test::compile(&key, &selected, UnixSeconds(0)).unwrap();
            let by_columns = ByColumns::of(&test, &test.domain(), &selected.view);
            assert_eq!(by_columns.is_whole, expected.is_empty(), "{key:?}");
            let found = selected.view.matching(&by_columns.condition).unwrap();
            assert_eq!(&found, expected, "{key:?}");
        }
    }
}
