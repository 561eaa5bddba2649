//! What the index says of one term: in which messages it stands, how often, and where.
//!
//! ```text
//! head       u8, in the leaf (`leaf.rs`): 0x80 | class, of one posting alone; else a bit of each
//!            class
//! lists      one posting alone:  message, count, places
//!            else of each class, lowest first:
//!              posting_count     varint
//!              list_len          varint, bytes of the postings
//!              places_len        varint, bytes of this class in `positions`
//!              skips             of every full run of RUN_POSTINGS but the last: first message
//!                                that is beyond the run's before, bytes of its postings,
//!                                bytes of its places; all varints
//!              postings          message − message before, × 2, + 1 if it stands there more than
//!                                once; then the count − 2
//! positions  of each class, of each posting: place − place before, × 2, + 1 behind a usual
//!            separator
//! ```
//!
//! Messages count from 0 within a split. Places count tokens within a class of a message; the texts
//! of one class are two places apart, so that nothing is next to what stands in another text.

use std::ops::Range;

use super::block::Bytes;
use super::set::MessageSet;
use super::{Class, broken};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::width::{u64_of, usize_of_u32};

/// Postings that one skip jumps over.
const RUN_POSTINGS: u32 = 128;
/// Says that a term has one posting, whose class stands in the lower bits.
pub(crate) const ALONE: u8 = 0x80;

/// Where a token stands in a class of a message: place × 2, + 1 behind a usual separator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Occurrence(pub(crate) u32);

impl Occurrence {
    /// Of a mark, which stands nowhere.
    pub(crate) const NONE: Occurrence = Occurrence(u32::MAX);

    pub(crate) fn new(place: u32, is_usual: bool) -> Occurrence {
        Occurrence(place << 1 | u32::from(is_usual))
    }

    pub(crate) fn place(self) -> u32 {
        self.0 >> 1
    }

