//! Fuzz body of records; see [`crate::fuzzing`].

use super::Record;

/// A record's type, and its opened payload behind it.
pub(crate) fn record(bytes: &[u8]) {
    let Some((&kind, payload)) = bytes.split_first() else { return };
    let Ok(record) = Record::decode(kind, payload) else { return };
    assert_eq!(record.kind(), kind);
    assert!(record.position_count() > 0);
    let encoded = record.encode();
    assert!(encoded.len() <= payload.len(), "our own form is the shortest");
    assert_eq!(Record::decode(kind, &encoded), Ok(record));
}
