//! What quantisation tells of a tensor beside its codes.

use fp8lm_formats::{Fp8, layout::Layout};

use crate::scale::{self, SIGN};

/// Elements that are cast and then counted: they stay in the first-level cache.
pub(crate) const CHUNK: usize = 4096;

/// The largest magnitude, and how many elements a format has not held.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// NaN counts as infinite.
    pub(crate) amax: f32,
    /// Elements above the format's maximum before the cast.
    pub(crate) over: u64,
    /// Elements other than 0 before the cast and 0 after it.
    pub(crate) under: u64,
}

impl Tally {
    #[inline(always)]
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            amax: self.amax.max(other.amax),
            over: self.over + other.over,
            under: self.under + other.under,
        }
    }

    pub(crate) fn record(self, amax: &mut [f32], counts: &mut [u64]) {
        amax[0] = scale::amax(self.amax, amax);
        counts[0] += self.over;
        counts[1] += self.under;
    }
}

/// The elements other than 0 whose code is 0. Mostly there is none, which one look at the codes
/// tells.
#[inline(always)]
pub(crate) fn underflows<L: Layout>(values: &[f32], codes: &[Fp8<L>]) -> u64 {
    let smallest = codes.iter().map(|code| code.to_bits() & 0x7F).fold(0x7F, u8::min);
    if smallest > 0 {
        return 0;
    }
    let pairs = values.iter().zip(codes);
    pairs.fold(0u32, |n, (x, code)| n + u32::from(*x != 0.0 && code.to_bits() & 0x7F == 0)).into()
}

/// The elements whose `scaled` magnitude is above `largest`, NaN not among them.
#[inline(always)]
pub(crate) fn overflows(values: &[f32], scaled: impl Fn(f32) -> f32, largest: f32) -> u64 {
    let above = |x: f32| {
        let magnitude = scaled(x).to_bits() & !SIGN;
        u32::from(magnitude > largest.to_bits() && magnitude <= f32::INFINITY.to_bits())
    };
    values.iter().fold(0u32, |n, x| n + above(*x)).into()
}
