//! What one output of a Hopper tensor core computes: the definition, in integers, slow.
//!
//! The machine multiplies a few products into an accumulator at a time. It aligns all terms to the
//! largest exponent, cuts off what lies below, adds, and cuts once more; nothing is rounded to
//! nearest. [`Mma`] says this for one output, so that it can be read; the twins of the matrix
//! multiplications compute the same bits for many at once, and are tested against it.
//!
//! ```
//! use fp8lm_device::DType;
//! use fp8lm_sim::mma::Mma;
//!
//! let mma = Mma::new(DType::E4M3, DType::E4M3).expect("a pair of types that Hopper multiplies");
//! // 2^-14 lies below the last of 13 fraction bits.
//! let sum = mma.step(&[1.0, 2f32.powi(-7)], &[1.0, 2f32.powi(-7)], 0.0);
//! assert_eq!(sum, 1.0);
//! ```

use fp8lm_device::DType;

#[cfg(test)]
mod tests;

/// The tensor core, for operands of a pair of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mma {
    /// Products that are added at once.
    pub products: usize,
    /// Fraction bits to which terms are aligned.
    pub aligned: i32,
    /// Fraction bits of a result.
    pub fraction: i32,
    /// The smallest exponent of a normal number, for a's type and for b's.
    pub min_exponents: [i32; 2],
}

/// Steps of k after which a chain is promoted to f32, where a model does so.
pub const PROMOTION: usize = 128;

impl Mma {
    /// The machine for operands of these types: two of FP8, or two of f16 and BF16.
    pub fn new(a: DType, b: DType) -> Option<Self> {
        let min_exponents = [min_exponent(a)?, min_exponent(b)?];
        let machine =
            |products, aligned, fraction| Some(Self { products, aligned, fraction, min_exponents });
        match (a.bytes(), b.bytes()) {
            (1, 1) => machine(32, 13, 13),
            (2, 2) => machine(16, 25, 23),
            _ => None,
        }
    }

    /// One step: c plus at most [`products`](Self::products) products.
    pub fn step(&self, a: &[f32], b: &[f32], c: f32) -> f32 {
        let wide = |x: &f32| f64::from(*x);
        let exact = a.iter().zip(b).fold(wide(&c), |sum, (a, b)| sum + wide(a) * wide(b));
        if exact.is_nan() {
            return f32::from_bits(0x7FFF_FFFF);
        }
        if exact.is_infinite() {
            return exact as f32;
        }
        let mut terms: Vec<Term> = a.iter().zip(b).map(|(a, b)| self.product(*a, *b)).collect();
        terms.push(Term::accumulator(c));
        self.add(&terms)
    }

    /// The steps over all of k, each from the result of the one before, the first from c. The last
    /// may have fewer products, which is as if zeros filled it up.
    pub fn chain(&self, a: &[f32], b: &[f32], c: f32) -> f32 {
        let steps = a.chunks(self.products).zip(b.chunks(self.products));
        steps.fold(c, |c, (a, b)| self.step(a, b, c))
    }

    /// A chain from +0 for every 128 of k; sum = fma(scale(block), chain, sum) from c, in f32.
    pub fn promoted(&self, a: &[f32], b: &[f32], c: f32, scale: impl Fn(usize) -> f32) -> f32 {
        let blocks = a.chunks(PROMOTION).zip(b.chunks(PROMOTION)).enumerate();
        blocks.fold(c, |sum, (block, (a, b))| scale(block).mul_add(self.chain(a, b, 0.0), sum))
    }

    /// The significands are multiplied as they are: their product is below 4, and not normalised.
    fn product(&self, a: f32, b: f32) -> Term {
        let [(a, a_exponent), (b, b_exponent)] =
            [split(a, self.min_exponents[0]), split(b, self.min_exponents[1])];
        Term { significand: a * b, exponent: a_exponent + b_exponent }
    }

    fn add(&self, terms: &[Term]) -> f32 {
        let nonzero = terms.iter().filter(|term| term.significand != 0);
        let Some(largest) = nonzero.map(|term| term.exponent).max() else { return 0.0 };
        // From here on, integers count units of 2^unit.
        let unit = largest - self.aligned;
        let sum = terms.iter().map(|term| term.truncated(unit)).sum();
        self.normalised(sum, unit)
    }

    /// `sum` units of 2^unit, truncated to the fraction bits of a result.
    fn normalised(&self, sum: i64, unit: i32) -> f32 {
        let exponent = (unit + floor_log2(sum)).max(F32_MIN_EXPONENT);
        let dropped = power(exponent - self.fraction - unit);
        let kept = sum / dropped * dropped;
        // Exact in f64, and in f32, unless it overflows to infinity.
        (kept as f64 * f64::from_bits(((unit + 1023) as u64) << 52)) as f32
    }
}

/// The number significand * 2^(exponent - 46).
#[derive(Clone, Copy)]
struct Term {
    significand: i64,
    exponent: i32,
}

impl Term {
    fn accumulator(c: f32) -> Self {
        let (significand, exponent) = split(c, F32_MIN_EXPONENT);
        Self { significand: significand << 23, exponent }
    }

    /// In units of 2^unit, toward zero, as integers divide.
    fn truncated(self, unit: i32) -> i64 {
        self.significand / power(unit - (self.exponent - 46))
    }
}

/// A finite x as s * 2^(e - 23), where e is not below `min_exponent`.
fn split(x: f32, min_exponent: i32) -> (i64, i32) {
    let bits = x.to_bits();
    let field = (bits >> 23 & 0xFF) as i32;
    let hidden = i64::from(field > 0) << 23;
    let magnitude = i64::from(bits & 0x7F_FFFF) | hidden;
    let own_exponent = field.max(1) - 127;
    let exponent = own_exponent.max(min_exponent);
    // No operand has bits below the last one of its type, so the shift loses none.
    let significand = magnitude >> (exponent - own_exponent).min(62);
    (if x.is_sign_negative() { -significand } else { significand }, exponent)
}

/// The exponent of the leading bit; 0 for zero.
fn floor_log2(x: i64) -> i32 {
    x.unsigned_abs().checked_ilog2().unwrap_or(0) as i32
}

/// 2^exponent, 1 at least; beyond 2^62, which no sum reaches, 2^62.
fn power(exponent: i32) -> i64 {
    1 << exponent.clamp(0, 62)
}

fn min_exponent(dtype: DType) -> Option<i32> {
    match dtype {
        DType::E4M3 => Some(-6),
        DType::E5M2 | DType::F16 => Some(-14),
        DType::BF16 => Some(F32_MIN_EXPONENT),
        _ => None,
    }
}

const F32_MIN_EXPONENT: i32 = -126;