    /// Whether the separator before it is usual.
    pub(crate) fn is_usual(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The lists of one term while they are written: push postings by class, then by message.
#[derive(Default)]
pub(crate) struct ListsWriter {
    classes: Vec<ClassWriter>,
}

struct ClassWriter {
    class: Class,
    count: u32,
    last: u32,
    skips: Encoder,
    postings: Encoder,
    places: Encoder,
    /// Where the current run began.
    run: (u32, usize, usize),
}

/// A term's lists as they are stored.
#[derive(Default)]
pub(crate) struct StoredLists {
    pub(crate) lists: Encoder,
    pub(crate) positions: Encoder,
}

impl ListsWriter {
    /// Adds a posting behind those of its class.
    pub(crate) fn push(&mut self, class: Class, message: u32, occurrences: &[Occurrence]) {
        let is_new = self.classes.last().is_none_or(|last| last.class != class);
        if is_new {
            self.classes.push(ClassWriter::new(class));
        }
        if let Some(writer) = self.classes.last_mut() {
            writer.push(message, occurrences);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// Appends what was pushed, and forgets it; answers the head.
    pub(crate) fn finish(&mut self, out: &mut StoredLists) -> u8 {
        let classes = std::mem::take(&mut self.classes);
        if let [only] = classes.as_slice()
            && only.count == 1
        {
            out.lists.varint(u64::from(only.last));
            out.lists.varint(only.occurrence_count());
            out.lists.raw(&only.places.bytes);
            return ALONE | only.class.number();
        }
        for class in &classes {
            out.lists.varint(u64::from(class.count));
            out.lists.count(class.postings.bytes.len());
            out.lists.count(class.places.bytes.len());
            out.lists.raw(&class.skips.bytes);
            out.lists.raw(&class.postings.bytes);
            out.positions.raw(&class.places.bytes);
        }
        classes.iter().fold(0, |bits, class| bits | class.class.bit())
    }
}

impl ClassWriter {
    fn new(class: Class) -> ClassWriter {
        ClassWriter {
            class,
            count: 0,
            last: 0,
            skips: Encoder::default(),
            postings: Encoder::default(),
            places: Encoder::default(),
            run: (0, 0, 0),
        }
    }

    fn push(&mut self, message: u32, occurrences: &[Occurrence]) {
        if self.count > 0 && self.count.is_multiple_of(RUN_POSTINGS) {
            let now = (message, self.postings.bytes.len(), self.places.bytes.len());
            self.skips.varint(u64::from(message - self.run.0));
            self.skips.count(now.1 - self.run.1);
            self.skips.count(now.2 - self.run.2);
            self.run = now;
        }
        let is_many = occurrences.len() > 1;
        self.postings.varint(u64::from(message - self.last) << 1 | u64::from(is_many));
        if is_many {
            self.postings.count(occurrences.len() - 2);
        }
        let mut before = 0;
        for occurrence in occurrences {
            let apart = u64::from(occurrence.place() - before);
            self.places.varint(apart << 1 | u64::from(occurrence.is_usual()));
            before = occurrence.place();
        }
        (self.last, self.count) = (message, self.count + 1);
    }

    /// Of its only posting: each occurrence ends with a byte without the top bit.
    fn occurrence_count(&self) -> u64 {
        u64_of(self.places.bytes.iter().filter(|byte| **byte < 0x80).count()).max(1)
    }
}

/// One class of a term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClassList<'a> {
    pub(crate) class: Class,
    pub(crate) count: u32,
    skips: &'a [u8],
    postings: &'a [u8],
    /// Where its places are: those of a posting alone stand among its postings.
    places: Places<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Places<'a> {
    Here(&'a [u8]),
    /// From where, and how many.
    Apart(usize, usize),
}

/// The classes of a term.
pub(crate) struct Lists<'a> {
    left: Decoder<'a>,
    bits: u8,
    places_from: usize,
    alone: bool,
}

impl<'a> Lists<'a> {
    /// Of a term's head and stored lists.
    pub(crate) fn new(head: u8, lists: &'a [u8]) -> Result<Lists<'a>, Broken> {
        let left = Decoder::new(lists);
        let alone = head & ALONE != 0;
        let bits = if alone { Class::of(head & !ALONE)?.bit() } else { head };
        Ok(Lists { left, bits, places_from: 0, alone })
    }

    /// The next class, lowest first.
    pub(crate) fn next(&mut self) -> Result<Option<ClassList<'a>>, Broken> {
        if self.bits == 0 {
            return Ok(None);
        }
        let class = Class::of(u8::try_from(self.bits.trailing_zeros()).unwrap_or(u8::MAX))?;
        self.bits &= self.bits - 1;
        if self.alone {
            let rest = self.left.take(self.left.left())?;
            let mut after = Decoder::new(rest);
            after.u32()?;
            after.u32()?;
            let places = after.take(after.left())?;
            let (count, skips) = (1, [].as_slice());
            let places = Places::Here(places);
            return Ok(Some(ClassList { class, count, skips, postings: rest, places }));
        }
        let count = self.left.u32()?;
        let postings_len = self.left.u32()?;
        let places_len = usize_of_u32(self.left.u32()?);
        let runs = count.saturating_sub(1) / RUN_POSTINGS;
        let skips = self.left.rest();
        for _ in 0..runs {
            for _ in 0..3 {
                self.left.u32()?;
            }
        }
        let skips = skips.get(..skips.len() - self.left.left()).unwrap_or_default();
        let postings = self.left.take(usize_of_u32(postings_len))?;
        let places = Places::Apart(self.places_from, places_len);
        self.places_from = self.places_from.checked_add(places_len).ok_or("a length overflows")?;
        Ok(Some(ClassList { class, count, skips, postings, places }))
    }
}

/// A message in which a term stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Posting {
    pub(crate) message: u32,
    pub(crate) count: u32,
}

impl<'a> ClassList<'a> {
    /// Its postings, ascending.
    pub(crate) fn postings(&self) -> Postings<'a> {
        let alone = matches!(self.places, Places::Here(_));
        Postings {
            left: Decoder::new(self.postings),
            remaining: self.count,
            last: 0,
            begins: None,
            alone,
        }
    }

    /// Hands postings of wanted messages to `take`, with the places where the term stands.
    ///
    /// `read` reads a range of the term's positions; what belongs to no wanted message is read only
    /// where it lies among what is.
    pub(crate) fn visit(
        &self,
        wanted: &MessageSet,
        mut read: impl FnMut(Range<usize>) -> Result<Bytes, ReadError>,
        mut take: impl FnMut(Posting, &[Occurrence]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut occurrences = Vec::new();
        let mut runs = self.runs();
        while let Some(run) = runs.next().map_err(broken)? {
            if !wanted.meets(run.first..run.end) {
                continue;
            }
            let apart = match self.places {
                Places::Here(_) => None,
                Places::Apart(from, _) => {
                    Some(read(from + run.places.start..from + run.places.end)?)
                }
            };
            let mut places = match (self.places, &apart) {
                (Places::Here(bytes), _) => Decoder::new(bytes),
                (Places::Apart(..), apart) => Decoder::new(apart.as_deref().unwrap_or_default()),
            };
            let has_places = places.left() > 0;
            let mut postings = run.postings;
            while let Some(posting) = postings.next().map_err(broken)? {
                occurrences.clear();
                let is_wanted = wanted.contains(posting.message);
                match (has_places, is_wanted) {
                    (true, true) => read_places(&mut places, posting.count, &mut occurrences),
                    (true, false) => places.skip_varints(posting.count),
                    (false, _) => Ok(()),
                }
                .map_err(broken)?;
                if is_wanted {
                    take(posting, &occurrences)?;
                }
            }
        }
        Ok(())
    }

    /// Hands the messages that are wanted to `take`.
    pub(crate) fn each_message(
        &self,
        wanted: &MessageSet,
        mut take: impl FnMut(u32),
    ) -> Result<(), ReadError> {
        let mut runs = self.runs();
        while let Some(run) = runs.next().map_err(broken)? {
            if !wanted.meets(run.first..run.end) {
                continue;
            }
            let mut postings = run.postings;
            while let Some(posting) = postings.next().map_err(broken)? {
                if wanted.contains(posting.message) {
                    take(posting.message);
                }
            }
        }
        Ok(())
    }

    fn runs(&self) -> Runs<'a> {
        Runs { list: *self, skips: Decoder::new(self.skips), remaining: self.count, run: (0, 0, 0) }
    }
}

/// A stretch of a list that can be jumped over.
struct Run<'a> {
    /// Messages from here on, and before there, stand in it.
    first: u32,
    end: u32,
    postings: Postings<'a>,
    places: Range<usize>,
}

