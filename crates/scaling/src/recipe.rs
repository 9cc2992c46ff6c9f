//! A recipe is data: printable, comparable, stored with every run.

use std::fmt;

use fp8lm_device::DType;
use fp8lm_ops::ScaleRule;
use serde::{Deserialize, Serialize};

use crate::{Format, Gemm, Wire, recipe};

/// What a training run keeps in which format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// The type of activations and of their gradients between operations: f32 or bf16.
    pub activations: DType,
    /// The linears of the blocks.
    pub linears: Precision,
    /// Embedding, head and norms.
    pub rest: Precision,
    /// Exceptions for named linears and blocks; the first that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// How activations travel between ranks.
    #[serde(default, skip_serializing_if = "Wire::is_default")]
    pub wire: Wire,
}

/// The formats of one group of parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Precision {
    /// How its matrix multiplications are made.
    pub gemm: Gemm,
    /// The type of a stored copy of the weights that forward and backward passes read. Without
    /// one, they read the master and cast it at each use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<DType>,
    /// The gradient of a step.
    pub gradient: GradientFormat,
    /// The master weights; [`ScaleRule::Expand`] is for moments alone.
    pub master: Format,
    /// The first moment, m.
    pub first_moment: Format,
    /// The second moment, v.
    pub second_moment: Format,
    /// What is rounded stochastically, to one of the two neighbouring values, the nearer the
    /// likelier. Everything else goes to the nearest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stochastic: Vec<Rounded>,
}

/// What of a parameter can be rounded stochastically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounded {
    /// Its gradient, at each cast.
    Gradient,
    /// The master weights.
    Master,
    /// The first moment.
    FirstMoment,
    /// The second moment.
    SecondMoment,
    /// The working copy, in FP8 with one scale.
    Working,
}

impl Rounded {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Rounded::Gradient => "gradient",
            Rounded::Master => "master",
            Rounded::FirstMoment => "first_moment",
            Rounded::SecondMoment => "second_moment",
            Rounded::Working => "working",
        }
    }
}

/// How the gradient of a step is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradientFormat {
    /// F32, or E4M3 or E5M2 with a scale.
    pub format: Format,
    /// The head-room in the scale of an FP8 gradient.
    pub head_room: HeadRoom,
    /// Where micro-batches are summed.
    pub accumulation: Accumulation,
}

/// The head-room in a gradient's scale (FP8-LM, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadRoom {
    /// Pre-scaling: 1 over the number of ranks.
    Pre,
    /// Post-scaling: none.
    Post,
    /// mu, which follows the rate of saturation.
    Auto,
}

/// Where micro-batches are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accumulation {
    /// In the gradient's own format, cast anew after each micro-batch.
    Native,
    /// In f32, cast once at the end.
    F32,
}

/// One of the linears of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Linear {
    /// Queries, keys and values.
    Qkv,
    /// The projection behind attention.
    Proj,
    /// The widening of the feed-forward network, the gate included.
    Up,
    /// Its narrowing.
    Down,
}

impl Linear {
    /// All of them, in order of use.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::Proj, Self::Up, Self::Down];

    /// Its name in parameters and overrides.
    pub fn name(self) -> &'static str {
        match self {
            Linear::Qkv => "qkv",
            Linear::Proj => "proj",
            Linear::Up => "up",
            Linear::Down => "down",
        }
    }
}

/// An exception: linears that follow another recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// The first and the last block that it holds for; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<[usize; 2]>,
    /// The linear that it holds for; all of them if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<Linear>,
    /// The recipe whose linears they follow.
    pub recipe: String,
}

impl Recipe {
    /// The formats of one linear of one block.
    pub fn precision(&self, block: usize, linear: Linear) -> Result<Precision, RecipeError> {
        let exception = self.overrides.iter().find(|exception| exception.matches(block, linear));
        let mut precision = match exception {
            Some(exception) => recipe(&exception.recipe)?.linears,
            None => self.linears.clone(),
        };
        if let (Linear::Proj, Gemm::Fp8(casts)) = (linear, &mut precision.gemm) {
            casts.keep_attention_output();
        }
        Ok(precision)
    }

