//! A step in AVX-512, for finite operands.
//!
//! The work on bytes is in vectors of half the length: on Zen 4 they fill the pipes that fma leaves
//! free, where longer ones get in its way. For the same reason AVX512-VL is not enabled here: with
//! it, comparisons would become those that write a mask register, which wait for fma.

use std::arch::x86_64::*;

use bytemuck::must_cast;
use fp8lm_formats::Isa;

use super::{
    COLS, Cols, ROWS, Rows, STEPS, Tile,
    codes::{ANY_LAST_BIT, ANY_PRODUCT, Codes},
    pack::Block,
    place,
};

mod pack;

/// Proof that this machine has AVX-512.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn new(isa: Isa) -> Option<Self> {
        isa.has_avx512().then_some(Self(()))
    }

    /// Whether the step was done: not with infinities and NaN, nor if the sum comes near overflow.
    #[inline(always)]
    pub(super) fn step(self, a: &Rows, b: &Cols, tile: &mut Tile) -> bool {
        // SAFETY: `self` was made where `Isa::has_avx512` says that the machine has all of them.
        (a.specials[0] | b.specials[0]) == 0 && unsafe { step(a, b, tile) }
    }

    #[inline(always)]
    pub(super) fn rows(self, block: &Block<ROWS>, codes: &Codes, panel: &mut Rows) {
        // SAFETY: as above.
        unsafe { pack::rows(block, codes, panel) }
    }

    #[inline(always)]
    pub(super) fn cols(self, block: &Block<COLS>, codes: &Codes, panel: &mut Cols) {
        // SAFETY: as above.
        unsafe { pack::cols(block, codes, panel) }
    }
}

/// Vectors of f32 that a row of a tile takes.
const VECTORS: usize = COLS / 16;

/// A number for every output of a tile, in bytes.
type Bytes = [__m512i; ROWS];
/// The same in halves.
type Halves = [[__m256i; 2]; ROWS];
/// In f32.
type Floats = [[__m512; VECTORS]; ROWS];

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline(never)]
fn step(a: &Rows, b: &Cols, tile: &mut Tile) -> bool {
    let accumulators: Floats = must_cast(tile.0);
    let exponents = exponents(largest_exponents(a, b), &accumulators);
    if !all_below(&exponents, FIELD_LIMIT) {
        return false;
    }
    let offsets = offsets(&exponents);
    let sums = start(&offsets, &accumulators);
    let (sums, counts) = add(a, b, sums, &limits(&exponents));
    tile.0 = must_cast(finish(sums, counts, &offsets));
    true
}

/// For each output the largest sum of two exponents.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn largest_exponents(a: &Rows, b: &Cols) -> Bytes {
    let mut largest: Halves = [[_mm256_setzero_si256(); 2]; ROWS];
    for (a, b) in a.exponents.iter().zip(&b.exponents) {
        let b: [__m256i; 2] = must_cast(*b);
        for (largest, a) in largest.iter_mut().zip(a) {
            let a = _mm256_set1_epi8(*a as i8);
            for (largest, b) in largest.iter_mut().zip(b) {
                *largest = _mm256_max_epu8(*largest, _mm256_add_epi8(a, b));
            }
        }
    }
    must_cast(largest)
}

/// The exponent fields of E.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn exponents(mut largest: Bytes, accumulators: &Floats) -> Bytes {
    let field_of_each = _mm512_set1_epi16(23 | (32 + 23) << 8);
    for (largest, accumulators) in largest.iter_mut().zip(accumulators) {
        let mut fields = _mm512_setzero_si512();
        for (vector, accumulators) in accumulators.iter().enumerate() {
            let their_bytes = 0x0303_0303_0303_0303 << (2 * vector);
            let bits = _mm512_castps_si512(*accumulators);
            fields = _mm512_mask_multishift_epi64_epi8(fields, their_bytes, field_of_each, bits);
        }
        let is_any = _mm512_cmpge_epu8_mask(*largest, _mm512_set1_epi8(ANY_PRODUCT as i8));
        *largest = _mm512_mask_max_epu8(fields, is_any, *largest, fields);
    }
    largest
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn all_below(bytes: &Bytes, limit: u8) -> bool {
    let largest = bytes.iter().fold(_mm512_setzero_si512(), |a, b| _mm512_max_epu8(a, *b));
    _mm512_cmpge_epu8_mask(largest, _mm512_set1_epi8(limit as i8)) == 0
}

/// M for each output.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn offsets(exponents: &Bytes) -> Floats {
    let mut offsets: Floats = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let (field, fraction) = (_mm512_set1_epi32(0x7F80_0000), _mm512_set1_epi32(0x0040_0000));
    for (offsets, exponents) in offsets.iter_mut().zip(exponents) {
        let fields = _mm512_add_epi8(*exponents, _mm512_set1_epi8(10));
        for (offset, shifts) in offsets.iter_mut().zip(FIELDS_FROM_BYTES) {
            let bits = _mm512_multishift_epi64_epi8(must_cast(shifts), fields);
            // (bits & field) | fraction
            let bits = _mm512_ternarylogic_epi32::<0xF8>(fraction, bits, field);
            *offset = _mm512_castsi512_ps(bits);
        }
    }
    offsets
}

