//! `sequence-set` as written: numbers, ranges and `*`, not yet resolved against a mailbox.

use super::cursor::{Cursor, SyntaxError};

/// Ranges of which there are few.
const FEW_RANGES: usize = 64;

/// A number of a message, or the highest there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// A sequence number or UID, never 0.
    Number(u32),
    /// `*`
    Highest,
}

/// `sequence-set`: ranges in the order in which they were written, or `$`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SequenceSet {
    /// First and last of each range, in either order; none for `$`.
    pub ranges: Vec<(Bound, Bound)>,
    /// Whether it is `$`: what a search has saved (RFC 5182).
    pub is_saved_result: bool,
}

impl SequenceSet {
    /// `sequence-set = (seq-number / seq-range) ["," sequence-set] / "$"`
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<SequenceSet, SyntaxError> {
        if cursor.take(b'$') {
            return Ok(SequenceSet { ranges: Vec::new(), is_saved_result: true });
        }
        let mut ranges = Vec::new();
        loop {
            let first = bound(cursor)?;
            let last = if cursor.take(b':') { bound(cursor)? } else { first };
            ranges.push((first, last));
            if !cursor.take(b',') {
                return Ok(SequenceSet { ranges, is_saved_result: false });
            }
        }
    }

    /// Ranges of numbers with `*` put in, low bound first.
    pub fn resolve(&self, highest: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        let number = move |bound: Bound| match bound {
            Bound::Number(number) => number,
            Bound::Highest => highest,
        };
        self.ranges.iter().map(move |&(a, b)| {
            let (a, b) = (number(a), number(b));
            if a <= b { (a, b) } else { (b, a) }
        })
    }

    /// Whether it names one message.
    pub fn is_one(&self) -> bool {
        matches!(self.ranges.as_slice(), [(first, last)] if first == last)
    }

    /// Whether it takes little to look up, however many messages it names.
    pub fn is_short(&self) -> bool {
        !self.is_saved_result && self.ranges.len() <= FEW_RANGES
    }

    /// Whether any bound is `*`.
    pub fn names_highest(&self) -> bool {
        self.ranges.iter().any(|&(a, b)| a == Bound::Highest || b == Bound::Highest)
    }
}

fn bound(cursor: &mut Cursor<'_>) -> Result<Bound, SyntaxError> {
    if cursor.take(b'*') {
        return Ok(Bound::Highest);
    }
    if !cursor.peek().is_some_and(|byte| byte.is_ascii_digit()) {
        return cursor.expected("a message number or '*'");
    }
    cursor.nz_number().map(Bound::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_resolved() {
        let mut cursor = Cursor::new(b"2,4:7,9,12:*,*:3", &[]);
        let set = SequenceSet::parse(&mut cursor).unwrap();
        cursor.end().unwrap();
        let ranges: Vec<_> = set.resolve(10).collect();
        assert_eq!(ranges, [(2, 2), (4, 7), (9, 9), (10, 12), (3, 10)]);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for bad in ["0", "1:", ",1", "1,,2", "a", "", "4294967296", "1:0", "$,1", "1,$", "$:2"] {
            let mut cursor = Cursor::new(bad.as_bytes(), &[]);
            assert!(
                SequenceSet::parse(&mut cursor).and_then(|_| cursor.end()).is_err(),
                "{bad} is no set"
            );
        }
    }
}
