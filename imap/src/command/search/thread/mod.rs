//! THREAD (RFC 5256 section 3): the messages that were found, as trees.
//!
//! A table with a row per message holds what both algorithms go by: date, subject, and for
//! REFERENCES the ids, each text once. The trees are flat lists of numbers; building them and
//! writing them down needs no recursion, so that a chain of 100,000 answers is only long.

mod links;
mod references;
mod subjects;

use engine::error::ReadError;
use engine::message::is_reply_or_forward;
use engine::message::thread::{ancestors, own_id};
use engine::width::{u32_of, usize_of_u32};

use super::candidate::Candidate;
use super::sort::{put_collated, sent};
use super::texts::Texts;
use crate::codec::command::{Numbers, ThreadAlgorithm};
use crate::codec::put;
use crate::stream::{Ended, Wire};

/// No node.
const NONE: u32 = u32::MAX;

/// A message as the algorithms see it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// What is told of it.
    number: u32,
    /// When it was sent.
    sent: i64,
    /// Its base subject among the subjects.
    subject: u32,
    /// Whether its subject is that of a reply or a forwarded message.
    answers: bool,
    /// Its id among the ids; [`NONE`] if it has none.
    id: u32,
    /// Where its references end in the list of all.
    references_end: usize,
}

/// All messages that were found, in mailbox order.
pub(super) struct ThreadTable {
    algorithm: ThreadAlgorithm,
    entries: Vec<Entry>,
    subjects: Texts,
    ids: Texts,
    /// References of all messages, one behind the other.
    references: Vec<u32>,
    /// The subject of the message at hand.
    subject: String,
}

/// Trees of messages.
pub(super) struct Forest {
    /// What is told of each node; 0 for one that is no message.
    numbers: Vec<u32>,
    /// Where the children of each node begin in `children`; one more than there are nodes.
    begins: Vec<usize>,
    children: Vec<u32>,
    roots: Vec<u32>,
}

impl ThreadTable {
    pub(super) fn new(algorithm: ThreadAlgorithm) -> ThreadTable {
        ThreadTable {
            algorithm,
            entries: Vec::new(),
            subjects: Texts::default(),
            ids: Texts::default(),
            references: Vec::new(),
            subject: String::new(),
        }
    }

    /// Bytes of memory that it takes and that building trees from it will take.
    pub(super) fn bytes(&self) -> usize {
        let nodes = self.entries.len() + usize_of_u32(self.ids.count());
        self.entries.capacity() * size_of::<Entry>()
            + self.references.capacity() * 4
            + self.subjects.bytes()
            + self.ids.bytes()
            + nodes * 64
    }

    /// One more message.
    pub(super) fn add(
        &mut self,
        candidate: &mut Candidate<'_>,
        numbers: Numbers,
        number: u32,
    ) -> Result<(), ReadError> {
        let row = candidate.row;
        let summary = candidate.summary()?;
        let number = match numbers {
            Numbers::Uid => row.uid.0,
            Numbers::Sequence => number,
        };
        let sent = sent(row, summary);
        let mut subject = std::mem::take(&mut self.subject);
        subject.clear();
        put_collated(&mut subject, summary.base_subject());
        if self.algorithm == ThreadAlgorithm::OrderedSubject {
            self.push(number, sent, &subject, false, None, std::iter::empty());
            self.subject = subject;
            return Ok(());
        }
        let written = summary.envelope().subject.unwrap_or_default();
        let answers = written != summary.base_subject().as_bytes() && is_reply_or_forward(written);
        let id = own_id(summary);
        self.push(number, sent, &subject, answers, id.as_deref(), ancestors(summary));
        self.subject = subject;
        Ok(())
    }

    fn push<'a>(
        &mut self,
        number: u32,
        sent: i64,
        subject: &str,
        answers: bool,
        id: Option<&str>,
        ancestors: impl Iterator<Item = &'a str>,
    ) {
        for ancestor in ancestors {
            self.references.push(self.ids.number_of(ancestor.as_bytes()));
        }
        self.entries.push(Entry {
            number,
            sent,
            subject: self.subjects.number_of(subject.as_bytes()),
            answers,
            id: id.map_or(NONE, |id| self.ids.number_of(id.as_bytes())),
            references_end: self.references.len(),
        });
    }

    /// The trees.
    pub(super) fn forest(&self) -> Forest {
        match self.algorithm {
            ThreadAlgorithm::OrderedSubject => subjects::forest(self),
            ThreadAlgorithm::References => references::forest(self),
        }
    }

    fn entry(&self, index: u32) -> Option<&Entry> {
        self.entries.get(usize_of_u32(index))
    }
}

