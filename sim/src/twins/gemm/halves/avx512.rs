//! A step in AVX-512, for finite operands. Why 16-bit numbers are in vectors of half the length,
//! and why AVX512-VL is not enabled, is said where [`Fp8`](super::super::fp8::Fp8) has its own.

use std::{arch::x86_64::*, ops::Range};

use bytemuck::must_cast;
use fp8lm_formats::Isa;

use super::{COLS, Cols, NO_PRODUCT, PRODUCTS, ROWS, Rows, Tile};

/// Proof that this machine has AVX-512.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn new(isa: Isa) -> Option<Self> {
        isa.has_avx512().then_some(Self(()))
    }

    /// Does as many steps as it can, and returns the number of products: it stops before infinities
    /// and NaN, and where a sum comes near overflow or below f32's normal numbers.
    #[inline(always)]
    pub(super) fn steps(self, a: &[Rows], b: &[Cols], tile: &mut Tile) -> usize {
        // SAFETY: `self` was made where `Isa::has_avx512` says that the machine has all of them.
        unsafe { steps(a, b, tile) }
    }
}

/// Vectors of f64 that a row of a tile takes.
const VECTORS: usize = COLS / 8;

/// A number for every output of a tile, in 16 bits.
type Words = [__m512i; ROWS];
/// The same in halves of vectors.
type HalfWords = [[__m256i; 2]; ROWS];
/// In f64.
type Floats = [[__m512d; VECTORS]; ROWS];

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline(never)]
fn steps(a: &[Rows], b: &[Cols], tile: &mut Tile) -> usize {
    let mut accumulators = widened(tile);
    let mut done = 0;
    for (a, b) in a.chunks(PRODUCTS).zip(b.chunks(PRODUCTS)) {
        let exponents = exponents(largest_exponents(a, b), &accumulators);
        if !all_fit(&exponents) {
            break;
        }
        let offsets = offsets(&exponents);
        let sums = start(&offsets, &accumulators);
        let (sums, counts) = add(a, b, sums, &limits(&exponents));
        accumulators = finish(sums, counts, &offsets);
        done += a.len();
    }
    tile.0 = narrowed(&accumulators);
    done
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn widened(tile: &Tile) -> Floats {
    let narrow: [[__m256; VECTORS]; ROWS] = must_cast(tile.0);
    let mut wide: Floats = [[_mm512_setzero_pd(); VECTORS]; ROWS];
    for (wide, narrow) in wide.iter_mut().flatten().zip(narrow.iter().flatten()) {
        *wide = _mm512_cvtps_pd(*narrow);
    }
    wide
}

/// For each output the largest sum of two exponents.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn largest_exponents(a: &[Rows], b: &[Cols]) -> Words {
    let mut largest: HalfWords = [[_mm256_set1_epi16(NO_PRODUCT); 2]; ROWS];
    for (a, b) in a.iter().zip(b) {
        let b: [__m256i; 2] = must_cast(b.exponents);
        for (largest, a) in largest.iter_mut().zip(&a.exponents) {
            let a = _mm256_set1_epi16(*a);
            for (largest, b) in largest.iter_mut().zip(b) {
                *largest = _mm256_max_epi16(*largest, _mm256_add_epi16(a, b));
            }
        }
    }
    joined(&largest)
}

/// The exponent fields of E, as f64 has them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn exponents(mut largest: Words, accumulators: &Floats) -> Words {
    let field_of_each = _mm512_set1_epi16(52 | 60 << 8);
    for (largest, accumulators) in largest.iter_mut().zip(accumulators) {
        let mut fields = _mm512_setzero_si512();
        for (vector, accumulators) in accumulators.iter().enumerate() {
            let their_bytes = 0x0303_0303_0303_0303 << (2 * vector);
            let bits = _mm512_castpd_si512(*accumulators);
            fields = _mm512_mask_multishift_epi64_epi8(fields, their_bytes, field_of_each, bits);
        }
        fields = _mm512_and_si512(fields, _mm512_set1_epi16(0x7FF));
        // A subnormal f32 has the exponent of the smallest normal one.
        let is_any = _mm512_test_epi16_mask(fields, fields);
        let smallest = _mm512_set1_epi16(1023 - 126);
        fields = _mm512_mask_max_epi16(fields, is_any, fields, smallest);
        *largest = _mm512_max_epi16(*largest, fields);
    }
    largest
}

/// The accumulators are numbers of f32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn narrowed(accumulators: &Floats) -> [[f32; COLS]; ROWS] {
    let mut narrow = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    for (narrow, wide) in narrow.iter_mut().flatten().zip(accumulators.iter().flatten()) {
        *narrow = _mm512_cvtpd_ps(*wide);
    }
    must_cast(narrow)
}

/// Whether each E is that of no product at all, or one of those for which a sum of units, cut to 24
/// bits, is a number of f32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn all_fit(exponents: &Words) -> bool {
    let [smallest, range] = [FIELDS.start, FIELDS.end - FIELDS.start];
    let mut misfits = 0;
    for exponents in exponents {
        let above = _mm512_sub_epi16(*exponents, _mm512_set1_epi16(smallest));
        let is_any = _mm512_cmpneq_epi16_mask(*exponents, _mm512_set1_epi16(NO_PRODUCT));
        misfits |= _mm512_mask_cmpge_epu16_mask(is_any, above, _mm512_set1_epi16(range));
    }
    misfits == 0
}

