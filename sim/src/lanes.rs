//! Sixty-four numbers at a time in the registers of AVX-512: what slices of states are read into
//! and written from, with the bits of `states`.
//!
//! Every function is unsafe for one reason: the processor must have the features that
//! [`Isa::has_avx512`](fp8lm_formats::Isa::has_avx512) stands for. They are inlined into a
//! function compiled for them, without which each instruction would be a call.

use std::arch::x86_64::*;

use fp8lm_formats::E4M3;
use half::f16;

use crate::{
    floats::canonical,
    states::{Slice, SliceMut},
};

/// Sixty-four numbers.
pub(crate) type Lanes = [__m512; 4];
/// How many there are.
pub(crate) const WIDTH: usize = 64;
/// Numbers whose largest magnitudes are found without widening all of them.
pub(crate) const BLOCK: usize = 8 * WIDTH;

/// A slice that is read, in one of the formats known here.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Known<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    E4M3(&'a [E4M3]),
}

/// A slice that is read and written, in one of the same formats.
#[derive(Debug)]
pub(crate) enum KnownMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    E4M3(&'a mut [E4M3]),
}

impl<'a> Known<'a> {
    /// None if the format is another.
    pub(crate) fn of(slice: Slice<'a>) -> Option<Self> {
        Some(match slice {
            Slice::F32(values) => Self::F32(values),
            Slice::F16(values) => Self::F16(values),
            Slice::E4M3(values) => Self::E4M3(values),
            Slice::BF16(_) | Slice::E5M2(_) => return None,
        })
    }

    /// Reads the numbers from `first` on.
    #[inline(always)]
    pub(crate) unsafe fn load(self, first: usize) -> Lanes {
        // SAFETY: the caller promises the features.
        unsafe {
            match self {
                Self::F32(values) => load_f32(at(values, first)),
                Self::F16(values) => load_f16(at(values, first)),
                Self::E4M3(values) => load_e4m3(at(values, first)),
            }
        }
    }

    /// In each lane the largest magnitude of as many numbers as a block of [`BLOCK`] from `first`
    /// on has for it; NaN is the largest.
    #[inline(always)]
    pub(crate) unsafe fn largest(self, first: usize) -> Lanes {
        let block = first..first + BLOCK;
        // SAFETY: the caller promises the features.
        unsafe {
            match self {
                Self::F32(values) => largest_f32(values[block].as_chunks().0),
                Self::F16(values) => largest_f16(values[block].as_chunks().0),
                Self::E4M3(values) => largest_e4m3(values[block].as_chunks().0),
            }
        }
    }
}

impl<'a> KnownMut<'a> {
    /// None if the format is another.
    pub(crate) fn of(slice: &'a mut SliceMut<'_>) -> Option<Self> {
        Some(match slice {
            SliceMut::F32(values) => Self::F32(values),
            SliceMut::F16(values) => Self::F16(values),
            SliceMut::E4M3(values) => Self::E4M3(values),
            SliceMut::BF16(_) | SliceMut::E5M2(_) => return None,
        })
    }

    /// The same slice, to be read.
    #[inline(always)]
    pub(crate) fn as_known(&self) -> Known<'_> {
        match self {
            Self::F32(values) => Known::F32(values),
            Self::F16(values) => Known::F16(values),
            Self::E4M3(values) => Known::E4M3(values),
        }
    }

    /// As [`Known::load`].
    #[inline(always)]
    pub(crate) unsafe fn load(&self, first: usize) -> Lanes {
        // SAFETY: the caller promises the features.
        unsafe { self.as_known().load(first) }
    }

    /// Rounds numbers to the places from `first` on.
    #[inline(always)]
    pub(crate) unsafe fn store(&mut self, first: usize, values: Lanes) {
        // SAFETY: the caller promises the features.
        unsafe {
            match self {
                Self::F32(out) => store_f32(values, at_mut(out, first)),
                Self::F16(out) => store_f16(values, at_mut(out, first)),
                Self::E4M3(out) => store_e4m3(values, at_mut(out, first)),
            }
        }
    }
}

#[inline(always)]
unsafe fn load_f32(values: &[f32; WIDTH]) -> Lanes {
    let values = values.as_ptr();
    // SAFETY: the array holds four registers, and the caller promises the features.
    unsafe {
        [
            _mm512_loadu_ps(values),
            _mm512_loadu_ps(values.add(16)),
            _mm512_loadu_ps(values.add(32)),
            _mm512_loadu_ps(values.add(48)),
        ]
    }
}

