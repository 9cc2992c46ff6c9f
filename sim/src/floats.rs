//! Slices of f32 or BF16 that a kernel reads and writes as f32.
//!
//! Reading widens exactly. Writing rounds to nearest-even once, and every NaN becomes the
//! canonical one of a GPU (0x7FFFFFFF, 0x7FFF), so that no bit depends on the order in which an
//! instruction set propagates payloads.

use half::bf16;

/// A slice that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Floats<'a> {
    F32(&'a [f32]),
    BF16(&'a [bf16]),
}

/// A slice that is written.
#[derive(Debug)]
pub(crate) enum FloatsMut<'a> {
    F32(&'a mut [f32]),
    BF16(&'a mut [bf16]),
}

impl<'a> Floats<'a> {
    /// The `len` elements from `first` on: f32 where they lie, others in the buffer.
    #[inline(always)]
    pub(crate) fn read<'b>(self, first: usize, len: usize, buffer: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        if let Floats::F32(values) = self {
            return &values[first..first + len];
        }
        buffer.resize(len, 0.0);
        self.load(first, buffer);
        buffer
    }

    /// Reads the `out.len()` elements from `first` on.
    #[inline(always)]
    pub(crate) fn load(self, first: usize, out: &mut [f32]) {
        match self {
            Floats::F32(values) => out.copy_from_slice(&values[first..first + out.len()]),
            Floats::BF16(values) => {
                for (out, value) in out.iter_mut().zip(&values[first..]) {
                    *out = widen(*value);
                }
            }
        }
    }

    /// Whether it holds for an element.
    pub(crate) fn any(self, holds: impl Fn(f32) -> bool) -> bool {
        match self {
            Floats::F32(values) => values.iter().any(|value| holds(*value)),
            Floats::BF16(values) => values.iter().any(|value| holds(widen(*value))),
        }
    }
}

impl<'a> FloatsMut<'a> {
    /// Writes `values` from `first` on.
    #[inline(always)]
    pub(crate) fn store(&mut self, first: usize, values: &[f32]) {
        match self {
            FloatsMut::F32(out) => {
                for (out, value) in out[first..first + values.len()].iter_mut().zip(values) {
                    *out = canonical(*value);
                }
            }
            FloatsMut::BF16(out) => {
                for (out, value) in out[first..first + values.len()].iter_mut().zip(values) {
                    *out = round_bf16(*value);
                }
            }
        }
    }

    /// Reads back the `out.len()` elements from `first` on.
    #[inline(always)]
    pub(crate) fn load(&self, first: usize, out: &mut [f32]) {
        self.as_floats().load(first, out);
    }

    /// The same slice, for a shorter time.
    pub(crate) fn reborrow(&mut self) -> FloatsMut<'_> {
        match self {
            FloatsMut::F32(values) => FloatsMut::F32(values),
            FloatsMut::BF16(values) => FloatsMut::BF16(values),
        }
    }

    /// The first `middle` elements, and the rest.
    pub(crate) fn split_at(self, middle: usize) -> (FloatsMut<'a>, FloatsMut<'a>) {
        match self {
            FloatsMut::F32(values) => {
                let (left, right) = values.split_at_mut(middle);
                (FloatsMut::F32(left), FloatsMut::F32(right))
            }
            FloatsMut::BF16(values) => {
                let (left, right) = values.split_at_mut(middle);
                (FloatsMut::BF16(left), FloatsMut::BF16(right))
            }
        }
    }

    /// The same slice, to be read.
    pub(crate) fn as_floats(&self) -> Floats<'_> {
        match self {
            FloatsMut::F32(values) => Floats::F32(values),
            FloatsMut::BF16(values) => Floats::BF16(values),
        }
    }
}

/// BF16 to f32, exactly; NaN becomes canonical where it is next written.
#[inline(always)]
pub(crate) fn widen(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

/// f32 to BF16, nearest-even, NaN to 0x7FFF.
#[inline(always)]
pub(crate) fn round_bf16(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16) as u16;
    bf16::from_bits(if value.is_nan() { 0x7FFF } else { rounded })
}

/// The same number; every NaN as 0x7FFFFFFF.
///
/// On integers, because LLVM takes a selected NaN constant for any NaN: of `is_nan` after a square
/// root nothing is left.
#[inline(always)]
pub(crate) fn canonical(value: f32) -> f32 {
    let bits = value.to_bits();
    let is_nan = (bits & 0x7FFF_FFFF) as i32 > 0x7F80_0000;
    f32::from_bits(if is_nan { 0x7FFF_FFFF } else { bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_is_that_of_half_but_for_nan() {
        for high in 0..=u16::MAX {
            for low in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                let expected =
                    if value.is_nan() { 0x7FFF } else { bf16::from_f32(value).to_bits() };
                assert_eq!(round_bf16(value).to_bits(), expected, "{:#010x}", value.to_bits());
            }
        }
    }
}
