//! Casts of slices in AVX-512, 64 elements at a time.
//!
//! Every function needs the features that [`Isa::has_avx512`](crate::Isa::has_avx512) stands for.

mod runs;

use core::arch::x86_64::*;
use core::hint::black_box;

use crate::encode::{F32_FRACTION_BITS, Overflow, Steps, steps};
use crate::fp8::{Fp8, SIGN};
use crate::layout::{Layout, Specials};

use self::runs::GUARD_BITS;

pub(crate) use self::runs::encode_runs;

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

/// What encoding needs in registers.
#[derive(Clone, Copy)]
struct Encoder {
    limit: __m512,
    smallest_normal: __m512i,
    /// By the low five bits of the exponent.
    magic: [__m512i; 2],
    /// As `magic`, for sums with [`GUARD_BITS`] behind the code.
    guarded: [__m512i; 2],
    /// Where the first bytes of the dwords of two vectors lie, twice.
    low_bytes: __m512i,
    third_bytes: __m512i,
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
            magic: const { magic(steps::<L>(), 0) }.map(|half| cast(bytemuck::cast(half))),
            guarded: const { magic(steps::<L>(), GUARD_BITS) }
                .map(|half| cast(bytemuck::cast(half))),
            low_bytes,
            third_bytes: _mm512_add_epi8(low_bytes, _mm512_set1_epi8(2)),
            high_bytes: _mm512_add_epi8(low_bytes, _mm512_set1_epi8(3)),
            upper_half: black_box(0xF0),
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

    /// The codes of four vectors.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn encode<L: Layout>(&self, y: [__m512; 4]) -> __m512i {
        self.finish::<L, false>(y.map(|y| self.sum(y, self.magic)), self.low_bytes, y)
    }

    /// Magnitudes, cut to the limit, and the magic numbers of their exponents.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn sum(&self, y: __m512, magic: [__m512i; 2]) -> __m512i {
        // The smaller magnitude, without its sign.
        let abs = _mm512_range_ps::<0b1010>(y, self.limit);
        let normal = _mm512_max_epu32(_mm512_castps_si512(abs), self.smallest_normal);
        let exponent = _mm512_srli_epi32::<F32_FRACTION_BITS>(normal);
        let magic = _mm512_permutex2var_epi32(magic[0], exponent, magic[1]);
        _mm512_castps_si512(_mm512_add_ps(abs, _mm512_castsi512_ps(magic)))
    }

    /// Joins the magnitudes, which lie at `places` of the sums, and the signs of `y`, and minds NaNs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn finish<L: Layout, const FINITE: bool>(
        &self,
        sums: [__m512i; 4],
        places: __m512i,
        y: [__m512; 4],
    ) -> __m512i {
        let magnitude = self.pack(sums, places);
        let sign = self.pack(y.map(|y| _mm512_castps_si512(y)), self.high_bytes);
        let sign_bit = _mm512_set1_epi8(SIGN as i8);
        let codes = match L::SPECIALS {
            Specials::FiniteUnsignedZero => {
                let nonzero = _mm512_test_epi8_mask(magnitude, magnitude);
                let sign = _mm512_maskz_mov_epi8(nonzero, _mm512_and_si512(sign, sign_bit));
                _mm512_or_si512(magnitude, sign)
            }
            // sign_bit ? sign : magnitude
            _ => _mm512_ternarylogic_epi32::<0b1100_1010>(sign_bit, sign, magnitude),
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

/// For the exponents of the format, by their low five bits, of which there are not more than 32. With a `guard` that
/// many bits of the value are kept behind the code, and half a step and the last of them are added.
const fn magic(steps: Steps, guard: u32) -> [[u32; 16]; 2] {
    let mut magic = [[0; 16]; 2];
    let first = steps.min_exponent >> 23;
    let half = if guard == 0 { 0 } else { (1 << (guard - 1)) + 1 };
    let discarded = steps.discarded_bits - guard;
    let mut binade = 0;
    while binade < 32 {
        let exponent = first + binade;
        magic[exponent as usize / 16 % 2][exponent as usize % 16] =
            ((exponent + discarded) << 23) + (binade << (23 - discarded)) + half;
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

/// Codes in a vector, and in a cache line.
const WIDTH: usize = 64;
