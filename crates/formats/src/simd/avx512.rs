//! Casts of slices in AVX-512, 64 elements at a time.
//!
//! Every function needs the features that [`Isa::has_avx512`](crate::Isa::has_avx512) stands for.

use core::arch::x86_64::*;
use core::hint::black_box;

use crate::encode::{F32_FRACTION_BITS, Overflow, Steps, steps};
use crate::fp8::{Fp8, SIGN};
use crate::layout::{Layout, Specials};

/// As [`Fp8::encode_slice`]. With `STREAM` the codes go past the caches.
///
/// Per vector of 16: multiply, cut to the limit, look up the magic number of the exponent, add it. The magic number of
/// [`Steps::round`] with the steps of the lower binades in its low bits leaves the code in the low byte of the sum.
/// The low bytes of four sums become one vector of codes, and the high bytes of the products their signs. NaNs are
/// rare, and cost one comparison for two vectors as long as there are none.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(crate) fn encode<L: Layout, const STREAM: bool>(
    x: &[f32],
    scale: f32,
    out: &mut [Fp8<L>],
    overflow: Overflow,
) {
    let encoder = Encoder::new::<L>(overflow);
    let factor = _mm512_set1_ps(scale);
    let scaled = |x| _mm512_mul_ps(x, factor);
    let head = if STREAM { out.as_ptr().align_offset(WIDTH).min(x.len()) } else { 0 };
    encoder.run::<L, false>(&x[..head], scaled, &mut out[..head]);
    encoder.run::<L, STREAM>(&x[head..], scaled, &mut out[head..]);
    if STREAM {
        _mm_sfence();
    }
}

/// As [`Fp8::encode_runs_on`]. If `FINITE`, `x` has no NaN.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(crate) fn encode_runs<L: Layout, const FINITE: bool>(
    x: &[f32],
    (divisors, len): (&[f32], usize),
    out: &mut [Fp8<L>],
    overflow: Overflow,
) {
    let encoder = Encoder::new::<L>(overflow);
    let batches = x.chunks(BATCH * len).zip(out.chunks_mut(BATCH * len));
    for ((x, out), divisors) in batches.zip(divisors.chunks(BATCH)) {
        encoder.batch::<L, FINITE>(x, (divisors, len), out);
    }
}

/// What encoding needs in registers.
#[derive(Clone, Copy)]
struct Encoder {
    limit: __m512,
    smallest_normal: __m512i,
    /// By the low five bits of the exponent.
    magic: [__m512i; 2],
    /// Where the first bytes of the dwords of two vectors lie, twice.
    low_bytes: __m512i,
    high_bytes: __m512i,
    upper_half: __mmask8,
}

impl Encoder {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn new<L: Layout>(overflow: Overflow) -> Self {
        // Behind boxes, or the compiler makes more shuffles of them.
        let low_bytes = black_box(cast(const { dword_places() }));
        Self {
            limit: _mm512_set1_ps(Fp8::<L>::limit(overflow)),
            smallest_normal: _mm512_set1_epi32(steps::<L>().min_exponent as i32),
            magic: const { magic(steps::<L>()) }.map(|half| cast(bytemuck::cast(half))),
            low_bytes,
            high_bytes: _mm512_add_epi8(low_bytes, _mm512_set1_epi8(3)),
            upper_half: black_box(0xF0),
        }
    }

