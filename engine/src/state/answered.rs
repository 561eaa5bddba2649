//! Requests of other nodes that took effect, with what they were answered: so that whoever inherits
//! the log answers a request that comes again, and does not do it again.
//!
//! ```text
//! answered key     account u64, big-endian (0: the volume); request 16
//! answered value   format 1, position u64 of the record, outcome (commit/proposal/outcome.rs)
//! ```
//! All of it is in memory; a row is written when it comes, and removed when it is forgotten or its
//! account is deleted. What is forgotten is each node's own affair: replay brings it back, which
//! does no harm.
//!
//! # Invariants
//! 1. A request has a row if and only if the record of type 41 was applied and the row was not
//!    forgotten since.
//! 2. The newest [`ANSWERED_KEPT_MIN`] are never forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::saved::{FORMAT, Saved, refuse_newer};
use super::table::Table;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::ids::{AccountNumber, Lsn, RequestId};
use crate::limits::{ANSWERED_BYTES_MAX, ANSWERED_COUNT_MAX, ANSWERED_KEPT_MIN};

/// What a request was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AnsweredRow {
    /// Whose change it was; [`AccountNumber::VOLUME`] if of no account or of several.
    pub(crate) account: AccountNumber,
    /// Position of the record that tells so.
    pub(crate) lsn: Lsn,
    pub(crate) outcome: Arc<[u8]>,
}

/// What the next checkpoint writes; `None`: the row goes.
pub(crate) type UnsavedAnswers = BTreeMap<(AccountNumber, RequestId), Option<AnsweredRow>>;

impl AnsweredRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.lsn(self.lsn);
        out.blob(&self.outcome);
        out.bytes
    }

    pub(crate) fn decode(account: AccountNumber, value: &[u8]) -> Result<AnsweredRow, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let row = AnsweredRow { account, lsn: from.lsn()?, outcome: from.blob()?.into() };
        from.end()?;
        Ok(row)
    }
}

/// The key of a row.
pub(super) fn answered_key(account: AccountNumber, request: RequestId) -> Vec<u8> {
    [account.0.to_be_bytes().as_slice(), &request.0].concat()
}

fn of_key(key: &[u8]) -> Result<(AccountNumber, RequestId), Broken> {
    let mut from = Decoder::new(key);
    let account = AccountNumber(u64::from_be_bytes(from.array()?));
    let request = RequestId(from.array()?);
    from.end()?;
    Ok((account, request))
}

/// Every request that is known to have been answered.
#[derive(Default)]
pub(crate) struct Answered {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    by_request: HashMap<RequestId, AnsweredRow>,
    by_position: BTreeMap<Lsn, RequestId>,
    bytes: usize,
}

impl Inner {
    fn insert(&mut self, request: RequestId, row: AnsweredRow) {
        self.remove(request);
        self.bytes += row.outcome.len();
        self.by_position.insert(row.lsn, request);
        self.by_request.insert(request, row);
    }

    fn remove(&mut self, request: RequestId) -> Option<AnsweredRow> {
        let row = self.by_request.remove(&request)?;
        self.by_position.remove(&row.lsn);
        self.bytes = self.bytes.saturating_sub(row.outcome.len());
        Some(row)
    }
}

impl Answered {
    /// Those of the tables.
    pub(super) fn of(rows: Vec<(RequestId, AnsweredRow)>) -> Answered {
        let answered = Answered::default();
        answered.extend(rows);
        answered
    }

    /// Takes over those of the tables.
    pub(super) fn reload(&self, rows: Vec<(RequestId, AnsweredRow)>) {
        *self.inner.write() = Inner::default();
        self.extend(rows);
    }

    pub(super) fn extend(&self, rows: impl IntoIterator<Item = (RequestId, AnsweredRow)>) {
        let mut inner = self.inner.write();
        rows.into_iter().for_each(|(request, row)| inner.insert(request, row));
    }

    /// What a request was answered.
    pub(super) fn find(&self, request: RequestId) -> Option<AnsweredRow> {
        self.inner.read().by_request.get(&request).cloned()
    }

