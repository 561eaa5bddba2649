//! THREAD=REFERENCES against the words of RFC 5256, by recursion and without haste.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

/// A message of a test.
#[derive(Clone, Debug)]
struct Mail {
    id: Option<u8>,
    references: Vec<u8>,
    subject: &'static str,
    answers: bool,
    sent: i64,
}

fn table(mails: &[Mail], algorithm: ThreadAlgorithm) -> ThreadTable {
    let mut table = ThreadTable::new(algorithm, None);
    for (number, mail) in (1..).zip(mails) {
        let id = mail.id.map(|id| id.to_string());
        let ancestors: Vec<String> = mail.references.iter().map(u8::to_string).collect();
        table.numbers.push(number);
        table.push(
            mail.sent,
            mail.subject,
            mail.answers,
            id.as_deref(),
            ancestors.iter().map(|id| id.as_bytes()),
        );
    }
    table
}

fn written(forest: &Forest) -> String {
    let mut out = Vec::new();
    for &root in &forest.trees.roots {
        let mut due = vec![Due::Tree(root)];
        while let Some(step) = due.pop() {
            put_step(&mut out, forest, step, &mut due);
        }
    }
    String::from_utf8(out).unwrap()
}

/// A node of the naive trees.
#[derive(Clone, Default)]
struct Node {
    message: Option<usize>,
    parent: Option<usize>,
    children: Vec<usize>,
}

struct Naive<'a> {
    mails: &'a [Mail],
    nodes: Vec<Node>,
}

impl Naive<'_> {
    fn is_below(&self, node: usize, above: usize) -> bool {
        node == above || self.nodes[node].parent.is_some_and(|parent| self.is_below(parent, above))
    }

    fn unlink(&mut self, child: usize) {
        if let Some(parent) = self.nodes[child].parent.take() {
            self.nodes[parent].children.retain(|&other| other != child);
        }
    }

    fn link(&mut self, parent: usize, child: usize) {
        if !self.is_below(parent, child) {
            self.nodes[child].parent = Some(parent);
            self.nodes[parent].children.push(child);
        }
    }

    /// Step 1; answers the children of the root (step 2).
    fn by_references(&mut self) -> Vec<usize> {
        let mut of_id: HashMap<u8, usize> = HashMap::new();
        for (message, mail) in self.mails.iter().enumerate() {
            self.nodes.push(Node { message: Some(message), ..Node::default() });
            if let Some(id) = mail.id {
                of_id.entry(id).or_insert(message);
            }
        }
        for (message, mail) in self.mails.iter().enumerate() {
            let mut last = None;
            for &id in &mail.references {
                let node = *of_id.entry(id).or_insert_with(|| {
                    self.nodes.push(Node::default());
                    self.nodes.len() - 1
                });
                if let Some(parent) = last
                    && self.nodes[node].parent.is_none()
                {
                    self.link(parent, node);
                }
                last = Some(node);
            }
            self.unlink(message);
            if let Some(parent) = last {
                self.link(parent, message);
            }
        }
        (0..self.nodes.len()).filter(|&node| self.nodes[node].parent.is_none()).collect()
    }

    /// Step 3.
    fn prune(&mut self, siblings: Vec<usize>, under_root: bool) -> Vec<usize> {
        let mut kept = Vec::new();
        for node in siblings {
            let children = std::mem::take(&mut self.nodes[node].children);
            let children = self.prune(children, false);
            let is_dummy = self.nodes[node].message.is_none();
            if is_dummy && (!under_root || children.len() < 2) {
                kept.extend(children);
            } else {
                self.nodes[node].children = children;
                kept.push(node);
            }
        }
        kept
    }

    fn date(&self, node: usize) -> (i64, usize) {
        match self.nodes[node].message {
            Some(message) => (self.mails[message].sent, message),
            None => self.date(self.nodes[node].children[0]),
        }
    }

    /// Steps 4 and 6.
    fn sort(&mut self, siblings: &mut [usize]) {
        for &node in siblings.iter() {
            let mut children = std::mem::take(&mut self.nodes[node].children);
            self.sort(&mut children);
            self.nodes[node].children = children;
        }
        siblings.sort_by_key(|&node| self.date(node));
    }

    fn speaker(&self, node: usize) -> &Mail {
        match self.nodes[node].message {
            Some(message) => &self.mails[message],
            None => self.speaker(self.nodes[node].children[0]),
        }
    }

    /// Step 5.
    fn merge(&mut self, roots: Vec<usize>) -> Vec<usize> {
        let mut of_subject: BTreeMap<&str, usize> = BTreeMap::new();
        let subjects: Vec<&str> = roots.iter().map(|&root| self.speaker(root).subject).collect();
        let answers = |naive: &Naive<'_>, node: usize| {
            naive.nodes[node].message.is_some_and(|message| naive.mails[message].answers)
        };
        for (&root, subject) in roots.iter().zip(&subjects).filter(|(_, text)| !text.is_empty()) {
            let known = of_subject.entry(subject).or_insert(root);
            let known_is_dummy = self.nodes[*known].message.is_none();
            let root_is_dummy = self.nodes[root].message.is_none();
            if !known_is_dummy && (root_is_dummy || answers(self, *known) && !answers(self, root)) {
                *known = root;
            }
        }
        let mut kept = roots.clone();
        for (&root, subject) in roots.iter().zip(&subjects).filter(|(_, text)| !text.is_empty()) {
            let known = of_subject[subject];
            if known == root {
                continue;
            }
            let known_is_dummy = self.nodes[known].message.is_none();
            kept.retain(|&other| other != root);
            if known_is_dummy && self.nodes[root].message.is_none() {
                let children = std::mem::take(&mut self.nodes[root].children);
                self.nodes[known].children.extend(children);
            } else if known_is_dummy || answers(self, root) && !answers(self, known) {
                self.nodes[known].children.push(root);
            } else {
                kept.retain(|&other| other != known);
                self.nodes.push(Node { children: vec![root, known], ..Node::default() });
                kept.push(self.nodes.len() - 1);
                of_subject.insert(subject, self.nodes.len() - 1);
            }
        }
        kept
    }

    fn write(&self, node: usize, out: &mut String) {
        let Node { message, children, .. } = &self.nodes[node];
        if let Some(message) = message {
            *out += &(message + 1).to_string();
        }
        match children.as_slice() {
            [] => {}
            [child] => {
                *out += " ";
                self.write(*child, out);
            }
            children => {
                *out += if message.is_some() { " " } else { "" };
                for &child in children {
                    *out += "(";
                    self.write(child, out);
                    *out += ")";
                }
            }
        }
    }
}

