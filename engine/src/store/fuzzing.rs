//! Fuzz bodies of the small files of a store; see [`crate::fuzzing`].

use std::path::Path;

use super::give_up::marker;
use super::layout::NodeFile;
use super::merge::Step;

/// `node.toml`.
pub(crate) fn node_file(bytes: &[u8]) {
    let path = Path::new("node.toml");
    let Ok(node) = NodeFile::decode(path, &String::from_utf8_lossy(bytes)) else { return };
    let again = NodeFile::decode(path, &node.encode());
    assert_eq!(again.ok(), Some(node));
}

/// `giving-up` of a volume.
pub(crate) fn giving_up(bytes: &[u8]) {
    let Some(inherited) = marker::decode(&String::from_utf8_lossy(bytes)) else { return };
    assert_eq!(marker::decode(&marker::encode(inherited)), Some(inherited));
}

/// A step of a merge.
pub(crate) fn merge_step(bytes: &[u8]) {
    let Ok(step) = Step::decode(bytes) else { return };
    let again = step.encode();
    assert_eq!(Step::decode(&again).map(|step| step.encode()), Ok(again));
}
