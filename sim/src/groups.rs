//! FP8 values in groups, each raised to a power that spreads it over the range of its format
//! (COAT, arXiv 2410.19313).
//!
//! The moments of neighbouring weights span a few decades, or far too many; E4M3 spans five. The
//! power makes the smallest and the largest magnitude of a group those of the format, so steps of
//! the format become finer in a narrow group, and nothing of a wide one vanishes.

use fp8lm_device::DType;
use fp8lm_formats::{E4M3, E5M2};

use crate::{
    math::{exp, log},
    scale::{SIGN, amax},
    workers::Rows,
};

/// Elements of a group, in storage order; a block holds a whole number of groups.
pub(crate) const GROUP: usize = 128;
/// How launches number the rule.
pub(crate) const EXPAND: usize = 3;

/// The magnitude that becomes the format's largest, and the exponent.
pub(crate) type Group = [f32; 2];

/// A format's range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expansion {
    fp_max: f32,
    /// 8 * ln(largest / smallest value).
    eight_logs: f32,
}

impl Expansion {
    /// That of an FP8 format.
    pub(crate) fn of(dtype: DType) -> Option<Self> {
        let (fp_max, eight_logs) = match dtype {
            DType::E4M3 => (E4M3::MAX_F32, 0x42C5_7D69),
            DType::E5M2 => (E5M2::MAX_F32, 0x4330_609F),
            _ => return None,
        };
        Some(Self { fp_max, eight_logs: f32::from_bits(eight_logs) })
    }

    /// Turns `values` into those to round to the format, and says how in `groups`.
    #[inline(always)]
    pub(crate) fn encode(self, values: &mut [f32], groups: &mut [Group]) {
        for (values, group) in values.chunks_mut(GROUP).zip(groups) {
            *group = self.fit(values);
            let [largest, exponent] = *group;
            for value in values {
                let power = exp(exponent * log(value.abs() / largest));
                *value = (self.fp_max * power).copysign(*value);
            }
        }
    }

    /// Turns values of the format back into those they stand for.
    #[inline(always)]
    pub(crate) fn decode(self, values: &mut [f32], groups: &[Group]) {
        for (values, [largest, exponent]) in values.chunks_mut(GROUP).zip(groups) {
            let root = 1.0 / exponent;
            for value in values {
                let power = exp(root * log(value.abs() / self.fp_max));
                *value = (largest * power).copysign(*value);
            }
        }
    }

    #[inline(always)]
    fn fit(self, values: &[f32]) -> Group {
        let largest = amax(0.0, values);
        if largest == 0.0 || !largest.is_finite() {
            return [self.fp_max, 1.0];
        }
        let eighths = (self.eight_logs / log(largest / smallest(values))).floor();
        [largest, eighths.clamp(1.0, MOST_EIGHTHS) / 8.0]
    }
}

/// The groups of a tensor or of a part of it, to be written.
#[derive(Debug)]
pub(crate) struct GroupsMut<'a> {
    expansion: Expansion,
    groups: &'a mut [Group],
}

impl<'a> GroupsMut<'a> {
    /// The groups that lie in `scale` one after the other.
    pub(crate) fn new(expansion: Expansion, scale: &'a mut [f32]) -> Self {
        Self { expansion, groups: scale.as_chunks_mut().0 }
    }

    /// As [`Expansion::encode`], for the elements from `first` on.
    #[inline(always)]
    pub(crate) fn encode(&mut self, first: usize, values: &mut [f32]) {
        self.expansion.encode(values, &mut self.groups[first / GROUP..]);
    }

    /// As [`Expansion::decode`], for the elements from `first` on.
    #[inline(always)]
    pub(crate) fn decode(&self, first: usize, values: &mut [f32]) {
        self.expansion.decode(values, &self.groups[first / GROUP..]);
    }
}

/// By elements, a whole number of groups.
impl Rows for GroupsMut<'_> {
    fn split(self, rows: usize) -> (Self, Self) {
        let (left, right) = self.groups.split_at_mut(rows / GROUP);
        let part = |groups| Self { expansion: self.expansion, groups };
        (part(left), part(right))
    }
}

/// The smallest magnitude that is not 0.
#[inline(always)]
fn smallest(values: &[f32]) -> f32 {
    // One less makes zero the largest of all integers.
    let bits = values.iter().map(|value| (value.to_bits() & !SIGN).wrapping_sub(1));
    f32::from_bits(bits.fold(u32::MAX, u32::min).wrapping_add(1))
}

/// The exponent ends at 128: the error of the quotient, up to 2^-24, grows as many times, to
/// 2^-17, and stays far below that of a rounding to FP8.
const MOST_EIGHTHS: f32 = 1024.0;
