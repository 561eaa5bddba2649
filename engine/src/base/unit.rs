//! Cutting rows of state into units, in the same way whenever the rows are the same.
//!
//! Where a unit ends depends on the keys of the rows near by and on nothing before them, so a
//! change of some rows changes the units around it and no others.

use std::mem::take;

use crate::ids::AccountNumber;
use crate::record::base::DumpedRow;
use crate::state::Table;

/// A unit of fewer bytes goes on, if it can.
const UNIT_BYTES_MIN: usize = 4 << 10;
/// A unit of more bytes ends.
const UNIT_BYTES_MAX: usize = 48 << 10;

/// Tables that an image has, in its order: those of accounts but for the images themselves and for
/// what is a node's own cache.
pub(super) fn tables() -> impl Iterator<Item = Table> {
    let is_left_out = |table: &Table| matches!(table, Table::Base | Table::Summary);
    Table::OF_ACCOUNTS.into_iter().filter(move |table| !is_left_out(table))
}

/// Collects rows of one account.
#[derive(Default)]
pub(super) struct Cutter {
    rows: Vec<DumpedRow>,
    bytes: usize,
}

impl Cutter {
    /// Adds a row; answers the unit that ended before it. Rows that must not be parted have the
    /// same `anchor`.
    pub(super) fn push(
        &mut self,
        table: Table,
        key: &[u8],
        value: Vec<u8>,
        anchor: bool,
    ) -> Option<Vec<DumpedRow>> {
        let ends = anchor
            && (self.bytes >= UNIT_BYTES_MAX
                || (self.bytes >= UNIT_BYTES_MIN && is_boundary(table, key)));
        let ended = if ends { self.end() } else { None };
        self.bytes += key.len() + value.len() + 4;
        self.rows.push(DumpedRow { table: table.number(), key: key.to_vec(), value });
        ended
    }

    /// The unit so far, if it has rows.
    pub(super) fn end(&mut self) -> Option<Vec<DumpedRow>> {
        self.bytes = 0;
        Some(take(&mut self.rows)).filter(|rows| !rows.is_empty())
    }
}

/// One key in four.
fn is_boundary(table: Table, key: &[u8]) -> bool {
    let hash = blake3::Hasher::new().update(&[table.number()]).update(key).finalize();
    hash.as_bytes().first().is_some_and(|byte| byte & 3 == 0)
}

/// The account that a row belongs to by its key; `None` if it is no row of an image.
pub(crate) fn owner(table: Table, key: &[u8]) -> Option<AccountNumber> {
    let number = match table {
        Table::Reference => key.get(8..16)?.first_chunk()?,
        table if tables().any(|of_account| of_account == table) => key.first_chunk()?,
        _ => return None,
    };
    Some(AccountNumber(u64::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(rows: &[(u64, usize)]) -> Vec<Vec<DumpedRow>> {
        let mut cutter = Cutter::default();
        let mut units = Vec::new();
        for (key, size) in rows {
            units.extend(cutter.push(Table::Page, &key.to_be_bytes(), vec![7; *size], true));
        }
        units.extend(cutter.end());
        units
    }

    #[test]
    fn a_row_that_changes_changes_few_units() {
        let before: Vec<(u64, usize)> = (0..2000).map(|key| (key, 700)).collect();
        let mut after = before.clone();
        after[1000].1 = 300;
        after.remove(500);
        let (before, after) = (units(&before), units(&after));
        assert_eq!(before.iter().map(Vec::len).sum::<usize>(), 2000);
        assert!(before.len() > 100);
        let changed = after.iter().filter(|unit| !before.contains(unit)).count();
        assert!((1..=4).contains(&changed), "{changed} of {}", after.len());
    }
}
