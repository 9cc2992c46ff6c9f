//! How a reduction combines the elements of all ranks.

use std::ffi::c_int;

/// How a reduction combines the elements of all ranks.
///
/// NCCL fixes no order of summation, and a sum in FP8 is rounded to FP8 after every addition: values
/// that need a scale are to be scaled alike on all ranks beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum RedOp {
    /// Sum.
    Sum = 0,
    /// Product.
    Prod = 1,
    /// Largest value.
    Max = 2,
    /// Smallest value.
    Min = 3,
    /// Sum over the number of ranks.
    Avg = 4,
}

impl RedOp {
    /// The `ncclRedOp_t`.
    pub(crate) const fn to_raw(self) -> c_int {
        self as c_int
    }
}
