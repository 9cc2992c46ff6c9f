//! What a run will allocate for its parameters, by label, known before its first step.

use std::collections::BTreeMap;

use fp8lm_device::{Label, Usage};
use fp8lm_parallel::{Axis, Mesh};
use fp8lm_scaling::{LINEAR, Labels, REST, SCALES};

use super::{holding::Holding, sharing::Sharing, stages::Stages, tensors::PlannedTensor};
use crate::run::report::MemoryRow;

/// The planned bytes of one label on one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// The label that they are allocated under.
    pub label: Label,
    /// How many they are; none where the plan does not say, as for scales.
    pub bytes: Option<u64>,
    /// Parameters in the label's group, of those that the rank reads; none for labels that are not of parameters.
    pub parameters: Option<u64>,
}

impl PlannedRow {
    /// Bytes of this label for each parameter of its group.
    pub fn bytes_per_parameter(&self) -> Option<f64> {
        Some(self.bytes? as f64 / self.parameters? as f64)
    }

    /// The report's row, beside what is allocated. Only linears count in its bytes a parameter.
    pub fn report(&self, usage: &BTreeMap<Label, Usage>) -> MemoryRow {
        let bytes = self.allocated(usage);
        MemoryRow {
            kind: self.label.to_string(),
            bytes,
            planned: self.bytes.unwrap_or(bytes),
            parameters: self.parameters.filter(|_| self.is_linear()),
        }
    }

    /// The bytes that are allocated under its label.
    pub fn allocated(&self, usage: &BTreeMap<Label, Usage>) -> u64 {
        allocated(self.label, usage)
    }

    /// Whether it is of the linears, which the recipe manages in FP8.
    fn is_linear(&self) -> bool {
        LINEAR.all().contains(&self.label)
    }
}

/// The bytes that are allocated under a label.
pub(super) fn allocated(label: Label, usage: &BTreeMap<Label, Usage>) -> u64 {
    usage.get(&label).map_or(0, |usage| usage.bytes as u64)
}

/// The rows of every rank: those of its number among its replicas.
pub(super) fn by_rank(
    mesh: &Mesh,
    stages: &Stages,
    holdings: &[Holding],
) -> Result<Vec<Vec<PlannedRow>>, fp8lm_parallel::Error> {
    let rank = |rank: usize| {
        let coordinate = mesh.coordinate(rank)?;
        let place = coordinate.place(Axis::Pipeline);
        let replica = stages.replica(place, coordinate.place(Axis::Data));
        Ok(holdings[place].memory[replica].clone())
    };
    (0..mesh.ranks()).map(rank).collect()
}

/// The rows of each replica, in the order of the table.
pub(super) fn rows(tensors: &[PlannedTensor], sharing: &Sharing) -> Vec<Vec<PlannedRow>> {
    let groups = [&LINEAR, &REST].map(|labels| group(labels, tensors, sharing));
    let scales = PlannedRow { label: SCALES, bytes: None, parameters: None };
    let rank = |rank: usize| {
        let rows = groups.iter().flat_map(|(parameters, bytes, labels)| {
            let kinds = labels.all().into_iter().zip(bytes[rank]);
            let parameters = Some(*parameters);
            kinds.map(move |(label, bytes)| PlannedRow { label, bytes: Some(bytes), parameters })
        });
        rows.chain([scales.clone()]).collect()
    };
    (0..sharing.replicas).map(rank).collect()
}

/// The parameters of a group, and on each replica their bytes by kind.
fn group<'a>(
    labels: &'a Labels,
    tensors: &[PlannedTensor],
    sharing: &Sharing,
) -> (u64, Vec<[u64; 5]>, &'a Labels) {
    let of_group = |tensor: &&PlannedTensor| tensor.labels == labels;
    let members = || tensors.iter().filter(of_group);
    let parameters = members().map(|tensor| tensor.elements).sum();
    let mut common = [0; 5];
    members().for_each(|tensor| add(&mut common, sharing.common(tensor)));
    let mut bytes = vec![common; sharing.replicas];
    for tensor in members() {
        if let Some(owner) = tensor.owner {
            add(&mut bytes[owner], sharing.owned(tensor));
        }
    }
    (parameters, bytes, labels)
}

fn add(sum: &mut [u64; 5], bytes: [u64; 5]) {
    sum.iter_mut().zip(bytes).for_each(|(sum, bytes)| *sum += bytes);
}
