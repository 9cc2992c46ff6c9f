//! Sums go up a tree and the result goes down again, as NCCL does.
//!
//! On each rank acc = own, then acc = op(acc, child) for its children, each rounded to its type. A rank with a parent
//! sends its n elements up, and each sends them down to all its children.

use crate::{Place, Receive, Send, Step, Tree};

/// An all-reduce of one chunk along a tree.
///
/// # Panics
/// If the tree has no such rank.
#[must_use]
pub fn steps(rank: usize, tree: &Tree) -> Vec<Step> {
    let (parent, children) = (tree.parent(rank), tree.children(rank));
    let mut steps = from_children(children);
    if let Some(parent) = parent {
        steps.extend([Step::send(parent, 0), Step::receive(parent, 0)]);
    }
    if !children.is_empty() {
        let sends = children.iter().map(|child| Send { to: *child, chunk: 0 }).collect();
        steps.push(Step::Exchange { sends, receives: Vec::new() });
    }
    steps
}

fn from_children(children: &[usize]) -> Vec<Step> {
    if children.is_empty() {
        return Vec::new();
    }
    let receive = |(slot, from): (usize, &usize)| {
        let into = Place::Slot(slot);
        Receive { from: *from, chunk: 0, into }
    };
    let receives = children.iter().enumerate().map(receive).collect();
    let combines = (0..children.len()).map(|slot| Step::Combine { chunk: 0, slot });
    [Step::Exchange { sends: Vec::new(), receives }].into_iter().chain(combines).collect()
}
