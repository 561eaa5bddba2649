//! Fuzz body of index files; see [`crate::fuzzing`].

use super::documents;
use super::file::FileTable;
use crate::fuzzing::{edit, split};
use crate::seal::fuzzing::IndexFileUnderTest;

/// An index file: its table decodes or is refused, nobody forges a header or a block, and none that
/// was altered opens.
pub(crate) fn index_file(bytes: &[u8]) {
    if let Ok(table) = FileTable::decode(bytes) {
        let encoded = table.encode();
        assert_eq!(FileTable::decode(&encoded).ok(), Some(table), "what decodes is encoded");
    }
    if let Ok(texts) = documents::decode(bytes) {
        let encoded = documents::encode(&texts);
        assert_eq!(documents::decode(&encoded).ok(), Some(texts), "what decodes is encoded");
    }
    let file = IndexFileUnderTest::new();
    assert!(!file.opens_header(bytes), "a forged header opened");
    assert!(file.opened_block(bytes, bytes.len()).is_none(), "a forged block opened");
    let (plain, edits) = split(bytes);
    let sealed = file.sealed_block(plain);
    assert_eq!(file.opened_block(&sealed, plain.len()).as_deref(), Some(plain));
    let mut altered = sealed.clone();
    edit(&mut altered, edits);
    if altered != sealed {
        assert!(file.opened_block(&altered, plain.len()).is_none(), "an altered block opened");
    }
    let header = file.header();
    assert!(file.opens_header(&header));
    let mut altered = header.clone();
    edit(&mut altered, edits);
    if altered != header {
        assert!(!file.opens_header(&altered), "an altered header opened");
    }
}
