//! THREAD (RFC 5256 section 3): the messages that were found, as trees.
//!
//! A table with a row per message holds what both algorithms go by: date, subject, and for
//! REFERENCES the ids, each text once; what is known from before is taken from there (`kept`). The
//! trees are flat lists of numbers; building them and writing them down needs no recursion, so that
//! a chain of 100,000 answers is only long.

mod kept;
mod links;
mod references;
mod subjects;

use std::sync::Arc;

use engine::error::ReadError;
use engine::ids::BlobId;
use engine::message::is_reply_or_forward;
use engine::message::thread::{ancestors, own_id};
use engine::width::{u32_of, usize_of_u32};

use super::candidate::Candidate;
use super::sort::{put_collated, sent};
use super::texts::{Texts, shared_number_of};
use crate::codec::command::{Numbers, ThreadAlgorithm};
use crate::codec::put;
use crate::stream::{Ended, Wire};

pub(super) use self::kept::KeptThreads;

/// No node.
const NONE: u32 = u32::MAX;

/// A message as the algorithms see it.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it was sent.
    sent: i64,
    /// Its base subject among the subjects.
    subject: u32,
    /// Its id among the ids; [`NONE`] if it has none.
    id: u32,
    /// Where its references end in the list of all.
    references_end: u32,
    /// Whether its subject is that of a reply or a forwarded message.
    answers: bool,
}

/// What the algorithms go by, of messages in mailbox order.
#[derive(Clone, Default)]
struct Entries {
    list: Vec<Entry>,
    subjects: Arc<Texts>,
    ids: Arc<Texts>,
    /// References of all messages, one behind the other.
    references: Vec<u32>,
}

/// All messages that were found, in mailbox order.
pub(super) struct ThreadTable {
    algorithm: ThreadAlgorithm,
    /// What is told of each.
    numbers: Vec<u32>,
    entries: Entries,
    /// What is known from before, and how far it was looked at.
    before: Option<Arc<KeptThreads>>,
    at: usize,
    /// How many of the messages it knew.
    known: usize,
    keeps: bool,
    uids: Vec<u32>,
    blobs: Vec<BlobId>,
    /// The subject of the message at hand.
    subject: String,
}

/// Trees of messages.
pub(super) struct Forest {
    /// What is told of each node; 0 for one that is no message.
    numbers: Vec<u32>,
    trees: Arc<Trees>,
}

/// Which node is below which.
#[derive(Default)]
struct Trees {
    /// Where the children of each node begin in `children`; one more than there are nodes.
    begins: Vec<u32>,
    children: Vec<u32>,
    roots: Vec<u32>,
}

impl Entries {
    fn bytes(&self) -> usize {
        self.list.capacity() * size_of::<Entry>()
            + self.references.capacity() * 4
            + self.subjects.bytes()
            + self.ids.bytes()
    }

    /// Gives back room for messages that may come.
    fn shrink(&mut self) {
        self.list.shrink_to_fit();
        self.references.shrink_to_fit();
        for texts in [&mut self.subjects, &mut self.ids] {
            if let Some(own) = Arc::get_mut(texts) {
                own.shrink();
            }
        }
    }

    /// With no message, but with the texts of others.
    fn emptied(&self) -> Entries {
        let (subjects, ids) = (Arc::clone(&self.subjects), Arc::clone(&self.ids));
        Entries { subjects, ids, ..Entries::default() }
    }

    /// The references of a message.
    fn references_of(&self, index: usize) -> &[u32] {
        let end = |index: usize| self.list.get(index).map_or(0, |entry| entry.references_end);
        let begin = index.checked_sub(1).map_or(0, end);
        let range = usize_of_u32(begin)..usize_of_u32(end(index));
        self.references.get(range).unwrap_or_default()
    }

    /// One more message, which others, from whose texts these go on, have there.
    fn push_known(&mut self, others: &Entries, index: usize) {
        let Some(entry) = others.list.get(index) else { return };
        self.references.extend_from_slice(others.references_of(index));
        self.list.push(Entry { references_end: count_of(&self.references), ..*entry });
    }
}

impl ThreadTable {
    /// With no message yet; of some that will come something may be known.
    pub(super) fn new(algorithm: ThreadAlgorithm, before: Option<Arc<KeptThreads>>) -> ThreadTable {
        ThreadTable {
            algorithm,
            numbers: Vec::new(),
            entries: before.as_ref().map(|kept| kept.entries().emptied()).unwrap_or_default(),
            before,
            at: 0,
            known: 0,
            keeps: true,
            uids: Vec::new(),
            blobs: Vec::new(),
            subject: String::new(),
        }
    }

    /// With no message yet; what comes is not kept.
    pub(super) fn that_keeps_nothing(algorithm: ThreadAlgorithm) -> ThreadTable {
        ThreadTable { keeps: false, ..ThreadTable::new(algorithm, None) }
    }

    /// Whether it has begun with texts from before.
    pub(super) fn has_kept(&self) -> bool {
        self.before.is_some()
    }

    /// Bytes of memory that it takes and that building trees from it will take.
    pub(super) fn bytes(&self) -> usize {
        let nodes = self.numbers.len() + usize_of_u32(self.entries.ids.count());
        self.entries.bytes() + self.numbers.capacity() * 20 + nodes * 64
    }