#[inline(always)]
unsafe fn load_f16(values: &[f16; WIDTH]) -> Lanes {
    let values = values.as_ptr();
    // SAFETY: the array holds two registers, and the caller promises the features.
    unsafe {
        let left = _mm512_loadu_si512(values.cast());
        widen_f16(left, _mm512_loadu_si512(values.add(32).cast()))
    }
}

#[inline(always)]
unsafe fn widen_f16(left: __m512i, right: __m512i) -> Lanes {
    // SAFETY: the caller promises the features.
    unsafe {
        [
            _mm512_cvtph_ps(_mm512_castsi512_si256(left)),
            _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(left)),
            _mm512_cvtph_ps(_mm512_castsi512_si256(right)),
            _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(right)),
        ]
    }
}

#[inline(always)]
unsafe fn load_e4m3(codes: &[E4M3; WIDTH]) -> Lanes {
    // SAFETY: the array is as long as a register, and the caller promises the features.
    unsafe { widen_e4m3(_mm512_loadu_si512(codes.as_ptr().cast())) }
}

/// The value of a code without its sign has the two upper bytes of an f32 at most, and two tables
/// hold them. The codes are put in such an order that interleaving brings them back into their own.
#[inline(always)]
unsafe fn widen_e4m3(codes: __m512i) -> Lanes {
    // SAFETY: the caller promises the features.
    unsafe {
        let codes = _mm512_permutexvar_epi8(bytes(&ORDER), codes);
        let low = _mm512_permutex2var_epi8(bytes(&LOW[0]), codes, bytes(&LOW[1]));
        let high = _mm512_permutex2var_epi8(bytes(&HIGH[0]), codes, bytes(&HIGH[1]));
        // high | codes & sign
        let sign = _mm512_set1_epi8(i8::MIN);
        let high = _mm512_ternarylogic_epi32::<0b1111_1000>(high, codes, sign);
        let (zero, left) = (_mm512_setzero_si512(), _mm512_unpacklo_epi8(low, high));
        let right = _mm512_unpackhi_epi8(low, high);
        [
            _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, left)),
            _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, left)),
            _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, right)),
            _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, right)),
        ]
    }
}

#[inline(always)]
unsafe fn largest_f32(block: &[[f32; WIDTH]]) -> Lanes {
    // SAFETY: the caller promises the features.
    unsafe {
        let mut largest = [_mm512_setzero_si512(); 4];
        for values in block {
            let values = load_f32(values);
            for i in 0..4 {
                let magnitude = _mm512_castps_si512(_mm512_abs_ps(values[i]));
                largest[i] = _mm512_max_epu32(largest[i], magnitude);
            }
        }
        [
            _mm512_castsi512_ps(largest[0]),
            _mm512_castsi512_ps(largest[1]),
            _mm512_castsi512_ps(largest[2]),
            _mm512_castsi512_ps(largest[3]),
        ]
    }
}

#[inline(always)]
unsafe fn largest_f16(block: &[[f16; WIDTH]]) -> Lanes {
    // SAFETY: each array holds two registers, and the caller promises the features.
    unsafe {
        let (unsigned, mut largest) = (_mm512_set1_epi16(i16::MAX), [_mm512_setzero_si512(); 2]);
        for values in block {
            let values = values.as_ptr();
            let left = _mm512_and_si512(_mm512_loadu_si512(values.cast()), unsigned);
            let right = _mm512_and_si512(_mm512_loadu_si512(values.add(32).cast()), unsigned);
            largest[0] = _mm512_max_epu16(largest[0], left);
            largest[1] = _mm512_max_epu16(largest[1], right);
        }
        widen_f16(largest[0], largest[1])
    }
}

#[inline(always)]
unsafe fn largest_e4m3(block: &[[E4M3; WIDTH]]) -> Lanes {
    // SAFETY: each array is as long as a register, and the caller promises the features.
    unsafe {
        let (unsigned, mut largest) = (_mm512_set1_epi8(i8::MAX), _mm512_setzero_si512());
        for codes in block {
            let codes = _mm512_loadu_si512(codes.as_ptr().cast());
            largest = _mm512_max_epu8(largest, _mm512_and_si512(codes, unsigned));
        }
        widen_e4m3(largest)
    }
}

#[inline(always)]
unsafe fn store_f32(values: Lanes, out: &mut [f32; WIDTH]) {
    let to = out.as_mut_ptr();
    // SAFETY: the array holds four registers, and the caller promises the features.
    unsafe {
        _mm512_storeu_ps(to, values[0]);
        _mm512_storeu_ps(to.add(16), values[1]);
        _mm512_storeu_ps(to.add(32), values[2]);
        _mm512_storeu_ps(to.add(48), values[3]);
        if has_nan(values) {
            out.iter_mut().for_each(|out| *out = canonical(*out));
        }
    }
}

