//! What a run will allocate for its parameters, by label, known before its first step.

use std::collections::BTreeMap;

use fp8lm_device::{DType, Label, Usage};
use fp8lm_model::ModelConfig;
use fp8lm_scaling::{LINEAR, Labels, Linear, Precision, REST, Recipe, RecipeError, SCALES};

use crate::run::report::MemoryRow;

/// The planned bytes of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// The label that they are allocated under.
    pub label: Label,
    /// How many they are; none where the plan does not say, as for scales.
    pub bytes: Option<u64>,
    /// Parameters in the label's group; none for labels that are not of parameters.
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
        usage.get(&self.label).map_or(0, |usage| usage.bytes as u64)
    }

    /// Whether it is of the linears, which the recipe manages in FP8.
    pub(super) fn is_linear(&self) -> bool {
        LINEAR.all().contains(&self.label)
    }
}

/// The rows of a model under a recipe, in the order of the table.
pub(super) fn rows(model: &ModelConfig, recipe: &Recipe) -> Result<Vec<PlannedRow>, RecipeError> {
    let mut linears = Vec::new();
    for block in 0..model.layers {
        for linear in Linear::ALL {
            let [outputs, inputs] = model.linear_shape(linear).map(|extent| extent as u64);
            linears.push((outputs * inputs, recipe.precision(block, linear)?));
        }
    }
    let rest = [(model.rest_parameters() as u64, recipe.rest.clone())];
    let scales = PlannedRow { label: SCALES, bytes: None, parameters: None };
    let rows = group(&LINEAR, &linears).into_iter().chain(group(&REST, &rest));
    Ok(rows.chain([scales]).collect())
}

fn group(labels: &Labels, tensors: &[(u64, Precision)]) -> [PlannedRow; 5] {
    let parameters = tensors.iter().map(|(count, _)| count).sum();
    let kinds = labels.all();
    std::array::from_fn(|kind| {
        let bytes = tensors.iter().map(|(count, precision)| count * bytes(precision)[kind]);
        PlannedRow { label: kinds[kind], bytes: Some(bytes.sum()), parameters: Some(parameters) }
    })
}

/// Bytes of one parameter by kind, in the order of [`Labels::all`].
fn bytes(precision: &Precision) -> [u64; 5] {
    let working = precision.working.map_or(0, DType::bytes);
    let Precision { gradient, master, first_moment, second_moment, .. } = precision;
    let kept = [gradient.format, *master, *first_moment, *second_moment];
    let [gradient, master, first, second] = kept.map(|format| format.dtype.bytes());
    [working, gradient, master, first, second].map(|bytes| bytes as u64)
}