impl Forest {
    /// From the parent of each node, [`NONE`] for roots; nodes that are neither under a root nor
    /// one are left out. Children and roots are sorted by what `key` says of them.
    fn new<K: Ord>(
        numbers: Vec<u32>,
        parents: &[u32],
        mut roots: Vec<u32>,
        key: impl Fn(u32) -> K,
    ) -> Forest {
        let mut begins = vec![0_usize; parents.len() + 1];
        for &parent in parents {
            if let Some(begin) = begins.get_mut(usize_of_u32(parent).saturating_add(1)) {
                *begin += 1;
            }
        }
        let mut sum = 0;
        for begin in &mut begins {
            sum += *begin;
            *begin = sum;
        }
        let mut next = begins.clone();
        let mut children = vec![NONE; sum];
        for (child, &parent) in (0..).zip(parents) {
            let Some(place) = next.get_mut(usize_of_u32(parent)) else { continue };
            if let Some(slot) = children.get_mut(*place) {
                *slot = child;
            }
            *place += 1;
        }
        for (&begin, &end) in begins.iter().zip(begins.iter().skip(1)) {
            if let Some(siblings) = children.get_mut(begin..end) {
                siblings.sort_by_key(|&child| key(child));
            }
        }
        let mut forest = Forest { numbers, begins, children, roots: Vec::new() };
        // What is no message is sorted by its first child (RFC 5256 section 3, step 6).
        roots.sort_by_cached_key(|&root| {
            let by = match forest.number(root) {
                0 => forest.children(root).first().copied().unwrap_or(root),
                _ => root,
            };
            key(by)
        });
        forest.roots = roots;
        forest
    }

    fn number(&self, node: u32) -> u32 {
        self.numbers.get(usize_of_u32(node)).copied().unwrap_or(0)
    }

    fn children(&self, node: u32) -> &[u32] {
        let node = usize_of_u32(node);
        let (begin, end) = (self.begins.get(node), self.begins.get(node.saturating_add(1)));
        let (Some(&begin), Some(&end)) = (begin, end) else { return &[] };
        self.children.get(begin..end).unwrap_or_default()
    }
}

/// What is left to be written of a tree.
enum Due {
    /// `(`, a node with all below it, `)`.
    Tree(u32),
    /// A node with all below it, behind its parent.
    Node(u32),
    Close,
}

/// `* THREAD` and `thread-list`s.
pub(super) async fn put_threads(wire: &mut Wire, forest: &Forest) -> Result<(), Ended> {
    wire.out.extend_from_slice(b"* THREAD");
    if !forest.roots.is_empty() {
        wire.out.push(b' ');
    }
    let mut due: Vec<Due> = Vec::new();
    for &root in &forest.roots {
        due.push(Due::Tree(root));
        while let Some(step) = due.pop() {
            put_step(&mut wire.out, forest, step, &mut due);
            wire.relieve().await?;
        }
    }
    wire.out.extend_from_slice(b"\r\n");
    Ok(())
}

fn put_step(out: &mut Vec<u8>, forest: &Forest, step: Due, due: &mut Vec<Due>) {
    let node = match step {
        Due::Close => return out.push(b')'),
        Due::Tree(node) => {
            out.push(b'(');
            due.push(Due::Close);
            node
        }
        Due::Node(node) => {
            out.push(b' ');
            node
        }
    };
    let number = forest.number(node);
    if number != 0 {
        put::number(out, u64::from(number));
    }
    match forest.children(node) {
        [] => {}
        [child] if number != 0 => due.push(Due::Node(*child)),
        children => {
            if number != 0 {
                out.push(b' ');
            }
            due.extend(children.iter().rev().map(|&child| Due::Tree(child)));
        }
    }
}

/// The number of things in a list, as numbers of nodes are kept.
fn count_of<T>(list: &[T]) -> u32 {
    u32_of(list.len())
}

#[cfg(test)]
mod tests;
