//! The types of elements, and how many of them an operation moves.

use std::ffi::c_int;

/// The type of a buffer's elements.
///
/// The two FP8 types need NCCL 2.24; reductions of them need a GPU of compute capability 9.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DataType {
    /// Signed integer of 8 bits.
    I8 = 0,
    /// Unsigned integer of 8 bits.
    U8 = 1,
    /// Signed integer of 32 bits.
    I32 = 2,
    /// Unsigned integer of 32 bits.
    U32 = 3,
    /// Signed integer of 64 bits.
    I64 = 4,
    /// Unsigned integer of 64 bits.
    U64 = 5,
    /// IEEE 754 binary16.
    F16 = 6,
    /// IEEE 754 binary32.
    F32 = 7,
    /// IEEE 754 binary64.
    F64 = 8,
    /// The upper half of binary32.
    Bf16 = 9,
    /// FP8 with 4 bits of exponent and 3 of mantissa.
    F8E4M3 = 10,
    /// FP8 with 5 bits of exponent and 2 of mantissa.
    F8E5M2 = 11,
}

/// A number of elements of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elements {
    /// How many.
    pub count: usize,
    /// Of which type.
    pub data_type: DataType,
}

impl DataType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The `ncclDataType_t`.
    pub(crate) const fn to_raw(self) -> c_int {
        self as c_int
    }
}

impl Elements {
    /// A number of elements of one type.
    pub const fn new(count: usize, data_type: DataType) -> Self {
        Self { count, data_type }
    }
}