#[inline(always)]
unsafe fn store_f16(values: Lanes, out: &mut [f16; WIDTH]) {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;
    let to = out.as_mut_ptr();
    // SAFETY: the array holds four halves of a register, and the caller promises the features.
    unsafe {
        _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<NEAREST>(values[0]));
        _mm256_storeu_si256(to.add(16).cast(), _mm512_cvtps_ph::<NEAREST>(values[1]));
        _mm256_storeu_si256(to.add(32).cast(), _mm512_cvtps_ph::<NEAREST>(values[2]));
        _mm256_storeu_si256(to.add(48).cast(), _mm512_cvtps_ph::<NEAREST>(values[3]));
        if has_nan(values) {
            let nan = f16::from_bits(0x7FFF);
            out.iter_mut().filter(|out| out.is_nan()).for_each(|out| *out = nan);
        }
    }
}

#[inline(always)]
unsafe fn store_e4m3(values: Lanes, out: &mut [E4M3; WIDTH]) {
    // SAFETY: the array is as long as a register, any byte is a code, and the caller promises the
    // features.
    unsafe {
        let left = _mm512_packus_epi32(round_e4m3(values[0]), round_e4m3(values[1]));
        let right = _mm512_packus_epi32(round_e4m3(values[2]), round_e4m3(values[3]));
        let codes = _mm512_packus_epi16(left, right);
        let codes = _mm512_permutexvar_epi8(bytes(&ORDER), codes);
        _mm512_storeu_si512(out.as_mut_ptr().cast(), codes);
        if has_nan(values) {
            correct_nans(values, out);
        }
    }
}

/// The code of each number as an integer; of NaN it is another's.
///
/// As [`E4M3::from_f32`] rounds, with the number that it adds looked up for each binade.
#[inline(always)]
unsafe fn round_e4m3(values: __m512) -> __m512i {
    const SMALLER_MAGNITUDE: i32 = 0b1010;
    // SAFETY: the array is as long as a register, and the caller promises the features.
    unsafe {
        let abs = _mm512_range_ps::<SMALLER_MAGNITUDE>(values, _mm512_set1_ps(E4M3::MAX_F32));
        let smallest_normal = _mm512_set1_epi32((SMALLEST_EXPONENT << 23) as i32);
        let exponent = _mm512_max_epu32(_mm512_castps_si512(abs), smallest_normal);
        let magic = _mm512_loadu_si512(MAGIC.as_ptr().cast());
        let magic = _mm512_permutexvar_epi32(_mm512_srli_epi32::<23>(exponent), magic);
        let sum = _mm512_add_ps(abs, _mm512_castsi512_ps(magic));
        let sign = _mm512_srli_epi32::<24>(_mm512_castps_si512(values));
        // sum where a bit is of the magnitude, else sign
        let magnitude = _mm512_set1_epi32(0x7F);
        _mm512_ternarylogic_epi32::<0b1100_1010>(magnitude, _mm512_castps_si512(sum), sign)
    }
}

#[inline(always)]
unsafe fn has_nan(values: Lanes) -> bool {
    // SAFETY: the caller promises the features.
    unsafe {
        let left = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values[0], values[1]);
        (left | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values[2], values[3])) != 0
    }
}

/// Writes the code of NaN where `values` has one.
#[cold]
fn correct_nans(values: Lanes, out: &mut [E4M3; WIDTH]) {
    let values: [[f32; 16]; 4] = bytemuck::cast(values);
    let pairs = out.iter_mut().zip(values.as_flattened());
    pairs.filter(|(_, value)| value.is_nan()).for_each(|(out, _)| *out = E4M3::NAN);
}

fn at<T>(values: &[T], first: usize) -> &[T; WIDTH] {
    values[first..].first_chunk().expect("whole registers lie within the slice")
}

fn at_mut<T>(values: &mut [T], first: usize) -> &mut [T; WIDTH] {
    values[first..].first_chunk_mut().expect("whole registers lie within the slice")
}