/// M for each output.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn offsets(exponents: &Words) -> Floats {
    let mut offsets: Floats = [[_mm512_setzero_pd(); VECTORS]; ROWS];
    let (field, fraction) = (_mm512_set1_epi64(0x7FF << 52), _mm512_set1_epi64(1 << 51));
    for (offsets, exponents) in offsets.iter_mut().zip(exponents) {
        let fields = _mm512_add_epi16(*exponents, _mm512_set1_epi16(27));
        for (vector, offset) in offsets.iter_mut().enumerate() {
            // The upper two bytes, from bit 4 of the field on and from four bits before it.
            let word = 16 * vector as i64;
            let shifts = _mm512_set1_epi64((word + 4) << 56 | ((word - 4) & 63) << 48);
            let bits = _mm512_multishift_epi64_epi8(shifts, fields);
            // (bits & field) | fraction
            let bits = _mm512_ternarylogic_epi64::<0xF8>(fraction, bits, field);
            *offset = _mm512_castsi512_pd(bits);
        }
    }
    offsets
}

/// M and the accumulator, truncated.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn start(offsets: &Floats, accumulators: &Floats) -> Floats {
    let mut sums = *offsets;
    for (sum, accumulator) in sums.iter_mut().flatten().zip(accumulators.iter().flatten()) {
        let is_negative = _mm512_movepi64_mask(_mm512_castpd_si512(*accumulator));
        let down = _mm512_add_round_pd::<TOWARDS_ZERO>(*sum, *accumulator);
        *sum = _mm512_mask_add_round_pd::<UPWARDS>(down, is_negative, *sum, *accumulator);
    }
    sums
}

/// A sum of last bits above it is that of a negative product that truncation changes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn limits(exponents: &Words) -> HalfWords {
    let mut limits = *exponents;
    for limit in &mut limits {
        // 2 * 1024 - (E - 25), with E the field without its bias: above any sum with a zero.
        *limit = _mm512_sub_epi16(_mm512_set1_epi16(2048 + 25 + 1023), *limit);
    }
    must_cast(limits)
}

/// The sums with all products, and how many of them came out a unit too low.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn add(a: &[Rows], b: &[Cols], mut sums: Floats, limits: &HalfWords) -> (Floats, Words) {
    let mut counts: HalfWords = [[_mm256_setzero_si256(); 2]; ROWS];
    for (a, b) in a.iter().zip(b) {
        let values: [__m512d; VECTORS] = must_cast(b.values);
        let last_bits: [__m256i; 2] = must_cast(b.last_bits);
        for i in 0..ROWS {
            let a_value = _mm512_set1_pd(a.values[i]);
            for (sum, b) in sums[i].iter_mut().zip(values) {
                *sum = _mm512_fmadd_round_pd::<TOWARDS_ZERO>(a_value, b, *sum);
            }
            let a_last_bit = _mm256_set1_epi16(a.last_bits[i]);
            for ((count, b), limit) in counts[i].iter_mut().zip(last_bits).zip(limits[i]) {
                let is_low = _mm256_cmpgt_epi16(_mm256_add_epi16(a_last_bit, b), limit);
                *count = _mm256_sub_epi16(*count, is_low);
            }
        }
    }
    (sums, joined(&counts))
}

/// Not by a cast: the compiler would join the halves in every pass of the loops that make them.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn joined(halves: &HalfWords) -> Words {
    let mut whole = [_mm512_setzero_si512(); ROWS];
    for (whole, [low, high]) in whole.iter_mut().zip(halves) {
        *whole = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(*low), *high);
    }
    whole
}

/// The accumulators from the sums, cut to the bits of f32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn finish(mut sums: Floats, counts: Words, offsets: &Floats) -> Floats {
    const LOWEST_BYTES: u64 = 0x0101_0101_0101_0101;
    for ((sums, counts), offsets) in sums.iter_mut().zip(counts).zip(offsets) {
        for (vector, (sum, offset)) in sums.iter_mut().zip(offsets).enumerate() {
            let shifts = _mm512_set1_epi64(16 * vector as i64);
            let units = _mm512_maskz_multishift_epi64_epi8(LOWEST_BYTES, shifts, counts);
            let bits = _mm512_add_epi64(_mm512_castpd_si512(*sum), units);
            let exact = _mm512_sub_pd(_mm512_castsi512_pd(bits), *offset);
            let kept = _mm512_set1_epi64(!0x1FFF_FFFF);
            let kept = _mm512_and_si512(_mm512_castpd_si512(exact), kept);
            *sum = _mm512_castsi512_pd(kept);
        }
    }
    sums
}

const TOWARDS_ZERO: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
const UPWARDS: i32 = _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC;

/// Exponent fields from that of 2^-124, whose unit is 2^-149, to that of 2^120: 66 * 2^120 does not
/// overflow f32.
const FIELDS: Range<i16> = 1023 - 124..1023 + 121;