/// M and the accumulator, truncated.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn start(offsets: &Floats, accumulators: &Floats) -> Floats {
    let mut sums = *offsets;
    for (sums, accumulators) in sums.iter_mut().zip(accumulators) {
        for (sum, accumulator) in sums.iter_mut().zip(accumulators) {
            let is_negative = _mm512_movepi32_mask(_mm512_castps_si512(*accumulator));
            let down = _mm512_add_round_ps::<TOWARDS_ZERO>(*sum, *accumulator);
            *sum = _mm512_mask_add_round_ps::<UPWARDS>(down, is_negative, *sum, *accumulator);
        }
    }
    sums
}

/// A sum of last bits above it is that of a negative product that truncation changes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn limits(exponents: &Bytes) -> Halves {
    let mut limits = *exponents;
    for limit in &mut limits {
        // 2 * 47 - (E - 13), with E the field without its bias, but not below any last bit.
        let above = _mm512_subs_epu8(*limit, _mm512_set1_epi8(108));
        let above = _mm512_min_epu8(above, _mm512_set1_epi8(63));
        *limit = _mm512_sub_epi8(_mm512_set1_epi8(ANY_LAST_BIT as i8 + 62), above);
    }
    must_cast(limits)
}

/// The sums with all products, and how many of them came out a unit too low.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn add(a: &Rows, b: &Cols, mut sums: Floats, limits: &Halves) -> (Floats, Bytes) {
    let mut counts: Halves = [[_mm256_setzero_si256(); 2]; ROWS];
    for k in 0..STEPS {
        let values: [__m512; VECTORS] = must_cast(b.values[k]);
        let last_bits: [__m256i; 2] = must_cast(b.last_bits[k]);
        for i in 0..ROWS {
            let a_value = _mm512_set1_ps(a.values[k][i]);
            for (sum, b) in sums[i].iter_mut().zip(values) {
                *sum = _mm512_fmadd_round_ps::<TOWARDS_ZERO>(a_value, b, *sum);
            }
            let a_last_bit = _mm256_set1_epi8(a.last_bits[k][i] as i8);
            for ((count, b), limit) in counts[i].iter_mut().zip(last_bits).zip(limits[i]) {
                let is_low = _mm256_cmpgt_epi8(_mm256_add_epi8(a_last_bit, b), limit);
                *count = _mm256_sub_epi8(*count, is_low);
            }
        }
    }
    (sums, must_cast(counts))
}

/// The accumulators from the sums.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn finish(mut sums: Floats, counts: Bytes, offsets: &Floats) -> Floats {
    const LOWEST_BYTES: u64 = 0x1111_1111_1111_1111;
    for ((sums, counts), offsets) in sums.iter_mut().zip(counts).zip(offsets) {
        for ((sum, offset), shifts) in sums.iter_mut().zip(offsets).zip(LOW_FROM_BYTES) {
            let units = _mm512_maskz_multishift_epi64_epi8(LOWEST_BYTES, must_cast(shifts), counts);
            let bits = _mm512_add_epi32(_mm512_castps_si512(*sum), units);
            let exact = _mm512_sub_ps(_mm512_castsi512_ps(bits), *offset);
            let kept = _mm512_and_si512(_mm512_castps_si512(exact), _mm512_set1_epi32(!0x3FF));
            *sum = _mm512_castsi512_ps(kept);
        }
    }
    sums
}

const TOWARDS_ZERO: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
const UPWARDS: i32 = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;

/// From this exponent field on, M would overflow.
const FIELD_LIMIT: u8 = 245;

/// For each vector of a row, where in eight bytes the bits stand that make the bytes of its f32: an
/// exponent field begins one bit below the topmost byte.
static FIELDS_FROM_BYTES: [[u8; 64]; VECTORS] = shifts([0, 0, 57, 1]);
/// Those that make its lowest byte.
static LOW_FROM_BYTES: [[u8; 64]; VECTORS] = shifts([0; 4]);

/// What the bytes of an f32 begin at, from the beginning of the output's own byte.
const fn shifts(bytes: [usize; 4]) -> [[u8; 64]; VECTORS] {
    let mut shifts = [[0; 64]; VECTORS];
    let mut at = 0;
    while at < 64 * VECTORS {
        let (vector, byte) = (at / 64, at % 64);
        let own = place(16 * vector + byte / 4) % 8 * 8;
        shifts[vector][byte] = ((own + bytes[byte % 4]) % 64) as u8;
        at += 1;
    }
    shifts
}
