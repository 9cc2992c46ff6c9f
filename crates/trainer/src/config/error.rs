//! What can be wrong with a configuration, in one sentence.

use std::{io, path::PathBuf};

use fp8lm_collectives::Algorithm;
use fp8lm_data::Tokenizer;
use fp8lm_device::DType;
use fp8lm_ops::GROUP;
use fp8lm_parallel::{Axis, Mesh, Schedule};
use fp8lm_scaling::{Format, RecipeError};

use super::{
    parallel::{fitting_multiple, nearest_multiple},
    presets::preset_names,
};

/// A configuration that cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No preset has this name.
    #[error("there is no preset `{name}`: the presets are {}", preset_names().join(", "))]
    UnknownPreset {
        /// The name.
        name: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A text that is not TOML.
    #[error("{origin}: not TOML: {reason}")]
    Syntax {
        /// The file, line and column.
        origin: String,
        /// What the parser said.
        reason: String,
    },
    /// An assignment without an equals sign.
    #[error("--set {text}: expected section.key=value")]
    NotAnAssignment {
        /// The text.
        text: String,
    },
    /// A number of ranks that the mesh cannot have.
    #[error(
        "--ranks {ranks}: parallel.pipeline = {pipeline} x parallel.tensor = {tensor} make {product} ranks for each \
         data-parallel one, so expected a multiple of {product}, such as {}, or less of these",
        nearest_multiple(*ranks as usize, pipeline * tensor), product = pipeline * tensor
    )]
    RanksInAll {
        /// The ranks that are asked for, in all.
        ranks: u32,
        /// Ranks along a pipeline.
        pipeline: usize,
        /// Tensor-parallel ranks.
        tensor: usize,
    },
    /// A key that no configuration has.
    #[error("{origin}: unknown key {key}: expected one of {expected}")]
    UnknownKey {
        /// Where it stands.
        origin: String,
        /// The key.
        key: String,
        /// The keys that could stand there.
        expected: String,
    },
    /// A value of the wrong type, or out of range.
    #[error("{origin}: {key} = {value}: expected {expected}")]
    Value {
        /// Where it stands.
        origin: String,
        /// The key.
        key: String,
        /// The value, as in TOML.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// A key that a complete configuration needs.
    #[error("{origin}: {reason}")]
    Incomplete {
        /// Where it is missing.
        origin: String,
        /// The key that is missing.
        reason: String,
    },
    /// Values that are fine alone and not together.
    #[error("{origin}: {source}")]
    Inconsistent {
        /// The layers of the configuration.
        origin: String,
        /// What does not fit together.
        source: Box<ConfigError>,
    },
    /// A shape that does not fit together.
    #[error(transparent)]
    Model(#[from] fp8lm_model::ConfigError),
    /// FP8 gradients that would be rounded at more hops than is allowed.
    #[error(
        "parallel.algorithm = {algorithm}: it rounds the sum of {dtype} gradients at every one of {ranks} ranks, and \
         parallel.fp8_ring_ranks = {most}: expected round-once, or parallel.fp8_ring_ranks = {ranks} to ask for it"
    )]
    Fp8Ring {
        /// How gradients are summed.
        algorithm: Algorithm,
        /// Their type.
        dtype: DType,
        /// The ranks that sum.
        ranks: usize,
        /// The most that may.
        most: usize,
    },
    /// A recipe that cannot be carried out.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// Head-room for gradients that have no scale.
    #[error("recipe.head_room: the gradients of recipe `{recipe}` are f32 and have no scale")]
    HeadRoomWithoutScale {
        /// The recipe.
        recipe: String,
    },
    /// A switch of multiplications in FP8 for linears that do not multiply in FP8.
    #[error("recipe.{key}: the linears of recipe `{recipe}` do not multiply in FP8")]
    WithoutFp8 {
        /// The switch.
        key: &'static str,
        /// The recipe.
        recipe: String,
    },
    /// A switch of the weight gradient's tiles for operands without tiles.
    #[error(
        "recipe.{key}: recipe `{recipe}` has no tiles, so its weight gradients take the codes of the other products"
    )]
    WithoutTiles {
        /// The switch.
        key: &'static str,
        /// The recipe.
        recipe: String,
    },
    /// A product that is summed over a length that its accumulation does not take.
    #[error(
        "recipe.accumulate = \"{accumulate}\" takes multiples of {multiple}, and {product} of blocks.{block}.{linear} sums {length} products"
    )]
    ProductLength {
        /// The model of accumulation.
        accumulate: &'static str,
        /// What it takes multiples of.
        multiple: usize,
        /// Which of the linear's products.
        product: &'static str,
        /// The block.
        block: usize,
        /// The linear.
        linear: &'static str,
        /// Products of one sum.
        length: usize,
    },
    /// An exception for blocks that the model does not have.
    #[error(
        "recipe.overrides: blocks {first} to {last} are not in a model of model.layers = {layers}, counted from 0"
    )]
    BlocksOutOfRange {
        /// The first block.
        first: usize,
        /// The last one.
        last: usize,
        /// Blocks of the model.
        layers: usize,
    },
    /// A vocabulary smaller than the tokenizer's.
    #[error(
        "model.vocabulary = {vocabulary}: data.tokenizer = \"{tokenizer}\" needs at least {}",
        tokenizer.vocabulary()
    )]
    Vocabulary {
        /// The model's vocabulary.
        vocabulary: usize,
        /// The tokenizer.
        tokenizer: Tokenizer,
    },
    /// A mesh or a partition that cannot be.
    #[error(transparent)]
    Ranks(#[from] fp8lm_parallel::Error),
    /// What ranks cannot share evenly.
    #[error(
        "{key} = {value}: parallel.{axis} = {ranks} ranks share it, so expected a multiple of {ranks}, such as {}",
        fitting_multiple(key, *value, *ranks)
    )]
    Uneven {
        /// What they share.
        key: &'static str,
        /// Its value.
        value: usize,
        /// The axis that they stand along.
        axis: Axis,
        /// How many they are.
        ranks: usize,
    },
    /// Heads that tensor-parallel ranks cannot share evenly.
    #[error(
        "model.heads = {heads}: parallel.tensor = {tensor} ranks share it, so expected parallel.tensor = {fits}, or a \
         multiple of {tensor} that divides model.width = {width}"
    )]
    UnevenHeads {
        /// Heads of the model.
        heads: usize,
        /// The ranks.
        tensor: usize,
        /// Ranks that could share the model.
        fits: usize,
        /// The width of the model.
        width: usize,
    },
    /// Blocks that stages cannot share evenly.
    #[error(
        "model.layers = {layers}: schedule {schedule} makes {stages} stages of parallel.pipeline = {ranks} ranks, and \
         each has as many blocks, so expected a multiple of {stages}, such as {}",
        nearest_multiple(*layers, *stages)
    )]
    Stages {
        /// Blocks of the model.
        layers: usize,
        /// The schedule.
        schedule: Schedule,
        /// Ranks along the pipeline.
        ranks: usize,
        /// The stages.
        stages: usize,
    },
    /// More stages than there are blocks.
    #[error(
        "model.layers = {layers}: schedule {schedule} makes {stages} stages of parallel.pipeline = {ranks} ranks, and \
         each has a block or more, so expected at least {stages}, or at most parallel.pipeline = {}",
        (ranks * layers / stages).max(1)
    )]
    TooManyStages {
        /// Blocks of the model.
        layers: usize,
        /// The schedule.
        schedule: Schedule,
        /// Ranks along the pipeline.
        ranks: usize,
        /// The stages.
        stages: usize,
    },
    /// A head that shares the weights of an embedding on another stage.
    #[error(
        "model.tied_head = true: the embedding is on the first and the head on the last of the {stages} stages of \
         schedule {schedule}, so expected false, or one stage: parallel.pipeline = 1 under schedule 1f1b"
    )]
    TiedHead {
        /// The schedule.
        schedule: Schedule,
        /// The stages.
        stages: usize,
    },
    /// Data-parallel ranks whose sums are no binary tree.
    #[error(
        "parallel.data = {data}: parallel.deterministic = true sums along a binary tree of ranks, so expected a power \
         of two, such as {}",
        data.next_power_of_two()
    )]
    NoTree {
        /// The ranks.
        data: usize,
    },
    /// A rounding at every border of stages, where nothing may depend on their number.
    #[error(
        "recipe.pipeline_wire = \"e4m3\": rounds between stages, so that results depend on their number; under \
         parallel.deterministic = true expected \"activations\""
    )]
    RoundedBetweenStages,
    /// Tokens that tensor-parallel ranks cannot share evenly.
    #[error(
        "parallel.tensor = {tensor}: under parallel.sequence = true they share the {tokens} tokens of a micro-batch \
         evenly, so expected a divisor of that, such as {fits}"
    )]
    UnevenTokens {
        /// The ranks.
        tensor: usize,
        /// Tokens of a micro-batch on one data-parallel rank.
        tokens: usize,
        /// Ranks that could share them, and the model.
        fits: usize,
    },
    /// A wire for gradients that are not scattered.
    #[error(
        "recipe.reduce_scatter_wire = \"e4m3\": under parallel.sequence = false parallel.tensor = {tensor} ranks \
         all-reduce, so expected \"activations\", or parallel.sequence = true"
    )]
    NothingScattered {
        /// The ranks.
        tensor: usize,
    },
    /// Groups under one scale that ranks would cut.
    #[error(
        "recipe.{key} = \"{format}\": has a scale for every {GROUP} elements in a row, and each of parallel.tensor = \
         {tensor} ranks has {run} of blocks.{block}.{linear}, so expected parallel.tensor = {fits}, or a format \
         without `:expand`"
    )]
    CutGroups {
        /// The state.
        key: &'static str,
        /// Its format.
        format: Format,
        /// The ranks.
        tensor: usize,
        /// The block.
        block: usize,
        /// The linear.
        linear: &'static str,
        /// Elements in a row that one rank has.
        run: usize,
        /// Ranks that would not cut them.
        fits: usize,
    },
    /// More ranks than a plan tells of.
    #[error("{mesh}: {ranks} ranks, expected at most {MOST_RANKS} in all", ranks = mesh.ranks())]
    TooManyRanks {
        /// The ranks.
        mesh: Mesh,
    },
    /// A `.bin` among other files.
    #[error("data.files: {} holds tokens and must be the only file", path.display())]
    BinAmongOthers {
        /// The `.bin`.
        path: PathBuf,
    },
    /// A configuration that TOML cannot hold, such as a path that is not UTF-8.
    #[error("the configuration cannot be written as TOML: {reason}")]
    Unwritable {
        /// What the writer said.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn unwritable(error: toml::ser::Error) -> Self {
        Self::Unwritable { reason: error.to_string() }
    }
}

/// Of each of which a plan tells what it has.
pub(super) const MOST_RANKS: usize = 1 << 17;
