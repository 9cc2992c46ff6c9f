//! The matrix multiplications of a linear: which casts they take.

use fp8lm_device::DType;
use fp8lm_ops::{Accumulate, BlockCast, BlockRule, Blocks, ScaleRule};
use serde::{Deserialize, Serialize};

use crate::recipe::{RecipeError, invalid};

/// How a linear's three matrix multiplications are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Gemm {
    /// On activations and weights as they are.
    Plain,
    /// On FP8 operands.
    Fp8(Casts),
}

/// The casts of a linear in FP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Casts {
    /// The linear's input, in the forward pass and for the weight gradient.
    pub input: Cast,
    /// The weights, unless a working copy is stored in FP8 already.
    pub weight: Cast,
    /// The gradient of the linear's output.
    pub output_gradient: Cast,
    /// What the projection behind attention keeps of its input, if not what other linears do. The
    /// backward pass of attention reads it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_output: Option<Source>,
    /// How the products of the three matrix multiplications are summed.
    #[serde(default)]
    pub accumulate: Accumulate,
}

/// A cast to FP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// E4M3 or E5M2.
    pub format: DType,
    /// What shares a scale.
    #[serde(default, skip_serializing_if = "Granularity::is_tensor")]
    pub granularity: Granularity,
    /// Which amax the scale is made from.
    pub scaling: Scaling,
    /// How the scale is made from an amax.
    pub rule: ScaleRule,
    /// The second form of an input or an output gradient in tiles, for the weight gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// The whole tensor.
    #[default]
    Tensor,
    /// 128 neighbours in a row: inputs and output gradients.
    Tile,
    /// 128 rows of 128: weights.
    Block,
}

/// The form in which the weight gradient takes a tensor in tiles: [features, tokens], in tiles along
/// tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// E4M3 or E5M2.
    pub format: DType,
    /// What it is made from, which is what is kept for the backward pass.
    pub from: Source,
}

/// What the columnar form is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The codes that the other product took; scales along tokens are powers of two.
    Codes,
    /// The values, cast to twelve bits; scales are powers of two.
    E5m6,
    /// The values, in the forward pass; the columnar codes are kept.
    Values,
}

/// Which amax a scale is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scaling {
    /// The tensor's own: one more pass over it.
    JustInTime,
    /// The largest of the last so many steps; just in time during the first step.
    Delayed(usize),
}

impl Casts {
    /// What is kept of attention's output becomes what is kept of the input: the casts of the projection.
    pub(crate) fn keep_attention_output(&mut self) {
        if let (Some(columns), Some(source)) = (&mut self.input.columns, self.attention_output) {
            columns.from = source;
        }
    }

    pub(crate) fn validate(&self) -> Result<(), RecipeError> {
        let Self { input, weight, output_gradient, .. } = self;
        input.validate("gemm.input")?;
        weight.validate("gemm.weight")?;
        output_gradient.validate("gemm.output_gradient")?;
        self.validate_granularity()?;
        if self.attention_output.is_some() && input.columns.is_none() {
            return Err(invalid("gemm.attention_output", "inputs in tiles", "tensors"));
        }
        let columns = [output_gradient, input].map(Cast::columns_format);
        for pair in
            [[input.format, weight.format], [output_gradient.format, weight.format], columns]
        {
            if pair == [DType::E5M2; 2] {
                return Err(invalid("gemm", "at most one operand of a product in e5m2", "two"));
            }
        }
        Ok(())
    }

    /// Which scales can meet in one product.
    fn validate_granularity(&self) -> Result<(), RecipeError> {
        let casts = [&self.input, &self.weight, &self.output_gradient];
        let [input, weight, gradient] = casts.map(|cast| cast.granularity);
        match (input, weight, gradient) {
            (Granularity::Tensor, Granularity::Tensor, Granularity::Tensor) => Ok(()),
            (Granularity::Tile, Granularity::Block, Granularity::Tile) => Ok(()),
            _ => Err(invalid(
                "gemm",
                "scales of tensors, or of tiles with weights in blocks",
                format!("{input:?}, {weight:?}, {gradient:?}").to_lowercase(),
            )),
        }
    }
}

impl Cast {
    /// A cast with one scale of the tensor.
    pub const fn tensor(format: DType, scaling: Scaling, rule: ScaleRule) -> Self {
        Self { format, granularity: Granularity::Tensor, scaling, rule, columns: None }
    }

    /// How it casts, if blocks have factors.
    pub(crate) fn blocks(&self) -> Option<BlockCast> {
        let blocks = match self.granularity {
            Granularity::Tensor => return None,
            Granularity::Tile => Blocks::Tile,
            Granularity::Block => Blocks::Block,
        };
        Some(BlockCast { blocks, rule: block_rule(self.rule), divide: true })
    }

    /// The format that the weight gradient takes.
    fn columns_format(&self) -> DType {
        self.columns.map_or(self.format, |columns| columns.format)
    }

    fn validate(&self, key: &'static str) -> Result<(), RecipeError> {
        for format in [self.format, self.columns_format()] {
            if !matches!(format, DType::E4M3 | DType::E5M2) {
                return Err(invalid(key, "e4m3 or e5m2", format));
            }
        }
        if self.scaling == Scaling::Delayed(0) {
            return Err(invalid(key, "a window of at least 1", 0));
        }
        if (self.granularity == Granularity::Tile) != self.columns.is_some() {
            let (expected, got) = ("columns beside tiles, and beside nothing else", "otherwise");
            return Err(invalid(key, expected, got));
        }
        match (self.granularity, self.rule) {
            (_, ScaleRule::Expand) => Err(invalid(key, "a scale of the tensor", "expand")),
            (Granularity::Tensor, _) => Ok(()),
            (_, ScaleRule::None) => Err(invalid(key, "a rule for the scales of blocks", "none")),
            _ if self.scaling == Scaling::JustInTime => Ok(()),
            _ => Err(invalid(key, "scales of blocks just in time", "delayed")),
        }
    }
}

impl Granularity {
    fn is_tensor(&self) -> bool {
        *self == Self::Tensor
    }
}

/// The rule of blocks that corresponds to one of tensors.
pub(crate) fn block_rule(rule: ScaleRule) -> BlockRule {
    match rule {
        ScaleRule::Pow2 => BlockRule::Ue8m0,
        _ => BlockRule::Exact,
    }
}
