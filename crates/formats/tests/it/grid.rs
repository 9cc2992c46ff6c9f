//! The oracle: a format as a sorted grid of `f64` values, searched for the nearest.

use fp8lm_formats::layout::{self, Layout};
use fp8lm_formats::{Fp8, Overflow};

/// A format, described a second time and by hand.
pub(crate) struct Grid {
    mantissa_bits: i32,
    bias: i32,
    max: u8,
    nan: u8,
    /// What a positive overflow becomes if it may not saturate.
    overflow: u8,
    negative_zero: bool,
}

/// A layout with its oracle.
pub(crate) trait Described: Layout {
    const GRID: Grid;
}

impl Described for layout::E4M3 {
    const GRID: Grid = Grid {
        mantissa_bits: 3,
        bias: 7,
        max: 0x7E,
        nan: 0x7F,
        overflow: 0x7F,
        negative_zero: true,
    };
}

impl Described for layout::E5M2 {
    const GRID: Grid = Grid {
        mantissa_bits: 2,
        bias: 15,
        max: 0x7B,
        nan: 0x7F,
        overflow: 0x7C,
        negative_zero: true,
    };
}

impl Described for layout::E4M3Fnuz {
    const GRID: Grid = Grid {
        mantissa_bits: 3,
        bias: 8,
        max: 0x7F,
        nan: 0x80,
        overflow: 0x80,
        negative_zero: false,
    };
}

impl Described for layout::E5M2Fnuz {
    const GRID: Grid = Grid {
        mantissa_bits: 2,
        bias: 16,
        max: 0x7F,
        nan: 0x80,
        overflow: 0x80,
        negative_zero: false,
    };
}

impl Grid {
    /// The value of a code without its sign; of the code after the largest, the next step of the same grid.
    pub(crate) fn magnitude(&self, code: u8) -> f64 {
        let (exponent, fraction) =
            (i32::from(code) >> self.mantissa_bits, i32::from(code) % (1 << self.mantissa_bits));
        let (significand, exponent) = if exponent == 0 {
            (fraction, 1)
        } else {
            (fraction + (1 << self.mantissa_bits), exponent)
        };
        f64::from(significand) * power_of_two(exponent - self.bias - self.mantissa_bits)
    }

    /// The value of a code; any NaN as NaN.
    pub(crate) fn decode(&self, code: u8) -> f64 {
        let magnitude = code & 0x7F;
        let abs = match magnitude {
            0 if code == self.nan => f64::NAN,
            _ if magnitude <= self.max => self.magnitude(magnitude),
            _ if magnitude == self.overflow && self.overflow != self.nan => f64::INFINITY,
            _ => f64::NAN,
        };
        if code & 0x80 == 0 { abs } else { -abs }
    }

    /// The two codes around a magnitude, the first not above it; beyond the grid the last two.
    pub(crate) fn neighbours(&self, abs: f64) -> (u8, u8) {
        let (mut below, mut above) = (0, self.max + 1);
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if self.magnitude(middle) > abs {
                above = middle;
            } else {
                below = middle;
            }
        }
        (below, above)
    }

    /// The nearest code, ties to the even one.
    pub(crate) fn encode(&self, x: f64, overflow: Overflow) -> u8 {
        let (below, above) = self.neighbours(x.abs());
        let middle = (self.magnitude(below) + self.magnitude(above)) / 2.0;
        let up = x.abs() > middle || (x.abs() == middle && above % 2 == 0);
        self.finish(x, if up { above } else { below }, overflow)
    }

    /// Applies overflow, sign and NaN to a magnitude chosen for `x`.
    pub(crate) fn finish(&self, x: f64, magnitude: u8, overflow: Overflow) -> u8 {
        let magnitude = match overflow {
            Overflow::Saturate => magnitude.min(self.max),
            Overflow::NonSaturate if magnitude > self.max => self.overflow,
            Overflow::NonSaturate => magnitude,
        };
        match magnitude {
            _ if x.is_nan() => self.nan,
            0 if !self.negative_zero => 0,
            _ if x.is_sign_negative() => magnitude | 0x80,
            _ => magnitude,
        }
    }
}

/// Exactly, which `powi` does not promise.
pub(crate) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

pub(crate) const MODES: [Overflow; 2] = [Overflow::Saturate, Overflow::NonSaturate];

/// Compares a code with the oracle's.
#[track_caller]
pub(crate) fn assert_code<L: Layout>(got: Fp8<L>, want: u8, x: f64, overflow: Overflow) {
    let got = got.to_bits();
    assert!(
        got == want,
        "{}: {x:e} ({:#018x}), {overflow:?}: got {got:#04x}, want {want:#04x}",
        L::NAME,
        x.to_bits()
    );
}
