//! What the panels of FP8 operands hold of a code.

use fp8lm_formats::{
    Fp8,
    layout::{self, Layout},
};

use crate::twins::gemm::operand::Operand;

/// By code without its sign, as the kernels look them up.
pub(super) struct Codes {
    /// The two upper bytes of the value in f32; the others are zero.
    pub(super) upper: [u8; 128],
    pub(super) second: [u8; 128],
    /// The exponent, that of the smallest normal number at least: 50 + e for a and 77 + e for b, so
    /// that a sum is the exponent field of an f32. With a zero it is below [`ANY_PRODUCT`].
    pub(super) exponents: [u8; 128],
    /// 47 - l, from 32 to 63, with l the exponent of the last set bit, or 0 for a zero. A sum is
    /// [`ANY_LAST_BIT`] at least, unless one of the two is a zero.
    pub(super) last_bits: [u8; 128],
    /// Flips a's sign where it joins `last_bits`: sums are positive for negative products.
    pub(super) flip: u8,
    /// The first code that is infinite or NaN.
    pub(super) specials: u8,
}

/// The exponent field of the smallest product, 2^-28 when it is not normalised.
pub(super) const ANY_PRODUCT: u8 = 99;
/// That of the largest l, 2 * 15.
pub(super) const ANY_LAST_BIT: u8 = 64;

/// The differences between a's bytes and b's.
struct Side {
    bias: i32,
    /// What stands for the exponent of a zero. The two sum to 1, modulo 256.
    zero: u8,
    flip: u8,
}

const A: Side = Side { bias: 50, zero: 243, flip: 0x80 };
const B: Side = Side { bias: 77, zero: 14, flip: 0 };

impl Codes {
    pub(super) fn of_a(a: &Operand<'_>) -> &'static Self {
        static CODES: [Codes; 2] = [Codes::new::<layout::E4M3>(&A), Codes::new::<layout::E5M2>(&A)];
        &CODES[usize::from(a.is_e5m2())]
    }

    pub(super) fn of_b(b: &Operand<'_>) -> &'static Self {
        static CODES: [Codes; 2] = [Codes::new::<layout::E4M3>(&B), Codes::new::<layout::E5M2>(&B)];
        &CODES[usize::from(b.is_e5m2())]
    }

    /// The value of a code.
    #[inline(always)]
    pub(super) fn value(&self, code: u8) -> f32 {
        let at = usize::from(code & 0x7F);
        f32::from_le_bytes([0, 0, self.second[at], self.upper[at] | code & 0x80])
    }

    #[inline(always)]
    pub(super) fn exponent(&self, code: u8) -> u8 {
        self.exponents[usize::from(code & 0x7F)]
    }

    /// With the sign.
    #[inline(always)]
    pub(super) fn last_bit(&self, code: u8) -> u8 {
        self.last_bits[usize::from(code & 0x7F)] | code & 0x80 ^ self.flip
    }

    #[inline(always)]
    pub(super) fn any_special(&self, codes: &[u8]) -> bool {
        codes.iter().fold(0, |largest, code| largest.max(code & 0x7F)) >= self.specials
    }

    const fn new<L: Layout>(side: &Side) -> Self {
        let none = [0; 128];
        let mut codes = Self {
            upper: none,
            second: none,
            exponents: none,
            last_bits: none,
            flip: side.flip,
            specials: Fp8::<L>::MAX.to_bits() + 1,
        };
        let mut code = 0;
        while code < 128 {
            let [_, _, second, upper] = Fp8::<L>::from_bits(code).to_f32().to_bits().to_le_bytes();
            let at = code as usize;
            (codes.upper[at], codes.second[at]) = (upper, second);
            (codes.exponents[at], codes.last_bits[at]) = bytes::<L>(code, side);
            code += 1;
        }
        codes
    }
}

/// The exponent and the last bit of a code.
const fn bytes<L: Layout>(code: u8, side: &Side) -> (u8, u8) {
    let field = (code >> L::MANTISSA_BITS) as i32;
    let hidden = if field > 0 { 1 << L::MANTISSA_BITS } else { 0 };
    let significand = (code % (1 << L::MANTISSA_BITS)) | hidden;
    if significand == 0 {
        return (side.zero, 0);
    }
    let exponent = if field > 1 { field } else { 1 } - L::BIAS;
    let last_bit = exponent - L::MANTISSA_BITS as i32 + significand.trailing_zeros() as i32;
    ((exponent + side.bias) as u8, (47 - last_bit) as u8)
}
