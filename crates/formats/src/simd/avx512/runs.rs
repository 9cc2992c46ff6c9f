//! Quotients of runs of neighbours.

use core::arch::x86_64::*;

use super::{Encoder, WIDTH, load, load_part, store, store_part};
use crate::encode::{F32_FRACTION_BITS, Overflow};
use crate::fp8::Fp8;
use crate::layout::{Layout, Specials};
use crate::simd::Runs;

/// As [`Fp8::encode_runs_on`]. If `FINITE`, `x` has no NaN.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(crate) fn encode_runs<L: Layout, const FINITE: bool>(
    x: &[f32],
    runs: Runs<'_>,
    out: &mut [Fp8<L>],
    overflow: Overflow,
) {
    let encoder = Encoder::new::<L>(overflow);
    let batch = BATCH * runs.len;
    let batches = x.chunks(batch).zip(out.chunks_mut(batch));
    for ((x, out), divisors) in batches.zip(runs.divisors.chunks(BATCH)) {
        encoder.batch::<L, FINITE>(x, Runs { divisors, ..runs }, out);
    }
}

impl Encoder {
    /// The codes of as many runs of `len` elements.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn batch<L: Layout, const FINITE: bool>(&self, x: &[f32], runs: Runs<'_>, out: &mut [Fp8<L>]) {
        let mut reciprocals = [0.0; BATCH];
        let (mut normal, mut fraction) = (true, 0);
        for (reciprocal, divisor) in reciprocals.iter_mut().zip(runs.divisors) {
            *reciprocal = 1.0 / divisor;
            normal &= divisor.is_normal() & reciprocal.is_normal();
            fraction |= divisor.to_bits() << (32 - F32_FRACTION_BITS);
        }
        let exact = normal && fraction == 0;
        if normal && !exact && !matches!(L::SPECIALS, Specials::FiniteUnsignedZero) {
            return self.batch_quotients::<L, FINITE>(x, runs, &reciprocals, out);
        }
        let factors = runs.divisors.iter().zip(reciprocals);
        let runs = x.chunks(runs.len).zip(out.chunks_mut(runs.len));
        for ((x, out), (divisor, reciprocal)) in runs.zip(factors) {
            if exact {
                // Of powers of two the reciprocal is exact.
                let reciprocal = _mm512_set1_ps(reciprocal);
                self.run::<L, false>(x, |x| _mm512_mul_ps(x, reciprocal), out);
            } else {
                let divisor = _mm512_set1_ps(*divisor);
                self.run::<L, false>(x, |x| _mm512_div_ps(x, divisor), out);
            }
        }
    }

    /// The codes of `x / divisor`, whose divisors and their reciprocals are normal.
    ///
    /// Not inlined, since the registers are just enough for it alone.
    #[inline(never)]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn batch_quotients<L: Layout, const FINITE: bool>(
        &self,
        x: &[f32],
        Runs { divisors, len, ahead, .. }: Runs<'_>,
        reciprocals: &[f32; BATCH],
        out: &mut [Fp8<L>],
    ) {
        let factors = divisors.iter().zip(reciprocals);
        let mut factors = factors.map(|(a, b)| [_mm512_set1_ps(*a), _mm512_set1_ps(*b)]);
        let tiles = if len == 2 * WIDTH { x.len() / len } else { 0 };
        let (tile_values, x) = x.split_at(tiles * len);
        let (tile_codes, out) = out.split_at_mut(tiles * len);
        let tile_values = tile_values.as_chunks().0.as_chunks().0;
        let tile_codes = tile_codes.as_chunks_mut().0.as_chunks_mut().0;
        for ((x, out), factors) in tile_values.iter().zip(tile_codes).zip(&mut factors) {
            fetch(x, ahead);
            self.tile_quotients::<L, FINITE>(x, factors, out);
        }
        for ((x, out), factors) in x.chunks(len).zip(out.chunks_mut(len)).zip(factors) {
            self.run_quotients::<L, FINITE>(x, factors, out);
        }
    }

    /// The codes of one run.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn run_quotients<L: Layout, const FINITE: bool>(
        &self,
        x: &[f32],
        factors: [__m512; 2],
        out: &mut [Fp8<L>],
    ) {
        let (groups, last) = x.as_chunks::<WIDTH>();
        let (group_codes, last_out) = out.as_chunks_mut::<WIDTH>();
        for (x, out) in groups.iter().zip(group_codes) {
            let [codes] = self.quotients::<L, 1, FINITE>(|_| load(x), factors);
            store::<false, L>(codes, out);
        }
        if !last.is_empty() {
            let [codes] = self.quotients::<L, 1, FINITE>(|_| load_part(last), factors);
            store_part(codes, last_out);
        }
    }

    /// As [`run_quotients`](Self::run_quotients) for a run of two groups.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn tile_quotients<L: Layout, const FINITE: bool>(
        &self,
        x: &[[f32; WIDTH]; 2],
        factors: [__m512; 2],
        out: &mut [[Fp8<L>; WIDTH]; 2],
    ) {
        let codes = self.quotients::<L, 2, FINITE>(|i| load(&x[i]), factors);
        store::<false, L>(codes[0], &mut out[0]);
        store::<false, L>(codes[1], &mut out[1]);
    }

    /// The codes of `x / divisor` for `N` groups, mostly without the division, which takes longer than all the rest.
    ///
    /// The reciprocal, its product `y` with `x` and the quotient `d` are each rounded once, with relative errors of at
    /// most 2^-24: they differ by less than a quarter of 2^-19 of their binade, which is the last place of a sum with
    /// [`GUARD_BITS`]. The sum is rounded by at most half of one, and one is in it besides, with the half step that
    /// makes its upper part the code. So where the guard is neither 0 nor 1, `d` has the same code and is no tie.
    /// Elsewhere the groups are divided. Where a product underflows, all three are far below the smallest value of the
    /// format and round to zero; what overflows is cut to the limit.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
    fn quotients<L: Layout, const N: usize, const FINITE: bool>(
        &self,
        load: impl Fn(usize) -> [__m512; 4],
        [divisor, reciprocal]: [__m512; 2],
    ) -> [__m512i; N] {
        let mut guard = _mm512_set1_epi8(-1);
        let mut codes = [guard; N];
        for (i, codes) in codes.iter_mut().enumerate() {
            let y = load(i).map(|x| _mm512_mul_ps(x, reciprocal));
            let sums = y.map(|y| self.sum(y, self.guarded));
            guard = sums.into_iter().fold(guard, |guard, sum| _mm512_min_epu16(guard, sum));
            *codes = self.finish::<L, FINITE>(sums, self.third_bytes, y);
        }
        let low = _mm512_set1_epi32(0xFFFE);
        if _mm512_testn_epi32_mask(guard, low) != 0 {
            for (i, codes) in codes.iter_mut().enumerate() {
                *codes = self.encode::<L>(load(i).map(|x| _mm512_div_ps(x, divisor)));
            }
        }
        codes
    }
}

/// Asks for as many values as `x` that lie `ahead` of it: the arithmetic leaves time to load them.
#[inline]
#[target_feature(enable = "avx512f")]
fn fetch(x: &[[f32; WIDTH]; 2], ahead: usize) {
    let ahead = x.as_ptr().cast::<f32>().wrapping_add(ahead).cast::<i8>();
    for line in 0..size_of_val(x) / WIDTH {
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line * WIDTH));
    }
}

/// Divisors that are looked at together.
const BATCH: usize = 16;
/// Bits of a quotient behind its code that tell whether its error can matter: the code is the third byte.
pub(super) const GUARD_BITS: u32 = 16;
