//! The table of operations: what each takes, gives and computes. It is listed, and every call is
//! held against it.

use anyhow::Result;
use safetensors::Dtype;

use super::{adamw, all_reduce, call::Call, decode, encode, file::HostTensor, gemm, quantize};

/// Every operation.
pub(super) const OPERATIONS: [&Operation; 6] = [
    &encode::OPERATION,
    &decode::OPERATION,
    &quantize::OPERATION,
    &gemm::OPERATION,
    &adamw::OPERATION,
    &all_reduce::OPERATION,
];

/// What a user may ask for.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) inputs: &'static [Input],
    /// A key stands below those that its conditions name.
    pub(super) keys: &'static [Key],
    pub(super) outputs: &'static [Output],
    /// What must hold of required tensors and keys beyond the table.
    pub(super) rules: fn(&Call) -> Result<()>,
    pub(super) run: fn(&Call) -> Result<Outputs>,
}

/// Tensors that an operation gives, by name.
pub(super) type Outputs = Vec<(&'static str, HostTensor)>;

/// A tensor that an operation takes.
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) types: &'static [Dtype],
    pub(super) shape: Extents,
    pub(super) need: Need,
}

/// Whether a tensor must be there.
pub(super) enum Need {
    Always,
    Optional,
    /// There always, and elsewhere never.
    Where(When),
}

/// The shape of a tensor.
pub(super) enum Extents {
    Any,
    Of(&'static [Dim]),
}

/// An extent. The first tensor with a name sets it for those below.
#[derive(Clone, Copy)]
pub(super) enum Dim {
    Is(&'static str),
    /// A 128th of the extent with this name, rounded up.
    Blocks(&'static str),
}

/// A condition: that a key has one of these values.
#[derive(Clone, Copy)]
pub(super) struct When {
    pub(super) key: &'static str,
    pub(super) values: &'static [&'static str],
}

/// A choice that is set by `--set`.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) values: Values,
    /// Where it may be set; everywhere if there is none.
    pub(super) when: Option<When>,
    pub(super) doc: &'static str,
}

/// What a key may be.
pub(super) enum Values {
    /// One of these names, the first by default.
    Choice(&'static [&'static str]),
    /// A choice that depends on another key's.
    Cases(&'static [Case]),
    /// A finite number in f64, from `least` to below `end`.
    Number { default: f64, least: f64, end: f64 },
    /// A whole number of 64 bits.
    Whole { default: u64, least: u64 },
}

/// The values of a key under a condition.
pub(super) struct Case {
    pub(super) when: When,
    pub(super) values: &'static [&'static str],
}

/// A tensor that an operation gives.
pub(super) struct Output {
    pub(super) name: &'static str,
    pub(super) holds: &'static str,
    pub(super) when: Option<When>,
}

impl Operation {
    /// The operation with this name.
    pub(super) fn find(name: &str) -> Result<&'static Self> {
        let found = OPERATIONS.into_iter().find(|operation| operation.name == name);
        found.ok_or_else(|| {
            let names = OPERATIONS.map(|operation| operation.name);
            anyhow::anyhow!("operation `{name}`: expected {}", joined(&names, "or"))
        })
    }
}

impl Key {
    /// A choice that may always be set.
    pub(super) const fn choice(
        name: &'static str,
        values: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self { name, values: Values::Choice(values), when: None, doc }
    }

    /// A finite number from `least` on.
    pub(super) const fn number(
        name: &'static str,
        default: f64,
        least: f64,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            values: Values::Number { default, least, end: f64::INFINITY },
            when: None,
            doc,
        }
    }
}

/// Names in a sentence: `a, b or c`.
pub(super) fn joined(names: &[impl AsRef<str>], conjunction: &str) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} {conjunction} {last}", rest.join(", ")),
        None => "none".to_owned(),
    }
}
