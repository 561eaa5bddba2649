//! THREAD=ORDEREDSUBJECT (RFC 5256 section 3): messages with the same base subject, the oldest
//! first and the others below it.

use super::{Forest, NONE, ThreadTable, count_of};

pub(super) fn forest(table: &ThreadTable) -> Forest {
    let ranks = table.subjects.ranks();
    let key = |index: u32| {
        let entry = table.entry(index);
        (entry.map_or(0, |entry| entry.sent), index)
    };
    let subject = |index: u32| table.entry(index).map_or(NONE, |entry| entry.subject);
    let mut order: Vec<u32> = (0..count_of(&table.entries)).collect();
    let rank = |index| ranks.get(engine::width::usize_of_u32(subject(index))).copied();
    order.sort_by_key(|&index| (rank(index), key(index)));
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
    let numbers = table.entries.iter().map(|entry| entry.number).collect();
    Forest::new(numbers, &parents, roots, key)
}
