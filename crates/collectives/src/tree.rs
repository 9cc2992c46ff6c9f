//! Trees of ranks.

use crate::Error;

/// A tree of ranks: each but the root has a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
}

impl Tree {
    /// The tree in which the children of i are 2i + 1 and 2i + 2.
    #[must_use]
    pub fn binary(size: usize) -> Self {
        Self::build((0..size).map(|rank| rank.checked_sub(1).map(|below| below / 2)).collect())
    }

    /// The tree with these parents. The children of a rank are in ascending order.
    ///
    /// # Errors
    /// Unless exactly one rank has no parent, and every other has it above itself.
    pub fn new(parents: Vec<Option<usize>>) -> Result<Self, Error> {
        let ranks = parents.len();
        let roots: Vec<_> = (0..ranks).filter(|rank| parents[*rank].is_none()).collect();
        let mut links = parents.iter().enumerate();
        let outside =
            links.find_map(|(rank, parent)| Some((rank, parent.filter(|p| *p >= ranks)?)));
        if let Some((rank, parent)) = outside {
            return Err(Error::Parent { rank, parent, ranks });
        }
        match roots[..] {
            [_] => {}
            [] => return Err(Error::NoRoot),
            [first, second, ..] => return Err(Error::Roots { ranks: [first, second] }),
        }
        match (0..ranks).find(|rank| !ends(&parents, *rank)) {
            Some(rank) => Err(Error::Cycle { rank }),
            None => Ok(Self::build(parents)),
        }
    }

    /// The number of ranks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parents.len()
    }

    /// The rank above, none above the root.
    #[must_use]
    pub fn parent(&self, rank: usize) -> Option<usize> {
        self.parents[rank]
    }

    /// The ranks below, ascending.
    #[must_use]
    pub fn children(&self, rank: usize) -> &[usize] {
        &self.children[rank]
    }

    fn build(parents: Vec<Option<usize>>) -> Self {
        let mut children = vec![Vec::new(); parents.len()];
        for (rank, parent) in parents.iter().enumerate() {
            if let Some(parent) = parent {
                children[*parent].push(rank);
            }
        }
        Self { parents, children }
    }
}

/// Whether the way up from a rank comes to an end.
fn ends(parents: &[Option<usize>], rank: usize) -> bool {
    let mut above = Some(rank);
    for _ in 0..parents.len() {
        match above {
            Some(rank) => above = parents[rank],
            None => return true,
        }
    }
    above.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_tree_is_a_heap() {
        let tree = Tree::binary(6);
        assert_eq!((tree.size(), tree.parent(0), tree.parent(5)), (6, None, Some(2)));
        assert_eq!(tree.children(0), [1, 2]);
        assert_eq!(tree.children(1), [3, 4]);
        assert_eq!(tree.children(2), [5]);
        assert_eq!(Tree::new((0..6).map(|rank| tree.parent(rank)).collect()).unwrap(), tree);
    }

    #[test]
    fn what_is_no_tree_is_an_error() {
        let error = |parents: &[Option<usize>]| Tree::new(parents.to_vec()).unwrap_err();
        assert!(matches!(error(&[]), Error::NoRoot));
        assert!(matches!(error(&[Some(1), Some(0)]), Error::NoRoot));
        assert!(matches!(error(&[None, Some(0), None]), Error::Roots { ranks: [0, 2] }));
        assert!(matches!(error(&[None, Some(2), Some(1)]), Error::Cycle { rank: 1 }));
        assert!(matches!(error(&[None, Some(1)]), Error::Cycle { rank: 1 }));
        let outside = error(&[None, Some(7)]);
        assert!(matches!(outside, Error::Parent { rank: 1, parent: 7, ranks: 2 }), "{outside}");
    }
}