fn naive(mails: &[Mail]) -> String {
    let mut naive = Naive { mails, nodes: Vec::new() };
    let roots = naive.by_references();
    let mut roots = naive.prune(roots, true);
    naive.sort(&mut roots);
    let mut roots = naive.merge(roots);
    naive.sort(&mut roots);
    let mut out = String::new();
    for root in roots {
        out += "(";
        naive.write(root, &mut out);
        out += ")";
    }
    out
}

fn mail() -> impl Strategy<Value = Mail> {
    let references = proptest::collection::btree_set(0u8..12, 0..4).prop_shuffle_set();
    (
        proptest::option::weighted(0.9, 0u8..12),
        references,
        proptest::sample::select(vec!["", "a", "b", "c"]),
        any::<bool>(),
        0i64..6,
    )
        .prop_map(|(id, references, subject, answers, sent)| Mail {
            id,
            references,
            subject,
            answers,
            sent,
        })
}

/// References come in any order, each once.
trait Shuffled {
    fn prop_shuffle_set(self) -> BoxedStrategy<Vec<u8>>;
}

impl<S: Strategy<Value = std::collections::BTreeSet<u8>> + 'static> Shuffled for S {
    fn prop_shuffle_set(self) -> BoxedStrategy<Vec<u8>> {
        self.prop_map(|set| set.into_iter().collect::<Vec<u8>>()).prop_shuffle().boxed()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn references_make_the_trees_of_the_rfc(mails in proptest::collection::vec(mail(), 0..14)) {
        let forest = table(&mails, ThreadAlgorithm::References).forest();
        prop_assert_eq!(written(&forest), naive(&mails));
    }

    #[test]
    fn every_message_is_in_one_place(mails in proptest::collection::vec(mail(), 0..40)) {
        for algorithm in [ThreadAlgorithm::References, ThreadAlgorithm::OrderedSubject] {
            let text = written(&table(&mails, algorithm).forest());
            let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
            let mut numbers: Vec<usize> = numbers.map(|word| word.parse().unwrap()).collect();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (1..=mails.len()).collect::<Vec<_>>());
        }
    }
}

/// Chains of a hundred thousand answers, in the orders that are worst for who walks up them.
#[test]
fn a_long_chain_is_only_long() {
    const COUNT: usize = 100_000;
    let middle = COUNT / 2;
    let orders: [Vec<usize>; 3] = [
        (0..COUNT).collect(),
        (0..COUNT).rev().collect(),
        // A chain, then pairs that are hung below its end one by one.
        (0..middle).chain((middle..COUNT).rev()).collect(),
    ];
    for order in orders {
        let mut table = ThreadTable::new(ThreadAlgorithm::References, None);
        for &place in &order {
            let parent = place.checked_sub(1).map(|parent| parent.to_string());
            let number = u32_of(place) + 1;
            table.numbers.push(number);
            table.push(
                0,
                "",
                false,
                Some(&place.to_string()),
                parent.iter().map(|id| id.as_bytes()),
            );
        }
        let chain: Vec<String> = (1..=COUNT).map(|number| number.to_string()).collect();
        assert!(written(&table.forest()) == format!("({})", chain.join(" ")));
    }
}
