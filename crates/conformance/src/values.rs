//! Inputs: kinds of values, in any format, from a seed.

use std::fmt;

use bytemuck::Pod;
use fp8lm_device::{DType, Element};
use fp8lm_formats::{E4M3, E5M2};
use half::{bf16, f16};

/// What the values of an input are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// About normal, about 1 in size.
    Ordinary,
    /// Far below 1, some below the smallest values of FP8.
    Tiny,
    /// Far above 1, some so that their squares overflow.
    Huge,
    /// Subnormal in f32, or in the format if that has fewer exponents.
    Subnormal,
    /// Any bits that are no NaN.
    Wide,
    /// Ordinary ones with NaN, infinities and zeros of both signs among them.
    Special,
    /// Nothing but zeros, of both signs.
    Zero,
}

impl Values {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Ordinary,
        Self::Tiny,
        Self::Huge,
        Self::Subnormal,
        Self::Wide,
        Self::Special,
        Self::Zero,
    ];

    /// `n` of them in `dtype`, which is a format of numbers.
    pub fn data(self, dtype: DType, n: usize, seed: u64) -> Data {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03);
        let values: Vec<f32> = (0..n).map(|_| self.value(dtype, &mut random)).collect();
        Data::numbers(dtype, &values)
    }

    fn value(self, dtype: DType, random: &mut Random) -> f32 {
        let ordinary = random.normal();
        match self {
            Values::Ordinary => ordinary,
            Values::Tiny => ordinary * power(random, tiny(dtype)),
            Values::Huge => ordinary * power(random, huge(dtype)),
            Values::Subnormal => subnormal(dtype, random),
            Values::Wide => wide(dtype, random),
            Values::Special => special(ordinary, random),
            Values::Zero => 0f32.copysign(ordinary),
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", format!("{self:?}").to_lowercase())
    }
}

/// The content of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The type of its elements.
    pub dtype: DType,
    /// Its elements, as they lie in memory.
    pub bytes: Vec<u8>,
}

impl Data {
    /// Elements of their own type.
    pub fn of<T: Element>(values: &[T]) -> Self {
        Self { dtype: T::DTYPE, bytes: bytes(values) }
    }

    /// Numbers rounded to `dtype`.
    ///
    /// # Panics
    /// If that is no format of numbers that kernels compute with.
    pub fn numbers(dtype: DType, values: &[f32]) -> Self {
        fn narrow<T: Pod>(values: &[f32], f: impl Fn(f32) -> T) -> Vec<u8> {
            bytes(&values.iter().map(|x| f(*x)).collect::<Vec<_>>())
        }
        let bytes = match dtype {
            DType::F32 => bytes(values),
            DType::F64 => narrow(values, f64::from),
            DType::F16 => narrow(values, f16::from_f32),
            DType::BF16 => narrow(values, bf16::from_f32),
            DType::E4M3 => narrow(values, E4M3::from_f32_saturating),
            DType::E5M2 => narrow(values, E5M2::from_f32_nonsaturating),
            other => panic!("{other} is no format of numbers"),
        };
        Self { dtype, bytes }
    }
}

fn bytes<T: Pod>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

/// 2^e for some e of the range.
fn power(random: &mut Random, (first, last): (i32, i32)) -> f32 {
    let span = u64::from(first.abs_diff(last)) + 1;
    2f32.powi(first + (random.next() % span) as i32)
}

/// Exponents of small values of the format.
fn tiny(dtype: DType) -> (i32, i32) {
    match dtype {
        DType::F32 | DType::BF16 | DType::F64 => (-100, -8),
        _ => (-14, -4),
    }
}

/// Exponents of large values of the format.
fn huge(dtype: DType) -> (i32, i32) {
    match dtype {
        DType::F32 | DType::BF16 | DType::F64 => (8, 100),
        DType::E4M3 => (4, 8),
        _ => (4, 13),
    }
}

fn subnormal(dtype: DType, random: &mut Random) -> f32 {
    let bits = random.next() as u32;
    let smallest_normal = match dtype {
        DType::F32 | DType::BF16 | DType::F64 => return f32::from_bits(bits & 0x807F_FFFF),
        DType::E4M3 => 2f32.powi(-6),
        _ => 2f32.powi(-14),
    };
    (bits as i32 as f32) * 2f32.powi(-31) * smallest_normal
}

fn wide(dtype: DType, random: &mut Random) -> f32 {
    let bits = random.next() as u32;
    let value = match dtype {
        DType::F32 | DType::BF16 | DType::F64 => f32::from_bits(bits),
        DType::F16 => f16::from_bits(bits as u16).to_f32(),
        DType::E4M3 => E4M3::from_bits(bits as u8).to_f32(),
        _ => E5M2::from_bits(bits as u8).to_f32(),
    };
    if value.is_nan() { 1.0 } else { value }
}

fn special(ordinary: f32, random: &mut Random) -> f32 {
    match random.next() % 16 {
        0 => f32::NAN.copysign(ordinary),
        1 => f32::INFINITY.copysign(ordinary),
        2 => 0f32.copysign(ordinary),
        _ => ordinary,
    }
}

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The sum of four uniform numbers, so that it has a deviation of about 1.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        let parts = (0..4).map(|i| (bits >> (16 * i)) as u16);
        parts.map(|part| f32::from(part) / 65_536.0 - 0.5).sum::<f32>() * 1.732
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_what_they_say() {
        let values = |kind: Values| kind.data(DType::F32, 4096, 1).bytes;
        let count = |kind, holds: fn(f32) -> bool| {
            let bytes = values(kind);
            let all: &[f32] = bytemuck::cast_slice(&bytes);
            all.iter().filter(|x| holds(**x)).count()
        };
        assert_eq!(count(Values::Ordinary, |x| x.abs() < 8.0 && x != 0.0), 4096);
        assert_eq!(count(Values::Subnormal, |x| x.is_subnormal() || x == 0.0), 4096);
        assert_eq!(count(Values::Zero, |x| x == 0.0), 4096);
        assert_eq!(count(Values::Wide, f32::is_nan), 0);
        assert!(count(Values::Huge, |x| (x * x).is_infinite()) > 100);
        for holds in [f32::is_nan, f32::is_infinite, |x| x == 0.0] as [fn(f32) -> bool; 3] {
            assert!(count(Values::Special, holds) > 100);
        }
    }
}