    /// The codes of as many runs of `len` elements.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn batch<L: Layout, const FINITE: bool>(
        &self,
        x: &[f32],
        (divisors, len): (&[f32], usize),
        out: &mut [Fp8<L>],
    ) {
        let mut below = [0.0; BATCH];
        let (mut normal, mut fraction) = (true, 0);
        for (below, divisor) in below.iter_mut().zip(divisors) {
            *below = 1.0 / divisor * (1.0 - MARGIN);
            normal &= divisor.is_normal() & below.is_normal();
            fraction |= divisor.to_bits() << (32 - F32_FRACTION_BITS);
        }
        let runs = x.chunks(len).zip(out.chunks_mut(len)).zip(divisors);
        if !normal {
            for ((x, out), divisor) in runs {
                let divisor = _mm512_set1_ps(*divisor);
                self.run::<L, false>(x, |x| _mm512_div_ps(x, divisor), out);
            }
        } else if fraction == 0 {
            // Of powers of two the reciprocal is exact.
            for ((x, out), divisor) in runs {
                let reciprocal = _mm512_set1_ps(1.0 / divisor);
                self.run::<L, false>(x, |x| _mm512_mul_ps(x, reciprocal), out);
            }
        } else {
            for (((x, out), divisor), below) in runs.zip(below) {
                let pair = [*divisor, below].map(|x| _mm512_set1_ps(x));
                self.run_quotients::<L, FINITE>(x, pair, out);
            }
        }
    }

    /// The codes of `scaled(x)`. With `STREAM` `out` is aligned.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn run<L: Layout, const STREAM: bool>(
        &self,
        x: &[f32],
        scaled: impl Fn(__m512) -> __m512,
        out: &mut [Fp8<L>],
    ) {
        let (groups, last) = x.as_chunks::<WIDTH>();
        let (group_codes, last_out) = out.as_chunks_mut::<WIDTH>();
        for (x, out) in groups.iter().zip(group_codes) {
            store::<STREAM, L>(self.encode::<L>(load(x).map(&scaled)), out);
        }
        if !last.is_empty() {
            store_part(self.encode::<L>(load_part(last).map(&scaled)), last_out);
        }
    }

    /// The codes of `x / divisor`, mostly without the division, which takes longer than all the rest.
    ///
    /// `below` is the reciprocal less a 2^-21th. It is rounded twice, its product `q` with `x` once, and so is the
    /// quotient `d`, each with a relative error of at most 2^-24: `d` lies between `q` and `q * (1 + 2^-20)`. Where
    /// these two round to one code, so does `d`, for rounding is monotone. Elsewhere the group is divided. Where a
    /// product underflows, all three are far below the smallest value of the format and round to zero; what overflows
    /// is cut to the limit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn run_quotients<L: Layout, const FINITE: bool>(
        &self,
        x: &[f32],
        divisor_and_below: [__m512; 2],
        out: &mut [Fp8<L>],
    ) {
        let (groups, last) = x.as_chunks::<WIDTH>();
        let (group_codes, last_out) = out.as_chunks_mut::<WIDTH>();
        let (pairs, single) = groups.as_chunks::<2>();
        let (pair_codes, single_codes) = group_codes.as_chunks_mut::<2>();
        for (x, out) in pairs.iter().zip(pair_codes) {
            fetch_ahead(x);
            let codes = self.quotients::<L, 2, FINITE>(|i| load(&x[i]), divisor_and_below);
            store::<false, L>(codes[0], &mut out[0]);
            store::<false, L>(codes[1], &mut out[1]);
        }
        for (x, out) in single.iter().zip(single_codes) {
            let [codes] = self.quotients::<L, 1, FINITE>(|_| load(x), divisor_and_below);
            store::<false, L>(codes, out);
        }
        if !last.is_empty() {
            let [codes] = self.quotients::<L, 1, FINITE>(|_| load_part(last), divisor_and_below);
            store_part(codes, last_out);
        }
    }

    /// The codes of `N` groups, which are divided together if at all.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn quotients<L: Layout, const N: usize, const FINITE: bool>(
        &self,
        load: impl Fn(usize) -> [__m512; 4],
        [divisor, below]: [__m512; 2],
    ) -> [__m512i; N] {
        let above = _mm512_set1_ps(1.0 + 2.0 * MARGIN);
        let mut differ = _mm512_setzero_si512();
        let mut codes = [differ; N];
        for (i, codes) in codes.iter_mut().enumerate() {
            let y = load(i).map(|x| _mm512_mul_ps(x, below));
            let sums = y.map(|y| {
                let (abs, magic) = self.prepare(y);
                let sum = _mm512_castps_si512(_mm512_add_ps(abs, magic));
                let other = _mm512_castps_si512(_mm512_fmadd_ps(abs, above, magic));
                // differ | (sum ^ other)
                differ = _mm512_ternarylogic_epi32::<0b1111_0110>(differ, sum, other);
                sum
            });
            *codes = self.finish::<L, FINITE>(sums, y);
        }
        if _mm512_test_epi32_mask(differ, differ) != 0 {
            for (i, codes) in codes.iter_mut().enumerate() {
                *codes = self.encode::<L>(load(i).map(|x| _mm512_div_ps(x, divisor)));
            }
        }
        codes
    }

    /// The codes of four vectors.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn encode<L: Layout>(&self, y: [__m512; 4]) -> __m512i {
        let sums = y.map(|y| {
            let (abs, magic) = self.prepare(y);
            _mm512_castps_si512(_mm512_add_ps(abs, magic))
        });
        self.finish::<L, false>(sums, y)
    }

    /// Magnitudes that are not above the limit, and their magic numbers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn prepare(&self, y: __m512) -> (__m512, __m512) {
        // The smaller magnitude, without its sign.
        let abs = _mm512_range_ps::<0b1010>(y, self.limit);
        let normal = _mm512_max_epu32(_mm512_castps_si512(abs), self.smallest_normal);
        let exponent = _mm512_srli_epi32::<F32_FRACTION_BITS>(normal);
        let magic = _mm512_permutex2var_epi32(self.magic[0], exponent, self.magic[1]);
        (abs, _mm512_castsi512_ps(magic))
    }

    /// Joins the low bytes of the sums and the signs of `y`, and minds NaNs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn finish<L: Layout, const FINITE: bool>(&self, sums: [__m512i; 4], y: [__m512; 4]) -> __m512i {
        let magnitude = self.pack(sums, self.low_bytes);
        let sign = self.pack(y.map(|y| _mm512_castps_si512(y)), self.high_bytes);
        let sign_bit = _mm512_set1_epi8(SIGN as i8);
        let codes = match L::SPECIALS {
            Specials::FiniteUnsignedZero => {
                let nonzero = _mm512_test_epi8_mask(magnitude, magnitude);
                let sign = _mm512_maskz_mov_epi8(nonzero, _mm512_and_si512(sign, sign_bit));
                _mm512_or_si512(magnitude, sign)
            }
            // magnitude | sign & sign_bit
            _ => _mm512_ternarylogic_epi32::<0b1111_1000>(magnitude, sign, sign_bit),
        };
        if FINITE {
            return codes;
        }
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(y[0], y[1])
            | _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(y[2], y[3]);
        if nan == 0 { codes } else { with_nans::<L>(codes, y) }
    }

    /// The bytes at `places` of two vectors each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn pack(&self, dwords: [__m512i; 4], places: __m512i) -> __m512i {
        let low = _mm512_permutex2var_epi8(dwords[0], places, dwords[1]);
        let high = _mm512_permutex2var_epi8(dwords[2], places, dwords[3]);
        _mm512_mask_blend_epi64(self.upper_half, low, high)
    }
}

