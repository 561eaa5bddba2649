//! Comparing an open store with the other node's: what each of both does (`crate::compare`).

use std::time::{Duration, Instant};

use super::Store;
use crate::commit::Change;
use crate::compare::{
    Answer, Ask, CompareError, CompareProgress, CompareReport, Comparison, HeldTables, Question,
};
use crate::error::ReadError;
use crate::format_level;
use crate::ids::Lsn;
use crate::state::{Saved, Table, TableBatch};
use crate::ticket::ticket;

/// Positions that are marked before nobody tries any more.
const TRIES: u32 = 8;
/// How long a checkpoint may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often is looked whether it is over.
const LOOK: Duration = Duration::from_millis(5);
/// How often is looked for tables that should be there.
const LOOKS_MAX: u32 = 40;

/// The tables that a follower keeps while its primary compares.
#[derive(Default)]
pub struct CompareSeat {
    held: Option<HeldTables>,
}

impl Store {
    /// Compares everything with the other node, of which `ask` brings answers; changes nothing.
    ///
    /// # Errors
    /// [`CompareError`]: nothing, or not everything was compared.
    pub fn compare(
        &self,
        ask: &mut Ask<'_>,
        progress: &mut dyn FnMut(CompareProgress),
    ) -> Result<CompareReport, CompareError> {
        if self.inner.pair.follows() {
            return Err(CompareError::Follows);
        }
        if self.inner.committed.format_level() < format_level::BASE_IMAGES {
            return Err(CompareError::NoMark);
        }
        let mut put = |question: Question| {
            let answer = ask(&question.encode()).map_err(CompareError::Other)?;
            Answer::decode(&answer).map_err(|why| CompareError::Other(why.to_owned()))
        };
        let mut held = None;
        for _ in 0..TRIES {
            put(Question::Begin)?;
            let Some(tables) = self.keep_at_mark()? else { continue };
            if put(Question::At(tables.lsn()))? == Answer::Kept {
                held = Some(tables);
                break;
            }
        }
        let Some(held) = held else { return Err(CompareError::Busy) };
        let compared = Comparison::new((&held, &self.inner.committed), ask, progress).run();
        let _ = ask(&Question::End.encode());
        compared
    }

    /// Answers a question of the primary that compares. May take as long as a checkpoint.
    ///
    /// # Errors
    /// A sentence for the other node.
    pub fn answer_compare(
        &self,
        seat: &mut CompareSeat,
        question: &[u8],
    ) -> Result<Vec<u8>, String> {
        let question = Question::decode(question)?;
        let checkpoints = &self.inner.checkpoints;
        let answer = match question {
            Question::Begin => {
                seat.held = None;
                // A snapshot that came too late for the one before is let go.
                drop(checkpoints.take_snapshot(Lsn::MAX));
                self.wait_until_idle()?;
                checkpoints.expect_mark();
                Answer::Ready
            }
            Question::At(lsn) => {
                let begun = Instant::now();
                while self.position().lsn < lsn && begun.elapsed() < PATIENCE {
                    std::thread::sleep(LOOK);
                }
                self.wait_until_idle()?;
                seat.held = self.held_at(lsn);
                if seat.held.is_some() { Answer::Kept } else { Answer::NotKept }
            }
            Question::Parts(whole, from) => {
                let held = seat.held.as_ref().ok_or("this node keeps no tables any more")?;
                let parts = held.parts(whole, &from, None).map_err(|error| error.to_string())?;
                Answer::Parts(parts)
            }
            Question::End => {
                seat.held = None;
                Answer::Ready
            }
        };
        Ok(answer.encode())
    }

    /// Removes a row from the tables, as a fault would: so that tests of whole servers can see that
    /// it is noticed.
    ///
    /// # Errors
    /// The tables.
    #[doc(hidden)]
    pub fn lose_a_row(&self) -> Result<(), ReadError> {
        self.checkpoint();
        let (tables, mut last) = (&self.inner.saved.tables, None);
        tables.scan_prefix(Table::Ids, &[], &mut |key, _| {
            last = Some(key.to_vec());
            Ok(true)
        })?;
        let mut batch = TableBatch::new();
        last.iter().for_each(|key| batch.delete(Table::Ids, key));
        tables.write(batch)?;
        tables.flush()
    }

    /// Marks a position in the log and keeps the tables as of it; `None` if another checkpoint came
    /// between.
    fn keep_at_mark(&self) -> Result<Option<HeldTables>, CompareError> {
        self.wait_until_idle().map_err(CompareError::Read)?;
        let (promise, marked) = ticket();
        let begin = Change::BaseBegin { accounts: Vec::new(), promise };
        self.inner.queue.push(begin).map_err(|_| CompareError::NoMark)?;
        let lsn = marked.wait().map_err(|error| CompareError::Read(error.to_string()))?;
        // The answer comes just before the checkpoint begins.
        for _ in 0..LOOKS_MAX {
            self.wait_until_idle().map_err(CompareError::Read)?;
            if let Some(held) = self.held_at(lsn) {
                return Ok(Some(held));
            }
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// What is compared, as of the last checkpoint.
    #[cfg(test)]
    pub(crate) fn parts_now(&self) -> crate::compare::Listed {
        let inner = &self.inner;
        let (tables, values) = (&inner.saved.tables, &inner.saved.values);
        let saved = Saved { tables: tables.clone(), values: values.clone() };
        HeldTables::new(saved, self.state_position().unwrap().0).list().unwrap()
    }

    fn held_at(&self, lsn: Lsn) -> Option<HeldTables> {
        let tables = self.inner.checkpoints.take_snapshot(lsn)?;
        let values = std::sync::Arc::clone(&self.inner.saved.values);
        Some(HeldTables::new(Saved { tables, values }, lsn))
    }

    /// Waits until no checkpoint is being written.
    fn wait_until_idle(&self) -> Result<(), String> {
        let begun = Instant::now();
        while !self.inner.checkpoints.is_idle() {
            if begun.elapsed() >= PATIENCE || self.inner.commit_status.stopped().is_some() {
                return Err("a checkpoint does not come to its end".to_owned());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
