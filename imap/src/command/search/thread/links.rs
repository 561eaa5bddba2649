//! Parents of nodes, with a quick answer to whether a link would make a loop.
//!
//! Walking up from a node to its root takes as long as the tree is deep, and mail whose references
//! somebody made up can have every step walk over all steps before it. The trees are therefore kept
//! a second time as a forest of splay trees, one for each path (link-cut trees, Sleator and Tarjan
//! 1983), in which the root of a node is found in logarithmic time, on average over all questions.
//!
//! ```text
//! tree        paths                 splay trees, each sorted by depth
//! a           a ─ b ─ d   c         b          c
//! └ b                             a   d        up: b (no child of it: a jump to another path)
//!   ├ c
//!   └ d
//! ```

use engine::width::usize_of_u32;

use super::NONE;

/// Where a node stands in its splay tree.
#[derive(Clone, Copy)]
struct Place {
    up: u32,
    left: u32,
    right: u32,
}

/// Parents of nodes.
pub(super) struct Links {
    parents: Vec<u32>,
    places: Vec<Place>,
}

impl Links {
    /// Of so many nodes, none linked.
    pub(super) fn new(count: usize) -> Links {
        Links {
            parents: vec![NONE; count],
            places: vec![Place { up: NONE, left: NONE, right: NONE }; count],
        }
    }

    /// The parent of a node.
    pub(super) fn parent(&self, node: u32) -> u32 {
        self.parents.get(usize_of_u32(node)).copied().unwrap_or(NONE)
    }

    /// The parent of each node.
    pub(super) fn into_parents(self) -> Vec<u32> {
        self.parents
    }

    /// Takes a node from its parent.
    pub(super) fn cut(&mut self, node: u32) {
        if self.parent(node) == NONE {
            return;
        }
        self.set_parent(node, NONE);
        self.expose(node);
        let above = self.place(node).left;
        self.change(node, |place| place.left = NONE);
        self.change(above, |place| place.up = NONE);
    }

    /// Makes a node that has no parent a child of another, unless it is above that one or the same.
    pub(super) fn link(&mut self, node: u32, parent: u32) {
        if self.root(parent) == node {
            return;
        }
        self.set_parent(node, parent);
        self.expose(node);
        self.change(node, |place| place.up = parent);
    }

    /// The root above a node.
    fn root(&mut self, node: u32) -> u32 {
        self.expose(node);
        let mut root = node;
        loop {
            match self.place(root).left {
                NONE => break,
                left => root = left,
            }
        }
        self.splay(root);
        root
    }

    /// Makes the path from the root to a node one splay tree, with the node at its top.
    fn expose(&mut self, node: u32) {
        let (mut below, mut at) = (NONE, node);
        while at != NONE {
            self.splay(at);
            self.change(at, |place| place.right = below);
            (below, at) = (at, self.place(at).up);
        }
        self.splay(node);
    }

    fn splay(&mut self, node: u32) {
        while let Some(up) = self.above_in_path(node) {
            if let Some(upper) = self.above_in_path(up) {
                let same_side = (self.place(up).left == node) == (self.place(upper).left == up);
                self.rotate(if same_side { up } else { node });
            }
            self.rotate(node);
        }
    }

    /// Lifts a node over the one above it.
    fn rotate(&mut self, node: u32) {
        let up = self.place(node).up;
        let upper = self.place(up).up;
        let is_top = self.above_in_path(up).is_none();
        let inner = if self.place(up).left == node {
            let inner = self.place(node).right;
            self.change(up, |place| place.left = inner);
            self.change(node, |place| place.right = up);
            inner
        } else {
            let inner = self.place(node).left;
            self.change(up, |place| place.right = inner);
            self.change(node, |place| place.left = up);
            inner
        };
        self.change(inner, |place| place.up = up);
        self.change(up, |place| place.up = node);
        self.change(node, |place| place.up = upper);
        if !is_top {
            self.change(upper, |place| {
                *(if place.left == up { &mut place.left } else { &mut place.right }) = node;
            });
        }
    }

    /// What is above a node in its own splay tree.
    fn above_in_path(&self, node: u32) -> Option<u32> {
        let up = self.place(node).up;
        let above = self.place(up);
        (up != NONE && (above.left == node || above.right == node)).then_some(up)
    }

    fn place(&self, node: u32) -> Place {
        let none = Place { up: NONE, left: NONE, right: NONE };
        self.places.get(usize_of_u32(node)).copied().unwrap_or(none)
    }

    /// Nothing where there is no node.
    fn change(&mut self, node: u32, change: impl FnOnce(&mut Place)) {
        if let Some(place) = self.places.get_mut(usize_of_u32(node)) {
            change(place);
        }
    }

    fn set_parent(&mut self, node: u32, parent: u32) {
        if let Some(place) = self.parents.get_mut(usize_of_u32(node)) {
            *place = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn links_make_no_loops_and_no_others_are_refused(
            steps in proptest::collection::vec((0u32..12, 0u32..12), 0..60),
        ) {
            let mut links = Links::new(12);
            let mut naive = [NONE; 12];
            for (node, parent) in steps {
                links.cut(node);
                naive[node as usize] = NONE;
                let mut above = parent;
                while naive[above as usize] != NONE {
                    above = naive[above as usize];
                }
                if above != node {
                    naive[node as usize] = parent;
                }
                links.link(node, parent);
                assert_eq!(links.parents, naive);
            }
        }
    }
}
