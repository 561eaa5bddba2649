//! Fuzz body of the file that names a store; see [`crate::fuzzing`].

use std::path::Path;

use super::layout::NodeFile;

/// `node.toml`.
pub(crate) fn node_file(bytes: &[u8]) {
    let path = Path::new("node.toml");
    let Ok(node) = NodeFile::decode(path, &String::from_utf8_lossy(bytes)) else { return };
    let again = NodeFile::decode(path, &node.encode());
    assert_eq!(again.ok(), Some(node));
}
