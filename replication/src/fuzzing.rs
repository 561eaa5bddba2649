//! Every parser of foreign bytes here, as functions from bytes to nothing that panic when a promise
//! breaks: see `engine::fuzzing`.

use crate::directory;

/// The body of a target: panics when a promise breaks.
pub type Body = fn(&[u8]);

/// Every target with its body.
pub const TARGETS: &[(&str, Body)] =
    &[("etcd_answer", directory::fuzzing::answer), ("etcd_standing", directory::fuzzing::standing)];

/// Runs the target of that name.
///
/// # Panics
/// When there is none, or a promise breaks: both are what the caller wants to know.
pub fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, body) = found.expect("fuzz/ names targets of the list above");
    body(bytes);
}
