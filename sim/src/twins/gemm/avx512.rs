//! The model of a CPU in the registers of AVX-512: the bits of [`Fma`](super::chain::Fma).
//!
//! A tile of 14 rows by two vectors of 16 columns takes 28 of the 32 registers. [`Wide`] does one
//! step of k an instruction. [`Pairs`] does two with the dot product of AVX512-BF16, in which every
//! FP8 value is exact: as manuals define it and the cores at hand compute it, the instruction is
//! two f32 fma, first of the high halves, then of the low ones, each rounded to nearest-even. So
//! the earlier step lies in the high half. Where it departs from fma, FP8 does not go:
//!
//! - It takes subnormal numbers for zero. FP8 values are normal in BF16. Their products are
//!   multiples of 2^-32, or of 2^-18 in E4M3, so are sums of such, and so is what rounding leaves of
//!   one. A sum that starts from a normal number, of at least 2^-103, is a multiple of 2^-126; from
//!   a smaller one, it forgets where it started as soon as a product is not zero.
//! - It has its own NaN, which no output shows.
//!
//! An odd step is paired with 0 * -0, which changes no accumulator, whatever its sign. What the
//! machine does is tested against fma before [`Pairs`] is first used.

use std::{
    arch::x86_64::{
        __m512, __m512bh, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_ps, _mm512_setzero_ps,
    },
    ops::Range,
    sync::OnceLock,
};

use fp8lm_formats::{E4M3, E5M2, Isa};

use super::{
    chain::{Chain, Place},
    operand::Operand,
    pairs::{self, Pair},
};
use crate::floats::canonical;

const ROWS: usize = 14;
const COLS: usize = 32;

/// The accumulators of a tile.
type Tile = [[[f32; 16]; 2]; ROWS];

/// One step an instruction. The value is proof of AVX-512.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide(());

impl Wide {
    /// If the instruction set has AVX-512.
    pub(super) fn new(isa: Isa) -> Option<Self> {
        isa.has_avx512().then_some(Self(()))
    }
}

impl Chain for Wide {
    type A = [f32; ROWS];
    type B = [f32; COLS];
    type Tile = Tile;

    const ROWS: usize = ROWS;
    const COLS: usize = COLS;

    #[inline(always)]
    fn pack_a(
        &self,
        a: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::A],
    ) {
        a.pack(vectors, k, panels);
    }

    #[inline(always)]
    fn pack_b(
        &self,
        b: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::B],
    ) {
        b.pack(vectors, k, panels);
    }

    #[inline(always)]
    fn add(&self, _: Place, a: &[Self::A], b: &[Self::B], tile: &mut Tile) {
        // SAFETY: the value was made from an instruction set with AVX-512, which the machine has.
        unsafe { add_wide(a, b, tile) }
    }
}

#[target_feature(enable = "avx512f")]
fn add_wide(a: &[[f32; ROWS]], b: &[[f32; COLS]], tile: &mut Tile) {
    let mut sums = load(tile);
    for (a, b) in a.iter().zip(b) {
        let (b, _) = b.as_chunks::<16>();
        let b = [vector(b[0]), vector(b[1])];
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = _mm512_set1_ps(*a);
            sums[0] = _mm512_fmadd_ps(a, b[0], sums[0]);
            sums[1] = _mm512_fmadd_ps(a, b[1], sums[1]);
        }
    }
    store(&sums, tile);
}

/// Two steps an instruction, of FP8 operands. The value is proof of AVX512-BF16, and that it
/// computes what it should.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairs(());

impl Pairs {
    /// If the instruction set has AVX512-BF16, and the machine passes the test.
    pub(super) fn new(isa: Isa) -> Option<Self> {
        static TRUSTED: OnceLock<bool> = OnceLock::new();
        let this = isa.has_avx512_bf16().then_some(Self(()))?;
        let test = || {
            is_a_chain_of_fma(
                #[inline(always)]
                |a, b, tile| this.add(START, a, b, tile),
            )
        };
        TRUSTED.get_or_init(|| isa.run(test)).then_some(this)
    }
}

impl Chain for Pairs {
    type A = [Pair; ROWS];
    type B = [Pair; COLS];
    type Tile = Tile;

    const ROWS: usize = ROWS;
    const COLS: usize = COLS;
    const STEPS: usize = 2;
    /// A panel of b takes 24 KiB.
    const PART: usize = 384;

    #[inline(always)]
    fn pack_a(
        &self,
        a: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::A],
    ) {
        pairs::pack(a, vectors, k, 0, panels);
    }

    #[inline(always)]
    fn pack_b(
        &self,
        b: &Operand<'_>,
        vectors: Range<usize>,
        k: Range<usize>,
        panels: &mut [Self::B],
    ) {
        pairs::pack(b, vectors, k, NEGATIVE_ZERO, panels);
    }

    #[inline(always)]
    fn add(&self, _: Place, a: &[Self::A], b: &[Self::B], tile: &mut Tile) {
        // SAFETY: the value was made from an instruction set with AVX512-BF16, which the machine
        // has.
        unsafe { add_pairs(a, b, tile) }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn add_pairs(a: &[[Pair; ROWS]], b: &[[Pair; COLS]], tile: &mut Tile) {
    let mut sums = load(tile);
    for (a, b) in a.iter().zip(b) {
        let (b, _) = b.as_chunks::<16>();
        let b = [halves(b[0]), halves(b[1])];
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = halves([*a; 16]);
            sums[0] = _mm512_dpbf16_ps(sums[0], a, b[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], a, b[1]);
        }
    }
    store(&sums, tile);
}