#[inline(always)]
unsafe fn bytes(bytes: &[u8; WIDTH]) -> __m512i {
    // SAFETY: the array is as long as a register, and the caller promises the features.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Where bytes go so that dwords made of them by interleaving are in order, and the way back: byte
/// t of dword v in lane l of 128 bits is that of number 16 v + 4 l + t.
static ORDER: [u8; WIDTH] = {
    let mut order = [0; WIDTH];
    let mut i = 0;
    while i < WIDTH {
        order[i] = (16 * (i / 4 % 4) + 4 * (i / 16) + i % 4) as u8;
        i += 1;
    }
    order
};

/// The third byte of the value of each code without a sign, and the fourth.
static LOW: [[u8; WIDTH]; 2] = value_bytes(16);
static HIGH: [[u8; WIDTH]; 2] = value_bytes(24);

const fn value_bytes(shift: u32) -> [[u8; WIDTH]; 2] {
    let mut bytes = [[0; WIDTH]; 2];
    let mut code = 0;
    while code < 2 * WIDTH {
        let value = E4M3::from_bits(code as u8).to_f32();
        bytes[code / WIDTH][code % WIDTH] = (value.to_bits() >> shift) as u8;
        code += 1;
    }
    bytes
}

/// For each binade of E4M3, by the low bits of its exponent, a number that has one step of the
/// format as its last place, plus the steps of the binades below.
static MAGIC: [u32; 16] = {
    let mut magic = [0; 16];
    let mut binade = 0;
    while binade < 16 {
        let exponent = SMALLEST_EXPONENT + binade;
        magic[exponent as usize % 16] = ((exponent + 20) << 23) + (binade << 3);
        binade += 1;
    }
    magic
};

/// That of the smallest normal E4M3, biased as in f32.
const SMALLEST_EXPONENT: u32 = 121;

#[cfg(test)]
mod tests {
    use fp8lm_formats::Isa;

    use super::*;
    use crate::states::{States, StatesMut};

    /// All exponents and signs, with fractions around the ties of F16 and E4M3.
    fn values() -> Vec<f32> {
        let low = [0, 1, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0xFFFF];
        let bits = (0..=u32::from(u16::MAX)).flat_map(|high| low.map(|low| high << 16 | low));
        bits.map(f32::from_bits).collect()
    }

    fn rounded<T: Copy>(
        isa: Isa,
        values: &[f32],
        zero: T,
        slice: fn(&mut [T]) -> SliceMut<'_>,
    ) -> Vec<T> {
        let mut out = vec![zero; values.len()];
        if isa == Isa::portable() {
            StatesMut { isa, slice: slice(&mut out) }.store(0, values);
            return out;
        }
        isa.run(|| {
            let mut slice = slice(&mut out);
            let mut known = KnownMut::of(&mut slice).unwrap();
            for first in (0..values.len()).step_by(WIDTH) {
                // SAFETY: the test asks for AVX-512.
                unsafe { known.store(first, Known::F32(values).load(first)) }
            }
        });
        out
    }

    #[test]
    fn rounding_is_that_of_states() {
        let values = values();
        for isa in Isa::available().filter(|isa| isa.has_avx512()) {
            let (slow, fast) = (Isa::portable(), isa);
            let of = |isa| rounded(isa, &values, E4M3::ZERO, |out| SliceMut::E4M3(out));
            assert!(of(slow) == of(fast), "E4M3 on {}", isa.name());
            let of = |isa| rounded(isa, &values, f16::ZERO, |out| SliceMut::F16(out));
            let bits = |codes: Vec<f16>| codes.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(of(slow)) == bits(of(fast)), "F16 on {}", isa.name());
            let of = |isa| rounded(isa, &values, 0.0f32, |out| SliceMut::F32(out));
            let bits = |values: Vec<f32>| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(of(slow)) == bits(of(fast)), "F32 on {}", isa.name());
        }
    }

    #[test]
    fn widening_is_that_of_states() {
        let f16s: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let e4m3s: Vec<E4M3> = (0..=u8::MAX).map(E4M3::from_bits).collect();
        for isa in Isa::available().filter(|isa| isa.has_avx512()) {
            for slice in [Slice::F16(&f16s), Slice::E4M3(&e4m3s)] {
                let n = if matches!(slice, Slice::F16(_)) { f16s.len() } else { e4m3s.len() };
                let (mut expected, mut got) = (vec![0.0; n], vec![0.0; n]);
                States { isa: Isa::portable(), slice }.load(0, &mut expected);
                let known = Known::of(slice).unwrap();
                isa.run(|| {
                    for first in (0..n).step_by(WIDTH) {
                        let out = &mut KnownMut::F32(&mut got);
                        // SAFETY: the loop asks for AVX-512.
                        unsafe { out.store(first, known.load(first)) }
                    }
                });
                for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                    let expected = canonical(expected);
                    assert_eq!(got.to_bits(), expected.to_bits(), "code {i} on {}", isa.name());
                }
            }
        }
    }
}
