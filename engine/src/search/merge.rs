//! Makes one split of several, without the messages that are dead.
//!
//! Messages keep their order: those of the first split come first. So the lists of a term follow
//! one another, and nothing is sorted; memory holds a leaf of each split and the lists of one term.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::block::BlockSink;
use super::documents::MIXED;
use super::leaf::TermPlace;
use super::lists::{ListsWriter, Occurrence};
use super::set::MessageSet;
use super::split::{Split, TermCursor};
use super::writer::SplitWriter;
use super::{Classes, Group};
use crate::error::{DiskError, ReadError};
use crate::width::usize_of_u32;

/// Why splits could not be merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// One of them could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new one could not be written.
    #[error(transparent)]
    Write(#[from] DiskError),
}

/// A split that goes into another.
pub(crate) struct Merged<'a> {
    pub(crate) split: &'a Split,
    /// Which of its messages live.
    pub(crate) alive: MessageSet,
}

/// New numbers of a split's messages.
struct Numbers {
    /// By old number; `u32::MAX` of the dead.
    new: Vec<u32>,
}

impl Numbers {
    /// That of a message, if it lives.
    fn of(&self, message: u32) -> Option<u32> {
        self.new.get(usize_of_u32(message)).copied().filter(|new| *new != u32::MAX)
    }
}

/// What the extractor was set to for all of them.
fn settings_of(inputs: &[Merged<'_>]) -> u64 {
    let mut each = inputs.iter().map(|input| input.split.document_places().settings);
    let first = each.next().unwrap_or(0);
    if each.all(|other| other == first) { first } else { MIXED }
}

/// Writes what lives in `inputs` as one split; `go_on` is asked now and then.
///
/// Answers `None` if it said no.
pub(crate) fn merge<S: BlockSink>(
    inputs: &[Merged<'_>],
    sink: S,
    mut go_on: impl FnMut() -> bool,
) -> Result<Option<S>, MergeError> {
    let mut writer = SplitWriter::new(sink, settings_of(inputs));
    let mut numbers = Vec::with_capacity(inputs.len());
    let mut count = 0;
    for input in inputs {
        let mut new = vec![u32::MAX; input.split.blobs().len()];
        for ((message, place), stored) in (0..).zip(&mut new).zip(input.split.stored()) {
            if input.alive.contains(message) {
                *place = count;
                count += 1;
                writer.message(stored);
            }
        }
        numbers.push(Numbers { new });
    }
    // A term may be in another dictionary of each.
    let mut cursors: Vec<(usize, TermCursor<'_>)> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        cursors.extend(Group::ALL.into_iter().map(|group| (index, input.split.cursor(group))));
    }
    let mut heap = BinaryHeap::new();
    let mut places = vec![TermPlace::default(); cursors.len()];
    for ((index, (_, cursor)), place) in cursors.iter_mut().enumerate().zip(&mut places) {
        if let Some((term, found)) = cursor.next()? {
            heap.push(Reverse((term, index)));
            *place = found;
        }
    }
    let mut lists = Vec::new();
    let mut merged = ListsWriter::default();
    while let Some(Reverse((term, index))) = heap.pop() {
        if let (Some((input, cursor)), Some(place)) =
            (cursors.get_mut(index), places.get_mut(index))
        {
            lists.push((*input, place.clone()));
            if let Some((next, found)) = cursor.next()? {
                heap.push(Reverse((next, index)));
                *place = found;
            }
        }
        let is_last = heap.peek().is_none_or(|Reverse((next, _))| *next != term);
        if !is_last {
            continue;
        }
        gather(inputs, &numbers, &lists, &mut merged)?;
        lists.clear();
        writer.term(&term, &mut merged)?;
        if !go_on() {
            return Ok(None);
        }
    }
    for (input, numbers) in inputs.iter().zip(&numbers) {
        for message in input.split.document_places().messages() {
            let new = numbers.of(message);
            if let (Some(new), Some((count, entry))) = (new, input.split.documents(message)?) {
                writer.documents(new, count, &entry)?;
            }
            if !go_on() {
                return Ok(None);
            }
        }
    }
    Ok(Some(writer.finish()?))
}

/// Pushes the living postings of one term, class by class.
fn gather(
    inputs: &[Merged<'_>],
    numbers: &[Numbers],
    lists: &[(usize, TermPlace)],
    out: &mut ListsWriter,
) -> Result<(), ReadError> {
    for class in super::Class::ALL {
        for (index, place) in lists {
            let (Some(input), Some(numbers)) = (inputs.get(*index), numbers.get(*index)) else {
                continue;
            };
            input.split.each_class(place, Classes::only(class), |list| {
                let read = |range| input.split.positions(place, range);
                list.visit(&input.alive, read, |posting, occurrences: &[Occurrence]| {
                    if let Some(new) = numbers.of(posting.message) {
                        out.push(class, new, occurrences);
                    }
                    Ok(())
                })
            })?;
        }
    }
    Ok(())
}
