//! A mesh of ranks: any product of named axes, and where each rank stands.

use std::fmt;

use crate::{Error, Result};

/// An axis of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Axis {
    /// Along it stand the stages of a pipeline, each with some of the blocks.
    Pipeline,
    /// Along it stand ranks with the same weights and different data.
    Data,
    /// Along it stand ranks that share the weights of each linear.
    Tensor,
}

impl Axis {
    /// All axes, the outermost first: ranks along the last one are neighbours, for they talk most.
    pub const ALL: [Self; 3] = [Self::Pipeline, Self::Data, Self::Tensor];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Data => "data",
            Self::Tensor => "tensor",
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Ranks in a box, numbered so that the place on the innermost axis changes fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Ranks along each of [`Axis::ALL`].
    extents: [usize; 3],
    ranks: usize,
}

/// The place of a rank on each axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Coordinate([usize; 3]);

impl Mesh {
    /// A mesh with so many ranks along each of these axes, in any order, and 1 along all others.
    pub fn new(axes: &[(Axis, usize)]) -> Result<Self> {
        let mut extents = [None; 3];
        for &(axis, size) in axes {
            match (size, extents[axis as usize].replace(size)) {
                (0, _) => return Err(Error::EmptyAxis { axis }),
                (_, Some(_)) => return Err(Error::RepeatedAxis { axis }),
                (_, None) => {}
            }
        }
        let extents = extents.map(|extent| extent.unwrap_or(1));
        let ranks = extents.into_iter().try_fold(1, usize::checked_mul);
        let ranks = ranks.ok_or(Error::TooManyRanks { extents })?;
        Ok(Self { extents, ranks })
    }

    /// Ranks in all: the world size.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Ranks along an axis.
    pub fn size(&self, axis: Axis) -> usize {
        self.extents[axis as usize]
    }

    /// Where a rank stands.
    pub fn coordinate(&self, rank: usize) -> Result<Coordinate> {
        if rank >= self.ranks {
            return Err(Error::NoSuchRank { rank, ranks: self.ranks });
        }
        Ok(Coordinate(Axis::ALL.map(|axis| rank / self.stride(axis) % self.size(axis))))
    }

    /// Who stands there.
    pub fn rank(&self, coordinate: Coordinate) -> Result<usize> {
        let mut rank = 0;
        for axis in Axis::ALL {
            let (index, size) = (coordinate.place(axis), self.size(axis));
            if index >= size {
                return Err(Error::NoSuchPlace { axis, index, size });
            }
            rank += index * self.stride(axis);
        }
        Ok(rank)
    }

    /// The ranks of a line along `axis` through `rank`, in the order of their places. Each of them gets the same.
    pub fn group(&self, rank: usize, axis: Axis) -> Result<Vec<usize>> {
        let place = self.coordinate(rank)?.place(axis);
        let (size, stride) = (self.size(axis), self.stride(axis));
        let first = rank - place * stride;
        Ok((0..size).map(|place| first + place * stride).collect())
    }

    /// How far apart neighbours along an axis are.
    fn stride(&self, axis: Axis) -> usize {
        self.extents[axis as usize + 1..].iter().product()
    }
}

impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes = Axis::ALL.map(|axis| format!("{axis} {}", self.size(axis)));
        f.write_str(&axes.join(" x "))
    }
}

impl Coordinate {
    /// The place on each of these axes, in any order, and 0 on all others.
    pub fn new(places: &[(Axis, usize)]) -> Self {
        let mut coordinate = Self::default();
        for &(axis, place) in places {
            coordinate.0[axis as usize] = place;
        }
        coordinate
    }

    /// The place on an axis, from 0.
    pub fn place(self, axis: Axis) -> usize {
        self.0[axis as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(pipeline: usize, data: usize, tensor: usize) -> Mesh {
        let axes = [(Axis::Tensor, tensor), (Axis::Pipeline, pipeline), (Axis::Data, data)];
        Mesh::new(&axes).unwrap()
    }

    #[test]
    fn the_tensor_axis_is_innermost_and_the_pipeline_outermost() {
        let mesh = mesh(2, 3, 4);
        assert_eq!(mesh.ranks(), 24);
        assert_eq!(mesh.to_string(), "pipeline 2 x data 3 x tensor 4");
        // Rank 17 = (1 * 3 + 1) * 4 + 1.
        assert_eq!(mesh.group(17, Axis::Tensor).unwrap(), [16, 17, 18, 19]);
        assert_eq!(mesh.group(17, Axis::Data).unwrap(), [13, 17, 21]);
        assert_eq!(mesh.group(17, Axis::Pipeline).unwrap(), [5, 17]);
        let place = [(Axis::Pipeline, 1), (Axis::Data, 1), (Axis::Tensor, 1)];
        assert_eq!(mesh.coordinate(17).unwrap(), Coordinate::new(&place));
    }

    #[test]
    fn a_rank_and_its_place_are_one_to_one() {
        for mesh in [mesh(1, 1, 1), mesh(2, 3, 4), mesh(4, 4, 8), mesh(1, 7, 1), mesh(5, 1, 2)] {
            for rank in 0..mesh.ranks() {
                let coordinate = mesh.coordinate(rank).unwrap();
                assert_eq!(mesh.rank(coordinate), Ok(rank), "{mesh}");
            }
        }
    }

    /// Along every axis, groups hold every rank once, and all members of a group see the same one.
    #[test]
    fn groups_share_out_the_ranks() {
        let mesh = mesh(2, 3, 4);
        for axis in Axis::ALL {
            let mut seen = vec![0; mesh.ranks()];
            for rank in 0..mesh.ranks() {
                let group = mesh.group(rank, axis).unwrap();
                let place = mesh.coordinate(rank).unwrap().place(axis);
                assert_eq!((group.len(), group[place]), (mesh.size(axis), rank), "{axis}");
                for &member in &group {
                    assert_eq!(mesh.group(member, axis).unwrap(), group, "{axis}");
                    seen[member] += 1;
                }
            }
            assert_eq!(seen, vec![mesh.size(axis); mesh.ranks()], "{axis}");
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        let told = |axes: &[(Axis, usize)]| Mesh::new(axes).unwrap_err().to_string();
        let empty = "the data axis of a mesh: expected at least 1 rank, got 0";
        assert_eq!(told(&[(Axis::Tensor, 2), (Axis::Data, 0)]), empty);
        let twice = "the tensor axis of a mesh is named twice";
        assert_eq!(told(&[(Axis::Tensor, 2), (Axis::Tensor, 2)]), twice);
        let many = [(Axis::Pipeline, usize::MAX), (Axis::Data, 2)];
        let extents = [usize::MAX, 2, 1];
        assert_eq!(Mesh::new(&many), Err(Error::TooManyRanks { extents }));

        let mesh = mesh(1, 2, 3);
        let outside = Error::NoSuchRank { rank: 6, ranks: 6 };
        assert_eq!(mesh.coordinate(6), Err(outside.clone()));
        assert_eq!(mesh.group(6, Axis::Data), Err(outside));
        let place = Coordinate::new(&[(Axis::Data, 2)]);
        let outside = Error::NoSuchPlace { axis: Axis::Data, index: 2, size: 2 };
        assert_eq!(mesh.rank(place), Err(outside));
    }
}
