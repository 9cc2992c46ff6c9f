//! What the table says of one kernel.

use fp8lm_device::DType;

use crate::{Code, families::MANY};

/// One kernel.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in launches.
    pub name: &'static str,
    /// What it computes, with the shapes of its parameters.
    pub doc: &'static str,
    /// What is promised of its bits.
    pub contract: Contract,
    /// Its parameters, in the order of a launch.
    pub params: &'static [Param],
    /// Where its device code comes from.
    pub code: Code,
}

impl Kernel {
    /// The forms of its entries that take several launches at once, in the order of the entries, if it has them: they
    /// take the address of a table of arguments, that of the launches' first blocks, and how many launches there are.
    pub fn many(&self) -> Option<&'static [&'static str]> {
        MANY.iter().find(|(kernel, _)| *kernel == self.name).map(|(_, names)| *names)
    }

    /// The names of all functions of its device code.
    pub fn functions(&self) -> impl Iterator<Item = &'static str> {
        let entries = match &self.code {
            Code::Cuda(cuda) => cuda.entries,
            Code::Library => &[],
        };
        entries.iter().map(|entry| entry.name).chain(self.many().into_iter().flatten().copied())
    }
}

/// What a kernel promises of its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// There is one right bit pattern.
    Exact,
    /// There is one right bit pattern, given the order of reduction that the documentation fixes.
    ExactGivenOrder,
}

/// One parameter.
#[derive(Debug)]
pub struct Param {
    /// Its name in documentation and messages.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// What a parameter takes.
#[derive(Debug)]
pub enum Kind {
    /// Memory that is read, of one of these types.
    Read(&'static [DType]),
    /// Memory that is written whole, of one of these types.
    Write(&'static [DType]),
    /// Memory that is read and written, of one of these types.
    Update(&'static [DType]),
    /// A 32-bit count, extent or choice.
    U32,
    /// A 64-bit count.
    U64,
    /// A number.
    F32,
}

impl Kind {
    /// Whether the kernel writes through the parameter.
    pub fn is_written(&self) -> bool {
        matches!(self, Kind::Write(_) | Kind::Update(_))
    }
}

pub(crate) const fn read(name: &'static str, types: &'static [DType]) -> Param {
    Param { name, kind: Kind::Read(types) }
}

pub(crate) const fn write(name: &'static str, types: &'static [DType]) -> Param {
    Param { name, kind: Kind::Write(types) }
}

pub(crate) const fn update(name: &'static str, types: &'static [DType]) -> Param {
    Param { name, kind: Kind::Update(types) }
}

pub(crate) const fn u32(name: &'static str) -> Param {
    Param { name, kind: Kind::U32 }
}

pub(crate) const fn u64(name: &'static str) -> Param {
    Param { name, kind: Kind::U64 }
}

pub(crate) const fn f32(name: &'static str) -> Param {
    Param { name, kind: Kind::F32 }
}

/// Activations and gradients that are not quantised.
pub(crate) const FLOAT: &[DType] = &[DType::F32, DType::BF16];
/// The formats of quantised tensors.
pub(crate) const FP8: &[DType] = &[DType::E4M3, DType::E5M2];
/// What a matrix multiplication takes.
pub(crate) const OPERAND: &[DType] =
    &[DType::F32, DType::F16, DType::BF16, DType::E4M3, DType::E5M2];
/// What a tensor core multiplies.
pub(crate) const HALF_OR_FP8: &[DType] = &[DType::F16, DType::BF16, DType::E4M3, DType::E5M2];
/// The formats that a parameter or an optimizer state may be kept in.
pub(crate) const STATE: &[DType] = &[DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];
/// What multiplies the codes of a block.
pub(crate) const FACTOR: &[DType] = &[DType::F32, DType::E8M0];
/// Single precision alone.
pub(crate) const F32: &[DType] = &[DType::F32];
/// Double precision alone.
pub(crate) const F64: &[DType] = &[DType::F64];
/// Packed codes.
pub(crate) const U8: &[DType] = &[DType::U8];
/// 32-bit integers.
pub(crate) const U32: &[DType] = &[DType::U32];
/// 64-bit counters.
pub(crate) const U64: &[DType] = &[DType::U64];
