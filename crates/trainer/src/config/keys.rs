//! Every key of a configuration, and what it takes.

use std::{fmt, ops::RangeInclusive};

use fp8lm_parallel::Schedule;
use fp8lm_scaling::{Format, NAMES};
use toml::Value;

use Expected::{Blocks, Files, Number, Order, Storage, Switch, Table, Tables, Whole, Word, Words};

/// The keys of a table.
pub(super) type Keys = &'static [(&'static str, Expected)];

/// What a key takes.
#[derive(Debug)]
pub(super) enum Expected {
    Table(Keys),
    Tables(Keys),
    Whole(RangeInclusive<i64>),
    /// Bounds are such that the number stays as sound when it is rounded to f32.
    Number(RangeInclusive<f64>),
    Switch,
    Word(&'static [&'static str]),
    Words(&'static [&'static str]),
    /// A [`Format`].
    Storage,
    /// A [`Schedule`].
    Order,
    Files,
    Blocks,
}

/// The full names of all keys, in the order of the tables.
pub fn keys() -> Vec<String> {
    let mut names = Vec::new();
    collect("", CONFIG, &mut names);
    names
}

impl Expected {
    /// Whether `value` is of the right type and within range. The insides of tables are checked
    /// on their own.
    pub(super) fn takes(&self, value: &Value) -> bool {
        match (self, value) {
            (Table(_), Value::Table(_)) | (Switch, Value::Boolean(_)) => true,
            (Whole(range), Value::Integer(number)) => range.contains(number),
            (Number(range), Value::Float(number)) => range.contains(number),
            (Number(range), Value::Integer(number)) => range.contains(&(*number as f64)),
            (Word(words), Value::String(word)) => words.contains(&word.as_str()),
            (Words(words), Value::Array(items)) => items.iter().all(|item| Word(words).takes(item)),
            (Storage, Value::String(text)) => text.parse::<Format>().is_ok(),
            (Order, Value::String(text)) => text.parse::<Schedule>().is_ok(),
            (Tables(_), Value::Array(items)) => items.iter().all(Value::is_table),
            (Files, Value::Array(items)) => items.iter().all(Value::is_str),
            (Blocks, Value::Array(items)) => items.len() == 2 && items.iter().all(is_block),
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Table(keys) => write!(f, "a table of {}", names(keys)),
            Tables(keys) => write!(f, "tables of {}", names(keys)),
            Whole(range) => write!(f, "a whole number from {} to {}", range.start(), range.end()),
            Number(range) => write!(f, "a number from {:?} to {:?}", range.start(), range.end()),
            Switch => f.write_str("true or false"),
            Word(words) => write!(f, "one of {}", words.join(", ")),
            Words(words) => write!(f, "a list of {}, in quotes and brackets", words.join(", ")),
            Storage => f.write_str(
                "f32, bf16, f16, e4m3 or e5m2, the last three with `:exact` or `:pow2` for a \
                 scale, moments in the last two with `:expand` for groups",
            ),
            Order => write!(f, "one of {}", Schedule::ALL.map(Schedule::name).join(", ")),
            Files => f.write_str("a list of file names in quotes, in brackets"),
            Blocks => f.write_str("the first and the last block, such as [0, 1]"),
        }
    }
}