/// Puts the code of NaN wherever `y` is one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn with_nans<L: Layout>(codes: __m512i, y: [__m512; 4]) -> __m512i {
    let nan = y.map(|y| u64::from(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(y, y)));
    let nan = nan[0] | nan[1] << 16 | nan[2] << 32 | nan[3] << 48;
    _mm512_mask_mov_epi8(codes, nan, _mm512_set1_epi8(Fp8::<L>::NAN.to_bits() as i8))
}

/// For the exponents of the format, by their low five bits, of which there are not more than 32.
const fn magic(steps: Steps) -> [[u32; 16]; 2] {
    let mut magic = [[0; 16]; 2];
    let first = steps.min_exponent >> 23;
    let mut binade = 0;
    while binade < 32 {
        let exponent = first + binade;
        magic[exponent as usize / 16 % 2][exponent as usize % 16] =
            ((exponent + steps.discarded_bits) << 23) + (binade << (23 - steps.discarded_bits));
        binade += 1;
    }
    magic
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(x: &[f32; WIDTH]) -> [__m512; 4] {
    let x = x.as_ptr();
    // SAFETY: each of the four vectors lies within the array; no alignment is asked for.
    unsafe { [0, 16, 32, 48].map(|i| _mm512_loadu_ps(x.add(i))) }
}

/// Asks for as many values as `x` that lie [`AHEAD`] behind it: the arithmetic leaves time to load them.
#[inline]
#[target_feature(enable = "avx512f")]
fn fetch_ahead(x: &[[f32; WIDTH]; 2]) {
    let ahead = x.as_ptr().cast::<f32>().wrapping_add(AHEAD).cast::<i8>();
    for line in 0..size_of_val(x) / WIDTH {
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line * WIDTH));
    }
}

/// Fewer than 64 values, and zeros after them.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_part(x: &[f32]) -> [__m512; 4] {
    let present = (1u64 << x.len()) - 1;
    let x = x.as_ptr();
    [0, 16, 32, 48].map(|i| {
        // SAFETY: the mask lets through the elements of the slice, and none is behind the last of 64.
        unsafe { _mm512_maskz_loadu_ps((present >> i) as u16, x.wrapping_add(i)) }
    })
}

/// The first `out.len()` codes, fewer than 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_part<L: Layout>(codes: __m512i, out: &mut [Fp8<L>]) {
    let present = (1u64 << out.len()) - 1;
    // SAFETY: the mask lets through the elements of the slice, each one byte of which any is a code.
    unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), present, codes) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const STREAM: bool, L: Layout>(codes: __m512i, out: &mut [Fp8<L>; WIDTH]) {
    let out = out.as_mut_ptr();
    if STREAM {
        debug_assert!(out.addr().is_multiple_of(WIDTH));
        // SAFETY: the array has 64 elements of one byte, any code is one, and the caller has aligned it.
        unsafe { _mm512_stream_si512(out.cast(), codes) }
    } else {
        // SAFETY: as above, and no alignment is asked for.
        unsafe { _mm512_storeu_si512(out.cast(), codes) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn cast(bytes: [u8; WIDTH]) -> __m512i {
    // SAFETY: both are 64 bytes of which any is valid.
    unsafe { core::mem::transmute(bytes) }
}

const fn dword_places() -> [u8; WIDTH] {
    let mut places = [0; WIDTH];
    let mut i = 0;
    while i < WIDTH {
        places[i] = (4 * i % 128) as u8;
        i += 1;
    }
    places
}

/// 2^-21, how much a reciprocal is lowered, so that no product is above the quotient.
const MARGIN: f32 = f32::EPSILON * 4.0;
/// Values to be fetched before they are read: what a caller casts at a time.
const AHEAD: usize = 2048;
/// Divisors that are looked at together.
const BATCH: usize = 16;
/// Codes in a vector, and in a cache line.
const WIDTH: usize = 64;
