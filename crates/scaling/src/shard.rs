//! Which part of a tensor a member of a group has, and how parts make the whole again.

use fp8lm_device::Shape;

/// Which part of a tensor a member of a group has: seen as [outer, members, extent, inner] it is [outer, extent, inner]
/// at its place.
///
/// Rows of a matrix are cut with `outer` = 1, or as many as there are tables that stand one below the other, of which
/// each member has its own rows; columns are cut with `outer` = the number of rows.
///
/// ```
/// use fp8lm_scaling::Shard;
///
/// // Two tables of two rows each: a member has one row of each.
/// let second = Shard { outer: 2, place: 1, members: 2 };
/// assert_eq!(second.slice(&["a0", "a1", "b0", "b1"]), ["a1", "b1"]);
/// assert_eq!(second.local_shape([4, 3].into(), 0), [2, 3].into());
/// assert_eq!(Shard::join(2, &[&["a0", "b0"], &["a1", "b1"]]), ["a0", "a1", "b0", "b1"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// How many times what is cut stands in the tensor.
    pub outer: usize,
    /// The place of the member, from 0.
    pub place: usize,
    /// The number of members, at least 1.
    pub members: usize,
}

impl Shard {
    /// All of a tensor.
    pub const WHOLE: Self = Self { outer: 1, place: 0, members: 1 };

    /// Whether it is all of the tensor.
    pub fn is_whole(self) -> bool {
        self.members == 1
    }

    /// The shape of the part, of a tensor of shape `whole` whose dim `dim` is cut.
    ///
    /// # Panics
    /// If the members cannot share that dim alike, or there is none.
    pub fn local_shape(self, whole: Shape, dim: usize) -> Shape {
        let extent = whole.dims()[dim];
        assert!(
            extent.is_multiple_of(self.members),
            "{} members share a dim of {extent}",
            self.members
        );
        with_extent(whole, dim, extent / self.members)
    }

    /// The shape of the tensor, of which the part has shape `local`, cut in dim `dim`.
    ///
    /// # Panics
    /// If there is no such dim.
    pub fn whole_shape(self, local: Shape, dim: usize) -> Shape {
        with_extent(local, dim, local.dims()[dim] * self.members)
    }

    /// The member's elements of the whole tensor, in its order. They may be bytes: elements of any width are as many
    /// of them each.
    ///
    /// # Panics
    /// If the members cannot share the tensor alike.
    pub fn slice<T: Copy>(self, whole: &[T]) -> Vec<T> {
        let Self { outer, place, members } = self;
        let (count, elements) = (outer * members, whole.len());
        assert!(elements.is_multiple_of(count), "{count} chunks of {elements} elements");
        let chunks = whole.chunks_exact((elements / count).max(1));
        chunks.skip(place).step_by(members).flatten().copied().collect()
    }

    /// The whole tensor of its parts, in order of place; [`slice`](Self::slice) backwards.
    ///
    /// # Panics
    /// Unless the parts are of one length, which `outer` divides.
    pub fn join<T: Copy>(outer: usize, parts: &[&[T]]) -> Vec<T> {
        let length = parts.first().map_or(0, |part| part.len());
        let fits = parts.iter().all(|part| part.len() == length);
        assert!(fits && length.is_multiple_of(outer), "{outer} chunks of parts of one length");
        let chunk = length / outer;
        let chunks =
            (0..outer).flat_map(|o| parts.iter().map(move |part| &part[o * chunk..][..chunk]));
        chunks.flatten().copied().collect()
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// The shape, but for one extent.
fn with_extent(shape: Shape, dim: usize, extent: usize) -> Shape {
    let mut dims = shape.dims().to_vec();
    dims[dim] = extent;
    match dims[..] {
        [a] => [a].into(),
        [a, b] => [a, b].into(),
        [a, b, c] => [a, b, c].into(),
        [a, b, c, d] => [a, b, c, d].into(),
        _ => unreachable!("a shape has one to four dims"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part by its definition, index by index.
    fn by_index(shard: Shard, whole: &[u16]) -> Vec<u16> {
        let Shard { outer, place, members } = shard;
        let chunk = whole.len() / outer / members;
        let is_own = |i: &usize| i / chunk % members == place;
        (0..whole.len()).filter(is_own).map(|i| whole[i]).collect()
    }

    #[test]
    fn parts_are_those_of_the_definition_and_make_the_whole_again() {
        for (outer, members, chunk) in [(1, 1, 7), (1, 4, 3), (3, 2, 5), (2, 3, 1), (24, 2, 4)] {
            let whole: Vec<u16> = (0..(outer * members * chunk) as u16).map(|i| 257 * i).collect();
            let shard = |place| Shard { outer, place, members };
            let parts: Vec<_> = (0..members).map(|place| shard(place).slice(&whole)).collect();
            for (place, part) in parts.iter().enumerate() {
                assert_eq!(*part, by_index(shard(place), &whole), "{outer} x {members}, {place}");
            }
            let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
            assert_eq!(Shard::join(outer, &parts), whole, "{outer} x {members}");
        }
    }

    #[test]
    fn bytes_are_cut_as_elements_are() {
        let shard = Shard { outer: 3, place: 1, members: 2 };
        let whole: Vec<u16> = (0..24).collect();
        let bytes =
            |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        assert_eq!(shard.slice(&bytes(&whole)), bytes(&shard.slice(&whole)));
    }

    #[test]
    fn shapes_shrink_and_grow_in_the_dim_that_is_cut() {
        let shard = Shard { outer: 12, place: 0, members: 4 };
        assert_eq!(shard.local_shape([12, 8].into(), 1), [12, 2].into());
        assert_eq!(shard.whole_shape([12, 2].into(), 1), [12, 8].into());
        assert_eq!(Shard::WHOLE.local_shape(5.into(), 0), 5.into());
    }

    #[test]
    fn nothing_is_cut_into_nothing() {
        assert!(Shard { outer: 1, place: 1, members: 2 }.slice::<u8>(&[]).is_empty());
        assert!(Shard::join::<u8>(2, &[&[], &[]]).is_empty());
    }
}
