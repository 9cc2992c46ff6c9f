//! Sums by a binary tree, whose terms come one after another.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops as ops;

/// The sum of tensors by the tree of recursive halving: of n terms the first n - floor(n / 2) are summed, and the
/// others, and then both. So where n = d k with d a power of two, each k that follow one another from a multiple of k
/// on are a subtree: they can be summed elsewhere.
///
/// Exact given the order: each sum of two is rounded to f32 once, and which of them came first changes no bit. At most
/// ceil(log2 n) + 1 tensors wait at a time.
#[derive(Debug)]
pub struct TreeSum {
    terms: usize,
    added: usize,
    /// Sums of subtrees, from left to right.
    waiting: Vec<Tensor>,
}

impl TreeSum {
    /// A sum of so many terms.
    pub fn new(terms: usize) -> Self {
        Self { terms, added: 0, waiting: Vec::new() }
    }

    /// Adds the next term, F32 of the shape of all. Its memory is taken for sums.
    pub fn add(&mut self, queue: &Queue, term: Tensor) -> Result<()> {
        self.waiting.push(term);
        for _ in 0..merges(self.added, self.terms) {
            self.merge(queue)?;
        }
        self.added += 1;
        Ok(())
    }

    /// The sum; none of no terms. If they are fewer than were announced, or more, what waits is added from right to
    /// left. The next term is the first of another sum.
    pub fn take(&mut self, queue: &Queue) -> Result<Option<Tensor>> {
        while self.waiting.len() > 1 {
            self.merge(queue)?;
        }
        let sum = self.waiting.pop();
        self.clear();
        Ok(sum)
    }

    /// Forgets what was added.
    pub fn clear(&mut self) {
        self.added = 0;
        self.waiting.clear();
    }

    fn merge(&mut self, queue: &Queue) -> Result<()> {
        let right = self.waiting.pop();
        match (self.waiting.last(), right) {
            (Some(left), Some(right)) => ops::accumulate(queue, &right, left),
            _ => Ok(()),
        }
    }
}

/// How many subtrees of a tree of recursive halving end with leaf number `leaf`: so many times the last two sums that
/// wait become one.
fn merges(leaf: usize, leaves: usize) -> usize {
    let (mut start, mut length, mut merges) = (0, leaves, 0);
    while length > 1 {
        merges += usize::from(leaf + 1 == start + length);
        let left = length - length / 2;
        let is_left = leaf < start + left;
        (start, length) = if is_left { (start, left) } else { (start + left, length / 2) };
    }
    merges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum as a text.
    fn streamed(leaves: &[String]) -> String {
        let mut waiting: Vec<String> = Vec::new();
        for (leaf, name) in leaves.iter().enumerate() {
            waiting.push(name.clone());
            for _ in 0..merges(leaf, leaves.len()) {
                let right = waiting.pop().unwrap();
                let left = waiting.pop().unwrap();
                waiting.push(format!("({left}+{right})"));
            }
            let most = leaves.len().next_power_of_two().ilog2() as usize;
            assert!(waiting.len() <= most + 1, "{waiting:?}");
        }
        assert_eq!(waiting.len(), 1);
        waiting.swap_remove(0)
    }

    /// The definition.
    fn halved(leaves: &[String]) -> String {
        match leaves {
            [leaf] => leaf.clone(),
            _ => {
                let (left, right) = leaves.split_at(leaves.len() - leaves.len() / 2);
                format!("({}+{})", halved(left), halved(right))
            }
        }
    }

    fn names(leaves: usize) -> Vec<String> {
        (0..leaves).map(|leaf| leaf.to_string()).collect()
    }

    #[test]
    fn terms_that_come_one_by_one_are_summed_by_halves() {
        for leaves in 1..200 {
            assert_eq!(streamed(&names(leaves)), halved(&names(leaves)), "{leaves} leaves");
        }
        assert_eq!(streamed(&names(5)), "(((0+1)+2)+(3+4))");
    }

    #[test]
    fn blocks_are_subtrees_where_their_number_is_a_power_of_two() {
        for blocks in [1, 2, 4, 8, 16] {
            for length in 1..30 {
                let leaves = names(blocks * length);
                let sums: Vec<_> = leaves.chunks(length).map(streamed).collect();
                assert_eq!(streamed(&sums), streamed(&leaves), "{blocks} blocks of {length}");
            }
        }
    }
}