    /// One more message.
    pub(super) fn add(
        &mut self,
        candidate: &mut Candidate<'_>,
        numbers: Numbers,
        number: u32,
    ) -> Result<(), ReadError> {
        let row = candidate.row;
        let number = match numbers {
            Numbers::Uid => row.uid.0,
            Numbers::Sequence => number,
        };
        if let Some(before) = &self.before
            && let Some(index) = before.roster().find(&mut self.at, row.uid.0, row.blob)
        {
            self.entries.push_known(before.entries(), index);
            self.known += 1;
        } else {
            self.add_summary(candidate)?;
        }
        self.numbers.push(number);
        self.uids.push(row.uid.0);
        self.blobs.push(row.blob);
        Ok(())
    }

    /// What a message's summary says.
    fn add_summary(&mut self, candidate: &mut Candidate<'_>) -> Result<(), ReadError> {
        let row = candidate.row;
        let summary = candidate.summary()?;
        let sent = sent(row, summary);
        let mut subject = std::mem::take(&mut self.subject);
        subject.clear();
        put_collated(&mut subject, summary.base_subject());
        match self.algorithm {
            ThreadAlgorithm::OrderedSubject => {
                self.push(sent, &subject, false, None, std::iter::empty());
            }
            ThreadAlgorithm::References => {
                let written = summary.envelope().subject.unwrap_or_default();
                let answers =
                    written != summary.base_subject().as_bytes() && is_reply_or_forward(written);
                let id = own_id(summary);
                self.push(sent, &subject, answers, id.as_deref(), ancestors(summary));
            }
        }
        self.subject = subject;
        Ok(())
    }

    fn push<'a>(
        &mut self,
        sent: i64,
        subject: &str,
        answers: bool,
        id: Option<&str>,
        ancestors: impl Iterator<Item = &'a [u8]>,
    ) {
        let Entries { list, subjects, ids, references } = &mut self.entries;
        references.extend(ancestors.map(|ancestor| shared_number_of(ids, ancestor)));
        list.push(Entry {
            sent,
            subject: shared_number_of(subjects, subject.as_bytes()),
            id: id.map_or(NONE, |id| shared_number_of(ids, id.as_bytes())),
            references_end: count_of(references),
            answers,
        });
    }

    /// The trees.
    pub(super) fn forest(&self) -> Forest {
        let trees = match self.known_trees() {
            Some(known) => known,
            None => Arc::new(match self.algorithm {
                ThreadAlgorithm::OrderedSubject => subjects::trees(&self.entries),
                ThreadAlgorithm::References => references::trees(&self.entries),
            }),
        };
        Forest { numbers: self.numbers.clone(), trees }
    }
}

impl Entries {
    fn entry(&self, index: u32) -> Option<&Entry> {
        self.list.get(usize_of_u32(index))
    }
}

impl Trees {
    /// From the parent of each node, [`NONE`] for roots; nodes that are neither under a root nor
    /// one are left out. The first nodes are messages. Children and roots are sorted by what `key`
    /// says of them.
    fn new<K: Ord>(
        messages: u32,
        parents: &[u32],
        mut roots: Vec<u32>,
        key: impl Fn(u32) -> K,
    ) -> Trees {
        let mut begins = vec![0_u32; parents.len() + 1];
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
        let mut children = vec![NONE; usize_of_u32(sum)];
        for (child, &parent) in (0..).zip(parents) {
            let Some(place) = next.get_mut(usize_of_u32(parent)) else { continue };
            if let Some(slot) = children.get_mut(usize_of_u32(*place)) {
                *slot = child;
            }
            *place += 1;
        }
        for (&begin, &end) in begins.iter().zip(begins.iter().skip(1)) {
            if let Some(siblings) = children.get_mut(usize_of_u32(begin)..usize_of_u32(end))
                && siblings.len() > 1
            {
                siblings.sort_by_key(|&child| key(child));
            }
        }
        let mut trees = Trees { begins, children, roots: Vec::new() };
        // What is no message is sorted by its first child (RFC 5256 section 3, step 6).
        roots.sort_by_cached_key(|&root| {
            let first = || trees.children(root).first().copied().unwrap_or(root);
            key(if root < messages { root } else { first() })
        });
        trees.roots = roots;
        trees
    }

    fn bytes(&self) -> usize {
        (self.begins.capacity() + self.children.capacity() + self.roots.capacity()) * 4
    }

    fn children(&self, node: u32) -> &[u32] {
        let node = usize_of_u32(node);
        let (begin, end) = (self.begins.get(node), self.begins.get(node.saturating_add(1)));
        let (Some(&begin), Some(&end)) = (begin, end) else { return &[] };
        self.children.get(usize_of_u32(begin)..usize_of_u32(end)).unwrap_or_default()
    }
}

impl Forest {
    fn number(&self, node: u32) -> u32 {
        self.numbers.get(usize_of_u32(node)).copied().unwrap_or(0)
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
    if !forest.trees.roots.is_empty() {
        wire.out.push(b' ');
    }
    let mut due: Vec<Due> = Vec::new();
    for &root in &forest.trees.roots {
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
    match forest.trees.children(node) {
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
