//! The shape of a model.

use std::ops::Range;

use fp8lm_scaling::Linear;
use serde::{Deserialize, Serialize};

/// The shape of a decoder-only GPT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Blocks.
    pub layers: usize,
    /// The width of the residual stream.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// The longest sequence, in tokens.
    pub context: usize,
    /// The width of the feed-forward network.
    pub mlp: usize,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// The norm in front of attention and feed-forward network.
    pub norm: NormKind,
    /// The activation function of the feed-forward network.
    pub activation: Activation,
    /// Whether the head shares its weights with the embedding.
    pub tied_head: bool,
    /// The base of the rotary frequencies.
    pub rope_theta: f64,
    /// What a norm adds to the variance.
    pub norm_eps: f64,
}

/// A norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// RMSNorm, with a gain.
    Rms,
    /// LayerNorm, with a gain and a shift.
    Layer,
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// GELU in its tanh form.
    Gelu,
    /// SwiGLU: a second linear of the same width, gated by SiLU.
    Swiglu,
}

impl Activation {
    /// How many times the network's width its first linear puts out.
    pub fn inputs(self) -> usize {
        match self {
            Activation::Gelu => 1,
            Activation::Swiglu => 2,
        }
    }
}

impl Default for ModelConfig {
    /// The model of the quickstart.
    fn default() -> Self {
        Self {
            layers: 4,
            width: 256,
            heads: 4,
            context: 256,
            mlp: 688,
            vocabulary: 256,
            norm: NormKind::Rms,
            activation: Activation::Swiglu,
            tied_head: false,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
        }
    }
}

impl ModelConfig {
    /// The width of one head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// The shape [out, in] of one of the linears of a block.
    pub fn linear_shape(&self, linear: Linear) -> [usize; 2] {
        let Self { width, mlp, activation, .. } = *self;
        match linear {
            Linear::Qkv => [3 * width, width],
            Linear::Proj => [width, width],
            Linear::Up => [activation.inputs() * mlp, width],
            Linear::Down => [width, mlp],
        }
    }

    /// Parameters of all linears in the blocks.
    pub fn linear_parameters(&self) -> usize {
        let parameters = Linear::ALL.map(|linear| self.linear_shape(linear).iter().product());
        self.layers * parameters.iter().sum::<usize>()
    }

    /// All other parameters: embedding, head and norms.
    pub fn rest_parameters(&self) -> usize {
        let tables = if self.tied_head { 1 } else { 2 } * self.vocabulary * self.width;
        let norm = match self.norm {
            NormKind::Rms => self.width,
            NormKind::Layer => 2 * self.width,
        };
        tables + (2 * self.layers + 1) * norm
    }

    /// Checks that the numbers fit together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let counts = [
            ("layers", self.layers),
            ("width", self.width),
            ("heads", self.heads),
            ("context", self.context),
            ("mlp", self.mlp),
            ("vocabulary", self.vocabulary),
        ];
        for (key, value) in counts {
            if value == 0 || value > MAX_EXTENT {
                return Err(ConfigError::OutOfRange { key, value: value.to_string() });
            }
        }
        self.validate_heads()?;
        for (key, value) in [("rope_theta", self.rope_theta), ("norm_eps", self.norm_eps)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ConfigError::NotPositive { key, value });
            }
        }
        Ok(())
    }

    /// Checks that so many members of a split can share it.
    pub fn validate_members(&self, members: usize) -> Result<(), ConfigError> {
        let Self { heads, mlp, vocabulary, .. } = *self;
        let extents = [("heads", heads), ("mlp", mlp), ("vocabulary", vocabulary)];
        let uneven = extents.into_iter().find(|(_, value)| !value.is_multiple_of(members));
        uneven.map_or(Ok(()), |(key, value)| Err(ConfigError::NotShared { key, value, members }))
    }

    fn validate_heads(&self) -> Result<(), ConfigError> {
        if !self.width.is_multiple_of(self.heads) {
            return Err(ConfigError::HeadsDoNotDivide { heads: self.heads, width: self.width });
        }
        let head_dim = self.head_dim();
        if head_dim.is_multiple_of(2) && head_dim <= MAX_HEAD_DIM {
            return Ok(());
        }
        Err(ConfigError::HeadDim { head_dim, width: self.width, heads: self.heads })
    }
}

/// A shape that does not fit together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An extent that is zero or absurd.
    #[error("model.{key}: expected 1 to {MAX_EXTENT}, got {value}")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A number that must be positive.
    #[error("model.{key}: expected a number above 0, got {value}")]
    NotPositive {
        /// The key.
        key: &'static str,
        /// Its value.
        value: f64,
    },
    /// Heads that do not divide the width.
    #[error("model.heads: {heads} heads do not divide model.width = {width}")]
    HeadsDoNotDivide {
        /// Heads.
        heads: usize,
        /// The width.
        width: usize,
    },
    /// An extent that the members of a split cannot share alike.
    #[error(
        "model.{key}: {members} members share it; expected a multiple of {members}, got {value}"
    )]
    NotShared {
        /// The key.
        key: &'static str,
        /// Its value.
        value: usize,
        /// The members.
        members: usize,
    },
    /// A part with blocks that the model has not.
    #[error("a part of a model: expected some of its blocks 0 to {layers}, got {} to {}", blocks.start, blocks.end)]
    NoSuchBlocks {
        /// The part's blocks.
        blocks: Range<usize>,
        /// The model's.
        layers: usize,
    },
    /// A shared head in another part than what it shares.
    #[error(
        "model.tied_head: a head that shares the embedding's weights stands in one part of the model with it"
    )]
    TiedHeadApart,
    /// A head that rotary positions or attention cannot take.
    #[error(
        "model.heads: {heads} heads of model.width = {width} are {head_dim} wide; expected an even width of at most {MAX_HEAD_DIM}"
    )]
    HeadDim {
        /// The width of a head.
        head_dim: usize,
        /// The width.
        width: usize,
        /// Heads.
        heads: usize,
    },
}

/// Kernels index with 32 bits.
const MAX_EXTENT: usize = 1 << 24;
/// The widest head that attention kernels take.
const MAX_HEAD_DIM: usize = 256;