    /// Checks that the formats fit together and that overrides name recipes that exist.
    pub fn validate(&self) -> Result<(), RecipeError> {
        if !matches!(self.activations, DType::F32 | DType::BF16) {
            return Err(invalid("activations", "f32 or bf16", self.activations));
        }
        self.linears.validate()?;
        self.rest.validate()?;
        for exception in &self.overrides {
            recipe(&exception.recipe)?;
            if exception.blocks.is_some_and(|[first, last]| first > last) {
                return Err(invalid(
                    "overrides.blocks",
                    "the first block before the last",
                    format_args!("{:?}", exception.blocks.unwrap_or_default()),
                ));
            }
        }
        Ok(())
    }
}

impl Override {
    fn matches(&self, block: usize, linear: Linear) -> bool {
        self.blocks.is_none_or(|[first, last]| (first..=last).contains(&block))
            && self.linear.is_none_or(|only| only == linear)
    }
}

impl Precision {
    /// Bytes a parameter: working weight, gradient, master weight and both moments, scales not
    /// counted.
    pub fn bytes_per_parameter(&self) -> usize {
        self.working.map_or(0, DType::bytes)
            + self.gradient.format.dtype.bytes()
            + self.master.dtype.bytes()
            + self.first_moment.dtype.bytes()
            + self.second_moment.dtype.bytes()
    }

    fn validate(&self) -> Result<(), RecipeError> {
        self.validate_working()?;
        if let Gemm::Fp8(casts) = &self.gemm {
            casts.validate()?;
        }
        if self.master.rule == ScaleRule::Expand {
            let expected = "any format without `:expand`, which is for moments";
            return Err(invalid("master", expected, self.master));
        }
        self.validate_stochastic()?;
        self.gradient.validate()
    }

    /// Whether it is rounded stochastically.
    pub fn is_stochastic(&self, what: Rounded) -> bool {
        self.stochastic.contains(&what)
    }

    /// Whether there is something to round.
    fn validate_stochastic(&self) -> Result<(), RecipeError> {
        let working = match (self.working, self.gemm) {
            (Some(dtype), Gemm::Fp8(casts)) => {
                dtype == casts.weight.format && casts.weight.blocks().is_none()
            }
            _ => false,
        };
        for what in &self.stochastic {
            let rounds = match what {
                Rounded::Gradient => self.gradient.format.dtype != DType::F32,
                Rounded::Master => self.master.dtype != DType::F32,
                Rounded::FirstMoment => self.first_moment.dtype != DType::F32,
                Rounded::SecondMoment => self.second_moment.dtype != DType::F32,
                Rounded::Working => working,
            };
            if !rounds {
                let expected = "gradients and states in less than f32, and working copies in FP8 \
                                with one scale";
                return Err(invalid("stochastic", expected, what.name()));
            }
        }
        Ok(())
    }

    /// Whether multiplications can take the working copy.
    fn validate_working(&self) -> Result<(), RecipeError> {
        let fits = match (self.working, self.gemm) {
            (None | Some(DType::F32 | DType::BF16), _) => true,
            (Some(dtype), Gemm::Fp8(casts)) => dtype == casts.weight.format,
            (Some(_), Gemm::Plain) => false,
        };
        if fits {
            return Ok(());
        }
        let got = self.working.map_or_else(String::new, |dtype| dtype.to_string());
        Err(invalid("working", "f32, bf16, or the format that weights are cast to", got))
    }
}

impl GradientFormat {
    fn validate(&self) -> Result<(), RecipeError> {
        let Format { dtype, rule } = self.format;
        let fp8 = matches!(dtype, DType::E4M3 | DType::E5M2);
        let scaled = fp8 && matches!(rule, ScaleRule::Exact | ScaleRule::Pow2);
        if scaled || self.format == Format::plain(DType::F32) {
            return Ok(());
        }
        Err(invalid("gradient", "f32, or e4m3 or e5m2 with one scale", self.format))
    }
}

/// A recipe that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// No recipe has this name.
    #[error("there is no recipe `{name}`: the recipes are {}", crate::NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// Formats that do not fit together.
    #[error("recipe.{key}: expected {expected}, got {got}")]
    Invalid {
        /// The recipe's key.
        key: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it holds.
        got: String,
    },
}

pub(crate) fn invalid(
    key: &'static str,
    expected: &'static str,
    got: impl fmt::Display,
) -> RecipeError {
    RecipeError::Invalid { key, expected, got: got.to_string() }
}
