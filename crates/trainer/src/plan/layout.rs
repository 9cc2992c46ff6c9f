//! Where a rank stands, and with whom.

use fp8lm_parallel::{Axis, Coordinate};

use super::Plan;

/// Where a rank of the world stands, and the groups that it is in. Every member of a group has the same list of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its place on every axis of the mesh.
    pub coordinate: Coordinate,
    /// The ranks that share every tensor with it, in the order of shards.
    pub tensor: Vec<usize>,
    /// The ranks with the same weights, which sum gradients and share states: data-parallel ranks in their order, each
    /// as many as there are pipeline places with its stages, in theirs.
    ///
    /// Of two that mirror one another (`dualpipe`) the lower place is the first. It has its first stage's micro-batches
    /// of direction 0, and of its second stage those of direction 1; as the two are a pair in every tree of replicas,
    /// whose sums are the same in either order, this changes no bit.
    pub replicas: Vec<usize>,
    /// The replicas, each with all that it shares tensors with: whoever sees amaxes and counters of these tensors.
    pub peers: Vec<usize>,
    /// The pipeline that it is in, in the order of places.
    pub pipeline: Vec<usize>,
}

impl Plan {
    /// Where a rank stands, and with whom.
    pub fn layout(&self, rank: usize) -> Result<Layout, fp8lm_parallel::Error> {
        let mesh = self.mesh();
        let coordinate = mesh.coordinate(rank)?;
        let shard = [coordinate.place(Axis::Tensor)];
        let shards: Vec<_> = (0..mesh.size(Axis::Tensor)).collect();
        Ok(Layout {
            coordinate,
            tensor: mesh.group(rank, Axis::Tensor)?,
            replicas: self.same_weights(coordinate, &shard)?,
            peers: self.same_weights(coordinate, &shards)?,
            pipeline: mesh.group(rank, Axis::Pipeline)?,
        })
    }

    /// The ranks with the weights of a place, of each replica those with these `shards`.
    fn same_weights(
        &self,
        of: Coordinate,
        shards: &[usize],
    ) -> Result<Vec<usize>, fp8lm_parallel::Error> {
        let mirrors = self.stages.mirrors(of.place(Axis::Pipeline));
        let mut ranks = Vec::new();
        for data in 0..self.mesh().size(Axis::Data) {
            for &pipeline in &mirrors {
                for &tensor in shards {
                    let places =
                        [(Axis::Pipeline, pipeline), (Axis::Data, data), (Axis::Tensor, tensor)];
                    ranks.push(self.mesh().rank(Coordinate::new(&places))?);
                }
            }
        }
        Ok(ranks)
    }
}
