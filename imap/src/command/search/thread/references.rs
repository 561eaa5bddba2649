//! THREAD=REFERENCES (RFC 5256 section 3), its six steps by their numbers.
//!
//! Nodes are messages, in mailbox order, and behind them a dummy for every id that no message has,
//! then those that step 5 makes. Everything is a list by node; no step looks at a node more often
//! than a constant times, but for sorting and for what [`Links`] takes.
//!
//! # Invariants
//! 1. After step 3 a dummy is a root and has two children at least.

use engine::width::{u32_of, usize_of_u32};

use super::links::Links;
use super::{Entries, Entry, NONE, Trees, count_of};

/// The trees of all messages of a table.
pub(super) fn trees(table: &Entries) -> Trees {
    let messages = count_of(&table.list);
    // Steps 1 and 2: who has no parent is a root.
    let parents = linked(table);
    // Step 3.
    let mut parents = pruned(parents, messages);
    promote_only_children(&mut parents, messages);
    // Step 4 is there for step 5, which takes threads in this order.
    let firsts = first_children(table, &parents);
    let mut roots = roots(&parents, messages);
    roots.sort_by_key(|&root| date(table, speaker(root, messages, &firsts)));
    merge_subjects(table, &mut parents, &roots, &firsts);
    // What step 5 made one is no level of its own. Step 6 sorts.
    let parents = pruned(parents, messages);
    let roots = self::roots(&parents, messages);
    Trees::new(messages, &parents, roots, |node| date(table, node))
}

fn get(list: &[u32], node: u32) -> u32 {
    list.get(usize_of_u32(node)).copied().unwrap_or(NONE)
}

fn set(list: &mut [u32], node: u32, value: u32) {
    if let Some(place) = list.get_mut(usize_of_u32(node)) {
        *place = value;
    }
}

/// By what siblings are sorted (RFC 5256 section 2.2).
fn date(table: &Entries, node: u32) -> (i64, u32) {
    (table.entry(node).map_or(0, |entry| entry.sent), node)
}

/// Step 1: the parent of each node by references.
fn linked(table: &Entries) -> Vec<u32> {
    let messages = count_of(&table.list);
    // The node of each id: the first message that has it, else a dummy where it is referred to.
    // Dummies are numbered as they come, and ids may have been numbered by others before.
    let mut nodes = vec![NONE; usize_of_u32(table.ids.count())];
    for (message, entry) in (0..).zip(&table.list) {
        if get(&nodes, entry.id) == NONE {
            set(&mut nodes, entry.id, message);
        }
    }
    let mut count = messages;
    for &id in &table.references {
        if get(&nodes, id) == NONE {
            set(&mut nodes, id, count);
            count += 1;
        }
    }
    let mut links = Links::new(usize_of_u32(count));
    for message in 0..messages {
        let references = table.references_of(usize_of_u32(message));
        let mut ancestors = references.iter().map(|&id| get(&nodes, id));
        // Step 1.A: each the parent of the next, where that has none yet.
        let mut last = ancestors.next();
        for node in ancestors {
            if let Some(parent) = last.filter(|_| links.parent(node) == NONE) {
                links.link(node, parent);
            }
            last = Some(node);
        }
        // Step 1.B: the last one is the parent of the message, whatever was thought before.
        if Some(links.parent(message)) == last {
            continue;
        }
        links.cut(message);
        if let Some(parent) = last {
            links.link(message, parent);
        }
    }
    links.into_parents()
}

/// Step 3: the parent of each node over dummies that are no roots. Such dummies have no parent
/// and no children afterwards.
fn pruned(mut parents: Vec<u32>, messages: u32) -> Vec<u32> {
    let is_skipped =
        |parents: &[u32], node: u32| node >= messages && node != NONE && get(parents, node) != NONE;
    let mut path = Vec::new();
    for node in 0..count_of(&parents) {
        let mut above = get(&parents, node);
        while is_skipped(&parents, above) {
            path.push(above);
            above = get(&parents, above);
        }
        // A dummy passed once points to what is above all dummies, so no path is walked twice.
        for dummy in path.drain(..) {
            set(&mut parents, dummy, above);
        }
        set(&mut parents, node, above);
    }
    for dummy in messages..count_of(&parents) {
        // It is a root, or nothing is below it any more.
        set(&mut parents, dummy, NONE);
    }
    parents
}

/// The rest of step 3: an only child of a dummy is promoted even to the root.
fn promote_only_children(parents: &mut [u32], messages: u32) {
    let mut counts = vec![0_u32; parents.len()];
    for &parent in parents.iter() {
        if let Some(count) = counts.get_mut(usize_of_u32(parent)) {
            *count += 1;
        }
    }
    for parent in parents.iter_mut() {
        if *parent >= messages && get(&counts, *parent) == 1 {
            *parent = NONE;
        }
    }
}

/// Messages without parent, and dummies with children.
fn roots(parents: &[u32], messages: u32) -> Vec<u32> {
    let mut has_children = vec![false; parents.len()];
    for &parent in parents {
        if let Some(has) = has_children.get_mut(usize_of_u32(parent)) {
            *has = true;
        }
    }
    let nodes = (0..count_of(parents)).zip(parents.iter().zip(has_children));
    let roots = nodes.filter(|&(node, (&parent, has_children))| {
        parent == NONE && (node < messages || has_children)
    });
    roots.map(|(node, _)| node).collect()
}

/// The oldest child of each node.
fn first_children(table: &Entries, parents: &[u32]) -> Vec<u32> {
    let mut firsts = vec![NONE; parents.len()];
    for (child, &parent) in (0..).zip(parents) {
        let first = get(&firsts, parent);
        if first == NONE || date(table, child) < date(table, first) {
            set(&mut firsts, parent, child);
        }
    }
    firsts
}

/// Who speaks for a root: itself, or the first child of a dummy.
fn speaker(root: u32, messages: u32, firsts: &[u32]) -> u32 {
    if root < messages { root } else { get(firsts, root) }
}

/// Step 5: threads with the same subject become one. `parents` may grow.
fn merge_subjects(table: &Entries, parents: &mut Vec<u32>, roots: &[u32], firsts: &[u32]) {
    let messages = count_of(&table.list);
    let is_dummy = |node: u32| node >= messages;
    let answers = |node: u32| table.entry(node).is_some_and(|entry: &Entry| entry.answers);
    let subject = |root: u32| {
        let entry = table.entry(speaker(root, messages, firsts))?;
        let subject = Some(entry.subject).filter(|&number| !table.subjects.text(number).is_empty());
        subject.map(usize_of_u32)
    };
    // Step 5.B
    let mut of_subject = vec![NONE; usize_of_u32(table.subjects.count())];
    for &root in roots {
        let Some(known) = subject(root).and_then(|subject| of_subject.get_mut(subject)) else {
            continue;
        };
        let is_better =
            || !is_dummy(*known) && (is_dummy(root) || (answers(*known) && !answers(root)));
        if *known == NONE || is_better() {
            *known = root;
        }
    }
    // Step 5.C
    for &root in roots {
        let Some(known) = subject(root).and_then(|subject| of_subject.get_mut(subject)) else {
            continue;
        };
        if *known == root {
            continue;
        }
        // Two dummies become one, because the lower is pruned afterwards.
        if is_dummy(*known) || (answers(root) && !answers(*known)) {
            set(parents, root, *known);
            continue;
        }
        let dummy = u32_of(parents.len());
        parents.push(NONE);
        set(parents, root, dummy);
        set(parents, *known, dummy);
        *known = dummy;
    }
}
