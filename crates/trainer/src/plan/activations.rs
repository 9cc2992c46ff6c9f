//! What tensor-parallel ranks, and stages of a pipeline, send of activations and their gradients.
//!
//! Of N elements (tokens x width) each of t ranks sends N (t - 1) / t in an all-gather or a reduce-scatter, and twice
//! as many in an all-reduce. Bytes an element and micro-batch, a bytes being those of the recipe's activations:
//!
//! | border | tokens shared | not |
//! |---|---|---|
//! | column-parallel linear | input a, gradient a, input again a | gradient 2a |
//! | the same in FP8 | input 1, gradient a, input again 1 | gradient 2a |
//! | with gradients in E4M3 | input 1, gradient 1, input again 1 | |
//! | row-parallel linear | output a, gradient a | output 2a |
//! | embedding | output a, gradient a | output 2a |
//! | head | input a, gradient a, input again a | gradient 2a |
//!
//! In BF16 a column-parallel linear takes 6 bytes, in FP8 4 or 3 (FP8-LM, section 2.3). Its input again is what was
//! kept of it: codes, 12 bits under `e5m6`, or values. Where blocks run again (`run.recompute = full`), so do the first
//! gathers of both column-parallel linears and the sum behind the projection. The loss takes 12 bytes a token, twice;
//! norms have their gradients summed over ranks that share tokens, in f32. A stage sends a bytes an element of its own
//! rows to the next one, and gets as many back, or 1 in E4M3. Factors of tiles are scalars, which are not counted.

use fp8lm_device::{DType, Label};
use fp8lm_model::{COLUMNS, ModelConfig, ROWS, Recompute, TABLES};
use fp8lm_parallel::{GRADIENTS, PIPELINE};
use fp8lm_scaling::{Gemm, Linear, Precision, Recipe, RecipeError, Source, WireFormat, recipe};

use super::{stages::Stages, wire::PlannedTraffic};
use crate::config::Config;

/// By kind, of all ranks in a step; nothing where there is nobody to send to.
pub(super) fn of_a_step(
    config: &Config,
    resolved: &Recipe,
    stages: &Stages,
) -> Result<Vec<PlannedTraffic>, RecipeError> {
    let baseline = recipe("bf16")?;
    let [sent, bf16] = [resolved, &baseline].map(|recipe| Wire { config, recipe, stages }.kinds());
    let kinds = sent?.into_iter().zip(bf16?);
    Ok(kinds.map(|((label, bytes), (_, bf16))| traffic(label, bytes, bf16)).collect())
}

/// Gradients of norms that ranks which share tokens sum, in f32.
pub(super) fn norms(config: &Config) -> PlannedTraffic {
    let parallel = &config.parallel;
    let tables = if config.model.tied_head { 1 } else { 2 };
    let ModelConfig { vocabulary, width, .. } = config.model;
    let elements = (config.model.rest_parameters() - tables * vocabulary * width) as u64;
    let shape = parallel.shape(config.data.micro_batches);
    let passes = (shape.micro_batches * parallel.data) as u64;
    let times =
        if parallel.shares_tokens() { 2 * (parallel.tensor as u64 - 1) * passes } else { 0 };
    let bytes = times.saturating_mul(elements * DType::F32.bytes() as u64);
    traffic(GRADIENTS, bytes, bytes)
}

fn traffic(label: Label, bytes: u64, bf16: u64) -> PlannedTraffic {
    PlannedTraffic { label, bytes: Some(bytes), bf16 }
}

/// A recipe's activations on the wire.
struct Wire<'a> {
    config: &'a Config,
    recipe: &'a Recipe,
    stages: &'a Stages,
}

impl Wire<'_> {
    fn kinds(&self) -> Result<Vec<(Label, u64)>, RecipeError> {
        let mut kinds = Vec::new();
        if self.config.parallel.tensor > 1 {
            let [mut columns, mut rows] = [0, 0];
            for block in 0..self.config.model.layers {
                columns += self.columns(block, Linear::Qkv)? + self.columns(block, Linear::Up)?;
                rows += self.rows();
            }
            kinds.extend([(COLUMNS, self.shared(columns)), (ROWS, self.shared(rows))]);
            kinds.push((TABLES, self.shared(self.tables()).saturating_add(self.losses())));
        }
        if self.stages.borders() > 0 {
            kinds.push((PIPELINE, self.pipeline()));
        }
        Ok(kinds)
    }

    /// Bits an element of the input of a column-parallel linear.
    fn columns(&self, block: usize, linear: Linear) -> Result<u64, RecipeError> {
        let Precision { gemm, .. } = self.recipe.precision(block, linear)?;
        let (input, kept) = match gemm {
            Gemm::Plain => (self.bits(), self.bits()),
            Gemm::Fp8(casts) => match casts.input.columns.map(|columns| columns.from) {
                None | Some(Source::Codes) => (CODE, CODE),
                Some(Source::E5m6) => (CODE, E5M6),
                Some(Source::Values) => (CODE, self.bits()),
            },
        };
        let gradient = wire_bits(self.recipe.wire.reduce_scatter, self.bits());
        Ok(match self.config.parallel.sequence {
            true => input * self.passes() + gradient + kept,
            false => 2 * self.bits(),
        })
    }

    /// Bits an element of the outputs of the two row-parallel linears of a block.
    fn rows(&self) -> u64 {
        let forward = if self.config.parallel.sequence { 1 } else { 2 };
        // The last product of a block does not run again.
        let again = (self.passes() - 1) * forward;
        (4 + again) * self.bits()
    }

    /// Bits an element of the residual stream, of embedding and head.
    fn tables(&self) -> u64 {
        if self.config.parallel.sequence { 5 * self.bits() } else { 4 * self.bits() }
    }

    /// Bytes of what ranks tell one another of their logits: maxima, sums and targets of each token, all-reduced.
    fn losses(&self) -> u64 {
        2 * (self.config.parallel.tensor as u64 - 1) * 12 * self.tokens()
    }

    /// Bytes that cross the borders of stages, there and back.
    fn pipeline(&self) -> u64 {
        let parallel = &self.config.parallel;
        let copies = if parallel.shares_tokens() { 1 } else { parallel.tensor as u64 };
        let bits = wire_bits(self.recipe.wire.pipeline, self.bits());
        bytes(self.stream(), 2 * copies * self.stages.borders() as u64 * bits)
    }

    /// Bytes that all ranks of a group send of elements of so many bits, over a step.
    fn shared(&self, bits: u64) -> u64 {
        bytes(self.stream(), bits * (self.config.parallel.tensor as u64 - 1))
    }

    /// How often a block's first products run in a step.
    fn passes(&self) -> u64 {
        if self.config.run.recompute == Recompute::Full { 2 } else { 1 }
    }

    /// Elements of the residual stream over a step, of all data-parallel ranks.
    fn stream(&self) -> u64 {
        self.tokens().saturating_mul(self.config.model.width as u64)
    }

    fn tokens(&self) -> u64 {
        let (data, model) = (&self.config.data, &self.config.model);
        (data.batch * data.micro_batches * model.context) as u64
    }

    /// Those of an activation.
    fn bits(&self) -> u64 {
        8 * self.recipe.activations.bytes() as u64
    }
}

fn wire_bits(format: WireFormat, activations: u64) -> u64 {
    match format {
        WireFormat::Activations => activations,
        WireFormat::E4m3 => CODE,
    }
}

fn bytes(elements: u64, bits: u64) -> u64 {
    u64::try_from(u128::from(elements) * u128::from(bits) / 8).unwrap_or(u64::MAX)
}

const CODE: u64 = 8;
const E5M6: u64 = 12;
