//! THREAD=ORDEREDSUBJECT (RFC 5256 section 3): messages with the same base subject, the oldest
//! first and the others below it.

use super::{Entries, NONE, Trees, count_of};

pub(super) fn trees(entries: &Entries) -> Trees {
    let key = |index: u32| {
        let entry = entries.entry(index);
        (entry.map_or(0, |entry| entry.sent), index)
    };
    let subject = |index: u32| entries.entry(index).map_or(NONE, |entry| entry.subject);
    let messages = count_of(&entries.list);
    let mut order: Vec<u32> = (0..messages).collect();
    // Which of two subjects comes first does not matter: threads are sorted by their dates.
    order.sort_unstable_by_key(|&index| (subject(index), key(index)));
    let mut parents = vec![NONE; order.len()];
    let mut roots: Vec<u32> = Vec::new();
    for index in order {
        match roots.last() {
            Some(&root) if subject(root) == subject(index) => {
                if let Some(parent) = parents.get_mut(engine::width::usize_of_u32(index)) {
                    *parent = root;
                }
            }
            _ => roots.push(index),
        }
    }
    Trees::new(messages, &parents, roots, key)
}