    /// Whether so many are kept that no further request is taken.
    pub(super) fn is_full(&self) -> bool {
        let inner = self.inner.read();
        inner.by_request.len() >= ANSWERED_COUNT_MAX || inner.bytes >= ANSWERED_BYTES_MAX
    }

    /// Those of accounts that are gone go with them.
    pub(super) fn forget_accounts(&self, is_gone: impl Fn(AccountNumber) -> bool) {
        let mut inner = self.inner.write();
        let rows = inner.by_request.iter();
        let going = rows.filter(|(_, row)| is_gone(row.account)).map(|(request, _)| *request);
        for request in going.collect::<Vec<_>>() {
            inner.remove(request);
        }
    }

    /// Forgets those below a position, but for the newest; answers which.
    pub(super) fn forget(&self, below: Lsn) -> Vec<(AccountNumber, RequestId)> {
        let mut inner = self.inner.write();
        let going = inner.by_position.len().saturating_sub(ANSWERED_KEPT_MIN);
        let going: Vec<RequestId> =
            inner.by_position.range(..below).take(going).map(|(_, request)| *request).collect();
        let forget = |request| inner.remove(request).map(|row| (row.account, request));
        going.into_iter().filter_map(forget).collect()
    }
}

impl Saved {
    /// Every answered request whose account's key is there.
    pub(super) fn answered(&self) -> Result<Vec<(RequestId, AnsweredRow)>, ReadError> {
        let mut rows = Vec::new();
        self.tables.scan_prefix(Table::Answered, &[], &mut |key, sealed| {
            let undecodable = |why| ReadError::Undecodable { what: "answered request", why };
            let (account, request) = of_key(key).map_err(undecodable)?;
            if account == AccountNumber::VOLUME || self.values.has_account(account) {
                let value = self.values.open(Table::Answered, key, account, sealed)?;
                refuse_newer("answered request", &value)?;
                rows.push((request, AnsweredRow::decode(account, &value).map_err(undecodable)?));
            }
            Ok(true)
        })?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sequence: u64) -> (RequestId, AnsweredRow) {
        let mut request = RequestId([0; 16]);
        request.0[..8].copy_from_slice(&sequence.to_be_bytes());
        let lsn = Lsn::new(1, sequence).unwrap();
        let account = AccountNumber(sequence % 3);
        (request, AnsweredRow { account, lsn, outcome: vec![7; 3].into() })
    }

    #[test]
    fn a_row_reads_back_and_is_written_as_it_was_first() {
        let (request, row) = row(77);
        let bytes = row.encode();
        assert_eq!(AnsweredRow::decode(row.account, &bytes), Ok(row.clone()));
        assert!(AnsweredRow::decode(row.account, &bytes[..bytes.len() - 1]).is_err());
        let key = answered_key(row.account, request);
        assert_eq!(of_key(&key), Ok((row.account, request)));
        crate::golden::compare("answered_row_9.bin", &[key, bytes].concat());
    }

    #[test]
    fn those_below_a_position_are_forgotten_but_for_the_newest() {
        let kept = crate::width::u64_of(ANSWERED_KEPT_MIN);
        let answered = Answered::of((1..=kept + 10).map(row).collect());
        assert_eq!(answered.forget(Lsn::new(1, 6).unwrap()).len(), 5);
        assert_eq!(answered.forget(Lsn::new(2, 1).unwrap()).len(), 5, "the newest stay");
        assert_eq!(answered.find(row(10).0), None);
        assert_eq!(answered.find(row(11).0), Some(row(11).1));
        answered.extend([row(11)]);
        assert_eq!(answered.inner.read().bytes, ANSWERED_KEPT_MIN * 3, "applied twice, kept once");
        answered.forget_accounts(|account| account == AccountNumber(2));
        assert_eq!(answered.find(row(11).0), None, "it went with its account");
        assert!(answered.find(row(12).0).is_some() && !answered.is_full());
    }
}
