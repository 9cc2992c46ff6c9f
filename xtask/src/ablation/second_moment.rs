//! What v holds after the last step: whether it vanishes, and whether it keeps up with f32's.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use fp8lm_formats::{E4M3, E5M2};
use half::f16;
use safetensors::{Dtype, tensor::TensorView};

use super::Outcome;
use crate::checkpoint;

/// A row for each outcome, of the first seed's linears.
pub(super) fn table(outcomes: &[Outcome], baseline: &Outcome) -> Result<String> {
    let reference = Moments::of(baseline)?;
    let rows = outcomes.iter().map(|outcome| {
        let moments = Moments::of(outcome)?;
        let cells = moments.summary(&reference).map_or(" - | - | - |".into(), |got| got.cells());
        Ok(format!("| {} |{cells}\n", outcome.row.label))
    });
    let rows: String = rows.collect::<Result<_>>()?;
    Ok(format!(
        "| states | v = 0 | largest v over smallest | median v over bf16's |\n|---|---|---|---|\n{rows}"
    ))
}

/// The values of each tensor that is kept with one scale, in ascending order, by its name.
struct Moments(BTreeMap<String, Vec<f32>>);

#[derive(Debug, PartialEq)]
struct Summary {
    /// The fraction of elements that are 0.
    zeros: f64,
    /// The largest element over the smallest above 0, in the tensor where that is most.
    span: f32,
    /// The median over the reference's, in the middle tensor.
    median: f32,
}

impl Moments {
    fn of(outcome: &Outcome) -> Result<Self> {
        let run = outcome.folders.first().context("there is no run")?;
        Self::read(run)
    }

    fn read(run: &Path) -> Result<Self> {
        let checkpoints = checkpoint::list(run)?;
        let (_, newest) = checkpoints.last_key_value().context("the run has no checkpoint")?;
        let file = checkpoint::read(newest)?;
        let tensors = checkpoint::tensors(&file)?;
        let of_linear = |name: &&String| LINEARS.iter().any(|linear| name.ends_with(linear));
        let names = tensors.keys().filter(of_linear);
        let moments = names.filter_map(|name| {
            let scale = tensors.get(&format!("{name}_scale"))?;
            Some((name.clone(), values(&tensors[name], scale)?))
        });
        Ok(Self(moments.collect()))
    }

    /// Nothing if no tensor is kept with one scale.
    fn summary(&self, reference: &Self) -> Option<Summary> {
        let pairs = self.0.iter().filter_map(|(name, v)| Some((v, reference.0.get(name)?)));
        let medians = pairs.map(|(v, reference)| median(v) / median(reference)).collect();
        let elements: usize = self.0.values().map(Vec::len).sum();
        let zeros: usize = self.0.values().map(|v| first_above_zero(v)).sum();
        (elements > 0).then(|| Summary {
            zeros: zeros as f64 / elements as f64,
            span: self.0.values().filter_map(|v| span(v)).fold(1.0, f32::max),
            median: median(&sorted(medians)),
        })
    }
}

impl Summary {
    fn cells(&self) -> String {
        let Self { zeros, span, median } = self;
        format!(" {:.4} % | {span:.1e} | {median:.2} |", 100.0 * zeros)
    }
}

fn values(v: &TensorView<'_>, scale: &TensorView<'_>) -> Option<Vec<f32>> {
    let scale = f32::from_le_bytes(scale.data().try_into().ok()?);
    let bytes = v.data();
    let stored: Vec<f32> = match v.dtype() {
        Dtype::F8_E4M3 => bytes.iter().map(|&code| E4M3::from_bits(code).to_f32()).collect(),
        Dtype::F8_E5M2 => bytes.iter().map(|&code| E5M2::from_bits(code).to_f32()).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&x| f16::from_le_bytes(x).to_f32()).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(),
        _ => return None,
    };
    Some(sorted(stored.into_iter().map(|value| value / scale).collect()))
}

fn sorted(mut values: Vec<f32>) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    values
}

/// Of values in ascending order: the upper one of two in the middle.
fn median(values: &[f32]) -> f32 {
    values.get(values.len() / 2).copied().unwrap_or(f32::NAN)
}

fn span(values: &[f32]) -> Option<f32> {
    Some(values.last()? / values.get(first_above_zero(values))?)
}

fn first_above_zero(values: &[f32]) -> usize {
    values.partition_point(|&value| value <= 0.0)
}

/// The ends of their names.
const LINEARS: [&str; 4] = [".qkv.v", ".proj.v", ".up.v", ".down.v"];

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: Dtype, elements: usize, bytes: &[u8]) -> TensorView<'_> {
        TensorView::new(dtype, vec![elements], bytes).unwrap()
    }

    #[test]
    fn stored_values_are_freed_of_their_scale() {
        let scale = 2.0_f32.to_le_bytes();
        let scale = tensor(Dtype::F32, 1, &scale);
        // 448, 0, 2^-9
        let codes = tensor(Dtype::F8_E4M3, 3, &[0x7E, 0x00, 0x01]);
        assert_eq!(values(&codes, &scale).unwrap(), [0.0, 2.0_f32.powi(-10), 224.0]);
        let halves = [f16::from_f32(3.0).to_le_bytes(), f16::from_f32(1.0).to_le_bytes()].concat();
        assert_eq!(values(&tensor(Dtype::F16, 2, &halves), &scale).unwrap(), [0.5, 1.5]);
        let singles = 5.0_f32.to_le_bytes();
        assert_eq!(values(&tensor(Dtype::F32, 1, &singles), &scale).unwrap(), [2.5]);
        // 57,344
        assert_eq!(values(&tensor(Dtype::F8_E5M2, 1, &[0x7B]), &scale).unwrap(), [28_672.0]);
        let groups = [0; 16];
        let groups = tensor(Dtype::F32, 4, &groups);
        assert_eq!(values(&codes, &groups), None, "groups have no one scale");
    }

    #[test]
    fn a_summary_counts_zeros_and_compares_medians_by_name() {
        let moments = |tensors: &[(&str, &[f32])]| {
            let named = |(name, values): &(&str, &[f32])| (name.to_string(), values.to_vec());
            Moments(tensors.iter().map(named).collect())
        };
        let reference = moments(&[("a", &[1.0]), ("b", &[1.0, 2.0, 4.0]), ("c", &[8.0])]);
        let got =
            moments(&[("a", &[0.5]), ("b", &[0.0, 4.0, 32.0]), ("c", &[0.0, 24.0, 24.0, 24.0])]);
        let expected = Summary { zeros: 2.0 / 8.0, span: 8.0, median: 2.0 };
        assert_eq!(got.summary(&reference), Some(expected));
        assert_eq!(moments(&[]).summary(&reference), None);
        let vanished = moments(&[("a", &[0.0, 0.0])]).summary(&reference).unwrap();
        assert_eq!(vanished, Summary { zeros: 1.0, span: 1.0, median: 0.0 });
        assert_eq!(vanished.cells(), " 100.0000 % | 1.0e0 | 0.00 |");
    }
}
