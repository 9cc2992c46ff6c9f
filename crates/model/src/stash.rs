//! How many bytes a model keeps between a forward pass and its backward pass.

use std::{iter::Sum, ops::Add};

use fp8lm_device::{DType, Shape};
use fp8lm_ops::{self as ops, Blocks};
use fp8lm_scaling::{Cast, Columns, Gemm, Linear, Recipe, RecipeError, Scaling, Source};

use crate::{ModelConfig, NormKind, Recompute};

/// A micro-batch of a model, and what is kept of it.
#[derive(Clone, Copy, Debug)]
pub struct StashPlan<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its formats.
    pub recipe: &'a Recipe,
    /// What the backward pass makes again.
    pub recompute: Recompute,
    /// Tokens of the micro-batch.
    pub tokens: usize,
    /// How many share its linears and tables.
    pub members: usize,
    /// Whether they share the rows between linears, too.
    pub sequence: bool,
}

/// Bytes that a member keeps of one micro-batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StashBytes {
    /// Values and codes, under the label [`ACTIVATIONS`](fp8lm_ops::ACTIVATIONS).
    pub activations: u64,
    /// Factors of tiles, and scales of tensors just in time, under the label [`SCALES`](fp8lm_scaling::SCALES).
    pub scales: u64,
}

impl StashPlan<'_> {
    /// What block `block` of the model keeps, what it was given included: exact to the byte from a run's second step
    /// on. In the first one delayed scales are made just in time, at four bytes each.
    ///
    /// # Errors
    /// If the recipe names one for this block that there is not.
    pub fn block(&self, block: usize) -> Result<StashBytes, RecipeError> {
        let Self { config: &ModelConfig { width, mlp, activation, .. }, .. } = *self;
        let x = self.rows(width);
        let (qkv, u) = (self.own(3 * width), self.own(activation.inputs() * mlp));
        Ok(match self.recompute {
            Recompute::Full => x,
            Recompute::Selective => x + qkv + x + u,
            Recompute::None => {
                let attention = self.input(block, Linear::Qkv)? + qkv + self.attention(block)?;
                let mlp = self.input(block, Linear::Up)? + u + self.input(block, Linear::Down)?;
                x + self.norm() + attention + x + self.norm() + mlp
            }
        })
    }

    /// What stands behind the last block keeps: the inputs of norm and head, and the gradient of the logits. No mode
    /// makes them again, for their backward pass comes at once.
    pub fn tail(&self) -> StashBytes {
        let ModelConfig { width, vocabulary, .. } = *self.config;
        self.rows(width) + self.norm() + self.rows(width) + self.own(vocabulary)
    }

    /// Attention's output and the logarithms of its sums.
    fn attention(&self, block: usize) -> Result<StashBytes, RecipeError> {
        let ModelConfig { width, heads, .. } = *self.config;
        let is_kept_for_proj = match self.cast(block, Linear::Proj)? {
            None => true,
            Some(cast) => cast.columns.is_some_and(|columns| columns.from == Source::E5m6),
        };
        let o = if is_kept_for_proj { 0 } else { width };
        let lse = values([self.tokens, heads / self.members].into(), DType::F32);
        Ok(self.own(o) + lse + self.input(block, Linear::Proj)?)
    }

    /// What a linear keeps of its input.
    fn input(&self, block: usize, linear: Linear) -> Result<StashBytes, RecipeError> {
        let [_, features] = self.config.linear_shape(linear);
        let is_cut_by_inputs = matches!(linear, Linear::Proj | Linear::Down);
        Ok(match self.cast(block, linear)? {
            None if is_cut_by_inputs => self.own(features),
            None => self.rows(features),
            Some(cast) if is_cut_by_inputs => kept(&cast, self.tokens, features / self.members),
            // Rows are gathered before they are turned, so that the values are kept.
            Some(cast) if self.has_own_rows() && is_from_values(&cast) => self.rows(features),
            Some(cast) => kept(&cast, self.row_count(), features),
        })
    }

    /// How a linear casts its input, if it does.
    fn cast(&self, block: usize, linear: Linear) -> Result<Option<Cast>, RecipeError> {
        Ok(match self.recipe.precision(block, linear)?.gemm {
            Gemm::Plain => None,
            Gemm::Fp8(casts) => Some(casts.input),
        })
    }

    /// Statistics of a norm.
    fn norm(&self) -> StashBytes {
        let statistics = match self.config.norm {
            NormKind::Rms => 1,
            NormKind::Layer => 2,
        };
        values([self.row_count(), statistics].into(), DType::F32)
    }

    /// Activations as they are between linears.
    fn rows(&self, features: usize) -> StashBytes {
        values([self.row_count(), features].into(), self.recipe.activations)
    }

    /// A member's heads or features of all rows.
    fn own(&self, features: usize) -> StashBytes {
        values([self.tokens, features / self.members].into(), self.recipe.activations)
    }

    fn row_count(&self) -> usize {
        if self.has_own_rows() { self.tokens / self.members } else { self.tokens }
    }

    fn has_own_rows(&self) -> bool {
        self.sequence && self.members > 1
    }
}

impl Add for StashBytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            activations: self.activations.saturating_add(other.activations),
            scales: self.scales.saturating_add(other.scales),
        }
    }
}

impl Sum for StashBytes {
    fn sum<I: Iterator<Item = Self>>(bytes: I) -> Self {
        bytes.fold(Self::default(), Self::add)
    }
}

/// What a cast keeps of [tokens, features].
fn kept(cast: &Cast, tokens: usize, features: usize) -> StashBytes {
    let rows = Shape::from([tokens, features]);
    match cast.columns {
        None => values(rows, cast.format) + scale(cast.scaling),
        Some(Columns { from: Source::Codes, .. }) => values(rows, cast.format) + factors(rows),
        Some(Columns { from: Source::E5m6, .. }) => {
            values(ops::packed_shape(rows), DType::U8) + factors(rows)
        }
        Some(Columns { from: Source::Values, format }) => {
            values(rows, format) + factors([features, tokens].into())
        }
    }
}

fn is_from_values(cast: &Cast) -> bool {
    cast.columns.is_some_and(|columns| columns.from == Source::Values)
}

fn values(shape: Shape, dtype: DType) -> StashBytes {
    StashBytes { activations: bytes(shape, dtype), scales: 0 }
}

fn factors(shape: Shape) -> StashBytes {
    StashBytes { activations: 0, scales: bytes(Blocks::Tile.scale_shape(shape), DType::F32) }
}

fn scale(scaling: Scaling) -> StashBytes {
    match scaling {
        Scaling::JustInTime => StashBytes { activations: 0, scales: bytes(1.into(), DType::F32) },
        Scaling::Delayed(_) => StashBytes::default(),
    }
}

fn bytes(shape: Shape, dtype: DType) -> u64 {
    (shape.elements() * dtype.bytes()) as u64
}