/// Whether `add` computes chains of fma: chains of some lengths over zeros or every code, twice, so
/// that the second starts from where the first one ends.
#[inline(always)]
fn is_a_chain_of_fma(add: impl Fn(&[[Pair; ROWS]], &[[Pair; COLS]], &mut Tile)) -> bool {
    let mut state = 0;
    [(1, 0x80), (1, 0xFF), (2, 0xFF), (3, 0xFF), (64, 0xFF)].into_iter().all(
        #[inline(always)]
        |(steps, mask)| {
            let a: Vec<_> = (0..steps).map(|_| random(&mut state, mask)).collect();
            let b: Vec<_> = (0..steps).map(|_| random(&mut state, mask)).collect();
            let mut got = [[[-0.0; 16]; 2]; ROWS];
            let mut want = got;
            (0..2).all(|_| {
                add(&a, &b, &mut got);
                add_fma(&a, &b, &mut want);
                got.as_flattened().iter().zip(want.as_flattened()).all(|(got, want)| {
                    got.map(|got| canonical(got).to_bits())
                        == want.map(|want| canonical(want).to_bits())
                })
            })
        },
    )
}

#[inline(always)]
fn add_fma(a: &[[Pair; ROWS]], b: &[[Pair; COLS]], tile: &mut Tile) {
    for (a, b) in a.iter().zip(b) {
        for (sums, a) in tile.iter_mut().zip(a) {
            for (sum, b) in sums.as_flattened_mut().iter_mut().zip(b) {
                *sum = fma(*a, *b, *sum);
            }
        }
    }
}

/// What the instruction computes of FP8.
#[inline(always)]
fn fma(a: Pair, b: Pair, sum: f32) -> f32 {
    let [high, low] = [|x| f32::from_bits(x & 0xFFFF_0000), |x| f32::from_bits(x << 16)];
    low(a).mul_add(low(b), high(a).mul_add(high(b), sum))
}

/// Pairs of masked codes, the next ones of a fixed sequence, of E4M3 and of E5M2. Every fourth lane
/// has infinities and NaN.
fn random<const W: usize>(state: &mut u64, mask: u8) -> [Pair; W] {
    std::array::from_fn(|lane| {
        *state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let mask = if lane % 4 == 0 { mask } else { mask & 0xFB };
        let [.., high, low] = state.to_le_bytes().map(|byte| byte & mask);
        match lane % 2 {
            0 => pairs::pair(E5M2::from_bits(high), E5M2::from_bits(low)),
            _ => pairs::pair(E4M3::from_bits(high), E4M3::from_bits(low)),
        }
    })
}

const START: Place = Place { row: 0, col: 0, k: 0 };
const NEGATIVE_ZERO: u8 = 0x80;

/// A tile in registers.
type Sums = [[__m512; 2]; ROWS];

#[inline]
#[target_feature(enable = "avx512f")]
fn load(tile: &Tile) -> Sums {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (sums, row) in sums.as_flattened_mut().iter_mut().zip(tile.as_flattened()) {
        *sums = vector(*row);
    }
    sums
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(sums: &Sums, tile: &mut Tile) {
    for (sums, row) in sums.as_flattened().iter().zip(tile.as_flattened_mut()) {
        *row = numbers(*sums);
    }
}

#[inline(always)]
fn vector(numbers: [f32; 16]) -> __m512 {
    // SAFETY: both are 64 bytes, and any are valid.
    unsafe { std::mem::transmute(numbers) }
}

#[inline(always)]
fn numbers(vector: __m512) -> [f32; 16] {
    // SAFETY: both are 64 bytes, and any are valid.
    unsafe { std::mem::transmute(vector) }
}

#[inline(always)]
fn halves(pairs: [Pair; 16]) -> __m512bh {
    // SAFETY: both are 64 bytes, and any are valid.
    unsafe { std::mem::transmute(pairs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_tells_other_instructions_from_fma() {
        let test = |fma: fn(Pair, Pair, f32) -> f32| {
            is_a_chain_of_fma(|a, b, tile| {
                for (a, b) in a.iter().zip(b) {
                    for (at, sum) in
                        tile.as_flattened_mut().as_flattened_mut().iter_mut().enumerate()
                    {
                        *sum = fma(a[at / COLS], b[at % COLS], *sum);
                    }
                }
            })
        };
        assert!(test(fma));
        assert!(!test(|a, b, sum| fma(a.rotate_left(16), b.rotate_left(16), sum)), "low first");
        assert!(!test(|a, b, sum| sum + fma(a, b, 0.0)), "the pair first");
        let truncated = |a, b, sum| f32::from_bits(fma(a, b, sum).to_bits() & !1);
        assert!(!test(truncated), "another rounding");
    }
}
