//! State that is made wrong on purpose, for tests.

use super::Store;
use crate::ids::{AccountNumber, Lsn};
use crate::state::{Table, TableBatch};

impl Store {
    /// Alters the first row of an account for which `alter` says how (`None` within: it goes), as
    /// no failure of a disk could: it opens. Answers whether there was one.
    pub(crate) fn alter_row(
        &self,
        table: Table,
        account: AccountNumber,
        alter: impl Fn(&[u8], &[u8]) -> Option<Option<Vec<u8>>>,
    ) -> bool {
        let saved = &self.inner.saved;
        let (mut batch, mut done) = (TableBatch::new(), false);
        let scanned = saved.tables.scan_prefix(table, &[], &mut |key, sealed| {
            if crate::base::owner_of_row(table, key) != Some(account) {
                return Ok(true);
            }
            let value = match table {
                Table::Reference => Vec::new(),
                _ => saved.values.open(table, key, account, sealed)?,
            };
            let Some(altered) = alter(key, &value) else { return Ok(true) };
            match altered {
                None => batch.delete(table, key),
                Some(value) => {
                    let sealed = saved.values.seal(table, key, account, Lsn::ZERO, &value);
                    batch.put(table, key, sealed.expect("its key is there"));
                }
            }
            done = true;
            Ok(false)
        });
        scanned.and_then(|()| saved.tables.write(batch)).expect("tables in memory");
        saved.tables.flush().expect("tables in memory");
        done
    }

    /// Up to where records of the account are covered by its base image, if it has one.
    pub(crate) fn base_begun(&self, account: AccountNumber) -> Option<Lsn> {
        self.inner.committed.base(account).map(|image| image.begun)
    }
}