struct Runs<'a> {
    list: ClassList<'a>,
    skips: Decoder<'a>,
    remaining: u32,
    /// First message, bytes of postings and of places before this run.
    run: (u32, usize, usize),
}

impl<'a> Runs<'a> {
    fn next(&mut self) -> Result<Option<Run<'a>>, Broken> {
        if self.remaining == 0 {
            return Ok(None);
        }
        let (first, postings_at, places_at) = self.run;
        let is_last = self.remaining <= RUN_POSTINGS;
        let remaining = self.remaining.min(RUN_POSTINGS);
        self.remaining -= remaining;
        let end = match (is_last, self.list.places) {
            (true, Places::Here(_)) => (u32::MAX, self.list.postings.len(), 0),
            (true, Places::Apart(_, length)) => (u32::MAX, self.list.postings.len(), length),
            (false, _) => {
                let message = first.checked_add(self.skips.u32()?).ok_or("a message overflows")?;
                let postings = postings_at.checked_add(usize_of_u32(self.skips.u32()?));
                let places = places_at.checked_add(usize_of_u32(self.skips.u32()?));
                let postings = postings.ok_or("a length overflows")?;
                (message, postings, places.ok_or("a length overflows")?)
            }
        };
        self.run = end;
        let bytes = self.list.postings.get(postings_at..end.1).ok_or("a run ends early")?;
        if end.2 < places_at {
            return Err("places end early");
        }
        let alone = matches!(self.list.places, Places::Here(_));
        // A run's first posting is told from the message before it, which is beyond what was read:
        // the skip says which it is.
        let last = match first {
            0 => None,
            first => Some(first),
        };
        let postings =
            Postings { left: Decoder::new(bytes), remaining, last: 0, begins: last, alone };
        Ok(Some(Run { first, end: end.0, postings, places: places_at..end.2 }))
    }
}

/// Postings of one class.
pub(crate) struct Postings<'a> {
    left: Decoder<'a>,
    remaining: u32,
    last: u32,
    /// What the first one is, where it does not follow from those before.
    begins: Option<u32>,
    alone: bool,
}

impl Postings<'_> {
    /// The next one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Posting>, Broken> {
        let Some(remaining) = self.remaining.checked_sub(1) else { return Ok(None) };
        self.remaining = remaining;
        if self.alone {
            return Ok(Some(Posting { message: self.left.u32()?, count: self.left.u32()? }));
        }
        let head = self.left.varint()?;
        let apart = u32::try_from(head >> 1).map_err(|_| "a message exceeds 32 bits")?;
        self.last = match self.begins.take() {
            Some(begins) => begins,
            None => self.last.checked_add(apart).ok_or("a message exceeds 32 bits")?,
        };
        let count = match head & 1 {
            0 => 1,
            _ => self.left.u32()?.checked_add(2).ok_or("a count exceeds 32 bits")?,
        };
        Ok(Some(Posting { message: self.last, count }))
    }
}

/// Appends the places of a posting, which has so many.
fn read_places(
    left: &mut Decoder<'_>,
    count: u32,
    out: &mut Vec<Occurrence>,
) -> Result<(), Broken> {
    let mut place = 0u32;
    for _ in 0..count {
        let number = left.varint()?;
        let apart = u32::try_from(number >> 1).map_err(|_| "a place exceeds 31 bits")?;
        place = place.checked_add(apart).ok_or("a place exceeds 31 bits")?;
        if place >> 31 != 0 {
            return Err("a place exceeds 31 bits");
        }
        out.push(Occurrence::new(place, number & 1 == 1));
    }
    Ok(())
}