/// The names of a table's keys, for a message.
pub(super) fn names(keys: Keys) -> String {
    keys.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn collect(prefix: &str, keys: Keys, names: &mut Vec<String>) {
    for (name, expected) in keys {
        match expected {
            Table(keys) | Tables(keys) => collect(&format!("{prefix}{name}."), keys, names),
            _ => names.push(format!("{prefix}{name}")),
        }
    }
}

fn is_block(value: &Value) -> bool {
    value.as_integer().is_some_and(|block| (0..MAX_LAYERS).contains(&block))
}

/// The whole configuration.
pub(super) const CONFIG: Keys = &[
    ("model", Table(MODEL)),
    ("recipe", Table(RECIPE)),
    ("data", Table(DATA)),
    ("optimizer", Table(OPTIMIZER)),
    ("parallel", Table(PARALLEL)),
    ("run", Table(RUN)),
];

/// The largest model that these allow has fewer than 2^57 parameters: no count overflows.
const MODEL: Keys = &[
    ("layers", Whole(1..=MAX_LAYERS)),
    ("width", Whole(1..=1 << 18)),
    ("heads", Whole(1..=1 << 16)),
    ("context", Whole(1..=1 << 20)),
    ("mlp", Whole(1..=1 << 20)),
    ("vocabulary", Whole(1..=1 << 24)),
    ("norm", Word(&["rms", "layer"])),
    ("activation", Word(&["gelu", "swiglu"])),
    ("tied_head", Switch),
    ("rope_theta", Number(1.0..=1e12)),
    ("norm_eps", Number(1e-12..=1.0)),
];

const RECIPE: Keys = &[
    ("name", Word(NAMES)),
    ("master", Storage),
    ("first_moment", Storage),
    ("second_moment", Storage),
    ("head_room", Word(&["pre", "post", "auto"])),
    ("grad_accumulation", Word(&["native", "f32"])),
    ("accumulate", Word(&["f32", "wgmma", "cublaslt", "cublaslt-fast", "deepgemm"])),
    ("forward_format", Word(FP8)),
    ("input_gradient_format", Word(FP8)),
    ("weight_gradient_format", Word(FP8)),
    ("scale", Word(&["exact", "pow2"])),
    ("columns", Word(SOURCES)),
    ("attention_output", Word(SOURCES)),
    ("stochastic", Words(ROUNDED)),
    ("pipeline_wire", Word(WIRE)),
    ("reduce_scatter_wire", Word(WIRE)),
    ("overrides", Tables(OVERRIDE)),
];

const OVERRIDE: Keys = &[
    ("blocks", Blocks),
    ("linear", Word(&["qkv", "proj", "up", "down"])),
    ("recipe", Word(NAMES)),
];

const FP8: &[&str] = &["e4m3", "e5m2"];
const ROUNDED: &[&str] = &["gradient", "master", "first_moment", "second_moment", "working"];
const WIRE: &[&str] = &["activations", "e4m3"];
const SOURCES: &[&str] = &["codes", "e5m6", "values"];

const DATA: Keys = &[
    ("files", Files),
    ("tokenizer", Word(&["bytes", "gpt2"])),
    ("validation", Number(1e-6..=0.5)),
    ("batch", Whole(1..=1 << 16)),
    ("micro_batches", Whole(1..=1 << 16)),
];

const OPTIMIZER: Keys = &[
    ("learning_rate", Number(1e-12..=1.0)),
    ("warmup", Whole(0..=MAX_STEPS)),
    ("final_fraction", Number(0.0..=1.0)),
    ("beta1", Number(0.0..=0.999999)),
    ("beta2", Number(0.0..=0.999999)),
    ("eps", Number(1e-30..=1.0)),
    ("weight_decay", Number(0.0..=1.0)),
    ("clip", Number(1e-6..=1e9)),
];

const PARALLEL: Keys = &[
    ("data", Whole(1..=MAX_RANKS)),
    ("tensor", Whole(1..=MAX_RANKS)),
    ("pipeline", Whole(1..=MAX_LAYERS)),
    ("sequence", Switch),
    ("schedule", Order),
    ("chunks", Whole(1..=MAX_LAYERS)),
    ("deterministic", Switch),
    ("zero", Whole(0..=2)),
    ("partition", Word(&["greedy", "balanced"])),
    ("algorithm", Word(&["round-once", "nccl-ring", "nccl-tree", "halving-doubling"])),
    ("fp8_ring_ranks", Whole(1..=MAX_RANKS)),
    ("bucket_mib", Whole(1..=1 << 20)),
    ("elastic", Switch),
    ("timeout_seconds", Whole(1..=86_400)),
];

const RUN: Keys = &[
    ("steps", Whole(1..=MAX_STEPS)),
    ("seed", Whole(0..=i64::MAX)),
    ("log_every", Whole(1..=MAX_STEPS)),
    ("evaluate_every", Whole(1..=MAX_STEPS)),
    ("evaluate_batches", Whole(0..=1 << 32)),
    ("evaluate_batches_at_end", Whole(0..=1 << 32)),
    ("checkpoint_every", Whole(1..=MAX_STEPS)),
    ("compare", Word(NAMES)),
    ("keep_checkpoints", Whole(1..=1 << 20)),
    ("threads", Whole(0..=1 << 12)),
    ("recompute", Word(&["none", "selective", "full"])),
];

const MAX_LAYERS: i64 = 1 << 12;
const MAX_RANKS: i64 = 1 << 16;
const MAX_STEPS: i64 = 1_000_000_000;
